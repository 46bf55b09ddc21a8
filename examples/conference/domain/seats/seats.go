// Package seats is a box office: it reserves and sells seats of conferences. It has never heard of orders; whoever
// reserves seats gives the reservation a name.
package seats

import (
	"fmt"
	"maps"
	"slices"
)

// What happens at the box office.
type (
	SaleOpened struct {
		Conference string
		Capacity   int
	}
	// Reserved says that a reservation holds so many seats now, instead of those of its earlier revisions.
	Reserved struct {
		Conference, Reservation string
		Revision, Seats         int
	}
	Released struct {
		Conference, Reservation string
		Seats                   int
	}
	Sold struct {
		Conference, Reservation string
		Seats                   int
	}
	// SaleClosed says that nothing can be reserved any more, and which reservations are open.
	SaleClosed struct {
		Conference   string
		Reservations []string
	}
)

// What can be asked of it.
type (
	OpenSale struct {
		Conference string
		Capacity   int
	}
	// Reserve reserves seats, or other ones instead of those that the reservation holds.
	Reserve struct {
		Conference, Reservation string
		Revision, Seats         int
	}
	Release   struct{ Conference, Reservation string }
	Sell      struct{ Conference, Reservation string }
	CloseSale struct{ Conference string }
)

// Refusal is why the box office says no.
type Refusal string

const (
	NotOnSale   Refusal = "not-on-sale"
	SoldOut     Refusal = "sold-out"
	Closed      Refusal = "sale-closed"
	Overtaken   Refusal = "overtaken" // by a later revision
	AlreadySold Refusal = "sold"
	NotReserved Refusal = "not-reserved"
)

// Code is the refusal as programs know it.
func (r Refusal) Code() string { return string(r) }

func (r Refusal) Error() string { return fmt.Sprintf("seats: %s", string(r)) }

// Hall is the seats of one conference.
type Hall struct {
	Capacity     int // 0: not on sale
	Closed       bool
	Taken        int // reserved or sold
	Reservations map[string]Reservation
}

// Reservation is what somebody has of a hall.
type Reservation struct {
	Revision, Seats int
	Sold            bool
}

// Apply returns the hall after an event.
func (h Hall) Apply(e any) Hall {
	switch e := e.(type) {
	case SaleOpened:
		h.Capacity = e.Capacity
	case SaleClosed:
		h.Closed = true
	case Reserved:
		h = h.with(e.Reservation, Reservation{Revision: e.Revision, Seats: e.Seats})
	case Released:
		h = h.with(e.Reservation, Reservation{})
	case Sold:
		r := h.Reservations[e.Reservation]
		r.Sold = true
		h = h.with(e.Reservation, r)
	}
	return h
}

func (h Hall) with(name string, r Reservation) Hall {
	all := maps.Clone(h.Reservations)
	if all == nil {
		all = map[string]Reservation{}
	}
	h.Taken += r.Seats - all[name].Seats
	if all[name] = r; r.Seats == 0 {
		delete(all, name)
	}
	h.Reservations = all
	return h
}

func (h Hall) OpenSale(c OpenSale) ([]any, error) {
	if h.Capacity > 0 {
		return nil, nil
	}
	return []any{SaleOpened(c)}, nil
}

func (h Hall) Reserve(c Reserve) ([]any, error) {
	has := h.Reservations[c.Reservation]
	switch {
	case h.Capacity == 0:
		return nil, NotOnSale
	case h.Closed:
		return nil, Closed
	case has.Sold:
		return nil, AlreadySold
	case c.Revision <= has.Revision:
		return nil, Overtaken
	case h.Taken-has.Seats+c.Seats > h.Capacity:
		return nil, SoldOut
	}
	return []any{Reserved(c)}, nil
}

// Release gives back what a reservation holds, if anything.
func (h Hall) Release(c Release) ([]any, error) {
	has := h.Reservations[c.Reservation]
	switch {
	case has.Sold:
		return nil, AlreadySold
	case has.Seats == 0:
		return nil, nil
	}
	return []any{Released{Conference: c.Conference, Reservation: c.Reservation, Seats: has.Seats}}, nil
}

// Sell sells what a reservation holds, also after the sale was closed.
func (h Hall) Sell(c Sell) ([]any, error) {
	has := h.Reservations[c.Reservation]
	switch {
	case has.Sold:
		return nil, AlreadySold
	case has.Seats == 0:
		return nil, NotReserved
	}
	return []any{Sold{Conference: c.Conference, Reservation: c.Reservation, Seats: has.Seats}}, nil
}

func (h Hall) CloseSale(c CloseSale) ([]any, error) {
	if h.Closed {
		return nil, nil
	}
	e := SaleClosed{Conference: c.Conference}
	for name, r := range h.Reservations {
		if !r.Sold {
			e.Reservations = append(e.Reservations, name)
		}
	}
	slices.Sort(e.Reservations)
	return []any{e}, nil
}
