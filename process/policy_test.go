package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// The phases of these tests' process: it is placed, reserved, and closed in between it is at rest.
const (
	placed   process.Phase = "placed"
	reserved process.Phase = "reserved"
	closing  process.Phase = "closing"
)

func phaseOf(s OrderRun) process.Phase {
	switch {
	case slices.Contains(s.Inputs, "close"):
		return closing
	case s.Reserved:
		return reserved
	default:
		return placed
	}
}

func sawPaid() func(OrderRun, process.Input[Paid]) OrderRun {
	return func(s OrderRun, in process.Input[Paid]) OrderRun {
		s.Inputs = append(s.Inputs, fmt.Sprintf("paid %d", in.Event.Cents))
		return s
	}
}

// phased handles payments in one phase and does something else with them in the others. A note with the order's id brings
// the next phase; the third one completes it.
func phased(paid process.On[OrderRun, Paid]) process.Definition {
	paid.Locate = process.Key(func(e Paid) string { return e.ID })
	if paid.Evolve == nil {
		paid.Evolve = sawPaid()
	}
	return process.Define("order",
		process.Phases(phaseOf, placed, reserved, closing),
		process.On[OrderRun, OrderPlaced]{Starts: true, Ignore: process.In(placed, reserved, closing), Completed: process.Ignore,
			Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		paid,
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Completed: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
			In:     process.In(placed),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Reserved = true; return s }},
		process.On[OrderRun, Noted]{In: process.In(reserved),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Inputs = append(s.Inputs, "close"); return s }},
		process.On[OrderRun, Noted]{In: process.In(closing),
			React: func(_ OrderRun, _ process.Input[Noted], do *process.Step) { do.Complete() }},
	)
}

// What is deferred waits in the instance for its phase, in order, whatever happens in between; in another phase it is
// ignored, and that is recorded.
func TestG8_G9_WhatIsDeferredWaitsForItsPhase(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Defer, Defer: process.In(placed), In: process.In(reserved), Ignore: process.In(closing), Completed: process.Ignore})
		w.record("payments", Paid{"a", 1})
		w.run()
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		w.record("payments", Paid{"a", 2}, Paid{"a", 3})
		w.run()
		if got, _ := w.state("a"); len(got.Inputs) != 0 {
			t.Fatalf("a payment was taken in phase placed: %v", got.Inputs)
		}
		w.loseCursors()
		w.run()
		if i := w.look("a"); len(i.Deferred) != 3 || i.Phase != placed {
			t.Fatalf("deferred are %d inputs in phase %q", len(i.Deferred), i.Phase)
		}
		w.record("payments", Noted{"a"}, Paid{"a", 4}) // the next phase comes, and a payment behind it
		w.run()
		w.loseCursors()
		w.run()
		if got, _ := w.state("a"); !reflect.DeepEqual(got.Inputs, []string{"paid 1", "paid 2", "paid 3", "paid 4"}) {
			t.Errorf("taken up: %v", got.Inputs)
		}
		w.record("payments", Noted{"a"}, Paid{"a", 5}, Noted{"a"}, Paid{"a", 6})
		w.run()
		got, status := w.state("a")
		if want := []string{"paid 1", "paid 2", "paid 3", "paid 4", "close"}; !reflect.DeepEqual(got.Inputs, want) || status != process.Completed {
			t.Errorf("in the end: %v, %v", got.Inputs, status)
		}
		w.verify()
		if i := w.look("a"); len(i.Deferred) != 0 || len(i.Timers) != 0 || len(w.entries(eventlog.Timeout)) != 0 || len(w.entries(eventlog.Hold)) != 0 {
			t.Errorf("left over: %+v, timeouts %v, holds %v", i, w.entries(eventlog.Timeout), w.entries(eventlog.Hold))
		}
		if _, ok := s.(process.Streams); !ok {
			return
		}
		var ignored []string
		for step, err := range process.History(t.Context(), w.engine().Home(), "a") {
			if err != nil {
				t.Fatal(err)
			}
			if step.Ignored != "" {
				ignored = append(ignored, step.Ignored)
			}
		}
		if want := []string{"phase closing", "completed"}; !reflect.DeepEqual(ignored, want) {
			t.Errorf("ignored by the rules %q, want %q", ignored, want)
		}
	})
}

