package pglog

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// caughtUp waits until a standby has replayed all that the primary has written.
func caughtUp(t *testing.T, primary, standby *pgx.Conn) {
	t.Helper()
	var at string
	if err := primary.QueryRow(t.Context(), `SELECT pg_current_wal_lsn()::text`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby has everything", func() (ok bool, err error) {
		err = standby.QueryRow(t.Context(), `SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)`, at).Scan(&ok)
		return ok, err
	})
}

// on is the address of a database on another server.
func on(t *testing.T, server *pgtest.Server, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return server.URL(u.Path[1:])
}

// either is the address of a database on whichever of two servers can be written.
func either(t *testing.T, a, b *pgtest.Server, address string) string {
	t.Helper()
	u, err := url.Parse(on(t, a, address))
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse(on(t, b, address))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", q.Get("host")+","+other.Query().Get("host"))
	q.Set("port", q.Get("port")+","+other.Query().Get("port"))
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	return u.String()
}

// stopped checks that nothing can be done with a log any more, since it was rewound.
func stopped(t *testing.T, l *Log) {
	t.Helper()
	ctx := t.Context()
	var f follower
	calls := map[string]func() error{
		"read":   func() error { return f.read(ctx, l) },
		"head":   func() error { _, err := l.Head(ctx); return err },
		"wait":   func() error { return l.Wait(ctx, 0) },
		"append": func() error { _, err := l.Append(ctx, made("s")); return err },
		"stream": func() error {
			for _, err := range l.ReadStream(ctx, "s", eventlog.StreamQuery{}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"entries": func() error {
			for _, err := range l.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// rewound waits until a log says that it was rewound. Before, connections may be lost.
func rewound(t *testing.T, l *Log) {
	t.Helper()
	eventually(t, "the log says that it was rewound", func() (bool, error) {
		_, err := l.Head(t.Context())
		return errors.Is(err, eventlog.ErrLogRewound), err
	})
	stopped(t, l)
}

// TestG1_StandbyThatLaggedTakesOver: positions that were read are gone, and used again for other events. Whoever read them
// stops, in a program that goes on as in one that is started again; whoever had not got as far goes on.
func TestG1_StandbyThatLaggedTakesOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby := pgtest.New(t, pgtest.Options{Standby: primary})
	address := primary.Database(t)
	there := on(t, standby, address)
	p, behind := newProxy(t, address)
	d, byHosts, early := opened(t, behind, Options{Logger: quiet}), opened(t, either(t, primary, standby, address), Options{Logger: quiet}), opened(t, behind, Options{Logger: quiet})
	l, lHosts, lEarly := logOf(t, d), logOf(t, byHosts), logOf(t, early)
	untouched := logOf(t, opened(t, behind, Options{Logger: quiet}))

	var far, farHosts, near follower
	kept := appendSome(t, l, "s", 8)
	near.mustRead(t, lEarly)
	kept = append(kept, appendSome(t, l, "s", 2)...)
	eventually(t, "the standby has the database", func() (bool, error) {
		conn, err := Connect(t.Context(), there)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err == nil, err
	})
	far.mustRead(t, l)
	caughtUp(t, connected(t, address), connected(t, there))
	standby.Stop(t)
	lost := appendSome(t, l, "s", 5)
	far.mustRead(t, l)
	far.has(t, lost...)
	farHosts.mustRead(t, lHosts)
	if head, err := lEarly.Head(t.Context()); err != nil || int(head) != len(kept)+len(lost) { // seen, and not read
		t.Fatal(head, err)
	}
	waits := make(chan error, 1)
	go func() {
		for {
			err := l.Wait(t.Context(), far.cursor.Position)
			if errors.Is(err, eventlog.ErrLogRewound) || t.Context().Err() != nil || pause(t.Context(), 10*time.Millisecond) != nil {
				waits <- err
				return
			}
		}
	}()
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	p.leadTo(t, there)

	after := logOf(t, opened(t, there, Options{}))
	if err := far.cursor.Check(t.Context(), after); !errors.Is(err, eventlog.ErrLogRewound) {
		t.Errorf("a cursor behind the end: %v", err)
	}
	eventually(t, "who had not read what is lost reads what was kept", func() (bool, error) {
		err := near.read(t.Context(), lEarly)
		return err == nil, err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := lEarly.Wait(ctx, near.cursor.Position); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait for what is there no more: %v", err)
	}
	other := appendSome(t, after, "s", 7)
	if err := far.cursor.Check(t.Context(), after); !errors.Is(err, eventlog.ErrLogRewound) {
		t.Errorf("a cursor at a position that holds another event: %v", err)
	}
	rewound(t, l)
	rewound(t, lHosts)
	select {
	case err := <-waits:
		if !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("wait: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("who waited waits still")
	}
	if _, err := d.Log(t.Context(), "another"); !errors.Is(err, eventlog.ErrLogRewound) {
		t.Errorf("another log of the database: %v", err)
	}

	eventually(t, "who had not read what is lost goes on", func() (bool, error) {
		err := near.read(t.Context(), lEarly)
		return err == nil, err
	})
	near.same(t, lEarly)
	near.has(t, append(kept, other...)...)
	if len(near.ids) != len(kept)+len(other) {
		t.Errorf("%d events were read", len(near.ids))
	}
	eventually(t, "who had read nothing goes on", func() (bool, error) {
		_, err := untouched.Append(t.Context(), made("s"))
		return err == nil, err
	})
}

// TestG1_StandbyTakesOver: a standby that has everything is promoted. It served readers before; programs that had the
// primary open, or the standby, go on, and nothing is lost or repeated.
func TestG1_StandbyTakesOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	address := primary.Database(t)
	p, behind := newProxy(t, address)
	l := logOf(t, opened(t, behind, Options{Logger: quiet}))
	var f, hot follower
	all := appendSome(t, l, "s", 20)
	f.mustRead(t, l)
	standby := pgtest.New(t, pgtest.Options{Standby: primary})
	there := on(t, standby, address)

	onStandby := opened(t, there, Options{Logger: quiet})
	ls := logOf(t, onStandby)
	if _, err := ls.Append(t.Context(), made("s")); !errors.Is(err, eventlog.ErrReadOnly) {
		t.Errorf("append on a standby: %v", err)
	}
	if _, err := onStandby.Log(t.Context(), "another"); !errors.Is(err, eventlog.ErrReadOnly) {
		t.Errorf("a log is made on a standby: %v", err)
	}
	hot.mustRead(t, ls)
	hot.has(t, all...)
	waits := make(chan error, 1)
	go func() { waits <- ls.Wait(t.Context(), hot.cursor.Position) }()
	all = append(all, appendSome(t, l, "s", 5)...)
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	f.mustRead(t, l)
	for len(hot.ids) < len(all) {
		if err := ls.Wait(t.Context(), hot.cursor.Position); err != nil {
			t.Fatal(err)
		}
		hot.mustRead(t, ls)
	}
	hot.has(t, all...)

	// Events that nobody has numbered yet.
	conn := connected(t, address)
	for range 3 {
		e := placed()
		if err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := l.AppendPgx(t.Context(), tx, eventlog.ToStream{Stream: "s", Events: []event.Event{e}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.ID)
	}
	caughtUp(t, conn, connected(t, there))
	go func() { waits <- ls.Wait(t.Context(), 28) }()
	primary.Kill(t)
	standby.Promote(t)
	p.leadTo(t, there)
	eventually(t, "the standby's readers see what was not numbered", func() (bool, error) {
		err := hot.read(t.Context(), ls)
		return len(hot.ids) == len(all), err
	})
	eventually(t, "what had the standby open appends", func() (bool, error) {
		e := placed()
		_, err := ls.Append(t.Context(), eventlog.ToStream{Stream: "s", Events: []event.Event{e}})
		if err == nil {
			all = append(all, e.ID)
		}
		return err == nil, err
	})
	if err := <-waits; err != nil {
		t.Errorf("wait: %v", err)
	}
	eventually(t, "what had the primary open reads", func() (bool, error) {
		err := f.read(t.Context(), l)
		return err == nil, err
	})
	all = append(all, appendSome(t, l, "s", 3)...)
	for f.mustRead(t, l); len(f.ids) < len(all); f.mustRead(t, l) {
		if err := l.Wait(t.Context(), f.cursor.Position); err != nil {
			t.Fatal(err)
		}
	}
	hot.mustRead(t, ls)
	for who, f := range map[string]*follower{"primary": &f, "standby": &hot} {
		f.has(t, all...)
		f.same(t, ls)
		if len(f.ids) != len(all) {
			t.Errorf("who had the %s open read %d events of %d", who, len(f.ids), len(all))
		}
	}
	if made := onStandby.Stats().Passes; made == 0 {
		t.Error("what had the standby open makes no passes")
	}
}

// TestG1_StandbyBehindWhatWasRead: connections lead to a standby that has not got as far as readers have. That is no other
// history: there is nothing new until it has caught up, and then everything. When it is promoted instead, it is one.
func TestG1_StandbyBehindWhatWasRead(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	address := primary.Database(t)
	p, behind := newProxy(t, address)
	atPrimary := logOf(t, opened(t, address, Options{Logger: quiet}))
	l := logOf(t, opened(t, behind, Options{Logger: quiet}))
	all := appendSome(t, atPrimary, "s", 10)
	standby := pgtest.New(t, pgtest.Options{Standby: primary})
	there := on(t, standby, address)
	conn := connected(t, there)
	caughtUp(t, connected(t, address), conn)
	var f follower
	readAll := func() {
		t.Helper()
		eventually(t, "everything is read", func() (bool, error) {
			err := f.read(t.Context(), l)
			return len(f.ids) == len(all), err
		})
	}
	leadToStandby := func() {
		t.Helper()
		p.leadTo(t, there)
		eventually(t, "connections lead to the standby", func() (bool, error) {
			head, err := l.Head(t.Context())
			return err == nil && int(head) == len(all)-5, err
		})
		f.mustRead(t, l) // nothing, and no error: it may still catch up
	}
	execute(t, conn, `SELECT pg_wal_replay_pause()`)
	eventually(t, "replay is paused", func() (ok bool, err error) {
		err = conn.QueryRow(t.Context(), `SELECT pg_get_wal_replay_pause_state() = 'paused'`).Scan(&ok)
		return ok, err
	})
	all = append(all, appendSome(t, atPrimary, "s", 5)...)
	readAll()
	leadToStandby()
	all = append(all, appendSome(t, atPrimary, "s", 5)...)
	f.mustRead(t, l)
	if len(f.ids) != len(all)-5 {
		t.Errorf("%d events were read, of %d that the primary had and %d that the standby has", len(f.ids), len(all)-5, len(all)-10)
	}
	waits := make(chan error, 1)
	go func() { waits <- l.Wait(t.Context(), f.cursor.Position) }()
	execute(t, conn, `SELECT pg_wal_replay_resume()`)
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	readAll()
	f.has(t, all...)
	f.same(t, l)

	caughtUp(t, connected(t, address), conn)
	standby.Stop(t)
	p.leadTo(t, address)
	all = append(all, appendSome(t, atPrimary, "s", 5)...)
	readAll()
	primary.Kill(t)
	standby.Start(t)
	leadToStandby()
	standby.Promote(t)
	rewound(t, l)
}
