package aggregate_test

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func (c *counted) ReadStream(ctx context.Context, stream string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	c.streams.Add(1)
	return c.Log.ReadStream(ctx, stream, q)
}

func (c *counted) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	c.entries.Add(1)
	return c.Log.Entries(ctx, q)
}

func (c *counted) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	c.reads.Add(1)
	return c.Log.Read(ctx, q)
}

func TestAnAbsentAggregateIsTheZeroStateAndCostsOneRead(t *testing.T) {
	m := bank(t)
	log := &counted{Log: m.Log}
	m.Log = log
	if a := load(t, m, "1"); !reflect.DeepEqual(a, Account{}) {
		t.Errorf("state %+v", a)
	}
	if s, e, r := log.streams.Load(), log.entries.Load(), log.reads.Load(); s != 1 || e+r != 0 {
		t.Errorf("%d reads of the stream, %d of entries, %d of the log", s, e, r)
	}
}

func TestChangesOfOneWorkSeeEachOthersEvents(t *testing.T) {
	m := bank(t)
	log := &counted{Log: m.Log}
	m.Log = log
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), w, accounts, "1", deposit(10)))
	must(t, aggregate.Change(t.Context(), w, accounts, "1", withdraw(4)))
	if err := aggregate.Change(t.Context(), w, accounts, "1", withdraw(7)); !errors.Is(err, errPoor) {
		t.Errorf("6 were left and 7 were taken: %v", err)
	}
	must(t, w.Append("account/1", eventlog.Exactly(2), Deposited{1}))
	a, err := aggregate.Load(t.Context(), w, accounts, "1")
	must(t, err)
	if a.Balance != 7 {
		t.Errorf("balance %d", a.Balance)
	}
	_, err = w.Commit(t.Context())
	must(t, err)
	if n := log.streams.Load(); n != 1 {
		t.Errorf("the stream was read %d times", n)
	}
	if got := load(t, m, "1"); !reflect.DeepEqual(got, a) {
		t.Errorf("in the work %+v, in the log %+v", a, got)
	}
}

func TestALaterLoadSeesWhatTheWorkAppendedBefore(t *testing.T) {
	m := bank(t)
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(10)))
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, w.Append("account/1", eventlog.Any, Deposited{5}))
	a, err := aggregate.Load(t.Context(), w, accounts, "1")
	must(t, err)
	if a.Balance != 15 {
		t.Errorf("balance %d", a.Balance)
	}
	// From the load on the work expects what it has seen.
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
	if _, err := w.Commit(t.Context()); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("committed over a change that it had not seen: %v", err)
	}
}

func TestTwoAggregatesCanBeFoldedFromOneStream(t *testing.T) {
	m := bank(t)
	turnover := aggregate.Define("account", func(sum int, e AccountEvent) int {
		switch e := e.(type) {
		case Deposited:
			return sum + e.Amount
		case Withdrawn:
			return sum + e.Amount
		}
		return sum
	})
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), w, accounts, "1", deposit(10)))
	must(t, aggregate.Change(t.Context(), w, turnover, "1", func(sum int) ([]AccountEvent, error) {
		if sum != 10 {
			t.Errorf("turnover %d", sum)
		}
		return []AccountEvent{Withdrawn{3}}, nil
	}))
	a, err := aggregate.Load(t.Context(), w, accounts, "1")
	must(t, err)
	sum, err := aggregate.Load(t.Context(), w, turnover, "1")
	must(t, err)
	if a.Balance != 7 || sum != 13 {
		t.Errorf("balance %d, turnover %d", a.Balance, sum)
	}
}

func TestAnEventThatTheAggregateCannotHoldIsNeverLeftOut(t *testing.T) {
	m := bank(t)
	_, err := m.Log.Append(t.Context(),
		eventlog.ToStream{Stream: "account/1", Events: []event.Event{{Type: "deposited", Data: []byte(`{"Amount":1}`)}, {Type: "interest-paid", Data: []byte(`{}`)}}},
		eventlog.ToStream{Stream: "account/2", Events: []event.Event{{Type: "audited", Data: []byte(`{}`)}}},
		eventlog.ToStream{Stream: "account/3", Events: []event.Event{{Type: "deposited", Schema: 7, Data: []byte(`{}`)}}},
		eventlog.ToStream{Stream: "account/4", Events: []event.Event{{Type: "ensue.note"}, {Type: "deposited", Data: []byte(`{"Amount":4}`)}, {Type: "ensue.note"}}},
	)
	must(t, err)
	try := func(id string) error {
		_, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), accounts, id)
		return err
	}
	var unknown *aggregate.UnknownEventError
	if err := try("1"); !errors.As(err, &unknown) || unknown.Version != 2 || unknown.Type != "interest-paid" || unknown.GoType != reflect.TypeFor[event.Raw]() {
		t.Errorf("a type that nobody registered: %v", err)
	}
	if err := try("2"); !errors.As(err, &unknown) || unknown.Version != 1 || unknown.GoType != reflect.TypeFor[Audited]() {
		t.Errorf("a type of something else: %v", err)
	}
	var newer *event.NewerSchemaError
	if err := try("3"); !errors.As(err, &newer) {
		t.Errorf("a newer schema version: %v", err)
	}
	// System records are no events of the aggregate; as versions they count.
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), w, accounts, "4", withdraw(4)))
	_, err = w.Commit(t.Context())
	must(t, err)

	// An aggregate over any takes unknown events as they are.
	raw := aggregate.Define("account", func(names []string, e any) []string {
		if r, ok := e.(event.Raw); ok {
			return append(names, r.Type)
		}
		return names
	})
	names, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), raw, "1")
	must(t, err)
	if !reflect.DeepEqual(names, []string{"interest-paid"}) {
		t.Errorf("raw events %v", names)
	}

	w = aggregate.NewWork(m, aggregate.Cause{})
	_, err = aggregate.Load(t.Context(), w, accounts, "4")
	must(t, err)
	if err := w.Append("account/4", eventlog.Any, Audited{}); !errors.As(err, &unknown) || unknown.Version != 0 {
		t.Errorf("appended what could never be loaded again: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, aggregate.ErrUsed) || !errors.As(err, &unknown) {
		t.Errorf("committed after a failed append: %v", err)
	}
}

