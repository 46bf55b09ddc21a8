package process

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// TimeoutInfo is a timeout that is to come.
type TimeoutInfo struct {
	Instance string
	Name     string    // its type's, and its key, if it has one, behind a colon
	Due      time.Time // to the microsecond, in UTC
	ID       event.ID  // of this setting of it: one that replaces it has another
}

// Timeouts lists the timeouts to come of an instance, or of all instances of a process where instance is empty, in the
// order in which they fire: by due time, then by instance and name. It needs no definition, only the home log. Those of
// an instance that stands aside wait for it, and may be overdue.
func Timeouts(ctx context.Context, log eventlog.Log, process, instance string) iter.Seq2[TimeoutInfo, error] {
	return func(yield func(TimeoutInfo, error) bool) {
		if instance == "" {
			q := eventlog.EntryQuery{Kind: eventlog.Timeout, Prefix: eventlog.Key(process) + "/", ByDue: true}
			for e, err := range log.Entries(ctx, q) {
				t, err := timeoutOf(process, e, err)
				if !yield(t, err) || err != nil {
					return
				}
			}
			return
		}
		var few []TimeoutInfo // the index by due time has those of all others between them
		for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout, Prefix: eventlog.Key(process, instance) + "/"}) {
			t, err := timeoutOf(process, e, err)
			if err != nil {
				yield(t, err)
				return
			}
			few = append(few, t)
		}
		slices.SortStableFunc(few, func(a, b TimeoutInfo) int { return a.Due.Compare(b.Due) })
		for _, t := range few {
			if !yield(t, nil) {
				return
			}
		}
	}
}

// timeoutOf reads an entry.
func timeoutOf(process string, e eventlog.Entry, err error) (TimeoutInfo, error) {
	if err != nil {
		return TimeoutInfo{}, fmt.Errorf("process: timeouts of %q: %w", process, err)
	}
	parts := eventlog.SplitKey(e.Key)
	if len(parts) != 3 || len(e.Value) != len(event.ID{}) {
		return TimeoutInfo{}, &eventlog.CorruptError{Address: "timeout " + e.Key, Reason: "is no timeout of ours"}
	}
	return TimeoutInfo{Instance: parts[1], Name: parts[2], Due: e.Due, ID: event.ID(e.Value)}, nil
}
