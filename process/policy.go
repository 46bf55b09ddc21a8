package process

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phase is a named region of an instance's state, declared by Phases.
type Phase string

// The phases that every process has. One that declares none has Active between them.
const (
	PhaseNone      Phase = "no instance" // there is no instance with the key yet
	PhaseActive    Phase = "active"      // running, of a process that declares no phases
	PhaseCompleted Phase = "completed"
)

// In lists phases: On{In: process.In(Placed, Reserved), …}.
func In(phases ...Phase) []Phase { return phases }

// Policy says what becomes of an input in a phase.
type Policy uint8

// The policies. There is no default: a pair of a phase and an input without a choice is a mistake of the definition.
//
// An input that names only a claimed key, and that is ignored while another worker's instance is about to claim that key, is
// counted as ignored and may be taken by that instance, once: its worker has not come to it yet, and there it is behind the
// claim.
const (
	Ignore Policy = 1 // it is of no interest: recorded with the instance (counted, where there is none), and never applied later
	Defer  Policy = 2 // it is kept, in order, until a phase comes in which it is handled or ignored; bounded by Deferral
	Hold   Policy = 3 // it must not come here: the instance is held with it, for an operator to decide
	Handle Policy = 4 // Evolve and React are asked; where there is no instance, it starts one
)

var policyNames = []string{"undeclared", "ignore", "defer", "hold", "handle"}

func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Policy) UnmarshalText(text []byte) error {
	k := slices.Index(policyNames, string(text))
	if k < 0 {
		return fmt.Errorf("process: %q is no policy", text)
	}
	*p = Policy(k) // #nosec G115 -- five names
	return nil
}

// Deferral bounds what Defer keeps, for each instance (or key, where there is no instance).
type Deferral struct {
	Most   int           `json:"most"`   // inputs; 0 for DefaultDeferral's
	Within time.Duration `json:"within"` // how long one waits, from its own instant; 0 for DefaultDeferral's. Without an instance, by the wall clock alone
	Then   Policy        `json:"then"`   // what becomes of one too many, or that waited too long: Hold (the default) or Ignore
}

// DefaultDeferral is what applies where a definition says nothing.
var DefaultDeferral = Deferral{Most: 1000, Within: 30 * 24 * time.Hour, Then: Hold}

// Deferring bounds what Defer keeps.
func (d Definition) Deferring(bounds Deferral) Definition {
	if bounds.Then != 0 && bounds.Then != Hold && bounds.Then != Ignore || bounds.Most < 0 || bounds.Within < 0 {
		d.errs = append(slices.Clip(d.errs), fmt.Errorf("Deferring(%+v): Then is process.Hold or process.Ignore, and nothing is negative", bounds))
		return d
	}
	if bounds.Most > 0 {
		d.deferral.Most = bounds.Most
	}
	if bounds.Within > 0 {
		d.deferral.Within = bounds.Within
	}
	if bounds.Then != 0 {
		d.deferral.Then = bounds.Then
	}
	return d
}

// Otherwise is the choice for every pair of a phase and an input that no part of the definition makes: Ignore, Hold, or
// Defer (which means Ignore once the instance is completed).
func (d Definition) Otherwise(p Policy) Definition {
	if p != Ignore && p != Defer && p != Hold {
		d.errs = append(slices.Clip(d.errs), fmt.Errorf("Otherwise(%v): it is process.Ignore, Defer or Hold", p))
		return d
	}
	d.otherwise = p
	return d
}

// Phases declares the phases of a process, and how an instance's state tells in which one it is: a pure function.
func Phases[S any](of func(S) Phase, phases ...Phase) Part[S] { return phasing[S]{of, phases} }

type phasing[S any] struct {
	of     func(S) Phase
	phases []Phase
}

func (p phasing[S]) define(d *Definition, _ *S) {
	switch {
	case d.phaseOf != nil:
		d.mistake("Phases is there twice")
	case p.of == nil || len(p.phases) == 0:
		d.mistake("Phases needs a function and at least one phase")
	default:
		d.phaseOf = func(state any) Phase { return p.of(state.(S)) }
	}
	for n, phase := range p.phases {
		if phase == "" || phase == PhaseNone || phase == PhaseActive || phase == PhaseCompleted || slices.Contains(p.phases[:n], phase) {
			d.mistake("phase %q is there twice, empty, or the name of one that every process has", phase)
		}
	}
	d.phases = p.phases
}

