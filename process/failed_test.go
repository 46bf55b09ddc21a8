package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// The process of these tests reserves what is ordered, as its options say, and takes note of what comes.
func reserving(options []process.SendOption, more ...process.Part[OrderRun]) process.Definition {
	return process.Define("order", append([]process.Part[OrderRun]{
		process.On[OrderRun, OrderPlaced]{
			Starts: true,
			Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[OrderPlaced]) OrderRun { return tookNote(s, "placed") },
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty}, options...)
			},
		},
		process.On[OrderRun, Paid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e Paid) string { return e.ID }),
			Evolve:     func(s OrderRun, _ process.Input[Paid]) OrderRun { return tookNote(s, "paid") },
		},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]]) OrderRun {
				return tookNote(s, "reserved")
			},
		},
	}, more...)...).Otherwise(process.Ignore)
}

// noteFailed takes the failure of a reservation.
var noteFailed = process.OnFailed[OrderRun, Reserve]{
	Evolve: func(s OrderRun, in process.Input[process.Failed[Reserve]]) OrderRun {
		what := "failed: "
		if in.Event.Expired {
			what = "expired: "
		}
		return tookNote(s, what+in.Event.Command.ID+": "+in.Event.Reason)
	},
	React: func(_ OrderRun, _ process.Input[process.Failed[Reserve]], do *process.Step) {
		do.Send(Release{ID: do.Instance()})
	},
}

func tookNote(s OrderRun, what string) OrderRun {
	s.Inputs = append(slices.Clip(s.Inputs), what)
	return s
}

func (w *world) wantInputs(key string, want ...string) {
	w.t.Helper()
	if got, _ := w.state(key); !slices.Equal(got.Inputs, want) {
		w.t.Errorf("%s took %q, want %q; holds %+v", key, got.Inputs, want, w.holds())
	}
}

// receipts returns the statuses of stock's receipts of a type of command.
func (w *world) receipts(name string) (all []command.Status) {
	w.t.Helper()
	for r, err := range command.Receipts(context.Background(), w.logs["stock"]) {
		if err != nil {
			w.t.Fatal(err)
		}
		if r.Type == name {
			all = append(all, r.Status)
		}
	}
	return all
}

// released releases an instance that is held, while no engine runs.
func (w *world) released(key string) {
	w.t.Helper()
	entryKey := eventlog.Key("order", key)
	for e, err := range w.logs["sales"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Hold, Keys: []string{entryKey}}) {
		if err != nil {
			w.t.Fatal(err)
		}
		var h process.Holding
		if err := json.Unmarshal(e.Value, &h); err != nil || h.Condition != process.Held {
			w.t.Fatalf("%+v: %v", h, err)
		}
		h.Condition = process.Retrying
		e.Value, e.Due = must(json.Marshal(h)), time.Now().Add(-time.Second)
		must(w.logs["sales"].Append(context.Background(), eventlog.Put{Entry: e}))
	}
}

var errTimeout = errors.New("no answer from stock\nin time")

// unlessAnswered has dispatches fail, except for commands that have their receipt.
func (w *world) unlessAnswered(err error) {
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, _ bool) (command.Outcome, error) {
			for _, unread := range command.Receipts(ctx, w.logs["stock"], c.ID) {
				if unread != nil {
					return command.Outcome{}, unread
				}
				return next(ctx, c, false)
			}
			if c.Type != "reserve" {
				return next(ctx, c, false)
			}
			return command.Outcome{}, err
		}
	}
}

// A command is given up after its attempts, and the program ends between the receipt and the record of the step.
func TestG7_AFailureIsTakenOnceAcrossACrash(t *testing.T) {
	for name, written := range map[string]bool{"before the record": false, "when the answer was lost": true} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newWorld(t)
				w.config.Store, w.config.Retry.Dispatch = s, 2
				w.config.Definition = reserving(nil, noteFailed)
				w.unlessAnswered(errTimeout)
				var given, crashed atomic.Bool
				w.fail = func(ctx context.Context, c command.Envelope, reason string, bus *command.Bus) (command.Outcome, error) {
					defer given.Store(true)
					return bus.Fail(ctx, c, reason)
				}
				w.log = func(module string, l eventlog.Log) eventlog.Log {
					if module != "sales" {
						return l
					}
					return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
						if given.Load() && !crashed.Swap(true) {
							if written {
								must(l.Append(ctx, writes...))
							}
							return eventlog.Appended{}, errCrash
						}
						return l.Append(ctx, writes...)
					}}
				}
				w.record("sales", OrderPlaced{"a", 1})
				w.settle(soon)
				if !crashed.Load() {
					t.Fatal("nothing crashed")
				}
				w.wantInputs("a", "placed", "failed: a: no answer from stock")
				w.wantStock(map[string][]string{"a": {"released"}})
				if got := w.receipts("reserve"); !slices.Equal(got, []command.Status{command.Failed}) {
					t.Errorf("receipts: %v", got)
				}
				w.verify()
			})
		})
	}
}

