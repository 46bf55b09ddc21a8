package pglog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of a group of appends that share a transaction.
const (
	maxGroup      = 128
	maxGroupBytes = 1 << 20
)

// groupWait is how long a group waits for somebody else's lock: hardly at all, since everybody in it would wait. The
// append that met the lock goes on alone.
const groupWait = time.Millisecond

// aFew is how many rows under way, events, links and entries, leave room for a second group beside them: a group of so few
// takes its time for a round trip and a sync, and who comes need not wait for those. More are a load, in which larger groups
// cost less.
const aFew = 16

// writer sends the appends to a log in groups: while one group is under way, the next gathers. Beside a few there may be
// another group, which has nothing in common with them.
type writer struct {
	log    *Log
	mu     sync.Mutex
	queue  []*request
	under  []*flight // at most two
	closed bool
	wake   chan struct{}
	done   chan struct{}
}

// flight is a group under way.
type flight struct {
	rows    int
	touched touched
}

func newWriter(l *Log) *writer {
	w := &writer{log: l, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// errLeave sends an append out of its group, to be tried alone.
var errLeave = errors.New("pglog: alone")

// submit has an append made, in a group or alone.
func (w *writer) submit(ctx context.Context, r *request) error {
	r.ctx = ctx
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return eventlog.ErrClosed
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	w.ring()
	select {
	case <-r.over:
	case <-ctx.Done():
		if w.withdraw(r) {
			return ctx.Err()
		}
		<-r.over // it is under way, and what becomes of it must be known
	}
	if errors.Is(r.err, errLeave) {
		w.log.db.stats.alone.Add(1)
		return w.log.alone(ctx, r)
	}
	return r.err
}

func (w *writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a request out of the queue, unless it is under way.
func (w *writer) withdraw(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := slices.Index(w.queue, r)
	if n < 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, n, n+1)
	return true
}

// close ends the writer: what is under way is finished, what waits is refused.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.ring()
	<-w.done
}

func (w *writer) run() {
	var flights sync.WaitGroup
	defer close(w.done)
	for {
		group, of, closed := w.gather()
		switch {
		case closed:
			for _, r := range group {
				r.answer(eventlog.ErrClosed)
			}
			flights.Wait()
			return
		case len(group) == 0:
			<-w.wake
		default:
			flights.Go(func() {
				w.send(group)
				w.regroup()
				w.landed(of)
			})
		}
	}
}

// landed makes room for the next group.
func (w *writer) landed(f *flight) {
	w.mu.Lock()
	w.under = slices.DeleteFunc(w.under, func(other *flight) bool { return other == f })
	w.mu.Unlock()
	w.ring()
}

// mayStart tells whether another group may be sent.
func (w *writer) mayStart() bool {
	return len(w.under) == 0 || len(w.under) == 1 && w.under[0].rows <= aFew
}

// regroup lets those run who were answered: who appends again at once shares the next group, instead of the one behind
// it. Halves of the same callers would take turns otherwise.
func (w *writer) regroup() {
	for before, queued := -1, 0; queued > before; {
		runtime.Gosched()
		w.mu.Lock()
		before, queued = queued, len(w.queue)
		w.mu.Unlock()
	}
}

// gather takes the next group out of the queue, if one may be sent: appends that have no stream, no entry and no id in
// common, so that each stands for itself, nor any with those under way. Everything, when the writer was closed.
func (w *writer) gather() (group []*request, f *flight, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		group, w.queue = w.queue, nil
		return group, nil, true
	}
	if !w.mayStart() {
		return nil, nil, false
	}
	bytes, left := 0, w.queue[:0]
	f = &flight{touched: newTouched()}
	behind := newTouched() // what waits, so that nobody overtakes it
	for _, r := range w.queue {
		if len(group) < maxGroup && bytes < maxGroupBytes && !w.meets(r) && !f.touched.meets(r) && !behind.meets(r) {
			bytes += r.bytes
			f.rows += r.rows()
			f.touched.add(r)
			group = append(group, r)
		} else {
			behind.add(r)
			left = append(left, r)
		}
	}
	clear(w.queue[len(left):])
	w.queue = left
	if len(group) > 0 {
		w.under = append(w.under, f)
	}
	return group, f, false
}

