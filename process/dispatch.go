package process

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
)

// pending is a command that was decided and committed and has no recorded outcome yet.
type pending struct {
	instance string
	sent     Sent
	first    bool      // it was never dispatched before
	attempts int       // that failed, since this worker or a release began anew
	since    time.Time // when the first of them failed
}

func pendingKey(process, instance string, number int) string {
	return eventlog.Key(process, instance, fmt.Sprintf("%012d", number))
}

// settled is a command with its outcome.
type settled struct {
	pending
	outcome command.Outcome
}

// dispatcher takes committed commands to their receivers: those of one instance in order, each after the outcome of the
// one before it, those of different instances in parallel. What follows a failed attempt is in undelivered.go; the commands
// of other instances pass meanwhile.
type dispatcher struct {
	commands Commands
	def      *Definition
	retry    Retry
	replay   bool
	now      func() time.Time
	logger   *slog.Logger
	wake     func()
	after    func(time.Duration, func()) // does something later

	mu     sync.Mutex
	work   sync.Cond
	queues map[string][]pending // by instance; the first one of each is being dispatched or is ready
	ready  []string             // instances whose first command waits for a worker
	done   []settled
	stuck  []stuck         // commands whose instances are to be held
	aside  map[string]bool // instances that are held, and whose commands are left alone
	held   int             // commands of these
	open   int             // commands without a recorded outcome, those included
	closed bool
}

func newDispatcher(cfg *Config, wake func()) *dispatcher {
	d := &dispatcher{commands: cfg.Commands, def: &cfg.Definition, retry: cfg.Retry, replay: cfg.Replay, now: cfg.Now, logger: cfg.Logger, wake: wake,
		after:  func(wait time.Duration, do func()) { time.AfterFunc(wait, do) },
		queues: map[string][]pending{}, aside: map[string]bool{}}
	d.work.L = &d.mu
	return d
}

// add takes commands that were committed.
func (d *dispatcher) add(commands []pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range commands {
		q := d.queues[p.instance]
		d.queues[p.instance] = append(q, p)
		if d.aside[p.instance] {
			d.held++
		} else if len(q) == 0 {
			d.ready = append(d.ready, p.instance)
			d.work.Signal()
		}
		d.open++
	}
}

// outcomes returns up to limit outcomes that arrived; the caller records them and then says so by recorded.
func (d *dispatcher) outcomes(limit int) []settled {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(limit, len(d.done))
	out := d.done[:n:n]
	d.done = d.done[n:]
	return out
}

// giveBack puts outcomes back in front that are to be recorded later.
func (d *dispatcher) giveBack(early []settled) {
	d.mu.Lock()
	d.done = append(early, d.done...)
	d.mu.Unlock()
}

func (d *dispatcher) recorded(n int) {
	d.mu.Lock()
	d.open -= n
	d.mu.Unlock()
}

// backlog returns how many commands have no recorded outcome, without those of instances that are held for one, and how
// many of these have an outcome.
func (d *dispatcher) backlog() (open, done int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open - d.held, len(d.done)
}

func (d *dispatcher) run(ctx context.Context, workers int) {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { d.worker(ctx) })
	}
	<-ctx.Done()
	d.mu.Lock()
	d.closed = true
	d.work.Broadcast()
	d.mu.Unlock()
	running.Wait()
}

func (d *dispatcher) worker(ctx context.Context) {
	for {
		p, ok := d.next()
		if !ok {
			return
		}
		outcome, err := d.commands.Dispatch(ctx, p.sent.Module, d.envelope(&p), p.first && p.attempts == 0)
		if ctx.Err() != nil {
			return
		}
		d.answered(ctx, p, outcome, err)
	}
}

// next waits for a command that can be dispatched; false when the dispatcher is closed.
func (d *dispatcher) next() (pending, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.ready) == 0 && !d.closed {
		d.work.Wait()
	}
	if d.closed {
		return pending{}, false
	}
	instance := d.ready[0]
	d.ready = d.ready[1:]
	return d.queues[instance][0], true
}

// answered takes what became of a dispatch.
func (d *dispatcher) answered(ctx context.Context, p pending, outcome command.Outcome, err error) {
	if err != nil {
		d.failed(ctx, p, err)
		return
	}
	d.settle(settled{p, outcome})
}

// settle takes the outcome of an instance's first command; the next one is ready then.
func (d *dispatcher) settle(s settled) {
	d.mu.Lock()
	d.done = append(d.done, s)
	if rest := d.queues[s.instance][1:]; len(rest) == 0 {
		delete(d.queues, s.instance)
	} else {
		d.queues[s.instance] = rest
		d.ready = append(d.ready, s.instance)
		d.work.Signal()
	}
	d.mu.Unlock()
	d.wake()
}

// envelope returns the command as it is dispatched. By the replay clock its deadline is an instant of the past, which the
// receiver's clock knows nothing of.
func (d *dispatcher) envelope(p *pending) command.Envelope {
	e := p.sent.envelope()
	if d.replay {
		e.Before = time.Time{}
	}
	return e
}

// envelope returns the command as its receiver takes it.
func (s *Sent) envelope() command.Envelope {
	return command.Envelope{ID: s.ID, Type: s.Type, Data: s.Data, Metadata: s.Metadata, At: s.At, Before: s.Before}
}

// PendingCommands returns the commands of a process (of one instance, if it is not empty) that have no recorded outcome.
func PendingCommands(ctx context.Context, log eventlog.Log, process, instance string) ([]Sent, error) {
	all, err := readPending(ctx, log, process, instance)
	sent := make([]Sent, len(all))
	for i := range all {
		sent[i] = all[i].sent
	}
	return sent, err
}

func readPending(ctx context.Context, log eventlog.Log, process, instance string) ([]pending, error) {
	prefix := eventlog.Key(process) + "/"
	if instance != "" {
		prefix = eventlog.Key(process, instance) + "/"
	}
	var all []pending
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Prefix: prefix}) {
		p := pending{}
		if err == nil {
			err = json.Unmarshal(e.Value, &p.sent)
		}
		if err != nil {
			return nil, fmt.Errorf("process: pending commands of %q: %w", process, err)
		}
		p.instance = eventlog.SplitKey(e.Key)[1]
		all = append(all, p)
	}
	return all, nil
}
