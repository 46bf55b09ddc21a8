package process_test

import (
	"slices"
	"time"

	"github.com/ensue-io/ensue/process"
)

// Trips: wanted at sales, and booked part by part at travel.
type (
	tripWanted struct { // sales
		ID    string   `json:"id"`
		Parts []string `json:"parts"`
	}
	tripNoted struct {
		ID string `json:"id"`
	}
	tripCalledOff struct {
		ID string `json:"id"`
	}
	partChanged struct { // travel
		ID   string `json:"id"`
		What string `json:"what"`
	}

	bookPart struct {
		ID   string `json:"id"`
		What string `json:"what"`
	}
	unbookPart struct {
		ID   string `json:"id"`
		What string `json:"what"`
	}
)

type tripState struct {
	Booked []string `json:"booked,omitempty"`
	Notes  int      `json:"notes,omitempty"`
}

type tripBegins struct{}

// trip books the parts of a trip, each with what undoes it, and gives the trip up when a part cannot be had or when it is
// called off.
func trip(s *story) process.Definition {
	return process.Define("trip",
		process.On[tripState, tripWanted]{
			Starts: true,
			Locate: process.Key(func(e tripWanted) string { return e.ID }),
			React: func(_ tripState, in process.Input[tripWanted], do *process.Step) {
				s.decides()
				for _, part := range in.Event.Parts {
					do.Send(bookPart{in.Event.ID, part}, process.OnUndo(unbookPart{in.Event.ID, part}))
				}
				do.After(48*time.Hour, tripBegins{})
			},
		},
		process.On[tripState, tripNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e tripNoted) string { return e.ID }),
			Evolve: func(t tripState, in process.Input[tripNoted]) tripState {
				s.trouble(in.Event.ID, "trip-noted")
				t.Notes++
				return t
			},
		},
		process.On[tripState, tripCalledOff]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e tripCalledOff) string { return e.ID }),
			React:      func(_ tripState, _ process.Input[tripCalledOff], do *process.Step) { do.Compensate() },
		},
		process.OnAccepted[tripState, bookPart, struct{}]{
			Evolve: func(t tripState, in process.Input[process.Accepted[bookPart, struct{}]]) tripState {
				t.Booked = append(slices.Clip(t.Booked), in.Event.Command.What)
				return t
			},
		},
		process.OnRejected[tripState, bookPart]{
			React: func(_ tripState, _ process.Input[process.Rejected[bookPart]], do *process.Step) { do.Compensate() },
		},
		process.OnFailed[tripState, bookPart]{
			React: func(_ tripState, _ process.Input[process.Failed[bookPart]], do *process.Step) { do.Compensate() },
		},
		process.OnTimeout[tripState, tripBegins]{
			Name:  "trip-begins",
			React: func(_ tripState, _ process.Input[tripBegins], do *process.Step) { do.Complete() },
		},
		process.React(func(tripState, *process.Step) { s.decides() }),
	).Otherwise(process.Ignore)
}
