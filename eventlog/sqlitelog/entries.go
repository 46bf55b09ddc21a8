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
	text  string
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
		condition(`key IN (SELECT value FROM json_each(?))`, string(keys))
	}
	if q.Prefix != "" {
		end := []byte(q.Prefix)
		end[len(end)-1]++ // UTF-8 has no byte 0xff
		condition(`key >= ? AND key < ?`, q.Prefix, string(end))
	}
	order := `key`
	if q.ByDue {
		condition(`due IS NOT NULL`)
		if !q.DueBy.IsZero() {
			condition(`due <= ?`, q.DueBy.UnixMicro())
		}
		order = `due, key`
		where += ` AND (due, key) > (?, ?)`
	} else {
		where += ` AND key > ?`
	}
	s.text = `SELECT key, value, due, revision FROM entries WHERE module = ? AND kind = ?` + where + ` ORDER BY ` + order + ` LIMIT ?`
	s.args = append([]driver.Value{s.log.number, int64(q.Kind)}, s.args...)
}

func (s *entryScan) next(c *conn) (page []eventlog.Entry, more bool, err error) {
	q := &s.query
	limit := s.size.next()
	if s.none || limit == 0 {
		return nil, false, nil
	}
	args := s.args[:len(s.args):len(s.args)]
	switch {
	case !q.ByDue:
		args = append(args, q.After)
	case q.AfterDue.IsZero():
		args = append(args, int64(-1<<63), "")
	default:
		args = append(args, q.AfterDue.UnixMicro(), q.After)
	}
	bytes := 0
	err = c.query(s.text, func(row []driver.Value) error {
		e := eventlog.Entry{Kind: q.Kind, Key: row[0].(string), Due: timeOf(row[2]), Revision: eventlog.Revision(row[3].(int64))}
		e.Value, _ = row[1].([]byte)
		page = append(page, e)
		if bytes += len(e.Key) + len(e.Value) + 50; bytes > pageBytes {
			more = true
			return errEnough
		}
		return nil
	}, append(args, int64(limit))...)
	if len(page) > 0 {
		last := page[len(page)-1]
		q.After, q.AfterDue = last.Key, last.Due
	}
	s.size.took(len(page))
	return page, more || len(page) == limit && len(q.Keys) != 1, err
}
