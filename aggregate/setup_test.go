package aggregate_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// The domain of these tests: accounts, on which money is put and from which it is taken.
type (
	AccountEvent interface{ accountEvent() }
	Deposited    struct{ Amount int }
	Withdrawn    struct{ Amount int }
	Renamed      struct{ Name string }

	Account struct {
		Balance int
		Names   []string
		Events  int
	}

	// Audited is no event of an account.
	Audited struct{ Account string }
)

func (Deposited) accountEvent() {}
func (Withdrawn) accountEvent() {}
func (Renamed) accountEvent()   {}

func evolve(a Account, e AccountEvent) Account {
	a.Events++
	switch e := e.(type) {
	case Deposited:
		a.Balance += e.Amount
	case Withdrawn:
		a.Balance -= e.Amount
	case Renamed:
		a.Names = append(a.Names[:len(a.Names):len(a.Names)], e.Name)
	}
	return a
}

var accounts = aggregate.Define("account", evolve)

var errPoor = errors.New("not enough money")

func deposit(amount int) func(Account) ([]AccountEvent, error) {
	return func(Account) ([]AccountEvent, error) { return []AccountEvent{Deposited{amount}}, nil }
}

func withdraw(amount int) func(Account) ([]AccountEvent, error) {
	return func(a Account) ([]AccountEvent, error) {
		if a.Balance < amount {
			return nil, errPoor
		}
		return []AccountEvent{Withdrawn{amount}}, nil
	}
}

func types(t testing.TB, more ...event.Type) *event.Registry {
	t.Helper()
	r, err := event.NewRegistry(append([]event.Type{
		event.Named[Deposited]("deposited"), event.Named[Withdrawn]("withdrawn"), event.Named[Renamed]("renamed"), event.Named[Audited]("audited"),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bank(t testing.TB, handlers ...aggregate.Handler) *aggregate.Module {
	t.Helper()
	m := &aggregate.Module{Name: "bank", Log: memlog.New(), Types: types(t), Handlers: handlers}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB, m *aggregate.Module, id string) Account {
	t.Helper()
	a, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), accounts, id)
	must(t, err)
	return a
}

// all returns what the log holds, without system records.
func all(t testing.TB, log eventlog.Log) []event.Recorded {
	t.Helper()
	var events []event.Recorded
	for rec, err := range log.Read(t.Context(), eventlog.Query{}) {
		must(t, err)
		events = append(events, rec)
	}
	return events
}

// streams returns the streams of what the log holds, in its order.
func streams(t testing.TB, log eventlog.Log) (names []string) {
	t.Helper()
	for _, rec := range all(t, log) {
		names = append(names, rec.Stream)
	}
	return names
}

// counted counts the calls that reach a log.
type counted struct {
	eventlog.Log
	appends, streams, entries, reads atomic.Int64
}

func (c *counted) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	c.appends.Add(1)
	return c.Log.Append(ctx, writes...)
}

func at(minute int) time.Time { return time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC) }
