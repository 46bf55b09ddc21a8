package domain

import (
	"fmt"
	"slices"
	"strings"
)

// Match is how far the answers to an order have come: what is still missing, and whether a caterer declined.
type Match struct {
	Customer bool   // has confirmed
	Missing  []Menu // their caterers have not confirmed
	Refusal  string // a caterer declined, and why; empty while nobody did
}

// Evolve returns the match after an event. An answer that comes twice changes nothing the second time, and neither does
// that of a caterer whose menu it is not.
func (m Match) Evolve(e Event) Match {
	switch e := e.(type) {
	case OrderPlaced:
		m.Missing = e.Menus
	case CustomerConfirmed:
		m.Customer = true
	case CatererConfirmed:
		m.Missing = slices.DeleteFunc(slices.Clone(m.Missing), func(menu Menu) bool { return menu == Menu{e.Menu, e.Caterer} })
	case CatererDeclined:
		if slices.Contains(m.Missing, Menu{e.Menu, e.Caterer}) {
			m.Refusal = fmt.Sprintf("%s declined the %s: %s", e.Caterer, e.Menu, e.Reason)
		}
	}
	return m
}

// Complete tells whether everybody has confirmed.
func (m Match) Complete() bool { return m.Customer && len(m.Missing) == 0 }

// Silent says whose answer is missing.
func (m Match) Silent() string {
	var who []string
	if !m.Customer {
		who = append(who, "the customer")
	}
	for _, menu := range m.Missing {
		who = append(who, fmt.Sprintf("%s (%s)", menu.Caterer, menu.Name))
	}
	return strings.Join(who, ", ")
}
