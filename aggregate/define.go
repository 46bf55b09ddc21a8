package aggregate

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Type defines an aggregate: a state S folded over the events E of one stream. Make one with Define; it is a value,
// needs no module, and is safe for concurrent use.
type Type[S, E any] struct{ *definition[S, E] }

type definition[S, E any] struct {
	category string
	evolve   func(S, E) S
	policy   policy
	err      error // a mistake in the definition, returned by the first use
}

// policy says when snapshots are written, and in which format.
type policy struct {
	every  int // 0: never
	format int
}

// Option changes what Define makes.
type Option func(*policy)

// SnapshotEvery keeps a snapshot of the state, as JSON, and renews it with the append that brings the stream n or more
// versions beyond it. A load then folds over what came after the snapshot. The format is a number, 1 or more, to be
// raised whenever the state or its fold comes to mean something else: a snapshot of another format is not read.
//
// A state with snapshots has no unexported fields, which JSON would lose; types of its fields may implement
// json.Marshaler and json.Unmarshaler. A state larger than eventlog.MaxEntryValue is not kept. Of the aggregates that
// are folded from the streams of one category, one may have snapshots.
func SnapshotEvery(n, format int) Option {
	return func(p *policy) { p.every, p.format = n, format }
}

// Define returns the aggregate whose instances are the streams category/id. Its state begins as the zero S, and
// evolve, which must be pure, makes the next state out of a state and an event. E is the interface of the aggregate's
// events, or any: then events of unknown types reach evolve as event.Raw.
//
// A mistake (a category that is empty or holds a "/", a state that cannot be a snapshot) is a *DefinitionError, returned
// when the type is used, and by Check.
func Define[S, E any](category string, evolve func(S, E) S, options ...Option) Type[S, E] {
	d := &definition[S, E]{category: category, evolve: evolve}
	for _, o := range options {
		o(&d.policy)
	}
	d.err = d.check()
	return Type[S, E]{d}
}

func (d *definition[S, E]) check() error {
	snapshots := d.policy != policy{}
	switch {
	case d.category == "" || strings.Contains(d.category, "/"):
		return &DefinitionError{Category: d.category, Reason: "is empty or holds a /; it is what stands before the first / in the names of the aggregate's streams"}
	case eventlog.CheckStream(d.category) != nil:
		return &DefinitionError{Category: d.category, Reason: "can't begin a stream's name: " + eventlog.CheckStream(d.category).Error()}
	case d.evolve == nil:
		return &DefinitionError{Category: d.category, Reason: "has no function that evolves its state"}
	case snapshots && (d.policy.every < 1 || d.policy.format < 1):
		return &DefinitionError{Category: d.category, Reason: fmt.Sprintf("has snapshots every %d versions in format %d; both are 1 or more", d.policy.every, d.policy.format)}
	case snapshots:
		if field := lost(reflect.TypeFor[S](), map[reflect.Type]bool{}); field != "" {
			return &DefinitionError{Category: d.category, Reason: fmt.Sprintf("has snapshots, which would lose the unexported field %s of its state; export it, or implement json.Marshaler", field)}
		}
	}
	return nil
}

// lost returns a field that JSON would leave out of a value of type t, "" for none.
func lost(t reflect.Type, seen map[reflect.Type]bool) string {
	if seen[t] || t == reflect.TypeFor[Recorder]() {
		return ""
	}
	seen[t] = true
	for _, own := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(own) || reflect.PointerTo(t).Implements(own) {
			return ""
		}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return lost(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() && !f.Anonymous {
				return t.String() + "." + f.Name
			}
			if field := lost(f.Type, seen); field != "" {
				return field
			}
		}
	}
	return ""
}

// Check tells what is wrong with the definition, if anything: a *DefinitionError.
func (t Type[S, E]) Check() error {
	if t.definition == nil {
		return &DefinitionError{Reason: "is of no aggregate; make one with aggregate.Define"}
	}
	return t.err
}

// Category returns the category of the aggregate's streams.
func (t Type[S, E]) Category() string { return t.category }

// Stream returns the name of the stream of one aggregate.
func (t Type[S, E]) Stream(id string) string { return t.category + "/" + id }

// Fold returns the state that the events lead to, beginning at the zero state.
func (t Type[S, E]) Fold(events ...E) S {
	var s S
	for _, e := range events {
		s = t.evolve(s, e)
	}
	return s
}

