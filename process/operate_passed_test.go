package process_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

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
