package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// writer owns the one connection that writes. Its goroutine takes what has queued up, applies it in one transaction,
// commits, and only then answers: also a conflict, which may have been with a neighbour in the same transaction.
type writer struct {
	path  string
	stats *counters
	moved func(*Log, int64) // called after a commit, with each log that it made longer, and its head
	hooks hooks

	c           *conn
	db          *sql.DB // c for transactions of callers, made when the first one comes
	state       *state
	dataVersion int64 // changes when another connection commits
	carry       []*request
	careful     int   // turns in which nothing is assumed, and each request can be undone alone
	dead        error // after it, nothing is written any more

	mu     sync.Mutex
	queue  []*request
	closed bool
	wake   chan struct{}
	done   chan struct{}
}

// hooks are where the package's own tests reach in.
type hooks struct {
	commit func(commit func() error) error // around each COMMIT
	open   []string                        // pragmas of the writer's connection
	most   int                             // streams in a generation of the cache, if not 0
}

// request is something to be written, by a caller that waits for the answer.
type request struct {
	do    func(*state) error        // in a transaction shared with others
	again func(*state, error) error // if not nil, what the failure of do means, asked after it was undone
	alone func(*writer) error       // instead of do: in a turn of its own
	bytes int
	log   *Log // that it may make longer

	place atomic.Int32
	err   error
	done  chan struct{}
}

// Places of a request: it leaves the queue once, either to be executed or because its caller has gone.
const (
	queued int32 = iota
	taken
	left
)

// Bounds of a transaction.
const (
	maxGroup      = 256
	maxGroupBytes = 8 << 20
)

func startWriter(path string, c *conn, now func() time.Time, stats *counters, moved func(*Log, int64), h hooks) *writer {
	w := &writer{path: path, c: c, state: newState(c, now), stats: stats, moved: moved, hooks: h, dataVersion: -1,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	if h.most > 0 {
		w.state.most = h.most
	}
	go w.run()
	return w
}

// submit queues a request and waits for its answer. A caller whose context ends while the request waits gets the
// context's error, and the request is not executed; once it is being executed, its outcome is waited for.
func (w *writer) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan struct{})
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return eventlog.ErrClosed
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	w.ring()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if r.place.CompareAndSwap(queued, left) {
			return ctx.Err()
		}
		<-r.done
		return r.err
	}
}

func (w *writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// next takes the next request, if there is one and the turn may have it.
func (w *writer) next(may func(*request) bool) *request {
	if len(w.carry) > 0 {
		r := w.carry[0]
		if !may(r) {
			return nil
		}
		w.carry = w.carry[1:]
		return r
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		r := w.queue[0]
		if r.place.Load() == queued && !may(r) {
			return nil
		}
		w.queue[0] = nil
		if w.queue = w.queue[1:]; len(w.queue) == 0 {
			w.queue = nil
		}
		if r.place.CompareAndSwap(queued, taken) {
			return r
		}
	}
	return nil
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

func (w *writer) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		switch {
		case closed:
			w.refuse(w.waiting(), eventlog.ErrClosed)
			return
		case w.waiting() == 0 && len(w.carry) == 0:
			<-w.wake
		default:
			w.turn()
		}
	}
}

// close ends the writer: what is under way is finished, what waits is refused.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.ring()
	<-w.done
}

// refuse answers the carried requests and the first n in the queue.
func (w *writer) refuse(n int, err error) {
	for n += len(w.carry); n > 0; n-- {
		r := w.next(func(*request) bool { return true })
		if r == nil {
			return
		}
		r.answer(err)
	}
}

func (r *request) answer(err error) {
	r.err = err
	close(r.done)
}

// turn is one transaction, or one request that wants a turn of its own.
func (w *writer) turn() {
	if w.dead != nil {
		w.refuse(w.waiting(), w.dead)
		return
	}
	if r := w.next(func(r *request) bool { return r.alone != nil }); r != nil {
		r.answer(r.alone(w))
		return
	}
	n := w.waiting()
	w.careful = max(0, w.careful-1)
	if err := w.begin(); err != nil {
		w.fatal(err)
		w.refuse(n, explain(w.path, "begin", err))
		return
	}
	g := &group{writer: w}
	for g.more() {
		r := w.next(func(r *request) bool { return r.alone == nil })
		if r == nil {
			break
		}
		if !g.execute(r) {
			return
		}
	}
	g.commit()
}

// begin opens a transaction and forgets what another connection may have changed.
func (w *writer) begin() error {
	if _, err := w.c.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	v, err := one(w.c, `PRAGMA data_version`)
	if err != nil {
		w.rollback()
		return err
	}
	if v != w.dataVersion {
		w.state.reset()
		w.dataVersion = v
	}
	w.state.age()
	w.state.assume = w.careful == 0
	return nil
}

// rollback ends a transaction without effect. SQLite may have ended it already, after an error.
func (w *writer) rollback() {
	_, _ = w.c.exec(`ROLLBACK`)
	w.state.reset()
}