// Load returns the state of one aggregate: the zero S where its stream does not exist. Within a work an aggregate is
// read once, and what the work appended since is in its state. The state is the work's: read it, don't change it.
//
// A work that only loaded an aggregate does not write to it, and does not notice when others change it before the work
// is committed.
//
// Errors, beside those of the log: *UnknownEventError, *TruncatedError, *DefinitionError, those of event.Registry's
// Decode, *eventlog.ConflictError where the stream is not what an earlier Append of the work expected, and ErrUsed.
func Load[S, E any](ctx context.Context, w *Work, t Type[S, E], id string) (S, error) {
	_, v, err := open(ctx, w, t, id)
	if err != nil {
		var none S
		return none, err
	}
	return v.state, nil
}

// Change loads an aggregate as Load does, lets decide make events out of its state, and appends them to the aggregate's
// stream when the work is committed, provided that nobody else appended to it meanwhile. Changes of one work see each
// other's events. No events is no change. An error of decide is returned as it is.
func Change[S, E any](ctx context.Context, w *Work, t Type[S, E], id string, decide func(S) ([]E, error)) error {
	st, v, err := open(ctx, w, t, id)
	if err != nil {
		return err
	}
	events, err := decide(v.state)
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := w.record(st, e); err != nil {
			return err
		}
	}
	return nil
}

// open returns the work's view of an aggregate, made out of the log when it is asked for the first time.
func open[S, E any](ctx context.Context, w *Work, t Type[S, E], id string) (*stream, *view[S, E], error) {
	if err := t.Check(); err != nil {
		return nil, nil, err
	}
	st, err := w.stream(t.Stream(id))
	if err != nil {
		return nil, nil, err
	}
	for _, known := range st.views {
		if v, ok := known.(*view[S, E]); ok && v.definition == t.definition {
			return st, v, nil
		}
	}
	w.await(ctx, st.name)
	v := &view[S, E]{definition: t.definition}
	version, err := v.load(ctx, w.module, st.name)
	if err != nil {
		return nil, nil, err
	}
	if !st.expect.Allows(version) {
		return nil, nil, w.fail(&eventlog.ConflictError{Stream: st.name, Expected: st.expect, Actual: version})
	}
	st.expect = eventlog.Exactly(version)
	for _, f := range w.facts {
		if f.stream == st {
			if err := v.apply(st.name, f.fact); err != nil {
				return nil, nil, w.fail(err)
			}
		}
	}
	st.views = append(st.views, v)
	return st, v, nil
}

// view is the state of one aggregate within a work.
type view[S, E any] struct {
	*definition[S, E]
	state    S
	snapshot eventlog.Version // of the stored snapshot that the state was made of
}

func (v *view[S, E]) apply(stream string, fact any) error {
	e, ok := fact.(E)
	if !ok {
		return &UnknownEventError{Stream: stream, GoType: reflect.TypeOf(fact), Wanted: reflect.TypeFor[E]()}
	}
	v.state = v.evolve(v.state, e)
	return nil
}

// is tells whether the state is that very object, which then has applied what it recorded.
func (v *view[S, E]) is(object Recording) bool {
	state, ok := any(v.state).(Recording)
	return ok && state == object
}

// load folds the stream and returns its last version.
func (v *view[S, E]) load(ctx context.Context, m *Module, name string) (eventlog.Version, error) {
	var kept *stored
	if v.policy.every > 0 {
		var err error
		if kept, err = v.restore(ctx, m.Log, name); err != nil {
			return 0, err
		}
	}
	var last eventlog.Version
	q := eventlog.StreamQuery{System: true} // system records count as versions
	if kept != nil {
		q.After = kept.Version - 1 // the event of the snapshot itself proves that the stream is still the one it was made of
	}
	for rec, err := range m.Log.ReadStream(ctx, name, q) {
		if err != nil {
			return 0, fmt.Errorf("aggregate: load stream %q: %w", name, err)
		}
		if last == 0 {
			if kept != nil && rec.Version == kept.Version && rec.ID == kept.Event {
				last = rec.Version
				continue
			}
			if kept != nil || rec.Version != 1 {
				return v.recover(ctx, m, name, kept, rec.Version)
			}
		}
		if err := v.fold(m, rec); err != nil {
			return 0, err
		}
		last = rec.Version
	}
	if last == 0 && kept != nil {
		return v.recover(ctx, m, name, kept, 0)
	}
	return last, nil
}

func (v *view[S, E]) fold(m *Module, rec event.Recorded) error {
	if rec.IsSystem() {
		return nil
	}
	facts, err := m.Types.Decode(rec.Event)
	if err != nil {
		return fmt.Errorf("aggregate: stream %q version %d: %w", rec.Stream, rec.Version, err)
	}
	for _, fact := range facts {
		e, ok := fact.(E)
		if !ok {
			return &UnknownEventError{Stream: rec.Stream, Version: rec.Version, Type: rec.Type, ID: rec.ID, GoType: reflect.TypeOf(fact), Wanted: reflect.TypeFor[E]()}
		}
		v.state = v.evolve(v.state, e)
	}
	return nil
}
