package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// A postgres is a durable server with one database, and the table bare, which is like that of events.
type postgres struct {
	*testing.B
	server  *pgtest.Server
	address string
	db      *pglog.Database
	log     *pglog.Log
}

func newPostgres(b *testing.B) *postgres {
	b.Helper()
	p := &postgres{B: b, server: pgtest.New(b, pgtest.Options{Durable: true})}
	p.address = p.server.URL("postgres")
	p.db, p.log = p.open()
	p.exec(`CREATE TABLE bare (LIKE ensue.events INCLUDING ALL); CREATE SEQUENCE bare_insertions`)
	return p
}

func (p *postgres) open() (*pglog.Database, *pglog.Log) {
	p.Helper()
	db, err := pglog.Open(context.Background(), p.address, pglog.Options{Logger: quiet})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if err := db.Close(); err != nil {
			p.Error(err)
		}
	})
	log, err := db.Log(context.Background(), "orders")
	if err != nil {
		p.Fatal(err)
	}
	return db, log
}

func (p *postgres) exec(text string) {
	p.Helper()
	conn := p.connect()
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), text); err != nil {
		p.Fatal(err)
	}
}

func (p *postgres) connect() *pgx.Conn {
	p.Helper()
	conn, err := pgx.Connect(context.Background(), p.address)
	if err != nil {
		p.Fatal(err)
	}
	return conn
}

// follow reads a log from its end until stop is called, and says then how many events it has seen.
func (p *postgres) follow(log *pglog.Log, each func(event.Recorded)) (stop func() int) {
	p.Helper()
	after, err := log.Head(context.Background())
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	seen := 0
	work.Go(func() {
		for log.Wait(ctx, after) == nil {
			for e, err := range log.Read(ctx, eventlog.Query{After: after}) {
				if err != nil {
					if ctx.Err() == nil {
						p.Error(err)
					}
					return
				}
				after, seen = e.Position, seen+1
				if each != nil {
					each(e)
				}
			}
		}
	})
	return func() int { cancel(); work.Wait(); return seen }
}

// A rate is how often something was done in a second, by two sides that took turns.
type rate struct{ ours, theirs []float64 }

