package process

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
)

// newHold makes inputs of a key queue.
func (t *term) newHold(key string, c Condition) *Holding {
	h := &Holding{Instance: key, Condition: c, Since: event.Micro(t.cfg.Now())}
	if t.cfg.Replay {
		h.Next = frontRoom
	}
	t.holds[key] = h
	return h
}

// enqueue puts an input at the end of a hold's queue.
func (t *term) enqueue(h *Holding, in *Taken) error {
	h.Queued++
	h.mark(in)
	return t.batch.enqueue(t.timers.process, h, h.place(in, t.cfg.Replay), in)
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
	inst, broken := t.mend(key, inst)
	if broken != nil {
		return broken
	}
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

// mend forgets an instance whose step failed: its state may have been changed in place. Where it took steps before that in
// the same batch, these are good: it is read as the store has it, and they are repeated on it as history is, so that the
// batch keeps them and nobody else's inputs are taken again (G9). It returns the instance as it is then; errSplit where
// that can't be.
func (t *term) mend(key string, inst *Instance) (*Instance, error) {
	t.cache.drop(key)
	if !t.batch.changed(key) {
		return inst, nil
	}
	c := &t.batch.changes[t.batch.index[key]]
	inst, err := t.batch.stored(key)
	for n := 0; n < len(c.Steps) && err == nil; n++ {
		err = t.home.Replay(inst, &c.Steps[n].Record)
	}
	if err != nil {
		t.cache.drop(key)
		if itsOwn(err) {
			err = errSplit
		}
		return nil, err
	}
	c.Instance = inst
	return inst, nil
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

// takeRetries tries again what is due: the failed input, then those behind it, in order. However many are due, half of a
// batch is left to instances that did not fail.
func (t *term) takeRetries(ctx context.Context) error {
	if len(t.retries) == 0 {
		return nil
	}
	most := t.limit()
	if t.single == 0 {
		most = t.batch.inputs + max(1, most/2)
	}
	for _, h := range dueRetries(t.retries, t.cfg.Now()) {
		if t.batch.inputs >= most {
			return nil
		}
		if t.batch.holds[h.Instance] != nil || t.alone(h) {
			continue // it fell behind in this very batch: its queue can be read when that is committed
		}
		if err := t.retry(ctx, h, most-t.batch.inputs); err != nil {
			return err
		}
	}
	return nil
}

// wasRefused returns the store's error, once, where it could not keep what became of the input when it was taken alone: its
// instance stands aside with that.
func (t *term) wasRefused(inst *Instance, in *Taken) error {
	key := refused{inst.Key, in.ID}
	err := t.refuse[key]
	if err == nil {
		return nil
	}
	delete(t.refuse, key)
	return t.stepError(inst.Key, in, err)
}

// alone tells whether what failed is to be tried again in an append of its own: the store may refuse it once more.
func (t *term) alone(h *Holding) bool {
	return h.Alone && t.single == 0 && t.refuse[refused{h.Instance, h.InputID}] == nil
}

// retryAlone takes a turn for one instance whose step the store has refused, so that nobody else's batch is split when it
// refuses it again. Every second turn is for the others.
func (t *term) retryAlone(ctx context.Context) (bool, error) {
	own := !t.fair
	t.fair = true
	if own || len(t.retries) == 0 {
		return false, nil
	}
	due := dueRetries(t.retries, t.cfg.Now())
	k := slices.IndexFunc(due, t.alone)
	if k < 0 {
		return false, nil
	}
	t.batch.alone = true
	if err := t.retry(ctx, due[k], 1); err != nil {
		return false, err
	}
	if t.batch.alone = !t.batch.empty(); !t.batch.alone {
		return false, nil
	}
	t.fair = false
	t.setBusy()
	if err := t.commit(ctx, false); err != nil {
		return false, err
	}
	return true, t.written() // nobody's batch is to fail behind it
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

// retry takes the inputs in a hold's queue, as many as there is room for. A step that fails leaves the ones before it
// committed and stays at the head of the queue.
func (t *term) retry(ctx context.Context, h *Holding, room int) error {
	if isAside(h.Instance) {
		return t.retryUndecodable(ctx, h)
	}
	t.unstick(h)
	items, err := readQueue(ctx, t.home.Log, t.timers.process, h.Instance, h.keptTo, room)
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
	for n := range items {
		if settled, err := t.settle(h, inst); err != nil || !settled {
			return err
		}
		born := inst.Status == New
		stays, in, err := t.takeQueued(h, inst, &items[n])
		switch {
		case err != nil:
			return t.failAgain(h, in, err)
		case stays == untilNext:
			t.batch.hold(h)
			return nil
		case stays == untilAnswered:
			t.awaitAgain(h)
			return nil
		case stays == untilStart:
			if h.kept, h.keptTo = h.kept+1, items[n].number; h.kept == 1 {
				h.first = &items[n].taken
			}
			continue
		}
		t.batch.inputs++
		t.unqueue(h, &items[n])
		h.Alone = false
		if h.kept > 0 && born && inst.Status != New { // what was deferred until now comes next
			h.kept, h.keptTo = 0, 0
			t.batch.hold(h)
			return nil
		}
		if h.kept > 0 {
			h.keptTo = items[n].number
		}
	}
	if settled, err := t.settle(h, inst); err != nil || !settled {
		return err
	}
	if len(items) == room || h.Queued > h.kept && (len(items) > 0 || h.Next > last) {
		t.batch.hold(h) // the rest follows in the next turn
		return nil
	}
	if inst.Status == New {
		return t.waitAgain(h)
	}
	delete(t.holds, h.Instance)
	delete(t.retries, h.Instance)
	t.batch.release(h)
	for _, timer := range inst.Timers { // they may have come up while it stood aside
		t.timers.set(inst.Key, timer)
	}
	return nil
}

// waitAgain keeps a hold for which there is no instance (yet): what is left in the queue is deferred, and its marks say what
// is never to be taken by an instance that comes later.
func (t *term) waitAgain(h *Holding) error {
	first, waits := h.first, h.kept > 0
	h.calm()
	h.Condition, h.RetryAt, h.Drop, h.DropTo, h.first = Waiting, time.Time{}, "", 0, nil
	t.batch.hold(h)
	t.retrying(h)
	if waits {
		t.patient(h, first)
	}
	return nil
}

// failAgain keeps a hold after another failure.
func (t *term) failAgain(h *Holding, in *Taken, err error) error {
	if !itsOwn(err) {
		return err
	}
	if _, broken := t.mend(h.Instance, nil); broken != nil {
		return broken
	}
	t.judge(h, in, err)
	t.cfg.Logger.Error("an instance stands aside", "instance", h.Instance, "condition", h.Condition, "attempts", h.Attempts, "error", err)
	t.retrying(h)
	t.batch.hold(h)
	return nil
}

// staying says how long an input stays in the queue that could not be taken out of it.
type staying int

const (
	gone          staying = iota // it does not
	untilNext                    // until the next batch
	untilStart                   // until an instance starts
	untilAnswered                // until a command has its outcome
)

// takeQueued lets the instance take an input from its queue, and before it the timeouts that were due by then. Where
// inputs are taken one by one, a timeout is one of them. With an error it returns the input that failed.
func (t *term) takeQueued(h *Holding, inst *Instance, item *queued) (staying, *Taken, error) {
	in := &item.taken
	for inst.Status == Running {
		timer, ok := firstTimer(inst, in.Time)
		if !ok {
			break
		}
		fired := timer.input()
		if t.awaits(inst.Key, &fired) {
			return untilAnswered, nil, nil
		}
		if err := t.takeFired(inst, &fired); err != nil {
			return gone, &fired, err
		}
		if t.batch.inputs++; t.limit() == 1 || t.router.unsettled(inst) { // what was deferred comes before what queues
			return untilNext, nil, nil
		}
	}
	if t.awaits(inst.Key, in) {
		return untilAnswered, nil, nil
	}
	if in.Kind == TimeoutInput { // it failed when it fired; it may have been cancelled since
		if timer, set := inst.timer(in.Name); !set || timer.ID != in.ID {
			return gone, nil, nil
		}
		return gone, in, t.takeFired(inst, in)
	}
	if in.Kind == EventInput && slices.Contains(inst.Taken, in.ID) {
		t.batch.stats.Duplicates++
		return gone, nil, nil
	}
	if item.number <= h.DropTo && !inst.awaits(in) { // a compensation has to know the outcomes
		if inst.Status == New {
			t.ignoreWaiting(ruleOf("no instance, "+h.Drop), t.mine.partition(h.Instance))
		} else if err := t.ignoreAsked(inst, &Record{Input: *in, Ignored: h.Drop}); err != nil {
			return gone, in, err
		}
		return gone, nil, nil
	}
	handlings, err := t.router.queued(inst, in)
	if err != nil {
		return gone, in, err
	}
	if inst.Status == New {
		return t.takeBefore(h, inst, in, handlings)
	}
	return gone, in, t.offer(inst, in, handlings)
}

// takeBefore lets an input from the queue start the instance, or follows the policy for inputs that find none.
func (t *term) takeBefore(h *Holding, inst *Instance, in *Taken, handlings []handling) (staying, *Taken, error) {
	policy, _, err := t.router.of(inst).def.fate(inst, in, handlings)
	if err != nil {
		return gone, in, t.stepError(inst.Key, in, err)
	}
	policy, rule, why := t.cfg.Definition.untaken(policy, h.kept, thisKey)
	switch policy {
	case Handle:
		return gone, in, t.offer(inst, in, handlings)
	case Hold:
		return gone, in, t.stepError(inst.Key, in, why)
	case Defer:
		return untilStart, nil, nil
	default:
		t.ignoreWaiting(rule+in.Type, t.mine.partition(inst.Key))
		return gone, nil, nil
	}
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
