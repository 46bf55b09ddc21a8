package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
		d.Version = max(1, d.Version)
		all = append(all, d)
	}
	return all, nil
}

// readDescription returns the description of one process and the revision to expect when it is put.
func readDescription(ctx context.Context, log eventlog.Log, process string) (d Description, rev eventlog.Revision, err error) {
	rev = eventlog.NoEntry
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Keys: []string{eventlog.Key(descriptionPrefix, process)}}) {
		if err == nil {
			err = json.Unmarshal(e.Value, &d)
		}
		if err != nil {
			return d, 0, fmt.Errorf("process: read the description of %q: %w", process, err)
		}
		rev = e.Revision
	}
	return d, rev, nil
}

// StoredName returns the name under which a process is kept in its home log: the one of its names that the log has a
// description of or, in a log that has none, the oldest. A *RenamedError means that the log has several of them, or one of
// a process that had this name and is not declared to have been it.
func StoredName(ctx context.Context, home eventlog.Log, d Definition) (string, error) {
	all, err := Descriptions(ctx, home)
	if err != nil {
		return "", err
	}
	names := d.Names()
	today := names[len(names)-1]
	var kept []string
	for _, known := range all {
		if slices.Contains(names, known.Process) || known.Name == today {
			kept = append(kept, known.Process)
		}
	}
	switch {
	case len(kept) == 0:
		return names[0], nil
	case len(kept) > 1 || !slices.Contains(names, kept[0]):
		return "", &RenamedError{Process: today, Kept: kept}
	}
	return kept[0], nil
}

// RenamedError means that what is kept of a process does not stand under the one name that its definition leads to.
type RenamedError struct {
	Process string
	Kept    []string // names under which the log has it
}

func (e *RenamedError) Error() string {
	if len(e.Kept) == 1 {
		return fmt.Sprintf("process %q is kept as %q in its home log; declare that name by Definition.Formerly", e.Process, e.Kept[0])
	}
	return fmt.Sprintf("process %q is kept under several names in its home log, %q: one of them ran before it was declared by Definition.Formerly; declare only one of them", e.Process, e.Kept)
}

// describe writes the description when it changed, and refuses another number of partitions, or another store.
func (w *worker) describe(ctx context.Context) error {
	if kept, err := StoredName(ctx, w.home.Log, w.cfg.Definition); err != nil {
		return err
	} else if kept != w.home.name {
		return &RenamedError{Process: w.home.name, Kept: []string{kept}}
	}
	d := w.Describe()
	want, err := json.Marshal(d)
	if err != nil {
		return err
	}
	for {
		known, rev, err := readDescription(ctx, w.home.Log, d.Process)
		if err != nil {
			return err
		}
		if rev != eventlog.NoEntry {
			if known.Partitions != d.Partitions {
				return fmt.Errorf("%w: it runs with %d, %d were asked for", ErrPartitions, known.Partitions, d.Partitions)
			}
			if known.Store != d.Store {
				return fmt.Errorf("%w: its instances are kept as %s, %s was asked for", ErrStore, known.Store, d.Store)
			}
			if known.Version > d.Version || known.Version == d.Version && known.Name != "" && d.Name == "" {
				return nil // programs of several versions run: the newest one describes the process
			}
			if have, err := json.Marshal(known); err == nil && string(have) == string(want) {
				return nil
			}
		}
		lease := w.member.Lease()
		put := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: eventlog.Key(descriptionPrefix, d.Process), Value: want}, Expect: rev}
		done, err := w.home.Log.Append(context.WithoutCancel(ctx), lease.Write(), put)
		var faster *eventlog.EntryConflictError
		switch {
		case err == nil:
			lease.Renewed(done.Results[0].Revision)
			return nil
		case errors.As(err, &faster) && faster.Kind == eventlog.Setting:
			continue // another worker wrote it at the same time
		}
		return fmt.Errorf("process: write the description: %w", err)
	}
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
