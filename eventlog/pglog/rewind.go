package pglog

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// server is what a database knows of the server that its connections lead to. Positions mean the same for as long as that
// is one server in one life. A new connection may lead elsewhere without anybody telling: the server was started again, a
// standby took over, the database was restored. So each new connection asks where it is. When that differs from before, it
// is compared with what readers were given; only if that is there, unchanged, a new era begins, in which the connections
// of the old one are used no more. Otherwise the database is lost: no connection can be had, and every call fails with
// eventlog.ErrLogRewound until the database is opened again (G1).
//
// Where a balancer spreads connections over several standbys, they are made anew again and again: give the address of one.
type server struct {
	at    identity     // under Database.mu
	era   atomic.Int64 // grows when connections begin to lead elsewhere
	lost  atomic.Pointer[error]
	asked atomic.Int64 // when a standby was last asked if it still is one, in nanoseconds
}

// identity tells servers apart, their lives, databases of the same name, and schemas.
type identity struct {
	started         time.Time
	standby         bool
	database, table int64
}

const identityText = `SELECT pg_postmaster_start_time(), pg_is_in_recovery(),
	coalesce((SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()), 0)::bigint,
	coalesce((SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = 'modules'), 0)::bigint`

// mark is the last event, by position, that readers of a log were given.
type mark struct {
	position int64
	id       event.ID
}

// marked is a log as it was when a comparison began.
type marked struct {
	log *Log
	mark
	head   int64 // found by the comparison
	behind bool  // on a standby: what readers were given is not there yet
}

// eraKey is where a connection keeps the era in which it was made.
const eraKey = "github.com/ensue-io/ensue/eventlog/pglog era"

// recognizeTime bounds how long a new connection may take to say where it leads.
const recognizeTime = 30 * time.Second

// recognize finds out where a new connection leads.
func (d *Database) recognize(ctx context.Context, conn *pgx.Conn) error {
	if err := d.rewound(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recognizeTime)
	defer cancel()
	var at identity
	err := conn.QueryRow(ctx, identityText, mode(conn), d.options.Schema).Scan(&at.started, &at.standby, &at.database, &at.table)
	if err != nil {
		return fmt.Errorf("ask the server who it is: %w", err)
	}
	at.started = at.started.UTC()
	for {
		d.mu.Lock()
		era, known := d.server.era.Load(), d.server.at == at
		if before := d.server.at; !known && before.table == 0 && len(d.logs) == 0 {
			before.table = at.table // the schema was made meanwhile
			d.server.at, known = at, before == at
			d.standby.Store(at.standby)
		}
		var logs []marked
		for _, l := range d.logs {
			logs = append(logs, marked{log: l, mark: l.mark})
		}
		d.mu.Unlock()
		if !known {
			if err := d.compare(ctx, conn, logs, at.standby); err != nil {
				return err
			}
			if era, known = d.move(at, era, logs); !known {
				continue // readers were given more meanwhile
			}
		}
		conn.PgConn().CustomData()[eraKey] = era
		return nil
	}
}

// usable tells whether a pooled connection leads where connections lead now.
func (d *Database) usable(_ context.Context, conn *pgx.Conn) (bool, error) {
	if err := d.rewound(); err != nil {
		return false, err
	}
	return conn.PgConn().CustomData()[eraKey] == d.server.era.Load(), nil
}

// compare looks for what readers were given. What is missing on a standby may be still to come.
func (d *Database) compare(ctx context.Context, conn *pgx.Conn, logs []marked, standby bool) error {
	if len(logs) == 0 {
		return nil
	}
	var numbers, marks []int32
	var positions []int64
	for _, l := range logs {
		numbers = append(numbers, l.log.number)
		if l.position > 0 {
			marks, positions = append(marks, l.log.number), append(positions, l.position)
		}
	}
	type history struct {
		id   [16]byte
		head int64
	}
	histories, there := map[int32]history{}, map[int32][16]byte{}
	var module int32
	var h history
	rows, err := conn.Query(ctx, d.sql(`SELECT module, log, coalesce((SELECT max(position) FROM ${schema}.log l WHERE l.module = m.module), 0) FROM ${schema}.modules m WHERE module = ANY ($1::int[])`), mode(conn), numbers)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&module, &h.id, &h.head}, func() error { histories[module] = h; return nil })
	}
	if err == nil && len(marks) > 0 {
		var id [16]byte
		rows, err = conn.Query(ctx, d.sql(`SELECT q.module, e.id FROM unnest($1::int[], $2::bigint[]) q(module, position)
			JOIN ${schema}.log l ON l.module = q.module AND l.position = q.position JOIN ${schema}.events e ON e.insertion = l.insertion`), mode(conn), marks, positions)
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&module, &id}, func() error { there[module] = id; return nil })
		}
	}
	if code := sqlState(err); err != nil && code != "42P01" && code != "3F000" { // no such table or schema: nothing is there
		return fmt.Errorf("compare the logs with what was read of them: %w", err)
	}
	for i := range logs {
		l := &logs[i]
		now, found := histories[l.log.number]
		id, read := there[l.log.number]
		l.head = now.head
		switch {
		case found && now.id != l.log.id:
			return d.lose(l.log, fmt.Sprintf("its log was %s and is %s now", l.log.id, event.ID(now.id)))
		case read && id != l.id:
			return d.lose(l.log, fmt.Sprintf("position %d held event %s when it was read and holds %s now", l.position, l.id, event.ID(id)))
		case read || found && l.position == 0:
		case standby && now.head < l.position, standby && !found:
			l.behind = true
		case !found:
			return d.lose(l.log, "its log is no longer there")
		default:
			return d.lose(l.log, fmt.Sprintf("position %d held event %s when it was read, and the log ends at %d now", l.position, l.id, now.head))
		}
	}
	return nil
}

