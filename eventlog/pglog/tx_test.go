package pglog

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// theirTx is a transaction of a caller's, by one of the two interfaces.
type theirTx struct {
	append   func(writes ...eventlog.Write) (eventlog.Appended, error)
	exec     func(text string) error
	commit   func() error
	rollback func() error
}

// TestG4_AppendInTheCallersTransaction: what is appended is there when the caller's own rows are, and not before, or not at
// all; in every isolation, by either interface. An append that fails leaves the transaction as it was.
func TestG4_AppendInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	l := logOf(t, opened(t, address, Options{LockWait: 100 * time.Millisecond}))
	admin := connected(t, address)
	execute(t, admin, `CREATE TABLE mine (id integer PRIMARY KEY)`)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = db.Close() })
	ctx := context.WithoutCancel(t.Context())

	interfaces := map[string]func(t *testing.T, pgxLevel pgx.TxIsoLevel, level sql.IsolationLevel) theirTx{
		"pgx": func(t *testing.T, level pgx.TxIsoLevel, _ sql.IsolationLevel) theirTx {
			tx, err := connected(t, address).BeginTx(ctx, pgx.TxOptions{IsoLevel: level})
			if err != nil {
				t.Fatal(err)
			}
			return theirTx{
				append:   func(w ...eventlog.Write) (eventlog.Appended, error) { return l.AppendPgx(ctx, tx, w...) },
				exec:     func(text string) error { _, err := tx.Exec(ctx, text); return err },
				commit:   func() error { return tx.Commit(ctx) },
				rollback: func() error { return tx.Rollback(ctx) },
			}
		},
		"database/sql": func(t *testing.T, _ pgx.TxIsoLevel, level sql.IsolationLevel) theirTx {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
			if err != nil {
				t.Fatal(err)
			}
			return theirTx{
				append:   func(w ...eventlog.Write) (eventlog.Appended, error) { return l.AppendTx(ctx, tx, w...) },
				exec:     func(text string) error { _, err := tx.ExecContext(ctx, text); return err },
				commit:   tx.Commit,
				rollback: tx.Rollback,
			}
		},
	}
	levels := []struct {
		pgx pgx.TxIsoLevel
		sql sql.IsolationLevel
	}{{pgx.ReadCommitted, sql.LevelReadCommitted}, {pgx.RepeatableRead, sql.LevelRepeatableRead}, {pgx.Serializable, sql.LevelSerializable}}
	for name, begin := range interfaces {
		for _, level := range levels {
			t.Run(name+" "+string(level.pgx), func(t *testing.T) {
				var f follower
				f.mustRead(t, l)
				rows := func() (n int) {
					if err := admin.QueryRow(ctx, `SELECT count(*) FROM mine`).Scan(&n); err != nil {
						t.Fatal(err)
					}
					return n
				}
				insert := `INSERT INTO mine SELECT count(*) + 1 FROM mine`
				before, stream := rows(), "order/"+event.NewID().String()
				to := func(expect eventlog.Expected) (eventlog.ToStream, event.ID) {
					e := placed()
					return eventlog.ToStream{Stream: stream, Expect: expect, Events: []event.Event{e}}, e.ID
				}
				must := func(errs ...error) {
					t.Helper()
					if err := errors.Join(errs...); err != nil {
						t.Fatal(err)
					}
				}

				tx := begin(t, level.pgx, level.sql)
				w, taken := to(eventlog.NoStream)
				_, err := tx.append(w)
				must(err, tx.exec(insert), tx.rollback())
				f.mustRead(t, l)
				if rows() != before || f.at[taken] != 0 {
					t.Error("what was rolled back is there")
				}

				tx = begin(t, level.pgx, level.sql)
				w, first := to(eventlog.NoStream)
				_, err = tx.append(w)
				must(err, tx.exec(insert))
				done, err := tx.append(w)
				if must(err); !done.Repeat {
					t.Error("the same append in the same transaction is no repeat")
				}
				w, second := to(eventlog.Exactly(1))
				_, err = tx.append(w)
				must(err)
				if w, _ := to(eventlog.NoStream); true {
					if _, err := tx.append(w); !errors.Is(err, eventlog.ErrConflict) {
						t.Errorf("append under a version that the stream has not: %v", err)
					}
				}
				f.mustRead(t, l)
				if rows() != before || f.at[first] != 0 {
					t.Error("what is not committed is there")
				}
				must(tx.commit())
				f.mustRead(t, l)
				f.has(t, first, second)
				if rows() != before+1 || f.at[second] != f.at[first]+1 {
					t.Error("what was committed is not there, or in another order")
				}

				// Somebody else appends to the stream after this transaction's snapshot.
				tx = begin(t, level.pgx, level.sql)
				must(tx.exec(`SELECT count(*) FROM mine`))
				w, theirs := to(eventlog.Exactly(2))
				_, err = l.Append(ctx, w)
				must(err)
				w, _ = to(eventlog.Any)
				_, err = tx.append(w)
				if level.pgx == pgx.ReadCommitted {
					must(err)
				} else if !errors.Is(err, eventlog.ErrBusy) {
					t.Errorf("append behind somebody else's, in an older snapshot: %v", err)
				}
				must(tx.exec(insert))
				w, mine := to(eventlog.Any)
				w.Stream += " another"
				_, err = tx.append(w)
				must(err, tx.commit())
				f.mustRead(t, l)
				f.has(t, theirs, mine)
				if rows() != before+2 {
					t.Error("the caller's row is not there")
				}
			})
		}
	}
}

// TestG1_G3_PreparedTransactions: appends in transactions that are prepared, and committed or rolled back later, on
// another connection. Meanwhile others' appends are read; only those to the same stream are told that they wait.
func TestG1_G3_PreparedTransactions(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	l := logOf(t, opened(t, address, Options{LockWait: 50 * time.Millisecond}))
	admin := connected(t, address)
	var f follower
	prepare := func(stream string) (name string, id event.ID) {
		e := placed()
		tx, err := connected(t, address).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.AppendPgx(t.Context(), tx, eventlog.ToStream{Stream: stream, Events: []event.Event{e}}); err != nil {
			t.Fatal(err)
		}
		name = "append " + e.ID.String()
		if _, err := tx.Exec(t.Context(), `PREPARE TRANSACTION '`+name+`'`); err != nil {
			t.Fatal(err)
		}
		return name, e.ID
	}
	all := appendSome(t, l, "s", 2)
	committed, kept := prepare("kept")
	rolledBack, gone := prepare("gone")
	for range 3 {
		all = append(all, appendSome(t, l, "s", 2)...)
		f.mustRead(t, l)
		f.has(t, all...)
	}
	if _, err := l.Append(t.Context(), made("kept")); !errors.Is(err, eventlog.ErrBusy) {
		t.Errorf("append to a stream that a prepared transaction has: %v", err)
	}
	execute(t, admin, `COMMIT PREPARED '`+committed+`'`)
	execute(t, admin, `ROLLBACK PREPARED '`+rolledBack+`'`)
	f.mustRead(t, l)
	if f.has(t, kept); f.at[kept] != eventlog.Position(len(all))+1 || f.at[gone] != 0 {
		t.Errorf("of %d events, those of the prepared transactions are at %d and %d", len(f.ids), f.at[kept], f.at[gone])
	}
	all = append(all, appendSome(t, l, "kept", 1)...)
	all = append(all, appendSome(t, l, "gone", 1)...)
	f.mustRead(t, l)
	f.has(t, all...)
	f.same(t, l)
	noGaps(t, address, l)
}
