package main

import (
	"testing"

	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/process/processtest"
)

// Whatever comes, in whatever order: every order comes to an end, and every command has a handler.
func TestNothingIsWrongWithTheMatch(t *testing.T) {
	processtest.Explore(t, CateringMatch, processtest.Exploration{Commands: catering().Commands},
		placed, customer, customer, soup, tart,
		domain.CatererConfirmed{OrderID: "7", Menu: "soup", Caterer: "Odile"},
		domain.CatererDeclined{OrderID: "7", Menu: "tart", Caterer: "Odile", Reason: "no eggs"},
		domain.CatererDeclined{OrderID: "7", Menu: "soup", Caterer: "Odile", Reason: "a stranger"})
}
