package process

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ClaimedKey is a further key of an instance, which it claimed at run time: inputs that name it find the instance, as they
// do by the instance's own key. At most one instance of a process has it at a time.
type ClaimedKey struct {
	Name string `json:"name"` // what it is a key of: "payment"
	Key  string `json:"key"`
}

func (k ClaimedKey) String() string { return fmt.Sprintf("%s %q", k.Name, k.Key) }

func (k ClaimedKey) noneYet() string { return k.String() + ", which no instance has claimed yet" }

// place is what the key's partition follows from.
func (k ClaimedKey) place() string { return k.Name + "/" + k.Key }

func (k ClaimedKey) entry(process string) string { return eventlog.Key(process, k.Name, k.Key) }

// item is the entry of an input that waits beside the key.
func (k ClaimedKey) item(process string, number int) string {
	return eventlog.Key(process, k.Name, k.Key, fmt.Sprintf("%012d", number))
}

// check tells what is wrong with a key, which a locator or a step made.
func (k ClaimedKey) check(process string) error {
	if k.Key == "" {
		return fmt.Errorf("a claimed key (%q) is empty", k.Name)
	}
	if n := len(k.item(process, 0)); n > eventlog.MaxEntryKey {
		return &eventlog.NameError{What: "claimed key", Name: bounded(k.Key, 20), Reason: fmt.Sprintf("needs %d bytes, with its %% and / escaped; %d are possible", n, eventlog.MaxEntryKey)}
	}
	return nil
}

// Claimed locates the instance that has claimed the key under the name by Step.Correlate. An empty key finds none. What
// becomes of an event whose key nobody has claimed, or that came before its key was claimed, On.NoInstance says: with
// Defer it waits beside the key, and whoever claims it takes what waits, in order, before anything that comes later.
func Claimed[E any](name string, key func(E) string) Locator[E] {
	if name == "" {
		name = "(empty)" // which Check refuses
	}
	return Locator[E]{claim: name, find: func(e E, _ event.Metadata) []string { return []string{key(e)} }}
}

// ClaimTaken says that another instance had the key when this one tried to claim it.
type ClaimTaken struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	By   string `json:"by"` // the instance that had it
}

// OnTaken handles the refusal of a claim, since another instance has the key. It comes behind the step that tried. Where a
// definition has none for a name, such a step fails with a *ClaimError, and its instance is retried and then held.
type OnTaken[S any] struct {
	Name      string  // of the keys, as Step.Correlate names them
	In        []Phase // as of On
	Ignore    []Phase
	Defer     []Phase
	Hold      []Phase
	Completed Policy // what becomes of one that comes when the instance is completed: Ignore or Hold

	Evolve func(S, Input[ClaimTaken]) S
	React  func(S, Input[ClaimTaken], *Step)
}

