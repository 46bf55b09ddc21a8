package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func TestG4_SeveralAggregatesChangeAllOrNone(t *testing.T) {
	m := bank(t)
	must(t, aggregate.Execute(t.Context(), m, accounts, "from", deposit(10)))
	transfer := func() *aggregate.Work {
		w := aggregate.NewWork(m, aggregate.Cause{})
		must(t, aggregate.Change(t.Context(), w, accounts, "from", withdraw(10)))
		must(t, aggregate.Change(t.Context(), w, accounts, "to", deposit(10)))
		return w
	}
	late := transfer()
	_, err := transfer().Commit(t.Context())
	must(t, err)
	before := all(t, m.Log)

	// Only one of its streams has changed; the other must not be written either.
	var conflict *eventlog.ConflictError
	if _, err := late.Commit(t.Context()); !errors.As(err, &conflict) || conflict.Stream != "account/from" || conflict.Actual != 2 {
		t.Errorf("%v", err)
	}
	if after := all(t, m.Log); len(after) != len(before) {
		t.Errorf("a failed commit left %v", after[len(before):])
	}
	if from, to := load(t, m, "from"), load(t, m, "to"); from.Balance != 0 || to.Balance != 10 {
		t.Errorf("from %d, to %d", from.Balance, to.Balance)
	}
}

func TestAWorkIsCommittedByOneAppend(t *testing.T) {
	m := bank(t)
	log := &counted{Log: m.Log}
	m.Log = log
	w := aggregate.NewWork(m, aggregate.Cause{})
	for i := range 10 {
		must(t, aggregate.Change(t.Context(), w, accounts, fmt.Sprint(i), deposit(1)))
	}
	w.Put(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: "k", Value: []byte("v")}})
	_, err := w.Commit(t.Context())
	must(t, err)
	if n := log.appends.Load(); n != 1 {
		t.Errorf("%d appends", n)
	}
}

func TestEventsKeepTheOrderOfRecordingAcrossStreams(t *testing.T) {
	m := bank(t)
	w := aggregate.NewWork(m, aggregate.Cause{})
	order := []string{"account/a", "account/b", "account/a", "account/a", "account/c", "account/b", "account/a"}
	for _, s := range order {
		must(t, w.Append(s, eventlog.Any, Deposited{1}))
	}
	_, err := w.Commit(t.Context())
	must(t, err)
	if got := streams(t, m.Log); !slices.Equal(got, order) {
		t.Errorf("appended to %v, in the log %v", order, got)
	}
}

