package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
)

// ownDB is a database handle of the caller's on the file.
func ownDB(t *testing.T, path string, pragmas ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, "mode=rw", append(pragmas, "busy_timeout(2000)")...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestInTxCommitsAllOrNothing: rows of the caller's and events, whatever ends the transaction.
func TestInTxCommitsAllOrNothing(t *testing.T) {
	l := newLog(t, Options{})
	db := ownDB(t, l.file.path)
	if _, err := db.Exec(`CREATE TABLE seats (seat TEXT PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	work := func(ctx context.Context, tx *sql.Tx, data string) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO seats VALUES (?)`, data); err != nil {
			return err
		}
		_, err := l.AppendTx(ctx, tx, to("s", eventlog.Any, fact(data)))
		return err
	}
	failed := errors.New("failed")
	if err := l.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error { return errors.Join(work(ctx, tx, "error"), failed) }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() {
			if r := recover(); r != "panic" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = l.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if err := work(ctx, tx, "panic"); err != nil {
				t.Error(err)
			}
			panic("panic")
		})
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if err := work(ctx, tx, "exit"); err != nil {
				t.Error(err)
			}
			runtime.Goexit() // as a test does that fails inside a transaction
			return nil
		})
	}()
	<-done
	ctx, cancel := context.WithCancel(t.Context())
	err := l.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		defer cancel()
		return work(ctx, tx, "cancelled")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := payloads(t, l); len(got) > 0 || count(t, db, `SELECT count(*) FROM seats`) > 0 {
		t.Errorf("left behind: %q", got)
	}
	if err := l.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error { return work(ctx, tx, "good") }); err != nil {
		t.Error(err)
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"good"}) || count(t, db, `SELECT count(*) FROM seats`) != 1 {
		t.Errorf("the log holds %q", got)
	}
	fill(t, l, "s", 1)
	sound(t, l.file)
}

// TestInTxThatCannotCommit is told so, and leaves nothing.
func TestInTxThatCannotCommit(t *testing.T) {
	l, g := heldLog(t, Options{})
	failed := errors.New("no commit")
	go func() {
		<-g.reached
		g.proceed <- failed
	}()
	err := l.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := l.AppendTx(ctx, tx, to("s", eventlog.Any, fact("2")))
		return err
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	g.open()
	if got := payloads(t, l); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the log holds %q", got)
	}
	fill(t, l, "s", 1)
	sound(t, l.file)
}

// TestWritesInsideInTxAreRefused, instead of waiting for themselves; those to another file are not.
func TestWritesInsideInTxAreRefused(t *testing.T) {
	l, other := newLog(t, Options{}), newLog(t, Options{})
	fill(t, l, "s", 1)
	sibling := openLog(t, l.file, "bills")
	err := l.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		_, appended := l.Append(ctx, to("s", eventlog.Any, fact("2")))
		_, siblingAppended := sibling.Append(ctx, to("s", eventlog.Any, fact("2")))
		_, made := l.file.Log(ctx, "new")
		for what, err := range map[string]error{
			"append": appended, "append to another log of the file": siblingAppended, "a new log": made,
			"close stream": l.CloseStream(ctx, "s", eventlog.Any), "truncate stream": l.TruncateStream(ctx, "s", 1),
			"checkpoint":    l.file.Checkpoint(ctx),
			"a transaction": l.InTx(ctx, func(context.Context, *sql.Tx) error { return nil }),
		} {
			if !errors.Is(err, eventlog.ErrInsideTx) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := payloads(t, l); len(got) != 1 { // reading goes on
			t.Errorf("the log holds %q", got)
		}
		_, err := other.Append(ctx, to("s", eventlog.Any, fact("2")))
		return errors.Join(err, other.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := other.AppendTx(ctx, tx, to("s", eventlog.Any, fact("3")))
			return err
		}))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAppendTxInATransactionOfTheCallers, on a database handle that the log knows nothing of.