func TestATruncatedAggregateIsNotFoldedFromItsRest(t *testing.T) {
	m := bank(t)
	for range 3 {
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
	}
	must(t, m.Log.(eventlog.StreamKeeper).TruncateStream(t.Context(), "account/1", 2))
	_, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), accounts, "1")
	var truncated *aggregate.TruncatedError
	if !errors.As(err, &truncated) || truncated.First != 3 || truncated.Needed != 1 {
		t.Errorf("%v", err)
	}
}

func TestDefinitionsThatCannotBe(t *testing.T) {
	type hidden struct {
		Shown  int
		inside struct{ kept bool }
	}
	fold := func(s hidden, _ any) hidden { return s }
	for name, typ := range map[string]interface{ Check() error }{
		"no category":      aggregate.Define("", evolve),
		"a / in it":        aggregate.Define("account/eu", evolve),
		"control":          aggregate.Define("acc\nount", evolve),
		"no fold":          aggregate.Define[Account, AccountEvent]("account", nil),
		"every 0":          aggregate.Define("account", evolve, aggregate.SnapshotEvery(0, 1)),
		"format 0":         aggregate.Define("account", evolve, aggregate.SnapshotEvery(1, 0)),
		"unexported field": aggregate.Define("account", fold, aggregate.SnapshotEvery(1, 1)),
		"not defined":      aggregate.Type[Account, AccountEvent]{},
	} {
		var wrong *aggregate.DefinitionError
		if err := typ.Check(); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, accounts.Check())
	must(t, aggregate.Define("account", fold).Check())
	_ = hidden{inside: struct{ kept bool }{kept: true}}

	w := aggregate.NewWork(bank(t), aggregate.Cause{})
	var wrong *aggregate.DefinitionError
	if _, err := aggregate.Load(t.Context(), w, aggregate.Define("", evolve), "1"); !errors.As(err, &wrong) {
		t.Errorf("used nevertheless: %v", err)
	}
	var name *eventlog.NameError
	if _, err := aggregate.Load(t.Context(), w, accounts, ""); !errors.As(err, &name) {
		t.Errorf("an aggregate without id: %v", err)
	}
}

func TestADefinitionFoldsWithoutALog(t *testing.T) {
	events := []AccountEvent{Deposited{10}, Withdrawn{3}, Renamed{"a"}}
	if a := accounts.Fold(events...); !reflect.DeepEqual(a, Account{Balance: 7, Names: []string{"a"}, Events: 3}) {
		t.Errorf("%+v", a)
	}
	if accounts.Category() != "account" || accounts.Stream("eu/1") != "account/eu/1" {
		t.Errorf("%q, %q", accounts.Category(), accounts.Stream("eu/1"))
	}
}

func TestG13_LoadingEmitsNothing(t *testing.T) {
	ran := 0
	m := bank(t, aggregate.Inside("auditor", func(_ context.Context, w *aggregate.Work, e Deposited) error {
		ran++
		return w.Append("audit/1", eventlog.Any, Audited{})
	}))
	for range 5 {
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
	}
	log := &counted{Log: m.Log}
	m.Log = log
	before, events := ran, len(all(t, m.Log))
	for range 3 {
		w := aggregate.NewWork(m, aggregate.Cause{})
		a, err := aggregate.Load(t.Context(), w, accounts, "1")
		must(t, err)
		if a.Balance != 5 {
			t.Errorf("balance %d", a.Balance)
		}
		_, err = w.Commit(t.Context())
		must(t, err)
	}
	if ran != before || len(all(t, m.Log)) != events || log.appends.Load() != 0 {
		t.Errorf("handlers ran %d times, %d events were added, %d appends", ran-before, len(all(t, m.Log))-events, log.appends.Load())
	}
}