// What is left when the instance completes is recorded as ignored, each.
func TestG9_CompletionEndsWhatIsDeferred(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Ignore, Defer: process.In(placed, reserved, closing), Completed: process.Ignore})
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	w.record("payments", Paid{"a", 1}, Paid{"a", 2}, Noted{"a"}, Noted{"a"}, Noted{"a"})
	w.run()
	if i := w.look("a"); i.Status != process.Completed || len(i.Deferred) != 0 {
		t.Fatalf("%v with %d inputs deferred", i.Status, len(i.Deferred))
	}
	ends := 0
	for step, err := range process.History(t.Context(), w.engine().Home(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		if step.Resumed && step.Ignored == "completed" {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("%d of 2 deferred inputs are accounted for at the end:\n%s", ends, w.history(w.engine()))
	}
}

// An input that must not come holds its instance at once, without retries, and no other.
func TestG9_AnInputThatMustNotComeHoldsItsInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Hold, Hold: process.In(placed), In: process.In(reserved, closing), Completed: process.Hold})
		w.record("sales", OrderPlaced{"early", 1}, OrderPlaced{"good", 1}, OrderPlaced{"late", 1})
		w.run()
		w.record("payments", Paid{"early", 1}, Noted{"early"}, Noted{"good"}, Paid{"good", 2}, Paid{"nobody", 3},
			Noted{"late"}, Noted{"late"}, Noted{"late"}, Paid{"late", 4})
		w.run()
		if got, _ := w.state("good"); !reflect.DeepEqual(got.Inputs, []string{"paid 2"}) {
			t.Errorf("the others: %v", got.Inputs)
		}
		held := map[string]string{}
		for _, h := range w.holds() {
			if h.Condition != process.Held || h.Attempts != 1 {
				t.Errorf("%s: %v after %d attempts", h.Instance, h.Condition, h.Attempts)
			}
			held[h.Instance] = h.Error
		}
		for id, phase := range map[string]string{"early": "placed", "nobody": "no instance", "late": "completed"} {
			if !strings.Contains(held[id], `must not come in phase "`+phase+`"`) {
				t.Errorf("%s is held with %q", id, held[id])
			}
		}
		if len(held) != 3 {
			t.Errorf("held are %v", held)
		}
	})
}

// Deferral is bounded, by number and by time, and what happens then is declared.
func TestG9_DeferralIsBounded(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		paid := process.On[OrderRun, Paid]{NoInstance: process.Defer, Defer: process.In(placed), In: process.In(reserved, closing), Completed: process.Ignore}
		for _, then := range []process.Policy{process.Ignore, process.Hold} {
			t.Run(then.String(), func(t *testing.T) {
				w := newWorld(t)
				w.config.Store = s
				var ahead atomic.Int64
				w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
				w.config.Definition = phased(paid).Deferring(process.Deferral{Most: 2, Within: time.Hour, Then: then})
				w.record("sales", OrderPlaced{"many", 1}, OrderPlaced{"long", 1})
				w.run()
				w.record("payments", Paid{"many", 1}, Paid{"many", 2}, Paid{"many", 3}, Paid{"long", 1}, Paid{"nobody", 1}, Paid{"none", 1}, Paid{"none", 2}, Paid{"none", 3})
				w.run()
				if h := w.holding("many"); then == process.Hold != (h != nil) {
					t.Errorf("the third input of two: %+v", h)
				}
				if h := w.holding("none"); h == nil || then == process.Hold != (h.Condition == process.Held) {
					t.Errorf("the third input of two, without an instance: %+v", h)
				}
				ahead.Store(int64(2 * time.Hour))
				w.run()
				long, nobody := w.holding("long"), w.holding("nobody")
				if then == process.Hold {
					if long == nil || long.Condition != process.Held || nobody == nil || nobody.Condition != process.Held {
						t.Fatalf("after two hours: %+v, %+v", long, nobody)
					}
					return
				}
				if i := w.look("long"); long != nil || len(i.Deferred) != 0 {
					t.Errorf("after two hours: %+v, %d deferred", long, len(i.Deferred))
				}
				counts, err := process.Ignored(t.Context(), w.logs["sales"], "order")
				if err != nil || counts["no instance, deferred too long: paid"] != 3 || counts["no instance, and too many deferred: paid"] != 1 {
					t.Errorf("counted: %v, %v", counts, err)
				}
				w.record("sales", OrderPlaced{"nobody", 1})
				w.record("payments", Noted{"nobody"}, Noted{"many"})
				w.loseCursors()
				w.run()
				if got, _ := w.state("nobody"); len(got.Inputs) != 0 {
					t.Errorf("an input that had waited too long was taken by an instance that came later: %v", got.Inputs)
				}
				if got, _ := w.state("many"); len(got.Inputs) != 0 { // it waited two hours as well
					t.Errorf("%v", got.Inputs)
				}
			})
		}
	})
}

