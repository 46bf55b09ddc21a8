package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Step is one input handled by one instance, as React sees it: it collects what must ensue. Nothing leaves before the
// step is committed. Its methods return nothing: an effect that cannot be (a command that no module handles) fails the
// step, and the instance is retried and then held.
type Step struct {
	def     *Definition
	world   world
	inst    *Instance
	input   *Taken
	rec     *Record
	emitted []event.Event
	refused []Taken // inputs that refused claims become
	err     error
}

// world is what a step asks of the application around it.
type world interface {
	// command resolves a command: the module that handles it, its stable name and its payload. An empty module means the one that handles the type.
	command(module string, cmd any) (target, name string, data []byte, err error)
	// undo is command for one that is kept, to be sent when it is needed; undoing says that it is sent.
	undo(module string, cmd any) (target, name string, data []byte, err error)
	undoing(sent *Sent)
	// event encodes a domain event of the home module.
	event(fact any) (event.Event, error)
	// carried names the headers that go from input to command to event.
	carried() []string
	// holder returns the instance that has claimed a key; "" where none has.
	holder(k ClaimedKey) (instance string, err error)
	// stands returns where the process stands, for an instance, in its sources.
	stands(instance string) []Mark
}

// Instance returns the instance's key.
func (s *Step) Instance() string { return s.inst.Key }

// Now returns the instant of the input: the recorded-at of an event (its occurred-at under the replay clock), the due
// time of a timeout. It is never the clock's: a late engine decides what a punctual one would have decided.
func (s *Step) Now() time.Time { return s.input.Time }

// Emit appends a domain event of the process to the instance's stream, where anyone who reads the home log meets it.
func (s *Step) Emit(fact any) {
	e, err := s.world.event(fact)
	if err != nil {
		s.fail(fmt.Errorf("emit %T: %w", fact, err))
		return
	}
	if e.ID.IsZero() {
		e.ID = s.id("emit", len(s.emitted))
	}
	meta := s.metadata()
	for name, value := range e.Metadata.Headers {
		meta = meta.WithHeader(name, value)
	}
	e.Metadata = meta
	if e.Occurred.IsZero() {
		e.Occurred = s.Now()
	}
	s.emitted = append(s.emitted, e)
}

// Send sends a command to the one module of the application that handles its type.
func (s *Step) Send(cmd any, options ...SendOption) { s.SendTo("", cmd, options...) }

// SendTo sends a command to a module.
func (s *Step) SendTo(module string, cmd any, options ...SendOption) {
	var o sending
	for _, option := range options {
		option(&o)
	}
	before, err := o.deadline(s.Now())
	if err != nil {
		s.fail(fmt.Errorf("send %T: %w", cmd, err))
		return
	}
	if err := errors.Join(s.def.maySend(cmd), s.def.maySend(o.undo)); err != nil {
		s.fail(fmt.Errorf("send %T: %w", cmd, err))
		return
	}
	target, name, data, err := s.world.command(module, cmd)
	if err != nil {
		s.fail(fmt.Errorf("send %T: %w", cmd, err))
		return
	}
	n := len(s.rec.Sent)
	sent := Sent{ID: s.id("command", n), Number: s.inst.Sent + n + 1, Module: target, Type: name, Data: data,
		Metadata: s.metadata(), At: s.Now(), Before: before}
	if o.undo != nil {
		_, undo, data, err := s.world.undo(target, o.undo)
		if err != nil {
			s.fail(fmt.Errorf("undo %T by %T: %w", cmd, o.undo, err))
			return
		}
		sent.Undo = &Undoing{Type: undo, Data: data}
	}
	s.rec.Sent = append(s.rec.Sent, sent)
}

// After sets a timeout: the instance will take it as an input when d has passed since Now. The timeout's name is its
// type's; where several of a type are wanted at once, it has a method TimeoutKey() string. A timeout of the same name
// that was set before is replaced.
func (s *Step) After(d time.Duration, timeout any) { s.At(s.Now().Add(d), timeout) }

