package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// worker is an engine while it runs: one of those that share the partitions of the process.
type worker struct {
	*Engine
	member  *consumer.Member
	closing []eventlog.Write // cursors that lagged when the last term ended
	shared  bool             // there were others when the last term began
}

// mine says which partitions a term is about: those that the worker owned when it began.
type mine struct {
	owns []bool // by partition
	all  bool
}

func newMine(owned []int, n int) mine {
	m := mine{owns: make([]bool, n), all: len(owned) == n}
	for _, p := range owned {
		m.owns[p] = true
	}
	return m
}

func (m mine) partition(key string) int { return consumer.Partition(key, len(m.owns)) }

// has tells whether the instance of that key is in one of the partitions.
func (m mine) has(key string) bool { return m.all || m.owns[m.partition(key)] }

func shareKey(process string) string { return eventlog.Key("process", process) }

// errFinished ends the run of a process by the replay clock: every source is sealed and read, nothing is due.
var errFinished = errors.New("process: finished")

// Run runs the process until the context ends, which is no error. By the replay clock it also ends, without an error,
// when every source is sealed and read to its end, every timeout has fired and every command has its outcome.
//
// Any number of workers may run a process at a time, in one program or in several: they share its partitions evenly. A
// worker that joins gets its share from the others within moments; the share of one that leaves is taken over at once,
// that of one that vanished when its lease has run out. By the replay clock, a worker goes on until all have finished.
//
// Trouble of the store is retried; an error is returned only when going on would be wrong: eventlog.ErrLogRewound, a
// closed log, ErrPartitions, ErrStore or a *RenamedError.
func (e *Engine) Run(ctx context.Context) error {
	w := &worker{Engine: e, member: consumer.NewMember(e.home.Log, shareKey(e.cfg.Definition.name), e.cfg.Partitions, e.cfg.Lease)}
	defer w.leave(ctx)
	for failures := 0; ; {
		began := time.Now()
		err := w.work(ctx)
		var renamed *RenamedError
		switch {
		case errors.Is(err, errFinished):
			return nil
		case ctx.Err() != nil:
			return nil // whatever ended the term, the context's end asked for it
		case errors.Is(err, eventlog.ErrLogRewound), errors.Is(err, eventlog.ErrClosed), errors.Is(err, ErrPartitions), errors.Is(err, ErrStore), errors.As(err, &renamed):
			return fmt.Errorf("process %q stopped: %w", e.cfg.Definition.name, err)
		}
		if time.Since(began) > time.Minute {
			failures = 0
		}
		failures++
		wait := e.cfg.Retry.Backoff.After(failures)
		if h := w.member.Lease().Holder(); errors.Is(err, consumer.ErrLeaseLost) {
			e.cfg.Logger.Error("this worker lost its lease: it was stopped for too long, and others do its work; what it did not commit was refused, and it joins again",
				"worker", h.Worker, "host", h.Host, "pid", h.PID, "since", h.Since, "until", h.Until, "error", err)
		}
		if wait > w.member.Poll() { // one that is back before the others look keeps its place
			w.leave(ctx)
		}
		e.cfg.Logger.Error("starting over", "error", err, "after", wait)
		_ = consumer.Sleep(ctx, wait) // cut short, the next term ends at once
	}
}

