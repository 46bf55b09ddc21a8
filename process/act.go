package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// act does what an operator asked for. An *ActionError is the answer that it was not done, and then nothing was changed.
func (t *term) act(ctx context.Context, r *request) error {
	h := t.holds[r.Instance]
	if r.About != nil && (h == nil || !h.Since.Equal(r.About.Since) || h.InputID != r.About.Input) {
		return t.refusal(r, ErrStale, nil)
	}
	if isAside(r.Instance) {
		return t.actUndecodable(ctx, h, r)
	}
	switch r.Action {
	case ActHold:
		return t.holdBack(ctx, h, r)
	case ActCancel:
		return t.cancel(ctx, h, r)
	}
	if h == nil || h.Condition == Waiting {
		return t.refusal(r, ErrNotHeld, nil)
	}
	switch r.Action {
	case ActResume:
		return t.resumeHeld(ctx, h, r)
	case ActSkip:
		return t.skip(ctx, h, r)
	case ActReplace:
		return t.replace(ctx, h, r)
	default:
		return t.refusal(r, ErrImpossible, fmt.Errorf("a worker of this version knows no %q", r.Action))
	}
}

// resumeHeld has what failed tried again; an undo that was not accepted is sent again, and what was deferred for too long
// is offered again.
func (t *term) resumeHeld(ctx context.Context, h *Holding, r *request) error {
	if err := t.waitAnew(ctx, h, r); err != nil {
		return err
	}
	if h.Undo {
		item, err := t.inQueue(ctx, h)
		if err != nil {
			return err
		}
		if item != nil {
			item.taken.Again = true
			if err := t.requeue(h, item.number, &item.taken); err != nil {
				return err
			}
		}
	}
	t.release(h)
	return nil
}

// release has what a hold keeps taken again, as if nothing had failed.
func (t *term) release(h *Holding) {
	t.renew(h)
	h.Condition, h.RetryAt = Retrying, event.Micro(t.cfg.Now())
	t.batch.hold(h)
	t.retrying(h)
}

// renew makes another hold of one that an operator decided on: what was asked for about the old one is stale.
func (t *term) renew(h *Holding) {
	since := event.Micro(t.cfg.Now())
	if !since.After(h.Since) {
		since = h.Since.Add(time.Microsecond)
	}
	h.calm()
	h.Since = since
}

// calm forgets a failure.
func (h *Holding) calm() {
	h.Input, h.InputID, h.Attempts, h.Error, h.Stack, h.Fingerprint = "", event.ID{}, 0, "", "", ""
	h.Reason, h.By, h.kept, h.keptTo, h.Undo = "", "", 0, 0, false
}

// holdBack holds an instance by hand.
func (t *term) holdBack(ctx context.Context, h *Holding, r *request) error {
	if h == nil || h.Condition == Waiting {
		inst, err := t.fresh(ctx, r)
		if err != nil {
			return err
		}
		switch inst.Status {
		case New:
			return t.refusal(r, ErrNoInstance, nil)
		case Completed:
			return t.refusal(r, ErrCompleted, nil)
		}
		h = t.newHold(r.Instance, Held)
		h.Marks = slices.Clone(inst.Marks)
	}
	h.Condition, h.RetryAt, h.Reason, h.By = Held, time.Time{}, r.Reason, r.By
	t.batch.hold(h)
	t.retrying(h)
	return nil
}

// fresh returns an instance as the store has it: what failed may have changed it in place.
func (t *term) fresh(ctx context.Context, r *request) (*Instance, error) {
	t.cache.drop(r.Instance)
	inst, err := t.instance(ctx, r.Instance)
	if err != nil && itsOwn(err) {
		err = t.refusal(r, ErrImpossible, fmt.Errorf("it cannot be read: %w", err))
	}
	return inst, err
}

// failing is the input that a hold is about: it stands in the queue, or waits in the instance, or both.
type failing struct {
	inst     *Instance
	queued   *queued
	timer    *Timer // it was to fire
	deferred *Taken // it was to be taken up, or has waited for too long
}

// failing finds the input that failed.
func (t *term) failing(ctx context.Context, h *Holding, r *request) (*failing, error) {
	if h.InputID.IsZero() {
		return nil, t.refusal(r, ErrNothingFailed, nil)
	}
	if !h.Command.IsZero() {
		return nil, t.refusal(r, ErrImpossible, errors.New("it is held for a command that has no outcome, and for no input; resume it to have the command dispatched again"))
	}
	inst, err := t.fresh(ctx, r)
	if err != nil {
		return nil, err
	}
	f := &failing{inst: inst}
	if f.queued, err = t.inQueue(ctx, h); err != nil {
		return nil, err
	}
	if k := slices.IndexFunc(inst.Timers, func(x Timer) bool { return x.ID == h.InputID }); k >= 0 {
		f.timer = &inst.Timers[k]
	}
	k := slices.IndexFunc(inst.Deferred, func(in Taken) bool {
		return in.ID == h.InputID || f.timer != nil && deferredName(&in) == f.timer.Name
	})
	if k >= 0 {
		f.deferred = &inst.Deferred[k]
	}
	if f.queued == nil && f.timer == nil && f.deferred == nil {
		return nil, t.refusal(r, ErrStale, errors.New("the input that failed does not wait any more"))
	}
	return f, nil
}