// places returns all phases, in the order of the table.
func (d *Definition) places() []Phase {
	if d.phaseOf == nil {
		return []Phase{PhaseNone, PhaseActive, PhaseCompleted}
	}
	return append(append([]Phase{PhaseNone}, d.phases...), PhaseCompleted)
}

// phase returns the phase that an instance is in. One that was not declared is a mistake of the function.
func (d *Definition) phase(i *Instance) (Phase, error) {
	switch {
	case i.Status == New:
		return PhaseNone, nil
	case i.Status == Completed, i.Compensating:
		return PhaseCompleted, nil
	case d.phaseOf == nil:
		return PhaseActive, nil
	}
	p := d.phaseOf(i.State)
	if !slices.Contains(d.phases, p) {
		return p, fmt.Errorf("the state is in phase %q, which Phases does not declare", p)
	}
	return p, nil
}

// declared is what a definition says of one input: which part handles it, and what becomes of it elsewhere.
type declared struct {
	inputKey
	parts   []*handler
	choices map[Phase]choice // of every phase, once the definition has been completed
}

type choice struct {
	policy Policy
	part   *handler // of Handle
}

// complete makes the table of choices out of the parts. It returns the mistakes.
func (d *Definition) complete() (errs []error) {
	d.inputs = nil
	for _, h := range d.parts {
		k := slices.IndexFunc(d.inputs, func(in *declared) bool { return in.inputKey == h.key() })
		if k < 0 {
			k = len(d.inputs)
			d.inputs = append(d.inputs, &declared{inputKey: h.key(), choices: map[Phase]choice{}})
		}
		d.inputs[k].parts = append(d.inputs[k].parts, h)
	}
	for _, in := range d.inputs {
		errs = append(errs, in.choose(d)...)
	}
	return errs
}

// choose collects the choices of an input's parts. Two choices for one phase are a mistake.
func (in *declared) choose(d *Definition) (errs []error) {
	places := d.places()
	put := func(h *handler, phase Phase, p Policy) {
		switch have, chosen := in.choices[phase]; {
		case !slices.Contains(places, phase):
			errs = append(errs, fmt.Errorf("%s: there is no phase %q; there are %q", h, phase, places))
		case chosen && have.policy == Handle && p == Handle && have.part != h:
			errs = append(errs, fmt.Errorf("%s is handled twice in phase %q", h, phase))
		case chosen && (have.policy != p || have.part == h):
			errs = append(errs, fmt.Errorf("%s: two choices for phase %q: %v and %v", h, phase, have.policy, p))
		case p == Handle:
			in.choices[phase] = choice{Handle, h}
		default:
			in.choices[phase] = choice{policy: p}
		}
	}
	everywhere := 0 // parts that name no phase
	for _, h := range in.parts {
		if h.in == nil {
			if everywhere++; everywhere > 1 {
				errs = append(errs, fmt.Errorf("%s is handled twice; say by In where each part does", h))
				continue
			}
		}
		for policy, phases := range map[Policy][]Phase{Handle: h.in, Ignore: h.ignore, Defer: h.postpone, Hold: h.hold} {
			for _, phase := range phases {
				put(h, phase, policy)
			}
		}
		if h.starts {
			put(h, PhaseNone, Handle)
		}
		if h.noInstance != 0 && !h.starts { // that is a mistake of its own
			put(h, PhaseNone, h.noInstance)
		}
		if h.completed != 0 {
			put(h, PhaseCompleted, h.completed)
		}
	}
	if k := slices.IndexFunc(in.parts, func(h *handler) bool { return h.in == nil }); k >= 0 { // it handles the input wherever nothing else was chosen
		for _, phase := range places[1 : len(places)-1] {
			if in.choices[phase].policy == 0 {
				in.choices[phase] = choice{Handle, in.parts[k]}
			}
		}
	}
	in.fill(d, places)
	return errs
}

// fill makes the choices that are not the author's: of what cannot come, and Otherwise.
func (in *declared) fill(d *Definition, places []Phase) {
	for _, phase := range places {
		if in.choices[phase].policy != 0 {
			continue
		}
		p := d.otherwise
		switch {
		case in.kind != EventInput && phase == PhaseNone, in.kind == TimeoutInput && phase == PhaseCompleted:
			p = Ignore // there is nobody that it could be for
		case phase == PhaseCompleted && p == Defer:
			p = Ignore
		}
		if p != 0 {
			in.choices[phase] = choice{policy: p}
		}
	}
}

