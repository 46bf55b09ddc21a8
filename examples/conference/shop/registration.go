package shop

import (
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/process"
)

// Registration is what the process remembers of an order on its way.
type Registration struct {
	Order, Conference, Buyer string
	Revision, Seats          int            // what the buyer wants now
	Payment                  string         // that the buyer is asked for, if any
	Withdrawing              []string       // payments that are not wanted any more, while nobody knows whether they were made
	Outcome                  orders.Outcome // once it is decided
	Reason                   string
}

// PaymentDue is the end of the time for a payment.
type PaymentDue struct{ Payment string }

// Registering is the process that takes an order through the three modules, one instance for each. A buyer has
// paymentTime for a payment.
func Registering(paymentTime time.Duration) process.Definition {
	return process.Define("registration",
		process.On[Registration, orders.Placed]{
			Starts: true,
			Locate: process.Key(func(e orders.Placed) string { return e.Order }),
			Evolve: func(_ Registration, in process.Input[orders.Placed]) Registration {
				e := in.Event
				return Registration{Order: e.Order, Conference: e.Conference, Buyer: e.Buyer, Revision: 1, Seats: e.Seats}
			},
			React: func(r Registration, _ process.Input[orders.Placed], do *process.Step) { do.Send(r.reserve()) },
		},
		process.On[Registration, orders.ChangeRequested]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e orders.ChangeRequested) string { return e.Order }),
			Evolve: func(r Registration, in process.Input[orders.ChangeRequested]) Registration {
				if r.decided() {
					return r
				}
				r.Revision, r.Seats = in.Event.Revision, in.Event.Seats
				return r.withdraw()
			},
			React: func(r Registration, _ process.Input[orders.ChangeRequested], do *process.Step) {
				if !r.decided() {
					do.Cancel(PaymentDue{})
					do.Send(r.reserve())
				}
			},
		},
		process.On[Registration, orders.CancelRequested]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e orders.CancelRequested) string { return e.Order }),
			Evolve: func(r Registration, _ process.Input[orders.CancelRequested]) Registration {
				return r.end(orders.Cancelled, "by the buyer")
			},
		},

		process.On[Registration, seats.Reserved]{
			NoInstance: process.Ignore,
			Locate:     process.Header[seats.Reserved](OrderHeader),
			Evolve: func(r Registration, in process.Input[seats.Reserved]) Registration {
				if r.wants(in.Event.Revision) {
					r.Payment = fmt.Sprintf("%s.%d", r.Order, r.Revision)
				}
				return r
			},
			React: func(r Registration, in process.Input[seats.Reserved], do *process.Step) {
				if r.wants(in.Event.Revision) {
					do.Send(payments.Request{Payment: r.Payment, Payer: r.Buyer, Purpose: fmt.Sprintf("%d × %s", r.Seats, r.Conference), Cents: r.cents()})
					do.After(paymentTime, PaymentDue{Payment: r.Payment})
				}
			},
		},
		process.OnRejected[Registration, seats.Reserve]{
			Evolve: func(r Registration, in process.Input[process.Rejected[seats.Reserve]]) Registration {
				if r.wants(in.Event.Command.Revision) {
					return r.end(orders.Rejected, in.Event.Rejection.Code)
				}
				return r
			},
		},
		process.On[Registration, seats.SaleClosed]{
			NoInstance: process.Ignore, // somebody else's reservation
			Locate:     process.Keys(func(e seats.SaleClosed) []string { return e.Reservations }),
			Evolve: func(r Registration, _ process.Input[seats.SaleClosed]) Registration {
				return r.end(orders.Rejected, string(seats.Closed))
			},
		},

		process.On[Registration, payments.Received]{
			NoInstance: process.Ignore,
			Locate:     process.Header[payments.Received](OrderHeader),
			Evolve: func(r Registration, in process.Input[payments.Received]) Registration {
				if r.Payment == in.Event.Payment && !r.decided() {
					r.Outcome = orders.Confirmed
				}
				return r
			},
		},
		process.On[Registration, payments.Declined]{
			NoInstance: process.Ignore,
			Locate:     process.Header[payments.Declined](OrderHeader),
			Evolve: func(r Registration, in process.Input[payments.Declined]) Registration {
				if r.Payment == in.Event.Payment && !r.decided() {
					r.Payment = ""
					return r.end(orders.Cancelled, "payment declined")
				}
				return r
			},
		},
		process.OnTimeout[Registration, PaymentDue]{
			Name: "payment-due",
			Evolve: func(r Registration, in process.Input[PaymentDue]) Registration {
				if r.Payment == in.Event.Payment {
					return r.end(orders.Expired, "not paid in time")
				}
				return r
			},
		},
		process.OnAccepted[Registration, payments.Withdraw, struct{}]{
			Evolve: func(r Registration, in process.Input[process.Accepted[payments.Withdraw, struct{}]]) Registration {
				return r.withdrawn(in.Event.Command.Payment)
			},
		},
		process.OnRejected[Registration, payments.Withdraw]{ // it was made before it could be withdrawn
			Evolve: func(r Registration, in process.Input[process.Rejected[payments.Withdraw]]) Registration {
				return r.withdrawn(in.Event.Command.Payment)
			},
			React: func(_ Registration, in process.Input[process.Rejected[payments.Withdraw]], do *process.Step) {
				do.Send(payments.Refund{Payment: in.Event.Command.Payment})
			},
		},

		process.React(Registration.ensue),
	).Otherwise(process.Ignore)
}

// ensue is the rule behind every input: what must be withdrawn, released and told once something is decided.
func (r Registration) ensue(do *process.Step) {
	for _, p := range r.Withdrawing {
		if do.Once("withdraw " + p) {
			do.Send(payments.Withdraw{Payment: p})
		}
	}
	if !r.decided() {
		return
	}
	if do.Once("end") {
		do.Cancel(PaymentDue{})
		if r.Outcome == orders.Confirmed {
			do.Emit(orders.OrderConfirmed{Order: r.Order, Conference: r.Conference, Buyer: r.Buyer, Revision: r.Revision, Seats: r.Seats, Payment: r.Payment, Cents: r.cents()})
		} else {
			do.Send(seats.Release{Conference: r.Conference, Reservation: r.Order})
			do.Send(orders.Close{Order: r.Order, Outcome: r.Outcome, Reason: r.Reason})
		}
	}
	if len(r.Withdrawing) == 0 {
		do.Complete()
	}
}

func (r Registration) decided() bool { return r.Outcome != "" }

// wants tells whether an answer is about the revision that the buyer wants, and not about one that was overtaken.
func (r Registration) wants(revision int) bool { return !r.decided() && r.Revision == revision }

func (r Registration) cents() int64 { return int64(r.Seats) * orders.Price }

func (r Registration) reserve() seats.Reserve {
	return seats.Reserve{Conference: r.Conference, Reservation: r.Order, Revision: r.Revision, Seats: r.Seats}
}

// end decides how an order ends that is not confirmed. The first decision stands.
func (r Registration) end(o orders.Outcome, reason string) Registration {
	if r.decided() {
		return r
	}
	r.Outcome, r.Reason = o, reason
	return r.withdraw()
}

// withdraw gives up the payment that the buyer is asked for.
func (r Registration) withdraw() Registration {
	if r.Payment != "" {
		r.Withdrawing = append(slices.Clone(r.Withdrawing), r.Payment)
		r.Payment = ""
	}
	return r
}

func (r Registration) withdrawn(payment string) Registration {
	r.Withdrawing = slices.DeleteFunc(slices.Clone(r.Withdrawing), func(p string) bool { return p == payment })
	return r
}
