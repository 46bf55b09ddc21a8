// Package process runs process managers: durable, event-sourced decision makers that read the logs of several modules,
// remember where they stand in each, decide what must ensue, and issue commands, timeouts and events, each with an effect
// that happens exactly once, whatever crashes in between.
//
// The smallest useful definition confirms an order once customer and caterer both confirmed its menu, in either order:
//
//	var CateringMatch = process.Define("catering-match",
//		process.On[Match, CustomerConfirmedMenu]{
//			Starts: true,
//			Locate: process.Key(func(e CustomerConfirmedMenu) string { return e.OrderID }),
//			Evolve: func(m Match, _ process.Input[CustomerConfirmedMenu]) Match { m.Customer = true; return m },
//		},
//		process.On[Match, CatererConfirmedMenu]{
//			Starts: true,
//			Locate: process.Key(func(e CatererConfirmedMenu) string { return e.OrderID }),
//			Evolve: func(m Match, _ process.Input[CatererConfirmedMenu]) Match { m.Caterer = true; return m },
//		},
//		process.React(func(m Match, do *process.Step) {
//			if m.Customer && m.Caterer {
//				do.Send(ConfirmOrder{OrderID: do.Instance()})
//				do.Complete()
//			}
//		}),
//	)
//
// A step is a pure function of the definition, the instance and the input (step.go). The Engine around it reads, batches,
// commits and dispatches: engine.go is its frame, term.go the loop, take.go what becomes of each input, batch.go the commit.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Definition is the definition of a process: what starts an instance, what it handles, how an input finds its
// instance, how state evolves and how it reacts. It is a value without side effects; make it with Define.
type Definition struct {
	name      string
	parts     []*handler
	inputs    []*declared // of the parts, each once
	rules     []func(state any, do *Step)
	state     stateType
	phases    []Phase
	phaseOf   func(state any) Phase // nil where no phases are declared
	otherwise Policy
	deferral  Deferral
	sends     []reflect.Type       // nil where what is sent is not declared
	onErr     func(Failure) Remedy // nil where the default policy decides alone
	errs      []error
	evolution
}

// Part is a part of a definition over the state S: On, OnTimeout, OnRejected, OnAccepted, OnFailed, OnTaken, or the result
// of React, Phases, Sends or OnError.
type Part[S any] interface {
	define(*Definition, *S) // names S, so that it can be inferred
}

// Define makes the definition of a process out of its parts. The state type follows from them: parts of two state types
// do not compile together. Mistakes are kept and returned by Check, all at once.
//
// The name is stable: it is the category of the instances' streams and stands in the ids of commands.
func Define[S any](name string, parts ...Part[S]) Definition {
	d := Definition{name: name, state: stateOf[S](), deferral: DefaultDeferral}
	if err := checkName(name); err != nil {
		d.mistake("%w", err)
	}
	for _, p := range parts {
		if p == nil {
			d.mistake("a part is nil")
			continue
		}
		p.define(&d, nil)
	}
	return d
}

// ready returns the definition with everything that follows from its parts, and its mistakes.
func (d Definition) ready() (Definition, error) {
	errs := slices.Clone(d.errs)
	if d.name == "" {
		errs = append(errs, errors.New("a process needs a name; make it with process.Define"))
	}
	for _, h := range d.parts {
		errs = append(errs, h.check()...)
	}
	errs = append(errs, d.complete()...)
	errs = append(errs, d.checkTimeouts()...)
	starts := false
	for _, in := range d.inputs {
		errs = append(errs, in.check()...)
		starts = starts || in.starts()
	}
	if !starts && d.name != "" {
		errs = append(errs, errors.New("no input starts an instance; set Starts on at least one On"))
	}
	errs = append(errs, d.checkEvolution()...)
	if t := d.Table(); t.Holes() > 0 {
		errs = append(errs, &PolicyError{Table: t})
	}
	if len(errs) == 0 {
		return d, nil
	}
	return d, &DefinitionError{Process: d.name, Mistakes: errs}
}

// Name returns the process's name.
func (d Definition) Name() string { return d.name }

// Check returns every mistake of the definition, joined; nil if there is none. Open does the same.
func (d Definition) Check() error {
	_, err := d.ready()
	return err
}

// DefinitionError lists the mistakes of a definition.
type DefinitionError struct {
	Process  string
	Mistakes []error
}

func (e *DefinitionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "process %q:", e.Process)
	for _, m := range e.Mistakes {
		fmt.Fprintf(&b, "\n\t%v", m)
	}
	return b.String()
}

func (e *DefinitionError) Unwrap() []error { return e.Mistakes }

func (d *Definition) mistake(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf(format, args...))
}

func checkName(name string) error {
	if err := event.CheckTypeName(name); err != nil {
		return fmt.Errorf("the process's name %q is not 1 to 200 letters, digits or -._: (and does not begin with %s)", name, event.SystemPrefix)
	}
	return nil
}

// Stream returns the name of the stream of one instance in the process's home log.
func Stream(process, instance string) string { return process + "/" + instance }

// checkInstance tells what is wrong with an instance's key, which a locator made out of an input.
func checkInstance(process, key string) error {
	if isAside(key) {
		return &eventlog.NameError{What: "instance", Name: key, Reason: "begins as only the holds of events do that are held by themselves"}
	}
	if err := eventlog.CheckStream(Stream(process, key)); err != nil {
		return err
	}
	if n := len(queueKey(process, key, 0)); n > eventlog.MaxEntryKey {
		return &eventlog.NameError{What: "instance", Name: key[:20] + "…", Reason: fmt.Sprintf("needs %d bytes, with its %% and / escaped; %d are possible", n, eventlog.MaxEntryKey)}
	}
	return nil
}

