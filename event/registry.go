package event

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Registry knows a module's types: Go type to stable name and back. It does not change after it is made and is safe for
// concurrent use.
type Registry struct {
	byName map[string]*Type
	byGo   map[reflect.Type]*Type
}

// NewRegistry returns a registry of the types. Every mistake is reported, joined: names that are malformed or used
// twice and Go types registered twice are *TypeError.
func NewRegistry(types ...Type) (*Registry, error) {
	r := &Registry{byName: make(map[string]*Type, len(types)), byGo: make(map[reflect.Type]*Type, len(types))}
	var errs []error
	for i := range types {
		t := &types[i]
		if t.goType == nil {
			errs = append(errs, &TypeError{Name: t.name, Reason: "is empty; make it with event.Named"})
			continue
		}
		if t.err != nil {
			errs = append(errs, t.err)
		}
		for _, name := range append([]string{t.name}, t.former...) {
			if err := CheckTypeName(name); err != nil {
				errs = append(errs, err)
				continue
			}
			if other, taken := r.byName[name]; taken {
				errs = append(errs, &TypeError{Name: name, GoType: t.goType, Reason: fmt.Sprintf("is registered twice: for %v and for %v", other.goType, t.goType)})
				continue
			}
			r.byName[name] = t
		}
		if other, taken := r.byGo[t.goType]; taken {
			errs = append(errs, &TypeError{Name: t.name, GoType: t.goType, Reason: fmt.Sprintf("names %v, which %q names already", t.goType, other.name)})
			continue
		}
		r.byGo[t.goType] = t
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// CheckTypeName tells what is wrong with the name of an event type, if anything.
func CheckTypeName(name string) error {
	if name == "" || len(name) > 200 {
		return &TypeError{Name: name, Reason: fmt.Sprintf("has %d bytes; a type's name has 1 to 200", len(name))}
	}
	if strings.HasPrefix(name, SystemPrefix) {
		return &TypeError{Name: name, Reason: "begins with " + SystemPrefix + ", which is reserved for system records"}
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:", c) >= 0) {
			return &TypeError{Name: name, Reason: fmt.Sprintf("holds %q; a type's name has letters, digits and -._: only", c)}
		}
	}
	return nil
}

// Types returns the registered types, by name.
func (r *Registry) Types() []Type {
	types := make([]Type, 0, len(r.byGo))
	for _, t := range r.byGo {
		types = append(types, *t)
	}
	slices.SortFunc(types, func(a, b Type) int { return strings.Compare(a.name, b.name) })
	return types
}

// NameOf returns the stable name of a Go type, if it is registered.
func (r *Registry) NameOf(t reflect.Type) (string, bool) {
	if found, ok := r.byGo[t]; ok {
		return found.name, true
	}
	return "", false
}

// PresentName returns the name that a type has today, given that or one that it had before.
func (r *Registry) PresentName(name string) (string, bool) {
	if found, ok := r.byName[name]; ok {
		return found.name, true
	}
	return "", false
}

// Knows tells whether an event of that name would be decoded to a Go value.
func (r *Registry) Knows(name string) bool { _, ok := r.byName[name]; return ok }

// Encode makes an event out of a domain event or a Draft of one. The id is left zero unless the draft has one. An
// unregistered Go type is an *UnregisteredError.
func (r *Registry) Encode(fact any) (Event, error) {
	draft, ok := fact.(Draft)
	if !ok {
		draft = Draft{Fact: fact}
	}
	fact = draft.Fact
	if raw, ok := fact.(Raw); ok { // what was surfaced as it is can be recorded as it is
		if err := CheckTypeName(raw.Type); err != nil {
			return Event{}, err
		}
		return Event{ID: draft.ID, Type: raw.Type, Schema: max(raw.Schema, 1), Data: raw.Data, Metadata: Metadata{Headers: draft.Headers}, Tags: draft.Tags, Occurred: draft.Occurred}, nil
	}
	t, ok := r.byGo[reflect.TypeOf(fact)]
	if !ok {
		return Event{}, &UnregisteredError{GoType: reflect.TypeOf(fact)}
	}
	data, err := t.codec.Encode(fact)
	if err != nil {
		return Event{}, fmt.Errorf("event: encode %q: %w", t.name, err)
	}
	e := Event{ID: draft.ID, Type: t.name, Schema: t.schema, Data: data, Tags: draft.Tags, Occurred: draft.Occurred}
	if len(draft.Headers) > 0 {
		e.Metadata.Headers = draft.Headers
	}
	if tagged, ok := fact.(Tagged); ok {
		e.Tags = slices.Concat(tagged.EventTags(), e.Tags)
	}
	if e.Occurred.IsZero() {
		if dated, ok := fact.(Dated); ok {
			e.Occurred = dated.OccurredAt()
		}
	}
	return e, nil
}

// Decode returns the domain events that an event stands for today: mostly one; none or several where an upcaster says
// so. An event of an unknown type is returned as its Raw. A newer schema version than the registry knows is a
// *NewerSchemaError, an older one without an upcaster a *MissingUpcastError: neither is ever decoded at best effort.
func (r *Registry) Decode(e Event) ([]any, error) {
	t, ok := r.byName[e.Type]
	if ok && max(e.Schema, 1) == t.schema { // the usual case, without detours
		v, err := t.decode(t.codec, e.Data)
		if err != nil {
			return nil, &DecodeError{Type: e.Type, Schema: t.schema, ID: e.ID, Err: err}
		}
		return []any{v}, nil
	}
	return r.decode(Raw{Type: e.Type, Schema: max(e.Schema, 1), Data: e.Data}, e.ID, 0)
}

// maxUpcasts bounds a chain of upcasters, which two types that are upcast to each other would make endless.
const maxUpcasts = 100

func (r *Registry) decode(raw Raw, id ID, depth int) ([]any, error) {
	t, ok := r.byName[raw.Type]
	if !ok {
		return []any{raw}, nil
	}
	if raw.Schema == t.schema {
		v, err := t.decode(t.codec, raw.Data)
		if err != nil {
			return nil, &DecodeError{Type: raw.Type, Schema: raw.Schema, ID: id, Err: err}
		}
		return []any{v}, nil
	}
	if raw.Schema > t.schema {
		return nil, &NewerSchemaError{Type: raw.Type, Schema: raw.Schema, Known: t.schema, ID: id}
	}
	up, ok := t.upcasts[raw.Schema]
	if !ok {
		return nil, &MissingUpcastError{Type: raw.Type, Schema: raw.Schema, Known: t.schema, ID: id}
	}
	if depth >= maxUpcasts {
		return nil, &DecodeError{Type: raw.Type, Schema: raw.Schema, ID: id, Err: fmt.Errorf("more than %d upcasters in a row; do two types lead to each other?", maxUpcasts)}
	}
	next, err := up(raw)
	if err != nil {
		return nil, &DecodeError{Type: raw.Type, Schema: raw.Schema, ID: id, Err: fmt.Errorf("upcast: %w", err)}
	}
	facts := make([]any, 0, len(next))
	for _, n := range next {
		if n.Type == raw.Type && n.Schema <= raw.Schema {
			return nil, &DecodeError{Type: raw.Type, Schema: raw.Schema, ID: id, Err: fmt.Errorf("the upcaster returned schema version %d of the same type; it must grow", n.Schema)}
		}
		more, err := r.decode(n, id, depth+1)
		if err != nil {
			return nil, err
		}
		facts = append(facts, more...)
	}
	return facts, nil
}

// Readable returns the names of stored events that may be decoded to the Go type: its own name, its former ones, and
// those of all types that have upcasters, since an upcaster may return any type.
func (r *Registry) Readable(goType reflect.Type) []string {
	var names []string
	for name, t := range r.byName {
		if t.goType == goType || len(t.upcasts) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
