package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// An instance keeps what it defers itself: the record that put an input aside holds it, and the record that takes it up
// again, or ignores it, ends that. A timeout of its own bounds how long it waits.

// deferredTimeout is the type of the timeout that bounds how long an input is deferred.
const deferredTimeout = event.SystemPrefix + "deferred"

// deferral returns the record that puts an input aside, or with the bounds exceeded the error that holds the instance,
// or the record that ignores it.
func (d *Definition) postpone(inst *Instance, in *Taken) (*Record, error) {
	if len(inst.Deferred) >= d.deferral.Most {
		if d.deferral.Then == Ignore {
			return &Record{Input: *in, Ignored: "too many deferred"}, nil
		}
		return nil, &StepError{Process: d.name, Instance: inst.Key, Input: in.describe(),
			Err: &UnexpectedError{Why: fmt.Sprintf("it is to be deferred, and %d inputs are deferred already", len(inst.Deferred))}}
	}
	timer := Timer{Type: deferredTimeout, Name: deferredName(in), Due: event.Micro(in.Time.Add(d.deferral.Within)), ID: event.DeriveIDNear(in.ID, "deferred", string(in.ID[:])), Metadata: in.Metadata}
	return &Record{Input: *in, Deferred: true, Set: []Timer{timer}}, nil
}

func deferredName(in *Taken) string { return deferredTimeout + ":" + in.ID.String() }

// DeferredUntil returns when an input has waited for too long that the instance defers; nil where nothing bounds that.
func (i *Instance) DeferredUntil(in *Taken) *time.Time {
	if t, set := i.timer(deferredName(in)); set {
		return &t.Due
	}
	return nil
}

// settling returns the first deferred input whose phase has come, with what is to become of it; nil where there is none.
func (r *router) settling(inst *Instance) (in *Taken, facts []handling, p Policy, phase Phase, err error) {
	own := r.of(inst)
	for n := range inst.Deferred {
		in = &inst.Deferred[n]
		facts, err = own.decode(in)
		if err == nil {
			facts, err = own.concerning(inst, in, facts)
		}
		if err == nil {
			p, phase, err = own.def.fate(inst, in, facts)
		}
		if err != nil || p != Defer {
			return in, facts, p, phase, err
		}
	}
	return nil, nil, 0, "", nil
}

// unsettled tells whether the phase of a deferred input has come.
func (r *router) unsettled(inst *Instance) bool {
	in, _, _, _, err := r.settling(inst)
	return in != nil || err != nil
}

// ignoring returns the record that ignores a deferred input.
func ignoring(in *Taken, rule string) *Record {
	return &Record{Input: *in, Resumed: true, Ignored: rule, Cancelled: []string{deferredName(in)}}
}

// thisKey says for what inputs are deferred that find no instance.
const thisKey = "this key, and there is no instance yet"

// untaken says what becomes of an input that finds no instance, where so many are deferred already: the declared policy or,
// of one too many, that of the bounds; with the rule by which it is ignored, and why it is held.
func (d *Definition) untaken(declared Policy, deferred int, what string) (p Policy, rule string, why *UnexpectedError) {
	if declared == Defer && deferred >= d.deferral.Most {
		return d.deferral.Then, "no instance, and too many deferred: ",
			&UnexpectedError{Phase: PhaseNone, Why: fmt.Sprintf("%d inputs are deferred for %s", deferred, what)}
	}
	return declared, "no instance: ", &UnexpectedError{Phase: PhaseNone}
}

// patient notes until when the first of a hold's inputs waits for an instance.
func (t *term) patient(h *Holding, first *Taken) {
	if t.cfg.Replay {
		return
	}
	h.RetryAt = t.until(h, first)
	t.retrying(h)
}

// until returns when an input has waited for an instance for too long.
func (t *term) until(h *Holding, in *Taken) time.Time {
	from := in.Time
	if h.Anew.After(from) {
		from = h.Anew
	}
	return event.Micro(from.Add(t.cfg.Definition.deferral.Within))
}

