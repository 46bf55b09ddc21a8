package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// settle runs an engine until it is idle, and fails when that takes longer than it may.
func (w *world) settle(within time.Duration) process.Stats {
	w.t.Helper()
	e := w.engine()
	w.with(e, func(ctx context.Context) {
		ctx, stop := context.WithTimeout(ctx, within)
		defer stop()
		if err := e.WaitIdle(ctx); err != nil {
			w.t.Errorf("not idle after %v: %+v; holds %+v", within, e.Stats(), w.holds())
		}
	})
	return e.Stats()
}

const soon = 3 * time.Second

// raw appends events as they are stored.
func (w *world) raw(module string, events ...event.Event) {
	w.t.Helper()
	must(w.logs[module].Append(context.Background(), eventlog.ToStream{Stream: "fact/" + module, Events: events}))
}

// An upcaster leaves an old event out: the page that it was read in goes on behind it.
func TestG9_AnEventThatStandsForNothingHidesNoOther(t *testing.T) {
	w := newWorld(t)
	w.types["payments"] = must(event.NewRegistry(event.Named[Noted]("noted"), event.Named[Paid]("paid", event.Schema(2),
		event.UpcastFrom(1, func(event.Raw) ([]event.Raw, error) { return nil, nil }))))
	w.record("sales", OrderPlaced{"a", 99})
	w.run()
	w.config.Definition = orderProcess(nil)
	w.raw("payments", event.Event{Type: "paid", Schema: 1, Data: []byte("{}")})
	const many = 1200
	for range many {
		w.record("payments", Noted{"a"})
	}
	stats := w.settle(soon)
	if stats.Ignored != many {
		t.Errorf("%d notes were recorded, of %d", stats.Ignored, many)
	}
}

// One old event stands for several facts today: each goes to its own instance, live and when history is read.
func TestSeveralFactsOfOneEventGoEachToItsOwn(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.types["payments"] = must(event.NewRegistry(event.Named[Noted]("noted"), event.Named[Paid]("paid", event.Schema(2),
			event.UpcastFrom(1, func(r event.Raw) ([]event.Raw, error) {
				var both []Paid
				if err := json.Unmarshal(r.Data, &both); err != nil {
					return nil, err
				}
				var all []event.Raw
				for _, p := range both {
					all = append(all, event.Raw{Type: "paid", Schema: 2, Data: must(json.Marshal(p))})
				}
				return all, nil
			}))))
		w.raw("payments", event.Event{Type: "paid", Schema: 1, Data: must(json.Marshal([]Paid{{"early", 7}, {"a", 1}}))}) // deferred
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"early", 1})
		w.settle(soon)
		w.record("sales", OrderPlaced{"b", 1}, OrderPlaced{"c", 1})
		w.settle(soon)
		w.raw("payments", event.Event{Type: "paid", Schema: 1, Data: must(json.Marshal([]Paid{{"b", 2}, {"c", 4}, {"b", 8}}))})
		w.settle(soon)
		for id, want := range map[string]int{"a": 1, "early": 7, "b": 10, "c": 4} {
			if got, _ := w.state(id); got.Cents != want {
				t.Errorf("%s was paid %d, want %d: %+v", id, got.Cents, want, got)
			}
		}
	})
}

