// Package pglog keeps logs in a PostgreSQL database, for many programs on many machines.
//
// A schema of the database holds the logs of any number of modules:
//
//	db, err := pglog.Open(ctx, "postgres://ensue@db.example.com/shop", pglog.Options{})
//	// …
//	defer db.Close()
//	orders, err := db.Log(ctx, "orders")
//	_, err = orders.Append(ctx, eventlog.ToStream{Stream: "order/42", Expect: eventlog.NoStream, Events: events})
//
// Events get their positions after they were committed, in the order in which their commits became visible, by passes:
// short transactions that anybody makes who appends or reads. No append waits for another one to another stream, and no
// transaction that somebody leaves open holds up what others committed. Appended says versions, and no positions; ask for
// them by Query.IDs. See docs/decisions/0008-numbers-after-commit.md.
//
// Nothing relies on the state of a session, so that a pooler may stand between, in transaction mode. The connection that
// listens for wake-ups is a session of its own, and optional.
package pglog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/head"
)

// Options change how a database is opened. The zero value is a good choice.
type Options struct {
	Schema    string // that holds the tables; default "ensue"
	ReadOnly  bool   // writes fail with eventlog.ErrReadOnly; the schema must exist
	MustExist bool   // a schema that does not exist is an error, instead of being made

	// Manual leaves the schema as it is: one that is missing or older than this program is a *SchemaError. For teams that
	// apply changes by their own means; see Migrations.
	Manual bool

	LockWait    time.Duration // how long an append waits for a transaction on the same stream, entry or id; default 1 s
	Poll        time.Duration // the longest time between looks for what others appended, while somebody waits; default 40 ms
	NoListen    bool          // don't keep a connection that listens for wake-ups; polling alone finds everything
	Connections int           // at most, beside the one that listens; default 10, or pool_max_conns of the address
	Logger      *slog.Logger  // nil means slog.Default()

	hooks hooks
}

// hooks let tests stand between a request and its commit.
type hooks struct {
	group func(n int) // before a group of n appends is sent
}

