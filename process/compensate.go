package process

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
)

// Compensation takes back what an instance has done. A command is sent with what undoes it; Compensate sends, for those
// that were accepted, the undos in reverse order, each when the one before it was accepted. It waits first for the
// commands that have no outcome yet: only then it is known what there is to undo.

// OnUndo says which command undoes this one, once it was accepted: Step.Compensate sends it. It goes to the same module.
func OnUndo(undo any) SendOption { return func(s *sending) { s.undo = undo } }

// Compensate gives the instance up: what was sent with OnUndo and was accepted is undone, the last first, each undo when
// the one before it was accepted; then the instance is completed, with the ending Compensated. Its timeouts are cancelled
// at once, and from then on it takes nothing but the outcomes of its commands: other inputs meet the choice for Completed.
// An undo that is rejected or fails holds the instance; to resume it sends that undo again, to skip it leaves it undone.
func (s *Step) Compensate() { s.rec.Compensating = true }

// Ending says how an instance came to be completed.
type Ending string

// The endings. The words are stored: they never change.
const (
	Ended       Ending = ""            // by Step.Complete
	Compensated Ending = "compensated" // by Step.Compensate, when everything was undone
	Cancelled   Ending = "cancelled"   // by an operator
)

// UndoState is how far a command that can be undone has come.
type UndoState string

// The states of a command that can be undone. The words are stored: they never change.
const (
	UndoOpen    UndoState = ""        // the command has no outcome yet
	UndoReady   UndoState = "ready"   // it was accepted, so there is something to undo
	UndoVoid    UndoState = "void"    // it was not accepted: there is nothing to undo
	UndoSent    UndoState = "sent"    // its undo was sent, and has no outcome yet
	UndoDone    UndoState = "done"    // its undo was accepted
	UndoSkipped UndoState = "skipped" // its undo was not accepted, and an operator left it at that
)

// Undo is a command that can be undone, as its instance remembers it.
type Undo struct {
	Number  int       `json:"number"`  // of the command, among the instance's
	Command event.ID  `json:"command"` // its id
	Name    string    `json:"name"`    // its type
	Module  string    `json:"module"`  // where the undo goes
	Type    string    `json:"type"`    // of the undo
	Data    []byte    `json:"data"`    // of the undo
	State   UndoState `json:"state,omitempty"`
	By      event.ID  `json:"by,omitzero"` // id of the undo, when it was sent
}

// Undoing is what undoes a command, beside it.
type Undoing struct {
	Type string `json:"type"`
	Data []byte `json:"data"`
}

// UndoError is why an instance is held whose compensation cannot go on.
type UndoError struct {
	Command string // what was to be undone
	Undo    string // by what
	Kind    Kind   // what became of it: RejectedInput or FailedInput
	Reason  string
}

func (e *UndoError) Error() string {
	what := "was rejected"
	if e.Kind == FailedInput {
		what = "failed"
	}
	return fmt.Sprintf("%q, which undoes %q, %s: %s; resume sends it again, skip leaves it at that", e.Undo, e.Command, what, e.Reason)
}

// undosAfter returns the instance's undos as they are behind a record.
func undosAfter(undos []Undo, r *Record) []Undo {
	if len(undos) == 0 && !slices.ContainsFunc(r.Sent, func(s Sent) bool { return s.Undo != nil }) {
		return undos
	}
	undos = slices.Clone(undos)
	if !r.Resumed && r.Input.isOutcome() {
		for n := range undos {
			undos[n].settle(&r.Input, r.Ignored != "")
		}
	}
	for n := range r.Sent {
		s := &r.Sent[n]
		if s.Undo != nil {
			undos = append(undos, Undo{Number: s.Number, Command: s.ID, Name: s.Type, Module: s.Module, Type: s.Undo.Type, Data: s.Undo.Data})
		}
		if k := slices.IndexFunc(undos, func(u Undo) bool { return u.Number == s.Undoes }); k >= 0 {
			undos[k].State, undos[k].By = UndoSent, s.ID
		}
	}
	return undos
}

// settle takes note of the outcome of a command or of its undo.
func (u *Undo) settle(in *Taken, ignored bool) {
	accepted := in.Kind == AcceptedInput
	switch {
	case u.State == UndoOpen && u.Command == in.Command && accepted:
		u.State = UndoReady
	case u.State == UndoOpen && u.Command == in.Command:
		u.State = UndoVoid
	case u.State != UndoSent || u.By != in.Command:
	case accepted:
		u.State = UndoDone
	case ignored:
		u.State = UndoSkipped
	default:
		u.State = UndoReady // it is sent again
	}
}

// isOutcome tells whether the input is the outcome of a command.
func (t *Taken) isOutcome() bool {
	return t.Kind == RejectedInput || t.Kind == AcceptedInput || t.Kind == FailedInput
}

// awaits tells whether the instance has to know the outcome, whatever its definition says.
func (i *Instance) awaits(in *Taken) bool {
	return in.isOutcome() && (i.Compensating || slices.ContainsFunc(i.Undos, func(u Undo) bool { return u.Command == in.Command || u.By == in.Command }))
}

// awaited tells whether the sender has to know the command's outcome, whatever its definition says.
func (s *Sent) awaited() bool { return s.Undo != nil || s.Undoes > 0 }

// compensate goes on with the compensation: it sends the next undo, or ends.
func (s *Step) compensate() {
	if !s.inst.Compensating && !s.rec.Compensating {
		return
	}
	ending := Compensated
	if s.input.Kind == OperatorInput || s.inst.Ending == Cancelled {
		ending = Cancelled
	}
	s.rec.Completed, s.rec.Ending = false, ""
	if s.rec.Compensating && ending == Cancelled {
		s.rec.Ending = Cancelled // it is kept until everything is undone
	}
	if s.inst.Compensating && s.input.Kind != AcceptedInput && s.rec.Ignored == "" && !s.input.Again {
		for _, u := range s.inst.Undos {
			if u.State == UndoSent && u.By == s.input.Command {
				s.fail(&UndoError{Command: u.Name, Undo: u.Type, Kind: s.input.Kind, Reason: s.input.reason()})
				return
			}
		}
	}
	undos := undosAfter(s.inst.Undos, s.rec)
	next := -1
	for n, u := range undos {
		switch u.State {
		case UndoOpen, UndoSent:
			return
		case UndoReady:
			next = n
		}
	}
	if next < 0 {
		s.rec.Completed, s.rec.Ending = true, ending
		return
	}
	u, n := undos[next], len(s.rec.Sent)
	s.rec.Sent = append(s.rec.Sent, Sent{ID: s.id("command", n), Number: s.inst.Sent + n + 1, Module: u.Module, Type: u.Type, Data: u.Data,
		Metadata: s.metadata(), At: s.Now(), Undoes: u.Number})
	s.world.undoing(&s.rec.Sent[n])
}

// reason says why a command was not accepted.
func (t *Taken) reason() string {
	if t.Rejection != nil {
		return strings.TrimPrefix(t.Rejection.Error(), "rejected: ") // whoever asks says so
	}
	return t.Reason
}
