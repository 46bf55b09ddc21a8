package process_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// watched is a log that was seen to reach its end, or so many positions less.
type watched struct {
	eventlog.Log
	less *atomic.Uint64
}

func (l watched) Seen() eventlog.Position {
	head := must(l.Head(context.Background()))
	return head - min(head, eventlog.Position(l.less.Load()))
}

// Wait takes its time, so that what was read and what there is differ for long enough to be noticed.
func (l watched) Wait(ctx context.Context, after eventlog.Position) error {
	if err := consumer.Sleep(ctx, time.Second); err != nil {
		return err
	}
	return l.Log.Wait(ctx, after)
}

// watch makes a module's log a watched one, and returns how many positions of it were not seen.
func (w *world) watch(module string) (less *atomic.Uint64) {
	less = new(atomic.Uint64)
	w.log = func(m string, l eventlog.Log) eventlog.Log {
		if m == module {
			return watched{l, less}
		}
		return l
	}
	return less
}

// A source is read as far as its log was seen to reach, and not a position further, where the next event is still to come;
// nor does it end there when the log goes on.
func TestG9_ASourceIsReadAsFarAsItsLogWasSeenToReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		less := w.watch("payments")
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		e := w.engine()
		w.with(e, func(ctx context.Context) {
			notes := 0
			for _, step := range []struct {
				what   string
				record int
				less   uint64
			}{
				{"all is seen", 3, 0},
				{"the next one is", 1, 0},
				{"all but one is", 3, 1},
				{"nothing new is", 2, 5},
				{"all is, again", 2, 0},
			} {
				less.Store(step.less)
				w.some("payments", 0, step.record, func(string) any { return Noted{"a"} })
				if err := e.WaitIdle(ctx); err != nil {
					t.Fatalf("%s: not idle: %v; %+v", step.what, err, e.Stats())
				}
				notes += step.record
				if got, _ := w.state("a"); got.Notes != notes {
					t.Errorf("%s: %d of %d were taken", step.what, got.Notes, notes)
				}
			}
		})
	})
}

// The replay clock does not take what was seen for all that there is: at the end of a sealed log it has passed every instant.
func TestG11_TheReplayClockAsksForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Replay = true
		w.watch("payments").Store(1)
		at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
		w.record("sales", event.New(OrderPlaced{"a", 1}).At(at))
		w.record("payments", event.New(Noted{"a"}).At(at.Add(time.Minute)), event.New(Paid{"a", 1}).At(at.Add(30*time.Minute)))
		w.seal("sales", "payments")
		if err := w.engine().Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.state("a"); !slices.Equal(got.Inputs, []string{"placed", "noted", "paid 1"}) {
			t.Errorf("it took %q", got.Inputs)
		}
	})
}
