package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
)

// evolution is what a definition says of those that were before it.
type evolution struct {
	number   int           // the version; 0 is 1
	former   []string      // names, the oldest first
	declared string        // the name of today, where the process is kept under a former one
	replaced []Replacement // older versions that it says something of
}

// WithVersion returns the definition as version n, from 1, the default. Each step records the version that decided it. A
// program whose version is lower than that of an instance leaves it alone: its inputs wait, visibly, for one that is not.
func (d Definition) WithVersion(n int) Definition {
	d.errs = slices.Clone(d.errs)
	if n < 1 {
		d.mistake("version %d: versions count from 1", n)
	}
	d.number = n
	return d
}

// Version returns the definition's version.
func (d Definition) Version() int { return max(1, d.number) }

// Formerly returns the definition of a process that had other names, the oldest first. What is kept of the process stays
// under the oldest of its names that its home log knows, for ever: its streams, timeouts, holds and commands, and what
// their ids are made of. Programs that know it by different ones of these names run one process. Leave no name out later.
func (d Definition) Formerly(names ...string) Definition {
	d.errs, d.former = slices.Clone(d.errs), append(slices.Clone(d.former), names...)
	for _, name := range names {
		if err := checkName(name); err != nil {
			d.mistake("formerly: %w", err)
		}
	}
	return d
}

// Names returns all names of the process, the oldest first and the present one last.
func (d Definition) Names() []string {
	today := d.name
	if d.declared != "" {
		today = d.declared
	}
	return append(slices.Clone(d.former), today)
}

// kept returns the definition of the process as it is kept under a name.
func (d Definition) kept(name string) Definition {
	if name != d.name {
		d.declared, d.name = d.name, name
	}
	return d
}

// Replacing returns the definition with what becomes of the running instances of older versions. Of a version that is not
// named, the history is read again by this definition, as if it had always been; with Documents, its state is decoded as
// this definition's. Backtest tells what that changes.
func (d Definition) Replacing(all ...Replacement) Definition {
	d.replaced = append(slices.Clone(d.replaced), all...)
	return d
}

// Replacement is an older version of a process, and what becomes of its instances. Make one with Pin or Migrate.
type Replacement struct {
	old      Definition
	turn     func(old any) (any, error) // nil: pinned
	from, to reflect.Type
}

// Pin lets the instances that an older version decided on go on with it until they complete; new ones are of the new
// version. An event is looked at by the locators of all these versions; an instance takes it if the locator of its own
// version finds it.
func Pin(old Definition) Replacement { return Replacement{old: old} }

// Migrate turns the state of each running instance of an older version into the new one's when it takes its next input, in
// the same transaction: nothing is migrated twice, and nothing stands still meanwhile. turn is pure; what it fails for
// stands aside. The old definition is needed until the last of its instances has taken an input or is completed: it reads
// their history up to there.
func Migrate[Old, New any](old Definition, turn func(Old) (New, error)) Replacement {
	return Replacement{old: old, from: reflect.TypeFor[Old](), to: reflect.TypeFor[New](), turn: func(state any) (any, error) { return turn(state.(Old)) }}
}

// checkEvolution returns the mistakes in what the definition says of older ones.
func (d *Definition) checkEvolution() (errs []error) {
	seen := map[int]bool{}
	for _, r := range d.replaced {
		v := r.old.Version()
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("replacing version %d: "+format, append([]any{v}, args...)...))
		}
		if err := r.old.Check(); err != nil {
			bad("%w", err)
		}
		if v >= d.Version() {
			bad("this one is version %d; give it a higher one by WithVersion", d.Version())
		}
		if seen[v] {
			bad("it is replaced twice")
		}
		seen[v] = true
		if names := d.Names(); !slices.ContainsFunc(r.old.Names(), func(name string) bool { return slices.Contains(names, name) }) {
			bad("it is of process %q; declare that name by Formerly", r.old.name)
		}
		if r.turn != nil && r.from != r.old.state.goType {
			bad("its state is %v, and Migrate takes %v", r.old.state.goType, r.from)
		}
		if r.turn != nil && r.to != d.state.goType {
			bad("the new state is %v, and Migrate makes %v", d.state.goType, r.to)
		}
	}
	return errs
}

// NewerVersionError means that an instance was stepped by a newer version of the process than this program has. It waits
// for a program that has it.
type NewerVersionError struct {
	Process, Instance string
	Version           int // of the instance
	Known             int // to this program
}

