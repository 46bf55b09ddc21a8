package process

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Decision is what became of one input at one instance.
type Decision struct {
	Instance string // "" for an event that found no key
	Kind     Kind   //
	Row      string // of the input in Definition.Table; "" for an outcome that the compensation alone awaits
	Phase    Phase  // in which it found the instance
	Input    any    // the event, the timeout, the Rejected[C], the Accepted[C, R], the Failed[C] or the ClaimTaken
	At       time.Time
	Verdict  Verdict //
	Effects  []Effect
}

// Verdict says what became of an input.
type Verdict string

// The verdicts.
const (
	VerdictHandled    Verdict = "handled"
	VerdictDuplicate  Verdict = "a duplicate"
	VerdictNoKey      Verdict = "ignored: no key"
	VerdictNoInstance Verdict = "ignored: no instance"
	VerdictCompleted  Verdict = "ignored: completed"
	VerdictDeferred   Verdict = "deferred"
	VerdictFailed     Verdict = "failed"
	VerdictQueued     Verdict = "queued: an earlier step of the instance failed"
)

// Effect is one thing that must ensue.
type Effect struct {
	Kind     EffectKind
	Value    any            // the command, the event, the timeout or the ClaimedKey; nil of a completion
	ID       event.ID       // of the command, the event or the timeout
	Module   string         // of a command: as SendTo named it
	Name     string         // of a timeout: with its key
	Due      time.Time      // of a timeout
	Before   time.Time      // of a command: its deadline; zero for none
	Metadata event.Metadata // of the command, the event or the timeout
}

// EffectKind says what an effect is.
type EffectKind string

// The kinds of effects.
const (
	EffectSent         EffectKind = "sent"
	EffectEmitted      EffectKind = "emitted"
	EffectSet          EffectKind = "set"
	EffectCancelled    EffectKind = "cancelled"
	EffectCompleted    EffectKind = "completed"
	EffectCompensating EffectKind = "compensating"
	EffectClaimed      EffectKind = "claimed"
	EffectReleased     EffectKind = "released" // by Release; a completion releases all
)

// UnhandledError reports an input that a definition has no part for.
type UnhandledError struct {
	Process string
	Kind    Kind
	GoType  reflect.Type
	Hint    string
}

func (e *UnhandledError) Error() string {
	return fmt.Sprintf("process %q does not handle %v %v; %s", e.Process, e.Kind, e.GoType, e.Hint)
}

// NotSentError reports the outcome of a command that the process has not sent, or that has its outcome already.
type NotSentError struct {
	Process string
	Command any
	Open    []any // commands that were sent and have no outcome yet
}

func (e *NotSentError) Error() string {
	return fmt.Sprintf("process %q has not sent %T%+v, or it has its outcome already; without an outcome are: %+v", e.Process, e.Command, e.Command, e.Open)
}

// step computes a step and takes note of what must ensue.
func (m *Machine) step(x *machineInstance, in *Taken, birth *Birth, handlings []handling) error {
	return m.compute(x, in, &Record{Input: *in, Birth: birth}, handlings)
}

func (m *Machine) compute(x *machineInstance, in *Taken, rec *Record, handlings []handling) error {
	m.effects = nil
	phase, _ := m.def.phase(&x.Instance) // a mistake of it is the step's
	timers := slices.DeleteFunc(slices.Clone(x.Timers), func(t Timer) bool { return t.Type == deferredTimeout })
	rec, s, err := m.def.compute((*machineWorld)(m), &x.Instance, in, rec, handlings)
	if err == nil && x.again != nil {
		err = m.verify(x, rec, handlings)
	}
	d := Decision{Instance: x.Key, Kind: in.Kind, Row: row(handlings), Phase: phase, Input: m.fact(handlings), At: in.Time, Verdict: VerdictHandled}
	if err != nil {
		x.failed = true
		d.Verdict = VerdictFailed
		m.decisions = append(m.decisions, d)
		return err
	}
	sent, emitted := 0, 0
	for n := range m.effects {
		e := &m.effects[n]
		if e.Kind == EffectSent {
			cmd := &rec.Sent[sent]
			e.ID, e.Metadata, e.Before = cmd.ID, cmd.Metadata, cmd.Before
			if m.awaited(cmd.Type) || cmd.awaited() {
				m.sent = append(m.sent, sentCommand{x.Key, e.Value, *cmd})
			}
			sent++
			continue
		}
		ev := &s.emitted[emitted]
		e.ID, e.Metadata = ev.ID, ev.Metadata
		m.comeBack(e.Value, ev)
		emitted++
	}
	for _, timer := range rec.Set {
		heap.Push(&m.soon, due{at: timer.Due, instance: x.Key, name: timer.Name, id: timer.ID})
		if err := m.timeoutEffect(EffectSet, timer); err != nil {
			return err
		}
	}
	for _, timer := range timers {
		if slices.Contains(rec.Cancelled, timer.Name) {
			if err := m.timeoutEffect(EffectCancelled, timer); err != nil {
				return err
			}
		}
	}
	if err := m.correlate(x, rec, s); err != nil {
		return err
	}
	if rec.Compensating {
		m.effects = append(m.effects, Effect{Kind: EffectCompensating})
	}
	if rec.Completed {
		m.effects = append(m.effects, Effect{Kind: EffectCompleted})
	}
	d.Effects = m.effects
	m.decisions = append(m.decisions, d)
	return nil
}

