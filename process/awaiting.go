package process

import (
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
)

// By the replay clock the outcome of a command has the instant of the step that sent it, however long its receiver takes. So
// that it is taken in its place (G11), its instance takes nothing else meanwhile: what comes for it queues, behind the
// outcome. Other instances go on.

// unanswered is a command whose outcome its instance waits for.
type unanswered struct {
	id event.ID
	at time.Time // the instant of the outcome
}

// frontRoom is where the numbers of a queue begin by the replay clock: those below are of inputs that go before all others.
const frontRoom = 1 << 20

// sends takes note of a command whose outcome its instance waits for.
func (t *term) sends(instance string, s *Sent) {
	if !t.cfg.Replay {
		return
	}
	if s.awaited() || slices.ContainsFunc([]Kind{AcceptedInput, RejectedInput, FailedInput}, func(k Kind) bool { return t.router.awaits(k, s.Type) }) {
		t.unanswered[instance] = append(t.unanswered[instance], unanswered{s.ID, s.At})
	}
}

// answered takes note of an outcome. The instance goes on, as far as it can.
func (t *term) answered(instance string, s *Sent) {
	open, waits := t.unanswered[instance]
	if !waits {
		return
	}
	open = slices.DeleteFunc(open, func(u unanswered) bool { return u.id == s.ID })
	if t.unanswered[instance] = open; len(open) == 0 {
		delete(t.unanswered, instance)
	}
	if h := t.holds[instance]; h != nil && h.Condition == Awaiting {
		t.goOn(h)
		t.batch.hold(h)
	}
}

// goOn has what queued behind a command taken.
func (t *term) goOn(h *Holding) {
	h.Condition, h.RetryAt = Retrying, event.Micro(t.cfg.Now())
	t.retrying(h)
}

// awaits tells whether the input's turn at the instance comes behind an outcome that is not there yet. A timeout that was
// due by the instant of the outcome goes before it.
func (t *term) awaits(instance string, in *Taken) bool {
	open := t.unanswered[instance]
	switch {
	case len(open) == 0 || in.isOutcome():
		return false
	case in.Kind == TimeoutInput:
		return slices.ContainsFunc(open, func(u unanswered) bool { return u.at.Before(in.Time) })
	default:
		return true
	}
}

// await has the inputs of an instance queue until a command of it has its outcome. A timeout need not queue: it fires in its
// place.
func (t *term) await(inst *Instance, in *Taken) error {
	h := t.newHold(inst.Key, Awaiting)
	h.Marks = slices.Clone(inst.Marks)
	if in.Kind == TimeoutInput {
		t.batch.hold(h)
		return nil
	}
	return t.enqueue(h, in)
}

// awaitAgain keeps a hold whose next input comes behind an outcome.
func (t *term) awaitAgain(h *Holding) {
	h.calm()
	h.Condition, h.RetryAt = Awaiting, time.Time{}
	t.batch.hold(h)
	t.retrying(h)
}

// place gives an input the next number in a queue. By the replay clock outcomes, and timeouts that failed, go before the
// events that came meanwhile, which are of a later instant.
func (h *Holding) place(in *Taken, replay bool) int {
	if replay && (in.isOutcome() || in.Kind == TimeoutInput) && h.Next >= frontRoom && h.Front+1 < frontRoom {
		h.Front++
		return h.Front
	}
	h.Next++
	return h.Next
}
