package sqlitelog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "catering-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file, err := sqlitelog.Open(ctx, filepath.Join(folder, "catering.db"), sqlitelog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	orders, err := file.Log(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	placed := eventlog.ToStream{Stream: "order/42", Expect: eventlog.NoStream, Events: []event.Event{{Type: "order-placed", Data: []byte(`{"menus":2}`)}}}
	if _, err := orders.Append(ctx, placed); err != nil {
		log.Fatal(err)
	}
	if _, err := orders.Append(ctx, placed); errors.Is(err, eventlog.ErrConflict) {
		fmt.Println(err)
	}
	for rec, err := range orders.Read(ctx, eventlog.Query{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rec.Position, rec.Stream, rec.Type, string(rec.Data))
	}
	// Output:
	// eventlog: stream "order/42": expected no stream, found version 1; load it again and decide again
	// 1 order/42 order-placed {"menus":2}
}

// State that is kept in tables changes in the same transaction as the events that tell of it.
func ExampleLog_InTx() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "seats-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file, err := sqlitelog.Open(ctx, filepath.Join(folder, "seats.db"), sqlitelog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	seats, err := file.Log(ctx, "seats")
	if err != nil {
		log.Fatal(err)
	}
	err = seats.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `CREATE TABLE seat (name TEXT PRIMARY KEY, taken_by TEXT)`); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO seat VALUES ('A1', 'order/42')`); err != nil {
			return err
		}
		_, err := seats.AppendTx(ctx, tx, eventlog.ToStream{Stream: "seat/A1", Events: []event.Event{{Type: "seat-taken", Data: []byte(`{"by":"order/42"}`)}}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	head, err := seats.Head(ctx)
	fmt.Println(head, err)
	// Output: 1 <nil>
}

// A check of a file says what is wrong where; of a sound one it says nothing.
func ExampleFile_Verify() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "orders-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file, err := sqlitelog.Open(ctx, filepath.Join(folder, "orders.db"), sqlitelog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	found := 0
	for problem, err := range file.Verify(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(problem)
		found++
	}
	fmt.Println(found, "problems")
	// Output: 0 problems
}
