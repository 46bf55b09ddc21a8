package bench

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// A sale goes through three modules. Each step is a command, which an aggregate handles, whose event leads to the next.
type (
	OrderPlaced     struct{ Order string }
	ReserveSeats    struct{ Order string }
	SeatsReserved   struct{ Order string }
	TakePayment     struct{ Order string }
	PaymentReceived struct{ Order string }
	ConfirmOrder    struct{ Order string }
	OrderConfirmed  struct{ Order string }
	Sale            struct{ Reserved, Paid bool }
)

var sale = process.Define("sale",
	process.On[Sale, OrderPlaced]{
		Starts: true,
		Locate: process.Key(func(e OrderPlaced) string { return e.Order }),
		React:  func(_ Sale, in process.Input[OrderPlaced], do *process.Step) { do.Send(ReserveSeats(in.Event)) },
	},
	process.On[Sale, SeatsReserved]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e SeatsReserved) string { return e.Order }),
		Evolve:     func(s Sale, _ process.Input[SeatsReserved]) Sale { s.Reserved = true; return s },
		React:      func(_ Sale, in process.Input[SeatsReserved], do *process.Step) { do.Send(TakePayment(in.Event)) },
	},
	process.On[Sale, PaymentReceived]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e PaymentReceived) string { return e.Order }),
		Evolve:     func(s Sale, _ process.Input[PaymentReceived]) Sale { s.Paid = true; return s },
		React:      func(_ Sale, in process.Input[PaymentReceived], do *process.Step) { do.Send(ConfirmOrder(in.Event)) },
	},
	process.On[Sale, OrderConfirmed]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e OrderConfirmed) string { return e.Order }),
		React:      func(_ Sale, _ process.Input[OrderConfirmed], do *process.Step) { do.Complete() },
	},
).Otherwise(process.Ignore)

// does handles commands by one event of an aggregate of their own.
func does[C, E any](name, category string, id func(C) string, fact func(C) E) command.Handler {
	of := aggregate.Define(category, func(n int, _ E) int { return n + 1 })
	return command.Handle(name, func(ctx context.Context, w *aggregate.Work, c C) (int, error) {
		return 0, aggregate.Change(ctx, w, of, id(c), func(n int) ([]E, error) {
			if n > 0 {
				return nil, command.Reject("done", "it was done before")
			}
			return []E{fact(c)}, nil
		})
	})
}

func shop() []ensue.Part {
	return []ensue.Part{
		ensue.Module{Name: "orders", Processes: []process.Definition{sale},
			Events: []event.Type{event.Named[OrderPlaced]("order-placed"), event.Named[OrderConfirmed]("order-confirmed")},
			Commands: []command.Handler{does("confirm-order", "order", func(c ConfirmOrder) string { return c.Order },
				func(c ConfirmOrder) OrderConfirmed { return OrderConfirmed(c) })}},
		ensue.Module{Name: "seats", Events: []event.Type{event.Named[SeatsReserved]("seats-reserved")},
			Commands: []command.Handler{does("reserve-seats", "seats", func(c ReserveSeats) string { return c.Order },
				func(c ReserveSeats) SeatsReserved { return SeatsReserved(c) })}},
		ensue.Module{Name: "payments", Events: []event.Type{event.Named[PaymentReceived]("payment-received")},
			Commands: []command.Handler{does("take-payment", "payment", func(c TakePayment) string { return c.Order },
				func(c TakePayment) PaymentReceived { return PaymentReceived(c) })}},
	}
}

// BenchmarkSaga places 2,000 or 100,000 orders at once and waits until every one of them is confirmed. The time is that of
// both: the placing, a thousand orders in an append while the first of them are already under way, and all that follows.
func BenchmarkSaga(b *testing.B) {
	for _, s := range stores {
		for _, n := range []int{instances, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				if n > instances && os.Getenv("ENSUE_FULL") == "" {
					b.Skip("100,000 at once take minutes: set ENSUE_FULL=1, and -benchtime=1x, since one round says enough")
				}
				benchmarkSaga(b, s.address(b), n)
			})
		}
	}
}

func benchmarkSaga(b *testing.B, address string, n int) {
	app := open(b, address, ensue.Options{}, shop()...)
	defer closeApp(b, app)
	defer running(b, app)()
	rounds := 0
	for b.Loop() {
		placed := make([]any, n)
		for k, key := range keys(rounds, n) {
			placed[k] = OrderPlaced{key}
		}
		record(b, app, "orders", "placed/1", placed)
		idle(b, app)
		rounds++
	}
	all := rounds * n
	b.ReportMetric(float64(all)/b.Elapsed().Seconds(), "instances/s")
	b.ReportMetric(0, "ns/op") // of so many at once: it says nothing of one
	b.ReportMetric(1000*float64(app.Process("sale").Stats().Transactions)/float64(4*all), "tx/1k-inputs")
	wantCompleted(b, app, "orders", "sale", all)
}

// wantCompleted fails unless so many instances are completed: a figure of something else is none.
func wantCompleted(b *testing.B, app *ensue.App, module, name string, want int) {
	b.Helper()
	completed := 0
	for s, err := range process.ListInstances(context.Background(), app.Module(module).Log(), name, "") {
		if err != nil {
			b.Fatal(err)
		}
		if s.Status == process.Completed {
			completed++
		}
	}
	if completed != want {
		b.Fatalf("%d instances completed, want %d", completed, want)
	}
}
