package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// writing is a batch that is being appended, while the next one is gathered.
type writing struct {
	batch
	saved    int // writes that are the store's
	done     chan struct{}
	appended eventlog.Appended
	err      error
	failed   error // what err, or a repeat, means for the term
}

// commit begins to append everything that the turn led to, in one call (G6): the steps, the timeouts set and cancelled, the
// commands to send, the queues, the cursors, and the lease. Nothing leaves before that is done. The term goes on with the
// next batch meanwhile: in memory, everything is as it will be then.
func (t *term) commit(ctx context.Context, all bool) error {
	if err := t.written(); err != nil {
		return err
	}
	steps, err := t.cfg.Store.Save(t.home, t.batch.changes)
	if err != nil {
		return t.cannotSave(&t.batch, &refusedError{err})
	}
	writes, err := t.writes(steps, all)
	if err != nil {
		return err
	}
	w := &writing{batch: t.batch, saved: len(steps), done: make(chan struct{})}
	t.writing = w
	t.batch.reset()
	t.aside(func() {
		defer close(w.done)
		// What is decided is committed also when the program is being stopped: the context's end must not leave it unknown.
		w.appended, w.err = t.Engine.home.Log.Append(context.WithoutCancel(ctx), writes...)
		if w.err == nil && !w.appended.Repeat {
			t.dispatch.park(w.parked...)
			t.dispatch.resume(w.resumed...)
			t.dispatch.add(w.sent)
			t.dispatch.recorded(w.settled)
		}
	})
	return nil
}

// written waits until the batch that is being written is, if there is one. Once that has failed it fails for ever: the term
// is over, since memory is ahead of the store.
func (t *term) written() error {
	w := t.writing
	if w == nil {
		return nil
	}
	t.waits()
	<-w.done
	switch {
	case w.failed != nil:
		return w.failed
	case w.err != nil:
		w.failed = t.cannotSave(&w.batch, refusal(t.clash(w.err)))
		return w.failed
	case w.appended.Repeat: // nothing was written: every event of the batch was in the log already, emitted under an id of its own
		w.failed = t.cannotSave(&w.batch, &refusedError{errRepeated})
		return w.failed
	}
	t.lease.Renewed(w.appended.Results[0].Revision)
	if n, ok := t.cfg.Store.(Noter); ok {
		n.Note(w.changes, w.appended.Results[1:1+w.saved])
	}
	t.writing, t.clashes = nil, 0
	t.count(func(s *Stats) { s.Transactions++ })
	t.countBatch(&w.batch)
	return nil
}

// writes returns all that the batch is to the log. The lease comes first: whoever lost it hears of that, and of nothing else.
func (t *term) writes(steps []eventlog.Write, all bool) ([]eventlog.Write, error) {
	b := &t.batch
	process := t.timers.process
	writes := make([]eventlog.Write, 0, len(steps)+len(b.writes)+len(b.order)+len(b.sent)+len(t.sources)*t.cfg.Partitions+1)
	writes = append(writes, t.lease.Write())
	writes = append(writes, steps...)
	writes = append(writes, b.writes...)
	for _, key := range b.order {
		writes = append(writes, b.timeouts[key])
	}
	for _, p := range b.sent {
		value, err := marshalSent(&p.sent)
		if err != nil {
			return nil, fmt.Errorf("process: command of %s: %w", Stream(process, p.instance), err)
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: pendingKey(process, p.instance, p.sent.Number), Value: value}, Expect: eventlog.NoEntry})
	}
	for _, h := range b.holds {
		w, err := h.put(process)
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for key := range b.released {
		writes = append(writes, eventlog.Delete{Kind: eventlog.Hold, Key: eventlog.Key(process, key)})
	}
	for k, c := range b.ignored {
		value, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: k.entry(process), Value: value}})
	}
	for _, c := range b.claims {
		w, err := c.put(process)
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for _, s := range t.sources {
		writes = append(writes, s.cursorWrites(process, all)...)
	}
	return writes, nil
}

// writtenLog is the home log as a turn reads it: what the batch before decided is in it. Instances are loaded beside it
// (term.load), since those that a batch changed stand in the cache until it is written.
type writtenLog struct {
	eventlog.Log
	t *term
}

func (l writtenLog) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	if err := l.t.written(); err != nil {
		return func(yield func(eventlog.Entry, error) bool) { yield(eventlog.Entry{}, err) }
	}
	return l.Log.Entries(ctx, q)
}

// countBatch adds what the turn did to the statistics.
func (t *term) countBatch(b *batch) {
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
			if h.Queued > 0 { // or what waited was decided by an operator
				waiting++
			}
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
// instances stand aside with the store's error the next time that they take it (G9). Where no instance took it, nothing can
// stand aside: the term fails, and the next one tries it again after a back-off.
func (t *term) cannotSave(b *batch, err error) error {
	var no *refusedError
	if t.single == 0 && !b.alone || !errors.As(err, &no) {
		return err
	}
	if len(b.changes) == 0 {
		return fmt.Errorf("process: what belongs to no step cannot be stored: %w", no.err)
	}
	for _, c := range b.changes {
		t.refuse[refused{c.Instance.Key, c.Steps[len(c.Steps)-1].Record.Input.ID}] = err
	}
	return errAgain
}
