package ensue_test

import (
	"context"
	"testing"
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
)

var order = aggregate.Define("order", func(o Order, e any) Order {
	if _, ok := e.(OrderConfirmed); ok {
		o.Confirmed = true
	}
	return o
})

func confirmOrder(ctx context.Context, w *aggregate.Work, c ConfirmOrder) (struct{}, error) {
	return struct{}{}, aggregate.Change(ctx, w, order, c.OrderID, func(o Order) ([]any, error) {
		return []any{OrderConfirmed{OrderID: c.OrderID}}, nil
	})
}

func TestFirstPath(t *testing.T) {
	for _, address := range []string{"memory:", t.TempDir() + "/x.db"} {
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
		began := time.Now()
		if err := app.WaitIdle(ctx); err != nil {
			t.Fatal(err, app.Process("catering-match").Stats())
		}
		t.Log(time.Since(began))
		n := 0
		for rec, err := range app.Module("orders").Log().Read(ctx, eventlog.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			t.Log(rec.Position, rec.Stream, rec.Version, rec.Type, string(rec.Data), rec.Metadata)
			if rec.Type == "order-confirmed" {
				n++
			}
		}
		for rec := range app.Module("orders").Log().ReadStream(ctx, "catering-match/1", eventlog.StreamQuery{System: true}) {
			t.Log(rec.Version, rec.Type, string(rec.Data))
		}
		t.Logf("%+v", app.Process("catering-match").Stats())
		if n != 3 {
			t.Fatal(n)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := app.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
