package process

import (
	"fmt"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Kind says what an input is.
type Kind uint8

// The kinds of inputs. The numbers are stored: they never change.
const (
	EventInput    Kind = 1 // an event of a module
	TimeoutInput  Kind = 2 // a timeout that the instance set
	RejectedInput Kind = 3 // the rejection of a command that the instance sent
	AcceptedInput Kind = 4 // the success of a command that the instance sent
	FailedInput   Kind = 5 // the end of a command that the instance sent and that was given up, or came past its deadline
	ClaimInput    Kind = 6 // the refusal of a claim, since another instance had the key
	OperatorInput Kind = 7 // what an operator did with the instance; no definition handles it
)

func (k Kind) String() string {
	switch k {
	case EventInput:
		return "event"
	case TimeoutInput:
		return "timeout"
	case RejectedInput:
		return "rejected"
	case AcceptedInput:
		return "accepted"
	case FailedInput:
		return "failed"
	case ClaimInput:
		return "claim"
	case OperatorInput:
		return "operator"
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

// Input is what Evolve and React are given: a fact with what is known about it.
type Input[E any] struct {
	Event    E              // the event, the timeout, or the outcome
	ID       event.ID       // the input's identity: of an event its own
	Module   string         // where an event comes from
	Position event.Position // of an event, in its module's log
	Metadata event.Metadata // of the event; of a timeout or an outcome that of the input that set or sent it
	Time     time.Time      // the instant of the input: what Step.Now returns
	Occurred time.Time      // of an event: when it happened in the world
	Recorded time.Time      // of an event: when its log took it
}

func inputOf[E any](t *Taken, fact any) Input[E] {
	return Input[E]{Event: fact.(E), ID: t.ID, Module: t.Module, Position: t.Position, Metadata: t.Metadata,
		Time: t.Time, Occurred: t.Occurred, Recorded: t.Recorded}
}

// Taken is an input as it is kept: in the record of the step that took it, or in the queue while it waits.
type Taken struct {
	Kind     Kind              `json:"kind"`
	ID       event.ID          `json:"id"`
	Module   string            `json:"module,omitempty"`   // events: the source
	Log      event.ID          `json:"log,omitzero"`       // events: the history of the source's log
	Position eventlog.Position `json:"position,omitempty"` // events: in the source's log
	Stream   string            `json:"stream,omitempty"`   // events: where it was appended
	Type     string            `json:"type"`               // stable name of the event, timeout or command
	Schema   int               `json:"schema,omitempty"`
	Data     []byte            `json:"data,omitempty"` // payload of the event, timeout or command
	Metadata event.Metadata    `json:"meta,omitzero"`
	Time     time.Time         `json:"time"` // the input's instant, which decides
	Occurred time.Time         `json:"occurred,omitzero"`
	Recorded time.Time         `json:"recorded,omitzero"`

	Name      string             `json:"name,omitempty"` // timeouts: the whole name, with its key
	Command   event.ID           `json:"command,omitzero"`
	Result    []byte             `json:"result,omitempty"`
	Rejection *command.Rejection `json:"rejection,omitempty"`
	Again     bool               `json:"again,omitempty"`   // an operator lets an undo that was not accepted be sent again
	Reason    string             `json:"reason,omitempty"`  // of a command that failed
	Expired   bool               `json:"expired,omitempty"` // it failed since it came past its deadline

	Replaced *Correction `json:"replaced,omitempty"` // an operator corrected the payload
	late     bool        // it comes behind events of its log that were decided before
}

// Correction is what an input held before an operator corrected it, and why that was done. Its id and its place in the
// log stay those of the original.
type Correction struct {
	Data      []byte             `json:"data,omitempty"`
	Result    []byte             `json:"result,omitempty"`
	Rejection *command.Rejection `json:"rejection,omitempty"`
	Reason    string             `json:"reason"`
	By        string             `json:"by,omitempty"`
	At        time.Time          `json:"at"`
}

// describe names the input for messages.
func (t *Taken) describe() string {
	switch t.Kind {
	case EventInput:
		return fmt.Sprintf("event %q %s at position %d of module %q", t.Type, t.ID, t.Position, t.Module)
	case TimeoutInput:
		return fmt.Sprintf("timeout %q due %s", t.Name, t.Time.Format(time.RFC3339Nano))
	case ClaimInput:
		return fmt.Sprintf("the refusal of a claim of %q", t.Type)
	case OperatorInput:
		return fmt.Sprintf("an operator's %s", t.Type)
	default:
		return fmt.Sprintf("%v command %q %s", t.Kind, t.Type, t.Command)
	}
}

// event returns the envelope of a taken event, for decoding.
func (t *Taken) event() event.Event {
	return event.Event{ID: t.ID, Type: t.Type, Schema: t.Schema, Data: t.Data, Metadata: t.Metadata, Occurred: t.Occurred}
}
