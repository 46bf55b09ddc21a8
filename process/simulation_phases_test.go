package process

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
)

// An instance of the simulated process is in one of three phases. Some inputs wait for another phase, or are of no interest
// in one.
const (
	simEarly  Phase = "early"
	simMiddle Phase = "middle"
	simLate   Phase = "late"
)

var simPhases = []Phase{simEarly, simMiddle, simLate}

type (
	simMoved struct { // in home; brings the phase that its number says
		ID string
		N  int
	}
	simGated struct { // in right; deferred until the middle, and of no interest later
		ID string
		N  int
	}

	simWake struct{ N int } // a timeout, deferred until the middle
)

// simPhased are the parts that matter for phases.
func simPhased() []Part[simState] {
	return []Part[simState]{
		Phases(func(s simState) Phase { return simPhases[s.Place] }, simPhases...),
		On[simState, simMoved]{
			NoInstance: Ignore,
			Locate:     Key(func(e simMoved) string { return e.ID }),
			Evolve: func(s simState, in Input[simMoved]) simState {
				s.Place = in.Event.N % 3
				return s.see("moved %d", in.Event.N)
			},
			React: func(_ simState, in Input[simMoved], do *Step) {
				if in.Event.N%4 == 0 {
					do.After(time.Second, simWake{in.Event.N})
				}
			},
		},
		On[simState, simGated]{
			NoInstance: Defer,
			In:         In(simMiddle), Defer: In(simEarly), Ignore: In(simLate),
			Locate: Key(func(e simGated) string { return e.ID }),
			Evolve: func(s simState, in Input[simGated]) simState { return s.see("gated %d", in.Event.N) },
			React: func(_ simState, in Input[simGated], do *Step) {
				switch in.Event.N % 3 {
				case 0:
					simSend(do, simShip{ID: do.Instance(), N: in.Event.N})
				case 1:
					do.After(time.Second, simWake{in.Event.N})
				}
			},
		},
		OnTimeout[simState, simWake]{
			Name: "wake",
			In:   In(simMiddle, simLate), Defer: In(simEarly),
			Evolve: func(s simState, in Input[simWake]) simState {
				if in.Event.N%5 == 0 {
					s.Place = (s.Place + 1) % 3
				}
				return s.see("wake %d", in.Event.N)
			},
		},
	}
}

// simFate is what becomes of an input in a phase, said a second time, for the oracle. The outcomes of commands go on with a
// compensation.
func simFate(i *simInstance, in *Taken) Policy {
	phase := i.phase()
	switch {
	case i.compensating && i.status == Running && in.isOutcome():
		return Handle
	case phase == PhaseCompleted:
		return Ignore
	case in.Type == "gated" && phase == simLate:
		return Ignore
	case (in.Type == "gated" || in.Type == "wake") && phase == simEarly, in.Kind == RejectedInput && phase == simLate,
		in.Kind == FailedInput && in.Type == "ship" && phase == simLate:
		return Defer
	case in.Kind == AcceptedInput && in.Type != "reserve": // it is of interest for a compensation alone
		return Ignore
	default:
		return Handle
	}
}

// simMove is where an input that is handled brings an instance, said a second time.
func simMove(in *Taken, place int) int {
	var e struct{ N int }
	if in.Type != "moved" && in.Type != "wake" && in.Type != "due" || json.Unmarshal(in.Data, &e) != nil {
		return place
	}
	switch {
	case in.Type == "moved":
		return e.N % 3
	case e.N%5 == 0:
		return (place + 1) % 3
	default:
		return place
	}
}

// phase returns the phase that the oracle knows an instance to be in.
func (i *simInstance) phase() Phase {
	switch {
	case i.status == New:
		return PhaseNone
	case i.status == Completed, i.compensating:
		return PhaseCompleted
	default:
		return simPhases[i.place]
	}
}

