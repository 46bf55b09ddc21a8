package pglog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of what is read at once: of rows in memory, and of positions that a statement looks at, so that a read that
// finds little in a long log can be cancelled.
const (
	firstPage   = 64
	fullPage    = 4096
	pageBytes   = 4 << 20
	firstWindow = 2048
	fullWindow  = 65536
	tagWindow   = 16 * fullWindow // a search by tag looks at few rows of a window
	fewTagged   = 2048            // so many events with a tag are found at once, and none but them are looked at
	maxNames    = 100_000         // of streams, that one loop remembers
)

// planning keeps the plan of a read, whatever statistics the server has, or does not have yet, to the way that its text
// describes: from rows to rows, by indexes, and made once. It holds until the end of the transaction, which is sent as a
// whole together with it, so that a pooler may stand between.
const planning = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
	set_config('enable_mergejoin', 'off', true), set_config('enable_sort', 'off', true), set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)`

const beginRead = `BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY`

// errTooMuch ends a statement like errEnough, when so much is still to come that a new connection costs less.
var errTooMuch = errors.New("pglog: too much")

// read runs a statement that reads by indexes alone, and gives each row to row, which may end it early, without an error,
// by errEnough and errTooMuch.
func (l *Log) read(ctx context.Context, text string, row func(pgx.Rows) error, args ...any) error {
	err := l.readRows(ctx, text, row, args)
	switch {
	case errors.Is(err, errEnough), errors.Is(err, errTooMuch):
		return nil
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return l.db.explain("read", err)
}

func (l *Log) readRows(ctx context.Context, text string, row func(pgx.Rows) error, args []any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var batch pgx.Batch
	if l.db.isolated {
		batch.Queue(beginRead)
	}
	batch.Queue(planning)
	before := batch.Len()
	batch.Queue(text, args...)
	if l.db.isolated {
		batch.Queue(`COMMIT`)
	}
	results := l.db.pool.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }() // again, without effect
	for range before {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := row(rows); err != nil {
			if errors.Is(err, errTooMuch) {
				cancel()
			}
			rows.Close()
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return results.Close()
}

// possible tells whether a name can be one in a database: it is valid UTF-8 and has no NUL.
func possible(name string) bool { return utf8.ValidString(name) && strings.IndexByte(name, 0) < 0 }

// possibleOf returns those of the names that can be in a database; none, not nil, if there is no such.
func possibleOf(names []string) []string {
	list := make([]string, 0, len(names))
	for _, name := range names {
		if possible(name) {
			list = append(list, name)
		}
	}
	return list
}

// pages makes a sequence out of pages: start begins anew for each loop, and what it returns reads one page after the
// other, until it says that there are no more. A page is not used any more when the next is read.
func pages[T any](ctx context.Context, l *Log, start func() func(context.Context) (page []T, more bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		next := start()
		for more := true; more; {
			if l.closed.Load() || l.db.ending.Err() != nil {
				yield(none, eventlog.ErrClosed)
				return
			}
			if err := ctx.Err(); err != nil {
				yield(none, err)
				return
			}
			var rows []T
			var err error
			if rows, more, err = next(ctx); err != nil {
				yield(none, err)
				return
			}
			for i := range rows {
				if err := ctx.Err(); err != nil {
					yield(none, err)
					return
				}
				if !yield(rows[i], nil) {
					return
				}
			}
		}
	}
}

// pageSize grows from page to page, since many loops end early.
type pageSize struct {
	size, left int // left: of the query's limit, -1 for none
}

func newPageSize(limit int) pageSize {
	if limit <= 0 {
		limit = -1
	}
	return pageSize{firstPage, limit}
}

// next returns how many rows the next page may have.
func (p *pageSize) next() int {
	if p.left >= 0 && p.left < p.size {
		return p.left
	}
	return p.size
}

// took notes how many rows a page had, and how many bytes they were.
func (p *pageSize) took(n, bytes int) {
	if n > 0 {
		p.size = max(1, min(p.size*8, fullPage, pageBytes*n/max(bytes, 1)))
	}
	if p.left >= 0 {
		p.left -= n
	}
}

// The columns of an event, as a table in a statement has them, and as a page takes them: between these stand the position
// and the name of the stream, see envelope.
const columns = `insertion, version, stream, id, type, schema, occurred, correlation, causation, headers, tags, data`

// envelope returns what a page takes of an event e: the version where it was read, the number of a stream, or 0, or its
// name, or NULL; the version in that stream if it is not the one that was read, or 0; the position, or NULL.
func envelope(version, stream, name, origin, position, recorded, mark string) string {
	return version + `, ` + stream + `, ` + name + `, ` + origin + `, ` + position + `, e.id, e.type, e.schema, e.occurred, ` + recorded +
		`, e.correlation, e.causation, e.headers, e.tags, e.data, ` + mark
}

// text takes a text without a copy; it is good until the next row.
type text []byte

// ScanBytes implements pgtype.BytesScanner.
func (t *text) ScanBytes(b []byte) error {
	*t = b
	return nil
}

// page gathers the events of one statement. It is used for one page after the other.
type page struct {
	rows  []event.Recorded
	limit int
	bytes int
	full  bool
	cut   bool // the statement's order can't be relied on

	version, stream, origin, mark int64
	position                      pgtype.Int8
	schema                        int32
	name, typ, headers, tags      text
	id, correlation, causation    pgtype.UUID
	occurred, recorded            pgtype.Timestamptz
	data                          []byte
	targets                       []any
	format                        byte // of the rows: 'b' binary, 't' text, 0 not known yet
	types                         map[string]string
}

func (p *page) begin(limit int) {
	if p.targets == nil {
		p.targets = []any{&p.version, &p.stream, &p.name, &p.origin, &p.position, &p.id, &p.typ, &p.schema, &p.occurred, &p.recorded,
			&p.correlation, &p.causation, &p.headers, &p.tags, &p.data, &p.mark}
		p.types = map[string]string{}
	}
	p.rows = p.rows[:0]
	p.limit, p.bytes, p.full, p.cut = limit, 0, false, false
}

// scan takes a row, for add.
func (p *page) scan(rows pgx.Rows) error {
	if p.format == 0 {
		p.format = 'b'
		for _, field := range rows.FieldDescriptions() {
			if field.Format != pgx.BinaryFormatCode && field.DataTypeOID != pgtype.TextOID { // texts are the same in both
				p.format = 't'
			}
		}
	}
	if p.format == 'b' && p.decode(rows.RawValues()) {
		return nil
	}
	return rows.Scan(p.targets...)
}

// decode takes a row as it came, which is what costs most in a long read. It is false for what it does not expect.
func (p *page) decode(row [][]byte) bool {
	ok := len(row) == len(p.targets)
	number := func(b []byte, into *int64) {
		if ok = ok && len(b) == 8; ok {
			*into = int64(binary.BigEndian.Uint64(b)) // #nosec G115 -- the same bits
		}
	}
	id := func(b []byte, into *pgtype.UUID) {
		switch {
		case b == nil:
			*into = pgtype.UUID{}
		case len(b) == len(into.Bytes):
			into.Bytes, into.Valid = [16]byte(b), true
		default:
			ok = false
		}
	}
	moment := func(b []byte, into *pgtype.Timestamptz) {
		if *into = (pgtype.Timestamptz{}); b != nil {
			var since2000 int64
			number(b, &since2000)
			ok = ok && since2000 != math.MinInt64 && since2000 != math.MaxInt64 // not infinity
			into.Time, into.Valid = time.UnixMicro(since2000+at2000), true
		}
	}
	if !ok {
		return false
	}
	number(row[0], &p.version)
	number(row[1], &p.stream)
	p.name = row[2]
	number(row[3], &p.origin)
	if p.position = (pgtype.Int8{}); row[4] != nil {
		number(row[4], &p.position.Int64)
		p.position.Valid = true
	}
	id(row[5], &p.id)
	p.typ = row[6]
	if ok = ok && len(row[7]) == 4; ok {
		p.schema = int32(binary.BigEndian.Uint32(row[7])) // #nosec G115 -- the same bits
	}
	moment(row[8], &p.occurred)
	moment(row[9], &p.recorded)
	id(row[10], &p.correlation)
	id(row[11], &p.causation)
	p.headers, p.tags = row[12], row[13]
	p.data = append([]byte(nil), row[14]...)
	number(row[15], &p.mark)
	return ok
}

// at2000 is the time from which the server counts.
var at2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// add adds the event that was scanned; errEnough or errTooMuch when the page is full.
func (p *page) add(stream string) error {
	p.rows = append(p.rows, event.Recorded{})
	r := &p.rows[len(p.rows)-1]
	r.Place = event.Place{Stream: stream, Version: version(p.version)}
	switch {
	case p.origin > 0:
		r.Origin = event.Place{Stream: string(p.name), Version: version(p.origin)}
	case p.name != nil:
		r.Stream = string(p.name)
	}
	r.Position = eventlog.Position(p.position.Int64) // #nosec G115 -- positions count up from 0
	r.ID, r.Metadata.Correlation, r.Metadata.Causation = p.id.Bytes, p.correlation.Bytes, p.causation.Bytes
	r.Type, r.Schema = p.typeName(), int(p.schema)
	r.Occurred, r.Recorded = p.occurred.Time.UTC(), p.recorded.Time.UTC()
	if !p.occurred.Valid {
		r.Occurred = r.Recorded
	}
	if p.headers != nil && !quickHeaders(p.headers, &r.Metadata.Headers) {
		if err := json.Unmarshal(p.headers, &r.Metadata.Headers); err != nil {
			return fmt.Errorf("the headers of event %s: %w", r.ID, err)
		}
	}
	if p.tags != nil && !quickTags(p.tags, &r.Tags) {
		if err := json.Unmarshal(p.tags, &r.Tags); err != nil {
			return fmt.Errorf("the tags of event %s: %w", r.ID, err)
		}
	}
	r.Data = p.data
	if p.bytes += len(r.Data) + 200; p.bytes > pageBytes {
		p.full = true
		if n := len(p.rows); (p.limit-n)*(p.bytes/n) > 4*pageBytes {
			return errTooMuch
		}
		return errEnough
	}
	return nil
}

// quick reads JSON as it is written here, without white space, and gives up at anything else, or an escape: then
// encoding/json reads it, which takes several times as long.
type quick struct {
	rest text
	lost bool
}

func (q *quick) skip(s string) {
	if q.lost = q.lost || len(q.rest) < len(s) || string(q.rest[:len(s)]) != s; !q.lost {
		q.rest = q.rest[len(s):]
	}
}

func (q *quick) text() string {
	q.skip(`"`)
	for i, c := range q.rest {
		switch {
		case q.lost || c == '\\' || c < ' ':
			q.lost = true
			return ""
		case c == '"':
			s := string(q.rest[:i])
			q.rest = q.rest[i+1:]
			return s
		}
	}
	q.lost = true
	return ""
}

