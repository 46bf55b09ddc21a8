package process_test

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// What is appended behind a seal breaks it: the clock stops again.
func TestASealDoesNotCoverWhatComesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Replay = true
		at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
		w.record("sales", event.New(OrderPlaced{"a", 1}).At(at))
		w.record("payments", event.New(Noted{"a"}).At(at.Add(time.Minute)))
		w.seal("payments", "sales")
		w.record("payments", event.New(Noted{"a"}).At(at.Add(2*time.Minute)))
		for range 2 { // also when it begins behind the seal
			w.with(w.engine(), func(context.Context) { pass(t, 10*time.Second) })
		}
		if got := w.closed(); len(got) > 0 {
			t.Errorf("the clock passed a log that goes on behind its seal: %v", got)
		}
	})
}

func TestG11_TimeoutsFireOnceNeverEarlyAndSurviveRestarts(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.config.Store = s
			w.config.Lease.TTL = 10 * time.Minute
			w.record("sales", OrderPlaced{"expires", 1}, OrderPlaced{"paid", 1})
			began := time.Now()
			w.run()
			w.record("payments", Paid{"paid", 1})
			w.run()
			at := func(after time.Duration, want map[string][]string) {
				t.Helper()
				e := w.engine()
				ctx, stop := context.WithDeadline(t.Context(), began.Add(after))
				defer stop()
				var running sync.WaitGroup
				running.Go(func() { _ = e.Run(ctx) })
				running.Wait()
				if got := w.closed(); !reflect.DeepEqual(got, want) {
					t.Errorf("after %v: closed %v, want %v", after, got, want)
				}
			}
			at(time.Hour-1500*time.Millisecond, map[string][]string{"paid": {"shipped"}})
			at(time.Hour-time.Second, map[string][]string{"paid": {"shipped"}})
			at(time.Hour+time.Second, map[string][]string{"paid": {"shipped"}, "expires": {"expired"}})
			at(100*time.Hour, map[string][]string{"paid": {"shipped"}, "expires": {"expired"}})
			w.wantStock(map[string][]string{"paid": {"reserved", "shipped"}, "expires": {"reserved", "released"}})
		})
	})
}

// The engine was down when the timeout came due and when the payment was recorded; the earlier of the two goes first.
func TestG11_AfterAnOutageInputsAndTimeoutsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Lease.TTL = 10 * time.Minute
		w.record("sales", OrderPlaced{"late", 1}, OrderPlaced{"in time", 1})
		w.run()
		pass(t, 59*time.Minute)
		w.record("payments", Paid{"in time", 1})
		pass(t, 2*time.Minute)
		w.record("payments", Paid{"late", 1})
		pass(t, time.Hour)
		w.run()
		if got, want := w.closed(), (map[string][]string{"late": {"expired"}, "in time": {"shipped"}}); !reflect.DeepEqual(got, want) {
			t.Errorf("closed %v, want %v", got, want)
		}
	})
}

// pass lets virtual time pass.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	if err := consumer.Sleep(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestG11_ATimeoutGoesBeforeAnEventOfTheSameInstant(t *testing.T) {
	w := newWorld(t)
	w.config.Replay = true
	at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
	put := func(module string, fact any, at time.Time) {
		w.record(module, event.New(fact).At(at))
	}
	put("sales", OrderPlaced{"tie", 1}, at)
	put("sales", OrderPlaced{"before", 1}, at)
	put("payments", Paid{"before", 1}, at.Add(time.Hour-time.Microsecond))
	put("payments", Paid{"tie", 1}, at.Add(time.Hour))
	put("payments", Noted{"nobody"}, at.Add(2*time.Hour))
	w.seal("sales", "payments")
	// The outcome of Reserve would close "before": here only what happened to the timeout counts.
	if err := w.engine().Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	tie, _ := w.state("tie")
	if !slices.Contains(tie.Inputs, "pay-due") || slices.Contains(tie.Inputs, "paid 1") {
		t.Errorf("tie: %v; the timeout goes first, and completes the order", tie.Inputs)
	}
	if before, _ := w.state("before"); slices.Contains(before.Inputs, "pay-due") {
		t.Errorf("before: %v; the payment came a microsecond earlier", before.Inputs)
	}
}