// meets tells whether a request has something in common with one that is under way.
func (w *writer) meets(r *request) bool {
	return slices.ContainsFunc(w.under, func(f *flight) bool { return f.touched.meets(r) })
}

// touched is what some requests have to do with.
type touched struct {
	streams map[string]bool
	entries map[entryID]bool
	ids     map[event.ID]bool
}

// rows is how many events, links and entries a request writes.
func (r *request) rows() int {
	p := r.parts[0]
	return len(p.eID) + len(p.lPosition) + len(p.puts) + len(p.deletes)
}

func newTouched() touched {
	return touched{map[string]bool{}, map[entryID]bool{}, map[event.ID]bool{}}
}

// add adds what a request has to do with.
func (t *touched) add(r *request) {
	p := r.parts[0]
	for _, name := range p.names {
		t.streams[name] = true
	}
	for i := range p.puts {
		t.entries[entryID{p.puts[i].Entry.Kind, p.puts[i].Entry.Key}] = true
	}
	for i := range p.deletes {
		t.entries[entryID{p.deletes[i].Kind, p.deletes[i].Key}] = true
	}
	for id := range r.ids {
		t.ids[id] = true
	}
}

// meets tells whether something of that is there.
func (t *touched) meets(r *request) bool {
	p := r.parts[0]
	for _, name := range p.names {
		if t.streams[name] {
			return true
		}
	}
	for i := range p.puts {
		if t.entries[entryID{p.puts[i].Entry.Kind, p.puts[i].Entry.Key}] {
			return true
		}
	}
	for i := range p.deletes {
		if t.entries[entryID{p.deletes[i].Kind, p.deletes[i].Key}] {
			return true
		}
	}
	for id := range r.ids {
		if t.ids[id] {
			return true
		}
	}
	return false
}

func (r *request) answer(err error) {
	r.err = err
	close(r.over)
}

// send makes a transaction of the group. Where somebody else is in the way of one of them, they all go on alone.
func (w *writer) send(group []*request) {
	l := w.log
	if l.db.options.hooks.group != nil {
		l.db.options.hooks.group(len(group))
	}
	refused, err := w.try(group)
	switch {
	case err == nil:
		l.db.stats.commits.Add(1)
		wanted := never
		for i, r := range group {
			if l.settled(refused[i]); refused[i] == nil {
				wanted = max(wanted, r.wants())
			}
			if errors.Is(refused[i], errKnown) { // who knows them is told when it comes alone
				refused[i] = errLeave
			}
			r.answer(refused[i])
		}
		l.db.passes.nudge(wanted)
	case again(err) || sqlState(err) == codeLockTimeout:
		for _, r := range group {
			r.answer(errLeave)
		}
	default:
		for _, r := range group {
			r.answer(l.db.explain("append", err))
		}
	}
}

// wants tells how soon what the request appended wants to be numbered.
func (r *request) wants() wish {
	w := never
	for _, p := range r.parts {
		for _, system := range p.eSystem {
			if !system {
				return soon
			}
			w = lately
		}
	}
	return w
}

// settled counts what became of an append whose transaction committed.
func (l *Log) settled(err error) {
	switch {
	case err == nil:
		l.db.stats.appends.Add(1)
	case errors.Is(err, eventlog.ErrConflict):
		l.db.stats.conflicts.Add(1)
	}
}

// sendTime bounds how long a group may be under way, so that a server that vanished does not keep its log for ever.
const sendTime = 2 * time.Minute