func (o OnTaken[S]) define(d *Definition, _ *S) {
	h := &handler{kind: ClaimInput, goType: reflect.TypeFor[ClaimTaken](), name: o.Name,
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, completed: o.Completed, fact: func(t *Taken) (any, error) {
			var c ClaimTaken
			if err := json.Unmarshal(t.Data, &c); err != nil {
				return nil, fmt.Errorf("decode the refusal of a claim of %q: %w", t.Type, err)
			}
			return c, nil
		}}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

// ClaimError is the failure of a step that claimed a key which another instance has, where no OnTaken handles that.
type ClaimError struct {
	ClaimedKey
	By string // the instance that has it
}

func (e *ClaimError) Error() string {
	return fmt.Sprintf("instance %q has claimed %v; add process.OnTaken{Name: %q} to decide what happens then", e.By, e.ClaimedKey, e.Name)
}

// Refusal is a claim that was refused: it becomes an input of the instance.
type Refusal struct {
	ClaimTaken
	ID event.ID `json:"id"` // of the input
}

// Correlate claims a further key for the instance: inputs located by Claimed under the name find it from now on, and those
// that wait beside the key become its next inputs. The claim ends by Release or with the instance. Claiming what the
// instance has already does nothing. If another instance has it, the outcome is an input (OnTaken).
func (s *Step) Correlate(name, key string) {
	k := ClaimedKey{name, key}
	err := k.check(s.def.name)
	if err == nil && !slices.Contains(s.def.claimNames(), name) {
		err = fmt.Errorf("no input is located by process.Claimed(%q, …), and no OnTaken names it", name)
	}
	if err != nil {
		s.fail(fmt.Errorf("claim %v: %w", k, err))
		return
	}
	if n := slices.Index(s.rec.Released, k); n >= 0 {
		s.rec.Released = slices.Delete(s.rec.Released, n, n+1)
		return
	}
	if slices.Contains(s.inst.Claims, k) || slices.Contains(s.rec.Claimed, k) || slices.ContainsFunc(s.rec.Refused, func(r Refusal) bool { return r.key() == k }) {
		return
	}
	switch by, err := s.world.holder(k); {
	case err != nil:
		s.fail(&worldError{err})
	case by == "" || by == s.inst.Key:
		s.rec.Claimed = append(s.rec.Claimed, k)
	case !slices.ContainsFunc(s.def.parts, func(h *handler) bool { return h.kind == ClaimInput && h.name == name }):
		s.fail(&ClaimError{k, by})
	default:
		s.rec.Refused = append(s.rec.Refused, Refusal{ClaimTaken: ClaimTaken{name, key, by}, ID: s.id("claim/"+k.place(), len(s.rec.Refused))})
	}
}

// Release ends a claim of the instance. Releasing what it has not claimed does nothing. Several calls in one step count in
// their order.
func (s *Step) Release(name, key string) {
	k := ClaimedKey{name, key}
	if n := slices.Index(s.rec.Claimed, k); n >= 0 {
		s.rec.Claimed = slices.Delete(s.rec.Claimed, n, n+1)
		return
	}
	if slices.Contains(s.inst.Claims, k) && !slices.Contains(s.rec.Released, k) {
		s.rec.Released = append(s.rec.Released, k)
	}
}

// worldError is trouble around a step that is not the step's.
type worldError struct{ error }

func (e *worldError) Unwrap() error { return e.error }

// correlated completes the record of a step with what follows from its claims.
func (s *Step) correlated() {
	if s.rec.Completed { // that releases all, and nobody is left to hear of a refusal
		s.rec.Claimed, s.rec.Refused, s.rec.Released = nil, nil, slices.Clone(s.inst.Claims)
	}
	if len(s.rec.Claimed) > 0 {
		s.rec.Marks = s.world.stands(s.inst.Key)
	}
}

func (r *Refusal) key() ClaimedKey { return ClaimedKey{r.Name, r.Key} }

// refusals returns the inputs that refused claims become.
func (s *Step) refusals() ([]Taken, error) {
	var all []Taken
	for _, r := range s.rec.Refused {
		data, err := json.Marshal(r.ClaimTaken)
		if err != nil {
			return nil, err
		}
		all = append(all, Taken{Kind: ClaimInput, ID: r.ID, Type: r.Name, Data: data, Metadata: s.metadata(), Time: s.Now()})
	}
	return all, nil
}

// claimNames returns the names under which keys can be claimed.
func (d *Definition) claimNames() (names []string) {
	for _, h := range d.parts {
		switch {
		case h.claim != "":
			names = append(names, h.claim)
		case h.kind == ClaimInput:
			names = append(names, h.name)
		}
	}
	return names
}

// claims returns the claimed keys that an event names, each once.
func (r *router) claims(t *Taken, handlings []handling) (all []ClaimedKey, err error) {
	for _, x := range handlings {
		keys, err := r.claimsOf(t, x)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

func (r *router) claimsOf(t *Taken, x handling) (all []ClaimedKey, err error) {
	by := x.in.locator()
	if by.claim == "" {
		return nil, nil
	}
	keys, err := r.find(by, t, x.fact)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		k := ClaimedKey{by.claim, key}
		if err := k.check(r.def.name); err != nil {
			return nil, &StepError{Process: r.def.name, Input: t.describe(), Err: err}
		}
		all = append(all, k)
	}
	return all, nil
}

// unclaimed returns what becomes of an event that names a key which nobody has claimed.
func (r *router) unclaimed(k ClaimedKey, t *Taken, handlings []handling) (Policy, error) {
	var naming []handling
	for _, x := range handlings {
		keys, err := r.claimsOf(t, x)
		if err != nil {
			return 0, err
		}
		if slices.Contains(keys, k) {
			naming = append(naming, x)
		}
	}
	p, _, err := r.def.fate(&Instance{}, t, naming)
	return p, err
}

// holder and stands implement world where no term runs: nobody has claimed anything.
func (e *Engine) holder(ClaimedKey) (string, error) { return "", nil }

func (e *Engine) stands(string) []Mark { return nil }