// more tells whether a comma follows, and skips it.
func (q *quick) more() bool {
	if q.lost || len(q.rest) == 0 || q.rest[0] != ',' {
		return false
	}
	q.rest = q.rest[1:]
	return true
}

func quickHeaders(t text, headers *map[string]string) bool {
	q, m := quick{rest: t}, map[string]string{}
	q.skip(`{`)
	for more := true; more; more = q.more() {
		name := q.text()
		q.skip(`:`)
		m[name] = q.text()
	}
	q.skip(`}`)
	if q.lost || len(q.rest) > 0 {
		return false
	}
	*headers = m
	return true
}

func quickTags(t text, tags *[]event.Tag) bool {
	q := quick{rest: t}
	var list []event.Tag
	q.skip(`[`)
	for more := true; more; more = q.more() {
		var tag event.Tag
		q.skip(`{"key":`)
		tag.Key = q.text()
		q.skip(`,"value":`)
		tag.Value = q.text()
		q.skip(`}`)
		list = append(list, tag)
	}
	q.skip(`]`)
	if q.lost || len(q.rest) > 0 {
		return false
	}
	*tags = list
	return true
}

// typeName returns the type's name, without a copy where it has one.
func (p *page) typeName() string {
	name, ok := p.types[string(p.typ)]
	if !ok {
		if len(p.types) >= maxTypes { // a program has dozens; this many are made up
			clear(p.types)
		}
		name = string(p.typ)
		p.types[name] = name
	}
	return name
}

