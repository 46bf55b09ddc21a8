package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

// Look returns what is known of an instance without its definition: everything but its state, which with Streams only
// the definition can fold; with Documents it is a json.RawMessage. ErrNoInstance where there is none.
func Look(ctx context.Context, home Home, key string) (*Instance, error) {
	found, err := documents(ctx, home, []string{key})
	if err != nil {
		return nil, err
	}
	entry, ok := found[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoInstance, home.Stream(key))
	}
	if i, err := outline(home.Process(), key, entry); i != nil || err != nil {
		return i, err
	}
	i := &Instance{Process: home.Process(), Key: key}
	for rec, err := range History(ctx, home, key) {
		if err != nil {
			return nil, err
		}
		i.note(&rec.Record)
	}
	if i.Status == New {
		return nil, &eventlog.CorruptError{Address: home.Stream(key), Reason: "the instance is listed, but its stream does not start it"}
	}
	return i, nil
}

// outline returns the instance that a document is; nil where the entry does no more than list one that has a stream.
func outline(process, key string, e eventlog.Entry) (*Instance, error) {
	var m image
	if err := json.Unmarshal(e.Value, &m); err != nil {
		return nil, fmt.Errorf("process: image of %s: %w", Stream(process, key), err)
	}
	if m.Incarnation == 0 {
		return nil, nil
	}
	return &Instance{Process: process, Key: key, Version: max(1, m.Version), Status: m.Status, Incarnation: m.Incarnation, State: m.State, Marks: m.Marks, Taken: m.Taken,
		Timers: m.Timers, Deferred: m.Deferred, Claims: m.Claims, Phase: m.Phase, Undos: m.Undos, Compensating: m.Compensating, Ending: m.Ending, Once: m.Once, Sent: m.Sent, Steps: m.Steps, Started: m.Started, Changed: m.Changed}, nil
}
