package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
)

// operate has something done while an engine runs, and fails unless every answer is the one wanted.
func (w *world) operate(r process.Request, want error) []process.Answer {
	w.t.Helper()
	e := w.engine()
	var answers []process.Answer
	w.with(e, func(ctx context.Context) {
		answers = w.asks(ctx, e, r, want)
		if err := e.WaitIdle(ctx); err != nil {
			w.t.Fatalf("not idle: %v; %+v; holds %+v", err, e.Stats(), w.holds())
		}
	})
	if left := w.entries(eventlog.Request); len(left) > 0 {
		w.t.Errorf("requests or answers left: %v", left)
	}
	return answers
}

func (w *world) asks(ctx context.Context, e *process.Engine, r process.Request, want error) []process.Answer {
	w.t.Helper()
	r.Progress = func(int, int) { e.Notice() }
	answers, err := process.Operate(ctx, w.logs["sales"], "order", r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Action, err)
	}
	for _, a := range answers {
		if !errors.Is(a.Err, want) || want == nil && a.Err != nil {
			w.t.Errorf("%s of %s: got %v, want %v", r.Action, a.Instance, a.Err, want)
		}
	}
	return answers
}

func one(action process.Action, instance string) process.Request {
	return process.Request{Action: action, Instance: instance, Reason: "by mistake", By: "ada"}
}

func replacing(instance, data string) process.Request {
	r := one(process.ActReplace, instance)
	r.Data = json.RawMessage(data)
	return r
}

// records returns an instance's history, in short: inputs, and what an operator made of them.
func (w *world) records(key string) (all []string) {
	w.t.Helper()
	home := w.engine().Home()
	for s, err := range process.History(context.Background(), home, key) {
		if err != nil {
			w.t.Fatal(err)
		}
		what := s.Input.Type
		if s.Input.Kind == process.TimeoutInput {
			what = "timeout"
		}
		for name, is := range map[string]bool{" deferred": s.Deferred && !s.Corrected, " resumed": s.Resumed && s.Ignored == "", " corrected": s.Corrected,
			" linked": s.Linked, " (was " + string(original(&s.Input)) + ")": s.Input.Replaced != nil} {
			if is {
				what += name
			}
		}
		if s.Ignored != "" {
			what += " ignored: " + s.Ignored
		}
		if s.Ending != "" {
			what += " " + string(s.Ending)
		}
		if s.Why != "" {
			what += ", " + s.Why
		}
		if s.Operator != "" {
			what += " by " + s.Operator
		}
		all = append(all, what)
	}
	return all
}

func original(in *process.Taken) []byte {
	if in.Replaced == nil {
		return nil
	}
	return in.Replaced.Data
}

// wantRecords compares the end of an instance's history; ids in it are left out. Documents have none.
func (w *world) wantRecords(key string, want ...string) {
	w.t.Helper()
	if _, documents := w.config.Store.(process.Documents); documents {
		return
	}
	got := w.records(key)
	if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
		w.t.Errorf("history of %s:\n%s\nwant, at the end:\n%s", key, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (w *world) wantApplied(key string, want ...string) {
	w.t.Helper()
	if got, _ := w.state(key); !slices.Equal(got.Inputs, want) {
		w.t.Errorf("%s took %q, want %q", key, got.Inputs, want)
	}
}

func (w *world) wantHolds(want ...string) []process.Holding {
	w.t.Helper()
	holds := w.holds()
	got := []string{}
	for _, h := range holds {
		got = append(got, fmt.Sprintf("%s %s %d", h.Instance, h.Condition, h.Queued))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("holds %q, want %q; %+v", got, want, holds)
	}
	return holds
}

// troubled is a world in which inputs fail as long as the program is broken.
type troubled struct {
	*world
	broken atomic.Bool
	fails  func(id string, in any) bool
	key    string
}

func newTroubled(t *testing.T, s process.Store, fails func(id string, in any) bool) *troubled {
	w := &troubled{world: newWorld(t), fails: fails}
	w.config.Store = s
	w.broken.Store(true)
	w.config.Definition = orderProcess(func(id string, in any) {
		if w.broken.Load() && w.fails(id, in) {
			panic(fmt.Sprintf("no %T for %s", in, id))
		}
	})
	return w
}

func isNote(_ string, in any) bool { _, ok := in.(Noted); return ok }

// aHeldOrder is an order that is held with a note; a payment queues behind it.
func aHeldOrder(t *testing.T, s process.Store) *troubled {
	w := newTroubled(t, s, isNote)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	w.record("payments", Noted{"a"}, Paid{"a", 5})
	w.run()
	w.wantHolds("a held 2")
	return w
}

func TestG9_ResumeTakesWhatFailedAndWhatQueuesInOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActResume, "a"), nil) // nothing has changed
		if h := w.wantHolds("a held 2"); h[0].Attempts != 3 {
			t.Errorf("attempts are counted on, not from 0: %+v", h)
		}
		w.broken.Store(false)
		w.operate(one(process.ActResume, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 5")
		w.wantStock(map[string][]string{"a": {"reserved", "shipped"}})
		w.operate(one(process.ActResume, "a"), process.ErrNotHeld)
		w.operate(one(process.ActSkip, "nobody"), process.ErrNotHeld)
		w.verify()
	})
}

