package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// term is the time in which a worker owns the same partitions: everything that is known in memory is read anew at its
// beginning, is of these partitions alone, and whatever fails ends it. Inputs are taken in turns; a turn is one transaction.
type term struct {
	*Engine
	home     Home // the engine's, as a turn sees it: with everything that was decided before
	mine     mine
	member   *consumer.Member
	lease    *consumer.Lease              // the membership, under which everything is written
	looked   time.Time                    // when it last looked how the partitions are divided
	division *consumer.Division           // what it saw
	settled  bool                         // the worker had its share then
	told     map[string]eventlog.Position // the heads up to which it said to have finished
	toldAt   time.Time
	whole    bool // nothing was taken that isn't committed, or being written
	sources  []*source
	cache    cache
	timers   timers
	holds    map[string]*Holding
	retries  map[string]*Holding // those of holds that are tried again
	skipped  map[event.ID]bool   // events that could not be decoded and that an operator skipped, of all partitions
	fair     bool                // the last turn was for all
	asked    []request           // of operators, still to be executed
	ask      bool                // it must look for them
	tidied   time.Time           // when it last looked for answers that nobody collected
	waited   time.Time           // when the first of those that wait has waited for too long; zero for never
	dispatch *dispatcher
	ignored  map[ignoredKey]*ignoredCount
	claims   claims
	batch    batch    // that is gathered
	writing  *writing // the one before it, which is being written
	giving   *item    // the event that is given to those whom it concerns, while it is

	unanswered map[string][]unanswered // by the replay clock: commands whose outcomes their instances wait for

	wake    chan struct{} // something happened that the loop may wait for
	running sync.WaitGroup
	aside   func(func()) // does something beside the loop
	waits   func()       // is told that the loop is about to wait for that

	barrier struct { // by the wall clock, timeouts fire behind everything that was recorded before they were due
		upTo  time.Time
		heads map[string]eventlog.Position
	}
}

// nudge wakes the loop.
func (t *term) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// restore reads what the store knows.
func (t *term) restore(ctx context.Context) error {
	name := t.cfg.Definition.name
	t.cache = newCache(t.cfg.Cache)
	t.timers = timers{process: name, log: t.home.Log, mine: t.mine, page: t.read.timers}
	t.holds, t.retries, t.skipped = map[string]*Holding{}, map[string]*Holding{}, map[event.ID]bool{}
	t.ask = true
	var parked []string
	for h, err := range Holdings(ctx, t.home.Log, name) {
		if err != nil {
			return err
		}
		if h.Condition == Skipped {
			t.skipped[skippedEvent(h.Instance)] = true
		}
		if !t.mine.has(h.Instance) {
			continue
		}
		t.holds[h.Instance] = &h
		t.retrying(&h)
		if h.Condition == Held && !h.Command.IsZero() {
			parked = append(parked, h.Instance)
		}
	}
	var err error
	if t.ignored, err = readIgnored(ctx, t.home.Log, name, t.mine); err != nil {
		return err
	}
	for order, module := range t.cfg.Modules {
		if !slices.Contains(t.reads, module.Name) {
			continue
		}
		s := &source{module: module, mine: t.mine, order: order, types: t.names[module.Name], pages: make(chan page, 2), page: t.read.events,
			written: module.Name == t.cfg.Home || slices.Contains(t.cfg.Written, module.Name),
			cursors: make([]consumer.Cursor, t.cfg.Partitions), dirty: make([]bool, t.cfg.Partitions), known: t.ignoredUpTo(module)}
		if err := s.load(ctx, name, t.home.Log); err != nil {
			return err
		}
		t.sources = append(t.sources, s)
	}
	t.dispatch = newDispatcher(&t.cfg, t.nudge)
	t.dispatch.park(parked...)
	open, err := readPending(ctx, t.home.Log, name, "")
	if err != nil {
		return err
	}
	open = slices.DeleteFunc(open, func(p pending) bool { return !t.mine.has(p.instance) })
	t.unanswered = map[string][]unanswered{}
	for n := range open {
		t.sends(open[n].instance, &open[n].sent)
	}
	for _, h := range t.holds {
		if h.Condition == Awaiting && len(t.unanswered[h.Instance]) == 0 { // for what the definition, or the clock, was before
			t.goOn(h)
		}
	}
	t.dispatch.add(open)
	if err := t.timers.load(ctx); err != nil {
		return err
	}
	t.whole, t.claims.look = true, t.correlates
	return nil
}

