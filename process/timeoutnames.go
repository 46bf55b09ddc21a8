package process

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// checkTimeouts tells which timeouts cannot be told apart: two types under one name, a type under two, or a name that
// another one has with a key. Names that they had before count.
func (d *Definition) checkTimeouts() (errs []error) {
	var seen []*declared
	for _, in := range d.inputs {
		if in.kind != TimeoutInput {
			continue
		}
		for _, other := range seen {
			shared := slices.IndexFunc(in.names(), func(name string) bool { return slices.Contains(other.names(), name) })
			switch {
			case shared >= 0:
				errs = append(errs, fmt.Errorf("timeouts %v and %v have the same name %q", other.goType, in.goType, in.names()[shared]))
			case other.goType == in.goType:
				errs = append(errs, fmt.Errorf("timeout %v has two names, %q and %q; where several are wanted at once, it has a method TimeoutKey", in.goType, other.name, in.name))
			case other.covers(in) || in.covers(other):
				errs = append(errs, fmt.Errorf("timeouts %q and %q: the one with a TimeoutKey can have the name of the other; rename one", other.name, in.name))
			}
		}
		seen = append(seen, in)
	}
	return errs
}

// covers tells whether a timeout, with a key, can have the name of another.
func (in *declared) covers(other *declared) bool {
	keyed := reflect.TypeFor[interface{ TimeoutKey() string }]()
	return in.goType.Implements(keyed) && slices.ContainsFunc(other.names(), func(name string) bool {
		return slices.ContainsFunc(in.names(), func(own string) bool { return strings.HasPrefix(name, own+":") })
	})
}