// A queued input fails behind a timeout that is due before it: the timeout fires, and the input keeps failing by itself.
func TestG9_AQueuedInputFailsBehindATimeout(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Replay = s, true
		at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
		var failed atomic.Bool
		w.config.Definition = process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) { do.After(time.Hour, PayDue{}) }},
			process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
				Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
					if in.Event.Cents == 2 || !failed.Swap(true) {
						panic("trouble")
					}
					s.Inputs = append(s.Inputs, "paid")
					return s
				}},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
				Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { s.Inputs = append(s.Inputs, "due"); return s }},
		).Otherwise(process.Ignore)
		w.record("sales", event.New(OrderPlaced{"a", 1}).At(at), event.New(OrderPlaced{"b", 1}).At(at))
		w.record("payments", event.New(Paid{"a", 1}).At(at.Add(time.Minute)), event.New(Paid{"a", 2}).At(at.Add(2*time.Hour)), event.New(Paid{"b", 1}).At(at.Add(3*time.Hour)))
		w.seal("sales", "payments")
		ctx, stop := context.WithTimeout(t.Context(), soon)
		defer stop()
		e := w.engine()
		if err := e.Run(ctx); err != nil || ctx.Err() != nil {
			t.Fatalf("it did not come to an end: %v; %+v; %+v %v", ctx.Err(), w.holds(), e.Stats(), w.entries(eventlog.Cursor))
		}
		if got, _ := w.state("a"); !slices.Equal(got.Inputs, []string{"paid", "due"}) {
			t.Errorf("a took %v", got.Inputs)
		}
		if holds := w.holds(); len(holds) != 1 || holds[0].Condition != process.Held || holds[0].Queued != 1 || holds[0].Attempts != 3 {
			t.Errorf("holds: %+v", holds)
		}
	})
}

// The clock may move between a failure and the look at what is to be retried: what was not committed yet is not retried.
func TestG9_AFailureThatIsDueAtOnceIsNotLost(t *testing.T) {
	w := newWorld(t)
	var clock atomic.Int64
	began := time.Now()
	w.config.Now = func() time.Time { return began.Add(time.Duration(clock.Add(1)) * time.Second / 10) }
	var failures atomic.Int64
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: 1})
			}},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]]) OrderRun {
				if failures.Add(1) == 1 {
					panic("not yet")
				}
				s.Reserved = true
				return s
			}},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"a", 1})
	w.settle(soon)
	if got, _ := w.state("a"); !got.Reserved {
		t.Errorf("the outcome is lost: %+v, queued %v, holds %+v", got, w.entries(eventlog.Queued), w.holds())
	}
}

// fanOut is a process in which one event concerns all orders. Trouble is asked in its React.
func fanOut(keys []string, trouble func(key string, do *process.Step)) process.Definition {
	return process.Define("order",
		process.On[OrderRun, Noted]{Starts: true, Locate: process.Keys(func(Noted) []string { return keys }),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s },
			React: func(_ OrderRun, _ process.Input[Noted], do *process.Step) {
				if trouble != nil {
					trouble(do.Instance(), do)
				}
			}},
	).Otherwise(process.Ignore)
}

func TestG9_OneOfManyThatCannotBeStoredIsHeldAlone(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Retry.Attempts = s, 1
		w.config.Definition = fanOut([]string{"a", "huge", "c"}, func(key string, do *process.Step) {
			if key == "huge" {
				do.Emit(OrderClosed{ID: key, How: strings.Repeat("x", eventlog.MaxPayload)})
			}
		})
		w.record("payments", Noted{"all"}, Noted{"all"})
		w.settle(soon)
		if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "huge" || holds[0].Queued != 2 {
			t.Errorf("holds: %+v", holds)
		}
		for _, key := range []string{"a", "c"} {
			if got, _ := w.state(key); got.Notes != 2 {
				t.Errorf("%s took %d notes", key, got.Notes)
			}
		}
	})
}

// One event may concern more instances than one append can change: it is taken in several, also when it is met again in between.
func TestAFanOutMayBeLargerThanAnAppend(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Batch = s, 64
		keys := make([]string, 2000)
		for n := range keys {
			keys[n] = fmt.Sprint(n)
		}
		w.config.Definition = fanOut(keys, nil)
		var appends, most atomic.Int64
		w.log = func(_ string, l eventlog.Log) eventlog.Log {
			return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
				most.Store(max(most.Load(), int64(len(writes))))
				if n := appends.Add(1); n == 20 || n == 70 {
					return eventlog.Appended{}, errCrash
				}
				return l.Append(ctx, writes...)
			}}
		}
		w.record("payments", Noted{"all"}, Noted{"all"})
		w.settle(20 * time.Second)
		for _, key := range keys {
			if got, _ := w.state(key); got.Notes != 2 {
				t.Fatalf("%s took %d notes", key, got.Notes)
			}
		}
		if most.Load() > 64*3 {
			t.Errorf("an append of %d writes, with batches of 64", most.Load())
		}
	})
}

