package pglog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// sized returns a size for every day, or, where ENSUE_FULL is set, the one of which G3 speaks.
func sized(daily, full int) int {
	if os.Getenv("ENSUE_FULL") != "" {
		return full
	}
	return daily
}

// A filled log was filled, past appends, with what appends leave behind. It counts what passes cost.
type filled struct {
	testing.TB
	server  *pgtest.Server
	address string
	conn    *pgx.Conn
	module  int32
}

// fill is an hour's work of appenders: a transaction for each event, every fifth of which is rolled back. Bulk inserts so
// many events in one transaction; between each two of them a number is drawn and not used, if there are to be gaps.
const fill = `
CREATE SEQUENCE versions;
CREATE PROCEDURE fill(n integer, passes boolean) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    INSERT INTO ensue.events (insertion, module, id, stream, version, type, system, schema, data)
    VALUES (ensue.next_insertion(), 1, gen_random_uuid(), -1, nextval('versions'), 'filled', false, 1, '{}');
    IF i % 5 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    IF passes THEN PERFORM ensue.pass(); COMMIT; END IF;
  END LOOP;
END $$;
CREATE PROCEDURE bulk(n integer, gaps boolean) LANGUAGE sql AS $$
  INSERT INTO ensue.events (insertion, module, id, stream, version, type, system, schema, data)
  SELECT ensue.next_insertion(), 1, gen_random_uuid(), -1, nextval('versions'), 'filled', false, 1, '{}'
    FROM generate_series(1, n) WHERE NOT gaps OR ensue.next_insertion() > 0
$$;`

func newFilled(t *testing.T, server *pgtest.Server) *filled {
	t.Helper()
	l := &filled{TB: t, server: server, address: server.Database(t)}
	db := l.open(Options{})
	log, err := db.Log(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	l.module = log.number
	l.conn = l.connect(l.address)
	l.exec(l.conn, `SET synchronous_commit = off`)
	l.exec(l.conn, fill)
	return l
}

func (l *filled) open(o Options) *Database {
	l.Helper()
	db, err := Open(l.Context(), l.address, o)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		if err := db.Close(); err != nil {
			l.Error(err)
		}
	})
	return db
}

func (l *filled) connect(address string) *pgx.Conn {
	l.Helper()
	conn, err := pgx.Connect(l.Context(), address)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (l *filled) exec(conn *pgx.Conn, text string) {
	l.Helper()
	if _, err := conn.Exec(l.Context(), text); err != nil {
		l.Fatalf("%s: %v", text, err)
	}
}

// number returns what a statement says, a single number.
func (l *filled) number(text string) (n int) {
	l.Helper()
	if err := l.conn.QueryRow(l.Context(), text).Scan(&n); err != nil {
		l.Fatalf("%s: %v", text, err)
	}
	return n
}

// A cost is what passes needed.
type cost struct {
	passes, buffers, scans int // scans: of events by insertion number, one for what is new and one for each gap that is looked for
	rows                   int // that they returned
	time                   time.Duration
}

func (c cost) perPass() (buffers, scans float64) {
	return float64(c.buffers) / float64(c.passes), float64(c.scans) / float64(c.passes)
}

func (c cost) String() string {
	buffers, scans := c.perPass()
	return fmt.Sprintf("%.1f buffers, %.2f scans, %v", buffers, scans, (c.time / time.Duration(c.passes)).Round(10*time.Microsecond))
}

// pass makes a pass and adds what it cost.
func (l *filled) pass(c *cost) {
	l.Helper()
	const scans = `SELECT pg_stat_get_xact_numscans('ensue.events_pkey'::regclass)`
	var before, after int64
	var text string
	var batch pgx.Batch
	batch.Queue(`BEGIN`)
	batch.Queue(scans).QueryRow(func(r pgx.Row) error { return r.Scan(&before) })
	batch.Queue(`EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM ensue.pass()`).QueryRow(func(r pgx.Row) error { return r.Scan(&text) })
	batch.Queue(scans).QueryRow(func(r pgx.Row) error { return r.Scan(&after) })
	batch.Queue(`COMMIT`)
	begin := time.Now()
	if err := l.conn.SendBatch(l.Context(), &batch).Close(); err != nil {
		l.Fatal(err)
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
			Rows int `json:"Actual Rows"`
		}
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		l.Fatalf("%v: %s", err, text)
	}
	c.time += time.Since(begin)
	c.passes++
	c.buffers += plans[0].Plan.Hit + plans[0].Plan.Read
	c.scans += int(after - before)
	c.rows += plans[0].Plan.Rows
}

