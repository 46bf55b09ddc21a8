package shop

import (
	"fmt"

	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/process"
)

// Fulfilment needs to remember nothing.
type Fulfilment struct{}

// Fulfilling is the process that follows a confirmed order: the seats are sold, and the buyer is told. The order itself
// follows by a handler of its own module.
var Fulfilling = process.Define("fulfilment",
	process.On[Fulfilment, orders.OrderConfirmed]{
		Starts: true,
		Locate: process.Key(func(e orders.OrderConfirmed) string { return e.Order }),
		React: func(_ Fulfilment, in process.Input[orders.OrderConfirmed], do *process.Step) {
			e := in.Event
			do.Send(seats.Sell{Conference: e.Conference, Reservation: e.Order})
			do.Send(SendConfirmation{Order: e.Order, Buyer: e.Buyer, Conference: e.Conference, Seats: e.Seats, Cents: e.Cents})
		},
	},
	process.OnRejected[Fulfilment, seats.Sell]{ // the order was paid for, so this cannot be; if it is, a person must look at it
		Completed: process.Hold, // also where the mail was faster
		React: func(_ Fulfilment, in process.Input[process.Rejected[seats.Sell]], do *process.Step) {
			do.Fail(fmt.Errorf("seats that were paid for cannot be sold: %w", &in.Event.Rejection))
		},
	},
	process.OnAccepted[Fulfilment, SendConfirmation, struct{}]{
		React: func(_ Fulfilment, _ process.Input[process.Accepted[SendConfirmation, struct{}]], do *process.Step) {
			do.Complete()
		},
	},
).Otherwise(process.Ignore)
