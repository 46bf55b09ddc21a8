package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
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

// later moves the clock on.
func (w *troubled) later(d time.Duration) {
	now := time.Now().Add(d)
	w.config.Now = func() time.Time { return now.Add(time.Since(now.Add(-d))) }
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
