package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/event"
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

// commit appends everything that the turn led to, in one call (G6): the steps, the timeouts set and cancelled, the
// commands to send, the queues, the cursors, and the lease. Nothing leaves before it returned.
func (t *term) commit(ctx context.Context, all bool) error {
	b := &t.batch
	process := t.timers.process
	steps, err := t.cfg.Store.Save(t.home, b.changes)
	if err != nil {
		return t.cannotSave(&refusedError{err})
	}
	saved := len(steps)
	writes := make([]eventlog.Write, 0, saved+len(b.writes)+len(b.order)+len(b.sent)+len(t.sources)*t.cfg.Partitions+1)
	writes = append(writes, t.lease.Write()) // first: whoever lost it hears of that, and of nothing else
	writes = append(writes, steps...)
	writes = append(writes, b.writes...)
	for _, key := range b.order {
		writes = append(writes, b.timeouts[key])
	}
	for _, p := range b.sent {
		value, err := json.Marshal(&p.sent)
		if err != nil {
			return fmt.Errorf("process: command of %s: %w", Stream(process, p.instance), err)
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: pendingKey(process, p.instance, p.sent.Number), Value: value}, Expect: eventlog.NoEntry})
	}
	for _, h := range b.holds {
		w, err := h.put(process)
		if err != nil {
			return err
		}
		writes = append(writes, w)
	}
	for key := range b.released {
		writes = append(writes, eventlog.Delete{Kind: eventlog.Hold, Key: eventlog.Key(process, key)})
	}
	for k, c := range b.ignored {
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: k.entry(process), Value: value}})
	}
	for _, c := range b.claims {
		w, err := c.put(process)
		if err != nil {
			return err
		}
		writes = append(writes, w)
	}
	for _, s := range t.sources {
		writes = append(writes, s.cursorWrites(process, all)...)
	}

	// What is decided is committed also when the program is being stopped: the context's end must not leave it unknown.
	done, err := t.home.Log.Append(context.WithoutCancel(ctx), writes...)
	if err != nil {
		return t.cannotSave(refusal(t.clash(err)))
	}
	if done.Repeat { // nothing was written: every event of the batch was in the log already, emitted under an id of its own
		return t.cannotSave(&refusedError{errRepeated})
	}
	t.lease.Renewed(done.Results[0].Revision)
	if n, ok := t.cfg.Store.(Noter); ok {
		n.Note(b.changes, done.Results[1:1+saved])
	}
	t.dispatch.park(b.parked...)
	t.dispatch.resume(b.resumed...)
	t.dispatch.add(b.sent)
	t.dispatch.recorded(b.settled)
	t.clashes = 0
	t.count(func(s *Stats) { s.Transactions++ })
	t.countBatch()
	return nil
}

// countBatch adds what the turn did to the statistics.
func (t *term) countBatch() {
	b := &t.batch
	t.count(func(s *Stats) {
		s.Inputs += b.stats.Inputs
		s.Duplicates += b.stats.Duplicates
		s.Ignored += b.stats.Ignored
		s.Timeouts += b.stats.Timeouts
		s.Commands += b.stats.Commands
		if b.clock.After(s.Clock) {
			s.Clock = b.clock
		}
		s.Held, s.Waiting = 0, 0
		if len(t.holds) > 0 {
			s.Held, s.Waiting = t.holdCounts()
		}
	})
}

func (t *term) holdCounts() (held, waiting int) {
	for _, h := range t.holds {
		switch h.Condition {
		case Held:
			held++
		case Waiting:
			waiting++
		}
	}
	return held, waiting
}

// refusedError is a batch that the store cannot keep, whatever is tried.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return fmt.Sprintf("the store refuses it: %v", e.err) }
func (e *refusedError) Unwrap() error { return e.err }

// refused names a step: its instance and its input.
type refused struct {
	instance string
	input    event.ID
}

// refusal marks errors of an append that would come again with the same batch.
func refusal(err error) error {
	var limit *eventlog.LimitError
	var name *eventlog.NameError
	var id *eventlog.IDError
	var conflict *eventlog.ConflictError
	if errors.As(err, &conflict) { // the lease is this worker's, so nobody but a stranger can have written there
		return &refusedError{fmt.Errorf("%w (somebody else appends to the instance's stream: is an aggregate's category named like the process?)", err)}
	}
	if errors.As(err, &limit) || errors.As(err, &name) || errors.As(err, &id) {
		return &refusedError{err}
	}
	return err
}

var errRepeated = errors.New("an event with the id of one that is emitted is in the log already; leave the id to Emit")

// cannotSave handles a batch that the store refuses. One of several inputs is split. When a single input is refused, its
// instances stand aside with the store's error the next time that they take it (G9).
func (t *term) cannotSave(err error) error {
	var no *refusedError
	if t.single == 0 || !errors.As(err, &no) {
		return err
	}
	for _, c := range t.batch.changes {
		t.refuse[refused{c.Instance.Key, c.Steps[len(c.Steps)-1].Record.Input.ID}] = err
	}
	return errAgain
}