// stateType is what the engine needs to know of S.
type stateType struct {
	goType reflect.Type
	zero   func() any
	decode func([]byte) (any, error)
}

func stateOf[S any]() stateType {
	return stateType{
		goType: reflect.TypeFor[S](),
		zero:   func() any { var s S; return s },
		decode: func(data []byte) (any, error) { var s S; err := json.Unmarshal(data, &s); return s, err },
	}
}

// inputKey is what tells the inputs of a definition apart.
type inputKey struct {
	kind   Kind
	goType reflect.Type
	name   string // of a timeout, or of claimed keys
	module string // of an event, where On names it
}

// handler is one part of a definition that handles an input, without its type parameters.
type handler struct {
	kind       Kind
	goType     reflect.Type // of the event, the timeout or the command
	name       string       // stable name, of timeouts and claimed keys
	former     []string     // names that it had before, of timeouts
	module     string
	starts     bool
	in         []Phase // where the part handles it; nil for wherever nothing else is chosen
	ignore     []Phase
	postpone   []Phase
	hold       []Phase
	noInstance Policy
	completed  Policy
	locate     func(fact any, m event.Metadata) []string
	claim      string                      // the name of claimed keys, where locate returns such
	fact       func(t *Taken) (any, error) // makes the fact of a timeout or outcome out of what was taken
	evolve     func(state any, t *Taken, fact any) any
	react      func(state any, t *Taken, fact any, do *Step)
}

func (h *handler) key() inputKey {
	return inputKey{kind: h.kind, goType: h.goType, name: h.name, module: h.module}
}

func (h *handler) String() string {
	switch {
	case h.kind == TimeoutInput:
		return fmt.Sprintf("timeout %q", h.name)
	case h.kind == ClaimInput:
		return fmt.Sprintf("refused claim of %q", h.name)
	case h.module != "":
		return fmt.Sprintf("%v %v of module %q", h.kind, h.goType, h.module)
	default:
		return fmt.Sprintf("%v %v", h.kind, h.goType)
	}
}

func (h *handler) check() (errs []error) {
	if h.evolve == nil && h.react == nil && !h.starts && (h.in == nil || len(h.in) > 0) {
		errs = append(errs, fmt.Errorf("%s: has neither Evolve nor React, so it does nothing", h))
	}
	if h.noInstance == Handle || h.completed == Handle || h.completed == Defer {
		errs = append(errs, fmt.Errorf("%s: NoInstance is process.Ignore, Defer or Hold (an input that starts an instance has Starts); Completed is Ignore or Hold", h))
	}
	if h.kind == TimeoutInput {
		for _, name := range append([]string{h.name}, h.former...) {
			if err := event.CheckTypeName(name); err != nil {
				errs = append(errs, fmt.Errorf("timeout %v: its Name has 1 to 200 letters, digits or -._: and is not %q", h.goType, name))
			}
		}
	}
	if h.kind == ClaimInput && event.CheckTypeName(h.name) != nil {
		errs = append(errs, fmt.Errorf("OnTaken: its Name has 1 to 200 letters, digits or -._: and is not %q", h.name))
	}
	return errs
}

func (in *declared) check() (errs []error) {
	if in.kind != EventInput {
		return nil
	}
	if in.locator().locate == nil {
		errs = append(errs, fmt.Errorf("%s: has no Locate; say how it finds its instance by process.Key, Keys, Header or Claimed", in))
	}
	if name := in.locator().claim; in.locator().locate != nil && in.claimed() {
		if event.CheckTypeName(name) != nil {
			errs = append(errs, fmt.Errorf("%s: the name of claimed keys has 1 to 200 letters, digits or -._: and is not %q", in, name))
		}
		if in.starts() {
			errs = append(errs, fmt.Errorf("%s: it is located by process.Claimed, and who has claimed a key has started: leave Starts out", in))
		}
	}
	for _, h := range in.parts {
		if h.starts && h.noInstance != 0 {
			errs = append(errs, fmt.Errorf("%s: starts an instance, so NoInstance never applies; leave it out", in))
		}
	}
	return errs
}

// Description is what is kept of a definition in its home log, so that it can be shown without the program.
type Description struct {
	Process    string             `json:"process"`        // the name under which it is kept, which all functions here take
	Name       string             `json:"name,omitempty"` // its name of today, where it was renamed
	Version    int                `json:"version"`
	Home       string             `json:"home"`
	Sources    []string           `json:"sources"`
	Inputs     []InputDescription `json:"inputs"`
	Partitions int                `json:"partitions"`
	Clock      string             `json:"clock"`              // "wall" or "replay"
	Store      string             `json:"store"`              // "streams", "documents", or the Go type of another
	Phases     []Phase            `json:"phases,omitempty"`   // in the order of an input's Choices; of earlier programs none
	Deferral   *Deferral          `json:"deferral,omitempty"` // what bounds Defer, where anything is deferred; of earlier programs none
}

// InputDescription describes one input of a definition.
type InputDescription struct {
	Kind       Kind     `json:"kind"`
	Name       string   `json:"name"`             // stable name of the event, timeout or command
	Former     []string `json:"former,omitempty"` // names that a timeout or command had before
	Module     string   `json:"module,omitempty"`
	Starts     bool     `json:"starts,omitempty"`
	Claim      string   `json:"claim,omitempty"` // of an event that is located by a claimed key: its name
	NoInstance Policy   `json:"noInstance,omitempty"`
	Choices    []Policy `json:"choices,omitempty"` // what becomes of it, by phase
}
