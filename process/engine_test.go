package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// scenario records a little of everything: an order that ships, one that is refused, a payment before its order, a note
// for nobody, and inputs for an order that is closed.
func scenario(w *world) {
	w.record("sales", OrderPlaced{"ships", 1})
	w.record("payments", Paid{"early", 5}, Noted{"early"}, Noted{"nobody"}, Paid{"ships", 10}, Noted{"ships"})
	w.record("sales", OrderPlaced{"refused", 99}, OrderPlaced{"early", 2}, OrderPlaced{"waits", 3})
	w.record("payments", Noted{"waits"}, Noted{"refused"})
}

var scenarioStock = map[string][]string{"ships": {"reserved", "shipped"}, "early": {"reserved", "shipped"}, "waits": {"reserved"}}

func checkScenario(t *testing.T, w *world) {
	t.Helper()
	w.wantStock(scenarioStock)
	want := map[string][]string{"ships": {"shipped"}, "early": {"shipped"}, "refused": {"rejected: too-many"}}
	if got := w.closed(); !reflect.DeepEqual(got, want) {
		t.Errorf("closed: got %v, want %v", got, want)
	}
	if s, status := w.state("waits"); status != process.Running || s.Notes != 1 {
		t.Errorf("order waits: %v %+v; want running with a note", status, s)
	}
	for _, kind := range []eventlog.Kind{eventlog.Pending, eventlog.Queued, eventlog.Hold} {
		if keys := w.entries(kind); len(keys) > 0 {
			t.Errorf("%v left: %v", kind, keys)
		}
	}
	if keys := w.entries(eventlog.Timeout); !slices.Equal(keys, []string{"order/waits/pay-due"}) {
		t.Errorf("timeouts left: %v; want that of the order that waits", keys)
	}
}

func eachStore(t *testing.T, do func(t *testing.T, s process.Store)) {
	t.Run("streams", func(t *testing.T) { do(t, process.Streams{}) })
	t.Run("documents", func(t *testing.T) { do(t, process.Documents{}) })
}

func TestScenario(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		scenario(w)
		w.run()
		checkScenario(t, w)
		ignored := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
		if want := map[string]int64{"no instance: noted": 2}; !reflect.DeepEqual(ignored, want) {
			t.Errorf("ignored without an instance: %v, want %v", ignored, want)
		}
	})
}

// Every append of the run fails once, before it is made or after: the result is that of a run without faults. This is
// the crash between any two transactions, and the answer that is lost without a crash.
func TestG6_G7_EveryAppendFailsOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		for _, lost := range []bool{false, true} {
			for n := int64(1); ; n++ {
				w := newWorld(t)
				w.config.Store = s
				w.config.Batch = 2
				scenario(w)
				var appends atomic.Int64
				w.log = func(_ string, l eventlog.Log) eventlog.Log {
					return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
						if appends.Add(1) != n {
							return l.Append(ctx, writes...)
						}
						if lost {
							if _, err := l.Append(ctx, writes...); err != nil {
								return eventlog.Appended{}, err
							}
						}
						return eventlog.Appended{}, errCrash
					}}
				}
				w.run()
				w.log = nil
				checkScenario(t, w)
				if t.Failed() {
					t.Fatalf("append %d failed, answer lost: %v", n, lost)
				}
				if appends.Load() < n {
					break
				}
			}
		}
	})
}

func TestG6_NothingLeavesBeforeItsStepIsCommitted(t *testing.T) {
	w := newWorld(t)
	var open atomic.Bool
	refused := make(chan struct{}, 100)
	w.log = func(m string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			if m == "sales" && hasKind(writes, eventlog.Pending) && !open.Load() {
				refused <- struct{}{}
				return eventlog.Appended{}, errCrash
			}
			return l.Append(ctx, writes...)
		}}
	}
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if !open.Load() {
				t.Errorf("command %q left before its step was committed", c.Type)
			}
			return next(ctx, c, first)
		}
	}
	w.record("sales", OrderPlaced{"a", 1})
	e := w.engine()
	w.with(e, func(ctx context.Context) {
		for range 3 { // three terms, whose step cannot be committed
			<-refused
		}
		open.Store(true)
		if err := e.WaitIdle(ctx); err != nil {
			t.Fatal(err)
		}
	})
	w.wantStock(map[string][]string{"a": {"reserved"}})
}

func TestG7_ACommandWhoseAnswerIsLostTakesEffectOnce(t *testing.T) {
	w := newWorld(t)
	var calls atomic.Int64
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			o, err := next(ctx, c, first)
			if calls.Add(1)%3 != 0 && err == nil {
				return command.Outcome{}, errCrash // it was handled, and nobody heard of it
			}
			return o, err
		}
	}
	scenario(w)
	w.run()
	checkScenario(t, w)
	w.calls.Lock()
	defer w.calls.Unlock()
	if slices.Sort(w.calls.handled); len(slices.Compact(slices.Clone(w.calls.handled))) != len(w.calls.handled) {
		t.Errorf("a handler ran twice: %v", w.calls.handled)
	}
}

