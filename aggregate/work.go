package aggregate

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Cause is on whose behalf a work is done.
type Cause struct {
	Command  event.ID       // the command that is handled; zero where there is none
	At       time.Time      // the instant at which it was decided: its input's time; zero for what nobody decided earlier
	Metadata event.Metadata // what every event of the work inherits: correlation, causation, carried headers
}

// Work is a unit of work of one module: what one command loads and changes, committed at once by whoever opened it. It
// is not safe for concurrent use.
type Work struct {
	module  *Module
	cause   Cause
	now     time.Time
	streams []*stream
	events  []event.Event    // in the order of recording
	facts   []fact           // what each of the events is in Go
	entries []eventlog.Write // puts and deletes
	tracked []tracked
	handled int // so many facts were given to the handlers
	depth   int // of the handler that runs: how many events led to it
	used    error
	polite  bool // takes turns for contended streams, and gives them back
	turns   []*turn
}

type fact struct {
	stream *stream
	fact   any
	depth  int
}

// stream is what a work knows of a stream.
type stream struct {
	name   string
	expect eventlog.Expected // of the stream as it is without the work
	added  int               // events that the work has for it
	views  []viewer
}

// viewer is a view of any type.
type viewer interface {
	apply(stream string, fact any) error
	is(object Recording) bool
	due(version eventlog.Version) bool
	keep(name string, version eventlog.Version, id event.ID) (eventlog.Write, error)
}

// NewWork opens a work. One that is not committed leaves nothing behind.
func NewWork(m *Module, c Cause) *Work { return &Work{module: m, cause: c} }

// Cause returns on whose behalf the work is done.
func (w *Work) Cause() Cause { return w.cause }

// Now returns the time at which the work is done, the same as often as it is asked: the cause's instant, or by the
// module's clock where there is none.
func (w *Work) Now() time.Time {
	if w.now.IsZero() {
		if w.now = w.cause.At; w.now.IsZero() {
			w.now = w.module.now()
		}
	}
	return w.now
}

// Append appends facts (domain events, or drafts of them) to a stream when the work is committed. The expectation speaks
// of the stream with what the work has appended to it so far; eventlog.Any is enough for a stream of which the work
// loaded the aggregate, since the version that was loaded is expected in any case.
//
// Errors: *eventlog.ConflictError where the expectation cannot be met, *event.UnregisteredError, *UnknownEventError for
// a fact that the loaded aggregate cannot be folded over, *eventlog.NameError, ErrUsed. After an error the work cannot
// be committed.
func (w *Work) Append(stream string, expect eventlog.Expected, facts ...any) error {
	st, err := w.stream(stream)
	if err != nil {
		return err
	}
	if err := st.require(expect); err != nil {
		return w.fail(err)
	}
	for _, f := range facts {
		if err := w.record(st, f); err != nil {
			return err
		}
	}
	return nil
}

// Put stores an entry in the append that commits the work. The kinds of entries belong to the packages that use them:
// this is for receipts, cursors and the like, not for a module's own state.
func (w *Work) Put(p eventlog.Put) { w.entries = append(w.entries, p) }

// Delete removes an entry in the append that commits the work.
func (w *Work) Delete(d eventlog.Delete) { w.entries = append(w.entries, d) }

// stream returns what the work knows of a stream.
func (w *Work) stream(name string) (*stream, error) {
	if w.used != nil {
		return nil, w.used
	}
	if err := w.drain(); err != nil {
		return nil, err
	}
	return w.find(name)
}

func (w *Work) find(name string) (*stream, error) {
	for _, st := range w.streams {
		if st.name == name {
			return st, nil
		}
	}
	if err := eventlog.CheckStream(name); err != nil {
		return nil, w.fail(err)
	}
	st := &stream{name: name}
	w.streams = append(w.streams, st)
	return st, nil
}

// require adds an expectation of the stream as it is with what the work has for it.
func (s *stream) require(e eventlog.Expected) error {
	added := eventlog.Version(s.added) // #nosec G115 -- a count
	switch {
	case e == eventlog.Any:
		return nil
	case s.expect == eventlog.NoStream || s.expect > 0:
		if actual := s.base() + added; !e.Allows(actual) {
			return &eventlog.ConflictError{Stream: s.name, Expected: e, Actual: actual}
		}
	case added == 0:
		if s.expect == eventlog.Exists && e == eventlog.NoStream {
			return &eventlog.ConflictError{Stream: s.name, Expected: e, Actual: 1}
		}
		s.expect = e
	case e == eventlog.Exists:
		return nil
	case e == eventlog.NoStream || eventlog.Version(e) < added || s.expect == eventlog.Exists && eventlog.Version(e) == added: // #nosec G115 -- positive
		return &eventlog.ConflictError{Stream: s.name, Expected: e, Actual: added}
	default:
		s.expect = eventlog.Exactly(eventlog.Version(e) - added) // #nosec G115 -- positive
	}
	return nil
}

// base returns the version that is expected, where one is.
func (s *stream) base() eventlog.Version {
	if s.expect > 0 {
		return eventlog.Version(s.expect) // #nosec G115 -- positive
	}
	return 0
}

