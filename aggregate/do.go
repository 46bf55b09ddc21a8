package aggregate

import (
	"context"
	"errors"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// conflictPause is how long a work is left alone that met a change by another program.
var conflictPause = consumer.Backoff{First: time.Millisecond, Most: 50 * time.Millisecond}

// Do opens a work, lets do load and change in it, and commits it. When somebody else changed meanwhile what it loaded
// (any error that is eventlog.ErrConflict), that is done again with a new work, after a short random pause, as often as the
// module's Tries say; then it is a *ContendedError. Any other error of do or of the commit is returned as it is.
func Do(ctx context.Context, m *Module, c Cause, do func(ctx context.Context, w *Work) error) (eventlog.Appended, error) {
	contended := ""
	for try := 1; ; try++ {
		w := NewWork(m, c)
		appended, err := w.run(ctx, do, contended)
		var inner *ContendedError
		if err == nil || !errors.Is(err, eventlog.ErrConflict) || errors.As(err, &inner) {
			return appended, err
		}
		if try >= m.tries() {
			return eventlog.Appended{}, &ContendedError{Tries: try, Err: err}
		}
		var conflict *eventlog.ConflictError
		if contended == "" && errors.As(err, &conflict) {
			contended = conflict.Stream // a turn comes soon enough
			continue
		}
		if err := consumer.Sleep(ctx, conflictPause.After(try)); err != nil { // it is another program that is quicker
			return eventlog.Appended{}, err
		}
	}
}

// run does the work once, in its turn for a stream about which there was a conflict.
func (w *Work) run(ctx context.Context, do func(ctx context.Context, w *Work) error, contended string) (eventlog.Appended, error) {
	w.polite = true
	defer w.giveTurns()
	if contended != "" {
		w.take(ctx, contended)
	}
	if err := do(ctx, w); err != nil {
		return eventlog.Appended{}, err
	}
	return w.Commit(ctx)
}

// Execute changes one aggregate: Do with one Change in it.
func Execute[S, E any](ctx context.Context, m *Module, t Type[S, E], id string, decide func(S) ([]E, error)) error {
	_, err := Do(ctx, m, Cause{}, func(ctx context.Context, w *Work) error { return Change(ctx, w, t, id, decide) })
	return err
}

// Record appends facts that need no decision, domain events or drafts of them, to a stream. Each gets an id, unless its
// draft has one, and is the beginning of a conversation: its correlation is its own id. Recording facts again whose
// drafts have the same ids changes nothing and returns what the first time returned. The module's Inside handlers run
// as for any other event.
//
// To append with another correlation, or under an expected version, open a work.
func Record(ctx context.Context, m *Module, stream string, facts ...any) (eventlog.Appended, error) {
	drafts := make([]any, len(facts))
	given := make([]event.ID, 0, len(facts))
	for i, f := range facts {
		d, ok := f.(event.Draft)
		if !ok {
			d = event.New(f)
		}
		if d.ID.IsZero() {
			d.ID = event.NewID()
		} else {
			given = append(given, d.ID)
		}
		drafts[i] = d
	}
	return Do(ctx, m, Cause{}, func(ctx context.Context, w *Work) error {
		repeat, err := w.isRepeat(ctx, given, len(facts))
		if err != nil {
			return err
		}
		if err := w.Append(stream, eventlog.Any, drafts...); err != nil {
			return err
		}
		for i := range w.events {
			w.events[i].Metadata.Correlation = w.events[i].ID
		}
		if repeat {
			w.handled = len(w.facts) // the handlers ran the first time; the log compares the rest
		}
		return nil
	})
}

// isRepeat tells whether all of the events are in the log already. It matters to a module with Inside handlers only:
// without them the append is exactly what it was the first time, which the log recognises by itself.
func (w *Work) isRepeat(ctx context.Context, given []event.ID, all int) (bool, error) {
	if all == 0 || len(given) < all {
		return false, nil
	}
	for _, h := range w.module.Handlers {
		if h.afterwards {
			continue
		}
		found := 0
		for _, err := range w.module.Log.Read(ctx, eventlog.Query{IDs: given}) {
			if err != nil {
				return false, err
			}
			found++
		}
		return found == all, nil
	}
	return false, nil
}
