package process_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// What the simulation found, told without chance.

// A birth that fails and is tried again: what was deferred before it comes before what came after it.
func TestG8_WhatWasDeferredIsNotOvertakenWhenItsBirthIsRetried(t *testing.T) {
	w := newWorld(t)
	var now atomic.Int64 // each event has an instant of its own
	for _, m := range w.order {
		w.logs[m] = memlog.Options{Now: func() time.Time { return time.UnixMilli(now.Add(1)).UTC() }}.New()
	}
	failed := false
	w.config.Definition = orderProcess(func(_ string, input any) {
		if _, is := input.(OrderPlaced); is && !failed {
			failed = true
			panic(errors.New("for once"))
		}
	})
	w.record("payments", Paid{"42", 1}, Paid{"42", 2})
	w.record("sales", OrderPlaced{"42", 1})
	w.record("payments", Paid{"42", 3}, Paid{"42", 4})
	w.run()
	want := []string{"placed", "paid 1", "paid 2", "paid 3", "paid 4"}
	if s, _ := w.state("42"); !slices.Equal(s.Inputs, want) {
		t.Errorf("the inputs were taken in the order %q, want %q", s.Inputs, want)
	}
}

// The outcome of a command comes when a timeout of its instance is due already: the timeout goes first.
func TestG11_ATimeoutGoesBeforeAnOutcomeOfALaterInstant(t *testing.T) {
	w := newWorld(t)
	var late atomic.Int64
	w.config.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			out, err := next(ctx, c, first)
			if c.Type == "reserve" {
				late.Store(int64(2 * time.Hour))
				out.Handled = out.Handled.Add(2 * time.Hour) // pay-due was due an hour ago
			}
			return out, err
		}
	}
	w.record("sales", OrderPlaced{"42", 1})
	w.run()
	s, _ := w.state("42")
	if want := []string{"placed", "pay-due"}; !slices.Equal(s.Inputs, want) || s.Reserved {
		t.Errorf("it took %q, reserved: %v; want %q, and the outcome too late", s.Inputs, s.Reserved, want)
	}
}
