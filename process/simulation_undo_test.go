package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Most commands of the simulated process say what undoes them, an event gives an instance up, and now and then its receiver
// refuses an undo: then the instance is held, until an operator has it sent again or leaves it at that.

type (
	simDropped struct { // in home; gives the instance up
		ID string
		N  int
	}
	simFreed struct { // in left; undoes a reservation
		ID string
		N  int
	}
	simRecalled struct { // in right; undoes a shipment
		ID string
		N  int
	}

	simFree struct {
		ID string
		N  int
	}
	simRecall struct {
		ID string
		N  int
	}
)

// simUndoing is the part that matters for compensation. What else the definition sends, simSend says how to undo.
func simUndoing() []Part[simState] {
	return []Part[simState]{
		On[simState, simDropped]{
			NoInstance: Ignore,
			Locate:     Key(func(e simDropped) string { return e.ID }),
			Evolve:     func(s simState, in Input[simDropped]) simState { return s.see("dropped %d", in.Event.N) },
			React: func(_ simState, in Input[simDropped], do *Step) {
				if in.Event.N%3 == 0 { // which is undone as well
					simSend(do, simReserve{ID: do.Instance(), N: in.Event.N})
				}
				do.Compensate()
			},
		},
	}
}

// simUndoes is what undoes a command, said a second time; nothing for one that stays done.
func simUndoes(sent *Sent) (typ string) {
	var c struct{ N int }
	switch {
	case json.Unmarshal(sent.Data, &c) != nil:
	case sent.Type == "reserve" && c.N%3 != 1:
		return "free"
	case sent.Type == "ship" && c.N%2 == 0:
		return "recall"
	}
	return ""
}

// simUndoers handle the undos in each module.
func simUndoers(refuses func() bool) map[string]command.Handler {
	gone := command.Reject("gone", "it cannot be undone now")
	return map[string]command.Handler{
		"left": command.Handle("free", func(_ context.Context, w *aggregate.Work, c simFree) (struct{}, error) {
			if refuses() {
				return struct{}{}, gone
			}
			return struct{}{}, w.Append("stock/"+c.ID, eventlog.Any, simFreed(c))
		}),
		"right": command.Handle("recall", func(_ context.Context, w *aggregate.Work, c simRecall) (struct{}, error) {
			if refuses() {
				return struct{}{}, gone
			}
			return struct{}{}, w.Append("parcel/"+c.ID, eventlog.Any, simRecalled(c))
		}),
	}
}

// refusesUndo decides whether an undo is refused.
func (s *simulation) refusesUndo() bool {
	return !s.options.without["stray"] && s.rng.IntN(4) == 0
}

// nextUndo says what the compensation of an instance does next: it waits for an outcome, or undoes the last command that was
// accepted and is not undone; with neither it has ended.
func (i *simInstance) nextUndo() (waits bool, next *simSent) {
	for _, sent := range i.commands {
		switch undo := sent.undo; {
		case simUndoes(&sent.Sent) == "":
		case sent.outcome == 0, undo != nil && undo.outcome == 0:
			return true, nil
		case sent.outcome == AcceptedInput && !sent.leftAlone && (undo == nil || undo.outcome != AcceptedInput):
			next = sent
		}
	}
	return false, next
}

// commanded takes note of what a step sends, and checks that it says what is declared.
func (o *oracle) commanded(key string, i *simInstance, sent Sent, what string, at *Taken) {
	i.sent++
	if o.sent[sent.ID] != nil || sent.Number != i.sent {
		o.fail("G7: %s: command %d has id or number of another", what, sent.Number)
	}
	if want := simDeadline(&sent, at.Time); !sent.Before.Equal(want) {
		o.fail("G6: %s: command %d has the deadline %s, want %s", what, sent.Number, sent.Before, want)
	}
	undo := simUndoes(&sent)
	switch {
	case undo == "" && sent.Undo != nil, undo != "" && (sent.Undo == nil || sent.Undo.Type != undo):
		o.fail("G6: %s: command %d is undone by %v, want %q", what, sent.Number, sent.Undo, undo)
	}
	x := &simSent{Sent: sent, instance: key}
	o.sent[sent.ID] = x
	i.commands = append(i.commands, x)
	i.pending[sent.Number] = sent.ID
	if n := sent.Undoes; n > 0 && n < sent.Number {
		i.commands[n-1].undo = x
	}
}

