package process_test

import (
	"context"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// What Deferring says of inputs without an instance holds alike for those that are deferred when they come, and for those
// that queued behind a birth that failed and was skipped.
func TestG9_DeferringBoundsTheSameInTheQueueAndBeforeIt(t *testing.T) {
	for _, then := range []process.Policy{process.Hold, process.Ignore} {
		for name, queue := range map[string]bool{"when they come": false, "in the queue": true} {
			t.Run(then.String()+" "+name, func(t *testing.T) {
				w := newTroubled(t, nil, func(_ string, in any) bool { p, ok := in.(OrderPlaced); return ok && p.Qty < 0 })
				var ahead atomic.Int64
				w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
				w.config.Definition = w.config.Definition.Deferring(process.Deferral{Most: 2, Within: time.Hour, Then: then})
				if queue {
					w.record("sales", OrderPlaced{"few", -1}, OrderPlaced{"many", -1})
					w.run()
				}
				w.record("payments", Paid{"few", 1}, Paid{"few", 2}, Paid{"many", 1}, Paid{"many", 2}, Paid{"many", 3})
				w.run()
				if queue {
					ahead.Store(int64(time.Minute)) // it doesn't count how long they queued, or when that ended
					w.wantHolds("few held 3", "many held 4")
					w.operate(one(process.ActSkip, "few"), nil)
					w.operate(one(process.ActSkip, "many"), nil)
				}
				want := []string{"few waiting 2", "many held 3"}
				if then == process.Ignore {
					want[1] = "many waiting 2"
				}
				for _, h := range w.wantHolds(want...) {
					first := must(process.Queue(t.Context(), w.logs["sales"], "order", h.Instance, 1))[0]
					if h.Condition == process.Held && !strings.HasSuffix(h.Error, "2 inputs are deferred for this key, and there is no instance yet") {
						t.Errorf("%s: %s", h.Instance, h.Error)
					}
					if h.Condition == process.Waiting && !h.RetryAt.Equal(first.Time.Add(time.Hour)) {
						t.Errorf("%s waits until %v, from %v", h.Instance, h.RetryAt, first.Time)
					}
				}
				ahead.Store(int64(61 * time.Minute))
				w.run()
				counts := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
				delete(counts, "no instance, skipped: by mistake")
				wantCounts := map[string]int64{}
				want[0] = "few held 2"
				if then == process.Ignore {
					want = []string{"few waiting 0", "many waiting 0"}
					wantCounts = map[string]int64{"no instance, and too many deferred: paid": 1, "no instance, deferred too long: paid": 4}
				}
				if w.wantHolds(want...); !reflect.DeepEqual(counts, wantCounts) {
					t.Errorf("ignored %v, want %v", counts, wantCounts)
				}
				w.verify()
			})
		}
	}
}

// What remains of inputs that waited too long are their marks. They are kept as they are, for as long as nothing comes.
func TestG9_AnEmptyHoldIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	var ahead atomic.Int64
	w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.config.Definition = orderProcess(nil).Deferring(process.Deferral{Within: time.Hour, Then: process.Ignore})
	kept := func() (e eventlog.Entry) {
		for e, err := range w.logs["sales"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Hold}) {
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		t.Fatal("there is no hold")
		return e
	}
	w.record("payments", Paid{"a", 1})
	w.run()
	ahead.Store(int64(2 * time.Hour))
	w.run()
	w.wantHolds("a waiting 0")
	before := kept()
	for hours := range 5 {
		ahead.Store(int64(time.Duration(4+3*hours) * time.Hour))
		if st := w.run(); st.Transactions > 0 {
			t.Errorf("%d hours later: %+v", hours, st)
		}
	}
	if after := kept(); after.Revision != before.Revision || !after.Due.IsZero() {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
	ahead.Store(0)
	w.record("payments", Paid{"a", 2}) // it waits for an hour of its own
	w.run()
	w.wantHolds("a waiting 1")
	ahead.Add(int64(2 * time.Hour))
	w.run()
	w.wantHolds("a waiting 0")
	w.record("sales", OrderPlaced{"a", 1})
	w.loseCursors()
	w.run()
	if got, _ := w.state("a"); strings.Contains(strings.Join(got.Inputs, " "), "paid") {
		t.Errorf("what had waited too long was taken: %q", got.Inputs)
	}
	w.verify()
}

// What was deferred for too long is offered again when it is resumed: it is taken if its phase has come meanwhile, or its
// instance, and waits anew if not.
func TestG9_ResumeOffersAgainWhatWasDeferredForTooLong(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		var ahead atomic.Int64
		w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		later := func(d time.Duration) {
			ahead.Add(int64(d))
			w.run()
		}
		defined := func(defers, takes []process.Phase) process.Definition {
			return phased(process.On[OrderRun, Paid]{NoInstance: process.Defer, Defer: defers, In: takes, Completed: process.Ignore}).
				Deferring(process.Deferral{Within: time.Hour})
		}
		w.config.Definition = defined(process.In(placed), process.In(reserved, closing))
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
		w.record("payments", Paid{"a", 1}, Paid{"a", 2}, Paid{"b", 1}, Paid{"nobody", 1})
		w.run()
		later(2 * time.Hour)
		w.wantHolds("a held 1", "b held 1", "nobody held 1")

		w.operate(process.Request{Action: process.ActResume, All: true, By: "ada"}, nil)
		w.wantHolds("nobody waiting 1")
		if i := w.look("a"); len(i.Deferred) != 2 || len(i.Timers) != 2 {
			t.Errorf("it has %d deferred inputs, and the time limits %+v", len(i.Deferred), i.Timers)
		}
		w.wantRecords("a", "paid deferred", "paid deferred", "resume by ada")
		w.verify()
		later(59 * time.Minute)
		w.wantHolds("nobody waiting 1")
		later(2 * time.Minute)
		w.wantHolds("a held 1", "b held 1", "nobody held 1")

		w.record("payments", Noted{"a"}) // brings the phase, and queues
		w.record("sales", OrderPlaced{"nobody", 1})
		w.operate(one(process.ActResume, "a"), nil)
		w.wantApplied("a", "paid 1", "paid 2")
		w.wantHolds("b held 1", "nobody held 2")

		w.config.Definition = defined(nil, process.In(placed, reserved, closing)) // a program that takes payments at once
		w.operate(one(process.ActResume, "b"), nil)
		w.wantApplied("b", "paid 1")
		w.operate(one(process.ActResume, "nobody"), nil)
		w.wantApplied("nobody", "paid 1")
		w.wantHolds()
		later(10 * time.Hour)
		w.wantHolds()
		w.loseCursors()
		w.run()
		w.wantApplied("a", "paid 1", "paid 2")
		w.verify()
	})
}
