package process

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// newHold makes inputs of a key queue.
func (t *term) newHold(key string, c Condition) *Holding {
	h := &Holding{Instance: key, Condition: c, Since: event.Micro(t.cfg.Now())}
	t.holds[key] = h
	return h
}

// enqueue puts an input at the end of a hold's queue.
func (t *term) enqueue(h *Holding, in *Taken) error {
	h.Next++
	h.Queued++
	h.mark(in)
	return t.batch.enqueue(t.timers.process, h, in)
}

// itsOwn tells whether an error is that of one instance alone, which must not stop the others.
func itsOwn(err error) bool {
	var step *StepError
	var decode *event.DecodeError
	var missing *event.MissingUpcastError
	return errors.As(err, &step) || errors.As(err, &decode) || errors.As(err, &missing)
}

// failOrStop makes the instance stand aside after a failed step; errors that are not the step's end the term.
func (t *term) failOrStop(key string, inst *Instance, in *Taken, err error) error {
	if !itsOwn(err) {
		return err
	}
	if t.batch.changed(key) {
		return errSplit // the steps before it are good, but its state in memory is not: take them again, one by one
	}
	t.cache.drop(key)
	h := t.holds[key]
	if h == nil {
		h = t.newHold(key, Retrying)
		if inst != nil {
			h.Marks = slices.Clone(inst.Marks)
		}
	}
	if in.Kind == EventInput && (h.Condition == Waiting || len(h.Marks) == 0) { // a birth: what was passed before it never queues behind it
		known := Instance{Marks: h.Marks}
		for _, m := range t.passed(key, in) {
			known.mark(m)
		}
		h.Marks = known.Marks
	}
	t.judge(h, in, err)
	t.cfg.Logger.Error("an instance stands aside", "instance", key, "condition", h.Condition, "attempts", h.Attempts, "error", err)
	t.retrying(h)
	return t.enqueue(h, in)
}

// retrying notes whether the hold is to be tried again, or how long it waits.
func (t *term) retrying(h *Holding) {
	if h.Condition == Retrying {
		t.retries[h.Instance] = h
	} else {
		delete(t.retries, h.Instance)
	}
	if h.Condition == Waiting && !h.RetryAt.IsZero() && (t.waited.IsZero() || h.RetryAt.Before(t.waited)) {
		t.waited = h.RetryAt
	}
}

// takeWaits ends the wait of inputs for which no instance has come in time.
func (t *term) takeWaits(ctx context.Context) error {
	now := t.cfg.Now()
	if t.waited.IsZero() || t.waited.After(now) {
		return nil
	}
	var next time.Time
	for _, h := range t.holds {
		if h.Condition != Waiting || h.RetryAt.IsZero() {
			continue
		}
		if !h.RetryAt.After(now) && t.batch.holds[h.Instance] == nil && t.batch.inputs < t.limit() {
			if err := t.waitedTooLong(ctx, h); err != nil {
				return err
			}
		}
		if h.Condition == Waiting && (next.IsZero() || h.RetryAt.Before(next)) {
			next = h.RetryAt
		}
	}
	t.waited = next
	return nil
}

