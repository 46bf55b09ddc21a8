package process

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
)

// Prospect is a possible next input of an instance, and what becomes of it if it comes next. It follows from what the
// definition declares; what Evolve and React do with an input that is handled, only they know.
type Prospect struct {
	Kind    Kind       `json:"kind"`             // EventInput, TimeoutInput, or the outcome of a command
	Name    string     `json:"name"`             // stable name of the event or command; of a timeout the whole one, with its key
	Module  string     `json:"module,omitempty"` // an event's source, a command's receiver
	Claim   string     `json:"claim,omitempty"`  // the name of the claimed keys by which an event finds the instance
	Number  int        `json:"number,omitempty"` // of the command, among the instance's
	Command command.ID `json:"command,omitzero"`
	Due     time.Time  `json:"due,omitzero"` // of a timeout

	Policy   Policy    `json:"would,omitempty"`    // what becomes of it; 0 where nothing says so
	Starts   bool      `json:"starts,omitempty"`   // it starts the instance
	Queues   bool      `json:"queues,omitempty"`   // first it queues, since the instance stands aside; Policy is that of the phase as it is now
	Deferred int       `json:"deferred,omitempty"` // of Defer: so many are deferred already
	Bounds   *Deferral `json:"bounds,omitempty"`   // of Defer, where they are known
	Why      string    `json:"why,omitempty"`      // where Policy does not follow from the phase alone

	Handling *Handling `json:"handling,omitempty"` // of Handle, where the definition is at hand

	place int // of what the description says of it; -1 for nothing
}

// Handling is what a definition has for an input that it handles.
type Handling struct {
	Evolves bool     `json:"evolves"`           // the state may change
	Decides bool     `json:"decides"`           // something may ensue
	MaySend []string `json:"maySend,omitempty"` // commands, where process.Sends declares them
}

// Prospects returns what each input that can be an instance's next one would meet, by what is kept of the definition: the
// events that find the instance, every outcome of each of the commands that have none yet (open, see PendingCommands), and
// its timeouts, the next one first. i is an instance as Look returns it, or one that has only a key; aside is its hold, nil
// where it has none. An event's type says whether it can find the instance, its content whether it does.
func (d *Description) Prospects(i *Instance, aside *Holding, open []Sent) []Prospect {
	return d.prospects(d.phaseOf(i), i, aside, open)
}

// Prospects is Description.Prospects by the definition that decides for the instance: that of the version that it is
// pinned to, or the present one. i is an instance as Engine.Instance returns it, or one that has only a key.
func (e *Engine) Prospects(i *Instance, aside *Holding, open []Sent) []Prospect {
	own := e.router.of(i)
	d := e.describe(own)
	phase, err := own.def.phase(i)
	if err != nil {
		phase = "" // the step that the input leads to fails with it
	}
	all := d.prospects(phase, i, aside, open)
	for n := range all {
		if p := &all[n]; p.Policy == Handle && p.place >= 0 {
			p.Handling = e.handling(own.def, own.def.inputs[p.place].choices[phase].part)
		}
	}
	return all
}

// handling says what a definition has for what a part of it handles; nil where no part does.
func (e *Engine) handling(d *Definition, by *handler) *Handling {
	if by == nil {
		return nil
	}
	h := &Handling{Evolves: by.evolve != nil, Decides: by.react != nil || len(d.rules) > 0}
	if h.Decides {
		for _, t := range d.sends {
			h.MaySend = append(h.MaySend, e.commandName(t))
		}
	}
	return h
}

// commandName returns the stable name of a command, in whichever module handles it.
func (e *Engine) commandName(t reflect.Type) string {
	if _, name, err := e.cfg.Commands.Resolve("", t); err == nil {
		return name
	}
	for _, m := range e.cfg.Modules {
		if _, name, err := e.cfg.Commands.Resolve(m.Name, t); err == nil {
			return name
		}
	}
	return t.String()
}

// phaseOf returns the phase that decides for an instance; "" where the log does not say it.
func (d *Description) phaseOf(i *Instance) Phase {
	switch {
	case i.Status == New:
		return PhaseNone
	case i.Status == Completed, i.Compensating:
		return PhaseCompleted
	case len(d.Phases) == 0:
		return PhaseActive
	}
	return i.Phase
}