func TestAppendTxInATransactionOfTheCallers(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 2) // the writer knows the stream
	db := ownDB(t, l.file.path)
	inTx := func(commit bool, do func(tx *sql.Tx)) {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		do(tx)
		if err := map[bool]func() error{true: tx.Commit, false: tx.Rollback}[commit](); err != nil {
			t.Fatal(err)
		}
	}
	for _, commit := range []bool{false, true} {
		inTx(commit, func(tx *sql.Tx) {
			done, err := l.AppendTx(t.Context(), tx, to("s", eventlog.Exactly(2), fact("3")), to("new", eventlog.NoStream, fact("4")))
			if err != nil || done.Results[1].Position != 4 {
				t.Fatalf("%+v, %v", done, err)
			}
			if _, err := l.AppendTx(t.Context(), tx, to("s", eventlog.Exactly(3), fact("5"))); err != nil { // sees the first
				t.Fatal(err)
			}
			if got := payloads(t, l); len(got) != 2 {
				t.Errorf("before the commit, readers see %q", got)
			}
		})
	}
	if err := l.Wait(t.Context(), 4); err != nil {
		t.Error(err)
	}
	if _, err := l.Append(t.Context(), to("s", eventlog.Exactly(2), fact("no"))); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("the writer still believes what it knew: %v", err)
	}
	mustAppend(t, l, to("s", eventlog.Exactly(4), fact("6")), to("new", eventlog.Exactly(1), fact("7")))
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6", "7"}) {
		t.Errorf("the log holds %q", got)
	}
	sound(t, l.file)
}

// TestFailedAppendTxLeavesTheTransactionAsItWas, so that it can go on.
func TestFailedAppendTxLeavesTheTransactionAsItWas(t *testing.T) {
	l := newLog(t, Options{})
	e := fact("1")
	mustAppend(t, l, to("s", eventlog.NoStream, e))
	db := ownDB(t, l.file.path)
	if _, err := db.Exec(`CREATE TABLE mine (x)`); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`INSERT INTO mine VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	put := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: "k"}, Expect: eventlog.NoEntry}
	good := fact("2")
	good.Type = "of a type that is new"
	if _, err := l.AppendTx(t.Context(), tx, put, to("a", eventlog.NoStream, good), to("s", eventlog.NoStream, fact("no"))); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("error %v", err)
	}
	if done, err := l.AppendTx(t.Context(), tx, put, to("s", eventlog.NoStream, e)); err != nil || !done.Repeat {
		t.Errorf("%+v, %v", done, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.AppendTx(cancelled, tx, put); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := l.AppendTx(t.Context(), tx, put, to("a", eventlog.NoStream, good)); err != nil {
		t.Errorf("error %v", err)
	}
	if _, err := tx.Exec(`CREATE TEMP TRIGGER no BEFORE INSERT ON entries WHEN new.key = 'no' BEGIN SELECT RAISE(ABORT, 'not this'); END`); err != nil {
		t.Fatal(err)
	}
	no := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: "no"}}
	if _, err := l.AppendTx(t.Context(), tx, to("a", eventlog.Any, fact("no")), no); err == nil || !strings.Contains(err.Error(), "not this") {
		t.Errorf("error %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2"}) || count(t, db, `SELECT count(*) FROM mine`) != 1 {
		t.Errorf("the log holds %q", got)
	}
	sound(t, l.file)
}

// TestAppendTxOnAnotherFileIsRefused, also when that is one of ours.
func TestAppendTxOnAnotherFileIsRefused(t *testing.T) {
	l, other := newLog(t, Options{}), newLog(t, Options{})
	tx, err := ownDB(t, other.file.path).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := l.AppendTx(t.Context(), tx, to("s", eventlog.Any, fact("1"))); err == nil || !strings.Contains(err.Error(), "not on") {
		t.Errorf("error %v", err)
	}
}

// TestAppendTxAfterAnotherWriter: a transaction that began with a read can't write once another has written.
func TestAppendTxAfterAnotherWriter(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 1)
	db, err := sql.Open("sqlite", "file:"+l.file.path+"?_pragma=busy_timeout(50)") // transactions begin deferred
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM events`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "s", 1)
	if _, err := l.AppendTx(t.Context(), tx, to("s", eventlog.Any, fact("no"))); !errors.Is(err, eventlog.ErrBusy) {
		t.Errorf("error %v", err)
	}
}

// TestCallersOfInTxShareTheWriterWithAppends, some of them giving up half way.
func TestCallersOfInTxShareTheWriterWithAppends(t *testing.T) {
	l := newLog(t, Options{})
	errs := make(chan error, 8)
	for i := range cap(errs) {
		go func() {
			var err error
			for n := range 40 {
				ctx, cancel := context.WithCancel(context.Background())
				switch {
				case i%2 == 0:
					_, err = l.Append(ctx, to("s", eventlog.Any, fact("append")))
				default:
					err = l.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
						_, err := l.AppendTx(ctx, tx, to("s", eventlog.Any, fact("tx")))
						if n%3 == 0 {
							cancel()
						}
						return err
					})
					if n%3 == 0 && errors.Is(err, context.Canceled) {
						err = nil
					}
				}
				cancel()
				if err != nil {
					break
				}
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	want := 4*40 + 4*(40-14)
	if got := payloads(t, l); len(got) != want {
		t.Errorf("the log holds %d events, want %d", len(got), want)
	}
	sound(t, l.file)
}
