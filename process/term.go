package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// term is one holding of the lease: everything that is known in memory is read anew at its beginning, and whatever
// fails ends it. Inputs are taken in turns; a turn is one transaction.
type term struct {
	*Engine
	lease    *consumer.Lease
	written  time.Time // when the lease was last renewed, by this process's monotonic clock
	sources  []*source
	cache    cache
	timers   timers
	holds    map[string]*Holding
	retries  map[string]*Holding // those of holds that are tried again
	dispatch *dispatcher
	ignored  map[string]*ignoredCount
	batch    batch
	wake     chan struct{} // something happened that the loop may wait for
	running  sync.WaitGroup

	barrier struct { // by the wall clock, timeouts fire behind everything that was recorded before they were due
		upTo  time.Time
		heads map[string]eventlog.Position
	}
}

func cursorKey(process, module string, partition int) string {
	return eventlog.Key(process, module, fmt.Sprintf("%03d", partition))
}

// nudge wakes the loop.
func (t *term) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// open reads what the store knows and starts what runs beside the loop.
func (t *term) open(ctx context.Context) error {
	name := t.cfg.Definition.name
	if err := t.describe(ctx); err != nil {
		return err
	}
	t.cache = newCache(t.cfg.Cache)
	t.timers = timers{process: name, log: t.home.Log}
	t.holds, t.retries = map[string]*Holding{}, map[string]*Holding{}
	for h, err := range Holdings(ctx, t.home.Log, name) {
		if err != nil {
			return err
		}
		t.holds[h.Instance] = &h
		t.retrying(&h)
	}
	var err error
	if t.ignored, err = readIgnored(ctx, t.home.Log, name); err != nil {
		return err
	}
	for order, module := range t.cfg.Modules {
		if !slices.Contains(t.reads, module.Name) {
			continue
		}
		s := &source{module: module, order: order, types: t.names[module.Name], pages: make(chan page, 2),
			written: module.Name == t.cfg.Home || slices.Contains(t.cfg.Written, module.Name),
			cursors: make([]consumer.Cursor, t.cfg.Partitions), dirty: make([]bool, t.cfg.Partitions)}
		if err := s.load(ctx, name, t.home.Log); err != nil {
			return err
		}
		t.sources = append(t.sources, s)
	}
	t.dispatch = newDispatcher(&t.cfg, t.nudge)
	open, err := readPending(ctx, t.home.Log, name, "")
	if err != nil {
		return err
	}
	t.dispatch.add(open)
	t.running.Go(func() { t.dispatch.run(ctx, t.cfg.Workers) })
	for _, s := range t.sources {
		from := s.cursors[0].Position
		for _, c := range s.cursors {
			from = min(from, c.Position)
		}
		t.running.Go(func() { s.follow(ctx, t.router, t.cfg.Replay, from, t.nudge) })
	}
	return t.timers.load(ctx)
}

// load reads the source's cursors and checks that its log is still the one that was read (G1).
func (s *source) load(ctx context.Context, process string, home eventlog.Log) error {
	checked := map[eventlog.Position]bool{}
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Prefix: eventlog.Key(process, s.module.Name) + "/"}) {
		if err != nil {
			return fmt.Errorf("process: read cursors: %w", err)
		}
		var c consumer.Cursor
		var p int
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return fmt.Errorf("process: cursor %q: %w", e.Key, err)
		}
		if _, err := fmt.Sscanf(eventlog.SplitKey(e.Key)[2], "%d", &p); err != nil || p >= len(s.cursors) {
			return fmt.Errorf("process: cursor %q: no such partition", e.Key)
		}
		if !checked[c.Position] {
			if err := c.Check(ctx, s.module.Log); err != nil {
				return fmt.Errorf("module %q: %w", s.module.Name, err)
			}
			checked[c.Position] = true
		}
		s.cursors[p] = c
		s.reached = max(s.reached, c.At)
		if c.Time.After(s.time) {
			s.time = c.Time
		}
	}
	return nil
}

// describe writes the description when it changed, and refuses another number of partitions.
func (t *term) describe(ctx context.Context) error {
	d := t.Describe()
	known, err := Descriptions(ctx, t.home.Log)
	if err != nil {
		return err
	}
	want, err := json.Marshal(d)
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.Process != d.Process {
			continue
		}
		if k.Partitions != d.Partitions {
			return fmt.Errorf("%w: it runs with %d, %d were asked for", ErrPartitions, k.Partitions, d.Partitions)
		}
		if k.Store != d.Store {
			return fmt.Errorf("%w: its instances are kept as %s, %s was asked for", ErrStore, k.Store, d.Store)
		}
		if have, err := json.Marshal(k); err == nil && string(have) == string(want) {
			return nil
		}
	}
	put, err := d.put()
	if err != nil {
		return err
	}
	done, err := t.home.Log.Append(context.WithoutCancel(ctx), t.lease.Write(), put)
	if err != nil {
		return fmt.Errorf("process: write the description: %w", err)
	}
	t.lease.Renewed(done.Results[0].Revision)
	return nil
}

