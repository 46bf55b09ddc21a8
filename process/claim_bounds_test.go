package process_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func TestG9_WhatWaitsForAClaimIsBounded(t *testing.T) {
	for _, then := range []process.Policy{process.Hold, process.Ignore} {
		t.Run(then.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := claimWorld(t)
				w.config.Definition = w.config.Definition.Deferring(process.Deferral{Most: 2, Within: time.Hour, Then: then})
				a := w.hire(t)
				w.happen(OrderPlaced{ID: "x"}, Paid{"d", 1}, Paid{"d", 2}, Paid{"d", 3}, Paid{"e", 4})
				pass(t, time.Minute)
				w.wantClaims("one too many", `d: "", 2 waiting`, `e: "", 1 waiting`)
				pass(t, 30*time.Minute)
				w.happen(Paid{"e", 5})
				pass(t, 31*time.Minute)
				w.wantClaims("too long", `e: "", 1 waiting`)
				w.happen(Issued{"d", "x"}, Issued{"e", "x"})
				pass(t, time.Minute)
				w.wantTook("claimed afterwards", "x", "paid 5")
				ignored := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
				held := []string{}
				for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
					if err != nil {
						t.Fatal(err)
					}
					_, why, _ := strings.Cut(h.Error, ": ")
					held = append(held, fmt.Sprint(h.Condition, " ", h.Queued, " ", strings.Contains(why, "2 inputs are deferred for document"), strings.Contains(why, "no instance has claimed document")))
				}
				slices.Sort(held)
				if then == process.Hold {
					if want := []string{"held 1 false true", "held 1 false true", "held 1 false true", "held 1 true false"}; !slices.Equal(held, want) || len(ignored) > 0 {
						t.Errorf("held %q, want %q; ignored %v", held, want, ignored)
					}
				} else if want := map[string]int64{"no instance, and too many deferred: paid": 1, "no instance, deferred too long: paid": 3}; len(held) > 0 || !reflect.DeepEqual(ignored, want) {
					t.Errorf("held %q; ignored %v, want %v", held, ignored, want)
				}
				a.stop()
				w.verify()
			})
		})
	}
}

func TestG9_AnUnclaimedInputThatMustNotComeIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.claiming(append(claimParts(), process.On[OrderRun, Noted]{NoInstance: process.Hold, Locate: process.Claimed("document", func(e Noted) string { return e.ID }),
		Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { return tookNext(s, "noted") }})...)
	w.happen(OrderPlaced{ID: "x"}, Noted{"d"}, Issued{"d", "x"}, Noted{"d"})
	w.run()
	w.wantTook("behind the claim", "x", "noted")
	n := 0
	for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
		if n++; err != nil || h.Condition != process.Held || h.Queued != 1 || !strings.HasPrefix(h.Instance, "ensue.unclaimed/document/payments/") {
			t.Errorf("%+v, %v", h, err)
		}
	}
	if n != 1 {
		t.Errorf("%d held", n)
	}
	w.loseCursors()
	w.run()
	w.wantTook("cursors lost", "x", "noted")
	w.verify()
}

