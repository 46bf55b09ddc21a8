package process_test

import (
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// The application of the transcripts has modules sales, payments, stock, depot, travel, catering and mail, each with its events and commands;
// they stand with the process that they were made for. All payloads are JSON with an id.

// samples are the processes of the transcripts, by name, each made for the story that it is part of.
var samples = map[string]struct {
	home   string
	define func(s *story) process.Definition
}{
	"order-saga":      {"sales", orderSaga},
	"catering-match":  {"catering", cateringMatch},
	"menu-watch":      {"catering", menuWatch},
	"loyalty":         {"sales", loyalty},
	"reminders":       {"catering", reminders},
	"parcel":          {"sales", parcel},
	"express":         {"sales", func(s *story) process.Definition { return express(s, "express") }},
	"careful-express": {"sales", func(s *story) process.Definition { return express(s, "careful-express", carefully) }},
	"trip":            {"sales", trip},
	"billing":         {"sales", billing},

	"rental":           {"sales", rentalOne},
	"rental-pinning":   {"sales", rentalPinning},
	"rental-migrating": {"sales", rentalMigrating},
	"hire":             {"sales", hire},
}

// modulesOfStories are the application's modules, in their order, with the events of each.
func modulesOfStories() (names []string, types map[string]*event.Registry) {
	types = map[string]*event.Registry{
		"sales": must(event.NewRegistry(event.Named[saleOrdered]("order-placed"), event.Named[saleNoted]("order-noted"), event.Named[saleCancelled]("order-cancelled"),
			event.Named[saleConfirmed]("order-confirmed"), event.Named[saleClosed]("order-closed"), event.Named[saleRemark]("order-remark"), event.Named[pointsEarned]("points-earned"),
			event.Named[parcelAnnounced]("parcel-announced"), event.Named[parcelWish]("parcel-wish"), event.Named[tripWanted]("trip-wanted"), event.Named[tripNoted]("trip-noted"), event.Named[tripCalledOff]("trip-called-off"),
			event.Named[invoiceSent]("invoice-sent"), event.Named[invoiceWithdrawn]("invoice-withdrawn"))),
		"payments": must(event.NewRegistry(event.Named[moneyPaid]("paid"), event.Named[invoicePaid]("invoice-paid"), event.Named[invoiceAsked]("invoice-asked"))),
		"stock":    must(event.NewRegistry(event.Named[stockChanged]("stock-changed"))),
		"depot":    must(event.NewRegistry(event.Named[parcelArrived]("parcel-arrived"), event.Named[vanLeft]("van-left"), event.Named[parcelDelivered]("parcel-delivered"))),
		"travel":   must(event.NewRegistry(event.Named[partChanged]("part-changed"))),
		"catering": must(event.NewRegistry(event.Named[customerAgreed]("customer-agreed"), event.Named[catererAgreed]("caterer-agreed"), event.Named[guestInvited]("guest-invited"),
			event.Named[guestLeft]("guest-left"), event.Named[menuChanged]("menu-changed"), event.Named[saleRemark]("remark"), event.Named[meetingSet]("meeting-set"), event.Named[meetingOff]("meeting-off"))),
		"mail": must(event.NewRegistry(event.Named[mailSent]("mail-sent"))),
	}
	return []string{"sales", "payments", "stock", "depot", "travel", "catering", "mail"}, types
}

// careless are definitions with mistakes, which Check finds all at once.
var careless = map[string]process.Definition{
	"forgetful": forgetful,
	"hasty": process.Define("hasty order",
		process.On[sagaState, saleOrdered]{Locate: process.Key(func(e saleOrdered) string { return e.ID })},
		process.On[sagaState, moneyPaid]{NoInstance: process.Defer, Evolve: func(st sagaState, _ process.Input[moneyPaid]) sagaState { return st }},
		process.On[sagaState, moneyPaid]{NoInstance: process.Defer, Locate: process.Key(func(e moneyPaid) string { return e.ID }),
			Evolve: func(st sagaState, _ process.Input[moneyPaid]) sagaState { return st }},
		process.OnTimeout[sagaState, payDue]{Evolve: func(st sagaState, _ process.Input[payDue]) sagaState { return st }},
	),
}
