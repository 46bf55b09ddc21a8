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
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// asked collects what OnError was asked.
type asked struct {
	sync.Mutex
	all []process.Failure
}

// answering returns an OnError that answers by a function.
func (a *asked) answering(answer func(process.Failure) process.Remedy) process.Part[OrderRun] {
	return process.OnError[OrderRun](func(f process.Failure) process.Remedy {
		a.Lock()
		a.all = append(a.all, f)
		a.Unlock()
		return answer(f)
	})
}

func always(r process.Remedy) func(process.Failure) process.Remedy {
	return func(process.Failure) process.Remedy { return r }
}

var errTemporary = errors.New("temporary")

func TestG9_OnErrorDecidesOfSteps(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(process.Failure) process.Remedy
		failures int // of the step, before it succeeds
		attempts int // that are made
		held     string
	}{
		"by the policy":       {always(process.Remedy{}), 9, 3, "temporary"},
		"retry after":         {always(process.RetryAfter(time.Millisecond)), 9, 10, ""},
		"retry at once":       {always(process.RetryAfter(-time.Hour)), 9, 10, ""},
		"hold":                {always(process.HoldInstance()), 9, 1, "temporary"},
		"give up, which hold": {always(process.GiveUp("no use")), 9, 1, "which only a command can be: an input is never skipped (process \"order\", instance \"bad\""},
		"a panic, which hold": {func(process.Failure) process.Remedy { panic("oops") }, 9, 1, "panic in OnError: oops (process \"order\", instance \"bad\""},
		"by predicate": {func(f process.Failure) process.Remedy {
			if errors.Is(f.Err, errTemporary) && f.Attempts < 5 {
				return process.RetryAfter(time.Millisecond)
			}
			return process.HoldInstance()
		}, 9, 5, "temporary"},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newWorld(t)
				w.config.Store = s
				var tried atomic.Int64
				var a asked
				w.config.Definition = reserving(nil, a.answering(c.answer), process.On[OrderRun, Noted]{
					NoInstance: process.Ignore,
					Locate:     process.Key(func(e Noted) string { return e.ID }),
					Evolve:     func(s OrderRun, _ process.Input[Noted]) OrderRun { return tookNote(s, "noted") },
					React: func(_ OrderRun, in process.Input[Noted], do *process.Step) {
						if in.Event.ID == "bad" && tried.Add(1) <= int64(c.failures) {
							do.Fail(fmt.Errorf("it is %w", errTemporary))
						}
					},
				})
				w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
				w.settle(soon)
				w.record("payments", Noted{"bad"}, Noted{"good"}, Paid{"bad", 1})
				w.settle(soon)
				w.wantInputs("good", "placed", "reserved", "noted")
				if c.held == "" {
					w.wantInputs("bad", "placed", "reserved", "noted", "paid")
				}
				holds := w.holds()
				if (len(holds) == 1) != (c.held != "") || c.held != "" && (holds[0].Condition != process.Held || holds[0].Queued != 2 || !strings.Contains(holds[0].Error, c.held)) {
					t.Errorf("holds: %+v", holds)
				}
				if tried.Load() != int64(c.attempts) || len(a.all) != min(c.attempts, c.failures) {
					t.Errorf("%d attempts, OnError was asked %d times", tried.Load(), len(a.all))
				}
				for n, f := range a.all {
					var step *process.StepError
					if f.Process != "order" || f.Instance != "bad" || f.Attempts != n+1 || f.Command != nil || f.Since.IsZero() || !errors.As(f.Err, &step) ||
						!errors.Is(f.Err, errTemporary) || !strings.HasPrefix(f.Input, `event "noted"`) || !f.Since.Equal(a.all[0].Since) {
						t.Errorf("asked: %+v", f)
					}
				}
				w.verify()
			})
		})
	}
}

