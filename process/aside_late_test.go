package process_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// shutLog is a log that nobody reads until it is opened.
type shutLog struct {
	eventlog.Log
	open chan struct{}
}

func (l shutLog) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	select {
	case <-l.open:
	case <-ctx.Done():
	}
	return l.Log.Read(ctx, q)
}

// An event that was held by itself is given to instances of a worker that has not read that far: what comes before it in
// its log is not lost, and it is taken in its place, once.
func TestG8_G9_WhatIsGivenLateDoesNotOvertakeItsLog(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		const orders = 24
		definition := func(broken func() bool) process.Definition {
			return process.Define("order",
				process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
				process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
					Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun {
						s.Inputs = append(slices.Clone(s.Inputs), "noted")
						return s
					}},
				process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string {
					if broken() {
						panic(errors.New("no key"))
					}
					return e.ID
				}), Evolve: func(s OrderRun, _ process.Input[Paid]) OrderRun {
					s.Inputs = append(slices.Clone(s.Inputs), "paid")
					return s
				}},
			).Otherwise(process.Ignore)
		}
		var repaired atomic.Bool
		w.config.Definition = definition(func() bool { return !repaired.Load() })
		a := w.hire(t)
		for n := range orders {
			w.record("sales", OrderPlaced{fmt.Sprint(n), 1})
		}
		allIdle(t, a)

		payments := w.logs["payments"]
		shut := shutLog{payments, make(chan struct{})}
		w.logs["payments"] = shut
		w.config.Definition = definition(func() bool { return true })
		b := w.hire(t)
		w.logs["payments"] = payments
		pass(t, 3*sharePoll)
		for n := range orders {
			w.record("payments", Noted{fmt.Sprint(n)})
		}
		for n := range orders {
			w.record("payments", Paid{fmt.Sprint(n), 1})
		}
		allIdle(t, a)
		given := len(w.holds())
		repaired.Store(true)
		w.asks(t.Context(), a.Engine, process.Request{Action: process.ActResume, All: true}, nil)
		pass(t, 3*sharePoll) // the other worker has what it is to give
		close(shut.open)
		allIdle(t, a, b)
		a.stop()
		b.stop()
		paid := 0
		for n := range orders {
			s, _ := w.state(fmt.Sprint(n))
			if len(s.Inputs) == 0 || s.Inputs[0] != "noted" || len(s.Inputs) > 2 {
				t.Errorf("%d took %q", n, s.Inputs)
			}
			paid += len(s.Inputs) - 1
		}
		if paid != given || given == 0 || given == orders {
			t.Errorf("%d payments were taken of %d that one of two workers held", paid, given)
		}
	})
}