const maxTypes = 1000

// Read implements eventlog.Log. The events are those up to the head when the loop begins.
func (l *Log) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(context.Context) ([]event.Recorded, bool, error) {
		s := scan{log: l, query: q, size: newPageSize(q.Limit), names: map[int64]string{}}
		return s.next
	})
}

// scan is a read by position under way.
type scan struct {
	log       *Log
	query     eventlog.Query
	era       int64 // of the server, see rewind.go
	size      pageSize
	begun     bool
	after     int64
	to        int64
	window    int64 // how many positions the next statement looks at
	maxWindow int64
	page      page
	names     map[int64]string // of streams, by number
	unnamed   []unnamed        // of the page

	listed bool    // no positions but those of the list are looked at
	list   []int64 // still to be looked at, in their order
	exact  bool    // the order of positions is not to be guessed from that of insertion numbers

	args        []any  // of the conditions
	conditions  string // on an event e
	text, plain string // plain: where exact
}

// unnamed is an event of a page whose stream's name is not known yet.
type unnamed struct {
	row    int
	stream int64
}

func (s *scan) next(ctx context.Context) ([]event.Recorded, bool, error) {
	if era := s.log.db.server.era.Load(); era != s.era {
		*s = s.anew(era)
	}
	if !s.begun {
		s.begun = true
		if err := s.begin(ctx); err != nil {
			return nil, false, err
		}
	}
	limit := s.size.next()
	if s.after >= s.to || limit == 0 || s.listed && len(s.list) == 0 {
		return nil, false, nil
	}
	text, args, until := s.text, s.args[:len(s.args):len(s.args)], min(s.to, s.after+s.window)
	if s.listed {
		list := s.list[:min(len(s.list), max(limit, fullPage/8))]
		until = list[len(list)-1]
		args = append(args, list)
	} else {
		args = append(args, s.after, until)
		if s.exact {
			text = s.plain
		}
	}
	p := &s.page
	p.begin(limit)
	if s.unnamed = s.unnamed[:0]; len(s.names) > maxNames {
		clear(s.names)
	}
	err := s.log.read(ctx, text, s.take, append(args, int64(limit), limit <= firstPage)...)
	if err == nil {
		err = s.finish(ctx)
	}
	if err != nil {
		return nil, false, err
	}
	if again, err := s.given(ctx); again || err != nil {
		return nil, again, err
	}
	s.size.took(len(p.rows), p.bytes)
	s.advance(until, limit)
	return p.rows, s.after < s.to, nil
}