// inQueue finds the input that failed in the queue, nearly always at its head.
func (t *term) inQueue(ctx context.Context, h *Holding) (*queued, error) {
	const page = 64
	for after := 0; ; {
		items, err := readQueue(ctx, t.home.Log, t.timers.process, h.Instance, after, page)
		if err != nil {
			return nil, err
		}
		for n := range items {
			if items[n].taken.ID == h.InputID {
				return &items[n], nil
			}
		}
		if len(items) < page {
			return nil, nil //nolint:nilnil // it is not there
		}
		after = items[page-1].number
	}
}

// skip leaves the input that failed out.
func (t *term) skip(ctx context.Context, h *Holding, r *request) error {
	f, err := t.failing(ctx, h, r)
	if err != nil {
		return err
	}
	if err := t.storeRefused(r, h.InputID); err != nil {
		return err
	}
	rule := "skipped: " + r.Reason
	switch {
	case f.deferred != nil:
		err = t.leave(f.inst, ignoring(f.deferred, rule), r)
	case f.timer != nil:
		err = t.leave(f.inst, &Record{Input: f.timer.input(), Ignored: rule}, r)
	case f.inst.Status == New:
		t.ignoreWaiting(ruleOf("no instance, "+rule), t.mine.partition(h.Instance))
	case f.queued.taken.Kind == TimeoutInput, slices.Contains(f.inst.Taken, f.queued.taken.ID): // it is set no more, or was taken: there is nothing to skip but its place
	default:
		err = t.leave(f.inst, &Record{Input: f.queued.taken, Ignored: rule}, r)
	}
	if err != nil {
		return err
	}
	if f.queued != nil {
		t.unqueue(h, f.queued)
	}
	t.release(h)
	return nil
}

// storeRefused tells that the store cannot keep what an action leads to.
func (t *term) storeRefused(r *request, input event.ID) error {
	key := refused{r.Instance, input}
	err := t.refuse[key]
	if err == nil {
		return nil
	}
	delete(t.refuse, key)
	return t.refusal(r, ErrImpossible, err)
}

// ruleOf bounds a rule by which inputs without an instance are counted: it becomes part of a key.
func ruleOf(rule string) string { return bounded(rule, 150) }

// leave records with the instance that an input was left out, on an operator's decision. A compensation goes on behind
// the outcome of a command that is left at that.
func (t *term) leave(inst *Instance, rec *Record, r *request) error {
	if err := t.storeRefused(r, rec.Input.ID); err != nil {
		return err
	}
	rec.Why, rec.Operator = r.Reason, r.By
	if inst.Compensating && inst.Status == Running && rec.Input.isOutcome() {
		return t.decide(inst, rec, r)
	}
	return t.ignoreAsked(inst, rec)
}

// decide computes what an operator's decision leads to in an instance that is compensated, and puts it into the batch.
func (t *term) decide(inst *Instance, rec *Record, r *request) error {
	had := timerNames(inst)
	rec, s, err := t.router.of(inst).def.compute(t, inst, &rec.Input, rec, nil)
	if err != nil {
		t.cache.drop(inst.Key)
		if itsOwn(err) {
			err = t.refusal(r, ErrImpossible, err)
		}
		return err
	}
	inputs := t.batch.stats.Inputs
	err = t.taken(inst, &rec.Input, rec, s, had)
	t.batch.stats.Inputs = inputs
	return err
}

// lean makes the record of an ignored input one that the store keeps, also where the input is too large to be taken: then
// it holds no payload; the input's own log has it.
func (r *Record) lean() {
	in := &r.Input
	size := len(in.Data) + len(in.Result)
	if in.Replaced != nil {
		size += len(in.Replaced.Data) + len(in.Replaced.Result)
	}
	if size > eventlog.MaxPayload/2 {
		in.Data, in.Result, in.Replaced = nil, nil, nil
	}
}

// ignoreAsked puts the record of an input that an operator had ignored into the batch.
func (t *term) ignoreAsked(inst *Instance, rec *Record) error {
	in := &rec.Input
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	rec.lean()
	t.router.of(inst).def.stamp(inst, rec)
	inst.note(rec)
	t.batch.stats.Ignored++
	inputs := t.batch.stats.Inputs
	err := t.taken(inst, in, rec, &Step{}, nil)
	t.batch.stats.Inputs = inputs
	return err
}

