// The conference example: a shop that sells seats of conferences, in three modules that don't know each other.
//
//	go run ./examples/conference
//	go run ./examples/conference -dir /tmp/conference
//	go run ./examples/conference -address postgres://user@host/database
//
// Five buyers place their orders, and each story ends in another way. What happened is printed from the modules' logs.
// The same shop with a thousand buyers is `go run ./cmd/ensue demo`.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/examples/conference/shop"
	"github.com/ensue-io/ensue/examples/internal/where"
)

func main() {
	logs := where.Add(flag.CommandLine, "new `folder` in which the logs are kept, a file for each module; without an address, they are in memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	address, err := logs.Address(os.Getenv)
	if err == nil {
		err = run(ctx, os.Stdout, cmp.Or(address, "memory:"), time.Second)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conference:", err)
		os.Exit(1)
	}
}

// A story is what a buyer does: at once, and when asked to pay.
type story struct {
	title, order string
	seats        int
	then         func(order string) any   // what follows on the order at once, if anything
	answer       func(payment string) any // to being asked to pay; nil for none
}

func pay(payment string) any { return payments.Pay{Payment: payment, Card: "visa"} }

var stories = []story{
	{title: "Ada pays", order: "ada", seats: 2, answer: pay},
	{title: "Bob never pays", order: "bob", seats: 1},
	{title: "Cem thinks better of it", order: "cem", seats: 3, then: func(order string) any { return orders.RequestChange{Order: order, Seats: 4} }, answer: pay},
	{title: "Dag has no cover", order: "dag", seats: 1, answer: func(payment string) any { return payments.Pay{Payment: payment, Card: payments.NoCover} }},
	{title: "Eva wants more than there is", order: "eva", seats: 20, answer: pay},
}

func run(ctx context.Context, out io.Writer, address string, payment time.Duration) (err error) {
	app, err := ensue.Open(ctx, address, shop.Parts(shop.Config{PaymentTime: payment, Mailer: &shop.Letters{}})...)
	if err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop(app.Run(running))
	}()
	defer func() {
		stop(nil)
		<-done
		err = errors.Join(err, app.Close())
	}()

	if _, err := ensue.Do[struct{}](running, app, seats.OpenSale{Conference: "saga", Capacity: 10}); err != nil {
		return err
	}
	for _, s := range stories {
		if err := s.begin(running, app); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	if err := untilClosed(running, app, len(stories)); err != nil {
		return errors.Join(err, context.Cause(running))
	}
	if err := app.WaitIdle(running); err != nil {
		return err
	}
	for _, s := range stories {
		if err := s.tell(running, out, app); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	audit, err := shop.TakeAudit(running, shop.LogsOf(app))
	if err != nil {
		return err
	}
	for _, c := range audit.Checks {
		fmt.Fprintf(out, "%s: %t\n", c.What, c.OK())
	}
	return nil
}

func (s story) begin(ctx context.Context, app *ensue.App) error {
	_, err := ensue.Do[struct{}](ctx, app, orders.Place{Order: s.order, Conference: "saga", Buyer: s.order, Seats: s.seats})
	if err == nil && s.then != nil {
		_, err = ensue.Do[struct{}](ctx, app, s.then(s.order))
	}
	if err == nil && s.answer != nil {
		go s.watch(ctx, app)
	}
	return err
}

// watch answers each request to pay.
func (s story) watch(ctx context.Context, app *ensue.App) {
	_ = follow(ctx, app.Module("payments"), func(rec event.Recorded, fact any) bool {
		e, ok := fact.(payments.Requested)
		if !ok || rec.Metadata.Header(shop.OrderHeader) != s.order {
			return true
		}
		// What came with the request goes back with the answer: so the payment finds its order.
		_, err := ensue.Do[struct{}](ctx, app, s.answer(e.Payment), command.WithMetadata(rec.Metadata.Carry(rec.ID, shop.Carried())))
		var rejected *command.Rejection
		return err == nil || errors.As(err, &rejected) // one that was withdrawn meanwhile cannot be paid
	})
}

func untilClosed(ctx context.Context, app *ensue.App, n int) error {
	return follow(ctx, app.Module("orders"), func(_ event.Recorded, fact any) bool {
		if _, ok := fact.(orders.Closed); ok {
			n--
		}
		return n > 0
	})
}

// follow reads a module's events from the first, and waits for more, as long as it is told to.
func follow(ctx context.Context, m *ensue.OpenModule, each func(event.Recorded, any) bool) error {
	for at := eventlog.Position(0); ; {
		head, err := m.Log().Head(ctx)
		if err != nil {
			return err
		}
		for rec, err := range m.Log().Read(ctx, eventlog.Query{After: at, To: head}) {
			if err != nil {
				return err
			}
			facts, err := m.Types().Decode(rec.Event)
			if err != nil {
				return err
			}
			for _, fact := range facts {
				if !each(rec, fact) {
					return nil
				}
			}
		}
		at = head
		if err := m.Log().Wait(ctx, at); err != nil {
			return err
		}
	}
}

// tell prints what happened to an order, in all modules.
func (s story) tell(ctx context.Context, out io.Writer, app *ensue.App) error {
	type line struct {
		event.Recorded
		module string
	}
	var lines []line
	for _, module := range []string{"orders", "seats", "payments"} {
		for rec, err := range app.Module(module).Log().Read(ctx, eventlog.Query{}) {
			if err != nil {
				return err
			}
			if rec.Metadata.Header(shop.OrderHeader) == s.order {
				lines = append(lines, line{rec, module})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(a.Recorded.Recorded.Compare(b.Recorded.Recorded), cmp.Compare(a.module, b.module))
	})
	fmt.Fprintf(out, "%s\n", s.title)
	for _, l := range lines {
		fmt.Fprintf(out, "  %-9s %-18s %s\n", l.module, l.Type, l.Data)
	}
	fmt.Fprintln(out)
	return nil
}
