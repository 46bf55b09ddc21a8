package process

import (
	"errors"
	"time"

	"github.com/ensue-io/ensue/event"
)

// SendOption says more of a command that Step.Send and Step.SendTo send.
type SendOption func(*sending)

// sending is what the options of one command say. Where two say the same, the later one counts.
type sending struct {
	before func(now time.Time) time.Time // the deadline, by the instant of the input; nil for none
	undo   any                           // the command that undoes this one; nil for none
}

// Before gives the command a deadline: an instant before which its receiver must have begun to handle it. A command that
// comes later, and was not handled yet, is refused, and its outcome is an input like any other: OnFailed, with Expired
// set. One that has begun by then may still take effect.
//
// The receiver judges by its own clock, so a process that is late, or was stopped, finds its commands expired. Under the
// replay clock no deadline is judged: the instants there are those of the past, and the receiver's clock is not.
func Before(deadline time.Time) SendOption {
	return func(s *sending) { s.before = func(time.Time) time.Time { return deadline } }
}

// Within is Before with a deadline that is d behind Step.Now, the instant of the input that the command is decided on.
func Within(d time.Duration) SendOption {
	return func(s *sending) { s.before = func(now time.Time) time.Time { return now.Add(d) } }
}

// errNoDeadline means that Before was given the zero time, which would say that there is no deadline.
var errNoDeadline = errors.New("its deadline is the zero time; leave process.Before out where there is none")

// deadline returns the deadline of a command that is decided at an instant; zero for none.
func (s *sending) deadline(now time.Time) (time.Time, error) {
	if s.before == nil {
		return time.Time{}, nil
	}
	d := event.Micro(s.before(now))
	if d.IsZero() {
		return d, errNoDeadline
	}
	return d, nil
}
