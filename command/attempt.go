package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// attempt is one attempt to come to a command's outcome.
type attempt struct {
	bus     *Bus
	command *Envelope
	digest  Digest
	beside  []eventlog.Write
}

// errAnswered ends an attempt that finds that another one has succeeded.
var errAnswered = errors.New("command: the command has an outcome already")

// handle runs the handler and commits what it changed together with the receipt.
func (a *attempt) handle(ctx context.Context, h *Handler) (Outcome, error) {
	e, m := a.command, a.bus.module
	var out Outcome
	tried := false
	_, err := aggregate.Do(ctx, m, aggregate.Cause{Command: e.ID, At: e.At, Metadata: e.Metadata.Carry(e.ID, m.Carried)}, func(ctx context.Context, w *aggregate.Work) error {
		if tried { // the conflict may have been with the same command's receipt, or with what it did
			var found bool
			var err error
			if out, found, err = a.answered(ctx); err != nil {
				return err
			} else if found {
				return errAnswered
			}
		}
		tried = true
		result, err := h.run(ctx, w, e)
		if err != nil {
			return err
		}
		out = a.outcome(Outcome{Status: Accepted, Result: result})
		w.Put(a.receipt(out)) // first of all writes: whoever comes second fails on it before anything else
		for _, write := range a.beside {
			switch write := write.(type) {
			case eventlog.Put:
				w.Put(write)
			case eventlog.Delete:
				w.Delete(write)
			}
		}
		return nil
	})
	var rejection *Rejection
	switch {
	case err == nil || errors.Is(err, errAnswered):
		return out, nil
	case errors.As(err, &rejection):
		return a.settle(ctx, a.outcome(Outcome{Status: Rejected, Rejection: rejection}))
	default:
		return Outcome{}, err
	}
}

// act runs an action and writes its receipt after it.
func (a *attempt) act(ctx context.Context, h *Handler) (Outcome, error) {
	result, err := h.run(ctx, nil, a.command)
	var rejection *Rejection
	switch {
	case err == nil:
		return a.settle(ctx, a.outcome(Outcome{Status: Accepted, Result: result}))
	case errors.As(err, &rejection):
		return a.settle(ctx, a.outcome(Outcome{Status: Rejected, Rejection: rejection}))
	default:
		return Outcome{}, err
	}
}

// settle writes a receipt alone, unless there is one: then that is the outcome.
func (a *attempt) settle(ctx context.Context, out Outcome) (Outcome, error) {
	writes := append(make([]eventlog.Write, 0, 1+len(a.beside)), a.receipt(out))
	_, err := a.bus.module.Log.Append(ctx, append(writes, a.beside...)...)
	if err == nil {
		return out, nil
	}
	if errors.Is(err, eventlog.ErrConflict) {
		if stored, found, err := a.answered(ctx); err != nil || found {
			return stored, err
		}
	}
	return Outcome{}, err
}

// answered returns the outcome that the command has already. Another command's outcome is a *DigestError.
func (a *attempt) answered(ctx context.Context) (Outcome, bool, error) {
	for r, err := range Receipts(ctx, a.bus.module.Log, a.command.ID) {
		if err != nil {
			return Outcome{}, false, err
		}
		if r.Digest != a.digest {
			return Outcome{}, false, &DigestError{ID: a.command.ID, Type: a.command.Type, Known: r.Type}
		}
		r.Repeat = true
		return r.Outcome, true, nil
	}
	return Outcome{}, false, nil
}

// outcome completes an outcome by what is known of the command.
func (a *attempt) outcome(o Outcome) Outcome {
	e := a.command
	o.ID, o.Type, o.At, o.Handled = e.ID, e.Type, event.Micro(e.At), event.Micro(a.bus.now())
	if o.Correlation = e.Metadata.Correlation; o.Correlation.IsZero() {
		o.Correlation = e.ID
	}
	return o
}

// expiry is the reason of a command that came past its deadline.
func expiry(deadline, now time.Time) string {
	return fmt.Sprintf("it was to be handled before %s and came at %s", event.Micro(deadline).Format(time.RFC3339Nano), event.Micro(now).Format(time.RFC3339Nano))
}

func (b *Bus) now() time.Time {
	if b.module.Now == nil {
		return time.Now()
	}
	return b.module.Now()
}
