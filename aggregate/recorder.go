package aggregate

import "github.com/ensue-io/ensue/eventlog"

// Recorder is embedded by aggregates that are objects, or are kept in rows: they change themselves and record what
// happened; a work that tracks them appends it. The zero Recorder is ready to use.
//
//	type Order struct {
//		aggregate.Recorder
//		Confirmed bool
//	}
//
//	func (o *Order) Confirm() {
//		o.Confirmed = true
//		o.Record(OrderConfirmed{})
//	}
type Recorder struct{ facts []any }

// Record notes domain events, or drafts of them, in their order.
func (r *Recorder) Record(facts ...any) { r.facts = append(r.facts, facts...) }

// Recorded returns what was recorded and is not in a work yet.
func (r *Recorder) Recorded() []any { return r.facts }

func (r *Recorder) take() []any {
	facts := r.facts
	r.facts = nil
	return facts
}

// Recording is implemented by pointers to structs that embed a Recorder, and by nothing else.
type Recording interface{ take() []any }

type tracked struct {
	stream *stream
	object Recording
}

// Track makes the work append to the stream what the object records, up to the commit. The expectation is that of
// Append, and speaks of the stream as it is now: eventlog.Any is enough for an object that was loaded from the stream
// by this work, Exactly the version for one that was read elsewhere, NoStream for a new one. An object that is the
// state of the stream's aggregate has applied what it records, and does not see it in its evolve function again.
func (w *Work) Track(stream string, expect eventlog.Expected, object Recording) error {
	st, err := w.stream(stream)
	if err != nil {
		return err
	}
	if err := st.require(expect); err != nil {
		return w.fail(err)
	}
	w.tracked = append(w.tracked, tracked{stream: st, object: object})
	return w.drain()
}

// drain takes over what the tracked objects recorded.
func (w *Work) drain() error {
	for _, t := range w.tracked {
		for _, f := range t.object.take() {
			if err := w.recordBy(t.stream, f, t.object); err != nil {
				return err
			}
		}
	}
	return nil
}
