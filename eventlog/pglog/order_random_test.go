package pglog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// Settings of the random tests. ENSUE_SEED has one run again as far as chance decides, ENSUE_FOR says for how long it
// goes, such as 1m.
func randomSettings(t *testing.T, usual time.Duration) (seed uint64, during time.Duration) {
	t.Helper()
	seed, during = rand.Uint64(), usual
	if testing.Short() {
		during = usual / 8
	}
	var err error
	if given := os.Getenv("ENSUE_SEED"); given != "" {
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal("ENSUE_SEED:", err)
		}
	}
	if given := os.Getenv("ENSUE_FOR"); given != "" {
		if during, err = time.ParseDuration(given); err != nil {
			t.Fatal("ENSUE_FOR:", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ENSUE_SEED=%d ENSUE_FOR=%v", seed, during)
		}
	})
	return seed, during
}

// TestG1_G2_RandomWriters has writers of all kinds append to few streams, while connections are killed and transactions
// that are none of ours come and go. Nobody is open all the time: that would hide every wrong bound.
func TestG1_G2_RandomWriters(t *testing.T) {
	seed, during := randomSettings(t, 12*time.Second)
	l := newCrowd(t, newServer(t), seed, nil)
	if !testing.Short() {
		l.least = 1001
	}
	l.run(during)
	if l.givenUp < l.least {
		t.Errorf("%d gaps were given up during the load, fewer than %d: it shows little", l.givenUp, l.least)
	}
	t.Log(l.summary())
}

// TestG1_G2_RandomWritersBesideOpenTransactions is the same with three transactions that stay open from the beginning to
// the end: one that has written, one that has an id, and one that has a snapshot.
func TestG1_G2_RandomWritersBesideOpenTransactions(t *testing.T) {
	seed, during := randomSettings(t, 4*time.Second)
	server := newServer(t)
	l := newCrowd(t, server, seed, nil)
	writer, id, snapshot := l.actor(), l.actorOn(server.Database(t)), l.actor()
	writer.begin()
	writer.append("open")
	id.begin()
	id.do(`SELECT pg_current_xact_id()`)
	snapshot.do(`BEGIN ISOLATION LEVEL REPEATABLE READ`)
	snapshot.do(`SELECT count(*) FROM ${schema}.events`)
	l.beforeEnd = func() {
		if n := l.gaps(); n > 2*boundedGaps {
			t.Errorf("a pass looks at %d gaps", n)
		}
		for _, a := range []*actor{writer, id, snapshot} {
			a.commit()
		}
	}
	l.foreign = 1 // the writer's
	for _, a := range []*actor{writer, id, snapshot} {
		l.spared = append(l.spared, a.pid())
	}
	l.run(during)
	t.Log(l.summary())
}

// TestG1_G2_RandomWritersWhereLocksAreLookedAt is the same where passes look at the table's locks, and park gaps, as soon as
// there are a few.
func TestG1_G2_RandomWritersWhereLocksAreLookedAt(t *testing.T) {
	seed, during := randomSettings(t, 6*time.Second)
	l := newCrowd(t, newServer(t), seed, mutate([][2]string{
		{"too_many CONSTANT integer := 128;", "too_many CONSTANT integer := 4;"},
		{"  by_locks := cardinality(known.gaps) > too_many", "  by_locks := cardinality(known.gaps) > 0"},
	}))
	l.run(during)
	t.Log(l.summary())
}

func newServer(t *testing.T) *pgtest.Server {
	return pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "64", "deadlock_timeout": "30ms", "log_min_messages": "fatal"}})
}

// A crowd is what writers, readers and others do to a log, and what they know of it.
type crowd struct {
	*stage
	seed      uint64
	elsewhere string // another database of the server
	databases []*Database
	logs      []*Log
	handle    *sql.DB

	clock     atomic.Int64
	stopped   chan struct{} // writers and killers stop
	mu        sync.Mutex
	events    map[event.ID]*attempt
	wrong     []string
	names     atomic.Int64 // of prepared transactions
	kills     atomic.Int64
	foreign   int     // events that are no attempts
	spared    []int32 // connections that are not killed
	beforeEnd func()  // when writers have stopped
	givenUp   int64   // gaps, while writers wrote
	least     int64   // of them; the load goes on for up to four times as long until there are
}