// work joins the workers of the process and runs one term after the other, until one fails.
func (w *worker) work(ctx context.Context) error {
	if err := w.join(ctx); err != nil {
		return err
	}
	for {
		d, err := w.await(ctx)
		if err != nil {
			return err
		}
		if err := w.term(ctx, d); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// join makes the worker one of those of the process, without partitions.
func (w *worker) join(ctx context.Context) error {
	if err := w.member.Join(ctx); err != nil {
		return err
	}
	if w.byStore {
		now := w.member.Clock()
		w.store.Store(&now)
	}
	clear(w.refuse) // what was refused because the lease was lost is not refused again
	return w.describe(ctx)
}

// leave lets the others have the partitions at once, and says how far they were handled.
func (w *worker) leave(ctx context.Context) {
	last, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := w.member.Leave(last, w.closing...); err != nil && !errors.Is(err, eventlog.ErrClosed) {
		w.cfg.Logger.Warn("the lease could not be released; it runs out by itself", "error", err)
	}
	w.closing = nil
}

// await waits until the worker has partitions, and returns how they were divided then.
func (w *worker) await(ctx context.Context) (*consumer.Division, error) {
	for {
		d, err := w.claim(ctx)
		if err != nil {
			return nil, err
		}
		if len(w.member.Owned()) > 0 {
			return d, nil
		}
		if w.member.Settled(d) { // more workers than partitions
			heads, err := w.heads(ctx)
			if err != nil {
				return nil, err
			}
			w.setIdle(heads, time.Time{})
		}
		if err := w.member.Lease().Keep(ctx); err != nil {
			return nil, err
		}
		if err := consumer.Sleep(ctx, w.member.Poll()); err != nil {
			return nil, err
		}
		w.setBusy()
	}
}

// claim takes what the worker can get of its share of the partitions, and returns how they were divided before.
func (w *worker) claim(ctx context.Context) (*consumer.Division, error) {
	d, err := w.member.Look(ctx)
	if err != nil {
		return nil, err
	}
	if len(d.Members) > 1 { // who comes alone finds out by itself: it may have been started to do something again
		if finished, err := w.allFinished(ctx, d); err != nil {
			return nil, err
		} else if finished {
			return nil, errFinished
		}
	}
	if err := w.member.Release(ctx, d); err != nil { // what it had before it began anew
		return nil, err
	}
	_, err = w.member.Take(ctx, d)
	return d, err
}

// heads returns the present heads of the sources.
func (e *Engine) heads(ctx context.Context) (map[string]eventlog.Position, error) {
	heads := map[string]eventlog.Position{}
	for _, m := range e.cfg.Modules {
		if _, reads := e.names[m.Name]; !reads {
			continue
		}
		var err error
		if heads[m.Name], err = m.Log.Head(ctx); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// term runs one term with the partitions that the worker owns.
func (w *worker) term(ctx context.Context, d *consumer.Division) error {
	t := w.newTerm(d)
	return w.ended(ctx, t, t.run(ctx))
}

// newTerm prepares a term with the partitions that the worker owns.
func (w *worker) newTerm(d *consumer.Division) *term {
	owned := w.member.Owned()
	t := &term{Engine: w.Engine, mine: newMine(owned, w.cfg.Partitions), member: w.member, lease: w.member.Lease(), looked: time.Now(),
		division: d, settled: w.member.Settled(d), wake: make(chan struct{}, 1)}
	t.aside, t.waits = t.running.Go, func() {}
	t.home = w.home
	t.home.Log = writtenLog{w.home.Log, t}
	w.count(func(s *Stats) { s.Owned = len(owned) })
	if shared := len(d.Members) > 1; shared || w.shared {
		w.cfg.Logger.Info("partitions are shared", "owned", len(owned), "of", w.cfg.Partitions, "workers", len(d.Members), "worker", t.lease.Holder().Worker)
		w.shared = shared
	}
	return t
}

// ended is what follows the end of a term, and errAgain where that is another term.
func (w *worker) ended(ctx context.Context, t *term, err error) error {
	w.count(func(s *Stats) { s.Owned = 0 })
	w.closing = t.lagging()
	if !errors.Is(err, errMoved) {
		return err
	}
	w.count(func(s *Stats) { s.Held, s.Waiting = 0, 0 }) // of its next partitions, the next turn counts them
	if err := w.member.Release(ctx, t.division, w.closing...); err != nil {
		return err
	}
	w.closing = nil
	return errAgain
}

// errMoved ends a term whose worker is to own other partitions.
var errMoved = errors.New("process: partitions move")

// run ends when everything that the term had started has ended.
func (t *term) run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		t.running.Wait()
		t.setBusy()
	}()
	if err := t.restore(running); err != nil {
		return err
	}
	t.start(running)
	err := t.loop(running)
	_ = t.written() // what failed is done again by the next term
	return err
}

// lagging returns the writes of the cursors that lag, if everything that was taken is committed.
func (t *term) lagging() (writes []eventlog.Write) {
	if !t.whole || t.writing != nil {
		return nil
	}
	for _, s := range t.sources {
		writes = append(writes, s.cursorWrites(t.timers.process, true)...)
	}
	return writes
}

// look sees now and then how the partitions are divided, and ends the term when this worker is to have others.
func (t *term) look(ctx context.Context) error {
	if time.Since(t.looked) < t.member.Poll() {
		return nil
	}
	if err := t.written(); err != nil {
		return t.failed(err)
	}
	if err := t.lease.Keep(ctx); err != nil {
		return err
	}
	return t.compare(ctx)
}

// compare ends the term when its worker is to have other partitions.
func (t *term) compare(ctx context.Context) error {
	d, err := t.member.Look(ctx)
	if err != nil {
		return err
	}
	t.looked, t.division, t.ask = time.Now(), d, true
	t.claims.look = t.correlates
	if finished, err := t.allFinished(ctx, d); err != nil {
		return err
	} else if finished {
		return errFinished
	}
	took, err := t.member.Take(ctx, d)
	if err != nil {
		return err
	}
	if took || t.member.Above(d) > 0 {
		return errMoved
	}
	t.settled = t.member.Settled(d)
	return nil
}

// finish is called while this worker has nothing left to do by the replay clock. One that owns everything ends. One of
// several says how far it came, and goes on: what the others do may concern it, and it takes over from one that vanishes.
func (t *term) finish(ctx context.Context, heads map[string]eventlog.Position) error {
	if t.mine.all {
		t.batch.reset()
		if err := t.commit(ctx, true); err != nil {
			return err
		}
		if err := t.written(); err != nil {
			return err
		}
		return errFinished
	}
	if t.told != nil && (maps.Equal(t.told, heads) || time.Since(t.toldAt) < t.member.Poll()) {
		return nil
	}
	if err := t.member.Finish(ctx, heads, t.lagging()...); err != nil {
		return err
	}
	t.told, t.toldAt = heads, time.Now()
	d, err := t.member.Look(ctx)
	if err != nil {
		return err
	}
	if finished, err := t.allFinished(ctx, d); err != nil || !finished {
		return err
	}
	return errFinished
}

// allFinished tells whether, by the replay clock, all workers have handled everything up to the present heads of the
// sources. Then nothing comes from any of them: what one does begins with an event that it reads, a timeout or a command.
func (e *Engine) allFinished(ctx context.Context, d *consumer.Division) (bool, error) {
	if !e.cfg.Replay {
		return false, nil
	}
	for _, s := range d.Partitions {
		if len(s.Finished) == 0 || !maps.Equal(s.Finished, d.Partitions[0].Finished) {
			return false, nil
		}
	}
	if handing, err := e.handing(ctx, func(string) bool { return true }); err != nil || handing {
		return false, err
	}
	heads, err := e.heads(ctx) // behind the entries: what was appended since shows
	return err == nil && maps.Equal(heads, d.Partitions[0].Finished), err
}
