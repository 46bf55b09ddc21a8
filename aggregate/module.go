// Package aggregate loads and changes aggregates: consistency boundaries whose state is folded from one stream.
//
// The smallest useful program defines an aggregate and changes one:
//
//	var orders = aggregate.Define("order", func(o Order, e OrderEvent) Order { … })
//
//	m := &aggregate.Module{Log: log, Types: types}
//	err := aggregate.Execute(ctx, m, orders, "42", func(o Order) ([]OrderEvent, error) {
//		return []OrderEvent{OrderConfirmed{OrderID: "42"}}, nil
//	})
//
// A Work changes several aggregates of one module at once; Recorder is for aggregates that are objects; Inside and
// Afterwards declare what else happens when an event did.
//
// Loading folds and does nothing else: no handler runs and nothing is written (G13).
package aggregate

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// DefaultTries is how often a work is tried that meets changes by others.
const DefaultTries = 10

// Module is a module as its works see it. It must not be changed or copied once it is used.
type Module struct {
	Name     string          // appears in errors and logs
	Log      eventlog.Log    // where its aggregates are; required
	Types    *event.Registry // its events; required
	Handlers []Handler       // what happens with its events, inside the work or afterwards
	Carried  []string        // names of the headers that go from input to command to event

	Now    func() time.Time // clock; nil for time.Now
	Tries  int              // how often Do and Execute try a work in all when others change what it loaded; 0 for DefaultTries
	Logger *slog.Logger     // told of what is retried; nil for none

	turns turns
}

// Check returns everything that is wrong with the module, joined: a missing log or registry, and handlers that are empty or
// share a name.
func (m *Module) Check() error {
	var errs []error
	if m.Log == nil {
		errs = append(errs, fmt.Errorf("aggregate: module %q has no log", m.Name))
	}
	if m.Types == nil {
		errs = append(errs, fmt.Errorf("aggregate: module %q has no registry of event types", m.Name))
	}
	if m.Tries < 0 {
		errs = append(errs, fmt.Errorf("aggregate: module %q: %d tries; 0 means %d", m.Name, m.Tries, DefaultTries))
	}
	names := make(map[string]bool, len(m.Handlers))
	for _, h := range m.Handlers {
		switch {
		case h.handle == nil:
			errs = append(errs, fmt.Errorf("aggregate: module %q: handler %q has no function; make it with Inside or Afterwards", m.Name, h.name))
		case h.name == "":
			errs = append(errs, fmt.Errorf("aggregate: module %q: a handler of %v has no name", m.Name, h.fact))
		case names[h.name]:
			errs = append(errs, fmt.Errorf("aggregate: module %q: two handlers are called %q", m.Name, h.name))
		}
		names[h.name] = true
	}
	return errors.Join(errs...)
}

func (m *Module) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

func (m *Module) tries() int {
	if m.Tries == 0 {
		return DefaultTries
	}
	return m.Tries
}

func (m *Module) logger() *slog.Logger {
	if m.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return m.Logger
}