// choice returns what becomes of an input in a phase; 0 where that is not known.
func (d *Description) choice(in *InputDescription, phase Phase) Policy {
	phases := d.Phases
	if len(phases) == 0 {
		phases = []Phase{PhaseNone, PhaseActive, PhaseCompleted}
	}
	if k := slices.Index(phases, phase); k >= 0 && k < len(in.Choices) {
		return in.Choices[k]
	}
	return 0
}

// input returns what the description says of an input, by a name that it has or had; -1 for nothing.
func (d *Description) input(k Kind, name string) int {
	return slices.IndexFunc(d.Inputs, func(in InputDescription) bool {
		return in.Kind == k && (in.Name == name || slices.Contains(in.Former, name))
	})
}

func (d *Description) prospects(phase Phase, i *Instance, aside *Holding, open []Sent) (all []Prospect) {
	for n := range d.Inputs {
		in := &d.Inputs[n]
		has := func(k ClaimedKey) bool { return k.Name == in.Claim }
		if in.Kind != EventInput || in.Claim != "" && !slices.ContainsFunc(i.Claims, has) {
			continue
		}
		p := Prospect{Kind: EventInput, Name: in.Name, Module: in.Module, Claim: in.Claim, Policy: d.choice(in, phase), place: n}
		p.Starts = phase == PhaseNone && p.Policy == Handle
		all = append(all, p)
	}
	for n := range open {
		all = append(all, d.outcomes(phase, i, &open[n])...)
	}
	timers := slices.Clone(i.Timers)
	slices.SortStableFunc(timers, func(a, b Timer) int { return a.Due.Compare(b.Due) })
	for n := range timers {
		all = append(all, d.timeout(phase, i, &timers[n]))
	}
	deferred := len(i.Deferred)
	queues := aside != nil && aside.Condition != Waiting
	if phase == PhaseNone && aside != nil {
		deferred = aside.Queued
	}
	for n := range all {
		p := &all[n]
		p.Queues = queues
		if p.Policy == Defer {
			p.Deferred, p.Bounds = deferred, d.Deferral
		}
	}
	return all
}

// outcomes returns what each outcome of a command would meet that has none yet. One that nobody is told of is left out.
func (d *Description) outcomes(phase Phase, i *Instance, s *Sent) (all []Prospect) {
	for _, k := range []Kind{AcceptedInput, RejectedInput, FailedInput} {
		p := Prospect{Kind: k, Name: s.Type, Module: s.Module, Number: s.Number, Command: s.ID, place: d.input(k, s.Type)}
		switch {
		case i.Compensating && i.Status == Running:
			if k != FailedInput && p.place < 0 && !s.awaited() {
				continue
			}
			if p.Policy, p.Why = Handle, "the compensation goes on with it"; s.Undoes > 0 && k != AcceptedInput {
				p.Policy, p.Why = Hold, fmt.Sprintf("it undoes command %d, and an undo that is not accepted holds the instance", s.Undoes)
			}
		case p.place >= 0:
			p.Policy = d.choice(&d.Inputs[p.place], phase)
		case k == FailedInput:
			p.Policy, p.Why = Hold, "the definition has no OnFailed for it"
		case s.awaited():
			p.Policy, p.Why = Ignore, "it is noted, since the command can be undone"
		default:
			continue
		}
		all = append(all, p)
	}
	return all
}

// timeout returns what a timeout that is set would meet when it is due.
func (d *Description) timeout(phase Phase, i *Instance, t *Timer) Prospect {
	p := Prospect{Kind: TimeoutInput, Name: t.Name, Due: t.Due, place: -1}
	if t.Type == deferredTimeout {
		what := "an input"
		if k := slices.IndexFunc(i.Deferred, func(in Taken) bool { return deferredName(&in) == t.Name }); k >= 0 {
			what = i.Deferred[k].describe()
		}
		p.Why = "it bounds how long " + what + " is deferred"
		if d.Deferral != nil {
			p.Policy = d.Deferral.Then
		}
		return p
	}
	if p.place = d.input(TimeoutInput, t.Type); p.place >= 0 {
		p.Policy = d.choice(&d.Inputs[p.place], phase)
	} else {
		p.Policy, p.Why = Hold, "the definition has no OnTimeout for it"
	}
	return p
}
