package aggregate_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/eventlog"
)

// Wallet is an account in the style of objects: it changes itself and records what happened.
type Wallet struct {
	aggregate.Recorder
	Balance int
}

func (w *Wallet) Deposit(amount int) {
	w.Balance += amount
	w.Record(Deposited{amount})
}

func (w *Wallet) Withdraw(amount int) error {
	if w.Balance < amount {
		return errPoor
	}
	w.Balance -= amount
	w.Record(Withdrawn{amount})
	return nil
}

var wallets = aggregate.Define("account", func(w *Wallet, e AccountEvent) *Wallet {
	if w == nil {
		w = &Wallet{}
	}
	switch e := e.(type) {
	case Deposited:
		w.Balance += e.Amount
	case Withdrawn:
		w.Balance -= e.Amount
	}
	return w
})

func TestWhatAnObjectRecordsIsCommitted(t *testing.T) {
	m := bank(t)
	w := aggregate.NewWork(m, aggregate.Cause{})
	wallet := &Wallet{}
	must(t, w.Track("account/1", eventlog.NoStream, wallet))
	wallet.Deposit(10)
	must(t, wallet.Withdraw(3))
	if n := len(wallet.Recorded()); n != 2 {
		t.Errorf("%d recorded", n)
	}
	_, err := w.Commit(t.Context())
	must(t, err)
	if a := load(t, m, "1"); a.Balance != 7 || a.Events != 2 || len(wallet.Recorded()) != 0 {
		t.Errorf("%+v; %d are recorded still", a, len(wallet.Recorded()))
	}
}

func TestAnObjectIsLoadedChangedAndGuardedByItsVersion(t *testing.T) {
	m := bank(t)
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(10)))
	open := func() (*aggregate.Work, *Wallet) {
		w := aggregate.NewWork(m, aggregate.Cause{})
		wallet, err := aggregate.Load(t.Context(), w, wallets, "1")
		must(t, err)
		must(t, w.Track("account/1", eventlog.Any, wallet))
		must(t, wallet.Withdraw(10))
		return w, wallet
	}
	first, wallet := open()
	second, _ := open()
	// What it recorded it has applied; within the work it is not applied again.
	again, err := aggregate.Load(t.Context(), first, wallets, "1")
	must(t, err)
	if again != wallet || wallet.Balance != 0 {
		t.Errorf("balance %d", wallet.Balance)
	}
	// Another view of the same stream is told.
	a, err := aggregate.Load(t.Context(), first, accounts, "1")
	must(t, err)
	if a.Balance != 0 {
		t.Errorf("the account has %d", a.Balance)
	}
	_, err = first.Commit(t.Context())
	must(t, err)
	if _, err := second.Commit(t.Context()); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("the same money was taken twice: %v", err)
	}
}

func TestRecordedEventsKeepTheirPlaceAmongOthers(t *testing.T) {
	var audited []string
	m := bank(t, aggregate.Inside("auditor", func(_ context.Context, w *aggregate.Work, e Audited) error {
		audited = append(audited, e.Account)
		return nil
	}))
	w := aggregate.NewWork(m, aggregate.Cause{})
	wallet := &Wallet{}
	must(t, w.Track("account/1", eventlog.Any, wallet))
	wallet.Deposit(1)
	must(t, w.Append("audit/1", eventlog.Any, Audited{"1"}))
	wallet.Deposit(1)
	_, err := w.Commit(t.Context())
	must(t, err)
	if got := streams(t, m.Log); !slices.Equal(got, []string{"account/1", "audit/1", "account/1"}) || len(audited) != 1 {
		t.Errorf("%v, handled %v", got, audited)
	}
}

func TestAnObjectKeptElsewhereNamesItsVersion(t *testing.T) {
	m := bank(t)
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(10)))
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(10)))
	w := aggregate.NewWork(m, aggregate.Cause{})
	stale := &Wallet{Balance: 10} // read when there was one event
	must(t, w.Track("account/1", eventlog.Exactly(1), stale))
	must(t, stale.Withdraw(5))
	var conflict *eventlog.ConflictError
	if _, err := w.Commit(t.Context()); !errors.As(err, &conflict) || conflict.Actual != 2 {
		t.Errorf("%v", err)
	}
}
