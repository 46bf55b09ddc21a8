package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// payload is what an event or a command holds, as JSON where it is JSON.
type payload struct {
	Data   json.RawMessage `json:"data,omitempty"`
	Data64 []byte          `json:"data64,omitempty"` // what is no JSON
}

func payloadOf(data []byte) payload {
	switch {
	case len(data) == 0:
		return payload{}
	case json.Valid(data):
		return payload{Data: data}
	default:
		return payload{Data64: data}
	}
}

// String writes the payload in one line.
func (d payload) String() string {
	if d.Data != nil {
		var b bytes.Buffer
		if json.Compact(&b, d.Data) == nil {
			return b.String()
		}
	}
	if utf8.Valid(d.Data64) {
		return string(d.Data64)
	}
	return fmt.Sprintf("(%d bytes)", len(d.Data64))
}

// lines writes the payload in as many lines as it takes.
func (d payload) lines(indent string) string {
	if d.Data != nil {
		var b bytes.Buffer
		if json.Indent(&b, d.Data, indent, "  ") == nil {
			lines := strings.Split(b.String(), "\n")
			for i := range lines {
				lines[i] = clean(lines[i])
			}
			return indent + strings.Join(lines, "\n")
		}
	}
	return indent + clean(d.String())
}

// eventView is an event as it is shown.
type eventView struct {
	Module   string         `json:"module"`
	Position event.Position `json:"position"`
	Stream   string         `json:"stream"`
	Version  event.Version  `json:"version"`
	Origin   *placeView     `json:"origin,omitempty"` // where a link leads
	Type     string         `json:"type"`
	Schema   int            `json:"schema"`
	System   bool           `json:"system,omitempty"`
	ID       event.ID       `json:"id"`
	Occurred time.Time      `json:"occurred"`
	Recorded time.Time      `json:"recorded"`
	Meta     metaView       `json:"metadata"`
	Tags     []event.Tag    `json:"tags,omitempty"`
	Step     *stepView      `json:"step,omitempty"` // in place of the payload, where it is the record of a step
	payload
}

type placeView struct {
	Stream  string        `json:"stream"`
	Version event.Version `json:"version"`
}

type metaView = event.Metadata

func viewOf(module string, r event.Recorded) eventView {
	v := eventView{Module: module, Position: r.Position, Stream: r.Stream, Version: r.Version, Type: r.Type, Schema: r.Schema, System: r.IsSystem(),
		ID: r.ID, Occurred: r.Occurred, Recorded: r.Recorded, Meta: r.Metadata, Tags: r.Tags}
	if r.IsLink() {
		v.Origin = &placeView{r.Origin.Stream, r.Origin.Version}
	}
	if r.Type == process.RecordType {
		var rec process.Record
		if json.Unmarshal(r.Data, &rec) == nil {
			step := stepOf(&rec)
			v.Step = &step
			return v
		}
	}
	v.payload = payloadOf(r.Data)
	return v
}

// summary is the event's payload in one line.
func (v *eventView) summary() string {
	if v.Step != nil {
		return v.Step.summary()
	}
	return v.payload.String()
}

// stepView is a step of an instance as it is shown.
type stepView struct {
	Input     inputView      `json:"input"`
	Linked    bool           `json:"linked,omitempty"` // the input is the link in front of it
	Starts    int            `json:"starts,omitempty"` // the incarnation that it starts
	Ignored   string         `json:"ignored,omitempty"`
	Sent      []commandView  `json:"sent,omitempty"`
	Set       []timeoutView  `json:"set,omitempty"`
	Cancelled []string       `json:"cancelled,omitempty"`
	Once      []string       `json:"once,omitempty"`
	Emitted   int            `json:"emitted,omitempty"`
	Completed bool           `json:"completed,omitempty"`
	Ending    process.Ending `json:"ending,omitempty"`
	GivenUp   bool           `json:"compensating,omitempty"` // from here on, the instance undoes what it did
	Corrected bool           `json:"corrected,omitempty"`    // an operator corrected an input that waits in the instance
	Reason    string         `json:"reason,omitempty"`       // the operator's
	By        string         `json:"by,omitempty"`

	Claimed  []process.ClaimedKey `json:"claimed,omitempty"`
	Released []process.ClaimedKey `json:"released,omitempty"`
	Refused  []process.ClaimTaken `json:"refused,omitempty"`
}

