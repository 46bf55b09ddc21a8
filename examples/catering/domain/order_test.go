package domain

import (
	"errors"
	"testing"
)

func TestAnOrderIsSettledOnce(t *testing.T) {
	risotto := []Menu{{"risotto", "Bruno"}}
	placed := Order{}.Evolve(OrderPlaced{"7", risotto})
	confirmed := placed.Evolve(OrderConfirmed{"7"})
	cancelled := placed.Evolve(OrderCancelled{"7", "rain"})
	decisions := map[string]func(Order) ([]Event, error){
		"place":   func(o Order) ([]Event, error) { return o.Place("7", risotto) },
		"confirm": func(o Order) ([]Event, error) { return o.Confirm("7") },
		"cancel":  func(o Order) ([]Event, error) { return o.Cancel("7", "snow") },
	}
	for _, c := range []struct {
		name   string
		order  Order
		decide string
		events int
		refuse bool
	}{
		{"a new order", Order{}, "place", 1, false},
		{"a new order", Order{}, "confirm", 0, true},
		{"a new order", Order{}, "cancel", 0, true},
		{"a placed order", placed, "place", 0, true},
		{"a placed order", placed, "confirm", 1, false},
		{"a placed order", placed, "cancel", 1, false},
		{"a confirmed order", confirmed, "confirm", 0, false},
		{"a confirmed order", confirmed, "cancel", 0, true},
		{"a cancelled order", cancelled, "confirm", 0, true},
		{"a cancelled order", cancelled, "cancel", 0, false},
	} {
		events, err := decisions[c.decide](c.order)
		var settled *SettledError
		if len(events) != c.events || errors.As(err, &settled) != c.refuse || err != nil && !c.refuse {
			t.Errorf("%s, %s: %v, %v", c.decide, c.name, events, err)
		}
	}
}

func TestAnOrderHasMenusOfDifferentNames(t *testing.T) {
	for _, menus := range [][]Menu{nil, {{"soup", "Noor"}, {"soup", "Odile"}}} {
		if events, err := (Order{}).Place("7", menus); err == nil {
			t.Errorf("menus %v: %v", menus, events)
		}
	}
}
