package process_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

var past = time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)

// happened records facts at instants after the beginning of the past.
func (w *world) happened(module string, after time.Duration, facts ...any) {
	w.t.Helper()
	for _, f := range facts {
		w.record(module, event.New(f).At(past.Add(after)))
	}
}

// askToResume keeps a request for the next run: one by the replay clock may be over before it is asked.
func (w *world) askToResume(key string) {
	w.t.Helper()
	var kept *process.UnansweredError
	r := process.Request{Action: process.ActResume, Instance: key, Wait: time.Millisecond}
	if _, err := process.Operate(context.Background(), w.logs["sales"], "order", r); !errors.As(err, &kept) {
		w.t.Fatalf("nobody runs, and it says %v", err)
	}
}

// However long a receiver takes, by the replay clock an outcome is taken before whatever is of a later instant.
func TestG11_ByTheReplayClockAnOutcomeGoesBeforeWhatIsLater(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Replay = s, true
		w.config.Definition = reserving(nil,
			process.On[OrderRun, Noted]{
				NoInstance: process.Ignore,
				Locate:     process.Key(func(e Noted) string { return e.ID }),
				Evolve:     func(s OrderRun, _ process.Input[Noted]) OrderRun { return tookNote(s, "noted") },
				React: func(_ OrderRun, in process.Input[Noted], do *process.Step) {
					do.After(time.Minute, PayDue{})
					do.Send(Reserve{ID: in.Event.ID, Qty: 11})
				},
			},
			process.OnRejected[OrderRun, Reserve]{
				Evolve: func(s OrderRun, _ process.Input[process.Rejected[Reserve]]) OrderRun { return tookNote(s, "rejected") },
			},
			process.OnTimeout[OrderRun, PayDue]{
				Name:   "pay-due",
				Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { return tookNote(s, "due") },
			})
		waiting := make(chan struct{})
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				select { // the receiver is slow
				case <-waiting:
				case <-ctx.Done():
				}
				return next(ctx, c, first)
			}
		}
		w.happened("sales", 0, OrderPlaced{"a", 1})
		w.happened("payments", 0, Paid{"a", 1})
		w.happened("payments", 10*time.Minute, Noted{"a"})
		w.happened("payments", time.Hour, Paid{"a", 1}, Noted{"b"})
		w.happened("sales", 2*time.Hour, OrderPlaced{"z", 1})
		w.seal("sales", "payments")
		e := w.engine()
		ctx, stop := context.WithTimeout(t.Context(), soon)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		waitFor(ctx, t, w.logs["sales"], func() bool { _, is := w.state("z"); return is != process.New })
		w.wantInputs("a", "placed")
		w.verify()
		if h := w.holds(); len(h) != 1 || h[0].Condition != process.Awaiting || h[0].Queued != 3 {
			t.Errorf("holds %+v", h)
		}
		close(waiting)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.wantInputs("a", "placed", "reserved", "paid", "noted", "rejected", "due", "paid")
		if h := w.holds(); len(h) > 0 {
			t.Errorf("holds %+v", h)
		}
		w.verify()
	})
}

// A command that is tried again and again holds the clock back for its own instance alone, also when the worker changes
// meanwhile, and when the instance is held for it in the end.
func TestG11_ACommandWithoutOutcomeDelaysItsOwnInstanceAlone(t *testing.T) {
	for name, held := range map[string]bool{"it has an outcome in the end": false, "its instance is held for it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Replay = true
			attempts, down := 0, true
			var remedy []process.Part[OrderRun]
			if held {
				remedy = append(remedy, process.OnError[OrderRun](func(process.Failure) process.Remedy { return process.HoldInstance() }))
			}
			w.config.Definition = reserving(nil, remedy...)
			w.bus = func(_ string, next dispatch) dispatch {
				return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
					w.calls.Lock()
					fails := down && string(c.Data) == `{"ID":"a","Qty":1}`
					if fails {
						attempts++
					}
					w.calls.Unlock()
					if fails {
						return command.Outcome{}, errors.New("no route to stock")
					}
					return next(ctx, c, first)
				}
			}
			w.happened("sales", 0, OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
			w.happened("payments", time.Hour, Paid{"a", 1}, Paid{"b", 1})
			w.seal("sales", "payments")
			for range 2 {
				w.with(w.engine(), func(ctx context.Context) {
					waitFor(ctx, t, w.logs["sales"], func() bool {
						w.calls.Lock()
						again := attempts > 2 || held && attempts > 0
						w.calls.Unlock()
						b, _ := w.state("b")
						return again && slices.Contains(b.Inputs, "paid")
					})
				})
				w.wantInputs("a", "placed")
				w.wantInputs("b", "placed", "reserved", "paid")
				w.verify()
			}
			w.calls.Lock()
			down = false
			w.calls.Unlock()
			ctx, stop := context.WithTimeout(t.Context(), soon)
			defer stop()
			if held {
				w.askToResume("a")
			}
			if err := w.engine().Run(ctx); err != nil {
				t.Fatal(err)
			}
			w.wantInputs("a", "placed", "reserved", "paid")
			w.verify()
		})
	}
}

// An outcome at which its instance fails keeps its place before what is of a later instant, and so does the next one.
func TestG11_OutcomesKeepTheirPlaceWhereAStepFails(t *testing.T) {
	w := newWorld(t)
	w.config.Replay = true
	w.config.Retry.Attempts = 1
	broken := true
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{
			Starts: true,
			Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: 1})
				do.Send(Ship{ID: in.Event.ID})
			},
		},
		process.On[OrderRun, Paid]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e Paid) string { return e.ID }),
			Evolve:     func(s OrderRun, _ process.Input[Paid]) OrderRun { return tookNote(s, "paid") },
		},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]]) OrderRun {
				if broken {
					panic("broken")
				}
				return tookNote(s, "reserved")
			},
		},
		process.OnAccepted[OrderRun, Ship, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Ship, struct{}]]) OrderRun {
				return tookNote(s, "shipped")
			},
		},
	).Otherwise(process.Ignore)
	ship := make(chan struct{})
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if c.Type == "ship" {
				select {
				case <-ship:
				case <-ctx.Done():
				}
			}
			return next(ctx, c, first)
		}
	}
	w.happened("sales", 0, OrderPlaced{"a", 1})
	w.happened("payments", time.Hour, Paid{"a", 1})
	w.seal("sales", "payments")
	ctx, stop := context.WithTimeout(t.Context(), soon)
	defer stop()
	e := w.engine()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	waitFor(ctx, t, w.logs["sales"], func() bool {
		h := w.holds()
		return len(h) == 1 && h[0].Condition == process.Held && h[0].Queued == 2
	})
	close(ship)
	if err := <-ended; err != nil { // held instances do not keep it
		t.Fatal(err)
	}
	broken = false
	w.askToResume("a")
	if err := w.engine().Run(ctx); err != nil {
		t.Fatal(err)
	}
	w.wantInputs("a", "reserved", "shipped", "paid")
	w.verify()
}
