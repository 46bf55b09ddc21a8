// Package consumer holds what everything that follows logs shares: cursors that notice when a log is no longer the one
// that was read, the partitions into which a consumer's work is divided, the members that share them, the lease that
// makes one worker the owner of what it does, and back-off.
//
//	cursor, err := consumer.LoadCursor(ctx, home, eventlog.Key("billing", "orders", "00"))
//	err = cursor.Check(ctx, orders) // eventlog.ErrLogRewound when orders is another history than the one that was read
package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// DefaultPartitions is how many partitions a consumer's work is divided into unless it says otherwise.
const DefaultPartitions = 16

// Partition returns the partition, 0 to n-1, of an instance's key (or a stream's name). It never changes for a given n.
func Partition(key string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(n)) // #nosec G115 -- n is a small positive number
}

// Cursor is how far a consumer has handled a log: the position and the identity of what stands there.
type Cursor struct {
	Log      event.ID          `json:"log,omitzero"`   // the history of the log that was read
	Position eventlog.Position `json:"position"`       // everything up to it was handled
	Event    event.ID          `json:"event,omitzero"` // id of the last event that was handled, if any
	At       eventlog.Position `json:"at,omitempty"`   // where that event stands
	Time     time.Time         `json:"time,omitzero"`  // the greatest event time that was read from the log
}

// LoadCursor reads the cursor kept under key in a log's entries; the zero cursor where there is none.
func LoadCursor(ctx context.Context, home eventlog.Log, key string) (Cursor, error) {
	var c Cursor
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Keys: []string{key}}) {
		if err != nil {
			return Cursor{}, fmt.Errorf("consumer: read cursor %q: %w", key, err)
		}
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return Cursor{}, fmt.Errorf("consumer: cursor %q: %w", key, err)
		}
	}
	return c, nil
}

// Put returns the write that keeps the cursor under key.
func (c Cursor) Put(key string) eventlog.Put {
	value, err := json.Marshal(c)
	if err != nil {
		panic(err) // a Cursor has nothing that JSON cannot hold
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: key, Value: value}}
}

// Check compares the cursor with the log that it is about to be used on (G1). The error matches
// eventlog.ErrLogRewound when the log has another identity, ends before the cursor, or holds another event there.
func (c Cursor) Check(ctx context.Context, log eventlog.Log) error {
	if c.Log.IsZero() {
		return nil // nothing was read yet
	}
	if c.Log != log.ID() {
		return fmt.Errorf("%w: the cursor was made on log %s, this is %s; set the cursor back to read the new history (inputs are then recognised by their ids)",
			eventlog.ErrLogRewound, c.Log, log.ID())
	}
	head, err := log.Head(ctx)
	if err != nil {
		return fmt.Errorf("consumer: read the head: %w", err)
	}
	if head < c.Position {
		return fmt.Errorf("%w: the cursor stands at position %d, the log ends at %d; was it restored from an older copy?", eventlog.ErrLogRewound, c.Position, head)
	}
	if c.Event.IsZero() {
		return nil
	}
	found := event.ID{}
	for rec, err := range log.Read(ctx, eventlog.Query{After: c.At - 1, To: c.At, Limit: 1, System: true}) {
		if err != nil {
			return fmt.Errorf("consumer: read the event at the cursor: %w", err)
		}
		found = rec.ID
	}
	if found != c.Event {
		return fmt.Errorf("%w: position %d held event %s when it was handled and holds %s now", eventlog.ErrLogRewound, c.At, c.Event, found)
	}
	return nil
}

// Backoff says how long to wait before a retry: doubling from First to Most, with full jitter above the half.
type Backoff struct {
	First time.Duration // default 100 ms
	Most  time.Duration // default 30 s

	Random func(n int64) int64 // 0 to n-1, for the jitter, so that a simulation repeats itself; default rand.Int64N
}

// After returns the wait before retry number n, counted from 1.
func (b Backoff) After(n int) time.Duration {
	first, most := b.First, b.Most
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 30 * time.Second
	}
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	random := b.Random
	if random == nil {
		random = rand.Int64N
	}
	return d/2 + time.Duration(random(int64(d/2)+1))
}

// Sleep waits for d or until the context ends.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