// By the replay clock, workers that share a process end only when everything has been handed over.
func TestG8_G9_ClaimsByTheReplayClock(t *testing.T) {
	run := func(t *testing.T, workers int) *world {
		w := claimWorld(t)
		w.config.Replay = true
		w.config.Batch = 3
		var hands []*hand
		for range workers {
			hands = append(hands, w.hire(t))
		}
		pass(t, 5*sharePoll)
		p := hands[workers-1].pauseNext()
		var sales, payments []event.Event
		add := func(all *[]event.Event, module string, f any, minute int) {
			*all = append(*all, must(w.types[module].Encode(event.New(f).WithID(event.DeriveID("replay", module, fmt.Sprint(len(*all)))).At(process.MachineStart.Add(time.Duration(minute)*time.Minute)))))
		}
		for n := range 60 {
			order, doc := fmt.Sprint("o", n), fmt.Sprint("d", n)
			add(&sales, "sales", OrderPlaced{ID: order}, n)
			add(&payments, "payments", Paid{doc, 1}, n+1)
			add(&payments, "payments", Paid{doc, 2}, n+1)
		}
		for n := range 60 {
			order, doc := fmt.Sprint("o", n), fmt.Sprint("d", n)
			add(&sales, "sales", Issued{doc, order}, 100+n)
			add(&payments, "payments", Paid{doc, 3}, 200+n)
		}
		must(w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "fact/sales", Events: sales}))
		must(w.logs["payments"].Append(t.Context(), eventlog.ToStream{Stream: "fact/payments", Events: payments}))
		w.seal("sales", "payments")
		<-p.stopped // the others come to their ends meanwhile
		pass(t, 5*sharePoll)
		close(p.resume)
		for _, h := range hands {
			h.running.Wait()
			if h.err != nil {
				t.Error(h.err)
			}
		}
		for n := range 60 {
			s, _ := w.state(fmt.Sprint("o", n))
			if slices.Sort(s.Inputs); !slices.Equal(s.Inputs, []string{"paid 1", "paid 2", "paid 3"}) {
				t.Errorf("%d workers: o%d took %q", workers, n, s.Inputs)
			}
		}
		w.verify()
		return w
	}
	for _, workers := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) { run(t, workers) })
	}
}

func TestVerifyFindsBrokenClaims(t *testing.T) {
	t.Parallel()
	put := func(key, value string) eventlog.Write {
		return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: key, Value: []byte(value)}}
	}
	for want, write := range map[string]eventlog.Write{
		"there is no entry, so inputs that name it do not find it": eventlog.Delete{Kind: eventlog.Claim, Key: "order/document/d"},
		`by the entry "y" has`:      put("order/document/d", `{"instance":"y"}`),
		"by its history it has not": put("order/document/z", `{"instance":"x"}`),
		"it cannot be read":         put("order/document/z", `{`),
		"it counts 2 inputs that wait beside the key, there are 1": put("order/document/e", `{"queued":2,"next":1}`),
		"the input waits beside a key that knows nothing of it":    eventlog.Delete{Kind: eventlog.Claim, Key: "order/document/e"},
		"waits beside the key twice":                               nil,
		"it counts 1 inputs that wait beside the key, there are 0": eventlog.Delete{Kind: eventlog.Claim, Key: "order/document/e/000000000001"},
	} {
		for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
			w := claimWorld(t)
			w.config.Store = store
			w.happen(OrderPlaced{ID: "x"}, Issued{"d", "x"}, Paid{"e", 1})
			w.run()
			w.verify()
			writes := []eventlog.Write{write}
			if write == nil {
				for e, err := range w.logs["sales"].Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Claim, Keys: []string{"order/document/e/000000000001"}}) {
					if err != nil {
						t.Fatal(err)
					}
					writes = []eventlog.Write{put("order/document/e/000000000002", string(e.Value)), put("order/document/e", `{"queued":2,"next":2}`)}
				}
			}
			must(w.logs["sales"].Append(t.Context(), writes...))
			var found []string
			modules := []process.Module{{Name: "sales", Log: w.logs["sales"]}, {Name: "payments", Log: w.logs["payments"]}, {Name: "stock", Log: w.logs["stock"]}}
			for p, err := range process.Verify(t.Context(), modules, nil) {
				if err != nil {
					t.Fatal(err)
				}
				if p.Kind == process.ClaimProblem {
					found = append(found, p.What)
				}
			}
			if !slices.ContainsFunc(found, func(what string) bool { return strings.Contains(what, want) }) {
				t.Errorf("%s: %q, want %q", name, found, want)
			}
		}
	}
}

