package process_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
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

// A timeout brings the phase of what was deferred while the instance stands aside: what queues comes behind that.
func TestG8_WhatWasDeferredComesBeforeTheQueueWhenATimeoutBringsItsPhase(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	var later time.Duration
	for _, m := range w.order {
		w.logs[m] = memlog.Options{Now: func() time.Time { return began.Add(later) }}.New()
	}
	w.config.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
	w.config.Retry, w.config.Batch = process.Retry{Attempts: 1}, 100
	fails := true
	w.config.Definition = process.Define("order",
		process.Phases(phaseOf, placed, reserved, closing),
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) { do.After(time.Hour, PayDue{}) }},
		process.On[OrderRun, Paid]{NoInstance: process.Ignore, Defer: process.In(placed), In: process.In(reserved), Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: sawPaid()},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
			React: func(_ OrderRun, _ process.Input[Noted], do *process.Step) {
				if fails {
					do.Fail(errors.New("for now"))
				}
			}},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
			Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { s.Reserved = true; return s }},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"42", 1})
	w.record("payments", Paid{"42", 1}, Noted{"42"})
	later = 2 * time.Hour
	w.record("payments", Paid{"42", 2})
	w.run() // it is held with the note, and the second payment queues
	fails = false
	w.released("42")
	w.run()
	if s, _ := w.state("42"); !slices.Equal(s.Inputs, []string{"paid 1", "paid 2"}) {
		t.Errorf("the payments were taken in the order %q; paid 1 was deferred when it came", s.Inputs)
	}
}

// A timeout that was deferred is taken up when the instance has set another one of its name: that one still fires, also
// after a restart.
func TestG11_ADeferredTimeoutLeavesTheNextOneOfItsNameSet(t *testing.T) {
	eachStore(t, func(t *testing.T, store process.Store) {
		w := newWorld(t)
		w.config.Store = store
		var later atomic.Int64
		w.config.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		after := func(d time.Duration, do *process.Step) { do.After(d, PayDue{}) }
		w.config.Definition = process.Define("order",
			process.Phases(phaseOf, placed, reserved, closing),
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) { after(time.Hour, do) }},
			process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
				Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Reserved = true; return s },
				React:  func(_ OrderRun, _ process.Input[Noted], do *process.Step) { after(5*time.Hour, do) }},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", Defer: process.In(placed), In: process.In(reserved),
				Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { s.Inputs = append(s.Inputs, "pay-due"); return s }},
		).Otherwise(process.Ignore)
		w.record("sales", OrderPlaced{"42", 1})
		later.Store(int64(2 * time.Hour))
		w.run() // the first one is due, and deferred
		w.record("payments", Noted{"42"})
		w.run() // the second one is set, and then the first one taken up
		if n := len(w.entries(eventlog.Timeout)); n != 1 {
			t.Errorf("%d timeouts are to come, want 1", n)
		}
		later.Store(int64(10 * time.Hour))
		w.run()
		if s, _ := w.state("42"); !slices.Equal(s.Inputs, []string{"pay-due", "pay-due"}) {
			t.Errorf("it took %q, want both timeouts", s.Inputs)
		}
	})
}

// One too many was ignored, since nothing more could be deferred. It is not deferred later, when there is room again and
// cursors were lost.
func TestG8_WhatWasOneTooManyIsNotDeferredLater(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	var later atomic.Int64
	now := func() time.Time { return began.Add(time.Duration(later.Load())) }
	for _, m := range w.order {
		w.logs[m] = memlog.Options{Now: now}.New()
	}
	w.config.Now = now
	w.config.Definition = orderProcess(nil).Deferring(process.Deferral{Most: 1, Within: time.Hour, Then: process.Ignore})
	w.record("payments", Paid{"42", 1})
	later.Store(int64(50 * time.Minute))
	w.record("payments", Paid{"42", 2})
	w.run() // the second is one too many
	later.Store(int64(70 * time.Minute))
	w.run() // the first has waited for too long
	w.loseCursors()
	w.run()
	w.record("sales", OrderPlaced{"42", 1})
	w.run()
	if s, _ := w.state("42"); !slices.Equal(s.Inputs, []string{"placed"}) {
		t.Errorf("it took %q; both payments were ignored before", s.Inputs)
	}
}

