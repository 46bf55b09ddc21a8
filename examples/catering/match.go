package main

import (
	"time"

	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/process"
)

// patience is how long an order waits for the answers.
const patience = 48 * time.Hour

// Unanswered is the timeout of an order that somebody did not answer.
type Unanswered struct{}

// CateringMatch confirms an order once the customer and the caterer of each menu have confirmed, in whichever order, and
// cancels it when a caterer declines or an answer does not come in time.
//
// The definition says nothing of where its state is kept: see stores.
var CateringMatch = process.Define("catering-match",
	process.On[domain.Match, domain.OrderPlaced]{
		Starts: true,
		Locate: process.Key(func(e domain.OrderPlaced) string { return e.OrderID }),
		Evolve: evolve[domain.OrderPlaced],
		React: func(_ domain.Match, _ process.Input[domain.OrderPlaced], do *process.Step) {
			do.After(patience, Unanswered{})
		},
	},
	// The answers stand behind the order in its stream. One to an order that was never placed is of no interest.
	process.On[domain.Match, domain.CustomerConfirmed]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e domain.CustomerConfirmed) string { return e.OrderID }),
		Evolve:     evolve[domain.CustomerConfirmed],
	},
	process.On[domain.Match, domain.CatererConfirmed]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e domain.CatererConfirmed) string { return e.OrderID }),
		Evolve:     evolve[domain.CatererConfirmed],
	},
	process.On[domain.Match, domain.CatererDeclined]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e domain.CatererDeclined) string { return e.OrderID }),
		Evolve:     evolve[domain.CatererDeclined],
	},
	process.OnTimeout[domain.Match, Unanswered]{
		Name: "unanswered",
		React: func(m domain.Match, _ process.Input[Unanswered], do *process.Step) {
			do.Send(CancelOrder{OrderID: do.Instance(), Reason: "no answer within 48 hours from " + m.Silent()})
			do.Complete()
		},
	},
	process.React(func(m domain.Match, do *process.Step) {
		switch {
		case m.Refusal != "":
			do.Send(CancelOrder{OrderID: do.Instance(), Reason: m.Refusal})
			do.Complete()
		case m.Complete():
			do.Send(ConfirmOrder{OrderID: do.Instance()})
			do.Complete()
		}
	}),
).Otherwise(process.Ignore)

// evolve hands an event to the domain.
func evolve[E domain.Event](m domain.Match, in process.Input[E]) domain.Match {
	return m.Evolve(in.Event)
}
