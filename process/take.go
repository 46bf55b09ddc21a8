package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/event"
)

// world of a step that the engine computes.
func (e *Engine) command(module string, cmd any) (target, name string, data []byte, err error) {
	return e.cfg.Commands.Encode(module, cmd)
}

func (e *Engine) undo(module string, cmd any) (target, name string, data []byte, err error) {
	return e.cfg.Commands.Encode(module, cmd)
}

func (e *Engine) undoing(*Sent) {}

func (e *Engine) event(fact any) (event.Event, error) { return e.router.types[e.cfg.Home].Encode(fact) }

func (e *Engine) carried() []string { return e.cfg.Carried }

// preload loads the instances that the next inputs concern, in one go.
func (t *term) preload(ctx context.Context) error {
	var missing []string
	wanted := map[string]bool{}
	want := func(key string) {
		if _, known := t.cache.get(key); !known && !wanted[key] && t.holds[key] == nil && (t.writing == nil || !t.writing.changed(key)) {
			wanted[key] = true
			missing = append(missing, key)
		}
	}
	limit := t.limit()
	for _, s := range t.sources {
		if t.correlates {
			if err := t.claimsAhead(s); err != nil {
				return err
			}
		}
		for n := range min(limit, len(s.buffer)) {
			it := &s.buffer[n]
			for _, key := range it.keys[it.given:min(len(it.keys), it.given+limit)] {
				want(key)
			}
			for _, k := range it.claims[it.claimed:] {
				if c := t.claims.rows[k]; c != nil && c.Instance != "" && t.mine.has(c.Instance) {
					want(c.Instance)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	loaded, err := t.load(ctx, missing)
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
	if t.writing != nil && t.writing.changed(key) { // it was forgotten, since its step failed
		if err := t.written(); err != nil {
			return nil, err
		}
	}
	loaded, err := t.load(ctx, []string{key})
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
	if it.others || t.skipped[it.ID] {
		return true, nil
	}
	t.giving = it
	defer func() { t.giving = nil }()
	if it.err != nil { // nobody knows whom it concerns: it is held under a key of its own
		key := it.ownKey()
		p := t.mine.partition(key)
		if t.holds[key] != nil || s.handled(p, it.Position) {
			return true, nil
		}
		s.dirty[p] = true
		t.batch.inputs++
		h := t.newHold(key, Held)
		h.failed(&it.Taken, it.err, t.cfg.Now(), Retry{Attempts: 1})
		return true, t.enqueue(h, &it.Taken)
	}
	if len(it.keys) == 0 && len(it.claims) == 0 {
		p := t.mine.partition(it.ownKey())
		if s.handled(p, it.Position) {
			return true, nil
		}
		t.batch.inputs++
		s.dirty[p] = true
		t.countIgnored(p, "no key: "+it.Type, &it.Taken)
		return true, nil
	}
	for ; it.given < len(it.keys); it.given++ {
		if t.batch.inputs >= t.limit() || t.batch.looked >= 8*t.cfg.Batch {
			return false, nil
		}
		t.batch.looked++
		key := it.keys[it.given]
		p := t.mine.partition(key)
		it.offer(p, t.cfg.Partitions)
		if s.handled(p, it.Position) {
			continue // read again since another partition's cursor is behind: it counts for nothing
		}
		s.dirty[p] = true
		if h := t.holds[key]; h != nil && h.Condition != Waiting && it.Position <= s.known[p] {
			t.batch.stats.Duplicates++ // it was decided before, maybe ignored: it does not queue behind what is held since
			continue
		}
		if err := t.giveCounted(ctx, key, it); err != nil {
			return false, err
		}
	}
	for ; it.claimed < len(it.claims); it.claimed++ {
		if t.batch.inputs >= t.limit() || t.batch.looked >= 8*t.cfg.Batch {
			return false, nil
		}
		t.batch.looked++
		it.offer(t.mine.partition(it.claims[it.claimed].place()), t.cfg.Partitions)
		if err := t.takeClaimed(ctx, s, it, it.claims[it.claimed]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// giveCounted gives an event to one instance and counts it. What was decided before takes no room in the batch, or a crash
// in every batch would never let it come further.
func (t *term) giveCounted(ctx context.Context, key string, it *item) error {
	known := t.batch.stats.Duplicates
	if err := t.give(ctx, key, &it.Taken, it.handlings); err != nil {
		return err
	}
	if t.batch.stats.Duplicates == known {
		t.batch.inputs++
	}
	return nil
}

// give lets one instance take an event, by where it is in its life.
func (t *term) give(ctx context.Context, key string, in *Taken, handlings []handling) error {
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
	if inst.Status != New && inst.Duplicate(in) {
		t.batch.stats.Duplicates++
		return nil
	}
	if handlings, err = t.router.concerning(inst, in, handlings); err != nil {
		return t.failOrStop(key, inst, in, err)
	}
	return t.hand(inst, in, handlings)
}

// hand offers an event to an instance that is not held. What waited for a birth follows it.
func (t *term) hand(inst *Instance, in *Taken, handlings []handling) error {
	if t.awaits(inst.Key, in) {
		return t.await(inst, in)
	}
	born := inst.Status == New
	if err := t.offer(inst, in, handlings); err != nil {
		return t.failOrStop(inst.Key, inst, in, err)
	}
	if h := t.holds[inst.Key]; h != nil && born && inst.Status != New { // what was deferred follows, before anything else of this instance
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
}

// offer follows the declared choice for an input at an instance that is not held. An error is the instance's own when it
// is to stand aside.
func (t *term) offer(inst *Instance, in *Taken, handlings []handling) error {
	own := t.router.of(inst).def
	if in.Kind == EventInput {
		if handlings = t.router.own(inst, handlings); len(handlings) == 0 && len(t.router.former) > 0 {
			t.otherVersions(inst, in)
			return nil
		}
	}
	policy, phase, err := own.fate(inst, in, handlings)
	if err != nil {
		return t.stepError(inst.Key, in, err)
	}
	if phase == PhaseNone && policy != Handle {
		return t.noInstance(inst.Key, in, policy)
	}
	switch policy {
	case Handle:
		var birth *Birth
		if phase == PhaseNone {
			birth = t.birth(inst, in)
		}
		if err := t.step(inst, in, birth, handlings); err != nil {
			return err
		}
		return t.unsettled(inst)
	case Hold:
		return t.stepError(inst.Key, in, &UnexpectedError{Phase: phase})
	case Defer:
		return t.postpone(inst, in)
	default:
		return t.ignore(inst, in, ignoredRule(inst, phase, handlings))
	}
}

// ignoredRule names the rule by which an instance ignores an input in a phase.
func ignoredRule(inst *Instance, phase Phase, facts []handling) string {
	if inst.Compensating && inst.Status == Running {
		return "compensating"
	}
	if len(facts) == 0 {
		return "unhandled" // an outcome that is awaited for the compensation alone
	}
	if phase == PhaseCompleted || phase == PhaseActive {
		return string(phase)
	}
	return "phase " + string(phase)
}

func (t *term) stepError(key string, in *Taken, err error) error {
	return &StepError{Process: t.timers.process, Instance: key, Input: in.describe(), Err: err}
}

// otherVersions counts an event that only versions handle which don't decide for the instance.
func (t *term) otherVersions(inst *Instance, in *Taken) {
	rule := "another version: "
	if inst.Status == New {
		rule = "no instance: "
	}
	t.countIgnored(t.mine.partition(inst.Key), rule+in.Type, in)
}

// birth returns what a starting step notes: where the process stands in each of its sources, so that nothing that was
// passed before the instance was born is ever applied to it (G8).
func (t *term) birth(inst *Instance, in *Taken) *Birth {
	known := Instance{Marks: t.passed(inst.Key, in)}
	if h := t.holds[inst.Key]; h != nil { // it knows more than the cursors, where these were lost
		for _, m := range h.Marks {
			if m.Module != in.Module {
				known.mark(m)
			}
		}
	}
	return &Birth{Incarnation: inst.Incarnation + 1, Marks: known.Marks}
}

// passed returns where the process stands, for an instance, in the sources that an input is not of.
func (t *term) passed(key string, in *Taken) (marks []Mark) {
	p := t.mine.partition(key)
	for _, s := range t.sources {
		if at := s.routedTo(key, p); at > 0 && (s.module.Name != in.Module || in.late) {
			marks = append(marks, Mark{Module: s.module.Name, Log: s.module.Log.ID(), Position: at})
		}
	}
	return marks
}

// noInstance follows the declared policy for an input that finds no instance.
func (t *term) noInstance(key string, in *Taken, declared Policy) error {
	h, deferred := t.holds[key], 0
	if h != nil {
		deferred = h.Queued
	}
	policy, rule, why := t.cfg.Definition.untaken(declared, deferred, thisKey)
	switch policy {
	case Hold:
		if h == nil {
			h = t.newHold(key, Held)
		}
		h.failed(in, t.stepError(key, in, why), t.cfg.Now(), Retry{Attempts: 1})
		t.retrying(h)
		return t.enqueue(h, in)
	case Defer:
		if h == nil {
			h = t.newHold(key, Waiting)
		}
		if h.RetryAt.IsZero() {
			t.patient(h, in)
		}
		return t.enqueue(h, in)
	default:
		if declared == Defer { // one too many: when there is room again, it is not to be deferred after all
			h.mark(in)
			t.batch.hold(h)
		}
		t.countIgnored(t.mine.partition(key), rule+in.Type, in)
		return nil
	}
}

// step computes a step and puts it into the batch.
func (t *term) step(inst *Instance, in *Taken, birth *Birth, handlings []handling) error {
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	had := timerNames(inst)
	rec, s, err := t.router.of(inst).def.step(t, inst, in, birth, handlings)
	if err != nil {
		return err
	}
	return t.taken(inst, in, rec, s, had)
}

// taken puts what an instance took, and what was decided, into the batch.
func (t *term) taken(inst *Instance, in *Taken, rec *Record, s *Step, had []string) error {
	t.batch.stats.Inputs++
	t.batch.step(inst, Taking{Record: *rec, Emitted: s.emitted, Home: in.Kind == EventInput && in.Module == t.cfg.Home && in.Log == t.home.Log.ID()})
	if in.Kind == TimeoutInput && !rec.Resumed { // what is set under the name of one that was deferred is another one
		t.batch.stats.Timeouts++
		t.batch.deleteTimeout(t.timers.process, inst.Key, in.Name)
	}
	for _, name := range rec.Cancelled {
		t.batch.deleteTimeout(t.timers.process, inst.Key, name)
	}
	if rec.Completed || rec.Compensating {
		for _, name := range had {
			t.batch.deleteTimeout(t.timers.process, inst.Key, name)
		}
	}
	for _, timer := range rec.Set {
		t.batch.setTimeout(t.timers.process, inst.Key, timer)
		t.timers.set(inst.Key, timer)
	}
	for _, sent := range rec.Sent {
		t.sends(inst.Key, &sent)
		t.batch.sent = append(t.batch.sent, pending{instance: inst.Key, sent: sent, first: true})
	}
	return t.correlate(inst, rec, s.refused)
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
func (t *term) ignore(inst *Instance, in *Taken, rule string) error {
	if err := t.wasRefused(inst, in); err != nil {
		return err
	}
	rec := &Record{Input: *in, Ignored: rule}
	rec.lean()
	if inst.Status == Running { // a completed one stays what it was
		t.router.of(inst).def.stamp(inst, rec)
	}
	inst.note(rec)
	t.batch.stats.Ignored++
	t.batch.step(inst, Taking{Record: *rec, Home: in.Kind == EventInput && in.Module == t.cfg.Home && in.Log == t.home.Log.ID()})
	return nil
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
	if t.awaits(inst.Key, &in) {
		return t.await(inst, &in)
	}
	t.batch.inputs++
	if err := t.takeFired(inst, &in); err != nil {
		return t.failOrStop(inst.Key, inst, &in, err)
	}
	return nil
}

// takeFired lets an instance take a timeout that fired.
func (t *term) takeFired(inst *Instance, in *Taken) error {
	if in.Type == deferredTimeout {
		return t.expire(inst, in)
	}
	handlings, err := t.router.of(inst).decode(in)
	if err != nil {
		return err
	}
	return t.offer(inst, in, handlings)
}
