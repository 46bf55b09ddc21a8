package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Report is what a backtest found. As JSON it keeps its member names.
type Report struct {
	Process     string               `json:"process"`
	Instances   int                  `json:"instances"`        // that were tried
	Steps       int                  `json:"steps"`            // recorded ones, of these instances
	Differing   int                  `json:"differing"`        // instances
	Pinned      int                  `json:"pinned,omitempty"` // instances beside these that stay with the version that decided on them (Pin): they are not tried
	Differences []InstanceDifference `json:"differences"`
}

// InstanceDifference is how one instance would have gone on another way: the first step that differs, and the end.
type InstanceDifference struct {
	Instance    string           `json:"instance"`
	Step        int              `json:"step,omitempty"` // of its history, from 1; 0 where the steps are the same and only the state differs
	Input       string           `json:"input,omitempty"`
	Time        time.Time        `json:"time,omitzero"`  // the instant of the input
	Left        string           `json:"left,omitempty"` // why the candidate does not take the input
	Differences []Difference     `json:"differences,omitempty"`
	Recorded    Status           `json:"recorded"`  // where the recorded instance is now
	Candidate   Status           `json:"candidate"` // where the candidate's would be
	State       *StateDifference `json:"state,omitempty"`
	Notes       []string         `json:"notes,omitempty"` // what the backtest had to assume, the first 20
}

// Difference is one thing that one side decides and the other doesn't, or decides otherwise.
type Difference struct {
	What      What     `json:"what"`
	Name      string   `json:"name,omitempty"`      // of the command, the event or the timeout
	Recorded  *Decided `json:"recorded,omitempty"`  // nil where only the candidate decides it
	Candidate *Decided `json:"candidate,omitempty"` // nil where only the recorded step decided it
	Error     string   `json:"error,omitempty"`     // of the candidate
}

// What says what a difference is about.
type What string

// What may differ. The words are part of the JSON: they never change.
const (
	DifferentCommand    What = "command"
	DifferentTimeout    What = "timeout"
	DifferentCancel     What = "cancel"
	DifferentEvent      What = "event"
	DifferentCompletion What = "completion"
	DifferentOrder      What = "order" // the same commands, or events, in another order
	DifferentError      What = "error"
)

// Decided is what one side decided.
type Decided struct {
	Module string     `json:"module,omitempty"` // of a command
	Data   Payload    `json:"data,omitempty"`   // of a command, an event or a timeout
	Due    *time.Time `json:"due,omitempty"`    // of a timeout
	Undo   *Undoes    `json:"undo,omitempty"`   // of a command: what undoes it
}

// Undoes is the command that undoes another one.
type Undoes struct {
	Name string  `json:"name"`
	Data Payload `json:"data,omitempty"`
}

func (u *Undoes) same(o *Undoes) bool {
	return u == nil && o == nil || u != nil && o != nil && u.Name == o.Name && samePayload(u.Data, o.Data)
}

// Payload is a payload as it is stored: JSON where the codec makes that, otherwise it is quoted.
type Payload []byte

// MarshalJSON implements json.Marshaler.
func (p Payload) MarshalJSON() ([]byte, error) {
	if json.Valid(p) {
		return p, nil
	}
	return json.Marshal(string(p))
}

// StateDifference is the last state on both ways, as JSON.
type StateDifference struct {
	Recorded  json.RawMessage `json:"recorded"`
	Candidate json.RawMessage `json:"candidate"`
}

// String writes the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d instances differ, in %d steps\n", r.Process, r.Differing, r.Instances, r.Steps)
	if r.Pinned > 0 {
		fmt.Fprintf(&b, "%d are pinned to an older version, and were not tried\n", r.Pinned)
	}
	for n := range r.Differences {
		b.WriteString("\n" + r.Differences[n].String())
	}
	if more := r.Differing - len(r.Differences); more > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", more)
	}
	return b.String()
}

// String writes the difference for people, a line for each thing: "-" is what was decided, "+" what would be.
func (d InstanceDifference) String() string {
	var b strings.Builder
	b.WriteString(d.Instance)
	if d.Step > 0 {
		fmt.Fprintf(&b, ", step %d, %s, %s", d.Step, d.Time.UTC().Format(time.RFC3339), d.Input)
	}
	b.WriteByte('\n')
	if d.Left != "" {
		fmt.Fprintf(&b, "  not taken: %s\n", d.Left)
	}
	for _, x := range d.Differences {
		b.WriteString(x.lines())
	}
	if d.Recorded != d.Candidate {
		fmt.Fprintf(&b, "  it is %v, and would be %v\n", d.Recorded, d.Candidate)
	}
	for _, note := range d.Notes {
		fmt.Fprintf(&b, "  note: %s\n", note)
	}
	if s := d.State; s != nil {
		fmt.Fprintf(&b, "  - state %s\n  + state %s\n", s.Recorded, s.Candidate)
	}
	return b.String()
}

// lines writes one or two lines: what was decided, and what would be.
func (d Difference) lines() string {
	if d.What == DifferentError {
		first, _, _ := strings.Cut(d.Error, "\n")
		return fmt.Sprintf("  + error %s\n", first)
	}
	if d.What == DifferentOrder {
		return fmt.Sprintf("  + %ss in another order\n", d.Name)
	}
	line := func(sign string, x *Decided) string {
		if x == nil {
			return ""
		}
		text := "  " + sign + " " + string(d.What)
		if d.Name != "" {
			text += " " + d.Name
		}
		if x.Module != "" {
			text += " to " + x.Module
		}
		if x.Due != nil {
			text += " due " + x.Due.UTC().Format(time.RFC3339)
		}
		if len(x.Data) > 0 {
			text += " " + strings.ToValidUTF8(string(x.Data), "\uFFFD")
		}
		if x.Undo != nil {
			text += ", undone by " + x.Undo.Name + " " + strings.ToValidUTF8(string(x.Undo.Data), "\uFFFD")
		}
		return text + "\n"
	}
	return line("-", d.Recorded) + line("+", d.Candidate)
}