// A deferred input whose own step fails is tried again in its place, before what came later.
func TestG8_G9_ADeferredInputThatFailsKeepsItsPlace(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		var failed atomic.Int32
		w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Ignore, Defer: process.In(placed), In: process.In(reserved, closing), Completed: process.Ignore,
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				if in.Event.Cents == 2 && failed.Add(1) <= 2 {
					panic("not yet")
				}
				return sawPaid()(s, in)
			}})
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		w.record("payments", Paid{"a", 1}, Paid{"a", 2}, Paid{"a", 3}, Noted{"a"}, Paid{"a", 4})
		w.run()
		w.loseCursors()
		w.run()
		if got, _ := w.state("a"); !reflect.DeepEqual(got.Inputs, []string{"paid 1", "paid 2", "paid 3", "paid 4"}) {
			t.Errorf("taken up after failures: %v; holds %+v", got.Inputs, w.holds())
		}
	})
}

// Everything that is deferred and taken up is the same after a crash at any append.
func TestG6_G8_DeferralSurvivesACrashAtEveryAppend(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		whole := false
		for stop := int32(0); !whole; stop++ {
			synctest.Test(t, func(t *testing.T) { whole = deferralWithACrashAt(t, s, stop) }) // leases run out by its clock
		}
	})
}

func deferralWithACrashAt(t *testing.T, s process.Store, stop int32) (whole bool) {
	w := newWorld(t)
	w.config.Store = s
	w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Defer, Defer: process.In(placed), In: process.In(reserved), Ignore: process.In(closing), Completed: process.Ignore})
	w.config.Batch = 2
	var appends atomic.Int32
	w.log = func(_ string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			if n := appends.Add(1); n == stop {
				return eventlog.Appended{}, errCrash
			} else if n == stop+1 && stop > 0 { // written, and the answer is lost
				_, _ = l.Append(ctx, writes...)
				return eventlog.Appended{}, errCrash
			}
			return l.Append(ctx, writes...)
		}}
	}
	w.record("payments", Paid{"a", 1})
	w.run()
	w.record("sales", OrderPlaced{"a", 1})
	w.record("payments", Paid{"a", 2}, Paid{"a", 3})
	w.run()
	w.record("payments", Noted{"a"}, Paid{"a", 4}, Noted{"a"}, Noted{"a"})
	w.run()
	got, status := w.state("a")
	if want := []string{"paid 1", "paid 2", "paid 3", "paid 4", "close"}; !reflect.DeepEqual(got.Inputs, want) || status != process.Completed {
		t.Fatalf("with a crash at append %d: %v, %v", stop, got.Inputs, status)
	}
	w.verify()
	return appends.Load() < stop
}

func TestAStateOutsideThePhasesHoldsItsInstance(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = process.Define("order",
		process.Phases(func(s OrderRun) process.Phase {
			if s.Notes > 0 {
				return "lost"
			}
			return placed
		}, placed),
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		process.On[OrderRun, Noted]{Locate: process.Key(func(e Noted) string { return e.ID }), Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s }},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	w.record("payments", Noted{"a"})
	w.run()
	if h := w.holding("a"); h == nil || !strings.Contains(h.Error, `"lost", which Phases does not declare`) {
		t.Errorf("%+v", h)
	}
}

