package sqlitelog

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// mayRepeat tells whether an append that failed with err may still be a repeat of an earlier one, which succeeds
// whatever it expects (G5). What was written is to be rolled back before repeat is asked.
func mayRepeat(err error) bool {
	var closed *eventlog.StreamClosedError
	var nothing *eventlog.NoEventError
	return errors.Is(err, errNotFresh) || errors.Is(err, eventlog.ErrConflict) || errors.As(err, &closed) || errors.As(err, &nothing)
}

// known is an event of the log as far as a repeat is compared with it.
type known struct {
	position int64
	stream   int64
	version  int64
	typ      string
	data     []byte
}

// repeat tells what an append means whose writes failed with err: it returns the first append's results if the log
// holds all of its events, an IDError if it holds some of them or others by their ids, and otherwise err.
func (s *state) repeat(log *Log, writes []eventlog.Write, err error) (eventlog.Appended, error) {
	m, lookupErr := s.module(log.number)
	if lookupErr != nil {
		return eventlog.Appended{}, lookupErr
	}
	r := repeating{state: s, m: m, seen: map[event.ID]bool{}, results: make([]eventlog.Result, len(writes))}
	for i, w := range writes {
		if w, ok := w.(eventlog.ToStream); ok {
			if err := r.toStream(w, &r.results[i]); err != nil {
				return eventlog.Appended{}, err
			}
		}
	}
	switch {
	case r.there == 0 && errors.Is(err, errNotFresh):
		return eventlog.Appended{}, &eventlog.CorruptError{Address: log.file.path, Reason: "an event could not be stored, although neither its id nor its version is taken; run a check of the log"}
	case r.there == 0:
		return eventlog.Appended{}, err
	case len(r.missing) > 0:
		return eventlog.Appended{}, &eventlog.IDError{ID: r.first, Stream: r.firstStream, Reason: fmt.Sprintf("the log has it already, but not %d other events of the same append", len(r.missing))}
	}
	for i, w := range writes {
		if w, ok := w.(eventlog.LinkTo); ok {
			if err := r.linkTo(w, &r.results[i]); err != nil {
				return eventlog.Appended{}, err
			}
		}
	}
	return eventlog.Appended{Results: r.results, Repeat: true}, nil
}

type repeating struct {
	*state
	m           *module
	seen        map[event.ID]bool
	there       int
	missing     []string // streams of events that are not there
	first       event.ID // of those that are
	firstStream string
	results     []eventlog.Result
}

func (r *repeating) toStream(w eventlog.ToStream, result *eventlog.Result) error {
	st, err := r.stream(r.m.number, w.Stream)
	if err != nil {
		return err
	}
	for i := range w.Events {
		e := &w.Events[i]
		if e.ID.IsZero() {
			r.missing = append(r.missing, w.Stream)
			continue
		}
		if r.seen[e.ID] {
			return &eventlog.IDError{ID: e.ID, Stream: w.Stream, Reason: "it stands twice in one append"}
		}
		r.seen[e.ID] = true
		k, err := r.lookup(e.ID)
		if err != nil {
			return err
		}
		switch {
		case k == nil:
			r.missing = append(r.missing, w.Stream)
			continue
		case k.stream != st.number:
			return &eventlog.IDError{ID: e.ID, Stream: w.Stream, Reason: "the log has it in another stream"}
		case k.typ != e.Type:
			return &eventlog.IDError{ID: e.ID, Stream: w.Stream, Reason: fmt.Sprintf("the log has it as %q, not as %q", k.typ, e.Type)}
		case !bytes.Equal(k.data, e.Data):
			return &eventlog.IDError{ID: e.ID, Stream: w.Stream, Reason: "the log has it with another payload"}
		}
		if r.there++; r.there == 1 {
			r.first, r.firstStream = e.ID, w.Stream
		}
		if i == 0 {
			result.First = toVersion(k.version)
		}
		result.Last, result.Position = toVersion(k.version), eventlog.Position(k.position) // #nosec G115 -- positions count up from 0
	}
	return nil
}

func (r *repeating) lookup(id event.ID) (k *known, err error) {
	err = r.x.query(`SELECT e.seq, e.stream, e.version, t.name, e.data FROM events e JOIN types t ON t.type = e.type WHERE e.id = ? AND e.seq >> 44 = ?`,
		func(row []driver.Value) error {
			k = &known{position: row[0].(int64) & maxPosition, stream: row[1].(int64), version: row[2].(int64), typ: row[3].(string)}
			k.data, _ = row[4].([]byte)
			return nil
		}, id[:], r.m.number)
	return k, err
}

// linkTo fills in where the links of a repeated append stand. Which revision an entry got is not known any more.
func (r *repeating) linkTo(w eventlog.LinkTo, result *eventlog.Result) error {
	st, err := r.stream(r.m.number, w.Stream)
	if err != nil || st.number == 0 {
		return err
	}
	a := &appending{state: r.state, m: r.m}
	for i, p := range w.Positions {
		v, err := a.placeOf(st, r.m.number<<positionBits|int64(p&maxPosition)) // #nosec G115 -- masked
		if err != nil {
			return err
		}
		if i == 0 {
			result.First = toVersion(v)
		}
		result.Last = toVersion(v)
	}
	return nil
}
