package aggregate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func TestAnInsideHandlerIsCommittedWithItsEvent(t *testing.T) {
	var order []string
	m := bank(t,
		aggregate.Inside("fees", func(ctx context.Context, w *aggregate.Work, e Withdrawn) error {
			order = append(order, "withdrawn")
			return aggregate.Change(ctx, w, accounts, "fees", deposit(1))
		}),
		aggregate.Inside("audit", func(_ context.Context, w *aggregate.Work, e AccountEvent) error {
			order = append(order, "account event")
			return w.Append("audit/1", eventlog.Any, Audited{})
		}),
	)
	log := &counted{Log: m.Log}
	m.Log = log
	w := aggregate.NewWork(m, aggregate.Cause{Metadata: event.Metadata{Correlation: event.NewID()}})
	must(t, aggregate.Change(t.Context(), w, accounts, "1", deposit(5)))
	must(t, aggregate.Change(t.Context(), w, accounts, "1", withdraw(5)))
	if len(order) != 0 {
		t.Errorf("ran before the commit: %v", order)
	}
	_, err := w.Commit(t.Context())
	must(t, err)
	// deposited; withdrawn, whose fee is deposited, which is audited as well
	if want := []string{"account event", "withdrawn", "account event", "account event"}; !slices.Equal(order, want) {
		t.Errorf("handlers %v", order)
	}
	if got, want := streams(t, m.Log), []string{"account/1", "account/1", "audit/1", "account/fees", "audit/1", "audit/1"}; !slices.Equal(got, want) || log.appends.Load() != 1 {
		t.Errorf("%v by %d appends", got, log.appends.Load())
	}
	for _, rec := range all(t, m.Log) {
		if rec.Metadata.Correlation != w.Cause().Metadata.Correlation {
			t.Errorf("%s has correlation %s", rec.Type, rec.Metadata.Correlation)
		}
	}
}

func TestAnErrorOfAnInsideHandlerRollsTheWorkBack(t *testing.T) {
	broken := errors.New("broken")
	m := bank(t, aggregate.Inside("fees", func(context.Context, *aggregate.Work, Withdrawn) error { return broken }))
	must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(5)))
	err := aggregate.Execute(t.Context(), m, accounts, "1", withdraw(5))
	var handler *aggregate.HandlerError
	if !errors.Is(err, broken) || !errors.As(err, &handler) || handler.Handler != "fees" {
		t.Errorf("%v", err)
	}
	if a := load(t, m, "1"); a.Balance != 5 {
		t.Errorf("%+v", a)
	}
}

func TestAnInsideHandlerCannotHideThatItsAppendFailed(t *testing.T) {
	m := bank(t, aggregate.Inside("careless", func(_ context.Context, w *aggregate.Work, _ Deposited) error {
		_ = w.Append("audit/1", eventlog.Any, "no event")
		return nil
	}))
	var unregistered *event.UnregisteredError
	if err := aggregate.Execute(t.Context(), m, accounts, "1", deposit(5)); !errors.As(err, &unregistered) {
		t.Errorf("%v", err)
	}
}

func TestHandlersThatAnswerEachOtherAreStopped(t *testing.T) {
	runs := 0
	m := bank(t, aggregate.Inside("echo", func(ctx context.Context, w *aggregate.Work, _ Deposited) error {
		runs++
		return aggregate.Change(ctx, w, accounts, "1", deposit(1))
	}))
	var depth *aggregate.DepthError
	if err := aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)); !errors.As(err, &depth) || depth.Handler != "echo" || runs != 100 {
		t.Errorf("%d runs: %v", runs, err)
	}
	if n := len(all(t, m.Log)); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestAPanicOfAnInsideHandlerIsAnError(t *testing.T) {
	m := bank(t, aggregate.Inside("clumsy", func(context.Context, *aggregate.Work, Deposited) error { panic("oops") }))
	var panicked *aggregate.PanicError
	if err := aggregate.Execute(t.Context(), m, accounts, "1", deposit(1)); !errors.As(err, &panicked) || panicked.Value != "oops" || !strings.Contains(string(panicked.Stack), "handler_test.go") {
		t.Errorf("%v", err)
	}
}

func TestModulesThatCannotBe(t *testing.T) {
	nothing := func(context.Context, *aggregate.Work, Deposited) error { return nil }
	m := aggregate.Module{Name: "m", Tries: -1, Handlers: []aggregate.Handler{
		aggregate.Inside("a", nothing), aggregate.Afterwards("a", nothing), aggregate.Inside("", nothing), aggregate.Inside[Deposited]("b", nil), {},
	}}
	err := m.Check()
	for _, want := range []string{"no log", "no registry", "-1 tries", `two handlers are called "a"`, "has no name", `"b" has no function`, `"" has no function`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