// An attempt is an event that somebody tried to append.
type attempt struct {
	began     int64 // by the clock, before the statement that appended it was sent
	committed int64 // after its commit was acknowledged; 0 before
	unknown   bool  // nobody knows whether it was committed
}

const (
	crowdWriters = 32
	fewStreams   = 24
)

func newCrowd(j judge, server *pgtest.Server, seed uint64, change edit) *crowd {
	tb, ok := j.(testing.TB)
	if !ok {
		tb = j.(*verdict).tb
	}
	address := server.Database(tb)
	l := &crowd{stage: newStage(j, address, change), seed: seed, elsewhere: server.Database(tb), stopped: make(chan struct{}), events: map[event.ID]*attempt{}}
	for range 3 {
		db, err := Open(l.ctx, address+"&ensue.pause=0.003", Options{Schema: l.schema, LockWait: 60 * time.Millisecond, Logger: silent()})
		if err != nil {
			l.Fatalf("open: %v", err)
		}
		l.Cleanup(func() { _ = db.Close() })
		log, err := db.Log(l.ctx, "shop")
		if err != nil {
			l.Fatalf("open: %v", err)
		}
		l.databases, l.logs = append(l.databases, db), append(l.logs, log)
	}
	pool, err := pgxpool.New(l.ctx, address+"&pool_max_conns=8")
	if err != nil {
		l.Fatalf("open: %v", err)
	}
	l.handle = stdlib.OpenDBFromPool(pool)
	l.Cleanup(func() {
		_ = l.handle.Close()
		pool.Close()
	})
	return l
}

func (l *crowd) summary() string {
	committed := 0
	for _, a := range l.events {
		if a.committed > 0 {
			committed++
		}
	}
	passes := int64(0)
	for _, db := range l.databases {
		passes += db.Stats().Passes
	}
	return fmt.Sprintf("%d events tried, %d committed, %d gaps given up during the load, %d connections killed, %d passes by programs; seed %d", len(l.events), committed, l.givenUp, l.kills.Load(), passes, l.seed)
}

