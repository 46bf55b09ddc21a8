package process

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
)

// Locator finds the instances that an event concerns, by their keys. Make one with Key, Keys, Header or Claimed.
type Locator[E any] struct {
	find  func(E, event.Metadata) []string
	claim string // the name under which the keys are claimed; "" where they are the instances' own
}

// Key locates one instance by the event's payload. An empty key finds none.
func Key[E any](key func(E) string) Locator[E] {
	return Locator[E]{find: func(e E, _ event.Metadata) []string { return []string{key(e)} }}
}

// Keys locates any number of instances by the event's payload: each of them takes the event, in the order of the keys.
// Empty keys are left out and a key that comes twice counts once.
func Keys[E any](keys func(E) []string) Locator[E] {
	return Locator[E]{find: func(e E, _ event.Metadata) []string { return keys(e) }}
}

// Header locates one instance by a header of the event's metadata. Declared as carried by the application, a header
// finds its way through modules that never heard of what it names.
func Header[E any](name string) Locator[E] {
	return Locator[E]{find: func(_ E, m event.Metadata) []string { return []string{m.Header(name)} }}
}

// On handles an event.
type On[S, E any] struct {
	Starts     bool       // an event that finds no instance starts one
	NoInstance Policy     // what becomes of an event that finds no instance, where Starts is false
	In         []Phase    // where it is handled; left out: in every phase that is named nowhere else
	Ignore     []Phase    // where it is of no interest
	Defer      []Phase    // where it is kept for a later phase
	Hold       []Phase    // where it must not come
	Completed  Policy     // what becomes of one that comes when the instance is completed: Ignore or Hold
	Module     string     // the module that the event comes from; needed only where several register its type
	Locate     Locator[E] // which instances it concerns; of several parts for one event, one says it

	Evolve func(S, Input[E]) S      // the state after the event; pure. Leave it out where the state stays
	React  func(S, Input[E], *Step) // what must ensue, given the state after the event; pure but for the Step's effects
}