// A step emits an event under an id that the log has already: its instance is held, and the others go on.
func TestG9_AnIDThatIsTakenHoldsItsInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		id := event.NewID()
		w.config.Definition = process.Define("order",
			process.On[OrderRun, Noted]{Starts: true, Locate: process.Key(func(e Noted) string { return e.ID }),
				Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s },
				React: func(_ OrderRun, in process.Input[Noted], do *process.Step) {
					if in.Event.ID == "same" {
						do.Emit(event.New(OrderClosed{ID: "same", How: "noted"}).WithID(id))
					}
				}}).Otherwise(process.Ignore)
		w.record("payments", Noted{"same"}, Noted{"other"})
		w.settle(soon)
		w.record("payments", Noted{"same"}, Noted{"other"})
		w.settle(soon)
		if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "same" || holds[0].Condition != process.Held {
			t.Errorf("holds: %+v", holds)
		}
		if got, _ := w.state("other"); got.Notes != 2 {
			t.Errorf("other took %d notes", got.Notes)
		}
		w.record("payments", Noted{"other"})
		w.settle(soon)
		if got, _ := w.state("other"); got.Notes != 3 {
			t.Errorf("other took %d notes", got.Notes)
		}
	})
}

// Somebody else's events stand in the stream that an instance would get.
func TestG9_AStreamThatIsTakenHoldsItsInstance(t *testing.T) {
	w := newWorld(t)
	m := &aggregate.Module{Name: "sales", Log: w.logs["sales"], Types: w.types["sales"]}
	must(aggregate.Record(t.Context(), m, "order/a", OrderPlaced{"a", 1}))
	w.record("sales", OrderPlaced{"b", 1})
	w.settle(soon)
	w.wantStock(map[string][]string{"b": {"reserved"}})
	if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "a" || !strings.Contains(holds[0].Error, "order/a") {
		t.Errorf("holds: %+v", holds)
	}
}

// A key that a stream can have is too long for an entry, where its odd characters are escaped.
func TestOddKeys(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		odd := []string{"a", "a/b", "a%2Fb", "a%", "%", "/", "//", "a/", " ", "ä€😀", strings.Repeat("x", 390), "undecodable/payments/x"}
		for _, key := range odd {
			w.record("payments", Paid{key, 1})
			w.record("sales", OrderPlaced{key, 1})
		}
		w.record("sales", OrderPlaced{strings.Repeat("/", 350), 1}, OrderPlaced{strings.Repeat("x", 500), 1}, OrderPlaced{"\x01", 1}, OrderPlaced{"", 1}, OrderPlaced{"ensue.undecodable/x", 1}, OrderPlaced{"last", 1})
		w.settle(soon)
		want := map[string][]string{"last": {"reserved"}}
		for _, key := range odd {
			want[key] = []string{"reserved", "shipped"}
		}
		w.wantStock(want)
		if holds := w.holds(); len(holds) != 4 { // of two with too many bytes, one with a control character, and one that is the engine's
			t.Errorf("holds: %+v", holds)
		}
	})
}