func (l *crowd) report(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < 10 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// run has the load go on for a while, and checks what came of it.
func (l *crowd) run(during time.Duration) {
	l.Helper()
	var writing, others, reading sync.WaitGroup
	done := make(chan struct{}) // nothing comes any more
	r := rand.New(rand.NewPCG(l.seed, 0))
	chance := func() *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
	for range crowdWriters {
		w := &crowdWriter{crowd: l, Rand: chance()}
		writing.Go(w.run)
	}
	for _, text := range []string{`BEGIN; SELECT pg_current_xact_id()`, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()`} {
		r := chance()
		others.Go(func() { l.comeAndGo(l.elsewhere, text, r) })
	}
	for _, text := range []string{`BEGIN; SELECT pg_current_xact_id()`, l.sql(`BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ${schema}.log`)} {
		r := chance()
		others.Go(func() { l.comeAndGo(l.address, text, r) })
	}
	others.Go(l.passOnAndOn)
	killing := chance()
	others.Go(func() { l.killNowAndThen(killing) })
	read := make([][]event.ID, len(l.logs))
	for i, log := range l.logs {
		reading.Go(func() { read[i] = l.follow(log, done) })
	}
	for n := 0; n < 4 && (n == 0 || l.givenUp < l.least); n++ { // on a machine that has much else to do
		_ = pause(l.ctx, during)
		l.givenUp = l.countGivenUp()
	}
	close(l.stopped)
	writing.Wait()
	others.Wait()
	if l.beforeEnd != nil {
		l.beforeEnd()
	}
	reason, failed := l.end()
	close(done)
	reading.Wait()
	l.check(read)
	if failed {
		l.wrong = append(l.wrong, reason)
	}
	if len(l.wrong) > 0 {
		l.Fatalf("with seed %d: %q", l.seed, l.wrong)
	}
}

// end has everything numbered, and gives the readers time to see it.
func (l *crowd) end() (reason string, failed bool) {
	return judged(nil, func(j judge) {
		s := *l.stage
		s.judge = j
		s.finish()
		var head int64
		s.scan(&head, `SELECT coalesce(max(position), 0) FROM ${schema}.log`)
		for _, log := range l.logs {
			s.eventually("a reader sees the head", func() bool {
				above, _ := log.head.Above(head - 1)
				return above
			})
		}
	})
}

// countGivenUp counts numbers below the frontier that have no position, and are not looked for either.
func (l *crowd) countGivenUp() (n int64) {
	l.scan(&n, `SELECT coalesce(max(insertion), 0) - count(*)
		- coalesce((SELECT sum(upper(g) - lower(g)) FROM (SELECT gaps FROM ${schema}.passes ORDER BY pass DESC LIMIT 1) p, unnest(p.gaps) g), 0)
		- coalesce((SELECT sum(upper(g) - lower(g)) FROM ${schema}.parked p, unnest(p.gaps) g), 0) FROM ${schema}.log`)
	return n
}

// follow reads the log from its beginning, and goes on until nothing comes any more.
func (l *crowd) follow(log *Log, done <-chan struct{}) (seen []event.ID) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	go func() {
		<-done
		cancel()
	}()
	var at eventlog.Position
	look := func(ctx context.Context) error {
		for e, err := range log.Read(ctx, eventlog.Query{After: at}) {
			if err != nil {
				return err
			}
			if e.Position != at+1 {
				l.report("a reader sees position %d behind %d", e.Position, at)
			}
			at = e.Position
			seen = append(seen, e.ID)
		}
		return nil
	}
	for ctx.Err() == nil {
		if err := log.Wait(ctx, at); err == nil { // errors come from killed connections
			_ = look(ctx)
		}
	}
	for range 10 {
		if look(l.ctx) == nil {
			break
		}
	}
	return seen
}

// comeAndGo has transactions that are none of ours, one after the other.
func (l *crowd) comeAndGo(address, text string, r *rand.Rand) {
	for !l.isStopped() {
		conn, err := pgx.Connect(l.ctx, address)
		if err != nil {
			continue
		}
		for range 5 {
			if script(l.ctx, conn, text) != nil {
				break
			}
			_ = pause(l.ctx, time.Duration(r.IntN(60))*time.Millisecond)
			if script(l.ctx, conn, `COMMIT`) != nil {
				break
			}
			_ = pause(l.ctx, time.Duration(r.IntN(60))*time.Millisecond)
		}
		_ = conn.Close(l.ctx)
	}
}

// passOnAndOn is a program that makes passes, and is killed like others.
func (l *crowd) passOnAndOn() {
	for !l.isStopped() {
		conn, err := pgx.Connect(l.ctx, l.address)
		if err != nil {
			continue
		}
		for err == nil && !l.isStopped() {
			_, err = (&actor{l.stage, conn}).tryPass()
			if refused := new(pgconn.PgError); errors.As(err, &refused) && refused.Code != "57P01" {
				l.report("a pass: %v", err)
			}
		}
		_ = conn.Close(l.ctx)
	}
}

func (l *crowd) killNowAndThen(r *rand.Rand) {
	killer, err := pgx.Connect(l.ctx, l.address)
	if err != nil {
		l.report("connect: %v", err)
		return
	}
	defer killer.Close(l.ctx)
	for !l.isStopped() {
		_ = pause(l.ctx, time.Duration(20+r.IntN(100))*time.Millisecond)
		tag, err := killer.Exec(l.ctx, `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL ($1) AND backend_type = 'client backend' ORDER BY random() LIMIT 1) x`, append(l.spared, l.stepper.pid()))
		if err != nil {
			l.report("kill: %v", err)
			return
		}
		l.kills.Add(tag.RowsAffected())
	}
}

func (l *crowd) isStopped() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// check compares what readers saw with each other, and with what writers know.
func (l *crowd) check(read [][]event.ID) {
	first := read[0]
	for i, other := range read[1:] {
		if !slices.Equal(first, other) {
			l.report("readers saw the log differently: the first %d events, reader %d %d", len(first), i+2, len(other))
		}
	}
	at := make(map[event.ID]int, len(first))
	for i, id := range first {
		if before, twice := at[id]; twice {
			l.report("event %v has the positions %d and %d", id, before+1, i+1)
		}
		at[id] = i
	}
	there := 0
	for id, a := range l.events {
		_, is := at[id]
		switch {
		case is:
			there++
		case a.committed > 0:
			l.report("event %v was committed, and no reader saw it", id)
		}
		if is && a.committed == 0 && !a.unknown {
			l.report("event %v was rolled back, and readers saw it at %d", id, at[id]+1)
		}
	}
	if there+l.foreign != len(first) {
		l.report("readers saw %d events, of which %d are known", len(first), there)
	}
	// Whatever comes later must not have been committed before this began.
	earliest := int64(math.MaxInt64)
	for i := len(first) - 1; i >= 0; i-- {
		a := l.events[first[i]]
		if a == nil {
			continue
		}
		if a.began > earliest {
			l.report("the event at %d came before one that was committed when it was appended", i+1)
		}
		if a.committed > 0 {
			earliest = min(earliest, a.committed)
		}
	}
}

// crowdWriter is one of the writers.
type crowdWriter struct {
	*crowd
	*rand.Rand
	conn *pgx.Conn
}

func (w *crowdWriter) run() {
	for !w.isStopped() {
		switch n := w.IntN(100); {
		case n < 20:
			w.program()
		case n < 40:
			w.rolledBack()
		case n < 65:
			w.transaction(1, 0) // in a moment
		case n < 90:
			w.transaction(1+w.IntN(4), 0.1)
		default:
			w.databaseSQL()
		}
	}
	if w.conn != nil {
		_ = w.conn.Close(w.ctx)
	}
}

// writes makes an append to some of few streams, and notes its events.
func (w *crowdWriter) writes() (writes []eventlog.Write, tried []*attempt) {
	began := w.clock.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 1 + w.IntN(3) {
		to := eventlog.ToStream{Stream: fmt.Sprint("s/", w.IntN(fewStreams))}
		if w.IntN(20) == 0 {
			to.Expect = eventlog.Exactly(eventlog.Version(1 + w.IntN(50))) // mostly a conflict
		}
		for range 1 + w.IntN(3) {
			e := event.Event{ID: event.NewID(), Type: "made"}
			if w.IntN(8) == 0 {
				e.Tags = []event.Tag{{Key: "k", Value: "v"}}
			}
			a := &attempt{began: began}
			w.events[e.ID] = a
			to.Events, tried = append(to.Events, e), append(tried, a)
		}
		writes = append(writes, to)
	}
	return writes, tried
}

// became notes what became of attempts.
func (w *crowdWriter) became(tried []*attempt, committed, unknown bool) {
	now := w.clock.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range tried {
		if a.unknown = unknown; committed {
			a.committed = now
		}
	}
}

// program appends as programs do, in groups with others.
func (w *crowdWriter) program() {
	writes, tried := w.writes()
	_, err := w.logs[w.IntN(2)].Append(w.ctx, writes...)
	w.became(tried, err == nil, errors.Is(err, eventlog.ErrUnknown))
	if err != nil && !w.expected(err) {
		w.report("append: %v", err)
	}
}

// expected tells whether an append may fail so here.
func (w *crowdWriter) expected(err error) bool {
	var server *pgconn.PgError
	return errors.Is(err, eventlog.ErrUnknown) || errors.Is(err, eventlog.ErrConflict) || errors.Is(err, eventlog.ErrBusy) ||
		!errors.As(err, &server) || server.Code == "57P01" // the connection was killed
}

// rolledBack appends in a transaction that is rolled back at once.
func (w *crowdWriter) rolledBack() {
	if !w.connected() {
		return
	}
	writes, _ := w.writes()
	r, err := encode(writes)
	if err != nil {
		w.report("encode: %v", err)
		return
	}
	b := &pgx.Batch{}
	b.Queue(`BEGIN`)
	b.Queue(w.sql(appendText), r.parts[0].args(w.number, 50*time.Millisecond, false)...)
	b.Queue(`ROLLBACK`)
	if w.conn.SendBatch(w.ctx, b).Close() != nil && !w.conn.IsClosed() {
		_, _ = w.conn.Exec(w.ctx, `ROLLBACK`)
	}
}

// connected gets the writer a connection, unless it has one that nobody killed.
func (w *crowdWriter) connected() bool {
	if w.conn == nil || w.conn.IsClosed() {
		conn, err := pgx.Connect(w.ctx, w.address)
		if err != nil {
			return false
		}
		w.conn = conn
	}
	return true
}

var isolations = []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable}

// transaction makes appends in a transaction of its own, with savepoints and pauses, and ends it in one way or another.
func (w *crowdWriter) transaction(appends int, pauses float64) {
	if !w.connected() {
		return
	}
	if _, err := w.conn.Exec(w.ctx, `SELECT set_config('ensue.pause', $1, false)`, fmt.Sprint(pauses/2)); err != nil {
		return
	}
	log := w.logs[w.IntN(2)]
	tx, err := w.conn.BeginTx(w.ctx, pgx.TxOptions{IsoLevel: isolations[w.IntN(len(isolations))]})
	if err != nil {
		return
	}
	var kept []*attempt
	for range appends {
		inner := tx
		if w.IntN(3) == 0 {
			if inner, err = tx.Begin(w.ctx); err != nil {
				return
			}
		}
		writes, tried := w.writes()
		_, err := log.AppendPgx(w.ctx, inner, writes...)
		if err != nil && !w.expected(err) {
			w.report("append in a transaction: %v", err)
		}
		keep := err == nil
		if inner != tx {
			if w.IntN(2) == 0 {
				_, keep = inner.Rollback(w.ctx), false
			} else if inner.Commit(w.ctx) != nil {
				keep = false
			}
		}
		if keep {
			kept = append(kept, tried...)
		}
		if w.Float64() < pauses {
			_ = pause(w.ctx, time.Duration(w.IntN(30))*time.Millisecond)
		}
		if w.conn.IsClosed() {
			return
		}
	}
	switch n := w.IntN(100); {
	case n < 30:
		_ = tx.Rollback(w.ctx)
	case n < 40:
		w.twoPhases(tx, kept)
	default:
		err := tx.Commit(w.ctx)
		w.became(kept, err == nil, err != nil && !isRefusal(err))
	}
	if w.conn.IsClosed() || w.conn.PgConn().TxStatus() != 'I' {
		_ = w.conn.Close(w.ctx)
	}
}

// isRefusal tells whether the server said that it did not commit.
func isRefusal(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Severity == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback)
}

// twoPhases prepares a transaction, and ends it later.
func (w *crowdWriter) twoPhases(tx pgx.Tx, kept []*attempt) {
	name := fmt.Sprintf("'random %d'", w.names.Add(1))
	_, err := tx.Exec(w.ctx, `PREPARE TRANSACTION `+name)
	if isRefusal(err) {
		_ = tx.Rollback(w.ctx)
		return
	}
	_ = pause(w.ctx, time.Duration(w.IntN(40))*time.Millisecond)
	end, commit := `ROLLBACK PREPARED `, w.IntN(3) > 0
	if commit {
		end = `COMMIT PREPARED `
	}
	for range 20 { // its connection may have been killed, before or after
		conn := w.conn
		if conn.IsClosed() {
			if conn, err = pgx.Connect(w.ctx, w.address); err != nil {
				continue
			}
			w.conn = conn
		}
		_, err = conn.Exec(w.ctx, end+name)
		if err == nil || isRefusal(err) {
			break
		}
	}
	w.became(kept, commit && err == nil, err != nil)
}

// databaseSQL appends in a transaction of database/sql's.
func (w *crowdWriter) databaseSQL() {
	tx, err := w.handle.BeginTx(w.ctx, &sql.TxOptions{Isolation: []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead}[w.IntN(2)]})
	if err != nil {
		return
	}
	defer func() { _ = tx.Rollback() }()
	var kept []*attempt
	for range 1 + w.IntN(2) {
		writes, tried := w.writes()
		_, err := w.logs[w.IntN(2)].AppendTx(w.ctx, tx, writes...)
		if err == nil {
			kept = append(kept, tried...)
		} else if !w.expected(err) {
			w.report("append in a transaction of database/sql's: %v", err)
		}
	}
	if w.IntN(3) == 0 {
		return
	}
	err = tx.Commit()
	w.became(kept, err == nil, err != nil && !isRefusal(err))
}
