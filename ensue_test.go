package ensue_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

type (
	CustomerConfirmedMenu struct{ OrderID string }
	CatererConfirmedMenu  struct{ OrderID string }
	OrderConfirmed        struct{ OrderID string }
	ConfirmOrder          struct{ OrderID string }
	Order                 struct{ Confirmed bool }
	Match                 struct{ Customer, Caterer bool }
)

var match = process.Define("catering-match",
	process.On[Match, CustomerConfirmedMenu]{
		Starts: true,
		Locate: process.Key(func(e CustomerConfirmedMenu) string { return e.OrderID }),
		Evolve: func(m Match, _ process.Input[CustomerConfirmedMenu]) Match { m.Customer = true; return m },
	},
	process.On[Match, CatererConfirmedMenu]{
		Starts: true,
		Locate: process.Key(func(e CatererConfirmedMenu) string { return e.OrderID }),
		Evolve: func(m Match, _ process.Input[CatererConfirmedMenu]) Match { m.Caterer = true; return m },
	},
	process.React(func(m Match, do *process.Step) {
		if m.Customer && m.Caterer {
			do.Send(ConfirmOrder{OrderID: do.Instance()})
			do.Complete()
		}
	}),
).Otherwise(process.Ignore)

var order = aggregate.Define("order", func(o Order, e any) Order {
	if _, ok := e.(OrderConfirmed); ok {
		o.Confirmed = true
	}
	return o
})

func confirmOrder(ctx context.Context, w *aggregate.Work, c ConfirmOrder) (struct{}, error) {
	return struct{}{}, aggregate.Change(ctx, w, order, c.OrderID, func(o Order) ([]any, error) {
		return []any{OrderConfirmed(c)}, nil
	})
}

// Three orders, each confirmed by both, in one file and in memory: each order is confirmed once.
func TestOpenRunAndSettle(t *testing.T) {
	for name, address := range map[string]string{"memory": "memory:", "file": t.TempDir() + "/orders.db", "folder": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			app, err := ensue.Open(ctx, address, ensue.Module{Name: "orders",
				Events: []event.Type{event.Named[OrderConfirmed]("order-confirmed"), event.Named[CustomerConfirmedMenu]("customer-confirmed-menu"),
					event.Named[CatererConfirmedMenu]("caterer-confirmed-menu")},
				Commands:  []command.Handler{command.Handle("confirm-order", confirmOrder)},
				Processes: []process.Definition{match}})
			if err != nil {
				t.Fatal(err)
			}
			run, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- app.Run(run) }()
			for _, id := range []string{"1", "2", "3"} {
				if _, err := app.Module("orders").Record(ctx, "menu/"+id, CustomerConfirmedMenu{id}, CatererConfirmedMenu{id}); err != nil {
					t.Fatal(err)
				}
			}
			if err := app.WaitIdle(ctx); err != nil {
				t.Fatal(err, app.Process("catering-match").Stats())
			}
			confirmed := map[string]int{}
			for rec, err := range app.Module("orders").Log().Read(ctx, eventlog.Query{Types: []string{"order-confirmed"}}) {
				if err != nil {
					t.Fatal(err)
				}
				confirmed[rec.Stream]++
			}
			if want := map[string]int{"order/1": 1, "order/2": 1, "order/3": 1}; !maps.Equal(confirmed, want) {
				t.Errorf("confirmed: %v, want %v", confirmed, want)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := app.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenReportsEveryMistakeAtOnce(t *testing.T) {
	_, err := ensue.Open(t.Context(), "memory:",
		ensue.Module{Name: "a b", Events: []event.Type{event.Named[OrderConfirmed]("x"), event.Named[CustomerConfirmedMenu]("x")}},
		ensue.Module{Name: "orders", Processes: []process.Definition{process.Define("p", process.On[Match, OrderConfirmed]{})}},
	)
	for _, part := range []string{`"a b"`, "registered twice", "no input starts", "no Locate", "event ensue_test.OrderConfirmed  ???"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
	_, err = ensue.Open(t.Context(), "memory:", ensue.Module{Name: "orders", Processes: []process.Definition{match}})
	if err == nil || !strings.Contains(err.Error(), "no module registers the type") {
		t.Errorf("got %v, want that nobody registers the inputs", err)
	}
	for address, part := range map[string]string{"mysql://x": "no log for addresses", "": "address is empty"} {
		if _, err := ensue.Open(t.Context(), address, ensue.Module{Name: "orders"}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: got %v, want %q", address, err, part)
		}
	}
}

// Whoever ends Run by its context asked for it, also with a cause, as signal.NotifyContext gives one.
func TestRunEndsWithItsContextWithoutAnError(t *testing.T) {
	app, err := ensue.Open(t.Context(), "memory:", ensue.Options{Logger: quiet()}, dailyModule())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("a signal"))
	if err := app.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := app.Close(); err != nil {
		t.Error(err)
	}
}

// A command that nobody handles fails its step: the instance is held and says so.
func TestACommandThatNobodyHandlesHoldsItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		app, err := ensue.Open(ctx, "memory:", ensue.Options{Logger: quiet()}, ensue.Module{Name: "orders",
			Events: []event.Type{event.Named[CustomerConfirmedMenu]("customer-confirmed-menu"), event.Named[CatererConfirmedMenu]("caterer-confirmed-menu")}, Processes: []process.Definition{match}})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- app.Run(run) }()
		if _, err := app.Module("orders").Record(ctx, "menu/1", CustomerConfirmedMenu{"1"}, CatererConfirmedMenu{"1"}); err != nil {
			t.Fatal(err)
		}
		if err := app.WaitIdle(ctx); err != nil {
			t.Fatal(err)
		}
		held := 0
		for h, err := range process.Holdings(ctx, app.Module("orders").Log(), "catering-match") {
			if err != nil {
				t.Fatal(err)
			}
			if held++; h.Condition != process.Held || !strings.Contains(h.Error, "no module handles ensue_test.ConfirmOrder") {
				t.Errorf("held: %+v", h)
			}
		}
		if held != 1 {
			t.Errorf("%d instances are held, want 1", held)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
}
