package process

import (
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Failure is an error that a process met: of a step of an instance, or of taking a command to its receiver.
type Failure struct {
	Process  string
	Instance string
	Err      error          // of a step always a *StepError, also by errors.As
	Attempts int            // that failed in a row, this one included; of a command those of this worker
	Since    time.Time      // of a step, since when its instance stands aside; of a command, when this worker met the first error
	Input    string         // of a step: what was being taken
	Command  *FailedCommand // the command that has no outcome; nil where a step failed
}

// FailedCommand is a command that could not be taken to its receiver, or whose handler fails.
type FailedCommand struct {
	Module string
	Type   string
	ID     event.ID
}

// Remedy is what follows a failure. The zero Remedy leaves that to the policy, Config.Retry; others are made by
// RetryAfter, HoldInstance and GiveUp.
type Remedy struct {
	kind   remedyKind
	after  time.Duration
	reason string
}

type remedyKind uint8

const (
	byPolicy remedyKind = iota
	retryAfter
	holdInstance
	giveUp
)

// RetryAfter has the step, or the command, tried again when d has passed; at the earliest in a millisecond.
func RetryAfter(d time.Duration) Remedy {
	return Remedy{kind: retryAfter, after: max(d, time.Millisecond)}
}

// HoldInstance holds the instance until it is released: its inputs queue, and its commands are not dispatched. A step
// that failed, or a command that has no outcome, is then tried again.
func HoldInstance() Remedy { return Remedy{kind: holdInstance} }

// GiveUp gives a command up at its receiver, whose receipt decides: if the command took effect, or was rejected, in the
// meantime, that is its outcome. Otherwise it failed, and will never take effect: OnFailed takes that as an input, with the
// reason; an empty one is the error's text. If the receiver cannot be reached to be told, the command is dispatched again.
//
// A step cannot be given up, since its input would be skipped: there, GiveUp holds the instance.
func GiveUp(reason string) Remedy { return Remedy{kind: giveUp, reason: reason} }

type onError[S any] struct{ decide func(Failure) Remedy }

func (o onError[S]) define(d *Definition, _ *S) {
	switch {
	case o.decide == nil:
		d.mistake("OnError has no function")
	case d.onErr != nil:
		d.mistake("OnError is there twice; only one can decide")
	default:
		d.onErr = o.decide
	}
}

// OnError decides what follows a failure, of a step or of a command, by the error: it is asked after every attempt that
// failed. A definition has at most one.
//
// It is called by several goroutines at once: it must be safe for that, and should not block. If it panics, the instance
// is held. It is not asked about events that cannot be decoded, about inputs that the definition holds, nor about a command
// that failed where it has no OnFailed: these hold whatever it says.
func OnError[S any](decide func(Failure) Remedy) Part[S] { return onError[S]{decide} }

// remedy asks OnError. The error, if there is one, says why it is not what OnError answered.
func (d *Definition) remedy(f Failure) (r Remedy, err error) {
	if d.onErr == nil {
		return Remedy{}, nil
	}
	defer func() {
		if p := recover(); p != nil {
			r, err = HoldInstance(), fmt.Errorf("panic in OnError: %v", p)
		}
	}()
	return d.onErr(f), nil
}

// UnhandledFailure is why an instance is held whose command failed, where the definition has no OnFailed for it. The
// failure is the first input in the instance's queue: it is taken when the definition has one and the instance is released.
type UnhandledFailure struct {
	Command event.ID
	Type    string // the command's
	Reason  string
	Expired bool
}

func (e *UnhandledFailure) Error() string {
	what := "failed"
	if e.Expired {
		what = "expired"
	}
	return fmt.Sprintf("command %q %s %s: %s; the definition has no OnFailed for it, so nobody decided what must ensue: add process.OnFailed and release the instance", e.Type, e.Command, what, e.Reason)
}

// Unwrap returns what errors.Is finds in every input that the definition does not handle.
func (e *UnhandledFailure) Unwrap() error { return errUnhandled }

// unhandled is the error of an input that must be handled, and no part of the definition does.
func unhandled(t *Taken) error {
	if t.Kind == FailedInput {
		return &UnhandledFailure{Command: t.Command, Type: t.Type, Reason: t.Reason, Expired: t.Expired}
	}
	return errUnhandled
}

// errStepGivenUp says why a step that was given up is held.
var errStepGivenUp = errors.New("OnError gives it up, which only a command can be: an input is never skipped")

// hopeless tells whether another attempt would find nothing else: what was declared is so every time.
func hopeless(err error) bool {
	var none *UnhandledFailure
	var unexpected *UnexpectedError
	var undo *UndoError
	return errors.As(err, &none) || errors.As(err, &unexpected) || errors.As(err, &undo)
}

// judge takes note of a failed step and decides what follows: what OnError says, or else what the policy does.
func (t *term) judge(h *Holding, in *Taken, err error) {
	if hopeless(err) || isAside(h.Instance) { // what cannot be decoded now can be by another program
		h.failed(in, err, t.cfg.Now(), Retry{Attempts: 1})
		return
	}
	now := t.cfg.Now()
	h.failed(in, err, now, t.cfg.Retry)
	remedy, wrong := t.cfg.Definition.remedy(Failure{Process: t.timers.process, Instance: h.Instance, Err: err, Attempts: h.Attempts, Since: h.Since, Input: h.Input})
	switch remedy.kind {
	case byPolicy:
		return
	case retryAfter:
		h.Condition, h.RetryAt = Retrying, event.Micro(now.Add(remedy.after))
		return
	case giveUp:
		wrong = errStepGivenUp
	}
	h.Condition, h.RetryAt = Held, time.Time{}
	if wrong != nil {
		h.Error = bounded(fmt.Sprintf("%v (%v)", wrong, err), 2000)
	}
}
