package sqlitelog

import (
	"database/sql/driver"
	"encoding/json"
	"errors"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// appending is one append under way: the writes of one call, applied in order.
//
// The way that matters is the usual one: expectations are checked against streams in memory, rows are inserted without
// asking whether their ids are there already, and the database's unique index objects if they are. Only then, or when
// an expectation is not met, is it asked whether the call repeats an earlier one. (Inserting many rows by one statement
// was measured; it is no faster.)
type appending struct {
	*state
	m        *module
	recorded int64 // 0 as long as there is no event
	row      [eventColumns]driver.Value
}

// errNotFresh means that an id of the call is in the log already.
var errNotFresh = errors.New("sqlitelog: an id is there already")

// apply applies the writes. After an error, rows and state are to be rolled back, and the error is one of eventlog's
// where the writes are at fault.
func (s *state) apply(log *Log, writes []eventlog.Write) (eventlog.Appended, error) {
	m, err := s.module(log.number)
	if err != nil {
		return eventlog.Appended{}, err
	}
	s.changeModule(m)
	a := &appending{state: s, m: m}
	results := make([]eventlog.Result, len(writes))
	for i, w := range writes {
		switch w := w.(type) {
		case eventlog.ToStream:
			results[i], err = a.toStream(w)
		case eventlog.LinkTo:
			results[i], err = a.linkTo(w)
		case eventlog.Put:
			results[i].Revision, err = a.put(w)
		case eventlog.Delete:
			err = a.remove(w)
		}
		if err != nil {
			return eventlog.Appended{}, err
		}
	}
	return eventlog.Appended{Results: results}, nil
}

// expect checks a stream against what a write expects of it.
func expect(st *stream, e eventlog.Expected) error {
	if st.closed {
		return &eventlog.StreamClosedError{Stream: st.key.name}
	}
	if !e.Allows(toVersion(st.version)) {
		return &eventlog.ConflictError{Stream: st.key.name, Expected: e, Actual: toVersion(st.version)}
	}
	return nil
}

func (a *appending) toStream(w eventlog.ToStream) (r eventlog.Result, err error) {
	st, err := a.expected(a.m.number, w.Stream, w.Expect)
	if err != nil {
		return r, err
	}
	if err := expect(st, w.Expect); err != nil {
		return r, err
	}
	if err := a.changeStream(st); err != nil {
		return r, err
	}
	if a.recorded == 0 {
		a.recorded = a.recordTime(a.m)
	}
	r.First = toVersion(st.version + 1)
	for i := range w.Events {
		if err := a.event(st, &w.Events[i]); err != nil {
			return r, err
		}
	}
	r.Last, r.Position = toVersion(st.version), eventlog.Position(a.m.head) // #nosec G115 -- positions count up from 0
	return r, nil
}

// event puts an event at the end of its stream and of the log.
func (a *appending) event(st *stream, e *event.Event) error {
	typ, err := a.typeNumber(e.Type)
	if err != nil {
		return err
	}
	id := e.ID[:]
	if e.ID.IsZero() {
		fresh := event.NewID()
		id = fresh[:]
	}
	st.version++
	a.m.head++
	seq := a.m.number<<positionBits | a.m.head
	occurred := a.recorded
	if !e.Occurred.IsZero() {
		occurred = e.Occurred.UnixMicro()
	}
	data := e.Data
	if data == nil {
		data = []byte{}
	}
	a.row = [...]driver.Value{seq, id, st.number, st.version, typ, flag(e.IsSystem()), int64(max(e.Schema, 1)), occurred, a.recorded,
		idValue(&e.Metadata.Correlation), idValue(&e.Metadata.Causation), nil, nil, data}
	if len(e.Metadata.Headers) > 0 {
		if a.row[11], err = jsonText(e.Metadata.Headers); err != nil {
			return err
		}
	}
	if len(e.Tags) > 0 {
		if a.row[12], err = jsonText(e.Tags); err != nil {
			return err
		}
	}
	a.undo.wrote = true
	_, err = a.x.exec(`INSERT INTO events (seq, id, stream, version, type, system, schema, occurred, recorded, correlation, causation, headers, tags, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.row[:]...)
	if extended, _ := code(err); extended == codeUnique {
		return errNotFresh
	}
	if err != nil {
		return err
	}
	for _, t := range e.Tags {
		if _, err := a.x.exec(`INSERT INTO tags (key, value, seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, t.Key, t.Value, seq); err != nil {
			return err
		}
	}
	return nil
}

const eventColumns = 14

func jsonText(v any) (driver.Value, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

func idValue(id *event.ID) driver.Value {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func (a *appending) linkTo(w eventlog.LinkTo) (r eventlog.Result, err error) {
	st, err := a.expected(a.m.number, w.Stream, w.Expect)
	if err != nil {
		return r, err
	}
	refused := expect(st, w.Expect)
	for i, p := range w.Positions {
		if p == 0 || p > eventlog.Position(a.m.head) { // #nosec G115 -- positions count up from 0
			return r, &eventlog.NoEventError{Stream: w.Stream, Position: p}
		}
		v, err := a.link(st, int64(p), refused) // #nosec G115 -- checked above
		if err != nil {
			return r, err
		}
		if i == 0 {
			r.First = toVersion(v)
		}
		r.Last = toVersion(v)
	}
	return r, nil
}

// link puts an event that is in the log into a stream and returns its version there, or the version that it has there
// already. Refused is why no new link may be made, if that is so.
func (a *appending) link(st *stream, position int64, refused error) (int64, error) {
	seq := a.m.number<<positionBits | position
	if st.version > 0 && (refused != nil || st.version > st.links) { // with events of its own, or nothing new to be linked
		if v, err := a.placeOf(st, seq); v > 0 || err != nil {
			return v, err
		}
	}
	if refused != nil {
		return 0, refused
	}
	if err := a.changeStream(st); err != nil {
		return 0, err
	}
	a.undo.wrote = true
	n, err := a.x.exec(`INSERT INTO links (stream, version, seq) VALUES (?, ?, ?) ON CONFLICT (seq, stream) DO NOTHING`, st.number, st.version+1, seq)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return a.placeOf(st, seq)
	}
	st.version++
	st.links++
	return st.version, nil
}

// placeOf returns the version of an event in a stream, 0 if it is not in it.
func (a *appending) placeOf(st *stream, seq int64) (int64, error) {
	return one(a.x, `SELECT version FROM links WHERE seq = ?1 AND stream = ?2 UNION ALL SELECT version FROM events WHERE seq = ?1 AND stream = ?2`, seq, st.number)
}

func (a *appending) put(w eventlog.Put) (eventlog.Revision, error) {
	e := &w.Entry
	revision := a.m.revision + 1
	value := e.Value
	if value == nil {
		value = []byte{}
	}
	a.undo.wrote = true
	var n int64
	var err error
	switch {
	case w.Expect == eventlog.AnyRevision:
		n, err = a.x.exec(`INSERT INTO entries (module, kind, key, due, revision, value) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (module, kind, key) DO UPDATE SET due = excluded.due, revision = excluded.revision, value = excluded.value`,
			a.m.number, int64(e.Kind), e.Key, micros(e.Due), revision, value)
	case w.Expect < 0:
		n, err = a.x.exec(`INSERT INTO entries (module, kind, key, due, revision, value) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (module, kind, key) DO NOTHING`, a.m.number, int64(e.Kind), e.Key, micros(e.Due), revision, value)
	default:
		n, err = a.x.exec(`UPDATE entries SET due = ?, revision = ?, value = ? WHERE module = ? AND kind = ? AND key = ? AND revision = ?`,
			micros(e.Due), revision, value, a.m.number, int64(e.Kind), e.Key, int64(w.Expect))
	}
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, a.entryConflict(e.Kind, e.Key, w.Expect)
	}
	a.m.revision, a.m.dirty = revision, true
	return eventlog.Revision(revision), nil
}

func (a *appending) remove(w eventlog.Delete) error {
	if w.Expect < 0 {
		actual, err := a.revision(w.Kind, w.Key)
		if err == nil && actual != 0 {
			err = &eventlog.EntryConflictError{Kind: w.Kind, Key: w.Key, Expected: w.Expect, Actual: actual}
		}
		return err
	}
	a.undo.wrote = true
	n, err := a.x.exec(`DELETE FROM entries WHERE module = ?1 AND kind = ?2 AND key = ?3 AND ?4 IN (0, revision)`,
		a.m.number, int64(w.Kind), w.Key, int64(w.Expect))
	if err == nil && n == 0 && w.Expect != eventlog.AnyRevision {
		err = a.entryConflict(w.Kind, w.Key, w.Expect)
	}
	return err
}

func (a *appending) entryConflict(k eventlog.Kind, key string, expected eventlog.Revision) error {
	actual, err := a.revision(k, key)
	if err != nil {
		return err
	}
	return &eventlog.EntryConflictError{Kind: k, Key: key, Expected: expected, Actual: actual}
}

func (a *appending) revision(k eventlog.Kind, key string) (eventlog.Revision, error) {
	n, err := one(a.x, `SELECT revision FROM entries WHERE module = ? AND kind = ? AND key = ?`, a.m.number, int64(k), key)
	return eventlog.Revision(n), err
}
