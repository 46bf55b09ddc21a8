package main

import (
	"testing"

	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/process/processtest"
)

// The process alone, without a log or a store.

var (
	placed   = domain.OrderPlaced{OrderID: "7", Menus: twoMenus}
	customer = domain.CustomerConfirmed{OrderID: "7"}
	soup     = domain.CatererConfirmed{OrderID: "7", Menu: "soup", Caterer: "Noor"}
	tart     = domain.CatererConfirmed{OrderID: "7", Menu: "tart", Caterer: "Odile"}
)

func TestWaitsForTheAnswers(t *testing.T) {
	processtest.Given(CateringMatch).When(placed).Then(t, processtest.Timeout(patience, Unanswered{})).
		When(customer).Then(t).
		When(soup, soup).Then(t).
		When(tart).Then(t, ConfirmOrder{"7"}, processtest.Completed)
}

func TestCancelsAfterTwoDays(t *testing.T) {
	processtest.Given(CateringMatch, placed, customer, tart).When(processtest.Advance(patience)).
		Then(t, CancelOrder{"7", "no answer within 48 hours from Noor (soup)"}, processtest.Completed)
}

func TestCancelsWhenACatererDeclines(t *testing.T) {
	processtest.Given(CateringMatch, placed, customer).
		When(domain.CatererDeclined{OrderID: "7", Menu: "soup", Caterer: "Noor", Reason: "no leek"}).
		Then(t, CancelOrder{"7", "Noor declined the soup: no leek"}, processtest.Completed)
}

func TestAnotherCaterersAnswerCountsForNothing(t *testing.T) {
	stranger := domain.CatererConfirmed{OrderID: "7", Menu: "soup", Caterer: "Odile"}
	processtest.Given(CateringMatch, placed, customer, tart).When(stranger).Then(t).
		When(soup).Then(t, ConfirmOrder{"7"}, processtest.Completed)
}