// settle makes passes until nothing is left to number, and returns what each cost.
func (l *filled) settle() (all []cost) {
	l.Helper()
	for {
		var c cost
		l.pass(&c)
		all = append(all, c)
		if c.rows <= 1 { // it says that it was made
			return all
		}
	}
}

// gaps counts the gaps that are known, and those that are out of the way.
func (l *filled) gaps() (known, parked int) {
	l.Helper()
	return l.number(`SELECT coalesce((SELECT cardinality(gaps) FROM ensue.passes ORDER BY pass DESC LIMIT 1), 0)`),
		l.number(`SELECT coalesce(sum(cardinality(gaps)), 0) FROM ensue.parked`)
}

// An obstacle is a transaction that somebody leaves open; it says how to end it.
type obstacle struct {
	name  string
	leave func(*filled) (end func())
}

const stray = `INSERT INTO ensue.events (insertion, module, id, stream, version, type, system, schema, data)
	SELECT ensue.next_insertion(), 1, gen_random_uuid(), -2, g, 'late', false, 1, '{}' FROM generate_series(1, 3) g`

var (
	foreign = obstacle{"transaction of another database", func(l *filled) func() {
		conn := l.connect(l.server.URL("postgres"))
		l.exec(conn, `BEGIN; SELECT pg_current_xact_id()`)
		return func() { l.exec(conn, `COMMIT`) }
	}}
	late = obstacle{"writer", func(l *filled) func() {
		conn := l.connect(l.address)
		l.exec(conn, `BEGIN; `+stray)
		return func() { l.exec(conn, `COMMIT`) }
	}}
	snapshot = obstacle{"idle snapshot", func(l *filled) func() {
		conn := l.connect(l.address)
		l.exec(conn, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ensue.passes`)
		return func() { l.exec(conn, `COMMIT`) }
	}}
	prepared = obstacle{"prepared transaction", func(l *filled) func() {
		conn := l.connect(l.address)
		l.exec(conn, `BEGIN; `+stray+`; PREPARE TRANSACTION 'late'`)
		return func() { l.exec(conn, `COMMIT PREPARED 'late'`) }
	}}
)

// TestG3_APassCostsTheSameAfterAnHour keeps a transaction open for an hour's load, by count, of which a fifth is rolled
// back: what a pass touches does not grow.
func TestG3_APassCostsTheSameAfterAnHour(t *testing.T) {
	server := pgtest.New(t, pgtest.Options{})
	for _, o := range []obstacle{foreign, late, snapshot, prepared} {
		t.Run(o.name, func(t *testing.T) {
			l := newFilled(t, server)
			// So much stands there before that no index gets another level.
			l.exec(l.conn, fmt.Sprintf(`CALL bulk(%d, false)`, sized(5_000, 200_000)))
			l.settle()
			end := o.leave(l)
			const each = 20 // appends for a pass
			var tenths [10]cost
			for i := range tenths {
				for range sized(24_000, 1_800_000) / each / len(tenths) {
					l.exec(l.conn, fmt.Sprintf(`CALL fill(%d, false)`, each))
					l.pass(&tenths[i])
				}
			}
			known, parked := l.gaps()
			t.Logf("a pass costs %v in the first tenth, %v in the last; %d gaps known, %d parked", tenths[0], tenths[9], known, parked)
			b0, s0 := tenths[0].perPass()
			b9, s9 := tenths[9].perPass()
			if b9 > 1.5*b0 || s9 > 1.5*s0 {
				t.Errorf("a pass costs more when the transaction has been open for long; by tenths: %v", tenths)
			}
			end()
			l.over()
		})
	}
}

// over checks that nothing is left of gaps when whoever kept them open has ended.
func (l *filled) over() {
	l.Helper()
	l.Logf("the passes when it has ended: %v", l.settle())
	for attempt := 1; ; attempt++ { // the server's own transactions, as of autovacuum, keep gaps for as long as they last
		l.exec(l.conn, `CALL fill(1, true)`)
		l.settle()
		known, parked := l.gaps()
		if known <= 1 && parked == 0 {
			break
		}
		if attempt == 500 || pause(l.Context(), 10*time.Millisecond) != nil {
			l.Errorf("%d gaps are known and %d parked when nobody can fill them", known, parked)
			break
		}
	}
	if n := l.number(`SELECT count(*) FROM ensue.events WHERE NOT EXISTS (SELECT FROM ensue.log WHERE log.insertion = events.insertion)`); n > 0 {
		l.Errorf("%d events have no position", n)
	}
}

// TestG3_EventsAreReadAtOnce follows a log, to which 500 events a second are appended, past transactions that are left
// open with what makes passes expensive elsewhere.
func TestG3_EventsAreReadAtOnce(t *testing.T) {
	server := pgtest.New(t, pgtest.Options{})
	gaps := sized(30_000, 300_000)
	for _, c := range []struct {
		obstacle
		fill string
	}{
		{obstacle{"nothing", func(*filled) func() { return func() {} }}, ``},
		{foreign, fmt.Sprintf(`CALL bulk(%d, true)`, gaps)},
		{late, fmt.Sprintf(`CALL bulk(%d, true)`, gaps)},
		{snapshot, fmt.Sprintf(`CALL fill(%d, true)`, sized(10_000, 200_000))}, // a pass for each
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newFilled(t, server)
			end := c.leave(l)
			if c.fill != "" {
				l.exec(l.conn, c.fill)
				l.settle()
			}
			known, parked := l.gaps()
			const rate = 500
			lasts := time.Duration(sized(1, 10)) * time.Second
			slow := true
			for attempt := 0; slow && attempt < 4; attempt++ { // a machine that does something else for a moment is no stall
				bare := l.insert(rate, lasts/2)
				p50, p99 := l.follow(rate, lasts)
				t.Logf("%d gaps known, %d parked: an event is read %v after Append is called, p99 %v; that of a bare insert is %v", known, parked, p50, p99, bare)
				slow = p99 > max(200*time.Millisecond, 3*bare)
			}
			if slow {
				t.Error("in all attempts, it takes each hundredth event too long to be read")
			}
			end()
			l.over()
		})
	}
}

// insert inserts rows into a table at a rate, and returns the 99th percentile of what that takes: whatever makes this slow
// is the machine.
func (l *filled) insert(rate int, lasts time.Duration) (p99 time.Duration) {
	l.Helper()
	pool, err := pgxpool.New(l.Context(), l.address)
	if err != nil {
		l.Fatal(err)
	}
	defer pool.Close()
	l.exec(l.conn, `CREATE TABLE IF NOT EXISTS bare (data bytea)`)
	times := make([]time.Duration, int(lasts.Seconds()*float64(rate)))
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var work sync.WaitGroup
	for i := range times {
		<-tick.C
		work.Go(func() {
			begin := time.Now()
			if _, err := pool.Exec(l.Context(), `INSERT INTO bare VALUES ($1)`, []byte("8 bytes!")); err != nil {
				l.Error(err)
			}
			times[i] = time.Since(begin)
		})
	}
	work.Wait()
	slices.Sort(times)
	return times[len(times)*99/100].Round(10 * time.Microsecond)
}

// follow appends at a rate by one program and reads by another one.
func (l *filled) follow(rate int, lasts time.Duration) (p50, p99 time.Duration) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), lasts+time.Minute)
	defer cancel()
	var logs [2]*Log
	for i := range logs {
		var err error
		if logs[i], err = l.open(Options{}).Log(ctx, "shop"); err != nil {
			l.Fatal(err)
		}
	}
	after, err := logs[1].Head(ctx)
	if err != nil {
		l.Fatal(err)
	}
	n := int(lasts.Seconds() * float64(rate))
	begin := time.Now()
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for range n {
			<-tick.C
			work.Go(func() {
				id := event.NewID()
				data := binary.BigEndian.AppendUint64(nil, uint64(time.Since(begin)))
				if _, err := logs[0].Append(ctx, eventlog.ToStream{Stream: id.String(), Events: []event.Event{{ID: id, Type: "timed", Data: data}}}); err != nil {
					l.Error(err)
					cancel()
				}
			})
		}
	})
	defer work.Wait()
	times := make([]time.Duration, 0, n)
	for len(times) < n {
		if err := logs[1].Wait(ctx, after); err != nil {
			l.Fatal(err)
		}
		for e, err := range logs[1].Read(ctx, eventlog.Query{After: after}) {
			if err != nil {
				l.Fatal(err)
			}
			after = e.Position
			if e.Type == "timed" {
				times = append(times, time.Since(begin)-time.Duration(binary.BigEndian.Uint64(e.Data)))
			}
		}
	}
	slices.Sort(times)
	return times[n/2].Round(10 * time.Microsecond), times[n*99/100].Round(10 * time.Microsecond)
}

// TestG3_ALargeCommitIsNumberedAtOnce numbers one commit of very many events. What that takes is compared with a bare
// insert of the same rows, so that a slow machine is told from slow passes.
func TestG3_ALargeCommitIsNumberedAtOnce(t *testing.T) {
	l := newFilled(t, pgtest.New(t, pgtest.Options{}))
	n := sized(100_000, 500_000)
	l.exec(l.conn, fmt.Sprintf(`CALL bulk(%d, false)`, n))
	begin := time.Now()
	costs := l.settle()
	took := time.Since(begin)
	l.exec(l.conn, `CREATE TABLE copied (LIKE ensue.log INCLUDING INDEXES)`)
	begin = time.Now()
	l.exec(l.conn, `INSERT INTO copied SELECT * FROM ensue.log`)
	bare := time.Since(begin)
	rate, ratio := float64(n)/took.Seconds(), took.Seconds()/bare.Seconds()
	t.Logf("%d events of one commit were numbered in %v by %d passes: %.0f/s, %.1f times what it takes to insert the rows", n, took.Round(time.Millisecond), len(costs), rate, ratio)
	if rate < 30_000 && ratio > 6 {
		t.Errorf("%.0f events of a large commit are numbered a second, %.1f times slower than rows are inserted", rate, ratio)
	}
	l.over()
}

// TestG3_AJumpOfTheSequenceCostsNothing has the sequence jump by five million, as where a database was restored, while a
// transaction keeps gaps open.
func TestG3_AJumpOfTheSequenceCostsNothing(t *testing.T) {
	server := pgtest.New(t, pgtest.Options{})
	for _, o := range []obstacle{foreign, late} {
		t.Run(o.name, func(t *testing.T) {
			l := newFilled(t, server)
			l.exec(l.conn, `CALL bulk(5000, false)`)
			l.settle()
			end := o.leave(l)
			passes := func(n int) (c cost) {
				for range n {
					l.exec(l.conn, `CALL fill(5, false)`)
					l.pass(&c)
				}
				return c
			}
			passes(256)
			before := passes(256)
			l.exec(l.conn, `SELECT setval('ensue.insertions', nextval('ensue.insertions') + 5000000)`)
			jump := passes(1)
			after := passes(256)
			t.Logf("a pass costs %v before the jump, %v behind it, %v from then on", before, jump, after)
			b0, _ := before.perPass()
			b1, _ := after.perPass()
			if b1 > 1.2*b0+2 || float64(jump.buffers) > 2*b0+20 {
				t.Errorf("a jump of the sequence costs: passes before %v, at it %v, after %v", before, jump, after)
			}
			end()
			l.over()
		})
	}
}