// postpone keeps an input for a later phase.
func (t *term) postpone(inst *Instance, in *Taken) error {
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	own := t.router.of(inst).def
	rec, err := own.postpone(inst, in)
	if err != nil {
		return err
	}
	own.stamp(inst, rec)
	inst.note(rec)
	return t.taken(inst, in, rec, &Step{}, nil)
}

// unsettled has deferred inputs taken up before anything else of the instance, when a step has brought a phase for one:
// a step each, as those that are tried again.
func (t *term) unsettled(inst *Instance) error {
	if t.holds[inst.Key] != nil || !t.router.unsettled(inst) {
		return nil
	}
	h := t.newHold(inst.Key, Retrying)
	h.RetryAt = h.Since
	h.Marks = slices.Clone(inst.Marks)
	t.batch.hold(h)
	t.retrying(h)
	return nil
}

// settle takes up what was deferred and whose phase has come, in order. False means that not everything could be.
func (t *term) settle(h *Holding, inst *Instance) (bool, error) {
	for len(inst.Deferred) > 0 {
		if inst.Ending == Cancelled && t.batch.inputs < t.limit() {
			t.batch.inputs++
			in := inst.Deferred[0]
			if err := t.ignoreAsked(inst, ignoring(&in, string(Cancelled))); err != nil {
				return false, t.failAgain(h, &in, err)
			}
			continue
		}
		in, facts, p, phase, err := t.router.settling(inst)
		if err != nil && inst.Ending != Cancelled {
			return false, t.failAgain(h, in, itsStep(t.timers.process, inst.Key, in, err))
		}
		if in == nil && err == nil {
			return true, nil
		}
		if t.batch.inputs >= t.limit() {
			t.batch.hold(h) // the rest follows in the next turn
			return false, nil
		}
		t.batch.inputs++
		if err := t.takeUp(inst, *in, facts, p, phase); err != nil {
			return false, t.failAgain(h, in, err)
		}
	}
	return true, nil
}

// takeUp takes a deferred input whose phase has come.
func (t *term) takeUp(inst *Instance, in Taken, facts []handling, p Policy, phase Phase) error {
	switch p {
	case Handle:
		return t.resume(inst, &in, facts)
	case Hold:
		return t.stepError(inst.Key, &in, &UnexpectedError{Phase: phase})
	default:
		return t.drop(inst, &in, ignoredRule(inst, phase, facts))
	}
}

// drop ignores a deferred input.
func (t *term) drop(inst *Instance, in *Taken, rule string) error {
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	rec := ignoring(in, rule)
	rec.lean()
	t.router.of(inst).def.stamp(inst, rec)
	inst.note(rec)
	t.batch.stats.Ignored++
	t.batch.stats.Inputs--
	return t.taken(inst, in, rec, &Step{}, nil)
}

// resume is a step on an input that was deferred.
func (t *term) resume(inst *Instance, in *Taken, facts []handling) error {
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	had := timerNames(inst)
	rec, s, err := t.router.of(inst).def.resume(t, inst, in, facts)
	if err != nil {
		return err
	}
	t.batch.stats.Inputs-- // it was counted when it was deferred
	return t.taken(inst, in, rec, s, had)
}

// expire is what becomes of an input that was deferred for too long.
func (t *term) expire(inst *Instance, fired *Taken) error {
	k := slices.IndexFunc(inst.Deferred, func(in Taken) bool { return deferredName(&in) == fired.Name })
	if k < 0 {
		return nil
	}
	in := inst.Deferred[k]
	if own := t.router.of(inst).def; own.deferral.Then != Ignore {
		return t.stepError(inst.Key, fired, own.errDeferred(&in, "its phase has not come in "+own.deferral.Within.String()))
	}
	return t.drop(inst, &in, "deferred too long")
}

