package process_test

import (
	"github.com/ensue-io/ensue/process"
)

type pointsEarned struct {
	ID     string `json:"id"`
	Points int    `json:"points"`
}

type loyalState struct {
	Points int `json:"points"`
}

// loyalty emits points for each order of a customer, takes them as inputs, and sends one gift at ten.
func loyalty(*story) process.Definition {
	return process.Define("loyalty",
		process.On[loyalState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			React: func(_ loyalState, in process.Input[saleOrdered], do *process.Step) {
				do.Emit(pointsEarned{in.Event.ID, in.Event.Qty})
			},
		},
		process.On[loyalState, pointsEarned]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e pointsEarned) string { return e.ID }),
			Evolve: func(l loyalState, in process.Input[pointsEarned]) loyalState {
				l.Points += in.Event.Points
				return l
			},
		},
		process.React(func(l loyalState, do *process.Step) {
			if l.Points >= 10 && do.Once("gift") {
				do.Send(sendMail{do.Instance(), "a gift for you"})
			}
		}),
	).Otherwise(process.Ignore)
}
