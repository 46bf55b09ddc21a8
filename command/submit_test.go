package command_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// running runs a bus until stop is called.
func running(t *testing.T, b *command.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		must(t, <-done)
	}
}

func status(t *testing.T, h *house, id command.ID) command.Outcome {
	t.Helper()
	out, err := h.bus.Status(t.Context(), id)
	must(t, err)
	return out
}

func submit(t *testing.T, h *house, cmd any, settings ...command.Setting) command.ID {
	t.Helper()
	id, err := h.bus.Submit(t.Context(), cmd, settings...)
	must(t, err)
	return id
}

func TestASubmittedCommandIsHandledAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		h := open(t, log)
		correlation := event.NewID()
		id := submit(t, h, ReserveSeats{"a", 3}, command.WithMetadata(event.Metadata{Correlation: correlation, Headers: map[string]string{"order-id": "42"}}), command.WithTime(at(3)))
		no := submit(t, h, ReserveSeats{"a", 101})
		if s := status(t, h, id); s.Status != command.Queued || s.Correlation != correlation || s.Type != "reserve-seats" || h.ran.Load() != 0 {
			t.Errorf("%+v", s)
		}
		if s := status(t, h, event.NewID()); s.Status != command.Unknown {
			t.Errorf("%+v", s)
		}

		h = open(t, log) // another program
		stop := running(t, h.bus)
		synctest.Wait()
		if s := status(t, h, id); s.Status != command.Accepted || read[Reservation](t, s).Left != 97 || !s.At.Equal(at(3)) {
			t.Errorf("%+v", s)
		}
		if s := status(t, h, no); s.Status != command.Rejected || s.Rejection.Code != "sold-out" {
			t.Errorf("%+v", s)
		}
		late := submit(t, h, RenameHall{"a", "Blue"}) // while it runs
		synctest.Wait()
		if s := status(t, h, late); s.Status != command.Accepted {
			t.Errorf("%+v", s)
		}
		stop()
		events := h.events(t)
		if m := events[0].Metadata; len(events) != 2 || m.Correlation != correlation || m.Causation != id || m.Header("order-id") != "42" {
			t.Errorf("%+v", events)
		}
		if left := h.entries(t, eventlog.Pending); len(left) != 0 {
			t.Errorf("still in the queue: %v", left)
		}
	})
}

func TestSubmittingAgainIsTheSameSubmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id := event.NewID()
		twice := func() {
			t.Helper()
			for range 2 {
				if got := submit(t, h, ReserveSeats{"a", 3}, command.WithID(id), command.WithMetadata(event.Metadata{Correlation: event.NewID()})); got != id {
					t.Errorf("%s", got)
				}
			}
			var digest *command.DigestError
			if _, err := h.bus.Submit(t.Context(), ReserveSeats{"a", 4}, command.WithID(id)); !errors.As(err, &digest) {
				t.Errorf("another command under the same id: %v", err)
			}
		}
		twice()
		stop := running(t, h.bus)
		synctest.Wait()
		twice() // after it was handled
		synctest.Wait()
		stop()
		if h.ran.Load() != 1 || h.hall(t, "a").Taken != 3 || len(h.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("ran %d times, %+v", h.ran.Load(), h.hall(t, "a"))
		}

		// What was dispatched directly needs no queue.
		e := h.envelope(t, ReserveSeats{"a", 1})
		h.dispatch(t, e)
		submit(t, h, ReserveSeats{"a", 1}, command.WithID(e.ID))
		if s := status(t, h, e.ID); s.Status != command.Accepted || len(h.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSubmittedCommandsAreBegunInOrderAndSoManyAtATime(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var order []string
			now, most := 0, 0
			h := open(t, memlog.New(), func(m *aggregate.Module, c *command.Config) {
				clock := at(0)
				m.Now = func() time.Time { return clock } // a clock that stands still must not mix them up
				c.Parallel = parallel
				c.Handlers = []command.Handler{command.Act("send-mail", func(_ context.Context, _ command.ID, c SendMail) (MailSent, error) {
					mu.Lock()
					order = append(order, c.To)
					now++
					most = max(most, now)
					mu.Unlock()
					<-time.After(time.Second) // of the bubble's clock
					mu.Lock()
					now--
					mu.Unlock()
					return MailSent{}, nil
				})}
			})
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint(i))
				submit(t, h, SendMail{want[i]}, command.WithID(event.DeriveID("mail", want[i]))) // ids say nothing about the order
			}
			stop := running(t, h.bus)
			<-time.After(time.Minute)
			stop()
			if most != parallel || len(order) != 20 || parallel == 1 && !slices.Equal(order, want) {
				t.Errorf("parallel %d: at most %d at a time, in the order %v", parallel, most, order)
			}
			for i, o := range order { // with several at a time those of one moment may change places
				if parallel > 1 && !slices.Contains(want[i/parallel*parallel:][:parallel], o) {
					t.Errorf("parallel %d: %s came as number %d", parallel, o, i)
				}
			}
		})
	}
}

func TestAFailingSubmittedCommandDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, memlog.New(), func(_ *aggregate.Module, c *command.Config) { c.Parallel = 1 })
		down := true
		h.before = func(name string) error {
			if name == "rename-hall" && down {
				return errDown
			}
			return nil
		}
		bad, good := submit(t, h, RenameHall{"a", "Blue"}), submit(t, h, ReserveSeats{"a", 1})
		stop := running(t, h.bus)
		synctest.Wait()
		if s := status(t, h, good); s.Status != command.Accepted {
			t.Errorf("%+v", s)
		}
		if s := status(t, h, bad); s.Status != command.Queued || s.Reason != errDown.Error() {
			t.Errorf("%+v", s)
		}
		<-time.After(10 * time.Minute) // of the bubble's clock
		synctest.Wait()
		if ran := h.ran.Load(); ran < 10 || ran > 25 {
			t.Errorf("tried %d times in ten minutes", ran)
		}
		h.mu.Lock()
		h.before = nil
		h.mu.Unlock()
		<-time.After(2 * time.Minute)
		stop()
		if s := status(t, h, bad); s.Status != command.Accepted {
			t.Errorf("%+v", s)
		}
	})
}

func TestASubmittedCommandIsGivenUpAfterItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, memlog.New(), func(_ *aggregate.Module, c *command.Config) { c.Attempts = 3 })
		h.before = func(string) error { panic("oops") }
		id := submit(t, h, RenameHall{"a", "Blue"})
		stop := running(t, h.bus)
		<-time.After(time.Minute) // of the bubble's clock
		stop()
		if s := status(t, h, id); s.Status != command.Failed || s.Reason != "command: handler of rename-hall panicked: oops" || h.ran.Load() != 3 || len(h.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("%+v after %d attempts", s, h.ran.Load())
		}
	})
}

func TestG7_TheQueueSurvivesLostAnswersAndTwoPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		unreliable := &faulty{Log: log}
		a, b := open(t, unreliable), open(t, log)
		var ids []command.ID
		for i := range 30 {
			ids = append(ids, submit(t, b, ReserveSeats{fmt.Sprint(i % 3), 1}))
		}
		unreliable.set(3, 9)
		stops := []func(){running(t, a.bus), running(t, b.bus)}
		<-time.After(time.Minute) // of the bubble's clock
		for _, stop := range stops {
			stop()
		}
		for _, id := range ids {
			if s := status(t, b, id); s.Status != command.Accepted {
				t.Errorf("%+v", s)
			}
		}
		if n := len(b.events(t)); n != 30 || len(b.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("30 commands led to %d events", n)
		}
	})
}

func TestASubmittedCommandLeavesTheQueueWithItsReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &faulty{Log: memlog.New()}
		h := open(t, log)
		for _, cmd := range []any{ReserveSeats{"a", 1}, ReserveSeats{"a", 1000}, SendMail{"you"}} {
			submit(t, h, cmd)
		}
		log.set(0, 0)
		stop := running(t, h.bus)
		synctest.Wait()
		if appends, _ := log.counts(); appends != 3 || len(h.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("3 commands took %d appends, still in the queue: %v", appends, h.entries(t, eventlog.Pending))
		}
		stop()

		// Somebody who has the envelope was quicker than the queue.
		e := h.envelope(t, RenameHall{"a", "Blue"})
		submit(t, h, RenameHall{"a", "Blue"}, command.WithID(e.ID))
		h.dispatch(t, e)
		ran := h.ran.Load()
		stop = running(t, h.bus)
		synctest.Wait()
		stop()
		if left := h.entries(t, eventlog.Pending); len(left) != 0 || h.ran.Load() != ran {
			t.Errorf("still in the queue: %v", left)
		}
	})
}

func TestASubmittedCommandIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.before = func(string) error {
			if h.ran.Load() < 3 {
				return errDown
			}
			return nil
		}
		id := submit(t, h, RenameHall{"a", "Blue"})
		defer running(t, h.bus)()
		<-time.After(500 * time.Millisecond) // of the bubble's clock
		synctest.Wait()
		if s := status(t, h, id); s.Status != command.Accepted {
			t.Errorf("after half a second: %+v", s)
		}
	})
}
