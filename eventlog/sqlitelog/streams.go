package sqlitelog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"iter"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of what one statement reads of several streams: longer streams are read by themselves, in pages.
const (
	streamsAtOnce = 64
	shortStream   = 128 // versions
)

// ReadStreams implements eventlog.StreamsReader. The events of each stream are those up to its version when its turn comes.
func (l *Log) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(*conn) ([]event.Recorded, bool, error) {
		s := streamsScan{log: l, names: streams}
		return s.next
	})
}

// streamsScan is a read of several streams under way.
type streamsScan struct {
	log   *Log
	names []string    // still to be read
	long  *streamScan // the one that is being read by itself, if any
}

// found is a stream that exists.
type found struct {
	index  int64 // in the names of the page
	number int64
	long   bool
}

func (s *streamsScan) next(c *conn) ([]event.Recorded, bool, error) {
	if s.long != nil {
		rows, more, err := s.long.next(c)
		if !more {
			s.long = nil
		}
		return rows, more || len(s.names) > 0, err
	}
	if len(s.names) == 0 {
		return nil, false, nil
	}
	names := s.names[:min(len(s.names), streamsAtOnce)]
	list, err := json.Marshal(names)
	if err != nil {
		return nil, false, err
	}
	var short []int64 // the numbers of the streams, by index; 0 where there is none
	taken := len(names)
	err = c.query(`SELECT j.key, s.stream, s.version - s.truncated FROM json_each(?) j CROSS JOIN streams s ON s.module = ? AND s.name = j.value ORDER BY j.key`,
		func(row []driver.Value) error {
			f := found{index: row[0].(int64), number: row[1].(int64), long: row[2].(int64) > shortStream}
			if f.long {
				taken = int(f.index)
				return errEnough
			}
			for int64(len(short)) < f.index {
				short = append(short, 0)
			}
			short = append(short, f.number)
			return nil
		}, string(list), s.log.number)
	if err != nil {
		return nil, false, err
	}
	if taken == 0 {
		s.startLong()
		return nil, true, nil
	}
	p, whole, err := s.readShort(c, names, short)
	if err != nil {
		return nil, false, err
	}
	if !whole { // the last stream of a full page may not be complete: it is read again
		last := p.rows[len(p.rows)-1].Stream
		for taken = 0; names[taken] != last; taken++ {
		}
		for len(p.rows) > 0 && p.rows[len(p.rows)-1].Stream == last {
			p.rows, p.types = p.rows[:len(p.rows)-1], p.types[:len(p.types)-1]
		}
		if taken == 0 {
			s.startLong()
			return nil, true, nil
		}
	}
	s.names = s.names[taken:]
	return p.rows, len(s.names) > 0, p.finish(c, &s.log.file.types)
}

// startLong goes on with the first stream by itself.
func (s *streamsScan) startLong() {
	s.long = &streamScan{log: s.log, stream: s.names[0], query: eventlog.StreamQuery{System: true}, size: newPageSize(0)}
	s.names = s.names[1:]
}

const shortStreams = `
	WITH w AS MATERIALIZED (SELECT j.key AS n, s.stream, s.truncated FROM json_each(?) j CROSS JOIN streams s ON s.stream = j.value WHERE j.value > 0)
	SELECT e.version, NULL, NULL, ` + envelope + `, w.n FROM w CROSS JOIN events e ON e.stream = w.stream AND e.version > w.truncated
	UNION ALL SELECT l.version, s.name, e.version, ` + envelope + `, w.n FROM w CROSS JOIN links l ON l.stream = w.stream AND l.version > w.truncated
		CROSS JOIN events e ON e.seq = l.seq CROSS JOIN streams s ON s.stream = e.stream
	ORDER BY 15, 1`

// readShort reads the streams of those numbers; it is not whole when the page was full before its end.
func (s *streamsScan) readShort(c *conn, names []string, numbers []int64) (p page, whole bool, err error) {
	list, err := json.Marshal(numbers)
	if err != nil {
		return p, false, err
	}
	err = c.query(shortStreams, func(row []driver.Value) error { return p.add(names[row[14].(int64)], row) }, string(list))
	return p, !p.full, err
}
