// Package orders is what a shop knows of an order: what its buyer asks for, and how it ended.
package orders

import "fmt"

// Price is what one seat costs, in cents.
const Price = 9900

// What happens to an order.
type (
	// Placed is the first that is heard of an order. It counts as its revision 1.
	Placed struct {
		Order, Conference, Buyer string
		Seats                    int
	}
	// ChangeRequested says that the buyer wants another number of seats: the order's next revision.
	ChangeRequested struct {
		Order           string
		Revision, Seats int
	}
	// CancelRequested says that the buyer does not want the order any more.
	CancelRequested struct{ Order string }
	// OrderConfirmed says, with all the details, that seats are reserved and paid for. Everything else follows from it.
	OrderConfirmed struct {
		Order, Conference, Buyer string
		Revision, Seats          int
		Payment                  string
		Cents                    int64
	}
	// Closed is how the order ended.
	Closed struct {
		Order   string
		Outcome Outcome
		Reason  string
		Seats   int // that the buyer got
	}
)

// What can be asked of an order.
type (
	Place struct {
		Order, Conference, Buyer string
		Seats                    int
	}
	RequestChange struct {
		Order string
		Seats int
	}
	RequestCancel struct{ Order string }
	// Close ends an order without seats.
	Close struct {
		Order   string
		Outcome Outcome
		Reason  string
	}
)

// Outcome is how an order ends. Each ends in exactly one.
type Outcome string

const (
	Confirmed Outcome = "confirmed" // paid for, and the seats are the buyer's
	Rejected  Outcome = "rejected"  // there were no seats
	Expired   Outcome = "expired"   // not paid in time
	Cancelled Outcome = "cancelled" // by the buyer, or by a payment that was declined
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Confirmed, Rejected, Expired, Cancelled} }

// Refusal is why an order cannot do what was asked.
type Refusal string

const (
	Unknown    Refusal = "unknown-order"
	Known      Refusal = "order-exists"
	Empty      Refusal = "no-seats"
	IsClosed   Refusal = "closed"
	Cancelling Refusal = "cancel-requested"
)

// Code is the refusal as programs know it.
func (r Refusal) Code() string { return string(r) }

func (r Refusal) Error() string { return fmt.Sprintf("orders: %s", string(r)) }

// Order is an order as its events tell it.
type Order struct {
	Revision   int // 0: there is no such order
	Seats      int // that the buyer wants
	Cancelling bool
	Outcome    Outcome // once it has ended
}

// Apply returns the order after an event.
func (o Order) Apply(e any) Order {
	switch e := e.(type) {
	case Placed:
		o.Revision, o.Seats = 1, e.Seats
	case ChangeRequested:
		o.Revision, o.Seats = e.Revision, e.Seats
	case CancelRequested:
		o.Cancelling = true
	case Closed:
		o.Outcome, o.Seats = e.Outcome, e.Seats
	}
	return o
}

func (o Order) Place(c Place) ([]any, error) {
	switch {
	case o.Revision > 0:
		return nil, Known
	case c.Seats < 1:
		return nil, Empty
	}
	return []any{Placed(c)}, nil
}

// RequestChange takes note of what the buyer wants now. Whether it comes in time is not the order's to say.
func (o Order) RequestChange(c RequestChange) ([]any, error) {
	if err := o.open(); err != nil {
		return nil, err
	}
	if c.Seats < 1 {
		return nil, Empty
	}
	return []any{ChangeRequested{Order: c.Order, Revision: o.Revision + 1, Seats: c.Seats}}, nil
}

func (o Order) RequestCancel(c RequestCancel) ([]any, error) {
	if err := o.open(); err != nil {
		return nil, err
	}
	return []any{CancelRequested(c)}, nil
}

func (o Order) open() error {
	switch {
	case o.Revision == 0:
		return Unknown
	case o.Outcome != "":
		return IsClosed
	case o.Cancelling:
		return Cancelling
	}
	return nil
}

func (o Order) Close(c Close) ([]any, error) {
	switch {
	case o.Revision == 0:
		return nil, Unknown
	case o.Outcome != "":
		return nil, IsClosed
	}
	return []any{Closed{Order: c.Order, Outcome: c.Outcome, Reason: c.Reason}}, nil
}

// Confirm closes the order as it was confirmed; what the buyer asked for later came too late.
func (o Order) Confirm(e OrderConfirmed) ([]any, error) {
	if o.Outcome != "" {
		return nil, IsClosed
	}
	return []any{Closed{Order: e.Order, Outcome: Confirmed, Seats: e.Seats}}, nil
}
