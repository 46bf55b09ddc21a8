package main

import (
	"context"
	"errors"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/process"
)

const module = "orders"

// What can be asked of the module.
type (
	PlaceOrder struct {
		OrderID string
		Menus   []domain.Menu
	}
	ConfirmOrder struct{ OrderID string }
	CancelOrder  struct{ OrderID, Reason string }
)

// events are the types of the module's log, under the names by which they are stored.
var events = []event.Type{
	event.Named[domain.OrderPlaced]("order-placed"),
	event.Named[domain.CustomerConfirmed]("customer-confirmed"),
	event.Named[domain.CatererConfirmed]("caterer-confirmed"),
	event.Named[domain.CatererDeclined]("caterer-declined"),
	event.Named[domain.OrderConfirmed]("order-confirmed"),
	event.Named[domain.OrderCancelled]("order-cancelled"),
}

// orders is the aggregate: an order is folded from its stream.
var orders = aggregate.Define("order", func(o domain.Order, fact any) domain.Order {
	if e, ok := fact.(domain.Event); ok {
		return o.Evolve(e)
	}
	return o
})

func catering() ensue.Module {
	return ensue.Module{
		Name:   module,
		Events: events,
		Commands: []command.Handler{
			command.Handle("place-order", func(ctx context.Context, w *aggregate.Work, c PlaceOrder) (struct{}, error) {
				return change(ctx, w, c.OrderID, func(o domain.Order) ([]domain.Event, error) { return o.Place(c.OrderID, c.Menus) })
			}),
			command.Handle("confirm-order", func(ctx context.Context, w *aggregate.Work, c ConfirmOrder) (struct{}, error) {
				return change(ctx, w, c.OrderID, func(o domain.Order) ([]domain.Event, error) { return o.Confirm(c.OrderID) })
			}),
			command.Handle("cancel-order", func(ctx context.Context, w *aggregate.Work, c CancelOrder) (struct{}, error) {
				return change(ctx, w, c.OrderID, func(o domain.Order) ([]domain.Event, error) { return o.Cancel(c.OrderID, c.Reason) })
			}),
		},
		Processes: []process.Definition{CateringMatch},
	}
}

// change has the domain decide on one order. What follows happened at the instant at which it was asked for: a timeout's
// cancellation when the timeout was due, whenever the program came to it.
func change(ctx context.Context, w *aggregate.Work, id string, decide func(domain.Order) ([]domain.Event, error)) (struct{}, error) {
	err := aggregate.Change(ctx, w, orders, id, func(o domain.Order) ([]any, error) {
		decided, err := decide(o)
		facts := make([]any, len(decided))
		for n, e := range decided {
			facts[n] = event.New(e).At(w.Now())
		}
		return facts, err
	})
	var settled *domain.SettledError
	if errors.As(err, &settled) { // the domain's refusal is an outcome; any other error would be tried again
		return struct{}{}, command.Reject("settled", "%v", settled)
	}
	return struct{}{}, err
}