// inputView is an input of an instance as it is shown.
type inputView struct {
	Kind      string             `json:"kind"`
	ID        event.ID           `json:"id"`
	Type      string             `json:"type,omitempty"`
	Module    string             `json:"module,omitempty"`
	Position  eventlog.Position  `json:"position,omitempty"`
	Stream    string             `json:"stream,omitempty"`
	Name      string             `json:"name,omitempty"`
	Command   event.ID           `json:"command,omitzero"`
	Rejection *command.Rejection `json:"rejection,omitempty"`
	Reason    string             `json:"reason,omitempty"`  // of a command that failed
	Expired   bool               `json:"expired,omitempty"` // since it came past its deadline
	Time      time.Time          `json:"time"`
	Replaced  *replacedView      `json:"replaced,omitempty"`
	payload
}

// commandView is a command that an instance sent, as it is shown.
type commandView struct {
	Number    int                `json:"number"`
	ID        event.ID           `json:"id"`
	Type      string             `json:"type"`
	Module    string             `json:"module"`
	Sent      time.Time          `json:"sent"`
	Before    time.Time          `json:"before,omitzero"`  // its deadline
	Undoes    int                `json:"undoes,omitempty"` // the number of the command that it undoes
	Status    string             `json:"status,omitempty"` // of its receipt, or "pending", "lost" or "unknown"
	Handled   *time.Time         `json:"handled,omitempty"`
	Rejection *command.Rejection `json:"rejection,omitempty"`
	Reason    string             `json:"reason,omitempty"`
	Result    *payload           `json:"result,omitempty"`
	payload
}

// timeoutView is a timeout to come, as it is shown.
type timeoutView struct {
	Name string    `json:"name"`
	Due  time.Time `json:"due"`
	ID   event.ID  `json:"id"`
	payload
}

func stepOf(r *process.Record) stepView {
	v := stepView{Input: inputOf(&r.Input), Linked: r.Linked, Ignored: r.Ignored, Cancelled: r.Cancelled, Once: r.Once, Emitted: r.Emitted, Completed: r.Completed,
		Ending: r.Ending, GivenUp: r.Compensating, Corrected: r.Corrected, Reason: r.Why, By: r.Operator, Claimed: r.Claimed, Released: r.Released}
	for i := range r.Refused {
		v.Refused = append(v.Refused, r.Refused[i].ClaimTaken)
	}
	if r.Birth != nil {
		v.Starts = r.Birth.Incarnation
	}
	for i := range r.Sent {
		v.Sent = append(v.Sent, commandOf(&r.Sent[i]))
	}
	for _, t := range r.Set {
		v.Set = append(v.Set, timeoutOf(t))
	}
	return v
}

func inputOf(t *process.Taken) inputView {
	return inputView{Kind: t.Kind.String(), ID: t.ID, Type: t.Type, Module: t.Module, Position: t.Position, Stream: t.Stream, Name: t.Name,
		Command: t.Command, Rejection: t.Rejection, Reason: t.Reason, Expired: t.Expired, Time: t.Time, Replaced: replacedOf(t.Replaced), payload: payloadOf(t.Data)}
}

// replacedView is what an input held before an operator corrected it.
type replacedView struct {
	Reason    string             `json:"reason"`
	By        string             `json:"by,omitempty"`
	Rejection *command.Rejection `json:"rejection,omitempty"`
	payload
}

func replacedOf(r *process.Correction) *replacedView {
	if r == nil {
		return nil
	}
	data := r.Data
	if data == nil {
		data = r.Result
	}
	return &replacedView{Reason: r.Reason, By: r.By, Rejection: r.Rejection, payload: payloadOf(data)}
}

