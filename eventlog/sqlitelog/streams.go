package sqlitelog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"iter"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of what is read of several streams at once: longer streams are read by themselves, in pages.
const (
	streamsAtOnce = 128
	shortStream   = 128  // versions
	shortPage     = 1024 // versions, of all streams
)

// ReadStreams implements eventlog.StreamsReader. The events of each stream are those up to its version when its turn comes.
func (l *Log) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(*conn) ([]event.Recorded, bool, error) {
		s := streamsScan{log: l, names: streams, most: streamsAtOnce}
		return s.next
	})
}

// streamsScan is a read of several streams under way.
type streamsScan struct {
	log   *Log
	names []string    // still to be read
	most  int         // how many of them at once
	long  *streamScan // the one that is being read by itself, if any
}

// shortStreams are streams that are read together. What stands in them up to a version never changes, so it is read as it
// was when they were looked for, in statements of any number. Each event has its place in the page before it is read: the
// statements need no order.
type shortStreams struct {
	names []string
	found []found // by index in names; number 0 where there is no such stream
	total int     // versions
	page  page
}

// found is a stream that exists, and what of it is to be read: the versions above low, up to high.
type found struct {
	number, links, low, high int64
	at                       int // of its first event in the page
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
	short := shortStreams{names: s.names[:min(len(s.names), s.most)]}
	if err := short.find(c, s.log.number); err != nil {
		return nil, false, err
	}
	if len(short.names) > 0 {
		if err := short.read(c); err != nil {
			return nil, false, err
		}
	}
	switch {
	case len(short.names) == 0, short.page.full && len(short.names) == 1:
		s.startLong()
		return nil, true, nil
	case short.page.full: // their events are large: fewer of them at once
		s.most = len(short.names) / 2
		return nil, true, nil
	}
	s.most = min(2*s.most, streamsAtOnce)
	s.names = s.names[len(short.names):]
	return short.page.rows, len(s.names) > 0, short.page.finish(c, &s.log.file.types)
}

// startLong goes on with the first stream by itself.
func (s *streamsScan) startLong() {
	s.long = &streamScan{log: s.log, stream: s.names[0], query: eventlog.StreamQuery{System: true}, size: newPageSize(0)}
	s.names = s.names[1:]
}

// find looks for the streams, and leaves out the first one that isn't short, or too much with the others, and those behind it.
func (s *shortStreams) find(c *conn, module int64) error {
	list, err := json.Marshal(s.names)
	if err != nil {
		return err
	}
	s.found = make([]found, len(s.names))
	err = c.query(`SELECT j.key, s.stream, s.links, s.truncated, s.version FROM json_each(?) j CROSS JOIN streams s ON s.module = ? AND s.name = j.value`,
		func(row []driver.Value) error {
			s.found[row[0].(int64)] = found{number: row[1].(int64), links: row[2].(int64), low: row[3].(int64), high: row[4].(int64)}
			return nil
		}, string(list), module)
	if err != nil {
		return err
	}
	for n := range s.found {
		f := &s.found[n]
		f.at = s.total
		versions := int(f.high - f.low)
		if f.high > shortStream || s.total+versions > shortPage { // also truncated versions would be looked at
			s.names, s.found = s.names[:n], s.found[:n]
			break
		}
		s.total += versions
	}
	return nil
}

const (
	eventsOfStreams = `SELECT j.key, e.version, ` + envelope + ` FROM json_each(?) j CROSS JOIN events e ON e.stream = j.value`
	linksOfStreams  = `SELECT j.key, l.version, s.name, e.version, ` + envelope + ` FROM json_each(?) j CROSS JOIN links l ON l.stream = j.value
		CROSS JOIN events e ON e.seq = l.seq CROSS JOIN streams s ON s.stream = e.stream`
)

// read reads the streams, unless they are too much for a page, which is full then.
func (s *shortStreams) read(c *conn) error {
	s.page.rows, s.page.types = make([]event.Recorded, s.total), make([]int64, s.total)
	if err := s.readThose(c, eventsOfStreams, func(f *found) bool { return f.high-f.low > 0 && f.high > f.links }); err != nil {
		return err
	}
	if err := s.readThose(c, linksOfStreams, func(f *found) bool { return f.links > 0 }); err != nil || s.page.full {
		return err
	}
	if missing := func(r event.Recorded) bool { return r.Version == 0 }; slices.ContainsFunc(s.page.rows, missing) {
		s.page.types = slices.DeleteFunc(s.page.types, func(number int64) bool { return number == 0 })
		s.page.rows = slices.DeleteFunc(s.page.rows, missing)
	}
	return nil
}

// readThose reads what a statement finds of some of the streams.
func (s *shortStreams) readThose(c *conn, text string, of func(*found) bool) error {
	if s.page.full {
		return nil
	}
	var numbers []int64
	var index []int
	for n := range s.found {
		if f := &s.found[n]; f.number > 0 && of(f) {
			numbers, index = append(numbers, f.number), append(index, n)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		return err
	}
	return c.query(text, func(row []driver.Value) error {
		n := index[row[0].(int64)]
		f, version := &s.found[n], row[1].(int64)
		if version <= f.low || version > f.high {
			return nil
		}
		at := f.at + int(version-f.low-1)
		r := &s.page.rows[at]
		r.Place = event.Place{Stream: s.names[n], Version: toVersion(version)}
		row = row[2:]
		if len(row) > envelopeColumns {
			r.Origin = event.Place{Stream: row[0].(string), Version: toVersion(row[1].(int64))}
			row = row[2:]
		}
		s.page.types[at] = row[2].(int64)
		if err := fillEnvelope(r, row); err != nil {
			return err
		}
		return s.page.weigh(r)
	}, string(list))
}