// By the wall clock it is the same, though the engine comes later: what counts is when the payment was recorded.
func TestG11_ATimeoutGoesBeforeAnEventOfTheSameInstantByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Lease.TTL = 10 * time.Minute
		w.record("sales", OrderPlaced{"tie", 1}, OrderPlaced{"before", 1})
		due := time.Now().Add(time.Hour)
		w.run()
		pass(t, time.Until(due)-time.Microsecond)
		w.record("payments", Paid{"before", 1})
		pass(t, time.Microsecond)
		w.record("payments", Paid{"tie", 1})
		pass(t, time.Minute)
		w.run()
		if got, want := w.closed(), (map[string][]string{"tie": {"expired"}, "before": {"shipped"}}); !reflect.DeepEqual(got, want) {
			t.Errorf("closed %v, want %v", got, want)
		}
	})
}

func (w *world) seal(modules ...string) {
	w.t.Helper()
	for _, m := range modules {
		head := must(w.logs[m].Head(context.Background()))
		must(w.logs[m].Append(context.Background(), must(process.PutSeal(process.Seal{Position: head}))))
	}
}

// An unsealed source may still get events: the clock stops at its last one, for everyone to see.
func TestReplayClockStopsAtAnUnsealedSource(t *testing.T) {
	w := newWorld(t)
	w.config.Replay = true
	at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
	w.record("sales", event.New(OrderPlaced{"a", 1}).At(at))
	w.record("payments", event.New(Noted{"a"}).At(at.Add(time.Minute)))
	e := w.engine()
	w.with(e, func(ctx context.Context) {
		if err := e.WaitIdle(ctx); err != nil {
			t.Fatal(err)
		}
		if got := w.closed(); len(got) > 0 {
			t.Errorf("the timeout an hour later fired although payments may still say something: %v", got)
		}
		w.seal("payments", "sales")
		waitFor(ctx, t, w.logs["sales"], func() bool { return len(w.closed()) > 0 })
	})
}

func TestG11_CompletionCancelsTimeouts(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) { do.After(time.Hour, PayDue{}) }},
		process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
			React: func(_ OrderRun, _ process.Input[Paid], do *process.Step) { do.Complete() }},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
			React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) {
				do.Emit(OrderClosed{ID: do.Instance(), How: "fired"})
			}},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	if keys := w.entries(eventlog.Timeout); len(keys) != 1 {
		t.Fatalf("timeouts: %v", keys)
	}
	w.record("payments", Paid{"a", 1})
	w.run()
	if keys := w.entries(eventlog.Timeout); len(keys) != 0 {
		t.Errorf("completion left timeouts: %v", keys)
	}
	w.config.Now = func() time.Time { return time.Now().Add(100 * time.Hour) }
	w.config.Lease.Now = time.Now
	if w.run(); len(w.closed()) > 0 {
		t.Errorf("a timeout of a completed instance fired: %v", w.closed())
	}
}

// clocked is a log whose store has a clock of its own.
type clocked struct {
	eventlog.Log
	ahead time.Duration
}

func (l clocked) Links() bool                            { return true }
func (l clocked) Now(context.Context) (time.Time, error) { return time.Now().Add(l.ahead), nil }

// A timeout is due by the clock of the store, whatever this machine's clock says.
func TestG11_TimeoutsFireByTheStoresClock(t *testing.T) {
	for _, tt := range []struct {
		ahead time.Duration
		want  []string
	}{
		{59 * time.Minute, []string{"reserved"}},
		{61 * time.Minute, []string{"reserved", "released"}},
	} {
		w := newWorld(t)
		w.log = func(module string, l eventlog.Log) eventlog.Log {
			if module == "sales" {
				return clocked{l, tt.ahead}
			}
			return l
		}
		w.record("sales", OrderPlaced{ID: "1", Qty: 1}) // and it is to be paid within an hour
		w.run()
		w.wantStock(map[string][]string{"1": tt.want})
	}
}