func TestG9_SkipLeavesOneInputOutAndSaysWhy(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActSkip, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "paid 5")
		w.wantRecords("a", "noted ignored: skipped: by mistake, by mistake by ada", "paid")
		w.broken.Store(false)
		w.loseCursors()
		w.run()
		w.wantApplied("a", "placed", "paid 5")
		w.verify()
	})
}

func TestG9_ReplaceTakesACorrectedInputAndKeepsTheOriginal(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(_ string, in any) bool { p, ok := in.(Paid); return ok && p.Cents < 0 })
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		w.record("payments", Paid{"a", -5}, Noted{"a"})
		w.run()
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"Cents":"five"}`), process.ErrBadInput)
		w.operate(replacing("a", `{"ID":"a","Cents":-6}`), nil) // it fails as well
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"ID":"a","Cents":5}`), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "paid 5")
		w.wantRecords("a", `paid (was {"ID":"a","Cents":-5})`, "noted ignored: completed")
		w.loseCursors()
		w.run()
		w.wantApplied("a", "placed", "paid 5")
		w.verify()
	})
}

// An event of the home log is linked, not copied: a corrected one is not read from the link.
func TestG9_AReplacedEventOfTheHomeLogIsNotReadFromIt(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(_ string, in any) bool { p, ok := in.(OrderPlaced); return ok && p.Qty < 0 })
		w.record("sales", OrderPlaced{"a", -1})
		w.run()
		w.record("payments", Paid{"a", 3})
		w.run()
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"ID":"a","Qty":11}`), nil)
		w.wantHolds()
		if got := w.closed(); !slices.Equal(got["a"], []string{"rejected: too-many"}) {
			t.Errorf("closed: %v; want the corrected order of 11 to be rejected", got)
		}
		if _, documents := s.(process.Documents); !documents {
			if first := w.records("a")[0]; first != `order-placed (was {"ID":"a","Qty":-1})` {
				t.Errorf("the first record: %s", first)
			}
		}
		w.verify()
	})
}

func TestG9_CancelCompletesAnInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActCancel, "a"), nil)
		w.wantHolds()
		w.wantRecords("a", "cancel cancelled, by mistake by ada", "noted ignored: cancelled", "paid ignored: cancelled")
		w.record("payments", Paid{"a", 6})
		w.broken.Store(false)
		w.run()
		w.wantRecords("a", "paid ignored: completed")
		w.wantApplied("a", "placed")
		if left := w.entries(eventlog.Timeout); len(left) > 0 {
			t.Errorf("timeouts left: %v", left)
		}
		w.operate(one(process.ActCancel, "a"), process.ErrCompleted)
		w.operate(one(process.ActCancel, "nobody"), process.ErrNoInstance)
		w.operate(one(process.ActHold, "a"), process.ErrCompleted)

		w.record("sales", OrderPlaced{"healthy", 1})
		w.run()
		w.operate(one(process.ActCancel, "healthy"), nil)
		w.record("payments", Paid{"healthy", 6})
		w.run()
		w.wantApplied("healthy", "placed")
		i := must(process.Look(t.Context(), w.engine().Home(), "healthy"))
		if i.Status != process.Completed || i.Ending != process.Cancelled || len(i.Timers) > 0 {
			t.Errorf("cancelled: %+v", i)
		}
		for sum, err := range process.ListInstances(t.Context(), w.logs["sales"], "order", "") {
			if err != nil || sum.Ending != process.Cancelled {
				t.Errorf("listed: %+v, %v", sum, err)
			}
		}
		w.verify()
	})
}

func TestG9_HoldBackAHealthyInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(string, any) bool { return false })
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
		w.run()
		w.operate(one(process.ActHold, "nobody"), process.ErrNoInstance)
		w.operate(one(process.ActHold, "a"), nil)
		w.record("payments", Noted{"a"}, Paid{"a", 1}, Paid{"b", 1})
		w.run()
		if h := w.wantHolds("a held 2"); h[0].Reason != "by mistake" || h[0].By != "ada" {
			t.Errorf("it does not say why: %+v", h)
		}
		w.wantStock(map[string][]string{"a": {"reserved"}, "b": {"reserved", "shipped"}})
		w.operate(one(process.ActSkip, "a"), process.ErrNothingFailed)
		w.operate(one(process.ActResume, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 1")
		w.verify()
	})
}

type dunning struct{ Cents int }

// everyKind is a process that is held with a timeout, an outcome, or a note that was deferred until it is paid. A payload
// of less than 0 is bad.
func everyKind(broken func() bool) process.Definition {
	const open, paid = process.Phase("open"), process.Phase("paid")
	took := func(s OrderRun, what string, bad bool) OrderRun {
		if bad && broken() {
			panic("bad " + what)
		}
		s.Inputs = append(slices.Clone(s.Inputs), what)
		return s
	}
	return process.Define("order",
		process.Phases(func(s OrderRun) process.Phase {
			if s.Cents > 0 {
				return paid
			}
			return open
		}, open, paid),
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.After(time.Hour, dunning{Cents: -7})
				do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty})
			}},
		process.On[OrderRun, Paid]{NoInstance: process.Defer, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				s.Cents += max(in.Event.Cents, 1)
				return took(s, fmt.Sprint("paid ", in.Event.Cents), in.Event.Cents < 0)
			}},
		process.On[OrderRun, Refund]{NoInstance: process.Hold, Defer: []process.Phase{open}, In: []process.Phase{paid}, Locate: process.Key(func(e Refund) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Refund]) OrderRun {
				return took(s, fmt.Sprint("refund ", in.Event.Cents), in.Event.Cents < 0)
			}},
		process.OnTimeout[OrderRun, dunning]{Name: "reminder", Evolve: func(s OrderRun, in process.Input[dunning]) OrderRun {
			return took(s, fmt.Sprint("reminder ", in.Event.Cents), in.Event.Cents < 0)
		}},
		process.OnRejected[OrderRun, Reserve]{Evolve: func(s OrderRun, in process.Input[process.Rejected[Reserve]]) OrderRun {
			return took(s, "rejected "+in.Event.Rejection.Code, in.Event.Rejection.Code == "too-many")
		}},
	).Deferring(process.Deferral{Within: 48 * time.Hour}).Otherwise(process.Ignore)
}

type Refund struct {
	ID    string
	Cents int
}

// What fails is not always an event that stands in the queue.
func TestG9_EveryKindOfInputCanBeSkippedReplacedAndCancelled(t *testing.T) {
	type kind struct {
		prepare   func(w *troubled) // until it is held
		data      string            // a corrected payload
		bad       error             // why it cannot be replaced
		skipped   []string          // what it has taken when the failing input is skipped
		replaced  []string
		left      []string // what stands aside when it is skipped
		unstarted bool     // there is no instance
		after     time.Duration
	}
	kinds := map[string]kind{
		"timeout": {prepare: func(w *troubled) {
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
		}, after: 2 * time.Hour, data: `{"Cents":7}`, skipped: []string{"paid 3"}, replaced: []string{"reminder 7", "paid 3"}},
		"timeout on the way": {prepare: func(w *troubled) { // it fires when an input in the queue is taken that came behind it
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
			w.record("payments", Paid{"a", -1})
			w.run()
			w.wantHolds("a held 1")
			w.later(2 * time.Hour)
			w.record("payments", Paid{"a", 2})
			w.run()
			w.operate(one(process.ActSkip, "a"), nil)
			if h := w.holds(); len(h) != 1 || !strings.Contains(h[0].Input, "timeout") {
				w.t.Fatalf("it is not held with the timeout: %+v", h)
			}
		}, data: `{"Cents":7}`, skipped: []string{"paid 2", "paid 3"}, replaced: []string{"reminder 7", "paid 2", "paid 3"}},
		"outcome": {prepare: func(w *troubled) {
			w.record("sales", OrderPlaced{"a", 11})
			w.run()
		}, data: `{"code":"sold-out"}`, skipped: []string{"paid 3"}, replaced: []string{"rejected sold-out", "paid 3"}},
		"deferred": {prepare: func(w *troubled) {
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
			w.record("payments", Refund{"a", -4}, Paid{"a", 2})
			w.run()
		}, data: `{"ID":"a","Cents":4}`, skipped: []string{"paid 2", "paid 3"}, replaced: []string{"paid 2", "refund 4", "paid 3"}},
		"deferred for too long": {prepare: func(w *troubled) {
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
			w.record("payments", Refund{"a", -4})
			w.run()
			w.broken.Store(false)
		}, after: 50 * time.Hour, data: `{"ID":"a","Cents":4}`, bad: process.ErrImpossible, skipped: []string{"reminder -7", "paid 3"}},
		"no instance": {prepare: func(w *troubled) {
			w.record("payments", Paid{"a", 1})
			w.run()
			w.record("payments", Refund{"a", 4})
			w.run()
		}, data: `{"ID":"a","Cents":5}`, unstarted: true, left: []string{"a waiting 2"}},
		"undecodable": {prepare: func(w *troubled) {
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
			w.raw("payments", event.Event{Type: "paid", Data: []byte("{")})
			w.record("payments", Paid{"a", 2})
			w.run()
			w.key = w.holds()[0].Instance
		}, data: `{"ID":"a","Cents":9}`, skipped: []string{"paid 2", "paid 3"}, replaced: []string{"paid 2", "paid 3", "paid 9"}, left: []string{"KEY skipped 0"}},
	}
	for name, k := range kinds {
		begin := func(t *testing.T, s process.Store) *troubled {
			w := &troubled{world: newWorld(t), key: "a"}
			w.types["payments"] = must(event.NewRegistry(event.Named[Paid]("paid"), event.Named[Refund]("refund")))
			w.config.Store = s
			w.broken.Store(true)
			w.config.Definition = everyKind(w.broken.Load)
			w.later(0)
			w.logs["payments"] = memlog.Options{Now: func() time.Time { return w.config.Now() }}.New()
			k.prepare(w)
			if k.after > 0 {
				w.later(k.after)
				w.run()
			}
			if h := w.holds(); len(h) != 1 || h[0].Condition != process.Held {
				t.Fatalf("it is not held: %+v", h)
			}
			w.record("payments", Paid{"a", 3})
			w.run()
			return w
		}
		end := func(w *troubled, want []string, left ...string) {
			w.t.Helper()
			for n := range left {
				left[n] = strings.Replace(left[n], "KEY", w.key, 1)
			}
			w.wantHolds(left...)
			w.broken.Store(false)
			w.loseCursors()
			w.run()
			w.wantHolds(left...)
			if !k.unstarted {
				w.wantApplied("a", want...)
			}
			if state, _ := w.state("a"); slices.Contains(want, "refund 4") != slices.Contains(state.Inputs, "refund 4") {
				w.t.Errorf("state %+v", state)
			}
			w.verify()
		}
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := begin(t, s)
				w.operate(one(process.ActSkip, w.key), nil)
				end(w, k.skipped, slices.Clone(k.left)...)
				if k.unstarted {
					got := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
					if got["no instance, skipped: by mistake"] != 1 {
						t.Errorf("ignored: %v", got)
					}
					w.record("sales", OrderPlaced{"a", 1})
					w.run()
					w.wantHolds()
					w.wantApplied("a", "paid 1", "paid 3")
				}

				w = begin(t, s)
				w.operate(replacing(w.key, k.data), k.bad)
				if k.bad == nil && !k.unstarted {
					left := []string{}
					if w.key != "a" {
						left = slices.Clone(k.left)
					}
					end(w, k.replaced, left...)
				}

				w = begin(t, s)
				want := error(nil)
				if w.key != "a" {
					want = process.ErrImpossible
				}
				w.operate(one(process.ActCancel, w.key), want)
				if state, _ := w.state("a"); want == nil && slices.Contains(state.Inputs, "paid 3") {
					t.Errorf("it took what came behind: %+v", state)
				}
				if want == nil && !k.unstarted {
					w.wantHolds()
				}
				if want == nil && k.unstarted {
					w.wantHolds("a waiting 0")
				}
				w.verify()
			})
		})
	}
}

// later moves the clock on.
func (w *troubled) later(d time.Duration) {
	now := time.Now().Add(d)
	w.config.Now = func() time.Time { return now.Add(time.Since(now.Add(-d))) }
}

func TestG9_RequestsAboutAnotherHoldAreStale(t *testing.T) {
	w := aHeldOrder(t, nil)
	w.broken.Store(false)
	e := w.engine()
	for _, a := range []process.Action{process.ActResume, process.ActSkip, process.ActCancel} { // nobody runs: they are kept
		short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := process.Operate(short, w.logs["sales"], "order", one(a, "a"))
		end()
		var open *process.UnansweredError
		if !errors.As(err, &open) || open.Asked != 1 || open.Answered != 0 {
			t.Fatalf("%s without a worker: %v", a, err)
		}
	}
	w.with(e, func(ctx context.Context) {
		if err := e.WaitIdle(ctx); err != nil {
			t.Fatal(err)
		}
	})
	w.wantHolds()
	w.wantApplied("a", "placed", "noted", "paid 5") // neither skipped nor cancelled
	answers := 0
	for entry, err := range w.logs["sales"].Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Request}) {
		if answers++; err != nil || strings.Contains(string(entry.Value), "stale") == (answers == 1) {
			t.Errorf("answer %d: %s, %v", answers, entry.Value, err)
		}
	}
	if answers != 3 {
		t.Errorf("%d answers, want 3", answers)
	}
}

// Thousands are resumed after a change of the program, while new inputs come.
func TestG9_ResumeAllDrainsThousandsInOrder(t *testing.T) {
	for name, log := range map[string]func(t *testing.T, w *world){
		"memory": func(*testing.T, *world) {},
		"sqlite": func(t *testing.T, w *world) {
			file := must(sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), "world.db"), sqlitelog.Options{}))
			t.Cleanup(func() { _ = file.Close() })
			for _, m := range w.order {
				w.logs[m] = must(file.Log(t.Context(), m))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := 3000
			if raced.On {
				n = 400
			}
			w := newTroubled(t, nil, isNote)
			log(t, w.world)
			w.config.Retry.Attempts = 1
			w.config.Definition = w.noting()
			w.many("sales", n, func(key string) any { return OrderPlaced{key, 11} })
			w.run()
			w.many("payments", n, func(key string) any { return Noted{key} })
			w.many("payments", n, func(key string) any { return Paid{key, 1} })
			w.run()
			held := w.holds()
			for _, h := range held {
				if h.Condition != process.Held || h.Queued != 2 || h.Fingerprint == "" || h.Fingerprint != held[0].Fingerprint {
					t.Fatalf("hold: %+v; the first: %+v", h, held[0])
				}
			}
			if len(held) != n {
				t.Fatalf("%d are held, want %d", len(held), n)
			}
			w.broken.Store(false)
			e := w.engine()
			w.with(e, func(ctx context.Context) {
				came := make(chan struct{})
				go func() {
					defer close(came)
					for from := 0; from < n; from += 100 {
						w.some("payments", from, from+100, func(key string) any { return Paid{key, 2} })
					}
				}()
				began := time.Now()
				answers := w.asks(ctx, e, process.Request{Action: process.ActResume, Fingerprint: held[0].Fingerprint}, nil)
				answered := time.Since(began)
				if len(answers) != n {
					t.Errorf("%d answers, want %d", len(answers), n)
				}
				<-came
				if err := e.WaitIdle(ctx); err != nil {
					t.Fatal(err)
				}
				all := time.Since(began)
				t.Logf("%d instances: answered after %v, drained after %v, %.0f a second", n, answered, all, float64(n)/all.Seconds())
			})
			w.wantHolds()
			for k := range n {
				if key := fmt.Sprint("key-", k); k%50 == 0 {
					w.wantApplied(key, "placed", "noted", "paid 1", "paid 2")
				}
			}
			w.verify()
		})
	}
}

// many records a fact for each key.
func (w *world) many(module string, n int, fact func(key string) any) { w.some(module, 0, n, fact) }

func (w *world) some(module string, from, to int, fact func(key string) any) {
	w.t.Helper()
	var events []event.Event
	for k := from; k < to; k++ {
		events = append(events, must(w.types[module].Encode(fact(fmt.Sprint("key-", k)))))
	}
	if _, err := w.logs[module].Append(context.Background(), eventlog.ToStream{Stream: "fact/" + module, Events: events}); err != nil {
		w.t.Error(err)
	}
}

// noting is the process with notes and payments alone, that never completes.
func (w *troubled) noting() process.Definition {
	saw := func(s OrderRun, id, what string, in any) OrderRun {
		if w.broken.Load() && w.fails(id, in) {
			panic(fmt.Sprintf("no %T for %s", in, id))
		}
		s.Inputs = append(slices.Clone(s.Inputs), what)
		return s
	}
	return process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[OrderPlaced]) OrderRun {
				return saw(s, in.Event.ID, "placed", in.Event)
			}},
		process.On[OrderRun, Noted]{Locate: process.Key(func(e Noted) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Noted]) OrderRun { return saw(s, in.Event.ID, "noted", in.Event) }},
		process.On[OrderRun, Paid]{Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				return saw(s, in.Event.ID, fmt.Sprint("paid ", in.Event.Cents), in.Event)
			}},
	).Otherwise(process.Ignore)
}

// Requests reach the worker that owns the instance, and a crash before they are carried out loses none of them.
func TestG9_G12_RequestsReachTheOwnerAndAreCarriedOutOnce(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		w.config.Retry.Attempts = 1
		tw := &troubled{world: w, fails: isNote}
		tw.broken.Store(true)
		w.config.Definition = tw.noting()
		w.many("sales", 64, func(key string) any { return OrderPlaced{key, 11} })
		w.many("payments", 64, func(key string) any { return Noted{key} })
		a, b := w.hire(t), w.hire(t)
		pass(t, 3*sharePoll)
		allIdle(t, a, b)
		wantOwned(t, "at first", []int{8, 8}, a, b)
		if held := w.holds(); len(held) != 64 {
			t.Fatalf("%d are held", len(held))
		}
		answers := must(process.Operate(t.Context(), w.logs["sales"], "order", process.Request{Action: process.ActSkip, All: true, Reason: "r"}))
		for _, x := range answers {
			if x.Err != nil {
				t.Error(x.Err)
			}
		}
		allIdle(t, a, b)
		w.wantHolds()
		tw.broken.Store(true)
		w.many("payments", 64, func(key string) any { return Noted{key} })
		pass(t, sharePoll)
		allIdle(t, a, b)
		a.dead.Store(true) // it can still see requests, and carry out none
		short, stop := context.WithTimeout(t.Context(), 2*time.Second)
		answers, err := process.Operate(short, w.logs["sales"], "order", process.Request{Action: process.ActSkip, All: true, Reason: "r"})
		stop()
		var open *process.UnansweredError
		if !errors.As(err, &open) || len(answers) != open.Answered || open.Answered == 0 || open.Asked != 64 {
			t.Errorf("answers %d, %v", len(answers), err)
		}
		a.paused = true
		a.stop()
		pass(t, 2*shareTTL)
		allIdle(t, b)
		w.wantHolds()
		for k := range 64 {
			skips := 0
			for _, r := range w.records(fmt.Sprint("key-", k)) {
				if strings.Contains(r, "skipped: r") {
					skips++
				}
			}
			if skips != 2 {
				t.Errorf("key-%d: %d inputs were skipped, want 2", k, skips)
			}
		}
		pass(t, 2*time.Hour) // nobody collects the other answers
		b.Notice()
		pass(t, 2*sharePoll)
		if left := w.entries(eventlog.Request); len(left) > 0 {
			t.Errorf("left: %d requests and answers", len(left))
		}
		b.stop()
		w.verify()
	})
}

// A worker is killed while an instance waits for its next attempt: the next one goes on counting, and tries again.
func TestG9_AKillDuringTheBackOffLosesNoAttempt(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		tw := &troubled{world: w, fails: isNote}
		tw.broken.Store(true)
		w.config.Definition = tw.noting()
		w.config.Retry = process.Retry{Attempts: 3, Backoff: consumer.Backoff{First: 5 * time.Minute, Most: 5 * time.Minute,
			Random: func(n int64) int64 { return n - 1 }}} // the longest wait, always
		w.record("sales", OrderPlaced{"a", 1})
		w.record("payments", Noted{"a"}, Paid{"a", 1})
		a := w.hire(t)
		pass(t, 2*sharePoll)
		if h := w.wantHolds("a retrying 2"); h[0].Attempts != 1 {
			t.Errorf("%+v", h)
		}
		a.die()
		b := w.hire(t)
		pass(t, 6*time.Minute)
		if h := w.wantHolds("a retrying 2"); h[0].Attempts != 2 {
			t.Errorf("attempts begin anew: %+v", h)
		}
		tw.broken.Store(false)
		pass(t, 6*time.Minute)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 1")
		b.stop()
		w.verify()
	})
}

// An event whose copy no record can hold is held; it can be skipped, and the others go on.
func TestG9_AnInputThatTheStoreCannotKeepCanBeSkipped(t *testing.T) {
	w := newTroubled(t, nil, isNote)
	w.config.Definition = w.noting()
	w.broken.Store(false)
	w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
	w.run()
	large := must(w.types["payments"].Encode(Noted{"a"}))
	large.Data = append(large.Data, []byte(strings.Repeat(" ", eventlog.MaxPayload-len(large.Data)))...)
	w.raw("payments", large)
	w.record("payments", Paid{"b", 1}, Paid{"a", 2})
	w.run()
	if h := w.wantHolds("a held 2"); !strings.Contains(h[0].Error, "bytes") {
		t.Errorf("%+v", h)
	}
	w.wantApplied("b", "placed", "paid 1")
	w.operate(one(process.ActSkip, "a"), nil)
	w.wantHolds()
	w.wantApplied("a", "placed", "paid 2")
	w.verify()
}

// Behind a birth that is skipped, what can wait for one waits for the next, which may stand behind it in the queue.
func TestG8_G9_WhatQueuesBehindASkippedBirthFollowsTheNext(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(_ string, in any) bool { p, ok := in.(OrderPlaced); return ok && p.Qty < 0 })
		w.config.Batch = 2
		w.record("sales", OrderPlaced{"a", -1})
		w.run()
		w.record("payments", Paid{"a", 1}, Noted{"a"}, Paid{"a", 2})
		w.run()
		w.record("sales", OrderPlaced{"a", 11})
		w.run()
		w.record("payments", Paid{"a", 3})
		w.run()
		w.wantHolds("a held 6")
		w.operate(one(process.ActSkip, "a"), nil)
		w.wantHolds()
		if got := w.closed(); !slices.Equal(got["a"], []string{"rejected: too-many"}) {
			t.Errorf("closed: %v", got)
		}
		w.wantApplied("a", "placed", "paid 1", "paid 2", "paid 3")
		if got := must(process.Ignored(t.Context(), w.logs["sales"], "order")); got["no instance: noted"] != 1 || got["no instance, skipped: by mistake"] != 1 {
			t.Errorf("ignored: %v", got)
		}
		w.loseCursors()
		w.run()
		w.wantApplied("a", "placed", "paid 1", "paid 2", "paid 3")
		w.verify()
	})
}

// An event that was skipped when nobody knew whom it concerned is not taken by a program that knows.
func TestG9_ASkippedEventIsNeverTaken(t *testing.T) {
	w := newTroubled(t, nil, isNote)
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		process.On[OrderRun, Noted]{Locate: process.Key(func(e Noted) string {
			if w.broken.Load() {
				panic("no key")
			}
			return e.ID
		}), Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun {
			s.Inputs = append(slices.Clone(s.Inputs), "noted")
			return s
		}},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	w.record("payments", Noted{"late"}, Noted{"a"}, Noted{"late"})
	w.run()
	held := w.holds()
	slices.SortFunc(held, func(a, b process.Holding) int { return int(a.Marks[0].Position) - int(b.Marks[0].Position) })
	w.operate(one(process.ActSkip, held[1].Instance), nil)
	w.record("sales", OrderPlaced{"late", 1})
	w.broken.Store(false)
	w.loseCursors()
	w.record("payments", Noted{"a"})
	w.run()
	w.wantApplied("a", "noted")
	w.operate(process.Request{Action: process.ActResume, All: true}, nil) // the others are given to those that they concern, once
	w.wantApplied("late", "noted", "noted")
	w.loseCursors()
	w.run()
	w.wantApplied("late", "noted", "noted")
	w.wantApplied("a", "noted")
	w.verify()
}

// What an operator cancels is compensated first; an undo that is rejected can be sent again, or left at that.
func TestG9_CancelCompensatesAndAnUndoCanBeResumedOrSkipped(t *testing.T) {
	for _, action := range []process.Action{process.ActResume, process.ActSkip} {
		t.Run(string(action), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newTroubled(t, s, isNote)
				w.config.Definition = process.Define("order",
					process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
						React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
							do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty}, process.OnUndo(Release{ID: in.Event.ID}))
							do.After(time.Hour, PayDue{})
						}},
					process.On[OrderRun, Noted]{Locate: process.Key(func(e Noted) string { return e.ID }),
						Evolve: func(OrderRun, process.Input[Noted]) OrderRun { panic("no notes") }},
					process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) { do.Complete() }},
				).Otherwise(process.Ignore)
				w.bus = func(_ string, next dispatch) dispatch {
					return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
						if c.Type == "release" && w.broken.Swap(false) {
							return command.Outcome{Status: command.Rejected, Rejection: command.Reject("not-now", "later")}, nil
						}
						return next(ctx, c, first)
					}
				}
				w.record("sales", OrderPlaced{"a", 1})
				w.run()
				w.record("payments", Noted{"a"})
				w.run()
				w.operate(one(process.ActCancel, "a"), nil)
				if h := w.wantHolds("a held 1"); !strings.Contains(h[0].Error, "not-now") {
					t.Fatalf("%+v", h)
				}
				w.operate(one(process.ActCancel, "a"), process.ErrImpossible)
				w.operate(one(action, "a"), nil)
				w.wantHolds()
				want := []string{"reserved", "released"}
				if action == process.ActSkip {
					want = want[:1]
				}
				w.wantStock(map[string][]string{"a": want})
				i := must(process.Look(t.Context(), w.engine().Home(), "a"))
				if i.Status != process.Completed || i.Ending != process.Cancelled || len(i.Timers) > 0 {
					t.Errorf("%+v", i)
				}
				w.state("a")
			})
		})
	}
}

// A birth that comes late does not have the instance take what was passed before it.
func TestG8_G9_ALateBirthTakesNothingThatWasPassed(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, isNote)
		w.config.Definition = process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string {
				if w.broken.Load() {
					panic("no key")
				}
				return e.ID
			})},
			process.On[OrderRun, OrderClosed]{NoInstance: process.Ignore, Locate: process.Key(func(e OrderClosed) string { return e.ID }),
				Evolve: func(s OrderRun, in process.Input[OrderClosed]) OrderRun {
					s.Inputs = append(slices.Clone(s.Inputs), in.Event.How)
					return s
				}},
		).Otherwise(process.Ignore)
		w.record("sales", OrderPlaced{"a", 1}, OrderClosed{"a", "passed"})
		w.run()
		w.broken.Store(false)
		w.operate(process.Request{Action: process.ActResume, All: true}, nil)
		w.loseCursors()
		w.record("sales", OrderClosed{"a", "new"})
		w.run()
		w.wantTook("a", "new")
		w.verify()
	})
}

// Instances that failed alike have the same fingerprint, whatever their keys, ids and numbers.
func TestG9_InstancesThatFailedAlikeAreFoundByTheirError(t *testing.T) {
	w := newTroubled(t, nil, isNote)
	w.config.Definition = orderProcess(func(id string, in any) {
		if p, ok := in.(Paid); ok {
			panic(fmt.Sprintf("%s: account %q of %s has %d cents", event.NewID(), id, id, p.Cents))
		}
		if isNote(id, in) {
			panic("no notes")
		}
	})
	w.record("sales", OrderPlaced{"anna", 1}, OrderPlaced{"bob/2", 1}, OrderPlaced{"c", 1}, OrderPlaced{"other", 1})
	w.run()
	w.record("payments", Paid{"anna", 0}, Paid{"bob/2", 1}, Paid{"c", 2}, Noted{"other"})
	w.run()
	h := w.wantHolds("anna held 1", "bob/2 held 1", "c held 1", "other held 1")
	if h[0].Fingerprint != h[1].Fingerprint || h[0].Fingerprint != h[2].Fingerprint || h[0].Fingerprint == h[3].Fingerprint {
		t.Errorf("fingerprints: %s %s %s, and %s", h[0].Fingerprint, h[1].Fingerprint, h[2].Fingerprint, h[3].Fingerprint)
	}
	r := process.Request{Action: process.ActSkip, Fingerprint: h[0].Fingerprint, Reason: "r"}
	if got := w.operate(r, nil); len(got) != 3 {
		t.Errorf("answers: %+v", got)
	}
	w.wantHolds("other held 1")
}