// What is kept of one instance can no longer be read: it is held, and the others go on. What was handled before is not
// met again because of that.
func TestG9_AStreamThatIsBrokenHoldsItsInstance(t *testing.T) {
	begin := func(t *testing.T) *world {
		w := newWorld(t)
		w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
		w.settle(soon)
		w.record("payments", Noted{"good"}, Paid{"bad", 0})
		w.settle(soon)
		return w
	}
	for name, breaks := range map[string]func(t *testing.T, w *world){
		"an upcaster is missing": func(_ *testing.T, w *world) {
			w.types["payments"] = must(event.NewRegistry(event.Named[Noted]("noted"), event.Named[Paid]("paid", event.Schema(2))))
		},
		"truncated": func(t *testing.T, w *world) {
			if err := w.logs["sales"].(eventlog.StreamKeeper).TruncateStream(t.Context(), "order/bad", 2); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begin(t)
			breaks(t, w)
			w.record("sales", OrderPlaced{"new", 1})
			w.record("payments", Noted{"bad"}, Noted{"good"})
			w.settle(soon)
			if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "bad" || holds[0].Condition != process.Held {
				t.Errorf("holds: %+v", holds)
			}
			if got, _ := w.state("good"); got.Notes != 2 {
				t.Errorf("good was delayed: %+v", got)
			}
			if _, status := w.state("new"); status == process.New {
				t.Error("new was delayed")
			}
		})
	}
}

// A timeout that the definition no longer handles comes due: its instance is held, and the others go on.
func TestG9_ATimeoutThatNobodyHandlesHoldsItsInstance(t *testing.T) {
	w := newWorld(t)
	first := process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
		React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
			if in.Event.ID == "old" {
				do.After(time.Minute, PayDue{})
			}
			do.Send(Reserve{ID: in.Event.ID, Qty: 1})
		}}
	w.config.Definition = process.Define("order", first, process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { return s }}).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"old", 1})
	w.settle(soon)
	w.config.Definition = process.Define("order", first).Otherwise(process.Ignore)
	w.config.Now = func() time.Time { return time.Now().Add(time.Hour) }
	w.config.Lease.Now = time.Now
	w.record("sales", OrderPlaced{"new", 1})
	w.settle(soon)
	w.wantStock(map[string][]string{"old": {"reserved"}, "new": {"reserved"}})
	if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "old" || !strings.Contains(holds[0].Error, "no longer handles") {
		t.Errorf("holds: %+v", holds)
	}
}

// A note before the order was ignored. The order's first step fails, and cursors are lost before it succeeds.
func TestG8_WhatWasPassedBeforeAFailingBirthIsNeverApplied(t *testing.T) {
	for _, deferred := range []bool{false, true} {
		t.Run(fmt.Sprint("deferred ", deferred), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newWorld(t)
				w.config.Store = s
				var healed atomic.Bool
				w.config.Retry.Attempts = 1000
				w.config.Definition = orderProcess(func(_ string, in any) {
					if _, ok := in.(OrderPlaced); ok && !healed.Load() {
						panic("not yet")
					}
				})
				if deferred {
					w.record("payments", Paid{"a", 1})
				}
				w.record("payments", Noted{"a"})
				w.settle(soon)
				w.record("sales", OrderPlaced{"a", 99})
				e := w.engine()
				w.with(e, func(ctx context.Context) {
					waitFor(ctx, t, w.logs["sales"], func() bool { h := w.holds(); return len(h) == 1 && h[0].Condition == process.Retrying })
				})
				w.loseCursors()
				queued := len(w.entries(eventlog.Queued))
				e = w.engine()
				w.with(e, func(ctx context.Context) {
					waitFor(ctx, t, w.logs["sales"], func() bool { return e.Stats().Duplicates >= 2 || len(w.entries(eventlog.Queued)) > queued })
				})
				healed.Store(true)
				w.settle(soon)
				if got, _ := w.state("a"); got.Notes != 0 || !slices.Contains(got.Inputs, "placed") {
					t.Errorf("a note that was ignored before the order was placed has been applied: %+v", got)
				}
			})
		})
	}
}

