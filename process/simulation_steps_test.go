package process

import (
	"fmt"
	"slices"
	"time"
)

// step checks a step that was committed, and takes note of it.
func (o *oracle) step(key string, s *Taking) {
	o.steps++
	i, r := o.instance(key), &s.Record
	in := &r.Input
	o.s.log("      %s takes %s", key, r.told())
	what := fmt.Sprintf("%s: %s", key, in.describe())
	switch {
	case i.status == Completed && r.Ignored == "":
		o.fail("G10: %s, and it had completed", what)
	case i.status != New && r.Birth != nil, i.status == New && r.Birth == nil:
		o.fail("G10: %s: %v, birth %v", what, i.status, r.Birth)
	case r.Emitted != len(s.Emitted):
		o.fail("G6: %s: %d emitted, the record says %d", what, len(s.Emitted), r.Emitted)
	}
	if o.operated(key, i, r, what) {
		i.steps = append(i.steps, *r)
		return
	}
	before := i.phase()
	if r.Birth != nil {
		i.status, i.born, i.birth = Running, o.appends, o.byID[in.ID]
	}
	if !r.byOperator() {
		o.fate(i, r, what)
	}
	switch {
	case r.Resumed, in.Kind == OperatorInput: // it was taken when it was deferred
	case in.Kind == EventInput:
		o.takeEvent(key, i, in)
	case in.Kind == TimeoutInput:
		t, set := i.timers[in.Name]
		switch {
		case !set || t.ID != in.ID:
			o.fail("G11: %s fired, and it was cancelled, replaced, or fired before", what)
		case !t.Due.Equal(in.Time) || o.s.clock.Before(t.Due):
			o.fail("G11: %s fired at %s, due %s", what, o.s.clock, t.Due)
		}
		delete(i.timers, in.Name)
	case in.Kind == ClaimInput:
		if !i.refused[in.ID] {
			o.fail("G8: %s was not refused, or was told before", what)
		}
		delete(i.refused, in.ID)
	default:
		o.takeOutcome(i, in, what)
	}
	if r.Ignored == "" && !r.Resumed && in.Kind != OperatorInput {
		o.timersFirst(i, in, what)
	}
	for _, name := range r.Cancelled {
		delete(i.timers, name)
	}
	for _, t := range r.Set {
		i.timers[t.Name] = t
	}
	for _, once := range r.Once {
		if i.once[once] {
			o.fail("%s: Once(%q) a second time", what, once)
		}
		i.once[once] = true
	}
	o.undoes(key, i, r, what)
	o.claimed(key, i, r, what)
	if r.Completed {
		i.status = Completed
		clear(i.timers)
	}
	o.phased(i, r, before, what)
	i.steps = append(i.steps, *r)
}

// told is describe without what differs from run to run.
func (t *Taken) told() string {
	switch t.Kind {
	case EventInput:
		return fmt.Sprintf("%s %d of %s", t.Type, t.Position, t.Module)
	case TimeoutInput:
		return fmt.Sprintf("timeout %s due %v", t.Name, t.Time.Sub(simStart))
	default:
		return fmt.Sprintf("%v %s %s", t.Kind, t.Type, t.Data)
	}
}

// told says in a line what was taken and decided.
func (r *Record) told() string {
	what := r.Input.told()
	if r.Resumed {
		what += ", which was deferred"
	}
	if r.Ignored != "" {
		return what + ", ignored: " + r.Ignored
	}
	if r.Deferred {
		return what + ", deferred"
	}
	if r.Phase != "" {
		what += ", is " + string(r.Phase)
	}
	if r.Birth != nil {
		what += ", is born"
	}
	for _, c := range r.Cancelled {
		what += ", cancels " + c
	}
	for _, t := range r.Set {
		what += fmt.Sprintf(", sets %s for %v", t.Name, t.Due.Sub(simStart))
	}
	for _, sent := range r.Sent {
		what += fmt.Sprintf(", sends %s %d", sent.Type, sent.Number)
	}
	for _, k := range r.Claimed {
		what += ", claims " + k.Key
	}
	for _, k := range r.Released {
		what += ", gives back " + k.Key
	}
	for _, refused := range r.Refused {
		what += ", finds that " + refused.By + " has " + refused.Key
	}
	if r.Emitted > 0 {
		what += fmt.Sprintf(", emits %d", r.Emitted)
	}
	if r.Corrected {
		return what + ", corrected"
	}
	if r.Compensating {
		what += ", is given up"
	}
	if r.Completed {
		what += ", completes"
	}
	return what
}

// takeEvent checks that an event is taken once, by whom it concerns, in the order of its log (G8).
func (o *oracle) takeEvent(key string, i *simInstance, in *Taken) {
	e := o.byID[in.ID]
	switch {
	case e == nil || e.module != in.Module || e.position != in.Position || e.doc == "" && !slices.Contains(e.keys, key):
		o.fail("G8: %s took %s, which does not concern it", key, in.describe())
		return
	case i.taken[e.id]:
		o.fail("G8: %s took %s twice", key, in.describe())
	case i.ignored[e.id]:
		o.fail("G8: %s took %s, which was passed before it was born", key, in.describe())
	}
	i.taken[e.id] = true
	o.payloadIs(key, in, e.data)
	high, of := i.high, e.module
	switch {
	case e.doc != "" && e.handed:
		high, of = i.handed, e.module+"/"+e.doc
	case i.deferred[e.id]:
		high = i.late
	}
	if e.doc != "" {
		o.finds(key, i, e)
	}
	if e.position <= high[of] {
		o.fail("G8: %s took %s behind position %d", key, in.describe(), high[of])
	}
	high[of] = e.position
}

func (o *oracle) takeOutcome(i *simInstance, in *Taken, what string) {
	sent := o.sent[in.Command]
	switch {
	case sent == nil || o.instances[sent.instance] != i:
		o.fail("G7: %s: it sent no such command", what)
		return
	case sent.recorded:
		o.fail("G7: %s: the outcome was taken before", what)
	}
	if in.Kind == FailedInput {
		o.happens(fmt.Sprintf("told that a command failed, expired: %v", in.Expired))
	}
	sent.recorded, sent.queued, sent.outcome = true, false, in.Kind
	if sent.Undoes > 0 && in.Kind != AcceptedInput {
		o.happens("undo " + in.Kind.String())
	}
	o.outcomeIs(in, sent, what)
}

// timersFirst checks that what is due by the instant of an input has fired before it (G11).
func (o *oracle) timersFirst(i *simInstance, in *Taken, what string) {
	for _, t := range i.timers {
		if t.Due.Before(in.Time) || in.Kind != TimeoutInput && t.Due.Equal(in.Time) {
			o.fail("G11: %s was taken before timeout %q due %s", what, t.Name, t.Due.Format(time.RFC3339Nano))
		}
	}
}
