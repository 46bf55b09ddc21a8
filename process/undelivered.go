package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
)

// stuck is a command whose instance is to be held, since OnError says so.
type stuck struct {
	pending
	err error
}

// failed decides what follows a failed attempt at an instance's first command: another one after a while, during which
// the worker is free, giving it up, or holding its instance.
func (d *dispatcher) failed(ctx context.Context, p pending, err error) {
	p.attempts++
	if p.since.IsZero() {
		p.since = d.now()
	}
	remedy, wrong := d.remedy(&p, err)
	if wrong != nil {
		err = fmt.Errorf("%w (%w)", wrong, err)
	}
	switch remedy.kind {
	case giveUp:
		d.giveUp(ctx, p, remedy.reason, err)
	case holdInstance:
		d.hold(p, err)
	default:
		d.again(p, remedy.after, err)
	}
}

// remedy asks OnError, and then the policy.
func (d *dispatcher) remedy(p *pending, err error) (Remedy, error) {
	r, wrong := d.def.remedy(Failure{Process: d.def.name, Instance: p.instance, Err: err, Attempts: p.attempts, Since: p.since,
		Command: &FailedCommand{Module: p.sent.Module, Type: p.sent.Type, ID: p.sent.ID}})
	switch {
	case r.kind != byPolicy:
		return r, wrong
	case d.retry.Dispatch > 0 && p.attempts >= d.retry.Dispatch:
		return GiveUp(""), nil
	default:
		return RetryAfter(d.retry.Backoff.After(p.attempts)), nil
	}
}

// again lets the command wait for its next attempt.
func (d *dispatcher) again(p pending, wait time.Duration, err error) {
	d.logger.Warn("a command has no outcome yet", "instance", p.instance, "command", p.sent.Type, "id", p.sent.ID, "module", p.sent.Module,
		"attempt", p.attempts, "retry", wait, "error", err)
	d.mu.Lock()
	d.queues[p.instance][0] = p
	d.mu.Unlock()
	d.after(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ready = append(d.ready, p.instance)
		d.work.Signal()
	})
}

// giveUp gives the command up at its receiver. What the receipt there says is the outcome.
func (d *dispatcher) giveUp(ctx context.Context, p pending, reason string, err error) {
	if reason == "" {
		reason, _, _ = strings.Cut(err.Error(), "\n") // a panic's stack is for the log
	}
	outcome, cannot := d.commands.Fail(ctx, p.sent.Module, d.envelope(&p), bounded(reason, 2000))
	switch {
	case ctx.Err() != nil: // if it is given up, the receipt will say so
	case cannot != nil:
		d.again(p, d.retry.Backoff.After(p.attempts), fmt.Errorf("it cannot be given up: %w; after %w", cannot, err))
	default:
		d.settle(settled{p, outcome})
	}
}

// hold leaves the command alone until its instance was held and released.
func (d *dispatcher) hold(p pending, err error) {
	d.mu.Lock()
	d.queues[p.instance][0] = p
	d.stuck = append(d.stuck, stuck{p, err})
	d.mu.Unlock()
	d.wake()
}

// takeStuck returns up to limit commands whose instances are to be held; the caller says by park when they are.
func (d *dispatcher) takeStuck(limit int) []stuck {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(limit, len(d.stuck))
	taken := slices.Clone(d.stuck[:n])
	d.stuck = slices.Delete(d.stuck, 0, n)
	return taken
}

// park leaves the commands of instances alone that are held for one.
func (d *dispatcher) park(instances ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, instance := range instances {
		if !d.aside[instance] {
			d.aside[instance] = true
			d.held += len(d.queues[instance])
		}
	}
}

// resume dispatches the commands of instances that were released.
func (d *dispatcher) resume(instances ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, instance := range instances {
		if !d.aside[instance] {
			continue
		}
		delete(d.aside, instance)
		q := d.queues[instance]
		d.held -= len(q)
		if len(q) > 0 {
			q[0].first, q[0].attempts, q[0].since = false, 0, time.Time{}
			d.ready = append(d.ready, instance)
			d.work.Signal()
		}
	}
}

// takeStuck holds the instances whose commands are stuck: their inputs queue from now on.
func (t *term) takeStuck(ctx context.Context) error {
	for _, s := range t.dispatch.takeStuck(t.limit()) {
		h := t.holds[s.instance]
		if h == nil {
			h = t.newHold(s.instance, Held)
			inst, err := t.instance(ctx, s.instance)
			switch {
			case err == nil:
				h.Marks = slices.Clone(inst.Marks)
			case !itsOwn(err):
				return err
			}
		}
		h.stuck(&s)
		t.cfg.Logger.Error("an instance stands aside", "instance", h.Instance, "condition", h.Condition, "attempts", h.Attempts, "command", s.sent.ID, "error", s.err)
		t.retrying(h)
		t.batch.hold(h)
		t.batch.parked = append(t.batch.parked, h.Instance)
	}
	return nil
}

// stuck takes note of the command that the instance is held for. An input that failed before has its attempts anew when
// the instance is released.
func (h *Holding) stuck(s *stuck) {
	h.Condition, h.RetryAt, h.Command = Held, time.Time{}, s.sent.ID
	h.Input, h.InputID = fmt.Sprintf("command %q %s to module %q", s.sent.Type, s.sent.ID, s.sent.Module), s.sent.ID
	h.Attempts, h.Error, h.Stack, h.Fingerprint = s.attempts, bounded(s.err.Error(), 2000), "", fingerprint(h.Instance, s.err)
	var panicked *command.PanicError
	if errors.As(s.err, &panicked) {
		h.Stack = bounded(string(panicked.Stack), 8000)
	}
}

// unstick lets the command go again that a hold was for, which was released: when that is committed.
func (t *term) unstick(h *Holding) {
	if !h.Command.IsZero() {
		h.Command = event.ID{}
		t.batch.resumed = append(t.batch.resumed, h.Instance)
	}
}
