package aggregate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// stored is the value of a snapshot entry, whose key is the stream's name.
type stored struct {
	Format  int              `json:"format"`
	Version eventlog.Version `json:"version"` // of the last event in the state, 1 or more
	Event   event.ID         `json:"event"`   // that event
	State   json.RawMessage  `json:"state"`
}

// restore takes the state out of the stream's snapshot, if there is one that can be read. What is of another format,
// or damaged, is as if it were not there.
func (v *view[S, E]) restore(ctx context.Context, log eventlog.Log, name string) (*stored, error) {
	for entry, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Snapshot, Keys: []string{name}}) {
		if err != nil {
			return nil, fmt.Errorf("aggregate: read the snapshot of stream %q: %w", name, err)
		}
		var kept stored
		var state S
		if json.Unmarshal(entry.Value, &kept) != nil || kept.Format != v.policy.format || kept.Version == 0 || json.Unmarshal(kept.State, &state) != nil {
			continue
		}
		v.state, v.snapshot = state, kept.Version
		return &kept, nil
	}
	return nil, nil
}

// recover goes on where the stream does not begin as it should: at version 1, or at the snapshot's event. first is
// its first version that was read, 0 for none.
func (v *view[S, E]) recover(ctx context.Context, m *Module, name string, kept *stored, first eventlog.Version) (eventlog.Version, error) {
	if kept != nil {
		if lister, ok := m.Log.(eventlog.StreamLister); ok {
			info, err := lister.Stream(ctx, name)
			if err != nil {
				return 0, fmt.Errorf("aggregate: load stream %q: %w", name, err)
			}
			if info.Truncated == kept.Version && info.Version >= kept.Version { // the snapshot stands for exactly what is gone
				return v.foldAfter(ctx, m, name, kept.Version)
			}
		}
	}
	var none S
	v.state, v.snapshot = none, 0
	if kept == nil {
		return 0, &TruncatedError{Stream: name, First: first, Needed: 1}
	}
	return v.foldAfter(ctx, m, name, 0)
}

// foldAfter folds the versions above after, which must all be there, and returns the last version.
func (v *view[S, E]) foldAfter(ctx context.Context, m *Module, name string, after eventlog.Version) (eventlog.Version, error) {
	last := after
	for rec, err := range m.Log.ReadStream(ctx, name, eventlog.StreamQuery{After: after, System: true}) {
		if err != nil {
			return 0, fmt.Errorf("aggregate: load stream %q: %w", name, err)
		}
		if rec.Version != last+1 {
			return 0, &TruncatedError{Stream: name, First: rec.Version, Needed: last + 1}
		}
		if err := v.fold(m, rec); err != nil {
			return 0, err
		}
		last = rec.Version
	}
	return last, nil
}

// keep returns the write that renews the snapshot, if that is due at the version and the event that is the last one now.
func (v *view[S, E]) keep(name string, version eventlog.Version, id event.ID) (eventlog.Write, error) {
	if v.policy.every == 0 || version < v.snapshot+eventlog.Version(v.policy.every) { // #nosec G115 -- every is positive
		return nil, nil
	}
	state, err := json.Marshal(v.state)
	if err != nil {
		return nil, fmt.Errorf("aggregate: snapshot of stream %q: %w", name, err)
	}
	value, err := json.Marshal(stored{Format: v.policy.format, Version: version, Event: id, State: state})
	if err != nil {
		return nil, fmt.Errorf("aggregate: snapshot of stream %q: %w", name, err)
	}
	if len(value) > eventlog.MaxEntryValue {
		return nil, nil
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Snapshot, Key: name, Value: value}}, nil
}

// due tells whether keep would return a write.
func (v *view[S, E]) due(version eventlog.Version) bool {
	return v.policy.every > 0 && version >= v.snapshot+eventlog.Version(v.policy.every) // #nosec G115 -- every is positive
}