// move begins an era, unless the comparison that it rests on was overtaken.
func (d *Database) move(at identity, era int64, logs []marked) (_ int64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server.era.Load() != era || len(logs) != len(d.logs) {
		return 0, false
	}
	for _, l := range logs {
		if l.log.mark != l.mark {
			return 0, false
		}
	}
	for _, l := range logs {
		l.log.behind = l.behind
		l.log.head.Restart(l.head)
	}
	d.server.at = at
	d.standby.Store(at.standby)
	d.passes.again()
	return d.server.era.Add(1), true
}

// lose ends the use of the database.
func (d *Database) lose(l *Log, found string) error {
	err := fmt.Errorf("pglog: %s: %w: module %q: %s; the database was restored, or a server took over that had not received everything: set back the cursors on it and open it again",
		d.address, eventlog.ErrLogRewound, l.module, found)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.server.lost.CompareAndSwap(nil, &err) {
		return *d.server.lost.Load()
	}
	d.server.era.Add(1)
	for _, l := range d.logs {
		l.head.Wake()
	}
	return err
}

// rewound returns why the database can't be used any more, if it can't.
func (d *Database) rewound() error {
	if err := d.server.lost.Load(); err != nil {
		return *err
	}
	return nil
}

// given notes what readers are about to be given: everything up to an event, which was read in an era. If that era has
// ended, or the event may be of another history, it must be read again.
func (l *Log) given(ctx context.Context, era int64, position eventlog.Position, id event.ID) (again bool, err error) {
	d, p := l.db, int64(position) // #nosec G115 -- as the server has it
	d.mu.Lock()
	behind := l.behind && p > l.mark.position
	again = d.server.era.Load() != era
	if !again && !behind && p > l.mark.position {
		l.mark = mark{p, id}
	}
	d.mu.Unlock()
	if again || !behind {
		return again, nil
	}
	return true, l.caughtUp(ctx)
}

// caughtUp compares a log once more that was behind what readers had been given: the standby has got further.
func (l *Log) caughtUp(ctx context.Context) error {
	d := l.db
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return d.explain("read", err)
	}
	defer conn.Release()
	d.mu.Lock()
	era := d.server.era.Load()
	logs := []marked{{log: l, mark: l.mark}}
	d.mu.Unlock()
	if conn.Conn().PgConn().CustomData()[eraKey] != era {
		return nil
	}
	if err := d.compare(ctx, conn.Conn(), logs, true); err != nil {
		return d.explain("read", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server.era.Load() == era && l.mark == logs[0].mark {
		l.behind = logs[0].behind
	}
	return nil
}

// standbyPause is how long a standby is taken to be one still, after it was asked.
const standbyPause = 100 * time.Millisecond

// isStandby tells whether the server is a standby. One that was is asked again: it may have been promoted, and connections
// to it survive that.
func (d *Database) isStandby(ctx context.Context) bool {
	if !d.standby.Load() {
		return false
	}
	now, asked := time.Now().UnixNano(), d.server.asked.Load()
	if now-asked < int64(standbyPause) || !d.server.asked.CompareAndSwap(asked, now) {
		return true
	}
	standby := true
	if err := d.pool.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err == nil && !standby {
		d.mu.Lock()
		d.server.at = identity{} // whoever connects next compares
		d.server.era.Add(1)
		d.standby.Store(false)
		d.mu.Unlock()
	}
	return d.standby.Load()
}

// anew returns the scan as it goes on in an era: what it found in an earlier one may be there no more.
func (s *scan) anew(era int64) scan {
	fresh := scan{log: s.log, query: s.query, size: s.size, names: map[int64]string{}, era: era}
	if s.begun {
		fresh.query.After, fresh.query.To = eventlog.Position(s.after), eventlog.Position(s.to) // #nosec G115 -- positions count up from 0
	}
	return fresh
}

// given notes what the page is about to give to readers, or has it read again; see Log.given.
func (s *scan) given(ctx context.Context) (again bool, err error) {
	if n := len(s.page.rows); n > 0 {
		return s.log.given(ctx, s.era, s.page.rows[n-1].Position, s.page.rows[n-1].ID)
	}
	return s.log.given(ctx, s.era, 0, event.ID{})
}
