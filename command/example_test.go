package command_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

type (
	BookTable   struct{ Table, Guest string }
	TableBooked struct{ Guest string }
	Booking     struct{ Number int }
)

var tables = aggregate.Define("table", func(guests []string, e TableBooked) []string { return append(guests, e.Guest) })

// bookTable is a command's handler: it decides, and changes aggregates in the work.
func bookTable(ctx context.Context, w *aggregate.Work, c BookTable) (b Booking, err error) {
	return b, aggregate.Change(ctx, w, tables, c.Table, func(guests []string) ([]TableBooked, error) {
		if len(guests) == 2 {
			return nil, command.Reject("full", "table %s is taken twice tonight", c.Table)
		}
		b.Number = len(guests) + 1
		return []TableBooked{{c.Guest}}, nil
	})
}

func restaurant(handlers ...command.Handler) *command.Bus {
	types, err := event.NewRegistry(event.Named[TableBooked]("table-booked"))
	if err != nil {
		panic(err)
	}
	bus, err := command.NewBus(command.Config{
		Module:   &aggregate.Module{Name: "restaurant", Log: memlog.New(), Types: types},
		Handlers: append(handlers, command.Handle("book-table", bookTable)),
	})
	if err != nil {
		panic(err)
	}
	return bus
}

func ExampleDo() {
	ctx, bus := context.Background(), restaurant()
	for _, guest := range []string{"Ada", "Bob", "Cem"} {
		booking, err := command.Do[Booking](ctx, bus, BookTable{"7", guest})
		fmt.Println(booking.Number, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 0 rejected: full: table 7 is taken twice tonight
}

// Asking again under the same id is answered from the receipt. So a client that got no answer asks again.
func ExampleWithID() {
	ctx, bus := context.Background(), restaurant()
	id := event.DeriveID("idempotency-key", "4711")
	for range 3 {
		booking, err := command.Do[Booking](ctx, bus, BookTable{"7", "Ada"}, command.WithID(id))
		fmt.Println(booking.Number, err)
	}
	_, err := command.Do[Booking](ctx, bus, BookTable{"7", "Bob"}, command.WithID(id))
	var digest *command.DigestError
	fmt.Println(errors.As(err, &digest))
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 1 <nil>
	// true
}

// Dispatch is Do for those who have an envelope: it returns the outcome, and an error only where there is none.
func ExampleBus_Dispatch() {
	ctx, bus := context.Background(), restaurant()
	for _, guest := range []string{"Ada", "Bob", "Cem"} {
		e, err := bus.Encode(BookTable{"7", guest})
		if err != nil {
			panic(err)
		}
		e.ID = event.DeriveID("guest", guest)
		for range 2 {
			out, err := bus.Dispatch(ctx, e, command.Hint{})
			fmt.Printf("%s %s%v %v %v\n", out.Status, out.Result, out.Rejection, out.Repeat, err)
		}
	}
	// Output:
	// accepted {"Number":1}<nil> false <nil>
	// accepted {"Number":1}<nil> true <nil>
	// accepted {"Number":2}<nil> false <nil>
	// accepted {"Number":2}<nil> true <nil>
	// rejected rejected: full: table 7 is taken twice tonight false <nil>
	// rejected rejected: full: table 7 is taken twice tonight true <nil>
}

func ExampleReject() {
	err := fmt.Errorf("book: %w", command.Reject("full", "%d guests are there", 2).With("table", "7"))
	var rejection *command.Rejection
	fmt.Println(errors.As(err, &rejection), rejection.Code, rejection.Reason, rejection.Details["table"])
	// Output: true full 2 guests are there 7
}

// SendReminder is a command that acts outside: its handler is given the id, to be handed on as the idempotency key.
type SendReminder struct{ Guest string }

func ExampleAct() {
	bus := restaurant(command.Act("send-reminder", func(_ context.Context, id command.ID, c SendReminder) (string, error) {
		return "sent to " + c.Guest + " under " + id.String(), nil
	}))
	answer, err := command.Do[string](context.Background(), bus, SendReminder{"Ada"}, command.WithID(event.DeriveID("reminder", "1")))
	fmt.Println(answer, err)
	// Output: sent to Ada under 44bab06a-a2e9-5f86-9919-8f9d172f6337 <nil>
}

// A command that is submitted stands in the log, and is handled by whoever runs the queue, also after a restart.
func ExampleBus_Submit() {
	ctx, stop := context.WithCancel(context.Background())
	bus := restaurant()
	id, err := bus.Submit(ctx, BookTable{"7", "Ada"})
	if err != nil {
		panic(err)
	}
	status, err := bus.Status(ctx, id)
	fmt.Println(status.Status, err)

	log := bus.Module().Log
	head, err := log.Head(ctx)
	if err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() { ended <- bus.Run(ctx) }()
	if err := log.Wait(ctx, head); err != nil { // until the table is booked
		panic(err)
	}
	status, err = bus.Status(ctx, id)
	fmt.Printf("%s %s %v\n", status.Status, status.Result, err)
	stop()
	fmt.Println(<-ended)
	// Output:
	// queued <nil>
	// accepted {"Number":1} <nil>
	// <nil>
}

// What was given up cannot take effect any more, not even by an attempt that is still under way.
func ExampleBus_Fail() {
	ctx, bus := context.Background(), restaurant()
	e, err := bus.Encode(BookTable{"7", "Ada"})
	if err != nil {
		panic(err)
	}
	e.ID = event.DeriveID("guest", "Ada")
	if _, err := bus.Fail(ctx, e, "nobody answered"); err != nil {
		panic(err)
	}
	out, err := bus.Dispatch(ctx, e, command.Hint{})
	fmt.Println(out.Status, out.Reason, err)
	// Output: failed nobody answered <nil>
}
