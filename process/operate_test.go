package process_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func TestG9_ResumeTakesWhatFailedAndWhatQueuesInOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActResume, "a"), nil) // nothing has changed
		if h := w.wantHolds("a held 2"); h[0].Attempts != 3 {
			t.Errorf("attempts are counted on, not from 0: %+v", h)
		}
		w.broken.Store(false)
		w.operate(one(process.ActResume, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 5")
		w.wantStock(map[string][]string{"a": {"reserved", "shipped"}})
		w.operate(one(process.ActResume, "a"), process.ErrNotHeld)
		w.operate(one(process.ActSkip, "nobody"), process.ErrNotHeld)
		w.verify()
	})
}

func TestG9_SkipLeavesOneInputOutAndSaysWhy(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActSkip, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "paid 5")
		w.wantRecords("a", "noted ignored: skipped: by mistake, by mistake by ada", "paid")
		w.broken.Store(false)
		w.loseCursors()
		w.run()
		w.wantApplied("a", "placed", "paid 5")
		w.verify()
	})
}

func TestG9_ReplaceTakesACorrectedInputAndKeepsTheOriginal(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(_ string, in any) bool { p, ok := in.(Paid); return ok && p.Cents < 0 })
		w.record("sales", OrderPlaced{"a", 1})
		w.run()
		w.record("payments", Paid{"a", -5}, Noted{"a"})
		w.run()
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"Cents":"five"}`), process.ErrBadInput)
		w.operate(replacing("a", `{"ID":"a","Cents":-6}`), nil) // it fails as well
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"ID":"a","Cents":5}`), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "paid 5")
		w.wantRecords("a", `paid (was {"ID":"a","Cents":-5})`, "noted ignored: completed")
		w.loseCursors()
		w.run()
		w.wantApplied("a", "placed", "paid 5")
		w.verify()
	})
}

// An event of the home log is linked, not copied: a corrected one is not read from the link.
func TestG9_AReplacedEventOfTheHomeLogIsNotReadFromIt(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(_ string, in any) bool { p, ok := in.(OrderPlaced); return ok && p.Qty < 0 })
		w.record("sales", OrderPlaced{"a", -1})
		w.run()
		w.record("payments", Paid{"a", 3})
		w.run()
		w.wantHolds("a held 2")
		w.operate(replacing("a", `{"ID":"a","Qty":11}`), nil)
		w.wantHolds()
		if got := w.closed(); !slices.Equal(got["a"], []string{"rejected: too-many"}) {
			t.Errorf("closed: %v; want the corrected order of 11 to be rejected", got)
		}
		if _, documents := s.(process.Documents); !documents {
			if first := w.records("a")[0]; first != `order-placed (was {"ID":"a","Qty":-1})` {
				t.Errorf("the first record: %s", first)
			}
		}
		w.verify()
	})
}

func TestG9_CancelCompletesAnInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := aHeldOrder(t, s)
		w.operate(one(process.ActCancel, "a"), nil)
		w.wantHolds()
		w.wantRecords("a", "cancel cancelled, by mistake by ada", "noted ignored: cancelled", "paid ignored: cancelled")
		w.record("payments", Paid{"a", 6})
		w.broken.Store(false)
		w.run()
		w.wantRecords("a", "paid ignored: completed")
		w.wantApplied("a", "placed")
		if left := w.entries(eventlog.Timeout); len(left) > 0 {
			t.Errorf("timeouts left: %v", left)
		}
		w.operate(one(process.ActCancel, "a"), process.ErrCompleted)
		w.operate(one(process.ActCancel, "nobody"), process.ErrNoInstance)
		w.operate(one(process.ActHold, "a"), process.ErrCompleted)

		w.record("sales", OrderPlaced{"healthy", 1})
		w.run()
		w.operate(one(process.ActCancel, "healthy"), nil)
		w.record("payments", Paid{"healthy", 6})
		w.run()
		w.wantApplied("healthy", "placed")
		i := must(process.Look(t.Context(), w.engine().Home(), "healthy"))
		if i.Status != process.Completed || i.Ending != process.Cancelled || len(i.Timers) > 0 {
			t.Errorf("cancelled: %+v", i)
		}
		for sum, err := range process.ListInstances(t.Context(), w.logs["sales"], "order", "") {
			if err != nil || sum.Ending != process.Cancelled {
				t.Errorf("listed: %+v, %v", sum, err)
			}
		}
		w.verify()
	})
}

func TestG9_HoldBackAHealthyInstance(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newTroubled(t, s, func(string, any) bool { return false })
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
		w.run()
		w.operate(one(process.ActHold, "nobody"), process.ErrNoInstance)
		w.operate(one(process.ActHold, "a"), nil)
		w.record("payments", Noted{"a"}, Paid{"a", 1}, Paid{"b", 1})
		w.run()
		if h := w.wantHolds("a held 2"); h[0].Reason != "by mistake" || h[0].By != "ada" {
			t.Errorf("it does not say why: %+v", h)
		}
		w.wantStock(map[string][]string{"a": {"reserved"}, "b": {"reserved", "shipped"}})
		w.operate(one(process.ActSkip, "a"), process.ErrNothingFailed)
		w.operate(one(process.ActResume, "a"), nil)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 1")
		w.verify()
	})
}

