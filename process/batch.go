package process

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// batch is what one turn will commit.
type batch struct {
	inputs   int // taken, timeouts and outcomes included
	passed   int // events that were left behind, taken or not
	looked   int // instances that events were offered to, whether they took them or not
	settled  int // outcomes recorded
	early    int // outcomes that wait for a timeout
	changes  []Change
	index    map[string]int // of changes, by instance key
	writes   []eventlog.Write
	timeouts map[string]eventlog.Write // the last write of each, by entry key
	order    []string                  // of timeouts
	holds    map[string]*Holding       // to be written
	released map[string]bool           // holds to be deleted, by instance key
	ignored  map[ignoredKey]*ignoredCount
	claims   map[ClaimedKey]*claim // rows to be written
	sent     []pending
	parked   []string // instances that are held for a command
	resumed  []string // those that no longer are
	stats    Stats
	alone    bool      // it is of one instance whose step the store has refused before
	clock    time.Time // of the last event, by the replay clock

	stored func(key string) (*Instance, error) // returns an instance as it is without the batch, unless it is in the cache
}

func (b *batch) reset() {
	*b = batch{index: map[string]int{}, timeouts: map[string]eventlog.Write{}, holds: map[string]*Holding{}, released: map[string]bool{}, ignored: map[ignoredKey]*ignoredCount{}, claims: map[ClaimedKey]*claim{}}
}

func (b *batch) empty() bool {
	return b.inputs == 0 && b.settled == 0 && len(b.writes) == 0 && len(b.holds) == 0 && len(b.released) == 0 && len(b.timeouts) == 0 && len(b.ignored) == 0 && len(b.claims) == 0
}

// decided tells whether anything became of the inputs: those that were handled before are read again and pass.
func (b *batch) decided() bool {
	return len(b.changes) > 0 || b.settled > 0 || len(b.writes) > 0 || len(b.holds) > 0 || len(b.released) > 0 || len(b.ignored) > 0 || len(b.claims) > 0
}

// changed tells whether the instance took a step in this batch.
func (b *batch) changed(key string) bool { _, ok := b.index[key]; return ok }

func (b *batch) step(i *Instance, s Taking) {
	n, ok := b.index[i.Key]
	if !ok {
		n = len(b.changes)
		b.index[i.Key] = n
		b.changes = append(b.changes, Change{Instance: i})
	}
	b.changes[n].Steps = append(b.changes[n].Steps, s)
}

func (b *batch) put(w eventlog.Write) { b.writes = append(b.writes, w) }

func (b *batch) timeout(key string, w eventlog.Write) {
	if _, ok := b.timeouts[key]; !ok {
		b.order = append(b.order, key)
	}
	b.timeouts[key] = w
}

func (b *batch) setTimeout(process, instance string, t Timer) {
	key := timeoutKey(process, instance, t.Name)
	b.timeout(key, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Timeout, Key: key, Value: t.ID[:], Due: t.Due}})
}

func (b *batch) deleteTimeout(process, instance, name string) {
	key := timeoutKey(process, instance, name)
	b.timeout(key, eventlog.Delete{Kind: eventlog.Timeout, Key: key})
}

func (b *batch) hold(h *Holding) {
	b.holds[h.Instance] = h
	delete(b.released, h.Instance)
}

func (b *batch) release(h *Holding) {
	delete(b.holds, h.Instance)
	b.released[h.Instance] = true
}

func (b *batch) enqueue(process string, h *Holding, number int, in *Taken) error {
	value, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("process: queue %s: %w", in.describe(), err)
	}
	b.put(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Queued, Key: queueKey(process, h.Instance, number), Value: value}})
	b.hold(h)
	return nil
}