func TestG7_OnErrorDecidesOfCommands(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(process.Failure) process.Remedy
		policy   int // attempts by the policy
		attempts int // that are made
		ends     string
	}{
		"for ever by the policy": {always(process.Remedy{}), 0, 10, "reserved"},
		"so many by the policy":  {always(process.Remedy{}), 4, 4, "failed: bad: no answer from stock"},
		"retry after":            {always(process.RetryAfter(time.Millisecond)), 4, 10, "reserved"},
		"give up":                {always(process.GiveUp("no use")), 0, 1, "failed: bad: no use"},
		"give up without reason": {always(process.GiveUp("")), 0, 1, "failed: bad: no answer from stock"},
		"hold":                   {always(process.HoldInstance()), 0, 1, ""},
		"a panic, which hold":    {func(process.Failure) process.Remedy { panic("oops") }, 0, 1, ""},
		"by predicate": {func(f process.Failure) process.Remedy {
			if errors.Is(f.Err, errTimeout) && f.Command != nil && f.Attempts >= 3 {
				return process.GiveUp("three times")
			}
			return process.Remedy{}
		}, 0, 3, "failed: bad: three times"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Retry.Dispatch = c.policy
			var a asked
			w.config.Definition = reserving(nil, noteFailed, a.answering(c.answer))
			var tried atomic.Int64
			w.bus = func(_ string, next dispatch) dispatch {
				return func(ctx context.Context, cmd command.Envelope, first bool) (command.Outcome, error) {
					if strings.Contains(string(cmd.Data), "bad") && cmd.Type == "reserve" {
						if n := tried.Add(1); n <= 9 {
							return command.Outcome{}, fmt.Errorf("attempt %d: %w", n, errTimeout)
						}
					}
					return next(ctx, cmd, first)
				}
			}
			w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
			w.settle(soon)
			w.wantInputs("good", "placed", "reserved")
			if want := strings.ReplaceAll(c.ends, "bad: no", fmt.Sprintf("bad: attempt %d: no", c.attempts)); c.ends == "" {
				w.wantInputs("bad", "placed")
			} else if c.ends != "failed: bad: no use" {
				w.wantInputs("bad", "placed", want)
			} else {
				w.wantInputs("bad", "placed", c.ends)
			}
			if tried.Load() != int64(c.attempts) || len(a.all) != min(c.attempts, 9) {
				t.Errorf("%d attempts, OnError was asked %d times", tried.Load(), len(a.all))
			}
			for n, f := range a.all {
				if f.Command == nil || f.Process != "order" || f.Instance != "bad" || f.Attempts != n+1 || f.Input != "" || f.Since.IsZero() || !errors.Is(f.Err, errTimeout) ||
					f.Command.Module != "stock" || f.Command.Type != "reserve" || f.Command.ID.IsZero() {
					t.Errorf("asked: %+v, %+v", f, f.Command)
				}
			}
			if holds := w.holds(); (len(holds) == 1) != (c.ends == "") {
				t.Errorf("holds: %+v", holds)
			}
			w.verify()
		})
	}
}

// OnError holds an instance for its command: it is held for everyone to see, its inputs queue, and the command stays
// where it is, also across restarts; released, it is dispatched, and what queued follows.
func TestG9_AnInstanceIsHeldForItsCommand(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		var a asked
		var well atomic.Bool
		var tried atomic.Int64
		ids := map[event.ID]bool{}
		w.config.Definition = reserving(nil, noteFailed, a.answering(always(process.HoldInstance())), process.OnTimeout[OrderRun, PayDue]{
			Name:   "pay-due",
			Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { return tookNote(s, "due") },
		}, process.React(func(_ OrderRun, do *process.Step) {
			if do.Once("more") {
				do.Send(Ship{ID: do.Instance()}) // waits behind the other
				do.After(time.Millisecond, PayDue{})
			}
		}))
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				if strings.Contains(string(c.Data), "bad") && c.Type == "reserve" {
					tried.Add(1)
					ids[c.ID] = true
					if !well.Load() {
						return command.Outcome{}, errTimeout
					}
				}
				return next(ctx, c, first)
			}
		}
		w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
		w.settle(soon)
		holds := w.holds()
		if len(holds) != 1 || holds[0].Instance != "bad" || holds[0].Condition != process.Held || !ids[holds[0].Command] || holds[0].Attempts != 1 ||
			holds[0].Error != errTimeout.Error() || !strings.Contains(holds[0].Input, `command "reserve"`) {
			t.Fatalf("holds: %+v", holds)
		}
		for range 3 { // restarts
			w.record("payments", Paid{"bad", 1}, Paid{"good", 1})
			if stats := w.settle(soon); stats.Held != 1 {
				t.Errorf("%+v", stats)
			}
			w.loseCursors() // what queues is recognised, and what was taken before as well
		}
		if stats := w.settle(soon); stats.Held != 1 || tried.Load() != 1 {
			t.Errorf("%+v; it was dispatched %d times", stats, tried.Load())
		}
		if holds := w.holds(); len(holds) != 1 || holds[0].Queued != 3 || holds[0].Command.IsZero() {
			t.Errorf("holds: %+v", holds)
		}
		if pending := must(process.PendingCommands(t.Context(), w.logs["sales"], "order", "bad")); len(pending) != 2 {
			t.Errorf("pending: %+v", pending)
		}
		w.verify()

		w.released("bad") // but stock does not answer yet
		w.settle(soon)
		if holds := w.holds(); len(holds) != 1 || holds[0].Condition != process.Held || holds[0].Command.IsZero() || tried.Load() != 2 {
			t.Fatalf("dispatched %d times; holds: %+v", tried.Load(), holds)
		}

		well.Store(true)
		w.released("bad")
		w.settle(soon)
		if holds := w.holds(); len(holds) != 0 || len(ids) != 1 {
			t.Errorf("holds: %+v; it was sent under the ids %v", holds, ids)
		}
		got, _ := w.state("bad")
		slices.Sort(got.Inputs)
		if want := []string{"due", "paid", "paid", "paid", "placed", "reserved"}; !slices.Equal(got.Inputs, want) {
			t.Errorf("bad took %q", got.Inputs)
		}
		w.wantStock(map[string][]string{"bad": {"reserved", "shipped"}, "good": {"reserved", "shipped"}})
		w.verify()
	})
}

