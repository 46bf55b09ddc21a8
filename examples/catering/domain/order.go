// Package domain has the rules of catering: what can happen to an order, what may be done to it, and what follows from
// the answers of its customer and its caterers. It knows nothing of logs, commands or processes.
package domain

import (
	"errors"
	"fmt"
)

// Event is something that happened to an order.
type Event interface{ event() }

// Menu is one course of an order. Each has a caterer of its own.
type Menu struct {
	Name    string
	Caterer string
}

// What can happen to an order. The answers are facts: nobody in this program can refuse them.
type (
	OrderPlaced struct {
		OrderID string
		Menus   []Menu
	}
	CustomerConfirmed struct{ OrderID string }
	CatererConfirmed  struct{ OrderID, Menu, Caterer string }
	CatererDeclined   struct{ OrderID, Menu, Caterer, Reason string }
	OrderConfirmed    struct{ OrderID string }
	OrderCancelled    struct{ OrderID, Reason string }
)

func (OrderPlaced) event()       {}
func (CustomerConfirmed) event() {}
func (CatererConfirmed) event()  {}
func (CatererDeclined) event()   {}
func (OrderConfirmed) event()    {}
func (OrderCancelled) event()    {}

// Status is where an order is in its life.
type Status string

// The life of an order.
const (
	Unknown   Status = ""
	Placed    Status = "placed"
	Confirmed Status = "confirmed"
	Cancelled Status = "cancelled"
)

// Order is what its own events make of an order.
type Order struct {
	Status Status
	Menus  []Menu
	Reason string // why it was cancelled
}

// Evolve returns the order after an event.
func (o Order) Evolve(e Event) Order {
	switch e := e.(type) {
	case OrderPlaced:
		o.Status, o.Menus = Placed, e.Menus
	case OrderConfirmed:
		o.Status = Confirmed
	case OrderCancelled:
		o.Status, o.Reason = Cancelled, e.Reason
	}
	return o
}

// Place decides on a new order.
func (o Order) Place(id string, menus []Menu) ([]Event, error) {
	if o.Status != Unknown {
		return nil, &SettledError{Order: id, Status: o.Status}
	}
	if len(menus) == 0 {
		return nil, errors.New("an order needs a menu")
	}
	seen := map[string]bool{}
	for _, m := range menus {
		if seen[m.Name] {
			return nil, fmt.Errorf("the order has the %s twice", m.Name)
		}
		seen[m.Name] = true
	}
	return []Event{OrderPlaced{OrderID: id, Menus: menus}}, nil
}

// Confirm decides on the confirmation of an order. Confirming again changes nothing.
func (o Order) Confirm(id string) ([]Event, error) {
	switch o.Status {
	case Placed:
		return []Event{OrderConfirmed{OrderID: id}}, nil
	case Confirmed:
		return nil, nil
	default:
		return nil, &SettledError{Order: id, Status: o.Status}
	}
}

// Cancel decides on the cancellation of an order. Cancelling again changes nothing, and the first reason stays.
func (o Order) Cancel(id, reason string) ([]Event, error) {
	switch o.Status {
	case Placed:
		return []Event{OrderCancelled{OrderID: id, Reason: reason}}, nil
	case Cancelled:
		return nil, nil
	default:
		return nil, &SettledError{Order: id, Status: o.Status}
	}
}

// SettledError means that an order is not in a status in which it can be changed like that.
type SettledError struct {
	Order  string
	Status Status
}

func (e *SettledError) Error() string {
	if e.Status == Unknown {
		return fmt.Sprintf("order %s was never placed", e.Order)
	}
	return fmt.Sprintf("order %s is %s already", e.Order, e.Status)
}
