package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

const descriptionPrefix = "process"

// Descriptions returns the descriptions of the processes whose home the log is, by name.
func Descriptions(ctx context.Context, log eventlog.Log) ([]Description, error) {
	var all []Description
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Prefix: eventlog.Key(descriptionPrefix) + "/"}) {
		if err != nil {
			return nil, fmt.Errorf("process: read descriptions: %w", err)
		}
		var d Description
		if err := json.Unmarshal(e.Value, &d); err != nil {
			return nil, fmt.Errorf("process: description %q: %w", e.Key, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// put returns the write that keeps the description.
func (d Description) put() (eventlog.Write, error) {
	value, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: eventlog.Key(descriptionPrefix, d.Process), Value: value}}, nil
}

// Seal is the explicit end of an imported log: whoever replays it may take it that no event follows.
type Seal struct {
	Position eventlog.Position `json:"position"` // of the last event that was imported
}

const sealKey = "sealed"

// PutSeal returns the write that seals a log at a position. Append it when an import is complete.
func PutSeal(s Seal) (eventlog.Write, error) {
	value, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: sealKey, Value: value}}, nil
}

// ReadSeal returns the log's seal, if it has one.
func ReadSeal(ctx context.Context, log eventlog.Log) (Seal, bool, error) {
	var s Seal
	found := false
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Keys: []string{sealKey}}) {
		if err != nil {
			return s, false, fmt.Errorf("process: read the seal: %w", err)
		}
		if err := json.Unmarshal(e.Value, &s); err != nil {
			return s, false, fmt.Errorf("process: the seal: %w", err)
		}
		found = true
	}
	return s, found, nil
}