// starts tells whether the input starts an instance.
func (in *declared) starts() bool { return in.choices[PhaseNone].policy == Handle }

// locator returns the part that says how the input finds its instance.
func (in *declared) locator() *handler {
	for _, h := range in.parts {
		if h.locate != nil {
			return h
		}
	}
	return in.parts[0]
}

// claimed tells whether the input finds its instance by a key that this has claimed.
func (in *declared) claimed() bool { return in.locator().claim != "" }

func (in *declared) String() string { return in.parts[0].String() }

// fate says what becomes of an input at an instance: of several facts, any that is handled decides, then any that must not
// come, then any that is kept.
func (d *Definition) fate(i *Instance, in *Taken, facts []handling) (Policy, Phase, error) {
	phase, err := d.phase(i)
	if err != nil {
		return 0, phase, err
	}
	if i.Compensating && i.Status == Running && in.isOutcome() {
		return Handle, phase, nil // the compensation goes on with it
	}
	p := Ignore
	for _, order := range []Policy{Defer, Hold, Handle} {
		if slices.ContainsFunc(facts, func(x handling) bool { return x.in.choices[phase].policy == order }) {
			p = order
		}
	}
	return p, phase, nil
}

// errDeferred says why an input that was deferred waits no longer.
func (d *Definition) errDeferred(in *Taken, why string) error {
	return &UnexpectedError{Why: fmt.Sprintf("%s was deferred, and %s", in.describe(), why)}
}

// PolicyError reports pairs of a phase and an input without a choice, by the whole table.
type PolicyError struct{ Table Table }

func (e *PolicyError) Error() string {
	return fmt.Sprintf("%d pairs of a phase and an input have no choice (???): list the phase in In, Ignore, Defer or Hold of its On, set NoInstance or Completed there, or add .Otherwise(process.Ignore) to the definition\n%s",
		e.Table.Holes(), e.Table)
}

// Table says what becomes of every input in every phase.
type Table struct {
	Phases []Phase    `json:"phases"` // the columns
	Rows   []TableRow `json:"rows"`
}

// TableRow is one input of a table.
type TableRow struct {
	Input   string   `json:"input"`
	Choices []Policy `json:"choices"` // by phase; 0 is a hole
}

// Table returns the definition's table of choices.
func (d Definition) Table() Table {
	if d.inputs == nil {
		_ = d.complete()
	}
	t := Table{Phases: d.places()}
	for _, in := range d.inputs {
		row := TableRow{Input: in.String(), Choices: make([]Policy, len(t.Phases))}
		for n, phase := range t.Phases {
			row.Choices[n] = in.choices[phase].policy
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Holes returns how many pairs have no choice.
func (t Table) Holes() (n int) {
	for _, row := range t.Rows {
		for _, p := range row.Choices {
			if p == 0 {
				n++
			}
		}
	}
	return n
}

// String shows the table in columns, holes as ???.
func (t Table) String() string {
	lines := make([][]string, 1, len(t.Rows)+1)
	lines[0] = []string{""}
	for _, phase := range t.Phases {
		lines[0] = append(lines[0], string(phase))
	}
	for _, row := range t.Rows {
		line := []string{row.Input}
		for n, p := range row.Choices {
			word := p.String()
			switch {
			case p == 0:
				word = "???"
			case p == Handle && t.Phases[n] == PhaseNone:
				word = "start"
			}
			line = append(line, word)
		}
		lines = append(lines, line)
	}
	widths := make([]int, len(t.Phases)+1)
	for _, line := range lines {
		for n, cell := range line {
			widths[n] = max(widths[n], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		text := ""
		for n, cell := range line {
			text += cell + strings.Repeat(" ", widths[n]-len([]rune(cell))+2)
		}
		b.WriteString("\t" + strings.TrimRight(text, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// UnexpectedError is why an instance is held with an input for which its definition declares Hold.
type UnexpectedError struct {
	Phase Phase
	Why   string // of an input that was deferred
}

func (e *UnexpectedError) Error() string {
	if e.Why != "" {
		return e.Why
	}
	return fmt.Sprintf("it must not come in phase %q (the definition says Hold)", e.Phase)
}
