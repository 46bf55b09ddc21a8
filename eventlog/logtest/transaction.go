package logtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

// inTx runs do in a transaction and returns what InTx does; do has to be called.
func (t *trial) inTx(do func(ctx context.Context, tx *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error) error {
	t.Helper()
	log := t.log.(eventlog.SQLTransactor)
	called := 0
	var err error
	t.within("a transaction", func() {
		err = log.InTx(t.ctx, func(ctx context.Context, tx *sql.Tx) error {
			called++
			return do(ctx, tx, func(writes ...eventlog.Write) (eventlog.Appended, error) { return log.AppendTx(ctx, tx, writes...) })
		})
	})
	t.same("how often the function was called", called, 1)
	return err
}

// table makes a table of the user's own.
func (t *trial) table() {
	t.Helper()
	t.ok("create a table", t.inTx(func(ctx context.Context, tx *sql.Tx, _ func(...eventlog.Write) (eventlog.Appended, error)) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE logtest_rows (name VARCHAR(100) PRIMARY KEY)")
		return err
	}))
}

func insert(ctx context.Context, tx *sql.Tx, name string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO logtest_rows (name) VALUES ('"+name+"')")
	return err
}

// rows counts the rows of the user's table.
func (t *trial) rows() (n int) {
	t.Helper()
	t.ok("count rows", t.inTx(func(ctx context.Context, tx *sql.Tx, _ func(...eventlog.Write) (eventlog.Appended, error)) error {
		return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM logtest_rows").Scan(&n)
	}))
	return n
}

var errOfCaller = errors.New("the caller's own error")

var transactionCases = []Case{
	{Name: "transaction/commits events, entries and rows together", needs: transacts, run: func(t *trial) {
		t.table()
		t.ok("commit", t.inTx(func(ctx context.Context, tx *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			if err := insert(ctx, tx, "a"); err != nil {
				return err
			}
			done, err := appendTx(to("s", eventlog.NoStream, fact("1"), fact("2")), put(eventlog.Cursor, "c", "1"))
			if err == nil && (len(done.Results) != 2 || done.Results[0].Last != 2 || done.Results[1].Revision == 0) {
				err = fmt.Errorf("append returned %+v", done)
			}
			if err == nil {
				_, err = appendTx(to("s", eventlog.Exactly(2), fact("3")))
			}
			return err
		}))
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, 3))
		t.same("the rows", t.rows(), 1)
		t.append(to("s", eventlog.Exactly(3), fact("4")))
	}},
	{Name: "transaction/rolls back events, entries and rows together, and returns the error", needs: transacts, run: func(t *trial) {
		t.table()
		t.fill("s", 1)
		before := t.dump()
		e := fact("2")
		err := t.inTx(func(ctx context.Context, tx *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			if err := insert(ctx, tx, "a"); err != nil {
				return err
			}
			if _, err := appendTx(to("s", eventlog.Any, e), to("new", eventlog.NoStream, fact("1")), put(eventlog.Cursor, "c", "1")); err != nil {
				return err
			}
			return errOfCaller
		})
		if !errors.Is(err, errOfCaller) {
			t.Fatalf("a transaction whose function failed returned %v", err)
		}
		t.same("the log", t.dump(), before)
		t.same("the rows", t.rows(), 0)
		t.same("a repeat", t.append(to("s", eventlog.Exactly(1), e)).Repeat, false)
	}},
	{Name: "transaction/is not seen by readers before it commits", needs: transacts, run: func(t *trial) {
		t.fill("s", 1)
		before := t.dump()
		t.ok("commit", t.inTx(func(_ context.Context, _ *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			if _, err := appendTx(to("s", eventlog.Any, fact("2")), put(eventlog.Cursor, "c", "1")); err != nil {
				return err
			}
			t.same("the log during the transaction", t.dump(), before)
			return nil
		}))
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, 2))
	}},
	{Name: "transaction/an append inside it that would wait for itself is refused", needs: transacts, run: func(t *trial) {
		var inside error
		t.ok("commit", t.inTx(func(ctx context.Context, _ *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			_, inside = t.log.Append(ctx, to("s", eventlog.Any, fact("1")))
			_, err := appendTx(to("s", eventlog.Any, fact("2")))
			return err
		}))
		if !errors.Is(inside, eventlog.ErrInsideTx) {
			t.Fatalf("an append inside a transaction returned %v", inside)
		}
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), []string{"2"})
	}},
	{Name: "transaction/a refused append leaves it as it was", needs: transacts, run: func(t *trial) {
		t.table()
		t.fill("s", 1)
		known := fact("known")
		t.append(to("known", eventlog.Any, known))
		t.ok("commit", t.inTx(func(ctx context.Context, tx *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			if err := insert(ctx, tx, "a"); err != nil {
				return err
			}
			for _, bad := range []eventlog.Write{
				to("s", eventlog.NoStream, fact("2")), to("new", eventlog.Any, known), to("", eventlog.Any, fact("1")),
				eventlog.Delete{Kind: eventlog.Cursor, Key: "c", Expect: 1 << 40},
			} {
				if _, err := appendTx(to("half", eventlog.Any, fact("1")), put(eventlog.Cursor, "c", "half"), bad); err == nil {
					return fmt.Errorf("append took %+v", bad)
				}
			}
			_, err := appendTx(to("s", eventlog.Exactly(1), fact("2")), put(eventlog.Cursor, "c", "whole"))
			return err
		}))
		t.same("the log", payloads(t.read(eventlog.Query{})), []string{"1", "known", "2"})
		c, _ := t.entry(eventlog.Cursor, "c")
		t.same("the entry", string(c.Value), "whole")
		t.same("the rows", t.rows(), 1)
	}},
	{Name: "transaction/repeats are told as by append", needs: transacts, run: func(t *trial) {
		w := to("s", eventlog.NoStream, fact("1"), fact("2"))
		first := t.append(w)
		t.ok("commit", t.inTx(func(_ context.Context, _ *sql.Tx, appendTx func(...eventlog.Write) (eventlog.Appended, error)) error {
			again, err := appendTx(w)
			if err == nil && (!again.Repeat || len(again.Results) != 1 || again.Results[0] != first.Results[0]) {
				err = fmt.Errorf("a repeat returned %+v, at first it was %+v", again, first)
			}
			return err
		}))
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, 2))
	}},
	{Name: "transaction/many, among appends", needs: transacts, Concurrent: true, run: func(t *trial) {
		const each = 25
		log := t.log.(eventlog.SQLTransactor)
		t.together(6, func(ctx context.Context, i int) error {
			for n := 1; n <= each; n++ {
				w := to(fmt.Sprintf("s/%d", i), eventlog.Exactly(eventlog.Version(n-1)), fact(fmt.Sprint(n)))
				var err error
				if i%2 == 0 {
					err = log.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
						_, err := log.AppendTx(ctx, tx, w)
						return err
					})
				} else {
					_, err = t.log.Append(ctx, w)
				}
				if errors.Is(err, eventlog.ErrBusy) {
					n--
					continue
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		for i := range 6 {
			t.same("a stream", payloads(t.stream(fmt.Sprintf("s/%d", i), eventlog.StreamQuery{})), numbers(1, each))
		}
	}},
}
