package logtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// watchers read a log while others append. Each checks that what it sees only ever grows at its end, and keeps the last
// of it: if that is a prefix of the final order, all that it saw was.
type watchers struct {
	*trial
	over context.Context // ends when the last append has returned
	stop context.CancelFunc
	all  sync.WaitGroup

	mu   sync.Mutex
	errs []error
	seen [][]event.Recorded // prefixes of the final order
	full [][]event.Recorded // all of it
}

func (t *trial) watch() *watchers {
	over, stop := context.WithCancel(t.ctx)
	t.Cleanup(stop)
	return &watchers{trial: t, over: over, stop: stop}
}

// end lets the watchers read to the end, and compares what they saw with what there is.
func (w *watchers) end() []event.Recorded {
	w.Helper()
	w.stop()
	w.within("reading to the end", w.all.Wait)
	final := w.read(eventlog.Query{})
	for _, err := range w.errs {
		w.Fatalf("a reader failed: %v", err)
	}
	for _, seen := range w.full {
		if err := grown(seen, final); err != nil || len(seen) < len(final) {
			w.Fatalf("a reader that followed saw %d events where there are %d: %v", len(seen), len(final), err)
		}
	}
	for _, seen := range w.seen {
		if err := grown(seen, final); err != nil {
			w.Fatalf("a reader saw what is no prefix of the final order: %v", err)
		}
	}
	return final
}

func (w *watchers) note(list *[][]event.Recorded, seen []event.Recorded, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, seen)
	if err != nil {
		w.errs = append(w.errs, err)
	}
}

// follow reads on behind what it has seen, until it has seen everything.
func (w *watchers) follow() {
	var seen []event.Recorded
	for after := eventlog.Position(0); ; {
		finished := w.over.Err() != nil // before the read: what is there when the last append has returned is all
		fresh, err := gather(w.log.Read(w.ctx, eventlog.Query{After: after}))
		seen = append(seen, fresh...)
		switch {
		case err != nil || finished && len(fresh) == 0:
			w.note(&w.full, seen, err)
			return
		case len(fresh) > 0:
			after = fresh[len(fresh)-1].Position
		case w.log.Wait(w.over, after) != nil:
			continue // the last append has returned
		}
	}
}

// news waits until there are some events behind those that were seen, or no more are coming.
func (w *watchers) news(seen []event.Recorded) {
	const some = 50
	if len(seen) > 0 {
		_ = awaited(w.over, w.log, seen[len(seen)-1].Position+some) // an error ends the reading, or comes again with the next read
	}
}

// reread reads from the beginning each time.
func (w *watchers) reread() {
	var seen []event.Recorded
	for finished := false; !finished; {
		finished = w.over.Err() != nil
		now, err := gather(w.log.Read(w.ctx, eventlog.Query{}))
		if err == nil {
			err = grown(seen, now)
		}
		if seen = now; err != nil {
			w.note(&w.seen, nil, err)
			return
		}
		w.news(seen)
	}
	w.note(&w.seen, seen, nil)
}

// restream reads a stream from the beginning each time; what it sees has no holes.
func (w *watchers) restream(stream string) {
	var seen []event.Recorded
	for finished := false; !finished; {
		finished = w.over.Err() != nil
		now, err := gather(w.log.ReadStream(w.ctx, stream, eventlog.StreamQuery{}))
		if err == nil {
			err = grown(seen, now)
		}
		for i, r := range now {
			if r.Place.Version != eventlog.Version(i+1) { // #nosec G115 -- an index
				err = fmt.Errorf("event %d of stream %q was seen at version %d", i+1, stream, r.Place.Version)
			}
		}
		if seen = now; err != nil {
			w.note(&w.seen, nil, err)
			return
		}
		w.news(seen)
	}
}

// grown tells where before is not a prefix of now.
func grown(before, now []event.Recorded) error {
	for i, r := range before {
		switch {
		case i >= len(now):
			return fmt.Errorf("the event that was seen at position %d is gone: %s", r.Position, describe(r))
		case r.ID != now[i].ID || r.Position != now[i].Position:
			return fmt.Errorf("as number %d an event was seen at position %d, and later one at position %d", i+1, r.Position, now[i].Position)
		}
	}
	return nil
}