// fate checks that what became of an input is what is declared for the phase, and that what was deferred comes first when
// its phase has come (G8, G9).
func (o *oracle) fate(i *simInstance, r *Record, what string) {
	in, bounds := &r.Input, o.s.bounds
	phase := i.phase()
	want := simFate(i, in)
	if r.Birth == nil && !r.Resumed {
		for n := range i.kept {
			if simFate(i, &i.kept[n]) != Defer {
				o.fail("G8: %s overtook %s, which was deferred, and whose phase has come (%s)", what, i.kept[n].told(), phase)
			}
		}
	}
	is := Handle
	switch r.Ignored {
	case "":
		if r.Deferred {
			is = Defer
		}
	case "too many deferred":
		is = Defer
		if len(i.kept) < bounds.Most || bounds.Then != Ignore {
			o.fail("G9: %s was ignored since too many are deferred, and %d are", what, len(i.kept))
		}
	case "deferred too long":
		is = Defer
		if !r.Resumed || o.s.clock.Before(in.Time.Add(bounds.Within)) || bounds.Then != Ignore {
			o.fail("G9: %s was ignored since it was deferred for too long", what)
		}
	case "completed", "phase late", "compensating", "unhandled":
		is = Ignore
		rule := "phase " + string(phase)
		switch {
		case i.status == Running && i.compensating:
			rule = "compensating"
		case in.Kind == AcceptedInput && in.Type != "reserve":
			rule = "unhandled"
		case i.status == Completed:
			rule = "completed"
		}
		if rule != r.Ignored {
			o.fail("G9: %s was ignored by the rule %q in phase %q", what, r.Ignored, phase)
		}
	default:
		o.fail("G9: %s was ignored by the rule %q", what, r.Ignored)
	}
	if is != want {
		o.fail("G9: %s in phase %q: %v, and declared is %v", what, phase, is, want)
	}
	switch {
	case r.Deferred:
		o.keep(i, r, what)
	case r.Resumed:
		o.takenUp(i, r, what)
	}
	if is == Handle {
		i.place = simMove(in, i.place)
	}
}

// keep takes note of an input that is deferred, with the timeout that bounds that.
func (o *oracle) keep(i *simInstance, r *Record, what string) {
	bounds := o.s.bounds
	if len(i.kept) >= bounds.Most {
		o.fail("G9: %s was deferred, and %d are already", what, len(i.kept))
	}
	if len(r.Set) != 1 || !r.Set[0].Due.Equal(event.Micro(r.Input.Time.Add(bounds.Within))) {
		o.fail("G9: %s was deferred with the timeouts %v", what, r.Set)
	}
	i.kept = append(i.kept, r.Input)
}

// takenUp checks that what was deferred is taken up once, in order.
func (o *oracle) takenUp(i *simInstance, r *Record, what string) {
	k := slices.IndexFunc(i.kept, func(in Taken) bool { return in.ID == r.Input.ID })
	if k < 0 {
		o.fail("G8: %s was taken up, and had not been deferred", what)
		return
	}
	for n := range i.kept[:k] {
		if r.Ignored != "deferred too long" && simFate(i, &i.kept[n]) != Defer {
			o.fail("G8: %s was taken up before %s", what, i.kept[n].told())
		}
	}
	i.kept = slices.Delete(i.kept, k, k+1)
}

// phased checks the phase that a step notes.
func (o *oracle) phased(i *simInstance, r *Record, before Phase, what string) {
	want := i.phase()
	if want == before || r.Ignored != "" || r.Deferred {
		want = ""
	}
	if r.Phase != want {
		o.fail("G6: %s left it in phase %q, and the record says %q", what, i.phase(), r.Phase)
	}
}

// dropped tells whether an input that waited for an instance was rightly given up, as the bounds of a deferral say.
func (o *oracle) dropped(i *simInstance, number int, in *Taken) bool {
	bounds := o.s.bounds
	if i.status != New && i.born != o.appends || bounds.Then != Ignore || in.Kind != EventInput || o.byID[in.ID].policy != Defer {
		return false
	}
	ahead := 0
	for n := range i.queue {
		if n < number && o.byID[i.queue[n].ID] != nil && o.byID[i.queue[n].ID].policy == Defer {
			ahead++
		}
	}
	return ahead >= bounds.Most || !o.s.clock.Before(in.Time.Add(bounds.Within))
}

// crowded tells whether an event may have found too many waiting for an instance. Its cursor passes it some time later.
func (o *oracle) crowded(i *simInstance, e *simEvent) bool {
	return e.policy == Defer && o.s.bounds.Then == Ignore && (i.full || i.wasFull > e.known)
}

// simBounds returns how what is deferred is bounded in a simulation.
func (s *simulation) simBounds() Deferral {
	return Deferral{Most: []int{2, 4, 1000}[s.rng.IntN(3)], Within: []time.Duration{5 * time.Second, time.Minute, 30 * 24 * time.Hour}[s.rng.IntN(3)], Then: Ignore}
}

// simKept says what is deferred.
func simKept(kept []Taken) string {
	var told []string
	for n := range kept {
		told = append(told, kept[n].told())
	}
	return fmt.Sprint(told)
}
