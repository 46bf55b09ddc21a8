package process

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Status is where an instance is in its life.
type Status uint8

// The life of an instance. The numbers are stored: they never change.
const (
	New       Status = 0
	Running   Status = 1
	Completed Status = 2
)

func (s Status) String() string {
	switch s {
	case New:
		return "new"
	case Running:
		return "running"
	case Completed:
		return "completed"
	default:
		return fmt.Sprintf("Status(%d)", uint8(s))
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Status) UnmarshalText(text []byte) error {
	for _, known := range []Status{New, Running, Completed} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("process: %q is no status", text)
}

// Instance is one running copy of a process, with everything that decides how it takes its next input.
type Instance struct {
	Process      string
	Key          string
	Status       Status
	Incarnation  int          // 1 for its first life
	Version      int          // of the definition that decided on it last; 0 of one that is new
	State        any          // of the definition's state type
	Marks        []Mark       // per source: inputs up to it were decided
	Taken        []event.ID   // ids of the events it took, which recognise them when a log was exported and imported
	Timers       []Timer      // timeouts to come
	Deferred     []Taken      // inputs that it keeps for a later phase, in order
	Claims       []ClaimedKey // further keys that it has claimed
	Phase        Phase        // where its last step left it, of a process that declares phases
	Undos        []Undo       // commands that can be undone, in the order in which they were sent
	Compensating bool         // it was given up, and is undoing what it did
	Ending       Ending       // how it came to be completed
	Once         []string     // keys that Step.Once was asked for
	Sent         int          // commands it has sent
	Steps        int          // inputs it has taken, those that were ignored included
	Started      time.Time    // instant of its first input
	Changed      time.Time    // instant of its last input
	Token        uint64       // the store's own: what it compares when it saves

	turned json.RawMessage // State, where it was migrated and no step has recorded that
	unread error           // why State is not what its history says
}

// Mark is a high-water mark: the highest position of a source's log that was decided for an instance.
type Mark struct {
	Module   string            `json:"module"`
	Log      event.ID          `json:"log"`
	Position eventlog.Position `json:"position"`
}

// Timer is a timeout that was set and has neither fired nor been cancelled.
type Timer struct {
	Name     string         `json:"name"` // its type's name, with ":" and a key where several are wanted
	Type     string         `json:"type"`
	Due      time.Time      `json:"due"`
	ID       event.ID       `json:"id"` // identity of the input that it becomes
	Data     []byte         `json:"data,omitempty"`
	Metadata event.Metadata `json:"meta,omitzero"`
	Replaced *Correction    `json:"replaced,omitempty"` // an operator corrected the payload
}

// input returns the input that the timer becomes when it is due.
func (t *Timer) input() Taken {
	return Taken{Kind: TimeoutInput, ID: t.ID, Name: t.Name, Type: t.Type, Data: t.Data, Metadata: t.Metadata, Time: t.Due, Replaced: t.Replaced}
}

// timer returns the timer of that name.
func (i *Instance) timer(name string) (Timer, bool) {
	k := slices.IndexFunc(i.Timers, func(t Timer) bool { return t.Name == name })
	if k < 0 {
		return Timer{}, false
	}
	return i.Timers[k], true
}

// Duplicate tells whether the instance has decided the event already (G8): it stands at or below the source's mark or,
// where the source's log is another history than the marked one, its id was taken.
func (i *Instance) Duplicate(t *Taken) bool {
	k := slices.IndexFunc(i.Marks, func(m Mark) bool { return m.Module == t.Module })
	if k >= 0 && i.Marks[k].Log == t.Log {
		return t.Position <= i.Marks[k].Position
	}
	return slices.Contains(i.Taken, t.ID)
}

// mark moves the source's high-water mark; it never goes back within one history.
func (i *Instance) mark(m Mark) {
	k := slices.IndexFunc(i.Marks, func(have Mark) bool { return have.Module == m.Module })
	switch {
	case k < 0:
		i.Marks = append(i.Marks, m)
	case i.Marks[k].Log != m.Log:
		i.Marks[k] = m
	default:
		i.Marks[k].Position = max(i.Marks[k].Position, m.Position)
	}
}

// Record is what a step leaves: the input that it took and what was decided. It is the instance's history, whatever
// store keeps it.
type Record struct {
	Input        Taken    `json:"in"`
	Linked       bool     `json:"linked,omitempty"`    // the input is the linked event before this record; In has only what tells it apart
	Ignored      string   `json:"ignored,omitempty"`   // the rule by which it was ignored; then nothing else was decided
	Deferred     bool     `json:"deferred,omitempty"`  // it was put aside for a later phase, and nothing else was decided
	Resumed      bool     `json:"resumed,omitempty"`   // it had been deferred, and its phase has come
	Phase        Phase    `json:"phase,omitempty"`     // that the step left the instance in, where phases are declared
	Birth        *Birth   `json:"birth,omitempty"`     // the step that started the instance
	Set          []Timer  `json:"set,omitempty"`       // timeouts set, those of the same name replaced
	Cancelled    []string `json:"cancelled,omitempty"` // names of timeouts cancelled
	Once         []string `json:"once,omitempty"`
	Sent         []Sent   `json:"sent,omitempty"`
	Emitted      int      `json:"emitted,omitempty"` // events emitted, which stand before this record
	Completed    bool     `json:"completed,omitempty"`
	Compensating bool     `json:"compensating,omitempty"` // the instance was given up: it undoes what it did
	Ending       Ending   `json:"ending,omitempty"`       // of a completion

	Claimed   []ClaimedKey `json:"claimed,omitempty"`   // keys that were claimed
	Released  []ClaimedKey `json:"released,omitempty"`  // claims that ended; of a completion all
	Refused   []Refusal    `json:"refused,omitempty"`   // claims that were refused
	Marks     []Mark       `json:"marks,omitempty"`     // of a step that claimed: where the process stood in its sources
	Corrected bool         `json:"corrected,omitempty"` // an operator corrected the payload of a deferred input or a timeout that is set; nothing else was decided
	Why       string       `json:"why,omitempty"`       // the operator's reason
	Operator  string       `json:"operator,omitempty"`

	By       int             `json:"v,omitempty"`        // version of the definition that decided; 0 is that of the step before, 1 of the first
	Migrated json.RawMessage `json:"migrated,omitempty"` // the state before the input, turned from that of an older version
}

// evolves tells whether the state may have changed with the record.
func (r *Record) evolves() bool {
	return r.Ignored == "" && !r.Deferred && !r.Corrected && r.Input.Kind != OperatorInput
}

// Birth is what a starting step notes beside.
type Birth struct {
	Incarnation int    `json:"incarnation"`
	Marks       []Mark `json:"marks,omitempty"` // where the process stood in each of its sources
}

// Sent is a command that was decided, complete, so that its id is never derived again.
type Sent struct {
	ID       event.ID       `json:"id"`
	Number   int            `json:"number"` // among the instance's commands, from 1
	Module   string         `json:"module"` // that handles it
	Type     string         `json:"type"`
	Data     []byte         `json:"data"`
	Metadata event.Metadata `json:"meta,omitzero"`
	At       time.Time      `json:"at"`               // instant of the input that it was decided on
	Before   time.Time      `json:"before,omitzero"`  // its deadline at the receiver
	Undo     *Undoing       `json:"undo,omitempty"`   // what undoes it
	Undoes   int            `json:"undoes,omitempty"` // the number of the command that it undoes
}

// plain tells whether the record says no more than that its input was taken.
func (r *Record) plain() bool {
	return r.Ignored == "" && !r.Deferred && !r.Resumed && r.Phase == "" && r.Birth == nil && len(r.Set) == 0 && len(r.Cancelled) == 0 && len(r.Once) == 0 &&
		len(r.Sent) == 0 && r.Emitted == 0 && !r.Completed && !r.Compensating && r.By == 0 &&
		len(r.Claimed) == 0 && len(r.Released) == 0 && len(r.Refused) == 0 && !r.Corrected && r.Why == "" && r.Operator == ""
}

// note brings everything but the state up to date with a step: the same way live and when history is read again.
func (i *Instance) note(r *Record) {
	if r.Birth != nil {
		i.Status, i.Ending, i.Incarnation, i.Started = Running, "", r.Birth.Incarnation, r.Input.Time
		for _, m := range r.Birth.Marks {
			i.mark(m)
		}
	}
	i.Version = max(i.Version, r.By, 1)
	if r.Corrected {
		i.correct(&r.Input)
		return
	}
	i.Steps++
	i.Changed = r.Input.Time
	if r.Phase != "" {
		i.Phase = r.Phase
	}
	if r.Deferred {
		i.Deferred = append(i.Deferred, r.Input)
	}
	switch {
	case r.Resumed:
		i.Steps-- // it was counted when it was deferred
		i.Deferred = slices.DeleteFunc(slices.Clone(i.Deferred), func(t Taken) bool { return t.ID == r.Input.ID })
	case r.Input.Kind == EventInput:
		i.mark(Mark{Module: r.Input.Module, Log: r.Input.Log, Position: r.Input.Position})
		i.Taken = append(i.Taken, r.Input.ID)
	case r.Input.Kind == TimeoutInput:
		i.drop(r.Input.Name, r.Input.ID)
	}
	for _, name := range r.Cancelled {
		i.drop(name, event.ID{})
	}
	for _, t := range r.Set {
		i.drop(t.Name, event.ID{})
		i.Timers = append(i.Timers, t)
	}
	i.Once = append(i.Once, r.Once...)
	for _, m := range r.Marks {
		i.mark(m)
	}
	if len(r.Released) > 0 {
		i.Claims = slices.DeleteFunc(slices.Clone(i.Claims), func(k ClaimedKey) bool { return slices.Contains(r.Released, k) })
	}
	i.Claims = append(i.Claims, r.Claimed...)
	i.Sent += len(r.Sent)
	i.Undos = undosAfter(i.Undos, r)
	if r.Compensating {
		i.Compensating, i.Ending = true, r.Ending
		i.Timers = nil
	}
	if r.Completed {
		i.Status, i.Ending = Completed, r.Ending
		i.Timers = nil
	}
}

// correct puts another payload into an input that waits in the instance.
func (i *Instance) correct(in *Taken) {
	for n := range i.Timers {
		if t := &i.Timers[n]; t.ID == in.ID {
			i.Timers = slices.Clone(i.Timers)
			i.Timers[n].Data, i.Timers[n].Replaced = in.Data, in.Replaced
			return
		}
	}
	if k := slices.IndexFunc(i.Deferred, func(t Taken) bool { return t.ID == in.ID }); k >= 0 {
		i.Deferred = slices.Clone(i.Deferred)
		i.Deferred[k] = *in
	}
}

// drop removes the timer of that name, if its identity is the given one or none is given.
func (i *Instance) drop(name string, id event.ID) {
	i.Timers = slices.DeleteFunc(i.Timers, func(t Timer) bool { return t.Name == name && (id.IsZero() || t.ID == id) })
}

// image is an instance as one document.
type image struct {
	Status       Status          `json:"status"`
	Incarnation  int             `json:"incarnation"`
	State        json.RawMessage `json:"state"`
	Marks        []Mark          `json:"marks,omitempty"`
	Taken        []event.ID      `json:"taken,omitempty"`
	Timers       []Timer         `json:"timers,omitempty"`
	Deferred     []Taken         `json:"deferred,omitempty"`
	Claims       []ClaimedKey    `json:"claims,omitempty"`
	Phase        Phase           `json:"phase,omitempty"`
	Undos        []Undo          `json:"undos,omitempty"`
	Compensating bool            `json:"compensating,omitempty"`
	Ending       Ending          `json:"ending,omitempty"`
	Once         []string        `json:"once,omitempty"`
	Sent         int             `json:"sent,omitempty"`
	Steps        int             `json:"steps"`
	Started      time.Time       `json:"started"`
	Changed      time.Time       `json:"changed"`
	Version      int             `json:"v,omitempty"` // 0 is 1
}

// Image returns the instance as one JSON document, which Home.FromImage reads. Its members status, steps, started and
// changed are those of Summary.
func (i *Instance) Image() ([]byte, error) {
	state, err := json.Marshal(i.State)
	if err != nil {
		return nil, fmt.Errorf("process: state of %s: %w", Stream(i.Process, i.Key), err)
	}
	version := i.Version
	if version == 1 {
		version = 0
	}
	return json.Marshal(image{Version: version, Status: i.Status, Incarnation: i.Incarnation, State: state, Marks: i.Marks, Taken: i.Taken, Timers: i.Timers,
		Deferred: i.Deferred, Claims: i.Claims, Phase: i.Phase, Undos: i.Undos, Compensating: i.Compensating, Ending: i.Ending, Once: i.Once, Sent: i.Sent, Steps: i.Steps, Started: i.Started, Changed: i.Changed})
}

// FromImage returns the instance that Image made the document of. A document that cannot be read as the definition's state
// is a *StepError: its instance stands aside.
func (h Home) FromImage(key string, data []byte) (*Instance, error) {
	var m image
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, &StepError{Process: h.name, Instance: key, Input: "its image", Err: err}
	}
	m.Version = max(1, m.Version)
	if known := h.def.Version(); m.Version > known {
		return nil, &StepError{Process: h.name, Instance: key, Input: "its state", Err: &NewerVersionError{Process: h.name, Instance: key, Version: m.Version, Known: known}}
	}
	own, _ := h.router.folding(m.Version)
	state, err := own.def.state.decode(m.State)
	if err != nil {
		return nil, &StepError{Process: h.name, Instance: key, Input: "its state", Err: err}
	}
	return &Instance{Process: h.Process(), Key: key, Version: m.Version, Status: m.Status, Incarnation: m.Incarnation, State: state, Marks: m.Marks, Taken: m.Taken,
		Timers:   m.Timers,
		Deferred: m.Deferred, Claims: m.Claims, Phase: m.Phase, Undos: m.Undos, Compensating: m.Compensating, Ending: m.Ending, Once: m.Once, Sent: m.Sent, Steps: m.Steps, Started: m.Started, Changed: m.Changed}, nil
}
