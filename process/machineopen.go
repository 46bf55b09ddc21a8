package process

import (
	"github.com/ensue-io/ensue/event"
)

// OpenCommand is a command of a machine's that has no outcome yet, and whose outcome its instance takes.
type OpenCommand struct {
	Instance string
	Command  any
	Outcomes []Kind // that the instance takes: those that the definition handles, and those that the compensation awaits
	Deadline bool   // it has one, so it can expire
}

// Open returns the commands whose outcomes are awaited, in the order in which they were sent. Of a command that undoes
// another it lists the acceptance alone: whatever else becomes of it holds the instance, as an UndoError.
func (m *Machine) Open() []OpenCommand {
	open := make([]OpenCommand, 0, len(m.sent))
	for _, s := range m.sent {
		c := OpenCommand{Instance: s.instance, Command: s.value, Deadline: !s.sent.Before.IsZero()}
		for _, kind := range []Kind{AcceptedInput, RejectedInput, FailedInput} {
			handled := m.router.outcomes[outcomeKey{kind, s.sent.Type}] != nil
			switch {
			case s.sent.Undoes > 0:
				handled = kind == AcceptedInput
			case s.sent.Undo != nil:
				handled = handled || kind != FailedInput || m.instances[s.instance].Compensating
			}
			if handled {
				c.Outcomes = append(c.Outcomes, kind)
			}
		}
		if len(c.Outcomes) > 0 {
			open = append(open, c)
		}
	}
	return open
}

// Fresh returns a machine of the same definition and options to which nothing has happened yet. It shares nothing that
// changes.
func (m *Machine) Fresh() *Machine {
	r := *m.router
	r.known = map[event.ID][]handling{}
	return newMachine(m.def, &r, m.options)
}
