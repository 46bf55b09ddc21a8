package consumer_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

const ttl = 15 * time.Second

// quietly is what the tests acquire with, where nobody is to hear of the wait.
func quietly() consumer.LeaseOptions {
	return consumer.LeaseOptions{TTL: ttl, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func acquire(t *testing.T, log eventlog.Log, o consumer.LeaseOptions) *consumer.Lease {
	t.Helper()
	l, err := consumer.Acquire(t.Context(), log, "bills", o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write appends an event under the lease, as its holder does.
func write(t *testing.T, log eventlog.Log, l *consumer.Lease) error {
	t.Helper()
	done, err := log.Append(t.Context(), l.Write(), eventlog.ToStream{Stream: "bills", Events: []event.Event{{Type: "billed"}}})
	if err == nil {
		l.Renewed(done.Results[0].Revision)
	}
	return err
}

func holder(t *testing.T, log eventlog.Log) consumer.Holder {
	t.Helper()
	all, err := consumer.Leases(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	return all["bills"]
}

func TestAFreeLeaseIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, began := memlog.New(), time.Now()
		l := acquire(t, log, quietly())
		if time.Since(began) != 0 {
			t.Errorf("waited %v", time.Since(began))
		}
		h := l.Holder()
		if h.Epoch != 1 || !h.Since.Equal(began) || !h.Until.Equal(began.Add(ttl)) || h.Worker.IsZero() || h.PID == 0 || l.TTL() != ttl {
			t.Errorf("%+v, %v", h, l.TTL())
		}
		if got := holder(t, log); got != h {
			t.Errorf("kept is %+v, want %+v", got, h)
		}
	})
}

func TestTheDefaultsOfALease(t *testing.T) {
	l, err := consumer.Acquire(t.Context(), memlog.New(), "bills", consumer.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if l.TTL() != consumer.DefaultTTL || l.Holder().Until.Sub(l.Holder().Since).Round(time.Second) != consumer.DefaultTTL {
		t.Errorf("%v, %+v", l.TTL(), l.Holder())
	}
}

// A worker that vanished is waited for as long as its lease runs, and no longer.
func TestALeaseIsTakenOverWhenItHasRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		acquire(t, log, quietly())
		began := time.Now()
		next := acquire(t, log, quietly())
		if waited := time.Since(began); waited < ttl || waited > ttl+ttl/10 {
			t.Errorf("waited %v", waited)
		}
		if next.Holder().Epoch != 2 {
			t.Errorf("%+v", next.Holder())
		}
	})
}

func TestALeaseThatIsRenewedIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		l := acquire(t, log, quietly())
		began := time.Now()
		var running sync.WaitGroup
		running.Go(func() { // by itself, and by what it writes
			for n := range 20 {
				if consumer.Sleep(t.Context(), ttl/3) != nil {
					return
				}
				var err error
				if n%2 == 0 {
					err = l.Renew(t.Context())
				} else {
					err = write(t, log, l)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		acquire(t, log, quietly())
		running.Wait()
		if waited, least := time.Since(began), 20*ttl/3+ttl; waited < least || waited > least+ttl/10 {
			t.Errorf("waited %v, want %v", waited, least)
		}
	})
}

// Whoever is waited for is named in the log, once.
func TestWhoWaitsSaysForWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		first := acquire(t, log, quietly())
		var said strings.Builder
		acquire(t, log, consumer.LeaseOptions{TTL: ttl, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if n := strings.Count(said.String(), "waiting for the lease"); n != 1 || !strings.Contains(said.String(), first.Holder().String()) {
			t.Errorf("said %d times:\n%s", n, &said)
		}
	})
}

// A program that is its own successor, after an error, need not wait for itself.
func TestAWorkerTakesItsOwnLeaseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, o := memlog.New(), quietly()
		o.Worker = event.NewID()
		before := acquire(t, log, o)
		began := time.Now()
		after := acquire(t, log, o)
		if time.Since(began) != 0 || after.Holder().Epoch != 2 || after.Holder().Worker != o.Worker {
			t.Errorf("waited %v; %+v", time.Since(began), after.Holder())
		}
		if err := write(t, log, before); !before.Lost(err) {
			t.Errorf("what it held before is good still: %v", err)
		}
		if err := write(t, log, after); err != nil {
			t.Error(err)
		}
	})
}

func TestAReleasedLeaseIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		l := acquire(t, log, quietly())
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if next := acquire(t, log, quietly()); time.Since(began) != 0 || next.Holder().Epoch != 2 {
			t.Errorf("waited %v; %+v", time.Since(began), next.Holder())
		}
	})
}

// Releasing what somebody else holds by now does nothing to them.
func TestReleasingALostLeaseDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		old := acquire(t, log, quietly())
		l := acquire(t, log, quietly())
		if err := old.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if got := holder(t, log); got != l.Holder() {
			t.Errorf("the holder is %+v", got)
		}
		if err := write(t, log, l); err != nil {
			t.Error(err)
		}
	})
}

// G12: whoever was stopped, and goes on when the lease has another holder, cannot write.
func TestG12_ALostLeaseCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		old := acquire(t, log, quietly())
		if err := write(t, log, old); err != nil {
			t.Fatal(err)
		}
		l := acquire(t, log, quietly())
		if err := write(t, log, old); !old.Lost(err) {
			t.Errorf("%v", err)
		}
		if err := old.Renew(t.Context()); !errors.Is(err, consumer.ErrLeaseLost) || !old.Lost(err) {
			t.Errorf("%v", err)
		}
		if err := write(t, log, l); err != nil {
			t.Error(err)
		}
		if head, err := log.Head(t.Context()); err != nil || head != 2 {
			t.Errorf("%d events were written, %v", head, err)
		}
	})
}

func TestLostKnowsOtherConflicts(t *testing.T) {
	log := memlog.New()
	l := acquire(t, log, quietly())
	_, err := log.Append(t.Context(), l.Write(), eventlog.Delete{Kind: eventlog.Lease, Key: "other", Expect: 77})
	if err == nil || l.Lost(err) {
		t.Errorf("another lease: %v", err)
	}
	_, err = log.Append(t.Context(), l.Write(), eventlog.Delete{Kind: eventlog.Cursor, Key: "bills", Expect: 77})
	if err == nil || l.Lost(err) {
		t.Errorf("a cursor of that name: %v", err)
	}
	if l.Lost(nil) || l.Lost(context.Canceled) {
		t.Error("an error that is none of the lease's")
	}
	if err := write(t, log, l); err != nil { // the appends that failed changed nothing
		t.Error(err)
	}
}

// However many want it, one gets it at a time.
func TestOneHolderAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		const workers = 8
		var running sync.WaitGroup
		var mu sync.Mutex
		var holders int
		epochs := map[int64]bool{}
		for range workers {
			running.Go(func() {
				l, err := consumer.Acquire(t.Context(), log, "bills", quietly())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if holders++; holders > 1 || epochs[l.Holder().Epoch] {
					t.Errorf("%d hold it; epoch %d", holders, l.Holder().Epoch)
				}
				epochs[l.Holder().Epoch] = true
				mu.Unlock()
				if err := errors.Join(consumer.Sleep(t.Context(), time.Second), write(t, log, l)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				holders--
				mu.Unlock()
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if len(epochs) != workers {
			t.Errorf("epochs %v", epochs)
		}
	})
}

func TestWaitingForALeaseEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		acquire(t, log, quietly())
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		if _, err := consumer.Acquire(ctx, log, "bills", quietly()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestLeasesOfOtherNamesDontMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, began := memlog.New(), time.Now()
		acquire(t, log, quietly())
		if _, err := consumer.Acquire(t.Context(), log, "reminders", quietly()); err != nil || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		all, err := consumer.Leases(t.Context(), log)
		if err != nil || len(all) != 2 {
			t.Errorf("%v, %v", all, err)
		}
	})
}
