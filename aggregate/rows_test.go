package aggregate_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// An aggregate that is kept in a row of the user's own table changes together with its events.
func TestAnAggregateKeptInRowsIsWrittenWithItsEvents(t *testing.T) {
	file, err := sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), "bank.db"), sqlitelog.Options{})
	must(t, err)
	defer file.Close()
	log, err := file.Log(t.Context(), "bank")
	must(t, err)
	m := bank(t)
	m.Log = log
	transactor := eventlog.Log(log).(eventlog.SQLTransactor)
	must(t, transactor.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE wallet (id TEXT PRIMARY KEY, balance INTEGER NOT NULL, version INTEGER NOT NULL)")
		return err
	}))

	change := func(do func(*Wallet) error) error {
		return transactor.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			wallet, version := &Wallet{}, eventlog.Version(0)
			err := tx.QueryRowContext(ctx, "SELECT balance, version FROM wallet WHERE id = '1'").Scan(&wallet.Balance, &version)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			w := aggregate.NewWork(m, aggregate.Cause{})
			if err := w.Track("account/1", eventlog.Exactly(version), wallet); err != nil {
				return err
			}
			if err := do(wallet); err != nil {
				return err
			}
			writes, err := w.Writes(ctx)
			if err != nil {
				return err
			}
			appended, err := transactor.AppendTx(ctx, tx, writes...)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO wallet VALUES ('1', ?, ?)", wallet.Balance, appended.Results[0].Last)
			return err
		})
	}
	must(t, change(func(w *Wallet) error { w.Deposit(10); return nil }))
	must(t, change(func(w *Wallet) error { return w.Withdraw(3) }))
	if err := change(func(w *Wallet) error { w.Deposit(1); return w.Withdraw(30) }); !errors.Is(err, errPoor) {
		t.Errorf("%v", err)
	}
	if a := load(t, m, "1"); a.Balance != 7 || a.Events != 2 {
		t.Errorf("%+v", a)
	}
}
