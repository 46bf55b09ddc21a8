package main

import (
	"context"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/process"
)

// stores are three ways to keep the state of one definition.
//
//   - documents: each instance is one document, replaced at every step. Short, and without a history.
//   - streams: each instance has a stream of its own, catering-match/<order>, of links to the events that it took, which
//     stand in the order's stream, and of records of what it decided. It answers what led to the state.
//   - folded: the state is nowhere. It is folded from the order's own stream whenever it is needed.
//
// All of them take the same inputs to the same outcome. They differ in what can be read afterwards, and in cost.
var stores = map[string]process.Store{
	"documents": process.Documents{},
	"streams":   process.Streams{},
	"folded":    Folded{},
}

// Folded is a store of this example's own. It can do without a state because every event that changes a Match stands
// in the stream of its order, so that the same events always give the same Match. No timeout changes one, and no
// command's outcome.
//
// What it cannot do without is what the engine knows of an instance: whether it runs or is completed, which timeout is set,
// and up to which position it took the order's events. That is no state of the domain. Leaving it out would be
// dishonest: an order's stream says that an answer is there, not whether the process has taken it, and a process that
// takes an answer twice confirms twice. So that part is kept as process.Documents keeps it, with an empty state, and
// the fold stops at the position that stands there.
type Folded struct{ process.Documents }

// Load implements process.Store.
func (f Folded) Load(ctx context.Context, home process.Home, keys []string) ([]*process.Instance, error) {
	instances, err := f.Documents.Load(ctx, home, keys)
	if err != nil {
		return nil, err
	}
	types, err := event.NewRegistry(events...)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if i == nil {
			continue
		}
		if i.State, err = fold(ctx, home.Log, types, i); err != nil {
			return nil, err
		}
	}
	return instances, nil
}

// fold makes a match out of what the instance has taken of its order's stream.
func fold(ctx context.Context, log eventlog.Log, types *event.Registry, i *process.Instance) (domain.Match, error) {
	var m domain.Match
	for rec, err := range log.ReadStream(ctx, orders.Stream(i.Key), eventlog.StreamQuery{}) {
		if err != nil {
			return m, err
		}
		if rec.Position > taken(i) {
			break
		}
		facts, err := types.Decode(rec.Event)
		if err != nil {
			return m, err
		}
		for _, fact := range facts {
			if e, ok := fact.(domain.Event); ok {
				m = m.Evolve(e)
			}
		}
	}
	return m, nil
}

// taken returns the position up to which an instance took the events of the module.
func taken(i *process.Instance) eventlog.Position {
	for _, m := range i.Marks {
		if m.Module == module {
			return m.Position
		}
	}
	return 0
}

// Save implements process.Store.
func (f Folded) Save(home process.Home, changes []process.Change) ([]eventlog.Write, error) {
	bare := make([]process.Change, len(changes))
	for n, c := range changes {
		i := *c.Instance
		i.State = domain.Match{}
		bare[n] = process.Change{Instance: &i, Steps: c.Steps}
	}
	return f.Documents.Save(home, bare)
}
