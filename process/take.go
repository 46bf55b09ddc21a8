package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// world of a step that the engine computes.
func (e *Engine) command(module string, cmd any) (target, name string, data []byte, err error) {
	return e.cfg.Commands.Encode(module, cmd)
}
func (e *Engine) event(fact any) (event.Event, error) { return e.router.types[e.cfg.Home].Encode(fact) }
func (e *Engine) carried() []string                   { return e.cfg.Carried }

// preload loads the instances that the next inputs concern, in one go.
func (t *term) preload(ctx context.Context) error {
	var missing []string
	wanted := map[string]bool{}
	want := func(key string) {
		if _, known := t.cache.get(key); !known && !wanted[key] && t.holds[key] == nil {
			wanted[key] = true
			missing = append(missing, key)
		}
	}
	limit := t.limit()
	for _, s := range t.sources {
		for n := range min(limit, len(s.buffer)) {
			it := &s.buffer[n]
			for _, key := range it.keys[it.given:min(len(it.keys), it.given+limit)] {
				want(key)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	loaded, err := t.cfg.Store.Load(ctx, t.home, missing)
	if err != nil {
		var broken *StepError
		if errors.As(err, &broken) { // one that cannot be read must not stop the others: it is met, and held, by itself
			return nil
		}
		return err
	}
	if len(loaded) != len(missing) {
		return fmt.Errorf("process: the store returned %d instances for %d keys", len(loaded), len(missing))
	}
	for n, key := range missing {
		if loaded[n] == nil {
			loaded[n] = t.home.NewInstance(key)
		}
		t.cache.put(key, loaded[n])
	}
	return nil
}

// instance returns the instance of that key, which may be new.
func (t *term) instance(ctx context.Context, key string) (*Instance, error) {
	if i, ok := t.cache.get(key); ok {
		return i, nil
	}
	loaded, err := t.cfg.Store.Load(ctx, t.home, []string{key})
	if err == nil && len(loaded) != 1 {
		err = fmt.Errorf("process: the store returned %d instances for one key", len(loaded))
	}
	if err != nil {
		return nil, err
	}
	i := loaded[0]
	if i == nil {
		i = t.home.NewInstance(key)
	}
	t.cache.put(key, i)
	return i, nil
}

// takeEvent gives an event to the instances that it concerns, as many as the batch has room for. It tells whether that
// was all of them. Who took it before a crash in between recognises it.
func (t *term) takeEvent(ctx context.Context, s *source, it *item) (whole bool, err error) {
	if it.err != nil { // nobody knows whom it concerns: it is held under a key of its own
		key := "undecodable/" + it.Module + "/" + it.ID.String()
		p := consumer.Partition(key, t.cfg.Partitions)
		if t.holds[key] != nil || s.handledByAny(it.Position) {
			return true, nil
		}
		s.dirty[p] = true
		t.batch.inputs++
		h := t.newHold(key, Held)
		h.failed(&it.Taken, it.err, t.cfg.Now(), Retry{Attempts: 1})
		return true, t.enqueue(h, &it.Taken)
	}
	if len(it.keys) == 0 {
		t.batch.inputs++
		s.dirty[consumer.Partition("", t.cfg.Partitions)] = true
		t.countIgnored("no key: "+it.Type, &it.Taken)
		return true, nil
	}
	for ; it.given < len(it.keys); it.given++ {
		if t.batch.inputs >= t.limit() || t.batch.looked >= 8*t.cfg.Batch {
			return false, nil
		}
		t.batch.looked++
		key := it.keys[it.given]
		p := consumer.Partition(key, t.cfg.Partitions)
		if s.handled(p, it.Position) {
			continue // read again since another partition's cursor is behind: it counts for nothing
		}
		s.dirty[p] = true
		own, err := t.router.concerning(key, &it.Taken, it.handlings)
		if err != nil {
			return false, err
		}
		known := t.batch.stats.Duplicates
		if err := t.give(ctx, key, &it.Taken, own); err != nil {
			return false, err
		}
		if t.batch.stats.Duplicates == known { // what was decided before takes no room in the batch, or a crash in every batch would never let it come further
			t.batch.inputs++
		}
	}
	return true, nil
}

// give lets one instance take an event, by where it is in its life.
func (t *term) give(ctx context.Context, key string, in *Taken, handlings []handling) error {
	starts := slices.ContainsFunc(handlings, func(x handling) bool { return x.h.starts })
	h := t.holds[key]
	if h != nil {
		if h.has(in) {
			t.batch.stats.Duplicates++
			return nil
		}
		if h.Condition != Waiting {
			return t.enqueue(h, in)
		}
	}
	inst, err := t.instance(ctx, key)
	if err != nil {
		return t.failOrStop(key, nil, in, err)
	}
	switch inst.Status {
	case New:
		if !starts {
			return t.noInstance(key, in, handlings)
		}
		if err := t.step(inst, in, t.birth(inst, in), handlings); err != nil {
			return t.failOrStop(key, inst, in, err)
		}
		if h != nil { // what was deferred follows, before anything else of this instance
			h.Condition, h.RetryAt = Retrying, event.Micro(t.cfg.Now())
			known := Instance{Marks: h.Marks}
			for _, m := range inst.Marks {
				known.mark(m)
			}
			h.Marks = known.Marks
			t.batch.hold(h)
			t.retrying(h)
		}
		return nil
	case Completed:
		if inst.Duplicate(in) {
			t.batch.stats.Duplicates++
			return nil
		}
		t.ignore(inst, in, "completed")
		return nil
	default:
		if inst.Duplicate(in) {
			t.batch.stats.Duplicates++
			return nil
		}
		if err := t.step(inst, in, nil, handlings); err != nil {
			return t.failOrStop(key, inst, in, err)
		}
		return nil
	}
}

// birth returns what a starting step notes: where the process stands in each of its sources, so that nothing that was
// passed before the instance was born is ever applied to it (G8).
func (t *term) birth(inst *Instance, in *Taken) *Birth {
	return &Birth{Incarnation: inst.Incarnation + 1, Marks: t.passed(inst.Key, in)}
}

// passed returns where the process stands, for an instance, in the sources that an input is not of.
func (t *term) passed(key string, in *Taken) (marks []Mark) {
	p := consumer.Partition(key, t.cfg.Partitions)
	for _, s := range t.sources {
		if at := s.routed(p); at > 0 && s.module.Name != in.Module {
			marks = append(marks, Mark{Module: s.module.Name, Log: s.module.Log.ID(), Position: at})
		}
	}
	return marks
}

// noInstance follows the declared policy for an input that finds no instance.
func (t *term) noInstance(key string, in *Taken, handlings []handling) error {
	if !slices.ContainsFunc(handlings, func(x handling) bool { return x.h.noInstance == Defer }) {
		t.countIgnored("no instance: "+in.Type, in)
		return nil
	}
	h := t.holds[key]
	if h == nil {
		h = t.newHold(key, Waiting)
	}
	return t.enqueue(h, in)
}

// step computes a step and puts it into the batch.
func (t *term) step(inst *Instance, in *Taken, birth *Birth, handlings []handling) error {
	if err := t.refuse[refused{inst.Key, in.ID}]; err != nil {
		delete(t.refuse, refused{inst.Key, in.ID})
		return &StepError{Process: t.timers.process, Instance: inst.Key, Input: in.describe(), Err: err}
	}
	had := timerNames(inst)
	rec, s, err := t.cfg.Definition.step(t.Engine, inst, in, birth, handlings)
	if err != nil {
		return err
	}
	t.batch.stats.Inputs++
	t.batch.step(inst, Taking{Record: *rec, Emitted: s.emitted, Home: in.Kind == EventInput && in.Module == t.cfg.Home && in.Log == t.home.Log.ID()})
	if in.Kind == TimeoutInput {
		t.batch.stats.Timeouts++
		t.batch.deleteTimeout(t.timers.process, inst.Key, in.Name)
	}
	for _, name := range rec.Cancelled {
		t.batch.deleteTimeout(t.timers.process, inst.Key, name)
	}
	if rec.Completed {
		for _, name := range had {
			t.batch.deleteTimeout(t.timers.process, inst.Key, name)
		}
	}
	for _, timer := range rec.Set {
		t.batch.setTimeout(t.timers.process, inst.Key, timer)
		t.timers.set(inst.Key, timer)
	}
	for _, sent := range rec.Sent {
		t.batch.sent = append(t.batch.sent, pending{instance: inst.Key, sent: sent, first: true})
	}
	return nil
}

func timerNames(inst *Instance) []string {
	if len(inst.Timers) == 0 {
		return nil
	}
	names := make([]string, len(inst.Timers))
	for n := range inst.Timers {
		names[n] = inst.Timers[n].Name
	}
	return names
}

// ignore records with the instance that an input was ignored, and by which rule.
func (t *term) ignore(inst *Instance, in *Taken, rule string) {
	rec := &Record{Input: *in, Ignored: rule}
	inst.note(rec)
	t.batch.stats.Ignored++
	t.batch.step(inst, Taking{Record: *rec, Home: in.Kind == EventInput && in.Module == t.cfg.Home && in.Log == t.home.Log.ID()})
}

// countIgnored counts an input that there was no instance for.
func (t *term) countIgnored(rule string, in *Taken) {
	c := t.ignored[rule]
	if c == nil {
		c = &ignoredCount{}
		t.ignored[rule] = c
	}
	i := Instance{Marks: c.Marks}
	if i.Duplicate(in) {
		t.batch.stats.Duplicates++
		return
	}
	i.mark(Mark{Module: in.Module, Log: in.Log, Position: in.Position})
	c.Marks, c.dirty = i.Marks, true
	c.Count++
	t.batch.stats.Ignored++
	t.batch.ignored[rule] = c
}

// takeTimeout lets a timeout fire, if it still stands: one that was cancelled or replaced does not.
func (t *term) takeTimeout(ctx context.Context, d due) error {
	if h := t.holds[d.instance]; h != nil && h.Condition != Waiting {
		return nil // it fires, in its place between the inputs that queue, when these are taken
	}
	inst, err := t.instance(ctx, d.instance)
	if err != nil {
		return t.failOrStop(d.instance, nil, &Taken{Kind: TimeoutInput, ID: d.id, Name: d.name, Time: d.at}, err)
	}
	timer, set := inst.timer(d.name)
	if !set || timer.ID != d.id {
		if !set {
			t.batch.deleteTimeout(t.timers.process, d.instance, d.name)
		}
		return nil
	}
	return t.fire(inst, timer)
}

func (t *term) fire(inst *Instance, timer Timer) error {
	in := timer.input()
	t.batch.inputs++
	handlings, err := t.router.decode(&in)
	if err == nil {
		err = t.step(inst, &in, nil, handlings)
	}
	if err != nil {
		return t.failOrStop(inst.Key, inst, &in, err)
	}
	return nil
}

// takeOutcomes records the outcomes of commands, as inputs where the definition handles them.
func (t *term) takeOutcomes(ctx context.Context) error {
	limit := t.limit()
	if t.single == 0 {
		limit *= 4 // they are small
	}
	for _, o := range t.dispatch.outcomes(limit) {
		t.batch.settled++
		t.batch.stats.Commands++
		t.batch.put(eventlog.Delete{Kind: eventlog.Pending, Key: pendingKey(t.timers.process, o.instance, o.sent.Number)})
		in, handled := t.outcome(o)
		if !handled {
			continue
		}
		t.batch.inputs++
		if h := t.holds[o.instance]; h != nil && h.Condition != Waiting {
			if err := t.enqueue(h, &in); err != nil {
				return err
			}
			continue
		}
		inst, err := t.instance(ctx, o.instance)
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
	if inst.Status == Completed {
		t.ignore(inst, in, "completed")
		return nil
	}
	handlings, err := t.router.decode(in)
	if err == nil {
		err = t.step(inst, in, nil, handlings)
	}
	if err != nil {
		return t.failOrStop(inst.Key, inst, in, err)
	}
	return nil
}

// outcome returns the input that a command's outcome is, if the definition handles it.
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
		t.cfg.Logger.Error("a command was given up", "instance", o.instance, "command", o.sent.Type, "id", o.sent.ID, "status", o.outcome.Status, "reason", o.outcome.Reason)
		return in, false
	}
	in.ID = event.DeriveID("outcome", string(o.sent.ID[:]))
	_, handled := t.router.outcomes[outcomeKey{in.Kind, in.Type}]
	return in, handled
}

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
	h.failed(in, err, t.cfg.Now(), t.cfg.Retry)
	t.cfg.Logger.Error("an instance stands aside", "instance", key, "condition", h.Condition, "attempts", h.Attempts, "error", err)
	t.retrying(h)
	return t.enqueue(h, in)
}

// retrying notes whether the hold is to be tried again.
func (t *term) retrying(h *Holding) {
	if h.Condition == Retrying {
		t.retries[h.Instance] = h
	} else {
		delete(t.retries, h.Instance)
	}
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
	room := t.limit() - t.batch.inputs
	items, err := readQueue(ctx, t.home.Log, process, h.Instance, room)
	if err != nil {
		return err
	}
	t.cache.drop(h.Instance) // what failed may have changed it in place
	inst, err := t.instance(ctx, h.Instance)
	if err != nil {
		if len(items) == 0 {
			return err
		}
		return t.failAgain(h, &items[0].taken, err)
	}
	for n := range items {
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
	if h.Queued > 0 && len(items) > 0 {
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

// failAgain keeps a hold after another failure.
func (t *term) failAgain(h *Holding, in *Taken, err error) error {
	if !itsOwn(err) {
		return err
	}
	if t.batch.changed(h.Instance) {
		return errSplit
	}
	t.cache.drop(h.Instance)
	h.failed(in, err, t.cfg.Now(), t.cfg.Retry)
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
		handlings, err := t.router.decode(&fired)
		if err == nil {
			err = t.step(inst, &fired, nil, handlings)
		}
		if err != nil {
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
	}
	if in.Kind == EventInput && slices.Contains(inst.Taken, in.ID) {
		t.batch.stats.Duplicates++
		return true, nil
	}
	handlings, err := t.router.decode(in)
	if err == nil {
		handlings, err = t.router.concerning(inst.Key, in, handlings)
	}
	if err != nil {
		return false, err
	}
	switch {
	case inst.Status == Completed:
		t.ignore(inst, in, "completed")
		return true, nil
	case inst.Status == New:
		if !slices.ContainsFunc(handlings, func(x handling) bool { return x.h.starts }) {
			return true, t.noInstance(inst.Key, in, handlings)
		}
		return true, t.step(inst, in, t.birth(inst, in), handlings)
	default:
		return true, t.step(inst, in, nil, handlings)
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
