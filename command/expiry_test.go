package command_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// clockedHouse returns a house whose clock shows what the function that comes with it sets.
func clockedHouse(t testing.TB) (*house, func(time.Time)) {
	var now atomic.Pointer[time.Time]
	set := func(at time.Time) { now.Store(&at) }
	set(at(0))
	return open(t, memlog.New(), func(m *aggregate.Module, _ *command.Config) { m.Now = func() time.Time { return *now.Load() } }), set
}

func TestG7_ACommandPastItsDeadlineIsRefusedForEver(t *testing.T) {
	for name, c := range map[string]struct {
		cmd      any
		deadline time.Time
		now      time.Time
		want     command.Status
	}{
		"none":             {ReserveSeats{"a", 3}, time.Time{}, at(50), command.Accepted},
		"in time":          {ReserveSeats{"a", 3}, at(10), at(10).Add(-time.Microsecond), command.Accepted},
		"at the deadline":  {ReserveSeats{"a", 3}, at(10), at(10), command.Expired},
		"later":            {ReserveSeats{"a", 3}, at(10), at(11), command.Expired},
		"an action, later": {SendMail{"you"}, at(10), at(11), command.Expired},
		"rejected in time": {ReserveSeats{"a", 1000}, at(10), at(9), command.Rejected},
	} {
		for _, hint := range []command.Hint{{}, {First: true}} {
			t.Run(name, func(t *testing.T) {
				h, set := clockedHouse(t)
				e := h.envelope(t, c.cmd)
				e.Before = c.deadline
				set(c.now)
				out, err := h.bus.Dispatch(t.Context(), e, hint)
				must(t, err)
				if out.Status != c.want || out.Repeat || !out.Handled.Equal(c.now) {
					t.Fatalf("%+v", out)
				}
				if c.want == command.Expired && (h.ran.Load() != 0 || !strings.Contains(out.Reason, "2026-03-01T12:10:00Z")) {
					t.Errorf("%d handlers ran; the reason is %q", h.ran.Load(), out.Reason)
				}
				// What was decided stays decided: with more time, without a deadline, with the clock set back or on.
				ran := h.ran.Load()
				for _, again := range []struct{ deadline, now time.Time }{{c.deadline, at(59)}, {c.deadline, at(0)}, {at(59), at(12)}, {time.Time{}, at(12)}} {
					e.Before = again.deadline
					set(again.now)
					if out := h.dispatch(t, e); out.Status != c.want || !out.Repeat || h.ran.Load() != ran {
						t.Errorf("sent again: %+v, %d handlers ran", out, h.ran.Load()-ran)
					}
				}
				if events := len(h.events(t)); c.want == command.Expired && events != 0 {
					t.Errorf("%d events", events)
				}
			})
		}
	}
}

func TestG7_AnAttemptThatWasBegunInTimeAndAnExpiryAreNeverBoth(t *testing.T) {
	for name, expiresFirst := range map[string]bool{"the attempt commits first": false, "it expires first": true} {
		t.Run(name, func(t *testing.T) {
			h, set := clockedHouse(t)
			e := h.envelope(t, ReserveSeats{"a", 3})
			e.Before = at(10)
			begun, slow := make(chan struct{}), make(chan struct{})
			h.before = func(string) error { close(begun); <-slow; return nil }
			late := make(chan command.Outcome, 1)
			go func() {
				out, err := h.bus.Dispatch(t.Context(), e, command.Hint{First: true})
				if err != nil {
					t.Error(err)
				}
				late <- out
			}()
			<-begun
			set(at(11))
			var attempt, again command.Outcome
			if expiresFirst {
				again = h.dispatch(t, e)
				close(slow)
				attempt = <-late
			} else {
				close(slow)
				attempt = <-late
				again = h.dispatch(t, e)
			}
			want, seats := command.Accepted, 3
			if expiresFirst {
				want, seats = command.Expired, 0
			}
			if attempt.Status != want || again.Status != want || attempt.Repeat == again.Repeat || h.hall(t, "a").Taken != seats || h.ran.Load() != 1 {
				t.Errorf("the attempt %+v\nsent again %+v\n%d seats, %d runs", attempt, again, h.hall(t, "a").Taken, h.ran.Load())
			}
		})
	}
}

// A command that nobody handles any more is not tried for ever, if it has a deadline.
func TestADeadlineAlsoEndsWhatNobodyHandles(t *testing.T) {
	h, set := clockedHouse(t)
	e := h.envelope(t, RenameHall{"a", "Blue"})
	e.Type, e.Before = "gone", at(10)
	var unhandled *command.UnhandledError
	if _, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); !errors.As(err, &unhandled) {
		t.Errorf("%v", err)
	}
	set(at(10))
	if out := h.dispatch(t, e); out.Status != command.Expired {
		t.Errorf("%+v", out)
	}
}

func TestDoTellsThatACommandIsExpired(t *testing.T) {
	h, set := clockedHouse(t)
	set(at(11))
	_, err := command.Do[struct{}](t.Context(), h.bus, RenameHall{"a", "Blue"}, command.Before(at(10)))
	var failed *command.FailedError
	if !errors.As(err, &failed) || failed.Status != command.Expired || !strings.Contains(err.Error(), "it was to be handled before 2026-03-01T12:10:00Z and came at 2026-03-01T12:11:00Z") {
		t.Errorf("%v", err)
	}
}

// A submitted command that keeps failing is refused when its deadline passes, not at the attempt behind it, which may be
// a minute later; also by another program.
func TestG7_ASubmittedCommandExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		h := open(t, log)
		h.before = func(string) error { return errDown }
		deadline := time.Now().Add(20 * time.Second)
		id := submit(t, h, RenameHall{"a", "Blue"}, command.Before(deadline))
		stop := running(t, h.bus)
		<-time.After(19 * time.Second) // of the bubble's clock
		synctest.Wait()
		if s := status(t, h, id); s.Status != command.Queued {
			t.Errorf("before its deadline: %+v", s)
		}
		stop()
		ran := h.ran.Load()
		other := open(t, log)
		other.before = h.before
		defer running(t, other.bus)()
		<-time.After(1001 * time.Millisecond)
		synctest.Wait()
		s := status(t, other, id)
		if s.Status != command.Expired || s.Handled.Sub(deadline) > time.Millisecond || len(h.entries(t, eventlog.Pending)) != 0 {
			t.Errorf("at its deadline: %+v, after %d attempts; %d by another program", s, ran, other.ran.Load())
		}
	})
}