// At is After with an instant.
func (s *Step) At(due time.Time, timeout any) {
	typ, name, err := s.def.timeoutName(timeout)
	if err == nil && due.IsZero() {
		err = fmt.Errorf("timeout %q is due at the zero time", name)
	}
	var data []byte
	if err == nil {
		data, err = json.Marshal(timeout)
	}
	if err != nil {
		s.fail(fmt.Errorf("set timeout %T: %w", timeout, err))
		return
	}
	s.cancelFormer(timeout)
	t := Timer{Name: name, Type: typ, Due: event.Micro(due), Data: data, Metadata: s.metadata()}
	t.ID = s.id("timeout/"+name, len(s.rec.Set))
	s.rec.Cancelled = slices.DeleteFunc(s.rec.Cancelled, func(c string) bool { return c == name })
	s.rec.Set = append(slices.DeleteFunc(s.rec.Set, func(t Timer) bool { return t.Name == name }), t)
}

// Cancel cancels a timeout, found by its name: the type's, and its TimeoutKey if it has one. Cancelling what is not set
// does nothing.
func (s *Step) Cancel(timeout any) {
	_, name, err := s.def.timeoutName(timeout)
	if err != nil {
		s.fail(fmt.Errorf("cancel timeout %T: %w", timeout, err))
		return
	}
	s.cancelFormer(timeout)
	s.rec.Set = slices.DeleteFunc(s.rec.Set, func(t Timer) bool { return t.Name == name })
	if _, set := s.inst.timer(name); set && !slices.Contains(s.rec.Cancelled, name) {
		s.rec.Cancelled = append(s.rec.Cancelled, name)
	}
}

// Once is true the first time that the instance asks for key, and never again: it makes a rule on state act once.
func (s *Step) Once(key string) bool {
	if slices.Contains(s.inst.Once, key) || slices.Contains(s.rec.Once, key) {
		return false
	}
	s.rec.Once = append(s.rec.Once, key)
	return true
}

// Complete ends the instance: its timeouts are cancelled, and later inputs are recorded as ignored.
func (s *Step) Complete() { s.rec.Completed = true }

// Fail fails the step: nothing of it is committed, and the instance is retried and then held.
func (s *Step) Fail(err error) { s.fail(err) }

func (s *Step) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// id derives the id of the n-th effect of a kind. It depends on nothing but the step itself, so a step that is computed
// again after a crash has the same ids (G7).
func (s *Step) id(what string, n int) event.ID {
	return event.DeriveIDNear(s.input.ID, what, s.inst.Process, s.inst.Key, strconv.Itoa(s.incarnation()), string(s.input.ID[:]), strconv.Itoa(n))
}

func (s *Step) incarnation() int {
	if s.rec.Birth != nil {
		return s.rec.Birth.Incarnation
	}
	return s.inst.Incarnation
}

// metadata of what the step causes.
func (s *Step) metadata() event.Metadata {
	return s.input.Metadata.Carry(s.input.ID, s.world.carried())
}

// timeoutName returns the stable name of a timeout's type and the name of this one.
func (d *Definition) timeoutName(timeout any) (typ, name string, err error) {
	for _, h := range d.parts {
		if h.kind == TimeoutInput && h.goType == reflect.TypeOf(timeout) {
			if keyed, ok := timeout.(interface{ TimeoutKey() string }); ok {
				return h.name, h.name + ":" + keyed.TimeoutKey(), nil
			}
			return h.name, h.name, nil
		}
	}
	return "", "", fmt.Errorf("process %q does not handle it; add process.OnTimeout[…, %T]", d.name, timeout)
}

// cancelFormer cancels a timeout that was set when its type had another name.
func (s *Step) cancelFormer(timeout any) {
	for _, h := range s.def.parts {
		if h.kind != TimeoutInput || h.goType != reflect.TypeOf(timeout) {
			continue
		}
		for _, name := range h.former {
			if keyed, ok := timeout.(interface{ TimeoutKey() string }); ok {
				name += ":" + keyed.TimeoutKey()
			}
			if _, set := s.inst.timer(name); set && !slices.Contains(s.rec.Cancelled, name) {
				s.rec.Cancelled = append(s.rec.Cancelled, name)
			}
		}
	}
}

