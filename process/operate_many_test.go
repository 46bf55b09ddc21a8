package process_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
)

// Thousands are resumed after a change of the program, while new inputs come.
func TestG9_ResumeAllDrainsThousandsInOrder(t *testing.T) {
	for name, log := range map[string]func(t *testing.T, w *world){
		"memory": func(*testing.T, *world) {},
		"sqlite": func(t *testing.T, w *world) {
			file := must(sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), "world.db"), sqlitelog.Options{}))
			t.Cleanup(func() { _ = file.Close() })
			for _, m := range w.order {
				w.logs[m] = must(file.Log(t.Context(), m))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := 3000
			if raced.On {
				n = 400
			}
			w := newTroubled(t, nil, isNote)
			log(t, w.world)
			w.config.Retry.Attempts = 1
			w.config.Definition = w.noting()
			w.many("sales", n, func(key string) any { return OrderPlaced{key, 11} })
			w.run()
			w.many("payments", n, func(key string) any { return Noted{key} })
			w.many("payments", n, func(key string) any { return Paid{key, 1} })
			w.run()
			held := w.holds()
			for _, h := range held {
				if h.Condition != process.Held || h.Queued != 2 || h.Fingerprint == "" || h.Fingerprint != held[0].Fingerprint {
					t.Fatalf("hold: %+v; the first: %+v", h, held[0])
				}
			}
			if len(held) != n {
				t.Fatalf("%d are held, want %d", len(held), n)
			}
			w.broken.Store(false)
			e := w.engine()
			w.with(e, func(ctx context.Context) {
				came := make(chan struct{})
				go func() {
					defer close(came)
					for from := 0; from < n; from += 100 {
						w.some("payments", from, from+100, func(key string) any { return Paid{key, 2} })
					}
				}()
				began := time.Now()
				answers := w.asks(ctx, e, process.Request{Action: process.ActResume, Fingerprint: held[0].Fingerprint}, nil)
				answered := time.Since(began)
				if len(answers) != n {
					t.Errorf("%d answers, want %d", len(answers), n)
				}
				<-came
				if err := e.WaitIdle(ctx); err != nil {
					t.Fatal(err)
				}
				all := time.Since(began)
				t.Logf("%d instances: answered after %v, drained after %v, %.0f a second", n, answered, all, float64(n)/all.Seconds())
			})
			w.wantHolds()
			for k := range n {
				if key := fmt.Sprint("key-", k); k%50 == 0 {
					w.wantApplied(key, "placed", "noted", "paid 1", "paid 2")
				}
			}
			w.verify()
		})
	}
}

// Requests reach the worker that owns the instance, and a crash before they are carried out loses none of them.
func TestG9_G12_RequestsReachTheOwnerAndAreCarriedOutOnce(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		w.config.Retry.Attempts = 1
		tw := &troubled{world: w, fails: isNote}
		tw.broken.Store(true)
		w.config.Definition = tw.noting()
		w.many("sales", 64, func(key string) any { return OrderPlaced{key, 11} })
		w.many("payments", 64, func(key string) any { return Noted{key} })
		a, b := w.hire(t), w.hire(t)
		pass(t, 3*sharePoll)
		allIdle(t, a, b)
		wantOwned(t, "at first", []int{8, 8}, a, b)
		if held := w.holds(); len(held) != 64 {
			t.Fatalf("%d are held", len(held))
		}
		answers := must(process.Operate(t.Context(), w.logs["sales"], "order", process.Request{Action: process.ActSkip, All: true, Reason: "r"}))
		for _, x := range answers {
			if x.Err != nil {
				t.Error(x.Err)
			}
		}
		allIdle(t, a, b)
		w.wantHolds()
		tw.broken.Store(true)
		w.many("payments", 64, func(key string) any { return Noted{key} })
		pass(t, sharePoll)
		allIdle(t, a, b)
		a.dead.Store(true) // it can still see requests, and carry out none
		short, stop := context.WithTimeout(t.Context(), 2*time.Second)
		answers, err := process.Operate(short, w.logs["sales"], "order", process.Request{Action: process.ActSkip, All: true, Reason: "r"})
		stop()
		var open *process.UnansweredError
		if !errors.As(err, &open) || len(answers) != open.Answered || open.Answered == 0 || open.Asked != 64 {
			t.Errorf("answers %d, %v", len(answers), err)
		}
		a.paused = true
		a.stop()
		pass(t, 2*shareTTL)
		allIdle(t, b)
		w.wantHolds()
		for k := range 64 {
			skips := 0
			for _, r := range w.records(fmt.Sprint("key-", k)) {
				if strings.Contains(r, "skipped: r") {
					skips++
				}
			}
			if skips != 2 {
				t.Errorf("key-%d: %d inputs were skipped, want 2", k, skips)
			}
		}
		pass(t, 2*time.Hour) // nobody collects the other answers
		b.Notice()
		pass(t, 2*sharePoll)
		if left := w.entries(eventlog.Request); len(left) > 0 {
			t.Errorf("left: %d requests and answers", len(left))
		}
		b.stop()
		w.verify()
	})
}
