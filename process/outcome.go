package process

import (
	"context"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// takeOutcomes records the outcomes of commands, as inputs where the definition handles them. One whose instance has a
// timeout that was due by then waits for that (G11).
func (t *term) takeOutcomes(ctx context.Context) error {
	limit := t.limit()
	if t.single == 0 {
		limit *= 4 // they are small
	}
	var early []settled
	defer func() {
		t.batch.early = len(early)
		t.dispatch.giveBack(early)
	}()
	for _, o := range t.dispatch.outcomes(limit - t.batch.settled) {
		in, handled := t.outcome(o)
		h := t.holds[o.instance]
		aside := h != nil && h.Condition != Waiting
		var inst *Instance
		var err error
		if handled && !aside {
			inst, err = t.instance(ctx, o.instance)
			if inst != nil {
				if _, before := firstTimer(inst, in.Time); before {
					early = append(early, o)
					continue
				}
			}
		}
		t.answered(o.instance, &o.sent)
		t.batch.settled++
		t.batch.stats.Commands++
		t.batch.put(eventlog.Delete{Kind: eventlog.Pending, Key: pendingKey(t.timers.process, o.instance, o.sent.Number)})
		if !handled {
			continue
		}
		t.batch.inputs++
		if aside {
			if err := t.enqueue(h, &in); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			if err := t.failOrStop(o.instance, nil, &in, err); err != nil {
				return err
			}
			continue
		}
		if err := t.takeOutcome(inst, &in); err != nil {
			return err
		}
	}
	return nil
}

func (t *term) takeOutcome(inst *Instance, in *Taken) error {
	own := t.router.of(inst)
	if in.Kind != FailedInput && !inst.awaits(in) && own.outcomes[outcomeKey{in.Kind, in.Type}] == nil {
		return nil // only another version handles it
	}
	handlings, err := own.decodeFor(inst, in)
	if err == nil {
		err = t.offer(inst, in, handlings)
	}
	if err != nil {
		return t.failOrStop(inst.Key, inst, in, err)
	}
	return nil
}

// outcome returns the input that a command's outcome is, if the definition handles it. A failure is always one: where
// the definition does not handle it, it holds the instance (UnhandledFailure).
func (t *term) outcome(o settled) (Taken, bool) {
	in := Taken{Type: o.sent.Type, Data: o.sent.Data, Metadata: o.sent.Metadata, Command: o.sent.ID, Time: o.outcome.Handled}
	if t.cfg.Replay || in.Time.IsZero() {
		in.Time = o.sent.At
	}
	switch o.outcome.Status {
	case command.Accepted:
		in.Kind, in.Result = AcceptedInput, o.outcome.Result
	case command.Rejected:
		in.Kind, in.Rejection = RejectedInput, o.outcome.Rejection
	default:
		in.Kind, in.Reason, in.Expired = FailedInput, o.outcome.Reason, o.outcome.Status == command.Expired
		t.cfg.Logger.Warn("a command failed", "instance", o.instance, "command", o.sent.Type, "id", o.sent.ID, "status", o.outcome.Status, "reason", o.outcome.Reason)
	}
	in.ID = event.DeriveIDNear(o.sent.ID, "outcome", string(o.sent.ID[:]))
	return in, t.router.awaits(in.Kind, in.Type) || o.sent.awaited() || in.Kind == FailedInput
}