// waitAnew has what was deferred for too long wait anew, before it is offered again: where its phase has come, or its
// instance, it is taken.
func (t *term) waitAnew(ctx context.Context, h *Holding, r *request) error {
	if h.InputID.IsZero() || !h.Command.IsZero() {
		return nil
	}
	inst, err := t.fresh(ctx, r)
	if err != nil {
		var unreadable *ActionError
		if errors.As(err, &unreadable) { // which may be what failed
			return nil
		}
		return err
	}
	now := event.Micro(t.cfg.Now())
	if inst.Status == New {
		h.Anew = now
		return nil
	}
	k := slices.IndexFunc(inst.Timers, func(x Timer) bool { return x.ID == h.InputID && x.Type == deferredTimeout })
	if k < 0 {
		return nil
	}
	from := now
	if t.cfg.Replay {
		from = inst.Timers[k].Due // there its clock stands
	}
	if err := t.storeRefused(r, r.id); err != nil {
		return err
	}
	own := t.router.of(inst).def
	rec := &Record{Input: Taken{Kind: OperatorInput, ID: r.id, Type: string(r.Action), Time: now}, Why: r.Reason, Operator: r.By}
	for _, timer := range inst.Timers {
		if timer.Type == deferredTimeout && !timer.Due.After(from) {
			timer.ID = event.DeriveID("deferred again", string(r.id[:]), string(timer.ID[:]))
			timer.Due = event.Micro(from.Add(own.deferral.Within))
			rec.Set = append(rec.Set, timer)
		}
	}
	own.stamp(inst, rec)
	inst.note(rec)
	inputs := t.batch.stats.Inputs
	err = t.taken(inst, &rec.Input, rec, &Step{}, nil)
	t.batch.stats.Inputs = inputs
	return err
}

// waitedTooLong is what becomes of inputs for which no instance has come.
func (t *term) waitedTooLong(ctx context.Context, h *Holding) error {
	bounds := t.cfg.Definition.deferral
	process := t.timers.process
	items, err := readQueue(ctx, t.home.Log, process, h.Instance, 0, t.limit()-t.batch.inputs)
	if err != nil {
		return err
	}
	now := t.cfg.Now()
	for n := range items {
		in := &items[n].taken
		if t.until(h, in).After(now) {
			t.patient(h, in)
			t.batch.hold(h)
			return nil
		}
		if bounds.Then == Hold {
			h.failed(in, t.stepError(h.Instance, in, t.cfg.Definition.errDeferred(in, "no instance has come in "+bounds.Within.String())), now, Retry{Attempts: 1})
			t.cfg.Logger.Error("an instance stands aside", "instance", h.Instance, "condition", h.Condition, "error", h.Error)
			t.retrying(h)
			t.batch.hold(h)
			return nil
		}
		t.batch.inputs++
		h.Queued--
		t.batch.put(eventlog.Delete{Kind: eventlog.Queued, Key: queueKey(process, h.Instance, items[n].number)})
		t.ignoreWaiting("no instance, deferred too long: "+in.Type, t.mine.partition(h.Instance))
	}
	t.batch.hold(h) // it is kept, empty, with its marks: what it had is never taken by an instance that comes later
	if h.Queued == 0 {
		h.RetryAt = time.Time{} // there is nothing to look at until an input comes
	}
	return nil
}

// ignoreWaiting counts an input that waits no longer. It was marked when it was deferred.
func (t *term) ignoreWaiting(rule string, partition int) {
	k := ignoredKey{rule, partition}
	c := t.ignored[k]
	if c == nil {
		c = &ignoredCount{}
		t.ignored[k] = c
	}
	c.Count++
	t.batch.stats.Ignored++
	t.batch.ignored[k] = c
}

// itsStep makes an error of an input that cannot be decided one of its instance.
func itsStep(process, key string, in *Taken, err error) error {
	if itsOwn(err) {
		return err
	}
	return &StepError{Process: process, Instance: key, Input: in.describe(), Err: err}
}