// undoes checks what a step of an instance that was given up does: the next undo, when everything before it has its outcome,
// and the end when nothing is left to undo (G7).
func (o *oracle) undoes(key string, i *simInstance, r *Record, what string) {
	var undos []Sent
	for _, sent := range r.Sent {
		if sent.Undoes == 0 {
			o.commanded(key, i, sent, what, &r.Input)
			continue
		}
		undos = append(undos, sent)
	}
	if r.Compensating {
		if i.compensating {
			o.fail("G7: %s was given up twice", what)
		}
		i.compensating = true
		clear(i.timers)
		if !i.cancelled {
			o.happens("given up by itself")
		}
	}
	if !i.compensating {
		if len(undos) > 0 {
			o.fail("G7: %s undoes %q, and was not given up", what, undos[0].Type)
		}
		return
	}
	if i.status == Completed {
		return
	}
	waits, next := i.nextUndo()
	switch {
	case waits && (len(undos) > 0 || r.Completed):
		o.fail("G7: %s goes on with the compensation, and not every command before has its outcome", what)
	case waits:
	case next != nil && (len(undos) != 1 || r.Completed || undos[0].Undoes != next.Number):
		o.fail("G7: %s undoes %v, completes: %v; next is %s %d", what, undosOf(undos), r.Completed, next.Type, next.Number)
	case next != nil:
		o.undoIs(next, &undos[0], what)
	case len(undos) > 0 || !r.Completed || r.Ending != i.ending():
		o.fail("G7: %s has nothing to undo any more; undoes %v, completes: %v, %q", what, undosOf(undos), r.Completed, r.Ending)
	default:
		o.happens(string(r.Ending))
	}
	for _, undo := range undos {
		o.commanded(key, i, undo, what, &r.Input)
	}
}

// undoIs checks that an undo says what its command said.
func (o *oracle) undoIs(sent *simSent, undo *Sent, what string) {
	if sent.undo != nil {
		o.happens("undo sent again")
	}
	o.happens("undo sent")
	var done, undone struct {
		ID string
		N  int
	}
	if json.Unmarshal(sent.Data, &done) != nil || json.Unmarshal(undo.Data, &undone) != nil || done != undone ||
		undo.Type != simUndoes(&sent.Sent) || undo.Module != sent.Module {
		o.fail("G7: %s undoes %s %s by %s %s of %s", what, sent.Type, sent.Data, undo.Type, undo.Data, undo.Module)
	}
}

// ending returns how an instance that was given up ends.
func (i *simInstance) ending() Ending {
	if i.cancelled {
		return Cancelled
	}
	return Compensated
}

func undosOf(undos []Sent) string {
	var all []int
	for n := range undos {
		all = append(all, undos[n].Undoes)
	}
	return fmt.Sprint(all)
}

// undone checks the effect of an undo: of a command that took effect, once, when everything later is undone (G7).
func (o *oracle) undone(rec event.Recorded, undo *simSent) {
	i := o.instance(undo.instance)
	if undo.Undoes == 0 {
		return
	}
	sent := i.commands[undo.Undoes-1]
	if sent.undone++; sent.undone > 1 || sent.effects != 1 {
		o.fail("G7: %s at %d undoes %s %d of %s, which took effect %d times, %d times", rec.Type, rec.Position, sent.Type, sent.Number, undo.instance, sent.effects, sent.undone)
	}
	for _, later := range i.commands[sent.Number:] {
		if simUndoes(&later.Sent) != "" && later.effects > 0 && later.undone == 0 && !later.leftAlone {
			o.fail("G7: %s %d of %s is undone before %s %d", sent.Type, sent.Number, undo.instance, later.Type, later.Number)
		}
	}
}

// undoneAll checks, in the end, that what an instance did is undone where it was given up, and else isn't.
func (o *oracle) undoneAll(key string, i *simInstance) {
	for _, sent := range i.commands {
		want := 0
		if i.compensating && simUndoes(&sent.Sent) != "" && !sent.leftAlone {
			want = sent.effects
		}
		if sent.undone != want {
			o.fail("G7: %s %d of %s took effect %d times and was undone %d times; given up: %v", sent.Type, sent.Number, key, sent.effects, sent.undone, i.compensating)
		}
	}
	if i.compensating && i.status != Completed {
		o.fail("G7: %s was given up, and its compensation does not end", key)
	}
}