// fatal stops the writer after an error of the medium: nobody knows what it holds now.
func (w *writer) fatal(err error) {
	if _, primary := code(err); primary == codeIO && w.dead == nil {
		w.dead = fmt.Errorf("sqlitelog: %s: nothing is written any more since an earlier write failed; check the medium, then open the file again: %w", w.path, err)
	}
}

// group is the transaction of a turn.
type group struct {
	*writer
	answers []answer
	logs    []*Log
	bytes   int
	wrote   bool
}

type answer struct {
	r   *request
	err error
}

func (g *group) more() bool { return len(g.answers) < maxGroup && g.bytes < maxGroupBytes }

// execute applies one request. It returns false when the transaction is gone and with it the turn.
func (g *group) execute(r *request) bool {
	g.bytes += r.bytes
	saved := g.wrote && g.careful > 0 // the first that writes needs no savepoint: what it wrote can be undone as a whole
	if saved {
		if _, err := g.c.exec(`SAVEPOINT request`); err != nil {
			return g.abandon(r, err)
		}
	}
	g.state.begin()
	err := r.do(g.state)
	if err == nil {
		if saved {
			if _, err := g.c.exec(`RELEASE request`); err != nil {
				return g.abandon(r, err)
			}
		}
		g.wrote = g.wrote || g.state.undo.wrote || len(g.state.dirty) > 0
		if r.log != nil {
			g.logs = append(g.logs, r.log)
		}
		g.answers = append(g.answers, answer{r, nil})
		return true
	}
	if !endsTransaction(err) && !saved && g.wrote && g.state.undo.wrote {
		g.answers = append(g.answers, answer{r: r})
		g.again()
		return false
	}
	if endsTransaction(err) || !g.takeBack(saved) {
		return g.abandon(r, err)
	}
	if r.again != nil {
		g.state.begin()
		if err = r.again(g.state, err); endsTransaction(err) {
			return g.abandon(r, err)
		}
	}
	g.answers = append(g.answers, answer{r, explain(g.path, "append", err)})
	return true
}

// endsTransaction tells whether SQLite may have ended the transaction with an error. It leaves it open after errors that
// are a statement's own, and errors of ours never reached it.
func endsTransaction(err error) bool {
	_, primary := code(err)
	return primary != 0 && primary != codeConstraint && primary != codeTooBig
}

// takeBack undoes what the request wrote, and nothing else.
func (g *group) takeBack(saved bool) bool {
	g.state.takeBack()
	switch {
	case saved:
		if _, err := g.c.exec(`ROLLBACK TO request`); err != nil {
			return false
		}
		_, err := g.c.exec(`RELEASE request`)
		return err == nil
	case g.state.undo.wrote:
		if _, err := g.c.exec(`ROLLBACK`); err != nil {
			return false
		}
		return g.begin() == nil
	}
	return true
}

// carefulTurns is how many turns are careful after one whose transaction was given up: who tries to make streams that are
// there, or writes what is refused, may go on with it. In others a stream that is to be new is taken for new, and requests
// have no savepoints, each of which costs as much as a row or two.
const carefulTurns = 64

// again gives the transaction up, since something was assumed wrongly or a request failed that can't be undone alone, to
// execute all of it anew.
func (g *group) again() {
	g.rollback()
	g.careful = carefulTurns
	g.carryOver()
}

// carryOver has what was executed executed again in the next turn.
func (g *group) carryOver() {
	again := make([]*request, 0, len(g.answers)+len(g.carry))
	for _, a := range g.answers {
		again = append(again, a.r)
	}
	g.carry = append(again, g.carry...)
}

// abandon gives the transaction up after an error that may have ended it: r is answered, those before it are executed
// again in the next turn, since the error was not theirs.
func (g *group) abandon(r *request, err error) bool {
	g.rollback()
	g.fatal(err)
	r.answer(explain(g.path, "append", err))
	g.carryOver()
	return false
}

// commit commits the transaction and answers everybody.
func (g *group) commit() {
	if len(g.answers) == 0 {
		g.rollback()
		return
	}
	err := g.state.flush()
	if errors.Is(err, errAssumed) {
		g.again()
		return
	}
	if err == nil {
		err = g.hooked(func() error {
			_, err := g.c.exec(`COMMIT`)
			return err
		})
	}
	if err != nil {
		g.rollback()
		g.fatal(err)
		err = explain(g.path, "commit", err)
		for _, a := range g.answers {
			a.r.answer(err)
		}
		return
	}
	if g.wrote {
		g.stats.commits.Add(1)
	}
	for _, l := range g.logs {
		if m := g.state.modules[l.number]; m != nil {
			g.moved(l, m.head)
		}
	}
	for _, a := range g.answers {
		if a.err == nil {
			g.stats.writes.Add(1)
		} else if errors.Is(a.err, eventlog.ErrConflict) {
			g.stats.conflicts.Add(1)
		}
		a.r.answer(a.err)
	}
}

func (w *writer) hooked(commit func() error) error {
	if w.hooks.commit != nil {
		return w.hooks.commit(commit)
	}
	return commit()
}
