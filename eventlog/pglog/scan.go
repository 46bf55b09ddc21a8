package pglog

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

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