// A command is given up while a slow attempt is about to commit: whoever is first at the receiver decides for both.
func TestG7_ACommandIsNeverBothFailedAndDone(t *testing.T) {
	for name, slowFirst := range map[string]bool{"the attempt commits behind it": false, "the attempt commits first": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Retry.Dispatch = 1
			w.config.Definition = reserving(nil, noteFailed)
			ready, commit, done := make(chan struct{}), make(chan struct{}), make(chan command.Outcome, 1)
			var slow atomic.Bool
			w.log = func(module string, l eventlog.Log) eventlog.Log {
				if module != "stock" {
					return l
				}
				return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
					if slow.CompareAndSwap(true, false) { // the attempt has handled it, and was stopped before its commit
						close(ready)
						<-commit
					}
					return l.Append(ctx, writes...)
				}}
			}
			w.bus = func(_ string, next dispatch) dispatch {
				return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
					if c.Type != "reserve" || !first {
						return next(ctx, c, first)
					}
					slow.Store(true)
					go func() { done <- must(next(context.WithoutCancel(ctx), c, first)) }()
					<-ready
					return command.Outcome{}, errTimeout
				}
			}
			var attempt command.Outcome
			w.fail = func(ctx context.Context, c command.Envelope, reason string, bus *command.Bus) (command.Outcome, error) {
				if slowFirst {
					close(commit)
					attempt = <-done
				}
				return bus.Fail(ctx, c, reason)
			}
			w.record("sales", OrderPlaced{"a", 1})
			e := w.engine()
			w.with(e, func(ctx context.Context) {
				if err := e.WaitIdle(ctx); err != nil {
					t.Fatal(err)
				}
				if !slowFirst {
					close(commit)
					attempt = <-done
				}
			})
			if slowFirst {
				w.wantInputs("a", "placed", "reserved")
				w.wantStock(map[string][]string{"a": {"reserved"}})
			} else {
				w.wantInputs("a", "placed", "failed: a: no answer from stock")
				w.wantStock(map[string][]string{"a": {"released"}})
			}
			want := command.Failed
			if slowFirst {
				want = command.Accepted
			}
			if attempt.Status != want || attempt.Repeat == slowFirst {
				t.Errorf("the attempt was told %+v", attempt)
			}
			if got := w.receipts("reserve"); !slices.Equal(got, []command.Status{want}) {
				t.Errorf("receipts: %v", got)
			}
			w.verify()
		})
	}
}