// fact returns what an input stands for: the command itself where only the compensation awaits its outcome.
func (m *Machine) fact(handlings []handling) any {
	if len(handlings) == 0 {
		return m.about
	}
	return handlings[0].fact
}

// row names the row of Definition.Table that an input stands in.
func row(handlings []handling) string {
	if len(handlings) == 0 {
		return ""
	}
	return handlings[0].in.String()
}

// awaited tells whether the definition handles outcomes of commands of that name.
func (m *Machine) awaited(name string) bool {
	return slices.ContainsFunc([]Kind{RejectedInput, AcceptedInput, FailedInput}, func(k Kind) bool { return m.router.outcomes[outcomeKey{k, name}] != nil })
}

func (m *Machine) timeoutEffect(kind EffectKind, timer Timer) error {
	in := timer.input()
	handlings, err := m.router.decode(&in)
	if err != nil {
		return err
	}
	m.effects = append(m.effects, Effect{Kind: kind, Value: handlings[0].fact, ID: timer.ID, Name: timer.Name, Due: timer.Due, Metadata: timer.Metadata})
	return nil
}

// comeBack queues an emitted event that the process handles itself.
func (m *Machine) comeBack(fact any, e *event.Event) {
	h := m.router.onEvent(m.options.Home, reflect.TypeOf(fact))
	if h == nil {
		return
	}
	in := Taken{Kind: EventInput, ID: e.ID, Module: m.options.Home, Type: e.Type, Schema: 1, Metadata: e.Metadata, Occurred: event.Micro(e.Occurred), Recorded: m.now, Time: m.now}
	if m.options.Replay {
		in.Time = in.Occurred
	}
	m.place(&in)
	m.back = append(m.back, machineInput{in, []handling{{h, fact}}})
}

// verify evolves the step again, as reading history does.
func (m *Machine) verify(x *machineInstance, rec *Record, handlings []handling) error {
	if err := m.def.evolve(x.again, rec, handlings); err != nil {
		return err
	}
	if reflect.DeepEqual(x.State, x.again.State) {
		return nil
	}
	return &StepError{Process: m.def.name, Instance: x.Key, Input: rec.Input.describe(), Err: fmt.Errorf(
		"the state is %+v, but becomes %+v when history is read again: Evolve must depend on state and input alone, and React must not change the state (mind maps, slices and pointers in it)", x.State, x.again.State)}
}

// machineWorld is the world of a step that a machine computes: names are those of Go types, and payloads are JSON.
type machineWorld Machine

func (w *machineWorld) command(module string, cmd any) (target, name string, data []byte, err error) {
	name, data, err = encodeValue(cmd)
	if err == nil {
		w.effects = append(w.effects, Effect{Kind: EffectSent, Value: cmd, Module: module})
	}
	return module, name, data, err
}

func (w *machineWorld) undo(module string, cmd any) (target, name string, data []byte, err error) {
	name, data, err = encodeValue(cmd)
	w.undos[name+" "+string(data)] = cmd
	return module, name, data, err
}

func (w *machineWorld) undoing(s *Sent) {
	w.effects = append(w.effects, Effect{Kind: EffectSent, Value: w.undos[s.Type+" "+string(s.Data)], Module: s.Module})
}

func (w *machineWorld) event(fact any) (event.Event, error) {
	draft, ok := fact.(event.Draft)
	if !ok {
		draft.Fact = fact
	}
	name, data, err := encodeValue(draft.Fact)
	if err != nil {
		return event.Event{}, err
	}
	w.effects = append(w.effects, Effect{Kind: EffectEmitted, Value: draft.Fact})
	return event.Event{ID: draft.ID, Type: name, Schema: 1, Data: data, Metadata: event.Metadata{Headers: draft.Headers}, Tags: draft.Tags, Occurred: occurred(draft)}, nil
}

func (w *machineWorld) carried() []string { return w.options.Carried }

func encodeValue(v any) (name string, data []byte, err error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() == reflect.Pointer {
		return "", nil, errors.New("commands and events are values, not pointers")
	}
	data, err = json.Marshal(v)
	return t.String(), data, err
}