func (e *NewerVersionError) Error() string {
	return fmt.Sprintf("version %d of the process decided on it, and this program has version %d; it goes on with a program that has version %d", e.Version, e.Known, e.Version)
}

// former is an older version beside the present one.
type formerRouter struct {
	*router
	turn func(old any) (any, error) // nil: pinned
}

// addFormer prepares the older versions that the definition says something of.
func (r *router) addFormer(prepare func(*Definition) (*router, error)) error {
	var errs []error
	for n := range r.def.replaced {
		old := r.def.replaced[n].old
		old.name, old.replaced = r.def.name, nil
		old, _ = old.ready() // its mistakes are those of the definition
		prepared, err := prepare(&old)
		if err != nil {
			errs = append(errs, fmt.Errorf("version %d: %w", old.Version(), err))
		}
		r.former = append(r.former, formerRouter{prepared, r.def.replaced[n].turn})
	}
	return errors.Join(errs...)
}

// folding returns what reads the state of instances of a version, and how its state is turned, if it is.
func (r *router) folding(version int) (*router, func(any) (any, error)) {
	for _, o := range r.former {
		if o.def.Version() == version {
			return o.router, o.turn
		}
	}
	return r, nil
}

// of returns what decides for an instance: the version that it is pinned to, or the present one.
func (r *router) of(i *Instance) *router {
	if own, turn := r.folding(i.Version); turn == nil {
		return own
	}
	return r
}

// pinned returns the routers of versions that instances may be pinned to.
func (r *router) pinned() (all []*router) {
	for _, o := range r.former {
		if o.turn == nil {
			all = append(all, o.router)
		}
	}
	return all
}

// decodeAll is decode for all versions that may decide on the input.
func (r *router) decodeAll(t *Taken) ([]handling, error) {
	handlings, err := r.decode(t)
	for _, o := range r.pinned() {
		more, also := o.decode(t)
		handlings, err = append(handlings, more...), errors.Join(err, also)
	}
	return handlings, err
}

// own returns those of an event's facts that the instance's own version handles.
func (r *router) own(i *Instance, handlings []handling) []handling {
	if len(r.former) == 0 {
		return handlings
	}
	inputs := r.of(i).def.inputs
	return slices.DeleteFunc(slices.Clone(handlings), func(x handling) bool { return !slices.Contains(inputs, x.in) })
}

// queued returns what an input from its queue is to an instance.
func (r *router) queued(i *Instance, t *Taken) ([]handling, error) {
	if t.Kind != EventInput || len(r.former) == 0 {
		return r.of(i).decodeFor(i, t)
	}
	handlings, err := r.decodeAll(t)
	if err == nil {
		handlings, err = r.concerning(i, t, handlings)
	}
	if err != nil {
		return nil, err
	}
	return r.own(i, handlings), nil
}

// names returns the names of a timeout: the present one, and those that it had.
func (in *declared) names() []string {
	names := []string{in.name}
	for _, h := range in.parts {
		for _, name := range h.former {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// awaits tells whether some version handles such an outcome.
func (r *router) awaits(kind Kind, command string) bool {
	key := outcomeKey{kind, command}
	return r.outcomes[key] != nil || slices.ContainsFunc(r.pinned(), func(o *router) bool { return o.outcomes[key] != nil })
}

// settle makes an instance that a store loaded ready to take an input, or says why it must not.
func (h Home) settle(i *Instance) error {
	fail := func(err error) error {
		return &StepError{Process: h.name, Instance: i.Key, Input: "its state", Err: err}
	}
	if i.Version > h.def.Version() {
		return fail(&NewerVersionError{Process: h.name, Instance: i.Key, Version: i.Version, Known: h.def.Version()})
	}
	_, turn := h.router.folding(i.Version)
	if turn == nil || i.Status != Running || i.turned != nil {
		return nil
	}
	state, err := turned(turn, i.State)
	if err != nil {
		return fail(fmt.Errorf("migrate it from version %d to %d: %w", i.Version, h.def.Version(), err))
	}
	if i.turned, err = json.Marshal(state); err != nil {
		return fail(fmt.Errorf("the migrated state: %w", err))
	}
	i.State = state
	return nil
}

func turned(turn func(any) (any, error), old any) (state any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return turn(old)
}
