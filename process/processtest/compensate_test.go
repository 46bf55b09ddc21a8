package processtest_test

import (
	"fmt"
	"strings"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

type (
	TripBooked    struct{ Trip string }
	TripGivenUp   struct{ Trip string }
	BookFlight    struct{ Trip string }
	CancelFlight  struct{ Trip string }
	BookHotel     struct{ Trip string }
	CancelHotel   struct{ Trip string }
	Trip          struct{ Flight bool }
	NotApplicable struct{}
)

const (
	flying  process.Phase = "flying"
	staying process.Phase = "staying"
)

// travelling books a flight, then a hotel, and takes back what was booked when the trip is given up.
var travelling = process.Define("trip",
	process.Phases(func(t Trip) process.Phase {
		if t.Flight {
			return staying
		}
		return flying
	}, flying, staying),
	process.On[Trip, TripBooked]{
		Starts: true, Ignore: process.In(flying, staying), Completed: process.Ignore,
		Locate: process.Key(func(e TripBooked) string { return e.Trip }),
		React: func(_ Trip, in process.Input[TripBooked], do *process.Step) {
			do.Send(BookFlight(in.Event), process.OnUndo(CancelFlight(in.Event)))
		},
	},
	process.OnAccepted[Trip, BookFlight, NotApplicable]{
		In: process.In(flying), Ignore: process.In(staying), Completed: process.Ignore,
		Evolve: func(t Trip, _ process.Input[process.Accepted[BookFlight, NotApplicable]]) Trip {
			t.Flight = true
			return t
		},
		React: func(_ Trip, in process.Input[process.Accepted[BookFlight, NotApplicable]], do *process.Step) {
			do.Send(BookHotel(in.Event.Command), process.OnUndo(CancelHotel(in.Event.Command)))
		},
	},
	process.On[Trip, TripGivenUp]{
		NoInstance: process.Ignore, Defer: process.In(flying), In: process.In(staying), Completed: process.Ignore,
		Locate: process.Key(func(e TripGivenUp) string { return e.Trip }),
		React:  func(_ Trip, _ process.Input[TripGivenUp], do *process.Step) { do.Compensate() },
	},
)

func ExampleCompensating() {
	booked := func() *processtest.Scenario {
		return processtest.Given(travelling, TripBooked{"42"}, processtest.Accept(BookFlight{"42"}, NotApplicable{}))
	}
	booked().When(TripGivenUp{"42"}).
		Then(t, processtest.Compensating) // nothing yet: the hotel's outcome is not known
	booked().When(TripGivenUp{"42"}, processtest.Accept(BookHotel{"42"}, NotApplicable{})).
		Then(t, processtest.Compensating, CancelHotel{"42"})
	booked().When(TripGivenUp{"42"}, processtest.Reject(BookHotel{"42"}, "full")).
		Then(t, processtest.Compensating, CancelFlight{"42"}) // there is no hotel to cancel
	booked().When(TripGivenUp{"42"}, processtest.Accept(BookHotel{"42"}, NotApplicable{}),
		processtest.Accept(CancelHotel{"42"}, nil), processtest.Accept(CancelFlight{"42"}, nil)).
		Then(t, processtest.Compensating, CancelHotel{"42"}, CancelFlight{"42"}, processtest.Completed)
	// Output:
}

// What a phase defers is taken up when its phase has come.
func ExampleGiven_deferred() {
	processtest.Given(travelling, TripBooked{"42"}, TripGivenUp{"42"}).
		When(processtest.Accept(BookFlight{"42"}, NotApplicable{})).
		Then(t, BookHotel{"42"}, processtest.Compensating)
	fmt.Println(strings.TrimSpace(travelling.Table().String()))
	// Output:
	// no instance  flying  staying  completed
	// 	event processtest_test.TripBooked     start        ignore  ignore   ignore
	// 	accepted processtest_test.BookFlight  ignore       handle  ignore   ignore
	// 	event processtest_test.TripGivenUp    ignore       defer   handle   ignore
}
