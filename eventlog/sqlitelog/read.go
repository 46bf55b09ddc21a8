package sqlitelog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of what is read at once: of rows in memory, and of rows that a statement looks at, so that a read that finds
// little in a long log can be cancelled.
const (
	firstPage   = 64
	fullPage    = 512
	pageBytes   = 1 << 20
	firstWindow = 2048
	fullWindow  = 65536
)

// pages makes a sequence out of pages: start begins anew for each loop, and what it returns reads one page after the
// other, until it says that there are no more.
func pages[T any](ctx context.Context, l *Log, start func() func(*conn) (page []T, more bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		next := start()
		for more := true; more; {
			if l.closed.Load() {
				yield(none, eventlog.ErrClosed)
				return
			}
			var rows []T
			err := l.file.read(ctx, func(c *conn) (err error) {
				rows, more, err = next(c)
				return err
			})
			if err != nil {
				yield(none, err)
				return
			}
			for _, r := range rows {
				if err := ctx.Err(); err != nil {
					yield(none, err)
					return
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// pageSize grows from the first page to the second, since many loops end early.
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

func (p *pageSize) took(n int) {
	p.size = fullPage
	if p.left >= 0 {
		p.left -= n
	}
}

// The columns of an event, behind those that say where it stands: the version, a stream's name, and the version there
// if that stream is not the one that was read.
const envelope = `e.seq, e.id, e.type, e.schema, e.occurred, e.recorded, e.correlation, e.causation, e.headers, e.tags, e.data`

const envelopeColumns = 11

// page gathers the events of one statement.
type page struct {
	rows  []event.Recorded
	types []int64
	bytes int
	full  bool
}

// add adds an event; errEnough when the page is full.
func (p *page) add(stream string, row []driver.Value) error {
	var r event.Recorded
	r.Place = event.Place{Stream: stream, Version: toVersion(row[0].(int64))}
	if name, ok := row[1].(string); ok {
		if origin, ok := row[2].(int64); ok {
			r.Origin = event.Place{Stream: name, Version: toVersion(origin)}
		} else {
			r.Stream = name
		}
	}
	if err := fillEnvelope(&r, row[3:]); err != nil {
		return err
	}
	p.rows, p.types = append(p.rows, r), append(p.types, row[5].(int64))
	return p.weigh(&r)
}

// weigh counts what an event takes; errEnough when the page is full.
func (p *page) weigh(r *event.Recorded) error {
	if p.bytes += len(r.Data) + 200; p.bytes > pageBytes {
		p.full = true
		return errEnough
	}
	return nil
}

// fillEnvelope gives an event what the columns of its envelope say, but for the name of its type.
func fillEnvelope(r *event.Recorded, row []driver.Value) (err error) {
	r.Position = event.Position(row[0].(int64) & maxPosition)
	if r.ID, err = idOf(row[1]); err != nil {
		return err
	}
	r.Schema = int(row[3].(int64))
	r.Occurred, r.Recorded = timeOf(row[4]), timeOf(row[5])
	if row[6] != nil {
		if r.Metadata.Correlation, err = idOf(row[6]); err != nil {
			return err
		}
	}
	if row[7] != nil {
		if r.Metadata.Causation, err = idOf(row[7]); err != nil {
			return err
		}
	}
	if text, ok := row[8].(string); ok {
		if err := json.Unmarshal([]byte(text), &r.Metadata.Headers); err != nil {
			return err
		}
	}
	if text, ok := row[9].(string); ok {
		if err := json.Unmarshal([]byte(text), &r.Tags); err != nil {
			return err
		}
	}
	r.Data, _ = row[10].([]byte)
	return nil
}

// finish gives the events the names of their types.
func (p *page) finish(c *conn, names *typeNames) error {
	for i := range p.rows {
		name, err := names.name(c, p.types[i])
		if err != nil {
			return err
		}
		p.rows[i].Type = name
	}
	return nil
}

// Read implements eventlog.Log. The events are those up to the head when the loop begins.
func (l *Log) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(*conn) ([]event.Recorded, bool, error) {
		s := scan{log: l, query: q, size: newPageSize(q.Limit), window: firstWindow}
		return s.next
	})
}

// scan is a read by position under way.
type scan struct {
	log    *Log
	query  eventlog.Query
	size   pageSize
	begun  bool
	after  int64
	to     int64
	window int64 // how many positions the next statement looks at
	text   string
	args   []driver.Value
	byID   []int64 // if the query names ids, the seqs of those that exist
}

func (s *scan) next(c *conn) ([]event.Recorded, bool, error) {
	if !s.begun {
		s.begun = true
		if err := s.begin(c); err != nil {
			return nil, false, err
		}
	}
	limit := s.size.next()
	if s.after >= s.to || limit == 0 {
		return nil, false, nil
	}
	until := min(s.to, s.after+s.window)
	args := append([]driver.Value{s.log.number<<positionBits | s.after, s.log.number<<positionBits | until}, s.args...)
	var p page
	err := c.query(s.text, func(row []driver.Value) error { return p.add("", row) }, append(args, int64(limit))...)
	if err != nil {
		return nil, false, err
	}
	if p.full || len(p.rows) == limit {
		s.after = int64(p.rows[len(p.rows)-1].Position) // #nosec G115 -- positions count up from 0
	} else {
		s.after, s.window = until, min(s.window*4, s.maxWindow())
	}
	s.size.took(len(p.rows))
	return p.rows, s.after < s.to, p.finish(c, &s.log.file.types)
}

// maxWindow: a search by tag or id looks at few rows of a window.
func (s *scan) maxWindow() int64 {
	if len(s.query.Tags) > 0 || s.byID != nil {
		return fullWindow * 64
	}
	return fullWindow
}

// begin settles what the loop reads.
func (s *scan) begin(c *conn) error {
	head := s.log.head.Seen()
	if s.query.To == 0 || s.query.To > event.Position(head) { // #nosec G115 -- positions count up from 0
		var err error
		if head, err = queryHead(c, s.log.number); err != nil {
			return err
		}
	}
	s.to = head
	if s.query.To > 0 && s.query.To < event.Position(head) { // #nosec G115 -- positions count up from 0
		s.to = int64(s.query.To) // #nosec G115 -- below head
	}
	if s.query.After >= event.Position(head) { // #nosec G115 -- positions count up from 0
		s.to = 0
		return nil
	}
	s.after = int64(s.query.After) // #nosec G115 -- below head
	var where strings.Builder
	from := `events e`
	for i, t := range s.query.Tags {
		if i == 0 {
			from = `tags t CROSS JOIN events e ON e.seq = t.seq`
			where.WriteString(` AND t.key = ? AND t.value = ?`)
		} else {
			where.WriteString(` AND EXISTS (SELECT 1 FROM tags o WHERE o.key = ? AND o.value = ? AND o.seq = e.seq)`)
		}
		s.args = append(s.args, t.Key, t.Value)
	}
	seq := `e.seq`
	if len(s.query.Tags) > 0 {
		seq = `t.seq`
	}
	if len(s.query.IDs) > 0 {
		if err := s.findIDs(c, &where); err != nil || s.to == 0 {
			return err
		}
	}
	if len(s.query.Types) > 0 {
		numbers, err := s.log.file.types.list(c, s.query.Types)
		if err != nil {
			return err
		}
		if numbers == "" {
			s.to = 0 // the file has never seen any of these types
			return nil
		}
		where.WriteString(` AND e.type IN (` + numbers + `)`)
	} else if !s.query.System {
		where.WriteString(` AND e.system = 0`)
	}
	if len(s.query.Categories) > 0 {
		s.inCategories(&where)
	}
	s.text = `SELECT e.version, s.name, NULL, ` + envelope + ` FROM ` + from + ` CROSS JOIN streams s ON s.stream = e.stream
		WHERE ` + seq + ` > ? AND ` + seq + ` <= ?` + where.String() + ` ORDER BY ` + seq + ` LIMIT ?`
	return nil
}

// inCategories narrows the read to the events of some categories, by the names of their streams.
func (s *scan) inCategories(where *strings.Builder) {
	some := false
	for _, category := range s.query.Categories {
		if category == "" || strings.Contains(category, "/") {
			continue // no category is named so
		}
		where.WriteString([]string{` AND (`, ` OR `}[flag(some)] + `s.name = ? OR s.name >= ? AND s.name < ?`)
		s.args = append(s.args, category, category+"/", category+"0") // "0" follows "/"
		some = true
	}
	if some {
		where.WriteString(`)`)
	} else {
		s.to = 0
	}
}

// findIDs narrows the read to the events with the ids.
func (s *scan) findIDs(c *conn, where *strings.Builder) error {
	s.byID = []int64{}
	for _, id := range s.query.IDs {
		seq, err := one(c, `SELECT seq FROM events WHERE id = ? AND seq >> 44 = ?`, id[:], s.log.number)
		if err != nil {
			return err
		}
		if p := seq & maxPosition; p > s.after && p <= s.to {
			s.byID = append(s.byID, seq)
		}
	}
	if len(s.byID) == 0 {
		s.to = 0
		return nil
	}
	slices.Sort(s.byID)
	s.after, s.to = s.byID[0]&maxPosition-1, s.byID[len(s.byID)-1]&maxPosition
	s.window = s.to - s.after
	list, err := json.Marshal(s.byID)
	where.WriteString(` AND e.seq IN (SELECT value FROM json_each(?))`)
	s.args = append(s.args, string(list))
	return err
}
