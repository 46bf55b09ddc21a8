package pglog

import (
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func nameOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path[1:]
}

// dumped dumps a database into a file.
func dumped(t *testing.T, server *pgtest.Server, address string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "dump")
	server.Program(t, "pg_dump", "--format=custom", "--file="+file, nameOf(t, address))
	return file
}

// restored restores a dump into a new database of a server.
func restored(t *testing.T, server *pgtest.Server, file string) (address string) {
	t.Helper()
	address = server.Database(t)
	server.Program(t, "pg_restore", "--exit-on-error", "--dbname="+nameOf(t, address), file)
	return address
}

// gaps counts the insertion numbers that passes look for.
func gaps(t *testing.T, address string) (n int) {
	t.Helper()
	err := connected(t, address).QueryRow(t.Context(), `SELECT coalesce((SELECT cardinality(gaps) + cardinality(groups) FROM ensue.passes ORDER BY pass DESC LIMIT 1), 0)
		+ (SELECT count(*) FROM ensue.parked)`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// noGaps reads until nothing is looked for any more. Other tests' transactions on the same server may keep gaps for as long
// as they last.
func noGaps(t *testing.T, address string, l *Log) {
	t.Helper()
	eventually(t, "no gaps are looked for", func() (bool, error) {
		_, err := l.Head(t.Context())
		return gaps(t, address) == 0, err
	})
}

// TestG1_DumpAndRestore: a database is moved to another server, whose transaction ids are far lower, while an append is
// under way. Readers go on with their cursors, and nothing is lost or repeated; what was under way is not looked for any
// more. Without the value of the sequence the database is refused, and a backup that is older than cursors stops them.
func TestG1_DumpAndRestore(t *testing.T) {
	t.Parallel()
	from, to := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	address := from.Database(t)
	conn := connected(t, address)
	execute(t, conn, `DO $$ BEGIN FOR i IN 1 .. 5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	l := logOf(t, opened(t, address, Options{}))
	var old, f follower
	all := appendSome(t, l, "s", 10)
	old.mustRead(t, l)
	if _, err := l.Append(t.Context(), old.cursor.Put("reader")); err != nil {
		t.Fatal(err)
	}
	older := dumped(t, from, address)

	// One append is under way when the other dump is made, one was taken back.
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendPgx(t.Context(), tx, made("under way")); err != nil {
		t.Fatal(err)
	}
	back, err := connected(t, address).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendPgx(t.Context(), back, made("taken back")); err != nil {
		t.Fatal(err)
	}
	if err := back.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	all = append(all, appendSome(t, l, "s", 10)...)
	f.mustRead(t, l)
	all = append(all, appendSome(t, l, "s", 3)...)
	if gaps(t, address) == 0 {
		t.Fatal("no append is under way")
	}
	if _, err := l.Append(t.Context(), f.cursor.Put("reader")); err != nil {
		t.Fatal(err)
	}
	newer := dumped(t, from, address)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	t.Run("carries on", func(t *testing.T) {
		address := restored(t, to, newer)
		var before, after uint64
		if err := conn.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text::bigint`).Scan(&before); err != nil {
			t.Fatal(err)
		}
		if err := connected(t, address).QueryRow(t.Context(), `SELECT pg_current_xact_id()::text::bigint`).Scan(&after); err != nil || after >= before {
			t.Fatalf("the new server's transaction ids are at %d, the old one's at %d: %v", after, before, err)
		}
		l := logOf(t, opened(t, address, Options{}))
		cursor, err := consumer.LoadCursor(t.Context(), l, "reader")
		if err != nil || cursor != f.cursor {
			t.Fatalf("the cursor is %+v, and not %+v: %v", cursor, f.cursor, err)
		}
		f := follower{cursor: f.cursor, at: f.at, ids: slices.Clone(f.ids)}
		f.same(t, l)
		f.mustRead(t, l)
		f.has(t, all...)
		for range 2 {
			appendSome(t, l, "s", 1)
			f.mustRead(t, l)
		}
		noGaps(t, address, l)
		more := appendSome(t, l, "another", 5)
		f.mustRead(t, l)
		f.has(t, more...)
		f.same(t, l)
		if len(f.ids) != len(all)+2+len(more) {
			t.Errorf("%d events were read", len(f.ids))
		}
	})
	t.Run("without the sequence", func(t *testing.T) {
		address := restored(t, to, newer)
		conn := connected(t, address)
		execute(t, conn, `SELECT setval('ensue.insertions', 1)`)
		if d, err := Open(t.Context(), address, Options{}); !errors.Is(err, ErrSequence) {
			t.Errorf("open: %v", err)
			if d != nil {
				_ = d.Close()
			}
		}
	})
	t.Run("older than cursors", func(t *testing.T) {
		address := restored(t, to, older)
		l := logOf(t, opened(t, address, Options{}))
		if err := f.cursor.Check(t.Context(), l); !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("a cursor behind the end: %v", err)
		}
		appendSome(t, l, "s", 20)
		if err := f.cursor.Check(t.Context(), l); !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("a cursor at a position that holds another event: %v", err)
		}
		old.mustRead(t, l)
		if len(old.ids) != 30 {
			t.Errorf("who had read what is in the backup read %d events", len(old.ids))
		}
	})
	t.Run("in place of the database that programs have open", func(t *testing.T) {
		address := restored(t, to, newer)
		d := opened(t, address, Options{Logger: quiet})
		l := logOf(t, d)
		var f follower
		f.mustRead(t, l)
		admin, name := connected(t, to.URL("postgres")), nameOf(t, address)
		execute(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`)
		execute(t, admin, `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'UTF8'`)
		to.Program(t, "pg_restore", "--exit-on-error", "--dbname="+name, older)
		rewound(t, l)
		again := logOf(t, opened(t, address, Options{}))
		if err := f.cursor.Check(t.Context(), again); !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("the cursor, after it was opened again: %v", err)
		}
	})
	t.Run("a new log under the old name", func(t *testing.T) {
		address := to.Database(t)
		l := logOf(t, opened(t, address, Options{Logger: quiet}))
		appendSome(t, l, "s", 1)
		conn := connected(t, address)
		execute(t, conn, `DROP SCHEMA ensue CASCADE`)
		appendSome(t, logOf(t, opened(t, address, Options{})), "s", 1)
		execute(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		rewound(t, l)
	})
}