func (r rate) report(b *testing.B, ours, theirs string) {
	b.Helper()
	ratios := make([]float64, len(r.ours))
	for i := range ratios {
		ratios[i] = r.ours[i] / r.theirs[i]
	}
	b.ReportMetric(median(r.ours), ours)
	b.ReportMetric(median(r.theirs), theirs)
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// turn is how many seconds each side has in a round.
const turn = 2

// BenchmarkPostgresAppend appends one event of 200 bytes a call, each to a stream of its own, while a reader follows; in
// turns with pgbench, which inserts one row at a time into a table with the same columns and indexes.
func BenchmarkPostgresAppend(b *testing.B) {
	for _, v := range []struct{ programs, callers int }{{1, 1}, {1, 8}, {1, 32}, {2, 16}} {
		b.Run(fmt.Sprintf("programs=%d/callers=%d", v.programs, v.callers), func(b *testing.B) {
			p := newPostgres(b)
			pgbench := p.pgbench(v.programs * v.callers)
			dbs, logs := []*pglog.Database{p.db}, []*pglog.Log{p.log}
			for range v.programs - 1 {
				db, log := p.open()
				dbs, logs = append(dbs, db), append(logs, log)
			}
			p.appends(logs, v.callers, 1, turn*time.Second/4) // connections, plans
			var r rate
			var appends, commits, passes int64
			for b.Loop() {
				r.theirs = append(r.theirs, pgbench())
				stop := p.follow(logs[0], nil)
				before := stats(dbs)
				r.ours = append(r.ours, p.appends(logs, v.callers, 1, turn*time.Second))
				after := stats(dbs)
				appends, commits, passes = appends+after.Appends-before.Appends, commits+after.Commits-before.Commits, passes+after.Passes-before.Passes
				stop()
			}
			r.report(b, "appends/s", "pgbench/s")
			b.ReportMetric(float64(appends)/float64(max(1, commits)), "appends/commit")
			b.ReportMetric(float64(appends)/float64(max(1, passes)), "appends/pass")
		})
	}
}

// BenchmarkPostgresBatch appends 100 events of 200 bytes a call.
func BenchmarkPostgresBatch(b *testing.B) {
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			p := newPostgres(b)
			p.appends([]*pglog.Log{p.log}, callers, 100, turn*time.Second/4)
			var rates []float64
			for b.Loop() {
				stop := p.follow(p.log, nil)
				rates = append(rates, p.appends([]*pglog.Log{p.log}, callers, 100, turn*time.Second))
				stop()
			}
			b.ReportMetric(median(rates)*100, "events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func stats(dbs []*pglog.Database) (sum pglog.Stats) {
	for _, db := range dbs {
		s := db.Stats()
		sum.Appends, sum.Commits, sum.Passes = sum.Appends+s.Appends, sum.Commits+s.Commits, sum.Passes+s.Passes
	}
	return sum
}

// payload is as large as the events of most applications.
var payload = []byte(`{"order":"42","note":"` + strings.Repeat("-", 176) + `"}`)

// appends returns how many appends there were in a second, of so many callers of each log.
func (p *postgres) appends(logs []*pglog.Log, callers, events int, lasts time.Duration) float64 {
	p.Helper()
	batch := slices.Repeat([]event.Event{{Type: "order-placed", Data: payload}}, events)
	var n atomic.Int64
	var work sync.WaitGroup
	begin := time.Now()
	for _, log := range logs {
		for range callers {
			work.Go(func() {
				for time.Since(begin) < lasts {
					w := eventlog.ToStream{Stream: "order/" + event.NewID().String(), Expect: eventlog.NoStream, Events: batch}
					if _, err := log.Append(context.Background(), w); err != nil {
						p.Error(err)
						return
					}
					n.Add(1)
				}
			})
		}
	}
	work.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds()
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// pgbench returns what has pgbench insert rows for a turn, and says how many a second they were.
func (p *postgres) pgbench(clients int) func() float64 {
	p.Helper()
	script := filepath.Join(p.TempDir(), "insert.sql")
	text := fmt.Sprintf(`\set stream random(1, 1000000000000)
INSERT INTO bare (insertion, module, id, stream, version, type, system, schema, data)
VALUES (nextval('bare_insertions'), 1, gen_random_uuid(), :stream, 1, 'order-placed', false, 1, '\x%x');
`, payload)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	return func() float64 {
		p.Helper()
		out := p.server.Program(p, "pgbench", "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", "2", "-T", strconv.Itoa(turn), "-f", script)
		found := tps.FindStringSubmatch(out)
		if found == nil {
			p.Fatalf("pgbench says: %s", out)
		}
		rate, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			p.Fatal(err)
		}
		return rate
	}
}

// BenchmarkPostgresRead reads a log by position, in turns with a bare SELECT of the columns of the events; 1,000,000 of
// them where ENSUE_FULL is set.
func BenchmarkPostgresRead(b *testing.B) {
	n := 100_000
	if os.Getenv("ENSUE_FULL") != "" {
		n = 1_000_000
	}
	p := newPostgres(b)
	p.exec(fmt.Sprintf(`
		INSERT INTO ensue.streams (module, name, version) SELECT 1, 'order/' || s, 10 FROM generate_series(1, %d) s;
		INSERT INTO ensue.events (insertion, module, id, stream, version, type, system, schema, data)
		SELECT ensue.next_insertion(), 1, gen_random_uuid(), (n - 1) / 10 + 1, (n - 1) %% 10 + 1, 'order-placed', false, 1, '\x%x' FROM generate_series(1, %d) n`,
		n/10, payload, n))
	if head, err := p.log.Head(context.Background()); err != nil || head != eventlog.Position(n) {
		b.Fatal(head, err)
	}
	p.exec(`VACUUM ANALYZE`)
	conn := p.connect()
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	var r rate
	for b.Loop() {
		begin := time.Now()
		p.scan(conn, n)
		r.theirs = append(r.theirs, float64(n)/time.Since(begin).Seconds())
		begin = time.Now()
		count := 0
		for _, err := range p.log.Read(context.Background(), eventlog.Query{}) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
		if count != n {
			b.Fatalf("%d events were read, want %d", count, n)
		}
		r.ours = append(r.ours, float64(n)/time.Since(begin).Seconds())
	}
	r.report(b, "events/s", "select/s")
}

// scan reads the events as rows.
func (p *postgres) scan(conn *pgx.Conn, n int) {
	p.Helper()
	rows, err := conn.Query(context.Background(), `SELECT insertion, id, stream, version, type, schema, occurred, correlation, causation, headers, tags, data FROM ensue.events ORDER BY insertion`)
	if err != nil {
		p.Fatal(err)
	}
	var insertion, stream, version int64
	var id, correlation, causation pgtype.UUID
	var name string
	var schema int32
	var occurred pgtype.Timestamptz
	var headers, tags pgtype.Text
	var data []byte
	count := 0
	if _, err := pgx.ForEachRow(rows, []any{&insertion, &id, &stream, &version, &name, &schema, &occurred, &correlation, &causation, &headers, &tags, &data}, func() error {
		count++
		return nil
	}); err != nil || count != n {
		p.Fatal(count, err)
	}
}

// BenchmarkPostgresFollow appends 500 events a second by one program, and reads them by another one.
func BenchmarkPostgresFollow(b *testing.B) {
	const rate = 500
	p := newPostgres(b)
	_, reader := p.open()
	var times []time.Duration
	for b.Loop() {
		begin := time.Now()
		all := make(chan struct{})
		got := 0
		stop := p.follow(reader, func(e event.Recorded) {
			times = append(times, time.Since(begin)-time.Duration(binary.BigEndian.Uint64(e.Data)))
			if got++; got == turn*rate {
				close(all)
			}
		})
		var work sync.WaitGroup
		tick := time.NewTicker(time.Second / rate)
		for range turn * rate {
			<-tick.C
			work.Go(func() {
				data := binary.BigEndian.AppendUint64(nil, uint64(time.Since(begin)))
				if _, err := p.log.Append(context.Background(), eventlog.ToStream{Stream: event.NewID().String(), Events: []event.Event{{Type: "timed", Data: append(data, payload...)}}}); err != nil {
					b.Error(err)
				}
			})
		}
		tick.Stop()
		work.Wait()
		if !b.Failed() {
			<-all
		}
		stop()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