// More timeouts than are read at once are replaced before they come up: what is behind them fires without delay.
func TestG11_ReplacedTimeoutsDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Lease.TTL = 24 * time.Hour
		keys := make([]string, 5000)
		for n := range keys {
			keys[n] = fmt.Sprintf("%05d", n)
		}
		fired := map[string]time.Time{}
		w.config.Definition = process.Define("order",
			process.On[OrderRun, Noted]{Starts: true, Locate: process.Keys(func(Noted) []string { return keys }),
				React: func(_ OrderRun, in process.Input[Noted], do *process.Step) { do.After(time.Hour, PayDue{}) }},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { return s },
				React: func(_ OrderRun, in process.Input[PayDue], do *process.Step) { fired[do.Instance()] = time.Now() }}).Otherwise(process.Ignore)
		w.record("payments", Noted{"all"})
		w.settle(time.Minute)
		e := w.engine()
		w.with2(e, func(ctx context.Context) { // its window holds the first ones
			pass(t, 30*time.Minute)
			w.record("payments", Noted{"all"})
			pass(t, 60*time.Minute+time.Second)
		})
		if len(fired) != len(keys) {
			t.Errorf("%d of %d timeouts fired in time", len(fired), len(keys))
		}
	})
}

// with2 is with, without a limit.
func (w *world) with2(e *process.Engine, do func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	do(ctx)
	stop()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
}

// WaitIdle does not return while a timeout is due, however long ago the process last rested.
func TestWaitIdleWaitsForWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.record("sales", OrderPlaced{"a", 1})
		var ahead atomic.Int64
		w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		w.config.Lease.Now = time.Now
		e := w.engine()
		w.with2(e, func(ctx context.Context) {
			if err := e.WaitIdle(ctx); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // it rests
			ahead.Store(int64(2 * time.Hour))
			if err := e.WaitIdle(ctx); err != nil {
				t.Fatal(err)
			}
			if got := w.closed(); len(got) != 1 {
				t.Errorf("idle, with a timeout an hour overdue: %v", got)
			}
		})
	})
}

// A process that few keys concern does not read everything again when it is started anew.
func TestCursorsOfQuietPartitionsFollow(t *testing.T) {
	w := newWorld(t)
	w.record("sales", OrderPlaced{"a", 99})
	for range 40 {
		m := &aggregate.Module{Name: "payments", Log: w.logs["payments"], Types: w.types["payments"]}
		facts := make([]any, 1000)
		for n := range facts {
			facts[n] = Noted{"a"}
		}
		must(aggregate.Record(t.Context(), m, "fact/payments", facts...))
	}
	w.settle(20 * time.Second)
	first := slices.Min(w.cursors("payments"))
	if first < 20_000 {
		t.Errorf("of 40000 events, a restart would begin behind %d", first)
	}
}

func (w *world) cursors(module string) (all []int) {
	for e, err := range w.logs["sales"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Cursor, Prefix: eventlog.Key("order", module) + "/"}) {
		var c struct{ Position int }
		if err = errors.Join(err, json.Unmarshal(e.Value, &c)); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, c.Position)
	}
	for len(all) < 16 {
		all = append(all, 0)
	}
	return all
}

// busyOrder sets, replaces and cancels timeouts, emits, completes, defers, ignores, and fails on 13.
func busyOrder() process.Definition {
	return process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[OrderPlaced]) OrderRun { return s.took("placed", in.Event.Qty) },
			React:  func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) { do.After(time.Hour, PayDue{}) }},
		process.On[OrderRun, Paid]{NoInstance: process.Defer, Locate: process.Keys(func(e Paid) []string { return []string{e.ID, e.ID + "x"} }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun { return s.took("paid", in.Event.Cents) },
			React: func(_ OrderRun, in process.Input[Paid], do *process.Step) {
				switch cents := in.Event.Cents; {
				case cents == 19:
					do.Complete()
				case cents%3 == 0:
					do.Cancel(PayDue{})
				case cents%3 == 1:
					do.After(time.Duration(cents)*time.Minute, PayDue{})
				}
			}},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { return s.took("noted", 0) }},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
			Evolve: func(s OrderRun, in process.Input[PayDue]) OrderRun { return s.took("due "+in.Time.Format("15:04"), 0) },
			React: func(s OrderRun, _ process.Input[PayDue], do *process.Step) {
				if len(s.Inputs) < 12 {
					do.After(90*time.Minute, PayDue{})
				}
				do.Emit(OrderClosed{do.Instance(), "due"})
			}},
	).Otherwise(process.Ignore)
}

