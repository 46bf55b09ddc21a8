package process_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// undoing reserves the parts of an order one by one, each with what undoes it. A payment of nothing gives it up; other
// payments are counted.
func undoing() process.Definition {
	return process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				for n := range in.Event.Qty {
					part := fmt.Sprintf("%s-%d", in.Event.ID, n+1)
					qty := 1
					if n == 1 {
						qty = 99 // this one is rejected
					}
					do.Send(Reserve{ID: part, Qty: qty}, process.OnUndo(Release{ID: part}))
				}
				do.Send(Ship{ID: in.Event.ID}) // which nothing undoes
				do.After(time.Hour, PayDue{})
			}},
		process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun { s.Cents += in.Event.Cents; return s },
			React: func(_ OrderRun, in process.Input[Paid], do *process.Step) {
				if in.Event.Cents == 0 {
					do.Compensate()
				}
			}},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { s.Notes++; return s }},
		process.React(func(s OrderRun, do *process.Step) {
			if s.Cents > 100 && do.Once("rich") {
				do.Emit(OrderClosed{do.Instance(), "rich"})
			}
		}),
	).Otherwise(process.Ignore)
}

// stocked returns what happened in stock, in order.
func (w *world) stocked() (all []string) {
	for _, f := range w.facts("stock") {
		s := f.(Stocked)
		all = append(all, s.What+" "+s.ID)
	}
	return all
}

// What was accepted is undone in reverse order; what was rejected is not.
func TestG7_CompensationUndoesInReverseOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Definition = s, undoing()
		w.record("sales", OrderPlaced{"a", 4}, OrderPlaced{"b", 1})
		w.run()
		w.record("payments", Paid{"a", 0}, Paid{"a", 500})
		w.run()
		want := []string{"reserved a-1", "reserved a-3", "reserved a-4", "shipped a", "released a-4", "released a-3", "released a-1"}
		if got := slices.DeleteFunc(w.stocked(), func(what string) bool { return strings.Contains(what, " b") }); !reflect.DeepEqual(got, want) {
			t.Errorf("stock: %q\nwant   %q", got, want)
		}
		i := w.look("a")
		if i.Status != process.Completed || i.Ending != process.Compensated || len(i.Timers) != 0 || len(w.entries(eventlog.Timeout)) != 1 {
			t.Errorf("in the end: %v, %q, timers %v, timeouts %v", i.Status, i.Ending, i.Timers, w.entries(eventlog.Timeout))
		}
		if got, _ := w.state("a"); got.Cents != 0 || len(w.closed()["a"]) != 0 {
			t.Errorf("it took an input after it was given up: %+v, %v", got, w.closed())
		}
		if b := w.look("b"); b.Status != process.Running || b.Ending != process.Ended {
			t.Errorf("the other: %v %q", b.Status, b.Ending)
		}
		w.verify()
	})
}

// What has no outcome yet when the instance is given up is waited for, and then undone if it was accepted.
func TestG7_CompensationWaitsForCommandsInFlight(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Definition = s, undoing()
		given := make(chan struct{})
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				if strings.Contains(string(c.Data), `"a-3"`) {
					select {
					case <-given:
					case <-ctx.Done():
						return command.Outcome{}, ctx.Err()
					}
				}
				return next(ctx, c, first)
			}
		}
		w.record("sales", OrderPlaced{"a", 3})
		e := w.engine()
		w.with(e, func(ctx context.Context) {
			w.record("payments", Paid{"a", 0})
			for i := w.lookNow("a"); i == nil || !i.Compensating || len(w.stocked()) == 0; i = w.lookNow("a") {
				if ctx.Err() != nil {
					t.Fatal("it was not given up")
				}
			}
			if got := w.stocked(); len(got) != 1 {
				t.Errorf("before the commands in flight were settled: %v", got)
			}
			close(given)
			if err := e.WaitIdle(ctx); err != nil {
				t.Fatal(err)
			}
		})
		if want, got := []string{"reserved a-1", "reserved a-3", "shipped a", "released a-3", "released a-1"}, w.stocked(); !reflect.DeepEqual(got, want) {
			t.Errorf("stock: %q\nwant   %q", got, want)
		}
		w.verify()
	})
}

// An undo that is rejected holds the instance, and the undos before it wait.
func TestG9_AnUndoThatIsRejectedHoldsTheInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Definition = s, undoing()
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				if c.Type == "release" && strings.Contains(string(c.Data), `"a-3"`) {
					return command.Outcome{ID: c.ID, Type: c.Type, Status: command.Rejected, Rejection: command.Reject("gone", "nothing to release")}, nil
				}
				return next(ctx, c, first)
			}
		}
		w.record("sales", OrderPlaced{"a", 3})
		w.record("payments", Paid{"a", 0})
		w.run()
		h := w.holding("a")
		if h == nil || h.Condition != process.Held || h.Attempts != 1 || !strings.Contains(h.Error, `"release", which undoes "reserve", was rejected`) {
			t.Fatalf("%+v", h)
		}
		if want, got := []string{"reserved a-1", "reserved a-3", "shipped a"}, w.stocked(); !reflect.DeepEqual(got, want) {
			t.Errorf("stock: %q\nwant   %q", got, want)
		}
		if i := w.look("a"); !i.Compensating || i.Status != process.Running {
			t.Errorf("%+v", i)
		}
	})
}

// A crash at any append changes nothing of a compensation.
func TestG6_G7_CompensationSurvivesACrashAtEveryAppend(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		whole := false
		for stop := int32(0); !whole; stop++ {
			synctest.Test(t, func(t *testing.T) { whole = compensationWithACrashAt(t, s, stop) })
		}
	})
}

func compensationWithACrashAt(t *testing.T, s process.Store, stop int32) (whole bool) {
	w := newWorld(t)
	w.config.Store, w.config.Definition = s, undoing()
	var appends atomic.Int32
	w.log = func(_ string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			switch n := appends.Add(1); {
			case stop > 0 && n == stop:
				return eventlog.Appended{}, errCrash
			case stop > 0 && n == stop+1: // written, and the answer is lost
				_, _ = l.Append(ctx, writes...)
				return eventlog.Appended{}, errCrash
			}
			return l.Append(ctx, writes...)
		}}
	}
	w.record("sales", OrderPlaced{"a", 3})
	w.run()
	w.record("payments", Paid{"a", 0})
	w.run()
	w.loseCursors()
	w.run()
	if want, got := []string{"reserved a-1", "reserved a-3", "shipped a", "released a-3", "released a-1"}, w.stocked(); !reflect.DeepEqual(got, want) {
		t.Fatalf("with a crash at append %d, stock: %q\nwant   %q", stop, got, want)
	}
	if i := w.look("a"); i.Ending != process.Compensated {
		t.Fatalf("with a crash at append %d: %+v", stop, i)
	}
	w.verify()
	return appends.Load() < stop
}

// lookNow is look for an instance that may not be there yet.
func (w *world) lookNow(key string) *process.Instance {
	i, _ := process.Look(context.Background(), w.engine().Home(), key)
	return i
}