// start starts what runs beside the loop.
func (t *term) start(ctx context.Context) {
	t.running.Go(func() { t.dispatch.run(ctx, t.cfg.Workers) })
	for _, s := range t.sources {
		from := s.begin()
		t.running.Go(func() { s.follow(ctx, t.router, t.cfg.Replay, from, t.nudge) })
	}
}

// loop takes turns until something ends the term.
func (t *term) loop(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.look(ctx); err != nil {
			return err
		}
		if did, err := t.next(ctx); err != nil {
			return err
		} else if did {
			continue
		}
		if finished, heads, err := t.finished(ctx); err != nil {
			return err
		} else if finished {
			if err := t.finish(ctx, heads); err != nil {
				return t.failed(err)
			}
		}
		if err := t.rest(ctx); err != nil {
			return err
		}
	}
}

// next takes one turn.
func (t *term) next(ctx context.Context) (did bool, err error) {
	t.whole = false
	if did, err = t.turn(ctx); err != nil {
		return false, t.failed(err)
	}
	t.whole = true
	return did, nil
}

// errAgain ends a term to begin another at once.
var errAgain = errors.New("process: again")

// errSplit means that a step failed of an instance that had taken steps in the same batch, and that could not be mended.
var errSplit = errors.New("process: the batch must be split")

// failed decides how the next term begins, after an error in a turn. Inputs of a batch that failed are taken one by one,
// so that what cannot be stored is found and held.
func (t *term) failed(err error) error {
	b := &t.batch
	if failed := t.written(); failed != nil { // what came behind it fails with it
		b, err = &t.writing.batch, failed
	}
	var no *refusedError
	switch {
	case errors.Is(err, errAgain):
		return err
	case errors.Is(err, errSplit), errors.As(err, &no):
		t.single = max(1, b.inputs)
		return errAgain
	case t.lease.Lost(err) && !errors.Is(err, consumer.ErrLeaseLost):
		return fmt.Errorf("%w: %w", consumer.ErrLeaseLost, err)
	default:
		return err
	}
}

// limit is how many inputs the next batch takes at most.
func (t *term) limit() int {
	if t.single > 0 || t.batch.alone {
		return 1
	}
	return t.cfg.Batch
}

// maxBacklog bounds the commands that wait for their receivers, and with them memory: inputs wait meanwhile.
const maxBacklog = 4096

// turn takes inputs and begins to commit what they led to. It tells whether it did anything. While the batch before it is
// being written, what comes is gathered: so much less is left to do when that is done.
func (t *term) turn(ctx context.Context) (bool, error) {
	t.batch.reset()
	t.batch.stored = func(key string) (*Instance, error) { return t.instance(ctx, key) }
	if t.timers.exhausted() {
		if err := t.timers.load(ctx); err != nil {
			return false, err
		}
	}
	t.timers.trim()
	t.cache.turn()
	t.claims.begin(ctx, t)
	if alone, err := t.retryAlone(ctx); err != nil || alone {
		return err == nil, err
	}
	if err := t.takeArrived(ctx); err != nil {
		return false, err
	}
	if err := t.takeStuck(ctx); err != nil {
		return false, err
	}
	if err := t.takeRequests(ctx); err != nil {
		return false, err
	}
	if err := t.takeRetries(ctx); err != nil {
		return false, err
	}
	if err := t.takeWaits(ctx); err != nil {
		return false, err
	}
	if err := t.takeClaims(ctx); err != nil {
		return false, err
	}
	if err := t.gather(ctx); err != nil {
		return false, err
	}
	lags := slices.ContainsFunc(t.sources, (*source).lags)
	if t.batch.empty() && !lags {
		t.countBatch(&t.batch)                                                       // what was recognised
		return t.timers.exhausted() || t.batch.passed > 0 || t.batch.looked > 0, nil // then there is more to look at
	}
	t.setBusy()
	decided := t.batch.decided()
	if err := t.commit(ctx, lags); err != nil {
		return false, err
	}
	if t.single > 0 {
		if err := t.written(); err != nil {
			return false, err
		}
		if decided {
			t.single--
		}
	}
	return true, nil
}

// full tells whether the batch has no room for more.
func (t *term) full() bool {
	return t.batch.inputs >= t.limit() || t.batch.settled >= 4*t.limit() || t.batch.looked >= 8*t.cfg.Batch
}