// advance settles where the next page begins, and how far it looks.
func (s *scan) advance(until int64, limit int) {
	p, n := &s.page, int64(len(s.page.rows))
	switch {
	case p.full || p.cut || len(p.rows) == limit:
		if n > 0 {
			until = int64(p.rows[n-1].Position) // #nosec G115 -- positions count up from 0
		} else {
			until = s.after
		}
	case n == 0:
		s.window = min(s.window*4, s.maxWindow)
	}
	if n > 0 { // as many as will hold another page, if it goes on like this
		rows := max(int64(s.size.next()), 1)
		s.window = min(max((until-s.after)*rows/n, rows), s.window*64, s.maxWindow)
	}
	s.after = until
	for len(s.list) > 0 && s.list[0] <= until {
		s.list = s.list[1:]
	}
}

// take takes a row. Where positions were guessed from insertion numbers, and that turns out wrong, the page ends before.
func (s *scan) take(rows pgx.Rows) error {
	p := &s.page
	if err := p.scan(rows); err != nil {
		return err
	}
	last := s.after
	if n := len(p.rows); n > 0 {
		last = int64(p.rows[n-1].Position) // #nosec G115 -- positions count up from 0
	}
	if p.mark != 1 || p.position.Int64 <= last {
		if s.exact || s.listed {
			return &eventlog.CorruptError{Address: s.log.db.address, Reason: fmt.Sprintf("position %d follows position %d", p.position.Int64, last)}
		}
		s.exact, p.cut = true, true
		return errEnough
	}
	err := p.add("")
	r := &p.rows[len(p.rows)-1]
	if r.Stream != "" {
		s.names[p.stream] = r.Stream
	} else if r.Stream = s.names[p.stream]; r.Stream == "" {
		s.unnamed = append(s.unnamed, unnamed{len(p.rows) - 1, p.stream})
	}
	return err
}

