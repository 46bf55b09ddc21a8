package shop_test

import (
	"slices"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/examples/conference/shop"
	"github.com/ensue-io/ensue/process/processtest"
)

// of says which order something is about, as the carried header does.
func of(fact any) event.Draft { return processtest.WithHeader(shop.OrderHeader, "1", fact) }

// handlers are those of all modules.
func handlers() []command.Handler {
	return slices.Concat(shop.Orders(shop.Config{}).Commands, shop.Seats().Commands, shop.Payments().Commands)
}

// An order comes to an end, whatever happens to it: it is changed once, cancelled, paid, paid too late, or declined.
func TestNothingIsWrongWithTheRegistration(t *testing.T) {
	processtest.Explore(t, shop.Registering(quarter), processtest.Exploration{Commands: handlers()},
		orders.Placed{Order: "1", Conference: "go", Buyer: "Noor", Seats: 2},
		orders.ChangeRequested{Order: "1", Revision: 2, Seats: 3},
		orders.CancelRequested{Order: "1"},
		of(seats.Reserved{Conference: "go", Reservation: "1", Revision: 1, Seats: 2}),
		of(seats.Reserved{Conference: "go", Reservation: "1", Revision: 2, Seats: 3}),
		seats.SaleClosed{Conference: "go", Reservations: []string{"1"}},
		of(payments.Received{Payment: "1.1"}),
		of(payments.Received{Payment: "1.2"}),
		of(payments.Declined{Payment: "1.1"}))
}

// A person has to look at seats that were paid for and cannot be sold, so that step is meant to fail.
func TestNothingIsWrongWithTheFulfilment(t *testing.T) {
	processtest.Explore(t, shop.Fulfilling, processtest.Exploration{Commands: handlers(), MayFail: []string{"seats that were paid for cannot be sold"}},
		orders.OrderConfirmed{Order: "1", Conference: "go", Buyer: "Noor", Revision: 1, Seats: 2, Payment: "1.1"})
}

func TestASaleThatIsRefusedBehindTheMailIsLookedAtToo(t *testing.T) {
	confirmed := orders.OrderConfirmed{Order: "1", Conference: "go", Buyer: "Noor", Revision: 1, Seats: 2, Payment: "1.1"}
	processtest.Given(shop.Fulfilling, confirmed,
		processtest.Accept(shop.SendConfirmation{Order: "1", Buyer: "Noor", Conference: "go", Seats: 2}, nil)).
		When(processtest.Reject(seats.Sell{Conference: "go", Reservation: "1"}, string(seats.Closed))).
		Then(t, processtest.Fails("it must not come in phase \"completed\""))
}