// takeRetries tries again what is due: the failed input, then those behind it, in order.
func (t *term) takeRetries(ctx context.Context) error {
	if len(t.retries) == 0 {
		return nil
	}
	now := t.cfg.Now()
	for _, h := range dueRetries(t.retries, now) {
		if t.batch.inputs >= t.limit() {
			return nil
		}
		if t.batch.holds[h.Instance] != nil {
			continue // it fell behind in this very batch: its queue can be read when that is committed
		}
		if err := t.retry(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func dueRetries(retries map[string]*Holding, now time.Time) []*Holding {
	var due []*Holding
	for _, h := range retries {
		if !h.RetryAt.After(now) {
			due = append(due, h)
		}
	}
	slices.SortFunc(due, func(a, b *Holding) int {
		if c := a.RetryAt.Compare(b.RetryAt); c != 0 {
			return c
		}
		if a.Instance < b.Instance {
			return -1
		}
		return 1
	})
	return due
}

// retry takes the inputs in a hold's queue, as many as the batch has room for. A step that fails leaves the ones before
// it committed and stays at the head of the queue.
func (t *term) retry(ctx context.Context, h *Holding) error {
	process := t.timers.process
	t.unstick(h)
	room := t.limit() - t.batch.inputs
	items, err := readQueue(ctx, t.home.Log, process, h.Instance, room)
	if err != nil {
		return err
	}
	last := h.Next
	t.cache.drop(h.Instance) // what failed may have changed it in place
	inst, err := t.instance(ctx, h.Instance)
	if err != nil {
		if len(items) == 0 { // it was to take up what it had deferred
			items = append(items, queued{taken: Taken{Type: "deferred"}})
		}
		return t.failAgain(h, &items[0].taken, err)
	}
	if inst.Status == New {
		if items, err = t.birthFirst(ctx, h, inst); err != nil || len(items) == 0 {
			return err
		}
	}
	for n := range items {
		if settled, err := t.settle(h, inst); err != nil || !settled {
			return err
		}
		in := &items[n].taken
		if taken, err := t.takeQueued(inst, in); err != nil {
			return t.failAgain(h, in, err)
		} else if !taken {
			break
		}
		t.batch.inputs++
		h.Queued--
		t.batch.put(eventlog.Delete{Kind: eventlog.Queued, Key: queueKey(process, h.Instance, items[n].number)})
	}
	if settled, err := t.settle(h, inst); err != nil || !settled {
		return err
	}
	if h.Queued > 0 && (len(items) > 0 || h.Next > last) {
		t.batch.hold(h) // the rest follows in the next turn
		return nil
	}
	delete(t.holds, h.Instance)
	delete(t.retries, h.Instance)
	t.batch.release(h)
	for _, timer := range inst.Timers { // they may have come up while it stood aside
		t.timers.set(inst.Key, timer)
	}
	return nil
}

// birthFirst returns, of the queue of an instance that is yet to be born, the first input that is not deferred. What was
// deferred before that keeps its place in the queue, and so its order. Where there is nothing else, it waits on.
func (t *term) birthFirst(ctx context.Context, h *Holding, inst *Instance) ([]queued, error) {
	all, err := readQueue(ctx, t.home.Log, t.timers.process, h.Instance, 0)
	if err != nil {
		return nil, err
	}
	for n := range all {
		handlings, err := t.router.decode(&all[n].taken)
		if err == nil {
			handlings, err = t.router.concerning(inst, &all[n].taken, handlings)
		}
		policy := Handle
		if err == nil {
			policy, _, err = t.cfg.Definition.fate(inst, &all[n].taken, handlings)
		}
		if err != nil || policy != Defer {
			return all[n : n+1], nil //nolint:nilerr // the error comes up again where the input is taken
		}
	}
	h.Condition, h.RetryAt = Waiting, time.Time{}
	if !t.cfg.Replay {
		h.RetryAt = event.Micro(t.cfg.Now().Add(t.cfg.Definition.deferral.Within))
	}
	t.retrying(h)
	t.batch.hold(h)
	return nil, nil
}

// failAgain keeps a hold after another failure.
func (t *term) failAgain(h *Holding, in *Taken, err error) error {
	if !itsOwn(err) {
		return err
	}
	if t.batch.changed(h.Instance) {
		return errSplit
	}
	t.cache.drop(h.Instance)
	t.judge(h, in, err)
	t.cfg.Logger.Error("an instance stands aside", "instance", h.Instance, "condition", h.Condition, "attempts", h.Attempts, "error", err)
	t.retrying(h)
	t.batch.hold(h)
	return nil
}

// takeQueued lets the instance take an input from its queue, and before it the timeouts that were due by then. False
// means that it is to be taken in another batch: where inputs are taken one by one, a timeout is one of them.
func (t *term) takeQueued(inst *Instance, in *Taken) (taken bool, err error) {
	for inst.Status == Running {
		timer, ok := firstTimer(inst, in.Time)
		if !ok {
			break
		}
		fired := timer.input()
		if err := t.takeFired(inst, &fired); err != nil {
			return false, err
		}
		if t.batch.inputs++; t.single > 0 {
			return false, nil
		}
	}
	if in.Kind == TimeoutInput { // it failed when it fired; it may have been cancelled since
		if timer, set := inst.timer(in.Name); !set || timer.ID != in.ID {
			return true, nil
		}
		return true, t.takeFired(inst, in)
	}
	if in.Kind == EventInput && slices.Contains(inst.Taken, in.ID) {
		t.batch.stats.Duplicates++
		return true, nil
	}
	handlings, err := t.router.queued(inst, in)
	if err != nil {
		return false, err
	}
	return true, t.offer(inst, in, handlings)
}

// firstTimer returns the instance's timer that is due first, if it is due by then.
func firstTimer(inst *Instance, by time.Time) (Timer, bool) {
	var first Timer
	for _, timer := range inst.Timers {
		if !timer.Due.After(by) && (first.Name == "" || timer.Due.Before(first.Due) || timer.Due.Equal(first.Due) && timer.Name < first.Name) {
			first = timer
		}
	}
	return first, first.Name != ""
}
