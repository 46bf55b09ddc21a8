package process_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

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