// loop takes turns until something ends the term.
func (t *term) loop(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		did, err := t.turn(ctx)
		if err != nil {
			return t.failed(err)
		}
		if did {
			continue
		}
		if finished, err := t.finished(ctx); err != nil {
			return err
		} else if finished {
			if err := t.checkpoint(ctx); err != nil {
				return t.failed(err)
			}
			return errFinished
		}
		if err := t.rest(ctx); err != nil {
			return err
		}
	}
}

// errAgain ends a term to begin another at once.
var errAgain = errors.New("process: again")

// errSplit means that a step failed of an instance that had taken steps in the same batch.
var errSplit = errors.New("process: the batch must be split")

// failed decides how the next term begins, after an error in a turn. Inputs of a batch that failed are taken one by one,
// so that what cannot be stored is found and held.
func (t *term) failed(err error) error {
	var no *refusedError
	switch {
	case errors.Is(err, errAgain):
		return err
	case errors.Is(err, errSplit), errors.As(err, &no):
		t.single = max(1, t.batch.inputs)
		return errAgain
	case t.lease.Lost(err):
		return fmt.Errorf("%w: %w", consumer.ErrLeaseLost, err)
	default:
		return err
	}
}

// limit is how many inputs the next batch takes at most.
func (t *term) limit() int {
	if t.single > 0 {
		return 1
	}
	return t.cfg.Batch
}

// maxBacklog bounds the commands that wait for their receivers, and with them memory: inputs wait meanwhile.
const maxBacklog = 4096

// turn takes inputs and commits what they led to. It tells whether it did anything.
func (t *term) turn(ctx context.Context) (bool, error) {
	t.batch.reset()
	if t.timers.exhausted() {
		if err := t.timers.load(ctx); err != nil {
			return false, err
		}
	}
	t.timers.trim()
	t.cache.turn()
	for _, s := range t.sources {
		got, blocked, err := s.poll()
		if err != nil {
			return false, err
		}
		if got {
			t.setBlocked(s, blocked)
		}
	}
	if err := t.takeOutcomes(ctx); err != nil {
		return false, err
	}
	if err := t.takeRetries(ctx); err != nil {
		return false, err
	}
	if open, _ := t.dispatch.backlog(); open < maxBacklog {
		if err := t.preload(ctx); err != nil {
			return false, err
		}
		if err := t.takeInTime(ctx); err != nil {
			return false, err
		}
	}
	lags := slices.ContainsFunc(t.sources, (*source).lags)
	if t.batch.empty() && !lags {
		t.countBatch()                                                               // what was recognised
		return t.timers.exhausted() || t.batch.passed > 0 || t.batch.looked > 0, nil // then there is more to look at
	}
	t.setBusy()
	if err := t.commit(ctx, lags); err != nil {
		return false, err
	}
	if t.single > 0 && t.batch.decided() {
		t.single--
	}
	return true, nil
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
	if err := t.keepLease(ctx); err != nil {
		return err
	}
	renew := t.lease.TTL()/3 - time.Since(t.written)
	wait := renew
	now := t.cfg.Now()
	if d, ok := t.timers.next(); ok && !t.cfg.Replay {
		wait = min(wait, max(d.at.Sub(now), time.Millisecond))
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
	case <-timer.C:
	}
	return nil
}

// keepLease renews the lease when it is time. A commit renews it as well.
func (t *term) keepLease(ctx context.Context) error {
	if time.Since(t.written) < t.lease.TTL()/3 {
		return nil
	}
	if err := t.lease.Renew(context.WithoutCancel(ctx)); err != nil { // cut short, nobody would know its revision
		return err
	}
	t.written = time.Now()
	return nil
}

// reportIdle tells WaitIdle how far everything is handled.
func (t *term) reportIdle() {
	if open, _ := t.dispatch.backlog(); open > 0 {
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

// checkpoint writes every cursor that lags.
func (t *term) checkpoint(ctx context.Context) error {
	t.batch.reset()
	return t.commit(ctx, true)
}