// gather takes inputs until the batch is full or, if nothing is being written any more, there are none.
func (t *term) gather(ctx context.Context) error {
	for woken := false; ; {
		if open, _ := t.dispatch.backlog(); open-t.batch.early < maxBacklog {
			if err := t.preload(ctx); err != nil {
				return err
			}
			if err := t.takeInTime(ctx); err != nil {
				return err
			}
		}
		if t.writing == nil || t.full() {
			if woken { // maybe for what is not gathered here: the next turn shall come
				t.nudge()
			}
			return nil
		}
		more, err := t.ahead()
		if err != nil {
			return err
		}
		woken = woken || more
		if err := t.takeArrived(ctx); err != nil {
			return err
		}
	}
}

// ahead waits until the batch before is written or, before that, there may be more to gather.
func (t *term) ahead() (woken bool, err error) {
	t.waits()
	select {
	case <-t.writing.done:
		return false, t.written()
	default:
	}
	select {
	case <-t.writing.done:
		return false, t.written()
	case <-t.wake:
		return true, nil
	}
}

// takeArrived takes the pages that the sources have read, and the outcomes of commands.
func (t *term) takeArrived(ctx context.Context) error {
	for _, s := range t.sources {
		got, blocked, err := s.poll()
		if err != nil {
			return err
		}
		if got {
			t.setBlocked(s, blocked)
		}
	}
	return t.takeOutcomes(ctx)
}

// takeInTime takes events and timeouts in the order of their instants: before an input of instant t, every timeout due
// up to t (G11). Between events of one instant, the declared order of their modules decides.
func (t *term) takeInTime(ctx context.Context) error {
	for t.batch.inputs < t.limit() && t.batch.looked < 8*t.cfg.Batch {
		s, at := t.candidate()
		horizon := at
		if s == nil {
			var ok bool
			if horizon, ok = t.horizon(ctx); !ok {
				return nil
			}
		}
		if t.timers.exhausted() {
			return nil // the window moves on between turns, when everything is committed
		}
		if d, ok := t.timers.next(); ok && !d.at.After(horizon) {
			t.timers.pop()
			if err := t.takeTimeout(ctx, d); err != nil {
				return err
			}
			continue
		}
		if s == nil {
			return nil
		}
		if t.cfg.Replay {
			t.batch.clock = at
		}
		it, _ := s.next()
		if whole, err := t.takeEvent(ctx, s, it); err != nil || !whole {
			return err
		}
		t.ignoredPassed(it)
		s.pop()
		t.batch.passed++
	}
	return nil
}

// setBlocked notes, for everyone to see, that a source cannot be read on, or that it can again.
func (t *term) setBlocked(s *source, why error) {
	if why == nil && s.blocked == nil {
		return
	}
	s.blocked = why
	if why != nil {
		t.cfg.Logger.Error("a source cannot be read on", "module", s.module.Name, "error", why)
	}
	t.count(func(st *Stats) {
		if why == nil {
			delete(st.Blocked, s.module.Name)
			return
		}
		if st.Blocked == nil {
			st.Blocked = map[string]string{}
		}
		st.Blocked[s.module.Name] = why.Error()
	})
}

// rest waits until there may be something to do, and keeps the lease meanwhile.
func (t *term) rest(ctx context.Context) error {
	t.reportIdle()
	if err := t.lease.Keep(ctx); err != nil {
		return err
	}
	wait := min(t.lease.Spare(), t.member.Poll()-time.Since(t.looked))
	now := t.cfg.Now()
	if d, ok := t.timers.next(); ok && !t.cfg.Replay {
		wait = min(wait, max(d.at.Sub(now), time.Millisecond))
	}
	if !t.waited.IsZero() {
		wait = min(wait, max(t.waited.Sub(now), time.Millisecond))
	}
	for _, h := range t.retries {
		wait = min(wait, max(h.RetryAt.Sub(now), time.Millisecond))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.wake:
	case <-t.notice:
		t.ask = true
	case <-timer.C:
	}
	return nil
}

// reportIdle tells WaitIdle how far everything is handled.
func (t *term) reportIdle() {
	if open, _ := t.dispatch.backlog(); open > 0 || !t.settled {
		return
	}
	if t.timers.exhausted() {
		return
	}
	heads := make(map[string]eventlog.Position, len(t.sources))
	for _, s := range t.sources {
		if len(s.buffer) > 0 || !s.ended {
			return
		}
		heads[s.module.Name] = s.scanned
	}
	if len(t.retries) > 0 {
		return
	}
	until := time.Time{}
	if d, ok := t.timers.next(); ok && !t.cfg.Replay {
		until = d.at
	}
	t.setIdle(heads, until)
}