// finish gives those events the names of their streams that have none yet.
func (s *scan) finish(ctx context.Context) error {
	if len(s.unnamed) == 0 {
		return nil
	}
	numbers := make([]int64, len(s.unnamed))
	for i, u := range s.unnamed {
		numbers[i] = u.stream
	}
	slices.Sort(numbers)
	err := s.log.read(ctx, s.log.db.sql(`SELECT stream, name FROM ${schema}.streams WHERE stream = ANY ($1::bigint[])`), func(r pgx.Rows) error {
		var number int64
		var name string
		err := r.Scan(&number, &name)
		s.names[number] = name
		return err
	}, slices.Compact(numbers))
	for _, u := range s.unnamed {
		s.page.rows[u.row].Stream = s.names[u.stream]
	}
	return err
}

// arg adds an argument and returns what stands for it.
func (s *scan) arg(v any, typ string) string {
	s.args = append(s.args, v)
	return s.place(0, typ)
}

// place returns what stands for the argument that comes n behind the last of the conditions.
func (s *scan) place(n int, typ string) string { return `$` + strconv.Itoa(len(s.args)+n) + `::` + typ }

// begin settles what the loop reads.
func (s *scan) begin(ctx context.Context) error {
	head := s.log.head.Seen()
	var err error
	if s.query.To == 0 || s.query.To > eventlog.Position(head) { // #nosec G115 -- positions count up from 0
		if head, err = s.log.refresh(ctx); err != nil {
			return err
		}
	}
	s.to = head
	if s.query.To > 0 && s.query.To < eventlog.Position(head) { // #nosec G115 -- positions count up from 0
		s.to = int64(s.query.To) // #nosec G115 -- below head
	}
	impossible := slices.ContainsFunc(s.query.Tags, func(t event.Tag) bool { return !possible(t.Key) || !possible(t.Value) })
	if impossible || s.query.After >= eventlog.Position(s.to) { // #nosec G115 -- positions count up from 0
		s.to = 0
		return nil
	}
	s.after = int64(s.query.After) // #nosec G115 -- below head
	s.window, s.maxWindow = firstWindow, fullWindow
	if len(s.query.Types)+len(s.query.Tags)+len(s.query.Categories) == 0 {
		s.window = firstPage
	}
	module := s.arg(s.log.number, `int`)
	tags := s.query.Tags
	switch {
	case len(s.query.IDs) > 0:
		err = s.find(ctx, `SELECT l.position FROM unnest($2::uuid[]) u (id)
			CROSS JOIN LATERAL (SELECT insertion FROM ${schema}.events WHERE module = $1::int AND id = u.id OFFSET 0) e
			CROSS JOIN LATERAL (SELECT position FROM ${schema}.log WHERE insertion = e.insertion OFFSET 0) l`, 0, s.log.number, uuids(s.query.IDs))
	case len(tags) > 0:
		err = s.find(ctx, `SELECT l.position FROM (SELECT insertion FROM ${schema}.tags WHERE module = $1::int AND key = $2::text AND value = $3::text LIMIT $4::bigint) t
			LEFT JOIN LATERAL (SELECT position FROM ${schema}.log WHERE insertion = t.insertion OFFSET 0) l ON true`, fewTagged, s.log.number, tags[0].Key, tags[0].Value, int64(fewTagged)+1)
	}
	if err != nil {
		return err
	}
	var tagged string // the way by the first tag
	if len(tags) > 0 && !s.listed {
		tagged = ` WHERE module = ` + module + ` AND key = ` + s.arg(tags[0].Key, `text`) + ` AND value = ` + s.arg(tags[0].Value, `text`)
	}
	if len(tags) > 0 && len(s.query.IDs) == 0 {
		tags = tags[1:]
	}
	s.restrict(module, tags)
	s.compose(module, tagged)
	return nil
}

