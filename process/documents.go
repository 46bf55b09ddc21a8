package process

import (
	"context"
	"iter"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Documents is the store that keeps each instance as one document, replaced at each change under its revision. It keeps
// no history: choose it where many short inputs meet long-lived instances and nobody asks what led to their state.
type Documents struct{}

// Load implements Store.
func (Documents) Load(ctx context.Context, home Home, keys []string) ([]*Instance, error) {
	found, err := documents(ctx, home, keys)
	if err != nil {
		return nil, err
	}
	instances := make([]*Instance, len(keys))
	for n, key := range keys {
		e, ok := found[key]
		if !ok {
			continue
		}
		i, err := home.FromImage(key, e.Value)
		if err != nil {
			return nil, err
		}
		i.Token = uint64(e.Revision) // #nosec G115 -- revisions are positive
		instances[n] = i
	}
	return instances, nil
}

// Save implements Store.
func (Documents) Save(home Home, changes []Change) ([]eventlog.Write, error) {
	writes := make([]eventlog.Write, 0, len(changes))
	for _, c := range changes {
		var emitted []event.Event
		born := false
		for _, s := range c.Steps {
			emitted = append(emitted, s.Emitted...)
			born = born || s.Record.Birth != nil && s.Record.Birth.Incarnation == 1
		}
		if len(emitted) > 0 {
			writes = append(writes, eventlog.ToStream{Stream: home.Stream(c.Instance.Key), Events: emitted})
		}
		value, err := c.Instance.Image()
		if err != nil {
			return nil, err
		}
		put := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: eventlog.Key(home.Process(), c.Instance.Key), Value: value}}
		switch {
		case born:
			put.Expect = eventlog.NoEntry
		default:
			put.Expect = eventlog.Revision(c.Instance.Token) // #nosec G115 -- set from a revision
		}
		writes = append(writes, put)
	}
	return writes, nil
}

// List implements Store.
func (Documents) List(ctx context.Context, home Home, after string) iter.Seq2[Summary, error] {
	return ListInstances(ctx, home.Log, home.Process(), after)
}

// Note implements Noter: the next save expects the revision that this one made.
func (Documents) Note(changes []Change, results []eventlog.Result) {
	n := 0
	for _, c := range changes {
		for _, s := range c.Steps {
			if len(s.Emitted) > 0 {
				n++ // the change's events are one write before its document
				break
			}
		}
		c.Instance.Token = uint64(results[n].Revision) // #nosec G115 -- revisions are positive
		n++
	}
}
