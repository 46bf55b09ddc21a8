package process_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func TestG9_AFailingInstanceIsHeldAndDelaysNoOther(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Definition = orderProcess(func(id string, in any) {
			if _, ok := in.(Noted); ok && id == "bad" {
				panic("no notes for bad")
			}
		})
		w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
		w.run()
		w.record("payments", Noted{"bad"}, Noted{"good"}, Paid{"bad", 1}, Paid{"good", 2})
		w.run()
		w.wantStock(map[string][]string{"bad": {"reserved"}, "good": {"reserved", "shipped"}})
		holds := w.holds()
		if len(holds) != 1 || holds[0].Instance != "bad" || holds[0].Condition != process.Held || holds[0].Queued != 2 || holds[0].Attempts != 3 {
			t.Fatalf("holds: %+v; want bad, held after 3 attempts, with 2 inputs", holds)
		}
		if !strings.Contains(holds[0].Error, "no notes for bad") || !strings.Contains(holds[0].Stack, "world_test.go") {
			t.Errorf("the hold says %q, stack %q", holds[0].Error, holds[0].Stack)
		}
		queue := must(process.Queue(t.Context(), w.logs["sales"], "order", "bad", 0))
		if len(queue) != 2 || queue[0].Type != "noted" || queue[1].Type != "paid" {
			t.Errorf("queue: %+v", queue)
		}
		w.loseCursors() // read again, they are recognised
		w.run()
		if again := w.holds(); again[0].Queued != 2 {
			t.Errorf("lost cursors put inputs into the queue again: %+v", again)
		}
		w.record("payments", Paid{"bad", 5}) // and what comes now goes behind them
		w.run()
		if now := w.holds(); now[0].Queued != 3 {
			t.Errorf("a later input did not queue: %+v", now)
		}
		if got, _ := w.state("bad"); got.Cents != 0 {
			t.Errorf("an input was applied before the one that is held: %+v", got)
		}
	})
}

func (w *world) holds() (all []process.Holding) {
	for h, err := range process.Holdings(context.Background(), w.logs["sales"], "order") {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

func TestG9_ARetriedInputKeepsItsPlace(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Retry.Attempts = 100
		var failures atomic.Int64
		w.config.Definition = orderProcess(func(_ string, in any) {
			if p, ok := in.(Paid); ok && p.Cents == 2 && failures.Add(1) <= 5 {
				panic("not yet")
			}
		})
		w.record("sales", OrderPlaced{"a", 0})
		w.bus = func(_ string, _ dispatch) dispatch { // never accepted, so that the order stays open
			return func(ctx context.Context, _ command.Envelope, _ bool) (command.Outcome, error) {
				<-ctx.Done()
				return command.Outcome{}, ctx.Err()
			}
		}
		e := w.engine()
		w.with(e, func(ctx context.Context) {
			waitFor(ctx, t, w.logs["sales"], func() bool { return e.Stats().Inputs >= 1 })
			w.record("payments", Paid{"a", 1}, Paid{"a", 2}, Noted{"a"}, Paid{"a", 3})
			waitFor(ctx, t, w.logs["sales"], func() bool { return e.Stats().Inputs >= 5 })
		})
		got, _ := w.state("a")
		if want := []string{"placed", "paid 1", "paid 2", "noted", "paid 3"}; !slices.Equal(got.Inputs, want) {
			t.Errorf("inputs %v, want %v", got.Inputs, want)
		}
		// What the failed attempts changed in place is gone with them.
		if got.Cents != 6 || got.Trouble["changed in place"] != 3 {
			t.Errorf("state of failed attempts was kept: %+v", got)
		}
		if holds := w.holds(); len(holds) > 0 {
			t.Errorf("holds left: %+v", holds)
		}
	})
}

// waitFor waits until done, looking again whenever the log moved.
func waitFor(ctx context.Context, t *testing.T, log eventlog.Log, done func() bool) {
	t.Helper()
	for !done() {
		short, stop := context.WithTimeout(ctx, 5*time.Millisecond)
		_ = log.Wait(short, must(log.Head(ctx)))
		stop()
		if ctx.Err() != nil {
			t.Fatal("it never came")
		}
	}
}

// A step that no store can keep: its instance is held, the batch goes on without it.
func TestG9_WhatCannotBeStoredIsHeld(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				if in.Event.ID == "huge" {
					do.Emit(OrderClosed{ID: "huge", How: strings.Repeat("x", eventlog.MaxPayload)})
				}
				do.Send(Reserve{ID: in.Event.ID})
			}},
	).Otherwise(process.Ignore)
	for n := range 5 {
		w.record("sales", OrderPlaced{fmt.Sprint("fine", n), 1})
		if n == 2 {
			w.record("sales", OrderPlaced{"huge", 1})
		}
	}
	w.run()
	if got := w.stock(); len(got) != 5 || got["huge"] != nil {
		t.Errorf("stock: %v; want the five that can be stored", got)
	}
	if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "huge" || holds[0].Condition != process.Held || !strings.Contains(holds[0].Error, "payload") {
		t.Errorf("holds: %+v; want huge, with the store's error", holds)
	}
}

// A stream that is named like an instance's belongs to somebody else: the instance is held, the others go on.
func TestG9_AStrangersStreamHoldsItsInstance(t *testing.T) {
	w := newWorld(t)
	e := must(w.types["sales"].Encode(OrderPlaced{"a", 1}))
	must(w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "order/a", Events: []event.Event{e}}))
	w.record("sales", OrderPlaced{"b", 1})
	w.run()
	w.wantStock(map[string][]string{"b": {"reserved"}})
	if holds := w.holds(); len(holds) != 1 || holds[0].Instance != "a" || !strings.Contains(holds[0].Error, "named like the process") {
		t.Errorf("holds: %+v", holds)
	}
}

func TestG9_AnUndecodableEventIsHeldByItself(t *testing.T) {
	w := newWorld(t)
	broken := event.Event{Type: "paid", Schema: 1, Data: []byte("{")}
	must(w.logs["payments"].Append(t.Context(), eventlog.ToStream{Stream: "fact/payments", Events: []event.Event{broken}}))
	w.record("sales", OrderPlaced{"a", 1})
	w.record("payments", Paid{"a", 1})
	w.run()
	w.wantStock(map[string][]string{"a": {"reserved", "shipped"}})
	if holds := w.holds(); len(holds) != 1 || holds[0].Condition != process.Held || !strings.HasPrefix(holds[0].Instance, "ensue.undecodable/payments/") {
		t.Errorf("holds: %+v", holds)
	}
}
