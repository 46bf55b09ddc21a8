package pglog

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// TestAnAppendTouchesAsManyRowsInALongLog: plans are made once for a connection, when the log may have been empty. What an
// append looks at must not grow with the log then.
func TestAnAppendTouchesAsManyRowsInALongLog(t *testing.T) {
	t.Parallel()
	const links = 20
	address := pgtest.Database(t)
	l := logOf(t, opened(t, address, Options{}))
	add := func(n int) {
		t.Helper()
		writes := make([]eventlog.Write, 0, 2*n)
		for i := range n {
			stream := fmt.Sprintf("filled/%s", event.NewID())
			writes = append(writes, eventlog.ToStream{Stream: stream, Expect: eventlog.NoStream, Events: []event.Event{{Type: "filled", Data: []byte(`{}`)}}},
				eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: stream, Value: []byte(`{}`)}, Expect: eventlog.NoEntry})
			if len(writes) == cap(writes) || i%500 == 499 {
				if _, err := l.Append(t.Context(), writes...); err != nil {
					t.Fatal(err)
				}
				writes = writes[:0]
			}
		}
	}
	add(links)
	if _, err := l.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := connected(t, address)
	execute(t, conn, `ANALYZE`) // few rows is what the server knows of

	// touched counts the rows that an append of everything reads.
	touched := func() (rows int) {
		t.Helper()
		id := event.NewID().String()
		link := eventlog.LinkTo{Stream: "links/" + id, Expect: eventlog.NoStream}
		var writes []eventlog.Write
		for p := range eventlog.Position(links) {
			link.Positions = append(link.Positions, p+1)
			key := fmt.Sprintf("%s/%d", id, p)
			writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: key, Value: []byte(`{}`)}, Expect: eventlog.NoEntry},
				eventlog.ToStream{Stream: "own/" + key, Expect: eventlog.NoStream, Events: []event.Event{{Type: "filled", Data: []byte(`{}`)}}})
		}
		for _, w := range [][]eventlog.Write{
			append(writes, link),
			{eventlog.ToStream{Stream: "own/" + id + "/0", Expect: 1, Events: []event.Event{{Type: "filled", Data: []byte(`{}`)}}},
				eventlog.Delete{Kind: eventlog.Pending, Key: id + "/0"}, eventlog.Delete{Kind: eventlog.Pending, Key: id + "/1"}},
		} {
			err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				if _, err := l.AppendPgx(t.Context(), tx, w...); err != nil {
					return err
				}
				var n int
				err := tx.QueryRow(t.Context(), `SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables`).Scan(&n)
				rows += n
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return rows
	}
	short := touched()
	add(4000)
	long := touched()
	t.Logf("%d rows in a short log, %d in a long one", short, long)
	if long > 2*short || short == 0 {
		t.Errorf("an append read %d rows in a log of %d events, and %d in one of 4,000", short, links, long)
	}
}
