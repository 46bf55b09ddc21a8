// Package shop sells seats of conferences: three modules that don't know each other, and the processes between them.
//
// An order is placed; its seats are reserved; its payment is asked for and received; the order is confirmed. The box
// office and the cash desk have never heard of orders: what they say finds its order by a header that the order's events
// carry, and everything that ensues carries on.
//
//	app, err := ensue.Open(ctx, "conference.db", shop.Parts(shop.Config{Mailer: &shop.Letters{}})...)
package shop

import (
	"context"
	"errors"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/process"
)

// OrderHeader is the header that says which order something is about. It is carried from input to command to event.
const OrderHeader = "order-id"

// Carried is the names of the carried headers.
func Carried() []string { return []string{OrderHeader} }

// Config is what a shop decides for itself.
type Config struct {
	PaymentTime time.Duration // how long a buyer has for a payment; default 15 minutes
	Mailer      Mailer        // who sends the confirmations; required
	Options     ensue.Options // whatever else; Carried is the shop's
}

// Parts returns what ensue.Open needs to run a shop.
func Parts(c Config) []ensue.Part {
	if c.PaymentTime == 0 {
		c.PaymentTime = 15 * time.Minute
	}
	c.Options.Carried = Carried()
	return []ensue.Part{Orders(c), Seats(), Payments(), c.Options}
}

var (
	order   = aggregate.Define("order", orders.Order.Apply)
	hall    = aggregate.Define("hall", seats.Hall.Apply)
	payment = aggregate.Define("payment", payments.Payment.Apply)
)

// Orders is the module of the orders, and the home of the processes.
func Orders(c Config) ensue.Module {
	return ensue.Module{
		Name: "orders",
		Events: []event.Type{
			event.Named[orders.Placed]("order-placed"),
			event.Named[orders.ChangeRequested]("change-requested"),
			event.Named[orders.CancelRequested]("cancel-requested"),
			event.Named[orders.OrderConfirmed]("order-confirmed"),
			event.Named[orders.Closed]("order-closed"),
		},
		Commands: []command.Handler{
			command.Handle("place-order", ordering(orders.Order.Place, func(c orders.Place) string { return c.Order })),
			command.Handle("request-change", ordering(orders.Order.RequestChange, func(c orders.RequestChange) string { return c.Order })),
			command.Handle("request-cancel", ordering(orders.Order.RequestCancel, func(c orders.RequestCancel) string { return c.Order })),
			command.Handle("close-order", ordering(orders.Order.Close, func(c orders.Close) string { return c.Order })),
			command.Act("send-confirmation", func(ctx context.Context, id command.ID, m SendConfirmation) (struct{}, error) {
				return struct{}{}, c.Mailer.Send(ctx, id.String(), m)
			}),
		},
		Handlers: []aggregate.Handler{
			aggregate.Afterwards("close-confirmed", func(ctx context.Context, w *aggregate.Work, e orders.OrderConfirmed) error {
				return aggregate.Change(ctx, w, order, e.Order, func(o orders.Order) ([]any, error) { return o.Confirm(e) })
			}),
		},
		Processes: []process.Definition{Registering(c.PaymentTime), Fulfilling},
	}
}

// Seats is the module of the box office.
func Seats() ensue.Module {
	return ensue.Module{
		Name: "seats",
		Events: []event.Type{
			event.Named[seats.SaleOpened]("sale-opened"),
			event.Named[seats.Reserved]("seats-reserved"),
			event.Named[seats.Released]("seats-released"),
			event.Named[seats.Sold]("seats-sold"),
			event.Named[seats.SaleClosed]("sale-closed"),
		},
		Commands: []command.Handler{
			command.Handle("open-sale", changing(hall, seats.Hall.OpenSale, func(c seats.OpenSale) string { return c.Conference })),
			command.Handle("reserve-seats", changing(hall, seats.Hall.Reserve, func(c seats.Reserve) string { return c.Conference })),
			command.Handle("release-seats", changing(hall, seats.Hall.Release, func(c seats.Release) string { return c.Conference })),
			command.Handle("sell-seats", changing(hall, seats.Hall.Sell, func(c seats.Sell) string { return c.Conference })),
			command.Handle("close-sale", changing(hall, seats.Hall.CloseSale, func(c seats.CloseSale) string { return c.Conference })),
		},
	}
}

// Payments is the module of the cash desk.
func Payments() ensue.Module {
	return ensue.Module{
		Name: "payments",
		Events: []event.Type{
			event.Named[payments.Requested]("payment-requested"),
			event.Named[payments.Received]("payment-received"),
			event.Named[payments.Declined]("payment-declined"),
			event.Named[payments.Withdrawn]("payment-withdrawn"),
			event.Named[payments.Refunded]("payment-refunded"),
		},
		Commands: []command.Handler{
			command.Handle("request-payment", changing(payment, payments.Payment.Request, func(c payments.Request) string { return c.Payment })),
			command.Handle("pay", changing(payment, payments.Payment.Pay, func(c payments.Pay) string { return c.Payment })),
			command.Handle("withdraw-payment", changing(payment, payments.Payment.Withdraw, func(c payments.Withdraw) string { return c.Payment })),
			command.Handle("refund-payment", changing(payment, payments.Payment.Refund, func(c payments.Refund) string { return c.Payment })),
		},
	}
}

// handling is a command's handler without a result.
type handling[C any] = func(context.Context, *aggregate.Work, C) (struct{}, error)

// changing makes a command's handler out of a method of the aggregate's state.
func changing[S, C any](t aggregate.Type[S, any], decide func(S, C) ([]any, error), id func(C) string) handling[C] {
	return func(ctx context.Context, w *aggregate.Work, c C) (struct{}, error) {
		return struct{}{}, refused(aggregate.Change(ctx, w, t, id(c), func(s S) ([]any, error) { return decide(s, c) }))
	}
}

// ordering is changing for an order, whose events say in a header which one they are about.
func ordering[C any](decide func(orders.Order, C) ([]any, error), id func(C) string) handling[C] {
	return changing(order, func(o orders.Order, c C) ([]any, error) {
		events, err := decide(o, c)
		for i, e := range events {
			events[i] = event.New(e).WithHeader(OrderHeader, id(c))
		}
		return events, err
	}, id)
}

// refused makes a domain's refusal the command's rejection: an outcome, which is not tried again.
func refused(err error) error {
	var refusal interface {
		error
		Code() string
	}
	if errors.As(err, &refusal) {
		return command.Reject(refusal.Code(), "%v", err)
	}
	return err
}