// restrict writes the conditions.
func (s *scan) restrict(module string, tags []event.Tag) {
	if len(s.query.Types) > 0 {
		s.conditions += ` AND e.type = ANY (` + s.arg(possibleOf(s.query.Types), `text[]`) + `)`
	} else if !s.query.System {
		s.conditions += ` AND NOT e.system`
	}
	for _, t := range tags {
		s.conditions += ` AND (SELECT true FROM ${schema}.tags o WHERE o.module = ` + module + ` AND o.key = ` + s.arg(t.Key, `text`) + ` AND o.value = ` + s.arg(t.Value, `text`) + ` AND o.insertion = e.insertion)`
	}
	if len(s.query.Categories) > 0 {
		s.conditions += ` AND (SELECT split_part(c.name, '/', 1) = ANY (` + s.arg(possibleOf(s.query.Categories), `text[]`) + `) FROM ${schema}.streams c WHERE c.stream = e.stream)`
	}
}

// compose writes the statements. Each goes from rows of the log to their events.
func (s *scan) compose(module, tagged string) {
	after, until, rest := s.place(1, `bigint`), s.place(2, `bigint`), 2
	window := `module = ` + module + ` AND position > ` + after + ` AND position <= ` + until
	plain := `SELECT position, insertion, recorded FROM ${schema}.log WHERE ` + window + ` ORDER BY position`
	switch {
	case s.listed:
		plain, rest = `SELECT l.* FROM unnest(`+s.place(1, `bigint[]`)+`) u (position)
			CROSS JOIN LATERAL (SELECT position, insertion, recorded FROM ${schema}.log WHERE module = `+module+` AND position = u.position OFFSET 0) l ORDER BY l.position`, 1
	case tagged != "":
		// Insertion numbers of a window are as good as all between two bounds; of the tag's, those are looked for in the window.
		plain = `SELECT l.* FROM (SELECT min(insertion) AS low, max(insertion) AS high FROM (SELECT insertion FROM ${schema}.log WHERE ` + window + ` OFFSET 0) w) w
			CROSS JOIN LATERAL (SELECT insertion FROM ${schema}.tags` + tagged + ` AND insertion >= w.low AND insertion <= w.high OFFSET 0) t
			CROSS JOIN LATERAL (SELECT position, insertion, recorded FROM ${schema}.log WHERE insertion = t.insertion AND ` + window + ` OFFSET 0) l ORDER BY l.position`
	}
	name := `CASE WHEN ` + s.place(rest+2, `bool`) + ` THEN (SELECT n.name FROM ${schema}.streams n WHERE n.stream = e.stream) END`
	statement := func(from, join, position, mark string) string {
		return s.log.db.sql(`SELECT ` + envelope(`e.version`, `e.stream`, name, `0::bigint`, position, `l.recorded`, mark) + ` FROM (` + from + `) l
			CROSS JOIN LATERAL (SELECT ` + columns + ` FROM ${schema}.events e WHERE ` + join + s.conditions + ` ORDER BY e.insertion OFFSET 0) e
			ORDER BY l.position LIMIT ` + s.place(rest+1, `bigint`))
	}
	s.plain = statement(plain, `e.insertion = l.insertion`, `l.position`, `1::bigint`)
	s.text = s.plain
	if s.listed || tagged != "" {
		s.exact = true
		return
	}
	// Within a pass, positions and insertion numbers both grow, so that positions that are as far from their insertion
	// numbers as others of the pass follow one another: such a run is read at once. It is not one run, and marked, when
	// passes can't be told apart by their time.
	s.text = statement(`SELECT min(position) AS position, min(insertion) AS low, max(insertion) AS high, recorded, count(*) AS n
		FROM (`+plain+`) l GROUP BY position - insertion, recorded ORDER BY 1`,
		`e.insertion >= l.low AND e.insertion <= l.high`, `l.position + e.insertion - l.low`, `l.high - l.low + 2 - l.n`)
}

// find finds the positions that the loop looks at, and no others, unless there are more than most, if that is not 0.
func (s *scan) find(ctx context.Context, text string, most int, args ...any) error {
	n := 0
	err := s.log.read(ctx, s.log.db.sql(text), func(r pgx.Rows) error {
		var position pgtype.Int8
		err := r.Scan(&position)
		if p := position.Int64; p > s.after && p <= s.to {
			s.list = append(s.list, p)
		}
		n++
		return err
	}, args...)
	if most > 0 && n > most {
		s.list, s.maxWindow = nil, tagWindow
		return err
	}
	slices.Sort(s.list)
	s.list, s.listed = slices.Compact(s.list), true
	return err
}