func (o Options) withDefaults() Options {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.LockWait <= 0 {
		o.LockWait = time.Second
	}
	o.LockWait = max(o.LockWait, time.Millisecond) // to the server, none would be for ever
	if o.Poll <= 0 {
		o.Poll = 40 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// DefaultSchema is the schema that holds the tables unless Options say otherwise.
const DefaultSchema = "ensue"

// Database is an open schema of a database. All methods are safe for concurrent use.
type Database struct {
	address string // without a password
	options Options
	pool    *pgxpool.Pool
	db      *sql.DB // the same pool, as database/sql has it
	stats   counters

	appendText string
	headsText  string
	lonely     chan struct{} // a place for each append that is made alone

	// What is known about the server.
	server   server
	standby  atomic.Bool // in recovery: what is numbered can be read, nothing is written
	isolated bool        // transactions are not READ COMMITTED unless they say so

	mu     sync.Mutex
	logs   map[string]*Log
	ending context.Context // done when the database is closed
	end    context.CancelFunc
	passes passes
	watch  watch
	closed bool
	once   sync.Once
	work   sync.WaitGroup // what runs beside the callers, until the database is closed
}

// Log is a module's log in a database. It implements eventlog.Log, Linker, StreamLister, StreamsReader, StreamKeeper,
// SQLTransactor and Clock.
type Log struct {
	db     *Database
	module string
	number int32
	id     event.ID
	closed atomic.Bool
	head   head.Head
	writer *writer
	loads  gathering
	mark   mark // under Database.mu, with behind: see rewind.go
	behind bool
}

var (
	_ eventlog.Log           = (*Log)(nil)
	_ eventlog.Linker        = (*Log)(nil)
	_ eventlog.StreamLister  = (*Log)(nil)
	_ eventlog.StreamsReader = (*Log)(nil)
	_ eventlog.StreamKeeper  = (*Log)(nil)
	_ eventlog.SQLTransactor = (*Log)(nil)
	_ eventlog.Closer        = (*Log)(nil)
	_ eventlog.Watcher       = (*Log)(nil)
)

// Stats counts what was done with a database since it was opened.
type Stats struct {
	Commits   int64 // transactions that appended
	Appends   int64 // that succeeded; many share a commit
	Conflicts int64 // appends that found something else than they expected
	Alone     int64 // appends that left their group, since they would have waited in it or failed it
	Passes    int64 // that this program made
	Shared    int64 // streams that were read by a statement that read others' too
}

type counters struct{ commits, appends, conflicts, alone, passes, shared atomic.Int64 }

// Stats returns the counts until now.
func (d *Database) Stats() Stats {
	return Stats{Commits: d.stats.commits.Load(), Appends: d.stats.appends.Load(), Conflicts: d.stats.conflicts.Load(), Alone: d.stats.alone.Load(), Passes: d.stats.passes.Load(), Shared: d.stats.shared.Load()}
}

// Address returns the address of the database, without its password.
func (d *Database) Address() string { return d.address }

// Schema returns the name of the schema that holds the tables.
func (d *Database) Schema() string { return d.options.Schema }

// sql puts the schema's name into a statement, for ${schema}.
func (d *Database) sql(text string) string {
	return strings.ReplaceAll(text, "${schema}", pgx.Identifier{d.options.Schema}.Sanitize())
}

// query runs a statement that reads, and gives each row to row, which may end it early, without an error, by errEnough.
func (d *Database) query(ctx context.Context, text string, row func(pgx.Rows) error, args ...any) error {
	rows, err := d.pool.Query(ctx, text, args...)
	if err != nil {
		return d.explain("read", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return d.explain("read", err)
		}
	}
	return d.explain("read", rows.Err())
}

var errEnough = errors.New("pglog: enough")

// Modules returns the names of the modules that have a log in the schema, in their order.
func (d *Database) Modules(ctx context.Context) (names []string, err error) {
	err = d.query(ctx, d.sql(`SELECT name FROM ${schema}.modules ORDER BY name`), func(r pgx.Rows) error {
		var name string
		err := r.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// Log returns the module's log. It is made if there is none; in a database that is only read that is an error that wraps
// eventlog.ErrReadOnly. The same module gives the same log until that is closed.
func (d *Database) Log(ctx context.Context, module string) (*Log, error) {
	if err := eventlog.CheckStream(module); err != nil {
		return nil, fmt.Errorf("pglog: a module is named like a stream: %w", err)
	}
	d.mu.Lock()
	l, ok := d.logs[module]
	d.mu.Unlock()
	if ok && !l.closed.Load() {
		return l, nil
	}
	for range mostMoves {
		if l, err := d.open(ctx, module); l != nil || err != nil {
			return l, err
		}
	}
	return nil, fmt.Errorf("pglog: %s: the server changed again and again; try later", d.address)
}

// mostMoves is how often in a row the server may change while a log is opened.
const mostMoves = 10

// open makes and finds the log of a module. None and no error: connections lead elsewhere since it was found.
func (d *Database) open(ctx context.Context, module string) (*Log, error) {
	l := &Log{db: d, module: module}
	era := d.server.era.Load()
	found, err := l.find(ctx)
	if err != nil {
		return nil, err
	}
	if !found {
		if d.isStandby(ctx); d.readOnly() {
			return nil, fmt.Errorf("pglog: %s has no log of module %q: %w, so none can be made", d.address, module, eventlog.ErrReadOnly)
		}
		id := event.NewID()
		if _, err := d.pool.Exec(ctx, d.sql(`INSERT INTO ${schema}.modules (name, log) VALUES ($1, $2) ON CONFLICT DO NOTHING`), module, uuid(id)); err != nil {
			return nil, d.explain("make the log of a module", err)
		}
		if _, err := l.find(ctx); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, eventlog.ErrClosed
	}
	if other, ok := d.logs[module]; ok && !other.closed.Load() {
		return other, nil
	}
	if d.server.era.Load() != era {
		return nil, nil
	}
	l.writer, l.loads.log = newWriter(l), l
	d.logs[module] = l
	return l, nil
}

// find reads the log's number, id and head.
func (l *Log) find(ctx context.Context) (found bool, err error) {
	err = l.db.query(ctx, l.db.sql(`SELECT module, log, coalesce((SELECT max(position) FROM ${schema}.log l WHERE l.module = m.module), 0) FROM ${schema}.modules m WHERE name = $1`), func(r pgx.Rows) error {
		var id [16]byte
		var head int64
		if err := r.Scan(&l.number, &id, &head); err != nil {
			return err
		}
		found, l.id = true, id
		l.head.Advance(head)
		return nil
	}, l.module)
	return found, err
}

// readOnly tells whether nothing can be written.
func (d *Database) readOnly() bool { return d.options.ReadOnly || d.standby.Load() }

// ID implements eventlog.Log.
func (l *Log) ID() event.ID { return l.id }

// Module returns the name of the module whose log it is.
func (l *Log) Module() string { return l.module }

// Links implements eventlog.Linker.
func (l *Log) Links() bool { return true }

// Now implements eventlog.Clock: the server's clock.
func (l *Log) Now(ctx context.Context) (now time.Time, err error) {
	err = l.db.query(ctx, `SELECT clock_timestamp()`, func(r pgx.Rows) error { return r.Scan(&now) })
	return now.UTC(), err
}

// Close closes this log alone; the database and its other logs stay open.
func (l *Log) Close() error {
	l.closed.Store(true)
	l.head.Wake()
	return nil
}

// Close ends all that is under way, and closes the connections. Closing twice succeeds.
func (d *Database) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		d.closed = true
		logs := d.logs
		d.mu.Unlock()
		for _, l := range logs {
			l.writer.close()
			_ = l.Close()
		}
		d.end()
		d.work.Wait()
		_ = d.db.Close()
		d.pool.Close()
	})
	return nil
}