func TestG7_CommandIDsDependOnTheStepAlone(t *testing.T) {
	ids := func(batch int) (ids []string) {
		w := newWorld(t)
		w.config.Batch = batch
		for n := range 3 {
			id := event.DeriveID("placed", fmt.Sprint(n))
			e := must(w.types["sales"].Encode(event.New(OrderPlaced{fmt.Sprint("o", n), 1}).WithID(id)))
			must(w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "fact/sales", Events: []event.Event{e}}))
		}
		w.run()
		for rec, err := range w.logs["stock"].Read(t.Context(), eventlog.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, rec.Metadata.Causation.String())
		}
		slices.Sort(ids)
		return ids
	}
	a, b := ids(1), ids(100)
	if !slices.Equal(a, b) {
		t.Errorf("ids differ between two runs: %v and %v", a, b)
	}
	if len(slices.Compact(a)) != 3 {
		t.Errorf("ids are not unique: %v", a)
	}
}

func TestAnotherStoreIsRefused(t *testing.T) {
	w := newWorld(t)
	scenario(w)
	w.run()
	w.config.Store = process.Documents{}
	if err := w.engine().Run(t.Context()); !errors.Is(err, process.ErrStore) {
		t.Errorf("got %v, want ErrStore", err)
	}
}

func TestG8_LostCursorsChangeNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		scenario(w)
		w.run()
		before := w.history(w.engine())
		head := must(w.logs["stock"].Head(t.Context()))
		w.loseCursors()
		stats := w.run()
		if stats.Inputs != 0 || stats.Duplicates == 0 {
			t.Errorf("after the loss: %+v; want duplicates and no input", stats)
		}
		if after := w.history(w.engine()); after != before {
			t.Errorf("history changed from\n%s\nto\n%s", before, after)
		}
		if now := must(w.logs["stock"].Head(t.Context())); now != head {
			t.Errorf("stock got new events: head %d, was %d", now, head)
		}
		ignored := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
		if ignored["no instance: noted"] != 2 {
			t.Errorf("ignored inputs were counted again: %v", ignored)
		}
	})
}

// A note that came before its order was ignored; it stays ignored when it is read again after the order was placed.
func TestG8_WhatWasPassedBeforeBirthIsNeverApplied(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.record("payments", Noted{"a"}, Noted{"b"})
		w.run()
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		w.loseCursors()
		w.run()
		if got, _ := w.state("a"); got.Notes != 0 {
			t.Errorf("a note that was ignored before the order was placed has been applied: %+v", got)
		}
	})
}

func TestG8_InputsOfOneLogAreTakenInItsOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Batch = 7
		w.config.Cache = 2
		ids := []string{"a", "b", "c", "d"}
		for _, id := range ids {
			w.record("sales", OrderPlaced{id, 1})
		}
		w.run()
		want := []string{"placed"}
		for n := range 40 {
			for _, id := range ids {
				w.record("payments", Noted{id}, Paid{id, -n})
			}
			want = append(want, "noted", fmt.Sprintf("paid %d", -n))
		}
		w.run()
		for _, id := range ids {
			if got, _ := w.state(id); !slices.Equal(got.Inputs, want) {
				t.Errorf("%s took %v, want %v", id, got.Inputs, want)
			}
		}
	})
}

// A log that is exported and imported has another identity: positions mean nothing there, ids do.
func TestG8_ImportedLogIsRecognisedByIDs(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		scenario(w)
		w.run()
		before, _ := w.state("waits")
		w.importAgain("payments")
		e := w.engine()
		if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "payments") {
			t.Fatalf("a replaced log must stop the process, got %v", err)
		}
		w.loseCursors()
		if stats := w.run(); stats.Inputs != 0 {
			t.Errorf("the imported log's inputs were taken again: %+v", stats)
		}
		if after, _ := w.state("waits"); !reflect.DeepEqual(after, before) {
			t.Errorf("state changed from %+v to %+v", before, after)
		}
		checkScenario(t, w)
	})
}