// unqueue takes an input out of the queue.
func (t *term) unqueue(h *Holding, item *queued) {
	h.Queued--
	t.batch.put(eventlog.Delete{Kind: eventlog.Queued, Key: queueKey(t.timers.process, h.Instance, item.number)})
}

// replace corrects the payload of the input that failed, and has it tried again.
func (t *term) replace(ctx context.Context, h *Holding, r *request) error {
	f, err := t.failing(ctx, h, r)
	if err != nil {
		return err
	}
	if err := t.storeRefused(r, h.InputID); err != nil {
		return err
	}
	if f.timer != nil && f.timer.Type == deferredTimeout {
		return t.refusal(r, ErrImpossible, errors.New("the input has waited for its phase for too long, whatever it holds; skip it"))
	}
	var in Taken
	switch {
	case f.deferred != nil:
		in = *f.deferred
	case f.timer != nil:
		in = f.timer.input()
	default:
		in = f.queued.taken
	}
	if in.Kind == FailedInput {
		return t.refusal(r, ErrImpossible, errors.New("a command that failed has no payload to be corrected; skip it, or resume it when the program handles it"))
	}
	if err := t.correct(f.inst, &in, r); err != nil {
		return t.refusal(r, ErrBadInput, err)
	}
	if f.deferred != nil || f.timer != nil { // it waits in the instance itself
		rec := &Record{Input: in, Corrected: true, Why: r.Reason, Operator: r.By}
		t.router.of(f.inst).def.stamp(f.inst, rec)
		f.inst.note(rec)
		t.batch.step(f.inst, Taking{Record: *rec})
	} else if err := t.requeue(h, f.queued.number, &in); err != nil {
		return err
	}
	t.release(h)
	return nil
}

// requeue writes an input in its place in the queue anew.
func (t *term) requeue(h *Holding, number int, in *Taken) error {
	value, err := json.Marshal(in)
	if err != nil {
		return err
	}
	t.batch.put(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Queued, Key: queueKey(t.timers.process, h.Instance, number), Value: value}})
	return nil
}

// correct puts the payload of a request into an input, whose first payload it keeps, and checks that the definition can
// take it.
func (t *term) correct(inst *Instance, in *Taken, r *request) error {
	was := Correction{Data: in.Data}
	if in.Replaced != nil { // the original stays the original
		was = *in.Replaced
	}
	was.Reason, was.By, was.At = r.Reason, r.By, r.At
	switch in.Kind {
	case AcceptedInput:
		if in.Replaced == nil {
			was.Data, was.Result = nil, in.Result
		}
		in.Result = r.Data
	case RejectedInput:
		if in.Replaced == nil {
			was.Data, was.Rejection = nil, in.Rejection
		}
		in.Rejection = &command.Rejection{}
		if err := json.Unmarshal(r.Data, in.Rejection); err != nil {
			return fmt.Errorf("it is no rejection: %w", err)
		}
	default:
		in.Data = r.Data
	}
	in.Replaced = &was
	var handlings []handling
	var err error
	if inst != nil {
		handlings, err = t.router.queued(inst, in)
	} else if handlings, err = t.router.decodeAll(in); err == nil { // an event that is held by itself
		_, err = t.router.locate(in, handlings)
	}
	if err == nil && len(handlings) == 0 {
		err = errors.New("the definition handles nothing of it")
	}
	return err
}

// cancel compensates an instance and completes it, on an operator's decision. What queues for it is recorded as ignored, in order.
func (t *term) cancel(ctx context.Context, h *Holding, r *request) error {
	inst, err := t.fresh(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case inst.Status == Completed:
		return t.refusal(r, ErrCompleted, nil)
	case inst.Status == New && h == nil:
		return t.refusal(r, ErrNoInstance, nil)
	case inst.Compensating:
		return t.refusal(r, ErrImpossible, errors.New("it was given up already, and is being compensated; an undo that is not accepted can be skipped"))
	}
	if err := t.storeRefused(r, r.id); err != nil {
		return err
	}
	if inst.Status == Running { // what can be undone is undone first
		rec := &Record{Input: Taken{Kind: OperatorInput, ID: r.id, Type: string(r.Action), Time: event.Micro(t.cfg.Now())},
			Compensating: true, Why: r.Reason, Operator: r.By}
		if err := t.decide(inst, rec, r); err != nil {
			return err
		}
	}
	if h == nil && len(inst.Deferred) == 0 {
		return nil
	}
	if h == nil {
		h = t.newHold(inst.Key, Retrying)
		h.Marks = slices.Clone(inst.Marks)
	}
	h.Drop, h.DropTo = string(Cancelled), h.Next
	t.release(h)
	return nil
}
