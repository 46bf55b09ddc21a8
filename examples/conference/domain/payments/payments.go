// Package payments is a cash desk: it asks for payments and takes them. It has never heard of orders.
package payments

import "fmt"

// What happens at the cash desk.
type (
	Requested struct {
		Payment, Payer, Purpose string
		Cents                   int64
	}
	Received struct {
		Payment string
		Cents   int64
	}
	Declined struct{ Payment, Reason string }
	// Withdrawn says that the payment is not wanted any more, and cannot be made.
	Withdrawn struct{ Payment string }
	Refunded  struct {
		Payment string
		Cents   int64
	}
)

// What can be asked of it.
type (
	Request struct {
		Payment, Payer, Purpose string
		Cents                   int64
	}
	// Pay is the payer's doing. A card without cover is declined.
	Pay      struct{ Payment, Card string }
	Withdraw struct{ Payment string }
	Refund   struct{ Payment string }
)

// NoCover is a card that is always declined.
const NoCover = "no-cover"

// Status is where a payment is in its life.
type Status string

const (
	Open       Status = "open"
	Paid       Status = "paid"
	Refused    Status = "declined"
	Withdrew   Status = "withdrawn"
	Reimbursed Status = "refunded"
)

// Refusal is why the cash desk says no.
type Refusal string

const (
	Unknown Refusal = "unknown-payment"
	Known   Refusal = "payment-exists"
	IsPaid  Refusal = "already-paid"
	NotPaid Refusal = "not-paid"
	IsOver  Refusal = "not-payable" // declined, withdrawn or refunded
)

// Code is the refusal as programs know it.
func (r Refusal) Code() string { return string(r) }

func (r Refusal) Error() string { return fmt.Sprintf("payments: %s", string(r)) }

// Payment is one payment.
type Payment struct {
	Status Status // "": never asked for
	Cents  int64
}

// Apply returns the payment after an event.
func (p Payment) Apply(e any) Payment {
	switch e := e.(type) {
	case Requested:
		p.Status, p.Cents = Open, e.Cents
	case Received:
		p.Status = Paid
	case Declined:
		p.Status = Refused
	case Withdrawn:
		p.Status = Withdrew
	case Refunded:
		p.Status = Reimbursed
	}
	return p
}

func (p Payment) Request(c Request) ([]any, error) {
	if p.Status != "" {
		return nil, Known
	}
	return []any{Requested(c)}, nil
}

func (p Payment) Pay(c Pay) ([]any, error) {
	switch {
	case p.Status == "":
		return nil, Unknown
	case p.Status == Paid:
		return nil, IsPaid
	case p.Status != Open:
		return nil, IsOver
	case c.Card == NoCover:
		return []any{Declined{Payment: c.Payment, Reason: c.Card}}, nil
	}
	return []any{Received{Payment: c.Payment, Cents: p.Cents}}, nil
}

// Withdraw makes sure that the payment is never received. It is refused if it was.
func (p Payment) Withdraw(c Withdraw) ([]any, error) {
	switch p.Status {
	case "":
		return nil, Unknown
	case Paid:
		return nil, IsPaid
	case Open:
		return []any{Withdrawn(c)}, nil
	}
	return nil, nil
}

func (p Payment) Refund(c Refund) ([]any, error) {
	if p.Status != Paid {
		return nil, NotPaid
	}
	return []any{Refunded{Payment: c.Payment, Cents: p.Cents}}, nil
}