func commandOf(s *process.Sent) commandView {
	return commandView{Number: s.Number, ID: s.ID, Type: s.Type, Module: s.Module, Sent: s.At, Before: s.Before, Undoes: s.Undoes, payload: payloadOf(s.Data)}
}

func timeoutOf(t process.Timer) timeoutView {
	return timeoutView{Name: t.Name, Due: t.Due, ID: t.ID, payload: payloadOf(t.Data)}
}

// String names the input.
func (v *inputView) String() string {
	switch {
	case v.Kind == "timeout":
		return "timeout " + v.Name
	case v.Expired:
		return v.Type + " expired"
	case v.Kind == "operator":
		return "operator: " + v.Type
	case v.Kind != "event":
		return fmt.Sprintf("%s %s", v.Type, v.Kind)
	case v.Type == "":
		return "event " + v.ID.String() // a linked one, whose envelope stands in front
	default:
		return fmt.Sprintf("event %s, %s at %d", v.Type, v.Module, v.Position)
	}
}

// effects writes what a step decided, one line for each effect.
func (v *stepView) effects() (lines []string) {
	if v.Ignored != "" {
		lines = append(lines, "ignored: "+v.Ignored)
	}
	if v.Starts == 1 {
		lines = append(lines, "starts the instance")
	} else if v.Starts > 1 {
		lines = append(lines, fmt.Sprintf("starts the instance again, for the %d. time", v.Starts))
	}
	if v.Emitted > 0 {
		lines = append(lines, "emits "+count(v.Emitted, "event", "events"))
	}
	if v.GivenUp {
		lines = append(lines, "gives the instance up: what can be undone is undone")
	}
	for i := range v.Sent {
		c, undoes := &v.Sent[i], ""
		if c.Undoes > 0 {
			undoes = fmt.Sprintf(", which undoes command %d", c.Undoes)
		}
		lines = append(lines, fmt.Sprintf("sends command %d, %s to %s", c.Number, c.Type, c.Module)+undoes+c.outcome())
	}
	for _, t := range v.Set {
		lines = append(lines, fmt.Sprintf("sets timeout %s, due %s", t.Name, at(t.Due)))
	}
	for _, name := range v.Cancelled {
		lines = append(lines, "cancels timeout "+name)
	}
	for _, key := range v.Once {
		lines = append(lines, "does "+key+", once")
	}
	for _, k := range v.Claimed {
		lines = append(lines, "claims "+k.String())
	}
	for _, k := range v.Refused {
		lines = append(lines, fmt.Sprintf("claims %s %q, which %s has", k.Name, k.Key, k.By))
	}
	for _, k := range v.Released {
		lines = append(lines, "releases "+k.String())
	}
	switch {
	case v.Completed && v.Ending != process.Ended:
		lines = append(lines, "completes the instance: "+string(v.Ending))
	case v.Completed:
		lines = append(lines, "completes the instance")
	}
	if v.Corrected {
		lines = append(lines, "is corrected, and waits on")
	}
	if r := v.Input.Replaced; r != nil {
		lines = append(lines, fmt.Sprintf("corrected by %s: %s; it was %s", r.By, r.Reason, r.payload.String()))
	}
	if v.Reason != "" && !v.Corrected {
		lines = append(lines, fmt.Sprintf("by %s: %s", v.By, v.Reason))
	}
	return lines
}

// summary writes the step in one line.
func (v *stepView) summary() string {
	input := "takes " + v.Input.String()
	if v.Linked {
		input = "takes the link before it"
	}
	return strings.Join(append([]string{input}, v.effects()...), "; ")
}

// outcome writes what became of a command, behind a colon.
func (v *commandView) outcome() string {
	switch {
	case v.Status == "":
		return ""
	case v.Rejection != nil:
		return fmt.Sprintf(": %v", v.Rejection)
	case v.Reason != "":
		return ": " + v.Status + ": " + v.Reason
	default:
		return ": " + v.Status
	}
}
