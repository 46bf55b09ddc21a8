package process

import (
	"fmt"
	"reflect"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Fact is an event on its way into a machine.
type Fact struct {
	Event    any            // the event, or an event.Draft of it
	ID       event.ID       // what is given again under the same id is a duplicate; zero makes one up
	Module   string         // where it comes from; needed only where On.Module tells parts of the definition apart
	Metadata event.Metadata // beside the headers of a draft
	At       time.Time      // its instant; zero is where the clock stands. The clock never goes back
}

// machineModule is a module's log as a machine has it: positions and nothing else.
type machineModule struct {
	log   event.ID
	head  event.Position
	known map[event.ID]event.Position // of events that were given with an id
}

// input makes the input of a fact.
func (m *Machine) input(f Fact) (machineInput, error) {
	draft, ok := f.Event.(event.Draft)
	if !ok {
		draft.Fact = f.Event
	}
	h, err := m.handler(f.Module, reflect.TypeOf(draft.Fact))
	if err != nil {
		return machineInput{}, err
	}
	in := Taken{Kind: EventInput, ID: f.ID, Module: f.Module, Type: h.goType.String(), Schema: 1, Metadata: f.Metadata, Occurred: event.Micro(occurred(draft)), Recorded: event.Micro(f.At)}
	if in.Module == "" {
		in.Module = h.module
	}
	for name, value := range draft.Headers {
		in.Metadata = in.Metadata.WithHeader(name, value)
	}
	if in.ID.IsZero() {
		in.ID = draft.ID
	}
	if in.Recorded.IsZero() {
		in.Recorded = m.now
	}
	if in.Occurred.IsZero() {
		in.Occurred = in.Recorded
	}
	in.Time = in.Recorded
	if m.options.Replay {
		in.Time = in.Occurred
	}
	return machineInput{in, []handling{{h, draft.Fact}}}, nil
}

// occurred returns when a fact happened, if it is known; as event.Registry.Encode does.
func occurred(draft event.Draft) time.Time {
	if dated, ok := draft.Fact.(event.Dated); ok && draft.Occurred.IsZero() {
		return dated.OccurredAt()
	}
	return draft.Occurred
}

// handler returns the part of the definition that handles events of a Go type.
func (m *Machine) handler(module string, goType reflect.Type) (*declared, error) {
	if h := m.router.onEvent(module, goType); h != nil {
		return h, nil
	}
	unhandled := &UnhandledError{Process: m.def.name, Kind: EventInput, GoType: goType}
	var found *declared
	for _, h := range m.def.inputs {
		switch {
		case h.kind == EventInput && goType != nil && goType.Kind() == reflect.Pointer && h.goType == goType.Elem():
			unhandled.Hint = "give the value, not a pointer to it"
		case h.kind == TimeoutInput && h.goType == goType:
			unhandled.Hint = "it is a timeout: it fires by itself when the clock has advanced to its due time"
		case h.kind == EventInput && h.goType == goType && module != "":
			unhandled.Hint = fmt.Sprintf("it does so from module %q, not from %q", h.module, module)
		case h.kind == EventInput && h.goType == goType && found != nil:
			unhandled.Hint = "say which module it comes from: the definition handles it from several"
			return nil, unhandled
		case h.kind == EventInput && h.goType == goType:
			found = h
		}
	}
	if found != nil {
		return found, nil
	}
	if unhandled.Hint == "" {
		unhandled.Hint = fmt.Sprintf("add process.On[…, %v]", goType)
	}
	return nil, unhandled
}

// place gives the input its place in its module's log: the one that it has, if it was given before.
func (m *Machine) place(in *Taken) {
	log := m.modules[in.Module]
	if log == nil {
		log = &machineModule{log: event.DeriveID("machine", in.Module), known: map[event.ID]event.Position{}}
		m.modules[in.Module] = log
	}
	in.Log = log.log
	if in.ID.IsZero() {
		m.made++
		in.ID = madeID(m.made)
	} else if at, ok := log.known[in.ID]; ok {
		in.Position = at
		return
	} else {
		log.known[in.ID] = log.head + 1
	}
	log.head++
	in.Position = log.head
}

// madeID returns the n-th id that is made up: a valid UUID (version 8) that is the same in every run.
func madeID(n uint64) event.ID {
	id := event.ID{6: 0x80, 8: 0x80}
	for k := 15; n > 0; k-- {
		id[k] = byte(n)
		n >>= 8
	}
	return id
}
