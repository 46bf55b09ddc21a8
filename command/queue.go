package command

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// again is how long a submitted command that failed is left alone.
var again = consumer.Backoff{First: 100 * time.Millisecond, Most: time.Minute}

// Run has submitted commands handled until ctx ends, and returns nil then, when all that it began has ended. They are
// begun in the order in which they were submitted, at most Config.Parallel at a time. One whose handler fails is tried
// again, later and later, up to a minute apart; it does not delay those behind it. Several programs may run the same
// queue: a command may be tried by both, and takes effect once.
func (b *Bus) Run(ctx context.Context) error {
	q := queue{bus: b, slots: make(chan struct{}, b.parallel), begun: map[ID]bool{}}
	defer q.running.Wait()
	for failed := 0; ; {
		err := q.pass(ctx)
		if ctx.Err() != nil {
			return nil // it was told to end
		}
		if err == nil {
			failed = 0
			continue
		}
		failed++
		b.logger.WarnContext(ctx, "reading submitted commands again", slog.Any("error", err), slog.Int("failed", failed))
		_ = consumer.Sleep(ctx, again.After(failed)) // if it is cut short, so is the next round
	}
}

// Handled tells whether every submitted command has its outcome.
func (b *Bus) Handled(ctx context.Context) (bool, error) {
	for _, err := range b.module.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Prefix: submitted, Limit: 1}) {
		return false, err
	}
	return true, nil
}

// queue handles submitted commands.
type queue struct {
	bus     *Bus
	slots   chan struct{} // one for each command that is being handled
	running sync.WaitGroup

	mu      sync.Mutex
	begun   map[ID]bool // false for those that ended since the pass began, which may have read them before that
	changed bool        // a command was put off since the pass began
	wake    func()      // ends the sleep, nil while awake
}

// longestSleep bounds a sleep: an entry that another program put off and then left behind is seen after it.
const longestSleep = 10 * time.Minute

// pass begins everything that is due and then, if there was nothing, waits for more.
func (q *queue) pass(ctx context.Context) error {
	q.mu.Lock()
	q.changed = false
	maps.DeleteFunc(q.begun, func(_ ID, running bool) bool { return !running })
	q.mu.Unlock()
	log := q.bus.module.Log
	head, err := log.Head(ctx) // before the queue is read: what is submitted after that ends the sleep
	if err != nil {
		return err
	}
	began := false
	sleep := longestSleep
	for entry, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Prefix: submitted, ByDue: true}) {
		if err != nil {
			return err
		}
		c, err := readQueued(entry)
		if err != nil {
			q.bus.logger.ErrorContext(ctx, "a submitted command is left alone", slog.Any("error", err))
			continue
		}
		if until := entry.Due.Sub(q.bus.now()); c.failed > 0 && until > 0 {
			sleep = min(sleep, until)
			break
		}
		fresh, err := q.begin(ctx, c)
		if err != nil {
			return err
		}
		began = began || fresh
	}
	if began {
		return nil
	}
	return q.sleep(ctx, head, sleep)
}

// begin has one command handled as soon as there is a slot, unless it is being handled already.
func (q *queue) begin(ctx context.Context, c *queued) (bool, error) {
	q.mu.Lock()
	_, known := q.begun[c.ID]
	q.mu.Unlock()
	if known {
		return false, nil
	}
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	q.mu.Lock()
	q.begun[c.ID] = true
	q.mu.Unlock()
	q.running.Go(func() {
		putOff := q.handle(ctx, c)
		q.mu.Lock()
		q.begun[c.ID] = false
		q.changed = q.changed || putOff
		if q.changed && q.wake != nil {
			q.wake()
		}
		q.mu.Unlock()
		<-q.slots
	})
	return true, nil
}

// handle dispatches a command; with its receipt it leaves the queue. It tells whether the command was put off.
func (q *queue) handle(ctx context.Context, c *queued) (putOff bool) {
	leave := eventlog.Delete{Kind: eventlog.Pending, Key: c.key()}
	out, err := q.bus.dispatch(ctx, &c.Envelope, Hint{}, leave)
	if err == nil && out.Repeat { // handled by another way
		_, err = q.bus.module.Log.Append(ctx, leave)
	}
	if err == nil || ctx.Err() != nil {
		return false
	}
	c.failed++
	c.failure, _, _ = strings.Cut(err.Error(), "\n") // a panic's stack is for the log
	logger := q.bus.logger.With(slog.String("command", c.Type), slog.String("id", c.ID.String()), slog.Any("error", err), slog.Int("failed", c.failed))
	if q.bus.attempts > 0 && c.failed >= q.bus.attempts {
		logger.ErrorContext(ctx, "a submitted command is given up")
		a := attempt{bus: q.bus, command: &c.Envelope, digest: c.Digest(), beside: []eventlog.Write{leave}}
		if _, err = a.settle(ctx, a.outcome(Outcome{Status: Failed, Reason: c.failure})); err == nil {
			return false
		}
	}
	logger.WarnContext(ctx, "a submitted command is tried again later")
	c.due = q.bus.now().Add(again.After(c.failed))
	if !c.Before.IsZero() && c.Before.Before(c.due) { // its deadline passes meanwhile: that is told when it does
		c.due = c.Before
	}
	if _, err := q.bus.module.Log.Append(ctx, c.put(c.revision)); err != nil && !errors.Is(err, eventlog.ErrConflict) {
		logger.WarnContext(ctx, "a submitted command could not be put off", slog.Any("put", err))
		_ = consumer.Sleep(ctx, again.After(1)) // it stays due; its slot is kept busy, so that it is not tried again at once
	}
	return true
}

// sleep returns when the log has grown above head, after some time, or when a command was put off.
func (q *queue) sleep(ctx context.Context, head eventlog.Position, longest time.Duration) error {
	asleep, wake := context.WithTimeout(ctx, longest)
	defer wake()
	q.mu.Lock()
	q.wake = wake
	if q.changed {
		wake()
	}
	q.mu.Unlock()
	err := q.bus.module.Log.Wait(asleep, head)
	q.mu.Lock()
	q.wake = nil
	q.mu.Unlock()
	if asleep.Err() != nil {
		return nil
	}
	return err
}