// record adds one fact to the work, and to the states that were loaded from its stream.
func (w *Work) record(st *stream, f any) error { return w.recordBy(st, f, nil) }

func (w *Work) recordBy(st *stream, f any, by Recording) error {
	e, err := w.module.Types.Encode(f)
	if err != nil {
		return w.fail(err)
	}
	if d, ok := f.(event.Draft); ok {
		f = d.Fact
	}
	for _, v := range st.views {
		if by != nil && v.is(by) {
			continue
		}
		if err := v.apply(st.name, f); err != nil {
			return w.fail(err)
		}
	}
	own := e.Metadata.Headers
	e.Metadata = w.cause.Metadata
	if e.Occurred.IsZero() {
		e.Occurred = w.cause.At // of what nobody decided earlier it is zero, and the log's clock tells
	}
	if len(own) > 0 && len(e.Metadata.Headers) > 0 {
		all := maps.Clone(e.Metadata.Headers)
		maps.Copy(all, own)
		e.Metadata.Headers = all
	} else if len(own) > 0 {
		e.Metadata.Headers = own
	}
	w.events = append(w.events, e)
	w.facts = append(w.facts, fact{stream: st, fact: f, depth: w.depth})
	st.added++
	return nil
}

// fail makes the work unusable and returns the error.
func (w *Work) fail(err error) error {
	if w.used == nil {
		w.used = fmt.Errorf("%w: %w", ErrUsed, err)
	}
	return err
}

// Commit runs the module's Inside handlers for what the work appended, and then writes everything in one append, each
// stream under the version that was loaded or expected (G4). The results are those of this append, entries first. A
// work with nothing to write writes nothing.
//
// Whatever it returns, the work is used up. After an error of the log nothing was written, with the exception that the
// log's contract makes: an answer that was lost. Errors: those of the log's Append, *HandlerError, *DepthError, and
// ErrUsed.
func (w *Work) Commit(ctx context.Context) (eventlog.Appended, error) {
	writes, err := w.Writes(ctx)
	if err != nil || len(writes) == 0 {
		return eventlog.Appended{}, err
	}
	return w.module.Log.Append(ctx, writes...)
}

// Writes is Commit up to the append, which is left to the caller: for those who append in a transaction of their own
// (eventlog.SQLTransactor), in which they also write the rows of an aggregate that is kept in tables. It returns
// nothing where there is nothing to write.
func (w *Work) Writes(ctx context.Context) ([]eventlog.Write, error) {
	if w.used != nil {
		return nil, w.used
	}
	if err := w.finish(ctx); err != nil {
		return nil, w.fail(err)
	}
	w.used = ErrUsed
	return w.writes()
}

// finish drains what is tracked and runs the Inside handlers, until neither adds anything.
func (w *Work) finish(ctx context.Context) error {
	for {
		if err := w.drain(); err != nil {
			return err
		}
		if w.handled == len(w.facts) {
			return nil
		}
		f := w.facts[w.handled]
		w.handled++
		w.depth = f.depth + 1
		for i := range w.module.Handlers {
			h := &w.module.Handlers[i]
			if h.afterwards || !h.matches(f.fact) {
				continue
			}
			if w.depth > maxDepth {
				return &DepthError{Handler: h.name, Event: h.fact, Depth: maxDepth}
			}
			if err := h.run(ctx, w, f.fact); err != nil {
				return err
			}
			if w.used != nil { // the handler kept an error to itself
				return w.used
			}
		}
	}
}

// writes returns the append: entries, then events in the order of recording, then the snapshots that are due.
func (w *Work) writes() ([]eventlog.Write, error) {
	if len(w.entries) == 0 && len(w.events) == 0 {
		return nil, nil
	}
	writes := make([]eventlog.Write, 0, len(w.entries)+len(w.streams))
	writes = append(writes, w.entries...)
	for _, st := range w.streams {
		st.added = -st.added // negative until its first events are among the writes
	}
	for i := 0; i < len(w.events); {
		st, from := w.facts[i].stream, i
		for i < len(w.events) && w.facts[i].stream == st {
			i++
		}
		to := eventlog.ToStream{Stream: st.name, Events: w.events[from:i:i]}
		if st.added < 0 {
			st.added, to.Expect = -st.added, st.expect
		}
		writes = append(writes, to)
	}
	for _, st := range w.streams {
		if st.added <= 0 || len(st.views) == 0 {
			continue
		}
		version := st.base() + eventlog.Version(st.added) // #nosec G115 -- a count
		for _, v := range st.views {
			if !v.due(version) {
				continue
			}
			put, err := v.keep(st.name, version, w.last(st))
			if err != nil {
				return nil, err
			}
			if put != nil {
				writes = append(writes, put)
			}
		}
	}
	return writes, nil
}

// last returns the id of the stream's last event, which gets one now if it has none.
func (w *Work) last(st *stream) event.ID {
	for i := len(w.events) - 1; i >= 0; i-- {
		if w.facts[i].stream == st {
			if w.events[i].ID.IsZero() {
				w.events[i].ID = event.NewID()
			}
			return w.events[i].ID
		}
	}
	return event.ID{}
}