// stamp notes the definition's version in a step's record, where it is not the one before, and the state that was migrated.
func (d *Definition) stamp(inst *Instance, rec *Record) {
	if d.Version() != max(1, inst.Version) {
		rec.By = d.Version()
	}
	rec.Migrated, inst.turned = inst.turned, nil
}

// StepError is the failure of a step: an error of its effects, or a panic of Evolve or React.
type StepError struct {
	Process, Instance string
	Input             string // what was being taken
	Err               error
	Stack             string // of a panic
}

func (e *StepError) Error() string {
	return fmt.Sprintf("process %q, instance %q, %s: %v", e.Process, e.Instance, e.Input, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// handling is a fact with what the definition says of it.
type handling struct {
	in   *declared
	fact any
}

// part returns the part that handles the fact in a phase; nil where none does.
func (x handling) part(phase Phase) *handler { return x.in.choices[phase].part }

// step is the pure core: an instance takes an input, its state evolves and it decides. The instance is changed in
// place; after an error it must not be used any more.
func (d *Definition) step(w world, inst *Instance, t *Taken, birth *Birth, handlings []handling) (*Record, *Step, error) {
	return d.compute(w, inst, t, &Record{Input: *t, Birth: birth}, handlings)
}

// resume is step on an input that was deferred.
func (d *Definition) resume(w world, inst *Instance, t *Taken, handlings []handling) (*Record, *Step, error) {
	return d.compute(w, inst, t, &Record{Input: *t, Resumed: true, Cancelled: []string{deferredName(t)}}, handlings)
}

func (d *Definition) compute(w world, inst *Instance, t *Taken, rec *Record, handlings []handling) (_ *Record, s *Step, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &StepError{Process: d.name, Instance: inst.Key, Input: t.describe(), Err: fmt.Errorf("panic: %v", p), Stack: string(debug.Stack())}
		}
	}()
	d.stamp(inst, rec)
	s = &Step{def: d, world: w, inst: inst, input: t, rec: rec}
	phase, err := d.phase(inst)
	s.fail(err)
	if t.Kind == TimeoutInput { // it fired: Cancel and Once must see that it is gone
		inst.drop(t.Name, t.ID)
	}
	for _, x := range handlings {
		h := x.part(phase)
		if h == nil {
			continue
		}
		if h.evolve != nil {
			inst.State = h.evolve(inst.State, t, x.fact)
		}
		if h.react != nil {
			h.react(inst.State, t, x.fact, s)
		}
	}
	if !inst.Compensating && t.Kind != OperatorInput {
		for _, r := range d.rules {
			r(inst.State, s)
		}
	}
	s.compensate()
	if d.phaseOf != nil {
		after, err := d.phase(&Instance{Status: Running, State: inst.State})
		s.fail(err)
		if rec.Completed || rec.Compensating || inst.Compensating {
			after = PhaseCompleted
		}
		if after != phase {
			rec.Phase = after
		}
	}
	s.correlated()
	var around *worldError
	if errors.As(s.err, &around) {
		return nil, nil, around.error
	}
	if s.refused, err = s.refusals(); err != nil {
		s.fail(err)
	}
	if s.err != nil {
		return nil, nil, &StepError{Process: d.name, Instance: inst.Key, Input: t.describe(), Err: s.err}
	}
	if rec.Completed || rec.Compensating {
		rec.Set, rec.Cancelled = nil, nil // it cancels them all
	}
	rec.Emitted = len(s.emitted)
	inst.note(rec)
	return rec, s, nil
}

// evolve is the part of step that reading history repeats: state, and no effects (G13).
func (d *Definition) evolve(inst *Instance, rec *Record, handlings []handling) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &StepError{Process: d.name, Instance: inst.Key, Input: rec.Input.describe(), Err: fmt.Errorf("panic while reading history: %v", p), Stack: string(debug.Stack())}
		}
	}()
	if rec.evolves() {
		phase, err := d.phase(inst)
		if err != nil {
			return &StepError{Process: d.name, Instance: inst.Key, Input: rec.Input.describe(), Err: err}
		}
		for _, x := range handlings {
			if h := x.part(phase); h != nil && h.evolve != nil {
				inst.State = h.evolve(inst.State, &rec.Input, x.fact)
			}
		}
	}
	inst.note(rec)
	return nil
}