func (s OrderRun) took(what string, n int) OrderRun {
	if n == 13 {
		panic("13")
	}
	s.Inputs = append(s.Inputs, fmt.Sprint(what, n))
	return s
}

// busyRun runs a random little history by the replay clock and returns what became of it.
func busyRun(t *testing.T, seed uint64, s process.Store, trouble func(w *world)) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	w.config.Store, w.config.Replay, w.config.Definition = s, true, busyOrder()
	w.config.Batch, w.config.Retry.Attempts, w.config.Cache = 1+r.IntN(9), 1+r.IntN(3), 1+r.IntN(6)
	for n := range 60 {
		id, module := []string{"a", "b", "ax", "c"}[r.IntN(4)], "payments"
		var fact event.Draft
		switch r.IntN(5) {
		case 0:
			fact, module = event.New(OrderPlaced{id, r.IntN(20)}), "sales"
		case 1, 2:
			fact = event.New(Paid{id, r.IntN(20)})
		default:
			fact = event.New(Noted{id})
		}
		w.record(module, fact.At(time.Date(2001, 2, 3, 0, n*5+r.IntN(3), 0, 0, time.UTC)))
	}
	w.seal("sales", "payments")
	trouble(w)
	ctx, stop := context.WithTimeout(t.Context(), 2*soon)
	defer stop()
	e := w.engine()
	if err := e.Run(ctx); err != nil || ctx.Err() != nil {
		t.Fatalf("it does not end: %v; %+v; %+v", err, e.Stats(), w.holds())
	}
	w.log = nil
	var b strings.Builder
	for _, id := range []string{"a", "b", "ax", "c", "bx", "axx", "cx"} {
		state, status := w.state(id)
		fmt.Fprintln(&b, id, status, state.Inputs)
	}
	for _, h := range w.holds() {
		fmt.Fprintln(&b, h.Instance, h.Condition, h.Queued)
	}
	fmt.Fprintln(&b, w.entries(eventlog.Timeout), len(w.entries(eventlog.Queued)), len(w.facts("sales")), must(process.Ignored(t.Context(), w.logs["sales"], "order")))
	return b.String()
}

// Random histories with failing steps, timeouts and fan-out end alike whether or not appends fail, answers are lost and
// cursors are lost on the way.
func TestG6_G8_G9_G11_RandomHistoriesEndAlikeWithAndWithoutTrouble(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		for seed := range uint64(15) {
			want := busyRun(t, seed, s, func(*world) {})
			got := busyRun(t, seed, s, func(w *world) {
				r, left := rand.New(rand.NewPCG(seed, 2)), 12
				w.log = func(_ string, l eventlog.Log) eventlog.Log {
					return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
						kind := r.IntN(12)
						if len(writes) < 2 || left == 0 || kind > 2 {
							return l.Append(ctx, writes...)
						}
						left--
						if kind == 1 { // the answer is lost
							if done, err := l.Append(ctx, writes...); err != nil {
								return done, err
							}
						}
						if kind == 2 && len(w.entries(eventlog.Cursor)) > 0 {
							w.loseCursors()
						}
						return eventlog.Appended{}, errCrash
					}}
				}
			})
			if got != want {
				t.Fatalf("seed %d:\n%s\nwith trouble:\n%s", seed, want, got)
			}
		}
	})
}
