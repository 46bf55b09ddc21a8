package pglog

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/eventlog"
)

// Head implements eventlog.Log.
func (l *Log) Head(ctx context.Context) (eventlog.Position, error) {
	if l.closed.Load() {
		return 0, eventlog.ErrClosed
	}
	head, err := l.refresh(ctx)
	return eventlog.Position(head), err // #nosec G115 -- positions count up from 0
}

// Seen implements eventlog.Watcher.
func (l *Log) Seen() eventlog.Position { return eventlog.Position(l.head.Seen()) } // #nosec G115 -- positions count up from 0

// refresh has what was committed until now numbered, and returns the head.
func (l *Log) refresh(ctx context.Context) (int64, error) {
	heads, err := l.db.pass(ctx)
	if err != nil {
		if l.closed.Load() || l.db.ending.Err() != nil {
			return 0, eventlog.ErrClosed
		}
		return 0, err
	}
	head, known := heads[l.number]
	if !known { // nobody here makes passes
		if heads, err = l.db.heads(ctx, []int32{l.number}); err != nil {
			return 0, err
		}
		head = heads[l.number]
	}
	return head, nil
}

// heads asks for the heads of modules, by their numbers.
func (d *Database) heads(ctx context.Context, numbers []int32) (map[int32]int64, error) {
	era, p := d.server.era.Load(), pass{heads: map[int32]int64{}}
	rows, err := d.pool.Query(ctx, d.headsText, numbers)
	if err == nil {
		err = p.read(rows)
	}
	if err != nil {
		return nil, d.explain("read", err)
	}
	d.advance(era, p.heads)
	return p.heads, nil
}

// Wait implements eventlog.Log. What this program appends is noticed at once, what others append when one of their passes
// is heard of, or at the next look, see Options.Poll.
func (l *Log) Wait(ctx context.Context, after eventlog.Position) error {
	after = min(after, 1<<62)
	l.head.Wait(1)
	defer l.head.Wait(-1)
	for asked := false; ; asked = true {
		if err := ctx.Err(); err != nil {
			return err
		}
		above, changed := l.head.Above(int64(after)) // #nosec G115 -- bounded above
		switch {
		case l.closed.Load() || l.db.ending.Err() != nil:
			return eventlog.ErrClosed
		case l.db.rewound() != nil:
			return l.db.rewound()
		case above:
			return nil
		case !asked: // somebody else may have appended since anybody looked
			if l.db.watch.start(l.db) {
				if _, err := l.refresh(ctx); err != nil {
					return err
				}
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.db.ending.Done():
			return eventlog.ErrClosed
		}
	}
}

// watch looks for what other programs append, while somebody waits for it: it listens, and looks all the same.
type watch struct {
	mu        sync.Mutex
	running   bool
	listening bool
}

// start begins to look, and says so, unless that is being done.
func (w *watch) start(d *Database) (begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.ending.Err() != nil {
		return false
	}
	if !w.running {
		w.running, begun = true, true
		d.work.Go(func() { w.run(d) })
	}
	if !w.listening && !d.options.NoListen && !d.standby.Load() {
		w.listening = true
		d.work.Go(func() { d.listen(d.ending) })
	}
	return begun
}

// shortestPoll is how soon after something was found the next look comes; without success the pauses double.
const shortestPoll = 5 * time.Millisecond

// failedPoll is the least time until the next look after one that failed.
const failedPoll = 250 * time.Millisecond

func (w *watch) run(d *Database) {
	until, failing := min(shortestPoll, d.options.Poll), false
	for pause(d.ending, until) == nil {
		awaited := d.awaited()
		if len(awaited) == 0 {
			w.mu.Lock()
			if len(d.awaited()) == 0 { // nobody waits; who does from now on starts it again
				w.running = false
				w.mu.Unlock()
				return
			}
			w.mu.Unlock()
			continue
		}
		until = min(2*until, d.options.Poll)
		switch err := d.look(awaited); {
		case err == nil:
			failing = false
		case d.ending.Err() == nil:
			if !failing {
				d.options.Logger.Warn("pglog: looking for new events failed; it is tried again and again", "database", d.address, "error", err)
			}
			failing, until = true, max(d.options.Poll, failedPoll)
		}
	}
}

// look has new events numbered. What others numbered meanwhile comes with it.
func (d *Database) look(logs []*Log) error {
	heads, err := d.pass(d.ending)
	if err != nil || heads != nil {
		return err
	}
	numbers := make([]int32, len(logs))
	for i, l := range logs {
		numbers[i] = l.number
	}
	_, err = d.heads(d.ending, numbers)
	return err
}

// awaited returns the logs that somebody waits for.
func (d *Database) awaited() (logs []*Log) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.logs {
		if l.head.Awaited() {
			logs = append(logs, l)
		}
	}
	return logs
}

// Pauses between attempts to listen again.
const (
	shortestRetry = 100 * time.Millisecond
	longestRetry  = 10 * time.Second
)

// pause waits, at most until the context ends, and then returns its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// listen takes wake-ups from a connection of its own, until the context ends. A connection that is lost is replaced; what
// was announced meanwhile is found by looking.
func (d *Database) listen(ctx context.Context) {
	for wait := shortestRetry; ; wait = min(2*wait, longestRetry) {
		err := d.listenOnce(ctx, func() { wait = shortestRetry })
		if ctx.Err() != nil {
			return
		}
		d.options.Logger.Warn("pglog: the connection that listens for wake-ups was lost; new events are found by looking until it is back", "database", d.address, "error", err, "again in", wait)
		if pause(ctx, wait) != nil {
			return
		}
	}
}

func (d *Database) listenOnce(ctx context.Context, connected func()) error {
	conn, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := d.recognize(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{d.channel()}.Sanitize()); err != nil {
		return err
	}
	era := d.server.era.Load()
	connected()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if d.server.era.Load() != era {
			return errors.New("pglog: connections lead to another server now")
		}
		d.advance(era, announced(n.Payload))
	}
}

// announced returns the heads that a pass announced, "module:head" each.
func announced(payload string) map[int32]int64 {
	heads := map[int32]int64{}
	for one := range strings.FieldsSeq(payload) {
		module, head, _ := strings.Cut(one, ":")
		m, err := strconv.ParseInt(module, 10, 32)
		if err != nil {
			continue
		}
		if h, err := strconv.ParseInt(head, 10, 64); err == nil {
			heads[int32(m)] = h
		}
	}
	return heads
}