func TestG7_ACommandPastItsDeadlineNeverRuns(t *testing.T) {
	for name, c := range map[string]struct {
		options []process.SendOption
		late    time.Duration // of stock's clock
		replay  bool
		want    string // the last input; a reason begins with it
	}{
		"no deadline":         {nil, time.Hour, false, "reserved"},
		"in time":             {[]process.SendOption{process.Within(time.Hour)}, time.Minute, false, "reserved"},
		"too late":            {[]process.SendOption{process.Within(time.Hour)}, 2 * time.Hour, false, "expired: a: it was to be handled before "},
		"an instant":          {[]process.SendOption{process.Before(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))}, 0, false, "expired: a: it was to be handled before 2001-01-01T00:00:00Z"},
		"the later one":       {[]process.SendOption{process.Before(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)), process.Within(time.Hour)}, 0, false, "reserved"},
		"by the replay clock": {[]process.SendOption{process.Within(time.Hour)}, 2 * time.Hour, true, "reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Definition, w.config.Replay = reserving(c.options, noteFailed), c.replay
			w.clock = func() time.Time { return time.Now().Add(c.late) }
			w.record("sales", OrderPlaced{"a", 1})
			if c.replay {
				w.seal("sales", "payments")
				ctx, stop := context.WithTimeout(t.Context(), soon)
				defer stop()
				if err := w.engine().Run(ctx); err != nil || ctx.Err() != nil {
					t.Fatal(err, ctx.Err())
				}
			} else {
				w.settle(soon)
			}
			got, _ := w.state("a")
			if len(got.Inputs) != 2 || !strings.HasPrefix(got.Inputs[1], c.want) {
				t.Errorf("it took %q", got.Inputs)
			}
			if expires := strings.HasPrefix(c.want, "expired"); expires == slices.Contains(w.calls.handled, "reserve a") {
				t.Errorf("handled: %v", w.calls.handled)
			}
			for step, err := range process.History(t.Context(), w.engine().Home(), "a") {
				if err != nil {
					t.Fatal(err)
				}
				if step.Birth != nil && step.Sent[0].Before.IsZero() != (c.options == nil) {
					t.Errorf("its deadline is kept as %v", step.Sent[0].Before)
				}
			}
			w.verify()
		})
	}
	t.Run("the zero time is no deadline", func(t *testing.T) {
		w := newWorld(t)
		w.config.Retry.Attempts = 1
		w.config.Definition = reserving([]process.SendOption{process.Before(time.Time{})})
		w.record("sales", OrderPlaced{"a", 1})
		w.settle(soon)
		if holds := w.holds(); len(holds) != 1 || !strings.Contains(holds[0].Error, "its deadline is the zero time") {
			t.Errorf("holds: %+v", holds)
		}
	})
}

// The definition says nothing of a command that failed: the instance is held with it, and nothing is lost. A definition
// that takes it, does so when the instance is released.
func TestG9_AFailureThatNobodyHandlesHoldsTheInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Retry.Dispatch = s, 1
		asked := atomic.Int64{}
		w.config.Definition = reserving(nil, process.OnError[OrderRun](func(f process.Failure) process.Remedy {
			if f.Command == nil {
				asked.Add(1)
			}
			return process.Remedy{}
		}))
		w.unlessAnswered(errTimeout)
		w.record("sales", OrderPlaced{"a", 1})
		w.settle(soon)
		w.record("payments", Paid{"a", 1})
		w.settle(soon)
		holds := w.holds()
		if len(holds) != 1 || holds[0].Condition != process.Held || holds[0].Queued != 2 || !holds[0].Command.IsZero() || asked.Load() != 0 ||
			!strings.Contains(holds[0].Error, "no answer from stock; the definition has no OnFailed for it") {
			t.Fatalf("holds: %+v", holds)
		}
		if pending := w.entries(eventlog.Pending); len(pending) != 0 {
			t.Errorf("pending: %v", pending)
		}
		w.verify()

		w.released("a") // too soon: it is the same definition
		w.settle(soon)
		if holds := w.holds(); len(holds) != 1 || holds[0].Condition != process.Held || holds[0].Queued != 2 {
			t.Fatalf("holds: %+v", holds)
		}

		w.config.Definition = reserving(nil, noteFailed)
		w.released("a")
		w.settle(soon)
		w.wantInputs("a", "placed", "failed: a: no answer from stock", "paid")
		w.wantStock(map[string][]string{"a": {"released"}})
		w.verify()
		if s == (process.Streams{}) { // what was taken is history: it stops nobody when the part is gone again
			w.config.Definition = reserving(nil)
			w.wantInputs("a", "placed", "paid")
		}
	})
}

// A failure that comes when the instance has completed holds it just the same, where the definition does not handle it: what
// was to ensue has not. Where it does, the declared choice counts.
func TestG9_AFailureBehindTheEnd(t *testing.T) {
	w := newWorld(t)
	w.config.Retry.Dispatch = 1
	end := process.React(func(_ OrderRun, do *process.Step) { do.Complete() })
	w.config.Definition = reserving(nil, end)
	w.unlessAnswered(errTimeout)
	w.record("sales", OrderPlaced{"a", 1})
	w.settle(soon)
	if holds := w.holds(); len(holds) != 1 || holds[0].Condition != process.Held || !strings.Contains(holds[0].Error, "has no OnFailed for it") {
		t.Errorf("holds: %+v", holds)
	}
	w.config.Definition = reserving(nil, noteFailed, end) // a completed instance ignores it
	w.released("a")
	if stats := w.settle(soon); len(w.holds()) != 0 || stats.Ignored != 1 {
		t.Errorf("%+v, holds %+v", stats, w.holds())
	}
	w.wantInputs("a", "placed")
	w.verify()
}