func TestMistakesOfPhases(t *testing.T) {
	key := process.Key(func(e Paid) string { return e.ID })
	evolve := sawPaid()
	start := process.On[OrderRun, OrderPlaced]{Starts: true, Completed: process.Ignore, Locate: process.Key(func(e OrderPlaced) string { return e.ID })}
	phases := process.Phases(phaseOf, placed, reserved)
	for what, c := range map[string]struct {
		def  process.Definition
		want string
	}{
		"a pair without a choice": {process.Define("order", phases, start, process.On[OrderRun, Paid]{NoInstance: process.Ignore, In: process.In(placed), Locate: key, Evolve: evolve}),
			"event process_test.Paid         ignore       handle  ???       ???"},
		"a phase that is not declared": {process.Define("order", phases, start, process.On[OrderRun, Paid]{In: process.In("plaiced"), Locate: key, Evolve: evolve}).Otherwise(process.Hold), `there is no phase "plaiced"`},
		"two choices":                  {process.Define("order", phases, start, process.On[OrderRun, Paid]{Ignore: process.In(placed), Hold: process.In(placed), Locate: key, Evolve: evolve}).Otherwise(process.Hold), `two choices for phase "placed"`},
		"handled twice": {process.Define("order", phases, start, process.On[OrderRun, Paid]{In: process.In(placed), Locate: key, Evolve: evolve},
			process.On[OrderRun, Paid]{In: process.In(placed, reserved), Evolve: evolve}).Otherwise(process.Hold), `handled twice in phase "placed"`},
		"phases twice":                {process.Define("order", phases, phases, start).Otherwise(process.Hold), "Phases is there twice"},
		"a phase twice":               {process.Define("order", process.Phases(phaseOf, placed, placed), start).Otherwise(process.Hold), `phase "placed" is there twice`},
		"a phase of every process":    {process.Define("order", process.Phases(phaseOf, process.PhaseCompleted), start).Otherwise(process.Hold), "the name of one that every process has"},
		"no phases":                   {process.Define("order", process.Phases(phaseOf), start).Otherwise(process.Hold), "at least one phase"},
		"an impossible default":       {process.Define("order", start).Otherwise(process.Handle), "Otherwise(handle)"},
		"impossible bounds":           {process.Define("order", start).Otherwise(process.Ignore).Deferring(process.Deferral{Most: -1}), "nothing is negative"},
		"deferred after the end":      {process.Define("order", start, process.On[OrderRun, Paid]{Completed: process.Defer, Locate: key, Evolve: evolve}).Otherwise(process.Ignore), "Completed is Ignore or Hold"},
		"start and no instance":       {process.Define("order", process.On[OrderRun, Paid]{Starts: true, NoInstance: process.Hold, Locate: key, Evolve: evolve}).Otherwise(process.Ignore), "NoInstance never applies"},
		"nothing but what is ignored": {process.Define("order", process.On[OrderRun, Paid]{Locate: key, Evolve: evolve}).Otherwise(process.Ignore), "no input starts an instance"},
	} {
		var mistakes *process.DefinitionError
		if err := c.def.Check(); !errors.As(err, &mistakes) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
	}
	whole := process.Define("order", phases, start).Otherwise(process.Hold)
	if err := whole.Check(); err != nil || whole.Table().Holes() != 0 {
		t.Errorf("%v\n%v", err, whole.Table())
	}
}

// holding returns the hold of a key; nil where there is none.
func (w *world) holding(key string) *process.Holding {
	for _, h := range w.holds() {
		if h.Instance == key {
			return &h
		}
	}
	return nil
}

// look returns what is known of an instance without its definition.
func (w *world) look(key string) *process.Instance {
	w.t.Helper()
	return must(process.Look(context.Background(), w.engine().Home(), key))
}