// try sends the group in one call, and returns what was refused of it. An error means that nothing was committed, or that
// nobody knows.
func (w *writer) try(group []*request) (refused []error, err error) {
	l := w.log
	ctx, cancel := context.WithTimeout(context.Background(), sendTime)
	defer cancel()
	parts := make([]*part, len(group))
	for i, r := range group {
		parts[i], r.done = r.parts[0], eventlog.Appended{}
	}
	p := merged(parts)
	conn, err := l.db.pool.Acquire(ctx)
	if err != nil {
		return nil, err // nothing was sent
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	batch.Queue(l.db.appendText, p.args(l.number, groupWait, true)...)
	before, after := l.db.around()
	results := conn.SendBatch(ctx, l.db.bracketed(batch))
	defer func() { _ = results.Close() }() // again, without effect
	for range before {
		if _, err := results.Exec(); err != nil {
			return nil, lost(err)
		}
	}
	rows, err := results.Query()
	if err != nil {
		return nil, lost(err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAnswer)
	if err != nil {
		return nil, lost(err)
	}
	for range after {
		if _, err := results.Exec(); err != nil {
			return nil, lost(err)
		}
	}
	if err := results.Close(); err != nil {
		return nil, lost(err)
	}
	return a.take(p, group)
}

// around returns how many statements stand before and after those of a batch; see bracketed.
func (d *Database) around() (before, after int) {
	if d.isolated {
		return 1, 1
	}
	return 0, 0
}

// bracketed makes an explicit transaction of a batch where the default is another isolation than READ COMMITTED. All of it
// is sent at once: a client that is stopped keeps no transaction open.
func (d *Database) bracketed(b *pgx.Batch) *pgx.Batch {
	if !d.isolated {
		return b
	}
	all := &pgx.Batch{}
	all.Queue(beginText)
	all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
	all.Queue("COMMIT")
	return all
}

const beginText = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

// lost marks errors after which nobody knows whether the transaction was committed: all but those with which the server
// refused it.
func lost(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" {
		return err
	}
	// A connection that is closed may have been closed since the request was sent, when an earlier answer was awaited: pgx
	// takes that for safe to retry.
	if pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", eventlog.ErrUnknown, err)
}

// alone makes an append in a transaction of its own. Only half of the connections may be busy so: it may wait for somebody
// else's lock, and the others must go on meanwhile. One that gets none of them in the time that it may wait is ErrBusy.
func (l *Log) alone(ctx context.Context, r *request) error {
	slow := time.NewTimer(l.db.options.LockWait)
	defer slow.Stop()
	select {
	case l.db.lonely <- struct{}{}:
		defer func() { <-l.db.lonely }()
	case <-slow.C:
		return fmt.Errorf("pglog: %s: append: %w: too many others wait for transactions of somebody else's; try again", l.db.address, eventlog.ErrBusy)
	case <-ctx.Done():
		return ctx.Err()
	}
	// What was sent is seen to its end: cut short, nobody would know what became of it.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
	defer cancel()
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := l.once(bounded, r)
		if again(err) && attempt < 10 {
			continue // somebody else made the stream, the entry or the event at the same moment, and has committed
		}
		if err == nil {
			l.db.stats.commits.Add(1)
			l.db.passes.nudge(r.wants())
		}
		l.settled(err)
		return l.db.explain("append", err)
	}
}

// once is one attempt of alone.
func (l *Log) once(ctx context.Context, r *request) error {
	r.done = eventlog.Appended{}
	conn, err := l.db.pool.Acquire(ctx)
	if err != nil {
		return err // nothing was sent
	}
	defer conn.Release()
	if len(r.parts) == 1 && !l.db.isolated {
		err := l.call(ctx, conn, r, r.parts[0])
		if err == nil || isOurs(err) || errors.Is(err, errKnown) {
			return l.whatOf(ctx, conn, r, err)
		}
		return lost(err)
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // without effect after the commit
	if err := l.calls(ctx, tx, r); err != nil {
		if _, refused := err.(*pgconn.PgError); refused { //nolint:errorlint // the server's own, unwrapped
			return err
		}
		if rollback := tx.Rollback(ctx); rollback != nil {
			return lost(rollback)
		}
		return l.whatOf(ctx, conn, r, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return lost(err)
	}
	return nil
}

// whatOf tells what a refused append means: it may repeat an earlier one.
func (l *Log) whatOf(ctx context.Context, q querier, r *request, err error) error {
	if err != nil && (errors.Is(err, errKnown) || len(r.parts) > 1) {
		return l.repeat(ctx, q, r, err)
	}
	return err
}

// calls makes all calls of an append, in one transaction.
func (l *Log) calls(ctx context.Context, q querier, r *request) error {
	r.done = eventlog.Appended{}
	for _, p := range r.parts {
		if err := l.call(ctx, q, r, p); err != nil {
			return err
		}
	}
	return nil
}