func TestAUsedWorkIsRefused(t *testing.T) {
	m := bank(t)
	committed := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), committed, accounts, "1", deposit(1)))
	_, err := committed.Commit(t.Context())
	must(t, err)

	failed := aggregate.NewWork(m, aggregate.Cause{})
	must(t, failed.Append("account/1", eventlog.NoStream, Deposited{1}))
	if _, err := failed.Commit(t.Context()); !errors.Is(err, eventlog.ErrConflict) {
		t.Fatal(err)
	}

	for name, w := range map[string]*aggregate.Work{"committed": committed, "failed": failed} {
		_, err := w.Commit(t.Context())
		_, loaded := aggregate.Load(t.Context(), w, accounts, "1")
		for _, err := range []error{
			err, loaded,
			aggregate.Change(t.Context(), w, accounts, "1", deposit(1)),
			w.Append("account/1", eventlog.Any, Deposited{1}),
			w.Track("account/1", eventlog.Any, &Wallet{}),
		} {
			if !errors.Is(err, aggregate.ErrUsed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := len(all(t, m.Log)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestExpectationsSpeakOfTheStreamWithinTheWork(t *testing.T) {
	type step struct {
		expect eventlog.Expected
		add    int
		load   bool
	}
	const (
		fine     = ""
		inWork   = "refused by the work"
		onCommit = "refused by the log"
	)
	for name, c := range map[string]struct {
		exists int // events in the stream
		steps  []step
		want   string
	}{
		"new, then its first":       {0, []step{{expect: eventlog.NoStream, add: 1}, {expect: eventlog.Exactly(1), add: 1}}, fine},
		"new, then exists":          {0, []step{{expect: eventlog.NoStream, add: 1}, {expect: eventlog.Exists, add: 1}}, fine},
		"new twice":                 {0, []step{{expect: eventlog.NoStream, add: 1}, {expect: eventlog.NoStream, add: 1}}, inWork},
		"new, but is there":         {2, []step{{expect: eventlog.NoStream, add: 1}}, onCommit},
		"any, then exactly":         {2, []step{{expect: eventlog.Any, add: 1}, {expect: eventlog.Exactly(3), add: 1}}, fine},
		"any, then exactly wrong":   {2, []step{{expect: eventlog.Any, add: 1}, {expect: eventlog.Exactly(4), add: 1}}, onCommit},
		"any, then too few":         {2, []step{{expect: eventlog.Any, add: 3}, {expect: eventlog.Exactly(2), add: 1}}, inWork},
		"any, then new":             {0, []step{{expect: eventlog.Any, add: 1}, {expect: eventlog.NoStream, add: 1}}, inWork},
		"any, then exists":          {0, []step{{expect: eventlog.Any, add: 1}, {expect: eventlog.Exists, add: 1}}, fine},
		"exists, then exactly":      {2, []step{{expect: eventlog.Exists, add: 1}, {expect: eventlog.Exactly(3), add: 1}}, fine},
		"exists, then its first":    {0, []step{{expect: eventlog.Exists, add: 1}, {expect: eventlog.Exactly(1), add: 1}}, inWork},
		"exists, but is not there":  {0, []step{{expect: eventlog.Exists, add: 1}}, onCommit},
		"exists and new":            {0, []step{{expect: eventlog.Exists}, {expect: eventlog.NoStream, add: 1}}, inWork},
		"loaded, then any":          {2, []step{{load: true}, {expect: eventlog.Any, add: 1}}, fine},
		"loaded, then exactly":      {2, []step{{load: true}, {expect: eventlog.Exactly(2), add: 1}}, fine},
		"loaded, then wrong":        {2, []step{{load: true}, {expect: eventlog.Exactly(1), add: 1}}, inWork},
		"loaded, then new":          {2, []step{{load: true}, {expect: eventlog.NoStream, add: 1}}, inWork},
		"loaded absent, then new":   {0, []step{{load: true}, {expect: eventlog.NoStream, add: 1}}, fine},
		"wrong, then loaded":        {2, []step{{expect: eventlog.Exactly(1), add: 1}, {load: true}}, inWork},
		"right, then loaded":        {2, []step{{expect: eventlog.Exactly(2), add: 1}, {load: true}, {expect: eventlog.Exactly(3), add: 1}}, fine},
		"no expectation is written": {2, []step{{expect: eventlog.Exactly(7)}}, fine}, // nothing is appended, so nothing is guarded
	} {
		t.Run(name, func(t *testing.T) {
			m := bank(t)
			for range c.exists {
				must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
			}
			w := aggregate.NewWork(m, aggregate.Cause{})
			var err error
			for _, s := range c.steps {
				if s.load {
					_, err = aggregate.Load(t.Context(), w, accounts, "1")
				} else {
					err = w.Append("account/1", s.expect, slices.Repeat([]any{Deposited{1}}, s.add)...)
				}
				if err != nil {
					break
				}
			}
			got := fine
			if err != nil {
				got = inWork
			} else if _, err = w.Commit(t.Context()); err != nil {
				got = onCommit
			}
			if got != c.want || err != nil && !errors.Is(err, eventlog.ErrConflict) {
				t.Errorf("%q, want %q: %v", got, c.want, err)
			}
		})
	}
}

func TestEventsInheritTheCausesMetadata(t *testing.T) {
	m := bank(t)
	cause := aggregate.Cause{Command: event.NewID(), Metadata: event.Metadata{Correlation: event.NewID(), Causation: event.NewID(), Headers: map[string]string{"order-id": "42", "tenant": "a"}}}
	w := aggregate.NewWork(m, cause)
	must(t, aggregate.Change(t.Context(), w, accounts, "1", deposit(1)))
	given := event.NewID()
	must(t, w.Append("account/2", eventlog.Any, event.New(Deposited{1}).WithID(given).WithHeader("tenant", "b").WithHeader("own", "x").WithTag("k", "v").At(at(1))))
	_, err := w.Commit(t.Context())
	must(t, err)
	events := all(t, m.Log)
	if got := events[0].Metadata; !reflect.DeepEqual(got, cause.Metadata) {
		t.Errorf("plain event: %+v", got)
	}
	second := events[1]
	want := event.Metadata{Correlation: cause.Metadata.Correlation, Causation: cause.Metadata.Causation, Headers: map[string]string{"order-id": "42", "tenant": "b", "own": "x"}}
	if !reflect.DeepEqual(second.Metadata, want) || second.ID != given || !second.Occurred.Equal(at(1)) || len(second.Tags) != 1 {
		t.Errorf("draft: %+v", second)
	}
	if w.Cause().Command != cause.Command || cause.Metadata.Headers["tenant"] != "a" {
		t.Errorf("the cause has changed: %+v", w.Cause())
	}
}

func TestNowIsTheCausesInstant(t *testing.T) {
	m := bank(t)
	minute := 0
	m.Now = func() time.Time { minute++; return at(minute) }
	if w := aggregate.NewWork(m, aggregate.Cause{At: at(30)}); !w.Now().Equal(at(30)) {
		t.Errorf("decided at 30, now %v", w.Now())
	}
	w := aggregate.NewWork(m, aggregate.Cause{})
	for range 2 {
		if !w.Now().Equal(at(1)) {
			t.Errorf("%v", w.Now())
		}
	}
}

func TestNothingIsWrittenWithoutACommit(t *testing.T) {
	m := bank(t)
	log := &counted{Log: m.Log}
	m.Log = log
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), w, accounts, "1", deposit(1)))

	unchanged := aggregate.NewWork(m, aggregate.Cause{})
	must(t, aggregate.Change(t.Context(), unchanged, accounts, "1", func(Account) ([]AccountEvent, error) { return nil, nil }))
	_, err := unchanged.Commit(t.Context())
	must(t, err)
	if n := log.appends.Load(); n != 0 || len(all(t, m.Log)) != 0 {
		t.Errorf("%d appends", n)
	}
}

func TestAnUnregisteredFactFailsTheWork(t *testing.T) {
	m := bank(t)
	w := aggregate.NewWork(m, aggregate.Cause{})
	must(t, w.Append("account/1", eventlog.Any, Deposited{1}))
	var unregistered *event.UnregisteredError
	if err := w.Append("account/1", eventlog.Any, struct{ X int }{}); !errors.As(err, &unregistered) {
		t.Errorf("%v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, aggregate.ErrUsed) || !errors.As(err, &unregistered) {
		t.Errorf("half a work was committed: %v", err)
	}
}

func TestExecuteIsTriedAgainOnConflict(t *testing.T) {
	synctest.Test(t, tryAgain) // in a bubble, where waiting for a turn costs nothing
}

func tryAgain(t *testing.T) {
	m := bank(t)
	tries := 0
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", func(a Account) ([]AccountEvent, error) {
		if tries++; tries < 4 {
			must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
		}
		return []AccountEvent{Renamed{fmt.Sprint("after ", a.Balance)}}, nil
	}))
	if a := load(t, m, "1"); tries != 4 || a.Names[0] != "after 3" {
		t.Errorf("%d tries, %+v", tries, a)
	}

	m.Tries = 3
	tries = 0
	err := aggregate.Execute(t.Context(), m, accounts, "1", func(Account) ([]AccountEvent, error) {
		tries++
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
		return []AccountEvent{Deposited{100}}, nil
	})
	var contended *aggregate.ContendedError
	var conflict *eventlog.ConflictError
	if !errors.As(err, &contended) || contended.Tries != 3 || tries != 3 || !errors.As(err, &conflict) {
		t.Errorf("%d tries: %v", tries, err)
	}

	if err := aggregate.Execute(t.Context(), m, accounts, "1", withdraw(1000)); !errors.Is(err, errPoor) {
		t.Errorf("a decision was not returned as it is: %v", err)
	}

	// What was given up within is not begun again without.
	tries = 0
	_, err = aggregate.Do(t.Context(), m, aggregate.Cause{}, func(ctx context.Context, _ *aggregate.Work) error {
		return aggregate.Execute(ctx, m, accounts, "1", func(Account) ([]AccountEvent, error) {
			tries++
			return []AccountEvent{Deposited{100}}, aggregate.Execute(ctx, m, accounts, "1", deposit(1))
		})
	})
	if !errors.As(err, &contended) || tries != 3 {
		t.Errorf("%d tries: %v", tries, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err = aggregate.Execute(ctx, m, accounts, "1", func(Account) ([]AccountEvent, error) {
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)))
		cancel()
		return []AccountEvent{Deposited{100}}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("tried on: %v", err)
	}
}
