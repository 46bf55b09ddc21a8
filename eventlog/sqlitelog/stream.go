package sqlitelog

import (
	"context"
	"database/sql/driver"
	"iter"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ReadStream implements eventlog.Log. The events are those up to the stream's version when the loop begins.
func (l *Log) ReadStream(ctx context.Context, stream string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(*conn) ([]event.Recorded, bool, error) {
		s := streamScan{log: l, stream: stream, query: q, size: newPageSize(q.Limit)}
		return s.next
	})
}

// streamScan is a read of a stream under way. What it has still to read is the versions above low, up to high.
type streamScan struct {
	log       *Log
	stream    string
	query     eventlog.StreamQuery
	size      pageSize
	begun     bool
	number    int64
	low, high int64
	text      string
}

func (s *streamScan) next(c *conn) ([]event.Recorded, bool, error) {
	if !s.begun {
		s.begun = true
		if err := s.begin(c); err != nil {
			return nil, false, err
		}
	}
	limit := s.size.next()
	if s.low >= s.high || limit == 0 {
		return nil, false, nil
	}
	low, high := s.low, min(s.high, s.low+fullWindow)
	if s.query.Backward {
		low, high = max(s.low, s.high-fullWindow), s.high
	}
	var p page
	err := c.query(s.text, func(row []driver.Value) error { return p.add(s.stream, row) }, s.number, low, high, int64(limit))
	if err != nil {
		return nil, false, err
	}
	if p.full || len(p.rows) == limit {
		last := int64(p.rows[len(p.rows)-1].Version) // #nosec G115 -- versions count up from 0
		low, high = last-1, last
	}
	if s.query.Backward {
		s.high = low
	} else {
		s.low = high
	}
	s.size.took(len(p.rows))
	return p.rows, s.low < s.high, p.finish(c, &s.log.file.types)
}

// begin settles what the loop reads.
func (s *streamScan) begin(c *conn) error {
	var links int64
	err := c.query(`SELECT stream, version, links, truncated FROM streams WHERE module = ? AND name = ?`, func(row []driver.Value) error {
		s.number, s.high, links, s.low = row[0].(int64), row[1].(int64), row[2].(int64), row[3].(int64)
		return nil
	}, s.log.number, s.stream)
	if err != nil {
		return err
	}
	if after := s.query.After; after > 0 {
		if !s.query.Backward {
			s.low = max(s.low, int64(min(after, maxPosition))) // #nosec G115 -- bounded
		} else {
			s.high = min(s.high, int64(min(after, maxPosition))-1) // #nosec G115 -- bounded
		}
	}
	s.text = streamTexts[streamShape{s.query.Backward, s.query.System, links > 0}]
	return nil
}

// streamShape is what the statement that reads a stream depends on: one without links needs not look for them.
type streamShape struct{ backward, system, links bool }

var streamTexts = func() map[streamShape]string {
	texts := map[streamShape]string{}
	for _, backward := range []bool{false, true} {
		for _, system := range []bool{false, true} {
			for _, links := range []bool{false, true} {
				without, order := ` AND e.system = 0`, ``
				if system {
					without = ``
				}
				if backward {
					order = ` DESC`
				}
				text := `SELECT e.version, NULL, NULL, ` + envelope + ` FROM events e
					WHERE e.stream = ?1 AND e.version > ?2 AND e.version <= ?3` + without
				if links {
					text += ` UNION ALL SELECT l.version, s.name, e.version, ` + envelope + ` FROM links l
						CROSS JOIN events e ON e.seq = l.seq CROSS JOIN streams s ON s.stream = e.stream
						WHERE l.stream = ?1 AND l.version > ?2 AND l.version <= ?3` + without
				}
				texts[streamShape{backward, system, links}] = text + ` ORDER BY 1` + order + ` LIMIT ?4`
			}
		}
	}
	return texts
}()

// CloseStream implements eventlog.StreamKeeper.
func (l *Log) CloseStream(ctx context.Context, name string, e eventlog.Expected) error {
	return l.keep(ctx, name, func(s *state, st *stream) error {
		if st.closed {
			return nil
		}
		if err := expect(st, e); err != nil {
			return err
		}
		if err := s.changeStream(st); err != nil {
			return err
		}
		st.closed = true
		return nil
	})
}

// TruncateStream implements eventlog.StreamKeeper. A version that the stream has not reached yet counts as its last.
func (l *Log) TruncateStream(ctx context.Context, name string, upTo eventlog.Version) error {
	return l.keep(ctx, name, func(s *state, st *stream) error {
		if upTo > toVersion(st.version) {
			upTo = toVersion(st.version)
		}
		if int64(upTo) <= st.truncated { // #nosec G115 -- bounded by the version
			return nil
		}
		if err := s.changeStream(st); err != nil {
			return err
		}
		st.truncated = int64(upTo) // #nosec G115 -- bounded by the version
		return nil
	})
}

func (l *Log) keep(ctx context.Context, name string, change func(*state, *stream) error) error {
	if err := eventlog.CheckStream(name); err != nil {
		return err
	}
	if err := l.writable(ctx); err != nil {
		return err
	}
	return l.file.submit(ctx, &request{do: func(s *state) error {
		st, err := s.stream(l.number, name)
		if err != nil {
			return err
		}
		return change(s, st)
	}})
}

// Stream implements eventlog.StreamLister.
func (l *Log) Stream(ctx context.Context, stream string) (info eventlog.StreamInfo, err error) {
	info.Stream = stream
	if l.closed.Load() {
		return info, eventlog.ErrClosed
	}
	err = l.file.read(ctx, func(c *conn) error {
		return c.query(`SELECT name, version, truncated, closed FROM streams WHERE module = ? AND name = ?`, func(row []driver.Value) error {
			info = streamInfo(row)
			return nil
		}, l.number, stream)
	})
	return info, err
}

// Streams implements eventlog.StreamLister.
func (l *Log) Streams(ctx context.Context, category, after string, limit int) iter.Seq2[eventlog.StreamInfo, error] {
	return pages(ctx, l, func() func(*conn) ([]eventlog.StreamInfo, bool, error) {
		size, after := newPageSize(limit), after
		return func(c *conn) (page []eventlog.StreamInfo, more bool, err error) {
			n := size.next()
			if n == 0 {
				return nil, false, nil
			}
			add := func(row []driver.Value) error {
				page = append(page, streamInfo(row))
				return nil
			}
			const columns = `SELECT name, version, truncated, closed FROM streams WHERE module = ? AND version > 0 AND name > ?`
			switch {
			case category == "":
				err = c.query(columns+` ORDER BY name LIMIT ?`, add, l.number, after, int64(n))
			case after < category: // the stream that is named like the category, and has no id
				err = c.query(columns+` AND name = ?`, add, l.number, after, category)
				after = category
				more = true
			default: // "0" follows "/"
				err = c.query(columns+` AND name < ? ORDER BY name LIMIT ?`, add, l.number, max(after, category+"/"), category+"0", int64(n))
			}
			if len(page) > 0 {
				after = page[len(page)-1].Stream
			}
			size.took(len(page))
			return page, more || len(page) == n, err
		}
	})
}

func streamInfo(row []driver.Value) eventlog.StreamInfo {
	return eventlog.StreamInfo{
		Stream: row[0].(string), Version: toVersion(row[1].(int64)),
		Truncated: toVersion(row[2].(int64)), Closed: row[3].(int64) != 0,
	}
}
