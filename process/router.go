package process

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/ensue-io/ensue/event"
)

// router finds, for what comes in, the parts of the definition that handle it and the instances that it concerns.
type router struct {
	def      *Definition
	types    map[string]*event.Registry // by module
	timeouts map[string]*declared       // by the type's stable name
	refused  map[string]*declared       // refusals of claims, by the name of the keys
	outcomes map[outcomeKey]*declared
	known    map[event.ID][]handling // of a machine, which has no types: what was deferred
	former   []formerRouter          // of older versions, where the definition names them
}

// outcomeKey tells outcomes apart: by kind and the command's stable name.
type outcomeKey struct {
	kind    Kind
	command string
}

// newRouter prepares the definition for the modules around it. commandNames tells the stable name of a command's Go type,
// and those that it had before.
func newRouter(d *Definition, types map[string]*event.Registry, commandNames func(reflect.Type) ([]string, error)) (*router, error) {
	r := &router{def: d, types: types, timeouts: map[string]*declared{}, refused: map[string]*declared{}, outcomes: map[outcomeKey]*declared{}, known: map[event.ID][]handling{}}
	var errs []error
	for _, in := range d.inputs {
		switch in.kind {
		case TimeoutInput:
			for _, name := range in.names() {
				r.timeouts[name] = in
			}
		case ClaimInput:
			r.refused[in.name] = in
		case RejectedInput, AcceptedInput, FailedInput:
			names, err := commandNames(in.goType)
			if err != nil {
				errs = append(errs, fmt.Errorf("process %q: %s: %w", d.name, in, err))
				continue
			}
			for _, name := range names {
				r.outcomes[outcomeKey{in.kind, name}] = in
			}
		case EventInput:
			if r.types == nil {
				continue // a machine's: there are no modules
			}
			if _, err := r.source(in); err != nil {
				errs = append(errs, fmt.Errorf("process %q: %s: %w", d.name, in, err))
			}
		}
	}
	errs = append(errs, r.addFormer(func(old *Definition) (*router, error) { return newRouter(old, types, commandNames) }))
	return r, errors.Join(errs...)
}