// What an instance ignored before it was born is not applied later, also when cursors are lost before its birth, and what
// starts it comes first then: the clock of its module is behind.
func TestG8_WhatWasIgnoredBeforeBirthStaysSoWhenCursorsAreLostBetween(t *testing.T) {
	for name, c := range map[string]struct {
		first []any // comes with the note
		fails bool  // the birth, at first
		want  []string
	}{
		"born at once":          {want: []string{"placed"}},
		"born when tried again": {fails: true, want: []string{"placed"}},
		"something waits":       {first: []any{Paid{"42", 1}}, want: []string{"placed", "paid 1"}},
		"both":                  {first: []any{Paid{"42", 1}}, fails: true, want: []string{"placed", "paid 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, store process.Store) {
				w := newWorld(t)
				w.config.Store = store
				w.logs["sales"] = memlog.Options{Now: func() time.Time { return time.Now().Add(-time.Minute) }}.New()
				fails := c.fails
				w.config.Definition = orderProcess(func(_ string, input any) {
					if _, is := input.(OrderPlaced); is && fails {
						fails = false
						panic(errors.New("for once"))
					}
				})
				w.record("payments", append([]any{Noted{"42"}}, c.first...)...)
				w.run()
				w.loseCursors()
				w.record("sales", OrderPlaced{"42", 1})
				w.run()
				if s, _ := w.state("42"); !slices.Equal(s.Inputs, c.want) {
					t.Errorf("it took %q, want %q", s.Inputs, c.want)
				}
				if n := must(process.Ignored(t.Context(), w.logs["sales"], "order"))["no instance: noted"]; n != 1 {
					t.Errorf("the note was counted %d times", n)
				}
			})
		})
	}
}

// What was ignored without an instance does not queue behind what is held later for the same key, when cursors are lost.
func TestG8_WhatWasIgnoredBeforeAHoldDoesNotQueueBehindIt(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		process.On[OrderRun, OrderClosed]{NoInstance: process.Ignore, Locate: process.Key(func(e OrderClosed) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[OrderClosed]) OrderRun { s.Notes++; return s }},
		process.On[OrderRun, Paid]{NoInstance: process.Hold, Locate: process.Key(func(e Paid) string { return e.ID }), Evolve: sawPaid()},
	).Otherwise(process.Ignore)
	w.record("sales", OrderClosed{"42", "early"})
	w.run()
	w.record("payments", Paid{"42", 1})
	w.run()
	w.loseCursors()
	w.run()
	if h := w.holding("42"); h == nil || h.Condition != process.Held || h.Queued != 1 {
		t.Errorf("the hold is %+v, want one of the payment alone", h)
	}
}

// oneByOne is a world in which a note concerns several orders, and each takes a batch of its own.
func oneByOne(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.config.Batch, w.config.Partitions, w.config.Definition = 1, 1, notedTogether()
	w.logs["sales"] = memlog.Options{Now: func() time.Time { return time.Now().Add(-time.Minute) }}.New() // orders come first
	return w
}

// An event that concerns several is ignored by each in a batch of its own. When it was given to all of them none takes it
// later; when a crash came before, those that it had not been given to still get it.
func TestG8_G9_AnEventIsPassedWhenAllHadIt(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		w := oneByOne(t)
		w.record("payments", Noted{"a b"})
		if crashes {
			refused := make(chan struct{}, 1000)
			w.log = func(m string, l eventlog.Log) eventlog.Log {
				return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
					if m == "sales" && hasKind(writes, eventlog.Cursor) { // with this one, all had it
						refused <- struct{}{}
						return eventlog.Appended{}, errCrash
					}
					return l.Append(ctx, writes...)
				}}
			}
			w.with(w.engine(), func(context.Context) { <-refused })
			w.log = nil
		} else {
			w.run()
			w.loseCursors()
		}
		w.record("sales", OrderPlaced{"b", 1})
		w.run()
		want := 0
		if crashes {
			want = 1
		}
		if s, _ := w.state("b"); s.Notes != want {
			t.Errorf("a crash: %v; it was noted %d times, want %d", crashes, s.Notes, want)
		}
	}
}

// The log of a fan-out event is imported again. One instance had the event, and is the last that it is given to; the other
// one, which is born later, does not take what was passed before.
func TestG8_AnImportedEventIsPassedWhereTheLastHadIt(t *testing.T) {
	w := oneByOne(t)
	w.record("sales", OrderPlaced{"b", 1})
	w.record("payments", Noted{"a b"})
	w.run()
	w.importAgain("payments")
	w.loseCursors()
	w.run()
	w.loseCursors()
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	for key, want := range map[string]int{"a": 0, "b": 1} {
		if s, _ := w.state(key); s.Notes != want {
			t.Errorf("%s was noted %d times, want %d", key, s.Notes, want)
		}
	}
}
