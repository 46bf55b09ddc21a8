package process_test

import (
	"fmt"
	"slices"

	"github.com/ensue-io/ensue/process"
)

// Parcels: announced and wished for at sales, handled at the depot.
type (
	parcelAnnounced struct { // sales
		ID string `json:"id"`
	}
	parcelWish struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
	parcelArrived struct { // depot
		ID string `json:"id"`
	}
	vanLeft struct {
		ID string `json:"id"`
	}
	parcelDelivered struct {
		ID string `json:"id"`
	}
)

// The phases of a parcel.
const (
	expected  process.Phase = "expected"
	inDepot   process.Phase = "in-depot"
	onTheRoad process.Phase = "on-the-road"
)

type parcelState struct {
	At     process.Phase `json:"at"`
	Wishes []string      `json:"wishes,omitempty"`
}

func (p parcelState) phase() process.Phase { return p.At }

func parcelAt[E any](phase process.Phase) func(parcelState, process.Input[E]) parcelState {
	return func(p parcelState, _ process.Input[E]) parcelState { p.At = phase; return p }
}

// parcel follows a parcel through its phases. Every choice is declared.
func parcel(s *story) process.Definition {
	return process.Define("parcel",
		process.Phases(parcelState.phase, expected, inDepot, onTheRoad),
		process.On[parcelState, parcelAnnounced]{
			Starts: true, Ignore: process.In(expected, inDepot, onTheRoad), Completed: process.Ignore,
			Locate: process.Key(func(e parcelAnnounced) string { return e.ID }),
			Evolve: parcelAt[parcelAnnounced](expected),
		},
		process.On[parcelState, parcelWish]{
			NoInstance: process.Defer, Defer: process.In(expected), In: process.In(inDepot), Ignore: process.In(onTheRoad), Completed: process.Ignore,
			Locate: process.Key(func(e parcelWish) string { return e.ID }),
			Evolve: func(p parcelState, in process.Input[parcelWish]) parcelState {
				s.trouble(in.Event.ID, "wish")
				p.Wishes = append(slices.Clip(p.Wishes), in.Event.Text)
				return p
			},
		},
		process.On[parcelState, parcelArrived]{
			NoInstance: process.Defer, In: process.In(expected), Hold: process.In(inDepot, onTheRoad), Completed: process.Ignore,
			Locate: process.Key(func(e parcelArrived) string { return e.ID }),
			Evolve: parcelAt[parcelArrived](inDepot),
			React: func(_ parcelState, _ process.Input[parcelArrived], do *process.Step) {
				do.Send(sendMail{do.Instance(), "it is here"})
			},
		},
		process.On[parcelState, vanLeft]{
			NoInstance: process.Defer, Defer: process.In(expected), In: process.In(inDepot), Hold: process.In(onTheRoad), Completed: process.Ignore,
			Locate: process.Key(func(e vanLeft) string { return e.ID }),
			Evolve: parcelAt[vanLeft](onTheRoad),
			React: func(p parcelState, _ process.Input[vanLeft], do *process.Step) {
				do.Send(sendMail{do.Instance(), fmt.Sprintf("it is coming; wishes kept: %d", len(p.Wishes))})
			},
		},
		process.On[parcelState, parcelDelivered]{
			NoInstance: process.Ignore, Hold: process.In(expected, inDepot), In: process.In(onTheRoad), Completed: process.Hold,
			Locate: process.Key(func(e parcelDelivered) string { return e.ID }),
			React:  func(_ parcelState, _ process.Input[parcelDelivered], do *process.Step) { do.Complete() },
		},
		process.React(func(parcelState, *process.Step) { s.decides() }),
	)
}

// forgetful says nothing of some pairs of a phase and an input.
var forgetful = process.Define("forgetful",
	process.Phases(parcelState.phase, expected, inDepot, onTheRoad),
	process.On[parcelState, parcelAnnounced]{
		Starts: true, Ignore: process.In(expected, inDepot),
		Locate: process.Key(func(e parcelAnnounced) string { return e.ID }),
		In:     process.In(onTheRoad),
	},
	process.On[parcelState, parcelArrived]{
		NoInstance: process.Defer, In: process.In(expected),
		Locate: process.Key(func(e parcelArrived) string { return e.ID }),
		Evolve: parcelAt[parcelArrived](inDepot),
	},
	process.On[parcelState, vanLeft]{
		NoInstance: process.Defer, Defer: process.In(expected), In: process.In(inDepot), Completed: process.Ignore,
		Locate: process.Key(func(e vanLeft) string { return e.ID }),
		Evolve: parcelAt[vanLeft](onTheRoad),
	},
)
