// Package processtest tests a process with nothing but events: no log, no store, no waiting. A case takes microseconds.
//
//	func TestConfirmsOnceBothDid(t *testing.T) {
//		processtest.Given(CateringMatch, CustomerConfirmedMenu{"42"}).
//			When(CatererConfirmedMenu{"42"}).
//			Then(t, ConfirmOrder{"42"}, processtest.Completed)
//	}
//
// Then fails unless the process decided what is wanted, no more and no less: commands and emitted events in their order,
// timeouts that are pending afterwards, completion. Time is virtual: it stands still unless At or Advance moves it, and
// a timeout fires when it passes. Permutations gives the inputs in every order.
//
// The steps are those of the engine, which are also evolved a second time, as reading history does: an Evolve that is
// not pure, or a React that changes the state, is a failure.
package processtest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ensue-io/ensue/process"
)

// T is what a scenario needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
}

// Options are given among the first items of Given, where a scenario needs them.
type Options = process.MachineOptions

// Scenario is a process to which things happen.
type Scenario struct {
	def     process.Definition
	options process.MachineOptions
	machine *process.Machine
	story   []process.Decision // everything that happened, for messages
	now     []process.Decision // since the last When began
	pending map[string]pending // timeouts when the last When began
	err     error              // what the scenario itself is wrong about
	failed  error              // a step's failure since the last When began
	spent   bool               // a Then has failed
}

// Given begins a scenario, with what has happened before: the same items as When. What the process decided on them is
// not looked at.
func Given(def process.Definition, past ...any) *Scenario {
	s := &Scenario{def: def}
	for len(past) > 0 {
		o, ok := past[0].(Options)
		if !ok {
			break
		}
		s.options, past = o, past[1:]
	}
	s.options.Verify = true
	if s.machine, s.err = process.NewMachine(def, s.options); s.err != nil {
		return s
	}
	s.play(past)
	if s.err == nil && s.failed != nil {
		s.err = fmt.Errorf("what was given fails already: %w", s.failed)
	}
	s.now = nil
	return s
}

// When lets things happen: events as they are (or an event.Draft of one), and what At, From, WithHeader, Advance,
// AdvanceTo, Reject, Accept, Fail and Expire return.
func (s *Scenario) When(items ...any) *Scenario {
	if s.err != nil {
		return s
	}
	s.now, s.failed, s.pending = nil, nil, s.timeouts()
	s.play(items)
	return s
}

// play gives the items to the machine.
func (s *Scenario) play(items []any) {
	for _, it := range items {
		if s.err != nil || s.failed != nil {
			return
		}
		decisions, err := itemOf(it).give(s.machine)
		s.now = append(s.now, decisions...)
		s.story = append(s.story, decisions...)
		var step *process.StepError
		if errors.As(err, &step) {
			s.failed = err
		} else if err != nil {
			s.err = err
		}
	}
}

// Then fails t unless what the process decided since When is what is wanted, no more and no less. A command is wanted as
// its value; the rest as Emitted, Timeout, TimeoutAt, Cancelled, Completed, State and Fails say, those of one instance
// among several in For. Commands and emitted events are wanted in their order. It returns the scenario, to go on with
// another When.
func (s *Scenario) Then(t T, wants ...any) *Scenario {
	t.Helper()
	if s.spent {
		return s // the first difference is the one to look at
	}
	if message := s.compare(wants); message != "" {
		s.spent = true
		t.Errorf("process %q: %s", s.def.Name(), message)
	}
	return s
}

func (s *Scenario) compare(items []any) string {
	if s.err != nil {
		return s.err.Error()
	}
	var wants []want
	for _, it := range items {
		w, err := wantsOf(it)
		if err != nil {
			return err.Error()
		}
		wants = append(wants, w...)
	}
	rows, same := compare(s.states(wants, s.got()), wants, true)
	if same {
		return ""
	}
	return "it decided otherwise\n" + table(rows, "got", "want", len(s.machine.Keys()) > 1) + "what happened\n" + tell(s.story)
}

// pending is a timeout that is to come.
type pending struct {
	instance string
	set      process.Effect
	by       time.Time // the instant at which it was set
}

// timeouts returns what is to come, by id.
func (s *Scenario) timeouts() map[string]pending {
	all := map[string]pending{}
	for _, d := range s.story {
		for _, e := range d.Effects {
			if e.Kind == process.EffectSet {
				all[e.ID.String()] = pending{d.Instance, e, d.At}
			}
		}
	}
	for id, p := range all {
		i, _ := s.machine.Instance(p.instance)
		there := false
		for _, timer := range i.Timers {
			there = there || timer.ID == p.set.ID
		}
		if !there {
			delete(all, id)
		}
	}
	return all
}

// got returns what was decided since When, as it is wanted.
func (s *Scenario) got() []got {
	var all []got
	pending := s.timeouts()
	for _, d := range s.now {
		for _, e := range d.Effects {
			g := got{instance: d.Instance, value: e.Value, module: e.Module, headers: e.Metadata.Headers, due: e.Due, after: e.Due.Sub(d.At)}
			switch e.Kind {
			case process.EffectSent:
				g.class = sent
			case process.EffectEmitted:
				g.class = emitted
			case process.EffectCompleted:
				g.class = completed
			case process.EffectCompensating:
				g.class = compensating
			case process.EffectClaimed:
				g.class = claimed
			case process.EffectReleased:
				g.class = released
			case process.EffectSet:
				if _, still := pending[e.ID.String()]; !still {
					continue // it fired, or was cancelled or replaced
				}
				g.class = timeout
			case process.EffectCancelled:
				if _, before := s.pending[e.ID.String()]; !before {
					continue // set and cancelled since
				}
				g.class = cancelled
			}
			all = append(all, g)
		}
	}
	if s.failed != nil {
		all = append(all, got{class: failure, value: s.failed.Error()})
	}
	return all
}

// states adds the states that are wanted, as they are.
func (s *Scenario) states(wants []want, have []got) []got {
	keys := s.machine.Keys()
	for _, w := range wants {
		if w.class == state {
			key := w.instance
			if key == "" && len(keys) == 1 {
				key = keys[0]
			}
			i, _ := s.machine.Instance(key)
			have = append(have, got{class: state, instance: key, value: i.State})
		}
	}
	return have
}

// tell tells what happened.
func tell(story []process.Decision) string {
	var b strings.Builder
	for _, d := range story {
		fmt.Fprintf(&b, "     %s %v %s", d.At.Format(time.RFC3339Nano), d.Kind, show(d.Input))
		if d.Instance != "" {
			fmt.Fprintf(&b, " at %q", d.Instance)
		}
		fmt.Fprintf(&b, ": %s\n", d.Verdict)
		for _, e := range d.Effects {
			fmt.Fprintf(&b, "         %s", e.Kind)
			if e.Value != nil {
				b.WriteString(" " + show(e.Value))
			}
			if e.Kind == process.EffectSet {
				b.WriteString(" due " + e.Due.Format(time.RFC3339Nano))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// show shows a value on one line, with the name of its type.
func show(v any) string {
	if v == nil {
		return "nothing"
	}
	name := reflect.TypeOf(v).String()
	if reflect.TypeOf(v).Name() != "" && !strings.Contains(name, "[") {
		name = reflect.TypeOf(v).Name()
	}
	return fmt.Sprintf("%s%+v", name, v)
}

// showLong is show for values that look the same otherwise.
func showLong(v any) string { return fmt.Sprintf("%T%#v", v, v) }