// source returns the module that an event comes from: the one named, or the only one that registers its type.
func (r *router) source(in *declared) (string, error) {
	if in.module != "" {
		types, ok := r.types[in.module]
		if !ok {
			return "", fmt.Errorf("there is no module %q in the application", in.module)
		}
		if _, ok := types.NameOf(in.goType); !ok {
			return "", fmt.Errorf("module %q does not register the type; add event.Named[%v](\"…\") to its Events", in.module, in.goType)
		}
		return in.module, nil
	}
	var found []string
	for module, types := range r.types {
		if _, ok := types.NameOf(in.goType); ok {
			found = append(found, module)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no module registers the type; add event.Named[%v](\"…\") to the Events of the module that appends it", in.goType)
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("modules %q all register the type; say which one by On.Module", found)
	}
}

// sources returns the modules that the definition reads, in the order of its parts, each with the names of the event
// types that may concern it.
func (r *router) sources() (modules []string, names map[string][]string) {
	names = map[string][]string{}
	for _, in := range r.def.inputs {
		if in.kind != EventInput {
			continue
		}
		module, err := r.source(in)
		if err != nil {
			continue // reported by newRouter
		}
		if !slices.Contains(modules, module) {
			modules = append(modules, module)
		}
		for _, name := range r.types[module].Readable(in.goType) {
			if !slices.Contains(names[module], name) {
				names[module] = append(names[module], name)
			}
		}
	}
	for _, o := range r.pinned() {
		also, more := o.sources()
		for _, module := range also {
			if !slices.Contains(modules, module) {
				modules = append(modules, module)
			}
			for _, name := range more[module] {
				if !slices.Contains(names[module], name) {
					names[module] = append(names[module], name)
				}
			}
		}
	}
	return modules, names
}

// decode returns what the input stands for, each fact with its handler. Facts that the definition does not handle are
// left out.
func (r *router) decode(t *Taken) ([]handling, error) {
	switch t.Kind {
	case EventInput:
		if r.types == nil {
			return r.known[t.ID], nil
		}
		types := r.types[t.Module]
		if types == nil {
			return nil, fmt.Errorf("there is no module %q in the application", t.Module)
		}
		facts, err := types.Decode(t.event())
		if err != nil {
			return nil, err
		}
		handlings := make([]handling, 0, len(facts))
		for _, fact := range facts {
			if in := r.onEvent(t.Module, reflect.TypeOf(fact)); in != nil {
				handlings = append(handlings, handling{in, fact})
			}
		}
		return handlings, nil
	case TimeoutInput:
		return r.single(r.timeouts[t.Type], t)
	case ClaimInput:
		return r.single(r.refused[t.Type], t)
	default:
		return r.single(r.outcomes[outcomeKey{t.Kind, t.Type}], t)
	}
}

// decodeFor is decode for an input that an instance takes: an outcome that it awaits itself need not be handled.
func (r *router) decodeFor(inst *Instance, in *Taken) ([]handling, error) {
	facts, err := r.decode(in)
	if errors.Is(err, errUnhandled) && inst.awaits(in) && (inst.Compensating || in.Kind != FailedInput) {
		return nil, nil
	}
	if err == nil && len(facts) != 1 {
		facts, err = r.concerning(inst, in, facts)
	}
	return facts, err
}

// errUnhandled means a timeout or an outcome whose part of the definition is gone. It matters to what is still to come; in
// an instance's history it leaves the state as it is, like an event that is no longer handled.
var errUnhandled = errors.New("the definition no longer handles it; keep the part that does until no instance waits for it")

func (r *router) single(in *declared, t *Taken) ([]handling, error) {
	if in == nil {
		return nil, &StepError{Process: r.def.name, Input: t.describe(), Err: unhandled(t)}
	}
	fact, err := in.parts[0].fact(t)
	if err != nil {
		return nil, &StepError{Process: r.def.name, Input: t.describe(), Err: err}
	}
	return []handling{{in, fact}}, nil
}

func (r *router) onEvent(module string, goType reflect.Type) *declared {
	var found *declared
	for _, in := range r.def.inputs {
		if in.kind == EventInput && in.goType == goType && (in.module == "" || in.module == module) {
			if in.module != "" {
				return in
			}
			found = in
		}
	}
	return found
}

// concerning returns those of an input's facts that concern the instance: each of several goes to the instances that it
// locates. One alone is not located again, so that history stays what it was when a Locate changes.
func (r *router) concerning(i *Instance, t *Taken, handlings []handling) (own []handling, err error) {
	if t.Kind != EventInput || len(handlings) < 2 {
		return handlings, nil
	}
	for n := range handlings {
		keys, err := r.locate(t, handlings[n:n+1])
		if err != nil {
			return nil, err
		}
		claims, err := r.claimsOf(t, handlings[n])
		if err != nil {
			return nil, err
		}
		if slices.Contains(keys, i.Key) || slices.ContainsFunc(claims, func(k ClaimedKey) bool { return slices.Contains(i.Claims, k) }) {
			own = append(own, handlings[n])
		}
	}
	return own, nil
}

// find asks a locator. One that panics is an error.
func (r *router) find(by *handler, t *Taken, fact any) (keys []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &StepError{Process: r.def.name, Input: t.describe(), Err: fmt.Errorf("panic in Locate: %v", p), Stack: string(debug.Stack())}
		}
	}()
	return by.locate(fact, t.Metadata), nil
}

// locate returns the keys of the instances that an event concerns, each once, in order, but for those that they have
// claimed. A key that no stream can have is an error.
func (r *router) locate(t *Taken, handlings []handling) (keys []string, err error) {
	var seen map[string]bool // of many: most events have one
	for _, x := range handlings {
		by := x.in.locator()
		if by.claim != "" {
			continue
		}
		found, err := r.find(by, t, x.fact)
		if err != nil {
			return nil, err
		}
		for _, key := range found {
			if key == "" || seen[key] || seen == nil && slices.Contains(keys, key) {
				continue
			}
			if seen == nil && len(keys) == 16 {
				seen = make(map[string]bool, 1024)
				for _, k := range keys {
					seen[k] = true
				}
			}
			if seen != nil {
				seen[key] = true
			}
			if err := checkInstance(r.def.name, key); err != nil {
				return nil, &StepError{Process: r.def.name, Instance: key, Input: t.describe(), Err: err}
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}