// An input that was one too many for a key that nobody had claimed is ignored for good: there is room beside the key later,
// and an instance that has claimed it, when the cursors are lost.
func TestG8_G9_WhatWasOneTooManyBesideAKeyIsNeverTaken(t *testing.T) {
	for _, claims := range []bool{true, false} {
		t.Run(fmt.Sprint(claims), func(t *testing.T) {
			w := claimWorld(t)
			w.config.Definition = w.config.Definition.Deferring(process.Deferral{Most: 2, Within: time.Hour, Then: process.Ignore})
			w.happen(Paid{"d", 1}, Paid{"d", 2}, Paid{"d", 3})
			w.run()
			w.wantClaims("one too many", `d: "", 2 waiting`)
			want := []string{"paid 1", "paid 2"}
			w.happen(OrderPlaced{ID: "x"}, Issued{"d", "x"})
			w.run()
			if !claims { // and nobody has the key any more
				w.happen(Withdrawn{"d", "x"})
				w.run()
			}
			w.loseCursors()
			w.run()
			w.wantTook("when the cursors were lost", "x", want...)
			if claims {
				w.wantClaims("when the cursors were lost", `d: "x", 0 waiting`)
			} else {
				w.wantClaims("when the cursors were lost")
			}
			w.verify()
		})
	}
}

// What queues for an instance that completes, and has a key, is never given to another that claims the key: also when cursors
// were lost before.
func TestG8_WhatQueuesForWhoHadAKeyIsNoOthers(t *testing.T) {
	w := claimWorld(t)
	broken := true
	parts := slices.DeleteFunc(claimParts(), func(p process.Part[OrderRun]) bool { _, is := p.(process.On[OrderRun, Ended]); return is })
	w.claiming(append(parts, onTaken(), process.On[OrderRun, Ended]{NoInstance: process.Ignore, Locate: process.Key(func(e Ended) string { return e.Order }),
		React: func(_ OrderRun, _ process.Input[Ended], do *process.Step) {
			if broken {
				do.Fail(errors.New("not yet"))
			}
			do.Complete()
		}})...)
	w.config.Retry.Attempts = 1
	w.happen(OrderPlaced{ID: "x"}, Issued{"d", "x"})
	w.run()
	w.happen(Ended{"x"})
	w.run()
	w.happen(Paid{"d", 1}) // it queues behind what failed
	w.run()
	w.loseCursors()
	broken = false
	w.askToResume("x") // before anything is read again
	w.happen(OrderPlaced{ID: "y"}, Issued{"d", "y"})
	w.run()
	w.loseCursors()
	w.run()
	w.wantTook("who claims the key later", "y")
	w.verify()
}

// An instance that stands aside claims a key when it is resumed, after cursors were lost. A payment that names the key came
// while it stood aside, before one of the inputs that queue for it: it waits beside the key, and is handed over. It is not left
// to its place in the log, which is behind what the instance took.
func TestG9_WhatWaitsForAClaimOutOfAQueueIsHandedOver(t *testing.T) {
	w := claimWorld(t)
	broken := true
	w.claiming(append(claimParts(), onTaken(), process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
		Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { return tookNext(s, "noted") },
		React: func(_ OrderRun, _ process.Input[Noted], do *process.Step) {
			if broken {
				do.Fail(errors.New("not yet"))
			}
		}})...)
	w.config.Retry.Attempts = 1
	w.happen(OrderPlaced{ID: "x"}, Noted{"x"})
	w.run()
	w.happen(Issued{"d", "x"}, Paid{"d", 1}, Noted{"x"})
	w.run()
	w.loseCursors()
	broken = false
	w.askToResume("x") // before anything is read again
	w.run()
	s, _ := w.state("x")
	if slices.Sort(s.Inputs); !slices.Equal(s.Inputs, []string{"noted", "noted", "paid 1"}) {
		t.Errorf("x took %q", s.Inputs)
	}
	w.wantClaims("at the end", `d: "x", 0 waiting`)
	w.verify()
}
