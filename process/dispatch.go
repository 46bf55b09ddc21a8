package process

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// pending is a command that was decided and committed and has no recorded outcome yet.
type pending struct {
	instance string
	sent     Sent
	first    bool // it was never dispatched before
	attempts int  // that failed
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
// one before it, those of different instances in parallel. A command that fails is tried again for as long as it takes,
// while the commands of other instances pass.
type dispatcher struct {
	commands Commands
	backoff  consumer.Backoff
	logger   *slog.Logger
	wake     func()

	mu     sync.Mutex
	work   sync.Cond
	queues map[string][]pending // by instance; the first one of each is being dispatched or is ready
	ready  []string             // instances whose first command waits for a worker
	done   []settled
	open   int // commands without a recorded outcome
	closed bool
}

func newDispatcher(cfg *Config, wake func()) *dispatcher {
	d := &dispatcher{commands: cfg.Commands, backoff: cfg.Retry.Backoff, logger: cfg.Logger, wake: wake, queues: map[string][]pending{}}
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
		if len(q) == 0 {
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

func (d *dispatcher) recorded(n int) {
	d.mu.Lock()
	d.open -= n
	d.mu.Unlock()
}

// backlog returns how many commands have no recorded outcome, and how many of these have an outcome.
func (d *dispatcher) backlog() (open, done int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open, len(d.done)
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
		d.mu.Lock()
		for len(d.ready) == 0 && !d.closed {
			d.work.Wait()
		}
		if d.closed {
			d.mu.Unlock()
			return
		}
		instance := d.ready[0]
		d.ready = d.ready[1:]
		p := d.queues[instance][0]
		d.mu.Unlock()

		outcome, err := d.commands.Dispatch(ctx, p.sent.Module, p.sent.envelope(), p.first && p.attempts == 0)
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		if err != nil {
			d.again(instance, err)
		} else {
			d.settle(instance, settled{p, outcome})
		}
		d.mu.Unlock()
		if err == nil {
			d.wake()
		}
	}
}

// again lets the instance's first command wait for its next attempt; the worker is free meanwhile.
func (d *dispatcher) again(instance string, err error) {
	p := &d.queues[instance][0]
	p.attempts++
	wait := d.backoff.After(p.attempts)
	d.logger.Warn("a command has no outcome yet", "instance", instance, "command", p.sent.Type, "id", p.sent.ID, "module", p.sent.Module,
		"attempt", p.attempts, "retry", wait, "error", err)
	time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ready = append(d.ready, instance)
		d.work.Signal()
	})
}

func (d *dispatcher) settle(instance string, s settled) {
	d.done = append(d.done, s)
	rest := d.queues[instance][1:]
	if len(rest) == 0 {
		delete(d.queues, instance)
		return
	}
	d.queues[instance] = rest
	d.ready = append(d.ready, instance)
	d.work.Signal()
}

// envelope returns the command as its receiver takes it.
func (s *Sent) envelope() command.Envelope {
	return command.Envelope{ID: s.ID, Type: s.Type, Data: s.Data, Metadata: s.Metadata, At: s.At}
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