// A run by the replay clock comes to its end, though an instance is held for a command.
func TestReplayEndsBesideAnInstanceThatIsHeldForItsCommand(t *testing.T) {
	w := newWorld(t)
	w.config.Replay = true
	w.config.Definition = reserving(nil, process.OnError[OrderRun](always(process.HoldInstance())))
	w.unlessAnswered(errTimeout)
	w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
	w.seal("sales", "payments")
	ctx, stop := context.WithTimeout(t.Context(), soon)
	defer stop()
	if err := w.engine().Run(ctx); err != nil || ctx.Err() != nil || len(w.holds()) != 2 {
		t.Errorf("%v, %v; holds %+v", err, ctx.Err(), w.holds())
	}
}

// The program ends during the back-off of a command: the next one dispatches it at once, the same, and it takes effect once.
func TestG7_AKillDuringTheBackOffLosesNoCommand(t *testing.T) {
	w := newWorld(t)
	failed := make(chan struct{})
	var ends sync.Once
	w.config.Definition = reserving(nil, process.OnError[OrderRun](func(process.Failure) process.Remedy {
		defer ends.Do(func() { close(failed) })
		return process.RetryAfter(time.Hour)
	}))
	var ids []event.ID
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if ids = append(ids, c.ID); len(ids) == 1 {
				return command.Outcome{}, errors.Join(errTimeout, must2(next(ctx, c, first))) // it took effect, and the answer was lost
			}
			return next(ctx, c, first)
		}
	}
	w.record("sales", OrderPlaced{"a", 1})
	w.with(w.engine(), func(context.Context) { <-failed })
	w.wantInputs("a", "placed")
	w.settle(soon)
	w.wantInputs("a", "placed", "reserved")
	w.wantStock(map[string][]string{"a": {"reserved"}})
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("it was dispatched as %v", ids)
	}
	w.verify()
}

func must2(_ command.Outcome, err error) error { return err }

// The receiver cannot be told that a command is given up: it is not, and is dispatched again.
func TestG7_WhatCannotBeGivenUpIsDispatchedAgain(t *testing.T) {
	w := newWorld(t)
	w.config.Retry.Dispatch = 1
	w.config.Definition = reserving(nil, noteFailed)
	var tried, told atomic.Int64
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if tried.Add(1) <= 3 {
				return command.Outcome{}, errTimeout
			}
			return next(ctx, c, first)
		}
	}
	w.fail = func(context.Context, command.Envelope, string, *command.Bus) (command.Outcome, error) {
		told.Add(1)
		return command.Outcome{}, errTimeout
	}
	w.record("sales", OrderPlaced{"a", 1})
	w.settle(soon)
	w.wantInputs("a", "placed", "reserved")
	if told.Load() != 3 {
		t.Errorf("it was given up %d times", told.Load())
	}
}

// What OnError says counts to the instant, and the others do not wait with it.
func TestACommandIsDispatchedAgainWhenOnErrorSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Definition = reserving(nil, process.OnError[OrderRun](always(process.RetryAfter(5*time.Second))))
		var mu sync.Mutex
		times := map[string][]time.Duration{}
		began := time.Now()
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				key := string(c.Data)
				times[key] = append(times[key], time.Since(began).Round(time.Second))
				if len(times[key]) < 3 && strings.Contains(key, "bad") {
					return command.Outcome{}, errTimeout
				}
				return next(ctx, c, first)
			}
		}
		w.record("sales", OrderPlaced{"bad", 1}, OrderPlaced{"good", 1})
		w.settle(20 * time.Second)
		want := map[string][]time.Duration{`{"ID":"bad","Qty":1}`: {0, 5 * time.Second, 10 * time.Second}, `{"ID":"good","Qty":1}`: {0}}
		if !reflect.DeepEqual(times, want) {
			t.Errorf("dispatched at %v", times)
		}
	})
}

func TestOnErrorIsThereOnce(t *testing.T) {
	err := reserving(nil, process.OnError[OrderRun](always(process.Remedy{})), process.OnError[OrderRun](always(process.Remedy{}))).Check()
	if err == nil || !strings.Contains(err.Error(), "OnError is there twice") {
		t.Errorf("two: %v", err)
	}
	if err := reserving(nil, process.OnError[OrderRun](nil)).Check(); err == nil || !strings.Contains(err.Error(), "OnError has no function") {
		t.Errorf("none: %v", err)
	}
	if err := reserving(nil, noteFailed, noteFailed).Check(); err == nil || !strings.Contains(err.Error(), "failed process_test.Reserve is handled twice") {
		t.Errorf("OnFailed twice: %v", err)
	}
}