func (o On[S, E]) define(d *Definition, _ *S) {
	h := &handler{kind: EventInput, goType: reflect.TypeFor[E](), module: o.Module, starts: o.Starts, noInstance: o.NoInstance, claim: o.Locate.claim,
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, completed: o.Completed}
	if find := o.Locate.find; find != nil {
		h.locate = func(fact any, m event.Metadata) []string { return find(fact.(E), m) }
	}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

// OnTimeout handles a timeout that the instance set with Step.After or Step.At.
type OnTimeout[S, T any] struct {
	Name     string   // stable name of the timeout's type: it is stored
	Formerly []string // names that it had before: timeouts that were set under them fire as this one
	In       []Phase  // as of On
	Ignore   []Phase
	Defer    []Phase
	Hold     []Phase

	Evolve func(S, Input[T]) S
	React  func(S, Input[T], *Step)
}

func (o OnTimeout[S, T]) define(d *Definition, _ *S) {
	h := &handler{kind: TimeoutInput, goType: reflect.TypeFor[T](), name: o.Name, former: o.Formerly,
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, fact: func(t *Taken) (any, error) {
			var v T
			if err := json.Unmarshal(t.Data, &v); err != nil {
				return nil, fmt.Errorf("decode timeout %q: %w", t.Type, err)
			}
			return v, nil
		}}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

// Rejected is a command that its receiver refused.
type Rejected[C any] struct {
	Command   C
	Rejection command.Rejection
}

// OnRejected handles the rejection of a command that the instance sent. The command's codec must be JSON, the default.
type OnRejected[S, C any] struct {
	In        []Phase // as of On
	Ignore    []Phase
	Defer     []Phase
	Hold      []Phase
	Completed Policy // what becomes of one that comes when the instance is completed: Ignore or Hold

	Evolve func(S, Input[Rejected[C]]) S
	React  func(S, Input[Rejected[C]], *Step)
}

func (o OnRejected[S, C]) define(d *Definition, _ *S) {
	h := &handler{kind: RejectedInput, goType: reflect.TypeFor[C](),
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, completed: o.Completed, fact: func(t *Taken) (any, error) {
			r := Rejected[C]{}
			if t.Rejection != nil {
				r.Rejection = *t.Rejection
			}
			if err := json.Unmarshal(t.Data, &r.Command); err != nil {
				return nil, fmt.Errorf("decode command %q: %w", t.Type, err)
			}
			return r, nil
		}}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

// Accepted is a command that took effect, with its result.
type Accepted[C, R any] struct {
	Command C
	Result  R
}

// OnAccepted handles the success of a command that the instance sent. There is no order between it and the events that
// the command caused. The command's codec must be JSON, the default.
type OnAccepted[S, C, R any] struct {
	In        []Phase // as of On
	Ignore    []Phase
	Defer     []Phase
	Hold      []Phase
	Completed Policy // what becomes of one that comes when the instance is completed: Ignore or Hold

	Evolve func(S, Input[Accepted[C, R]]) S
	React  func(S, Input[Accepted[C, R]], *Step)
}

func (o OnAccepted[S, C, R]) define(d *Definition, _ *S) {
	h := &handler{kind: AcceptedInput, goType: reflect.TypeFor[C](),
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, completed: o.Completed, fact: func(t *Taken) (any, error) {
			a := Accepted[C, R]{}
			if err := json.Unmarshal(t.Data, &a.Command); err != nil {
				return nil, fmt.Errorf("decode command %q: %w", t.Type, err)
			}
			if len(t.Result) > 0 {
				if err := json.Unmarshal(t.Result, &a.Result); err != nil {
					return nil, fmt.Errorf("decode result of command %q: %w", t.Type, err)
				}
			}
			return a, nil
		}}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

// Failed is a command without an effect: it was given up after its attempts, or by OnError, or it came past its deadline.
// Its receiver keeps that as the command's outcome, so it will not take effect later either.
type Failed[C any] struct {
	Command C
	Reason  string // why, for people: the last error, what GiveUp was told, or the deadline
	Expired bool   // it came past its deadline (Before, Within)
}

// OnFailed handles the failure of a command that the instance sent. Where a definition lacks it, such a failure holds the
// instance, in whatever phase. The command's codec must be JSON, the default.
type OnFailed[S, C any] struct {
	In        []Phase // as of On
	Ignore    []Phase
	Defer     []Phase
	Hold      []Phase
	Completed Policy // what becomes of one that comes when the instance is completed: Ignore or Hold

	Evolve func(S, Input[Failed[C]]) S
	React  func(S, Input[Failed[C]], *Step)
}

func (o OnFailed[S, C]) define(d *Definition, _ *S) {
	h := &handler{kind: FailedInput, goType: reflect.TypeFor[C](),
		in: o.In, ignore: o.Ignore, postpone: o.Defer, hold: o.Hold, completed: o.Completed, fact: func(t *Taken) (any, error) {
			f := Failed[C]{Reason: t.Reason, Expired: t.Expired}
			if err := json.Unmarshal(t.Data, &f.Command); err != nil {
				return nil, fmt.Errorf("decode command %q: %w", t.Type, err)
			}
			return f, nil
		}}
	setFuncs(h, o.Evolve, o.React)
	d.parts = append(d.parts, h)
}

type rule[S any] struct{ react func(S, *Step) }

func (r rule[S]) define(d *Definition, _ *S) {
	d.rules = append(d.rules, func(state any, do *Step) { r.react(state.(S), do) })
}

// React declares a rule on the state alone: it is asked after every input, behind that input's own React. Step.Once
// makes it act once.
func React[S any](react func(S, *Step)) Part[S] { return rule[S]{react} }

func setFuncs[S, E any](h *handler, evolve func(S, Input[E]) S, react func(S, Input[E], *Step)) {
	if evolve != nil {
		h.evolve = func(state any, t *Taken, fact any) any { return evolve(state.(S), inputOf[E](t, fact)) }
	}
	if react != nil {
		h.react = func(state any, t *Taken, fact any, do *Step) { react(state.(S), inputOf[E](t, fact), do) }
	}
}
