// Package authority is a police authority's software around its traffic fines: four modules that recorded what
// happened, a fifth one that adds penalties, and fine-collection, the process between them.
//
//	app, err := ensue.Open(ctx, "fines/", append(authority.Modules(authority.FineCollection(nil)), ensue.Options{Replay: true})...)
//	// …
//	err = app.Run(ctx) // returns when the logs are read to their ends and every penalty was added
package authority

import (
	"fmt"
	"slices"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// Sources are the names of the modules whose logs are imported.
var Sources = []string{Registry, Post, Payments, Appeals}

// Names are the names of all modules, in the order in which Modules returns them.
var Names = append(slices.Clone(Sources), Collections)

// Modules returns the modules; the process is given so that a test may watch its steps.
func Modules(collection process.Definition) []ensue.Part {
	modules := declare(collection)
	parts := make([]ensue.Part, len(modules))
	for n, m := range modules {
		parts[n] = m
	}
	return parts
}

func declare(collection process.Definition) []ensue.Module {
	return []ensue.Module{registry(collection), post(), payments(), appeals(), collections()}
}

// Types returns the events of a module, for reading its log without opening the application.
func Types(module string) (*event.Registry, error) {
	for _, m := range declare(process.Definition{}) {
		if m.Name == module {
			return event.NewRegistry(m.Events...)
		}
	}
	return event.NewRegistry()
}

// InOrder returns the modules in the order of their names; without names they stay as they are.
func InOrder(modules []ensue.Part, names []string) ([]ensue.Part, error) {
	if names == nil {
		return modules, nil
	}
	ordered := make([]ensue.Part, 0, len(modules))
	for _, name := range names {
		n := slices.IndexFunc(modules, func(p ensue.Part) bool { m, ok := p.(ensue.Module); return ok && m.Name == name })
		if n < 0 {
			return nil, fmt.Errorf("there is no module %q", name)
		}
		ordered = append(ordered, modules[n])
	}
	return ordered, nil
}
