package process

import (
	"errors"
	"maps"
	"slices"

	"github.com/ensue-io/ensue/event"
)

// machineClaim is a claimed key, or one that inputs wait for.
type machineClaim struct {
	holder  string
	waiting []machineInput
	decided map[event.ID]bool // inputs that named it
}

func (m *Machine) claim(k ClaimedKey) *machineClaim {
	c := m.claims[k]
	if c == nil {
		c = &machineClaim{decided: map[event.ID]bool{}}
		m.claims[k] = c
	}
	return c
}

// WaitingFor returns how many inputs are deferred until an instance claims the key.
func (m *Machine) WaitingFor(name, key string) int {
	if c := m.claims[ClaimedKey{name, key}]; c != nil {
		return len(c.waiting)
	}
	return 0
}

// giveClaimed gives an event to the instance that has claimed a key, or follows the policy where none has.
func (m *Machine) giveClaimed(k ClaimedKey, in *machineInput) error {
	c := m.claim(k)
	if c.decided[in.taken.ID] {
		m.decide(c.holder, in, VerdictDuplicate)
		return nil
	}
	c.decided[in.taken.ID] = true
	if c.holder != "" {
		return m.give(c.holder, in)
	}
	policy, err := m.router.unclaimed(k, &in.taken, in.handlings)
	if err != nil {
		return err
	}
	policy, _, why := m.def.untaken(policy, len(c.waiting), k.noneYet())
	switch policy {
	case Defer:
		c.waiting = append(c.waiting, *in)
		m.decide("", in, VerdictDeferred)
	case Hold:
		m.decide("", in, VerdictFailed)
		return itsStep(m.def.name, k.String(), &in.taken, why)
	default:
		m.decide("", in, VerdictNoInstance)
	}
	return nil
}

// correlate takes note of what a step said of keys.
func (m *Machine) correlate(x *machineInstance, rec *Record, s *Step) error {
	for _, k := range rec.Released {
		m.claim(k).holder = ""
		if !rec.Completed {
			m.effects = append(m.effects, Effect{Kind: EffectReleased, Value: k})
		}
	}
	for _, k := range rec.Claimed {
		c := m.claim(k)
		c.holder = x.Key
		x.waiting = append(x.waiting, c.waiting...)
		c.waiting = nil
		m.effects = append(m.effects, Effect{Kind: EffectClaimed, Value: k})
	}
	for _, in := range s.refused {
		handlings, err := m.router.decode(&in)
		if err != nil {
			return err
		}
		x.waiting = append(x.waiting, machineInput{in, handlings})
	}
	return nil
}

// drain lets an instance take what waited for it, in order.
func (m *Machine) drain(x *machineInstance) (err error) {
	for len(x.waiting) > 0 && x.Status != New {
		in := x.waiting[0]
		x.waiting = x.waiting[1:]
		err = errors.Join(err, m.takeDeferred(x, &in))
	}
	return err
}

// holder implements world.
func (w *machineWorld) holder(k ClaimedKey) (string, error) {
	if c := w.claims[k]; c != nil {
		return c.holder, nil
	}
	return "", nil
}

// stands implements world.
func (w *machineWorld) stands(string) (marks []Mark) {
	for _, name := range slices.Sorted(maps.Keys(w.modules)) {
		at := w.modules[name].head
		for n := range w.back { // emitted, and yet to come back
			if in := &w.back[n].taken; in.Module == name {
				at = min(at, in.Position-1)
			}
		}
		if at > 0 {
			marks = append(marks, Mark{Module: name, Log: w.modules[name].log, Position: at})
		}
	}
	return marks
}