// importAgain replaces a module's log by another one with the same events.
func (w *world) importAgain(module string) {
	w.t.Helper()
	copied := memlog.New()
	for rec, err := range w.logs[module].Read(w.t.Context(), eventlog.Query{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		must(copied.Append(w.t.Context(), eventlog.ToStream{Stream: rec.Stream, Events: []event.Event{rec.Event}}))
	}
	w.logs[module] = copied
}

func TestG1_ARewoundLogStopsTheProcess(t *testing.T) {
	w := newWorld(t)
	w.record("payments", Noted{"a"}, Noted{"a"})
	w.run()
	w.logs["payments"] = memlog.New()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // which would end it without an error
	defer stop()
	if err := w.engine().Run(ctx); err == nil || !strings.Contains(err.Error(), "rewound") {
		t.Errorf("got %v, want ErrLogRewound", err)
	}
}

func TestANewerSchemaBlocksItsSourceVisibly(t *testing.T) {
	w := newWorld(t)
	w.record("sales", OrderPlaced{"a", 1})
	newer := event.Event{Type: "paid", Schema: 2, Data: []byte(`{"ID":"a"}`)}
	must(w.logs["payments"].Append(t.Context(), eventlog.ToStream{Stream: "fact/payments", Events: []event.Event{newer}}))
	w.record("payments", Paid{"a", 1})
	e := w.engine()
	w.with(e, func(ctx context.Context) {
		waitFor(ctx, t, w.logs["sales"], func() bool { return e.Stats().Blocked["payments"] != "" && e.Stats().Commands == 1 })
	})
	if got, _ := w.state("a"); got.Cents != 0 {
		t.Errorf("an event behind the one that cannot be read was taken: %+v", got)
	}
	if why := e.Stats().Blocked["payments"]; !strings.Contains(why, "newer program") {
		t.Errorf("blocked: %q", why)
	}
}

func TestG10_ALateInputNeverResurrects(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.record("sales", OrderPlaced{"a", 1})
		w.record("payments", Paid{"a", 1})
		w.run()
		w.record("payments", Paid{"a", 1}, Noted{"a"})
		w.record("sales", OrderPlaced{"a", 1})
		stats := w.run()
		if stats.Ignored != 3 || stats.Inputs != 0 {
			t.Errorf("%+v; want the three late inputs ignored", stats)
		}
		w.wantStock(map[string][]string{"a": {"reserved", "shipped"}})
		if _, status := w.state("a"); status != process.Completed {
			t.Errorf("status %v", status)
		}
		if s == (process.Streams{}) && strings.Count(w.history(w.engine()), "ignored (completed)") != 3 {
			t.Errorf("the late inputs are not in the history:\n%s", w.history(w.engine()))
		}
	})
}

// A worker is paused between deciding and committing, past its lease, while another one takes over. What the first one
// then tries to write changes nothing, also where no stream's version would have refused it.
func TestG12_AWorkerThatLostItsLeaseCannotWrite(t *testing.T) {
	for name, record := range map[string]func(*world){
		"a step":    func(w *world) { w.record("sales", OrderPlaced{"a", 1}) },
		"a counter": func(w *world) { w.record("payments", Noted{"nobody"}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Lease.TTL = 50 * time.Millisecond
			stopped, resume, late := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			var once sync.Once
			w.log = func(m string, l eventlog.Log) eventlog.Log {
				return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
					first := false
					if m == "sales" && hasKind(writes, eventlog.Cursor) {
						once.Do(func() { first = true })
					}
					if !first {
						return l.Append(ctx, writes...)
					}
					close(stopped)
					<-resume
					done, err := l.Append(ctx, writes...)
					late <- err
					return done, err
				}}
			}
			record(w)
			w.with(w.engine(), func(context.Context) {
				<-stopped
				w.log = nil
				other := w.engine()
				w.with(other, func(ctx context.Context) {
					if err := other.WaitIdle(ctx); err != nil {
						t.Fatal(err)
					}
					close(resume)
					var lost *eventlog.EntryConflictError
					if err := <-late; !errors.As(err, &lost) || lost.Kind != eventlog.Lease {
						t.Errorf("a worker that had lost its lease wrote: %v", err)
					}
				})
			})
		})
	}
}

// hasKind tells whether an append puts an entry of that kind.
func hasKind(writes []eventlog.Write, k eventlog.Kind) bool {
	return slices.ContainsFunc(writes, func(w eventlog.Write) bool {
		p, ok := w.(eventlog.Put)
		return ok && p.Entry.Kind == k
	})
}

func TestG13_LoadingEmitsNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		scenario(w)
		w.run()
		w.log = func(m string, l eventlog.Log) eventlog.Log {
			return wrapped{l, func(context.Context, ...eventlog.Write) (eventlog.Appended, error) {
				t.Errorf("reading history wrote to %q", m)
				return eventlog.Appended{}, errCrash
			}}
		}
		for _, key := range []string{"ships", "early", "refused", "waits", "none"} {
			w.state(key)
		}
	})
}

// The copy of a foreign input in the home log is a system record: it is no event of the home module, whoever reads there.
func TestCopiesInTheHomeLogAreNoEvents(t *testing.T) {
	w := newWorld(t)
	w.types["sales"] = must(event.NewRegistry(event.Named[OrderPlaced]("order-placed"), event.Named[OrderClosed]("order-closed"), event.Named[Paid]("paid")))
	w.config.Definition = process.Define("order",
		process.On[OrderRun, Paid]{Module: "payments", Starts: true, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun { s.Cents += in.Event.Cents; return s }},
		process.On[OrderRun, OrderPlaced]{NoInstance: process.Ignore, Locate: process.Key(func(e OrderPlaced) string { return e.ID }), Evolve: func(s OrderRun, _ process.Input[OrderPlaced]) OrderRun { return s }},
	).Otherwise(process.Ignore)
	w.record("payments", Paid{"a", 7})
	w.run()
	// Another process that follows payments as they are recorded in sales must see none.
	for rec, err := range w.logs["sales"].Read(t.Context(), eventlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("the home log shows %q in stream %q as an event", rec.Type, rec.Stream)
	}
	if got, _ := w.state("a"); got.Cents != 7 {
		t.Errorf("state %+v", got)
	}
}