func TestG9_RequestsAboutAnotherHoldAreStale(t *testing.T) {
	w := aHeldOrder(t, nil)
	w.broken.Store(false)
	e := w.engine()
	for _, a := range []process.Action{process.ActResume, process.ActSkip, process.ActCancel} { // nobody runs: they are kept
		short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := process.Operate(short, w.logs["sales"], "order", one(a, "a"))
		end()
		var open *process.UnansweredError
		if !errors.As(err, &open) || open.Asked != 1 || open.Answered != 0 {
			t.Fatalf("%s without a worker: %v", a, err)
		}
	}
	w.with(e, func(ctx context.Context) {
		if err := e.WaitIdle(ctx); err != nil {
			t.Fatal(err)
		}
	})
	w.wantHolds()
	w.wantApplied("a", "placed", "noted", "paid 5") // neither skipped nor cancelled
	answers := 0
	for entry, err := range w.logs["sales"].Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Request}) {
		if answers++; err != nil || strings.Contains(string(entry.Value), "stale") == (answers == 1) {
			t.Errorf("answer %d: %s, %v", answers, entry.Value, err)
		}
	}
	if answers != 3 {
		t.Errorf("%d answers, want 3", answers)
	}
}

// A worker is killed while an instance waits for its next attempt: the next one goes on counting, and tries again.
func TestG9_AKillDuringTheBackOffLosesNoAttempt(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		tw := &troubled{world: w, fails: isNote}
		tw.broken.Store(true)
		w.config.Definition = tw.noting()
		w.config.Retry = process.Retry{Attempts: 3, Backoff: consumer.Backoff{First: 5 * time.Minute, Most: 5 * time.Minute,
			Random: func(n int64) int64 { return n - 1 }}} // the longest wait, always
		w.record("sales", OrderPlaced{"a", 1})
		w.record("payments", Noted{"a"}, Paid{"a", 1})
		a := w.hire(t)
		pass(t, 2*sharePoll)
		if h := w.wantHolds("a retrying 2"); h[0].Attempts != 1 {
			t.Errorf("%+v", h)
		}
		a.die()
		b := w.hire(t)
		pass(t, 6*time.Minute)
		if h := w.wantHolds("a retrying 2"); h[0].Attempts != 2 {
			t.Errorf("attempts begin anew: %+v", h)
		}
		tw.broken.Store(false)
		pass(t, 6*time.Minute)
		w.wantHolds()
		w.wantApplied("a", "placed", "noted", "paid 1")
		b.stop()
		w.verify()
	})
}

// What an operator cancels is compensated first; an undo that is rejected can be sent again, or left at that.
func TestG9_CancelCompensatesAndAnUndoCanBeResumedOrSkipped(t *testing.T) {
	for _, action := range []process.Action{process.ActResume, process.ActSkip} {
		t.Run(string(action), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newTroubled(t, s, isNote)
				w.config.Definition = process.Define("order",
					process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
						React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
							do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty}, process.OnUndo(Release{ID: in.Event.ID}))
							do.After(time.Hour, PayDue{})
						}},
					process.On[OrderRun, Noted]{Locate: process.Key(func(e Noted) string { return e.ID }),
						Evolve: func(OrderRun, process.Input[Noted]) OrderRun { panic("no notes") }},
					process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) { do.Complete() }},
				).Otherwise(process.Ignore)
				w.bus = func(_ string, next dispatch) dispatch {
					return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
						if c.Type == "release" && w.broken.Swap(false) {
							return command.Outcome{Status: command.Rejected, Rejection: command.Reject("not-now", "later")}, nil
						}
						return next(ctx, c, first)
					}
				}
				w.record("sales", OrderPlaced{"a", 1})
				w.run()
				w.record("payments", Noted{"a"})
				w.run()
				w.operate(one(process.ActCancel, "a"), nil)
				if h := w.wantHolds("a held 1"); !strings.Contains(h[0].Error, "not-now") {
					t.Fatalf("%+v", h)
				}
				w.operate(one(process.ActCancel, "a"), process.ErrImpossible)
				w.operate(one(action, "a"), nil)
				w.wantHolds()
				want := []string{"reserved", "released"}
				if action == process.ActSkip {
					want = want[:1]
				}
				w.wantStock(map[string][]string{"a": want})
				i := must(process.Look(t.Context(), w.engine().Home(), "a"))
				if i.Status != process.Completed || i.Ending != process.Cancelled || len(i.Timers) > 0 {
					t.Errorf("%+v", i)
				}
				w.state("a")
			})
		})
	}
}

// Instances that failed alike have the same fingerprint, whatever their keys, ids and numbers.
func TestG9_InstancesThatFailedAlikeAreFoundByTheirError(t *testing.T) {
	w := newTroubled(t, nil, isNote)
	w.config.Definition = orderProcess(func(id string, in any) {
		if p, ok := in.(Paid); ok {
			panic(fmt.Sprintf("%s: account %q of %s has %d cents", event.NewID(), id, id, p.Cents))
		}
		if isNote(id, in) {
			panic("no notes")
		}
	})
	w.record("sales", OrderPlaced{"anna", 1}, OrderPlaced{"bob/2", 1}, OrderPlaced{"c", 1}, OrderPlaced{"other", 1})
	w.run()
	w.record("payments", Paid{"anna", 0}, Paid{"bob/2", 1}, Paid{"c", 2}, Noted{"other"})
	w.run()
	h := w.wantHolds("anna held 1", "bob/2 held 1", "c held 1", "other held 1")
	if h[0].Fingerprint != h[1].Fingerprint || h[0].Fingerprint != h[2].Fingerprint || h[0].Fingerprint == h[3].Fingerprint {
		t.Errorf("fingerprints: %s %s %s, and %s", h[0].Fingerprint, h[1].Fingerprint, h[2].Fingerprint, h[3].Fingerprint)
	}
	r := process.Request{Action: process.ActSkip, Fingerprint: h[0].Fingerprint, Reason: "r"}
	if got := w.operate(r, nil); len(got) != 3 {
		t.Errorf("answers: %+v", got)
	}
	w.wantHolds("other held 1")
}