// differences compares two steps.
func differences(was, got *decided) (list []Difference) {
	commands := func(all []Sent) (named []namedDecision) {
		for n := range all {
			d := namedDecision{all[n].Type, Decided{Module: all[n].Module, Data: all[n].Data}}
			if undo := all[n].Undo; undo != nil {
				d.Undo = &Undoes{Name: undo.Type, Data: undo.Data}
			}
			named = append(named, d)
		}
		return named
	}
	events := func(all []event.Event) (named []namedDecision) {
		for n := range all {
			named = append(named, namedDecision{all[n].Type, Decided{Data: all[n].Data}})
		}
		return named
	}
	list = append(list, inOrder(DifferentCommand, commands(was.sent), commands(got.sent))...)
	list = append(list, inOrder(DifferentEvent, events(was.emitted), events(got.emitted))...)
	for _, side := range []*decided{was, got} { // what bounds a deferred input is no decision
		side.set = slices.DeleteFunc(slices.Clone(side.set), func(t Timer) bool { return t.Type == deferredTimeout })
		side.cancelled = slices.DeleteFunc(slices.Clone(side.cancelled), func(name string) bool { return strings.HasPrefix(name, deferredTimeout) })
	}
	if !was.completed || !got.completed { // where one completes, its timeouts are gone: the completion says it
		list = append(list, timeouts(was.set, got.set)...)
	}
	for _, name := range was.cancelled {
		if !slices.Contains(got.cancelled, name) && !got.completed {
			list = append(list, Difference{What: DifferentCancel, Name: name, Recorded: &Decided{}})
		}
	}
	for _, name := range got.cancelled {
		if !slices.Contains(was.cancelled, name) && !was.completed {
			list = append(list, Difference{What: DifferentCancel, Name: name, Candidate: &Decided{}})
		}
	}
	switch {
	case was.completed && !got.completed:
		list = append(list, Difference{What: DifferentCompletion, Recorded: &Decided{}})
	case got.completed && !was.completed:
		list = append(list, Difference{What: DifferentCompletion, Candidate: &Decided{}})
	}
	return list
}

// namedDecision is a command or an event.
type namedDecision struct {
	name string
	Decided
}

func (d *namedDecision) same(o *namedDecision) bool {
	return d.name == o.name && d.Module == o.Module && samePayload(d.Data, o.Data) && d.Undo.same(o.Undo)
}

// inOrder compares what goes out in an order. What is there on both sides is no difference; of what is left, two of one
// name are one that changed.
func inOrder(what What, was, got []namedDecision) (list []Difference) {
	left := slices.Clone(got)
	find := func(d *namedDecision, same func(a, b *namedDecision) bool) (found namedDecision, ok bool) {
		k := slices.IndexFunc(left, func(o namedDecision) bool { return same(d, &o) })
		if k >= 0 {
			found, ok = left[k], true
			left = slices.Delete(left, k, k+1)
		}
		return found, ok
	}
	var missing []namedDecision
	for n := range was {
		if _, ok := find(&was[n], (*namedDecision).same); !ok {
			missing = append(missing, was[n])
		}
	}
	for n := range missing {
		d := Difference{What: what, Name: missing[n].name, Recorded: &missing[n].Decided}
		if changed, ok := find(&missing[n], func(a, b *namedDecision) bool { return a.name == b.name }); ok {
			d.Candidate = &changed.Decided
		}
		list = append(list, d)
	}
	for n := range left {
		list = append(list, Difference{What: what, Name: left[n].name, Candidate: &left[n].Decided})
	}
	if len(list) == 0 && !slices.EqualFunc(was, got, func(a, b namedDecision) bool { return a.same(&b) }) {
		list = append(list, Difference{What: DifferentOrder, Name: string(what)})
	}
	return list
}

// timeouts compares the timeouts that two steps set, by their names.
func timeouts(was, got []Timer) (list []Difference) {
	decided := func(t Timer) *Decided { return &Decided{Data: t.Data, Due: &t.Due} }
	named := func(name string) func(Timer) bool { return func(t Timer) bool { return t.Name == name } }
	for _, t := range was {
		k := slices.IndexFunc(got, named(t.Name))
		switch {
		case k < 0:
			list = append(list, Difference{What: DifferentTimeout, Name: t.Name, Recorded: decided(t)})
		case !got[k].Due.Equal(t.Due) || !samePayload(got[k].Data, t.Data):
			list = append(list, Difference{What: DifferentTimeout, Name: t.Name, Recorded: decided(t), Candidate: decided(got[k])})
		}
	}
	for _, t := range got {
		if !slices.ContainsFunc(was, named(t.Name)) {
			list = append(list, Difference{What: DifferentTimeout, Name: t.Name, Candidate: decided(t)})
		}
	}
	return list
}

// samePayload tells whether two payloads are the same bytes or the same JSON.
func samePayload(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	read := func(data []byte) (v any, ok bool) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		return v, d.Decode(&v) == nil
	}
	x, ok := read(a)
	y, also := read(b)
	return ok && also && reflect.DeepEqual(x, y)
}
