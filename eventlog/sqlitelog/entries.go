package sqlitelog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"iter"

	"github.com/ensue-io/ensue/eventlog"
)

// Entries implements eventlog.Log.
func (l *Log) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return pages(ctx, l, func() func(*conn) ([]eventlog.Entry, bool, error) {
		s := entryScan{log: l, query: q, size: newPageSize(q.Limit)}
		s.begin()
		return s.next
	})
}

// entryScan is a read of entries under way; query.After and query.AfterDue move with it.
type entryScan struct {
	log   *Log
	query eventlog.EntryQuery
	size  pageSize
	text  string // up to where the page begins
	order string
	args  []driver.Value
	none  bool
}

func (s *entryScan) begin() {
	q := &s.query
	where := ``
	condition := func(text string, args ...driver.Value) {
		where += ` AND ` + text
		s.args = append(s.args, args...)
	}
	switch {
	case q.Keys != nil && len(q.Keys) == 0:
		s.none = true
	case len(q.Keys) == 1:
		condition(`key = ?`, q.Keys[0])
	case len(q.Keys) > 1: // one argument, whatever their number
		keys, err := json.Marshal(q.Keys)
		s.none = err != nil // strings can't fail
		s.size.size = min(len(q.Keys), fullPage)
		condition(`key IN (SELECT value FROM json_each(?))`, string(keys))
	}
	if q.Prefix != "" {
		end := []byte(q.Prefix)
		end[len(end)-1]++ // UTF-8 has no byte 0xff
		condition(`key < ?`, string(end))
		if q.ByDue {
			condition(`key >= ?`, q.Prefix)
		}
	}
	index, order := ``, `key`
	if q.ByDue {
		condition(`due IS NOT NULL`)
		if !q.DueBy.IsZero() {
			condition(`due <= ?`, q.DueBy.UnixMicro())
		}
		index, order = ` INDEXED BY entries_due`, `due, key`
	}
	s.text = `SELECT key, value, due, revision FROM entries` + index + ` WHERE module = ? AND kind = ?` + where
	s.order = ` ORDER BY ` + order + ` LIMIT ?`
	s.args = append([]driver.Value{s.log.number, int64(q.Kind)}, s.args...)
}

// from returns the condition by which a page begins where the one before it ended. One lower bound, not two: SQLite uses
// only one of two to find its place, and would look again at everything between them, page after page.
func (s *entryScan) from() (condition string, args []driver.Value) {
	q := &s.query
	switch {
	case q.ByDue && q.AfterDue.IsZero():
		return ` AND (due, key) > (?, ?)`, []driver.Value{int64(-1 << 63), ""}
	case q.ByDue:
		return ` AND (due, key) > (?, ?)`, []driver.Value{q.AfterDue.UnixMicro(), q.After}
	case q.After < q.Prefix:
		return ` AND key >= ?`, []driver.Value{q.Prefix}
	default:
		return ` AND key > ?`, []driver.Value{q.After}
	}
}

func (s *entryScan) next(c *conn) (page []eventlog.Entry, more bool, err error) {
	q := &s.query
	limit := s.size.next()
	if s.none || limit == 0 {
		return nil, false, nil
	}
	from, args := s.from()
	args = append(append(s.args[:len(s.args):len(s.args)], args...), int64(limit))
	bytes := 0
	err = c.query(s.text+from+s.order, func(row []driver.Value) error {
		e := eventlog.Entry{Kind: q.Kind, Key: row[0].(string), Due: timeOf(row[2]), Revision: eventlog.Revision(row[3].(int64))}
		e.Value, _ = row[1].([]byte)
		page = append(page, e)
		if bytes += len(e.Key) + len(e.Value) + 50; bytes > pageBytes {
			more = true
			return errEnough
		}
		return nil
	}, args...)
	if len(page) > 0 {
		last := page[len(page)-1]
		q.After, q.AfterDue = last.Key, last.Due
	}
	s.size.took(len(page))
	return page, more || len(page) == limit && len(page) != len(q.Keys), err
}
