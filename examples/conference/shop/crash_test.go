package shop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/examples/conference/shop"
	"github.com/ensue-io/ensue/internal/crashes"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process/processtest"
)

// A shop crashes before and after everything that it does, in an afternoon in which one order is paid, one changed, one
// declined, one not paid, one cancelled, one for too many seats, and one for a sale that is closed.
func TestG6_G7_G8_G9_G11_CrashEverywhere(t *testing.T) {
	crashes.Everywhere(t, processtest.Story{Run: afternoon}, crashes.Samples{Memory: 400, SQLite: 120, Postgres: 12}, pgtest.Database)
}

func afternoon(ctx context.Context, p *processtest.Program) error {
	app, err := ensue.Open(ctx, "", shop.Parts(shop.Config{Mailer: &shop.Letters{}, Options: ensue.Options{Logs: p.Logs, Commands: p.Commands,
		Worker: p.Worker, Lease: p.Lease, Now: p.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}})...)
	if err != nil {
		return err
	}
	p.Engine(app.Process("registration"))
	p.Engine(app.Process("fulfilment"))
	return p.While(ctx, app.Run, func(ctx context.Context) error {
		n := 0
		do := func(order string, cmd any) error { // and what ensues
			n++
			_, err := ensue.Do[struct{}](ctx, app, cmd, command.WithID(event.DeriveID("afternoon", fmt.Sprint(n))), by(order))
			var rejection *command.Rejection
			if err != nil && !errors.As(err, &rejection) {
				return err
			}
			return app.WaitIdle(ctx)
		}
		place := func(order string, n int) error {
			return do(order, orders.Place{Order: order, Conference: "saga", Buyer: "Ada", Seats: n})
		}
		for _, happens := range []func() error{
			func() error { return do("", seats.OpenSale{Conference: "saga", Capacity: 10}) },
			func() error { return place("paid", 3) },
			func() error { return do("paid", payments.Pay{Payment: "paid.1", Card: "visa"}) },
			func() error { return place("changed", 2) },
			func() error { return do("changed", orders.RequestChange{Order: "changed", Seats: 1}) },
			func() error { return do("changed", payments.Pay{Payment: "changed.2", Card: "visa"}) },
			func() error { return place("declined", 2) },
			func() error { return do("declined", payments.Pay{Payment: "declined.1", Card: payments.NoCover}) },
			func() error { return place("cancelled", 1) },
			func() error { return do("cancelled", orders.RequestCancel{Order: "cancelled"}) },
			func() error { return place("too-many", 11) },
			func() error { return place("not-paid", 2) },
			func() error { return p.Until(ctx, time.Hour) },
			func() error { return app.WaitIdle(ctx) },
			func() error { return do("not-paid", payments.Pay{Payment: "not-paid.1", Card: "visa"}) },
			func() error { return place("closed", 2) },
			func() error { return do("", seats.CloseSale{Conference: "saga"}) },
		} {
			if err := happens(); err != nil {
				return err
			}
		}
		return nil
	})
}
