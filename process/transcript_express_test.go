package process_test

import (
	"errors"
	"time"

	"github.com/ensue-io/ensue/process"
)

type expressState struct {
	Outcome string `json:"outcome,omitempty"`
	Notes   int    `json:"notes,omitempty"`
}

// express reserves what is ordered within half an hour, or tells the customer that it cannot be. With care it decides by the
// error what follows a failure.
func express(s *story, name string, care ...process.Part[expressState]) process.Definition {
	return process.Define(name, append([]process.Part[expressState]{
		process.On[expressState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			React: func(_ expressState, in process.Input[saleOrdered], do *process.Step) {
				do.Send(reserveStock(in.Event), process.Within(30*time.Minute))
			},
		},
		process.On[expressState, saleNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleNoted) string { return e.ID }),
			Evolve: func(st expressState, in process.Input[saleNoted]) expressState {
				s.trouble(in.Event.ID, "noted")
				st.Notes++
				return st
			},
		},
		process.OnAccepted[expressState, reserveStock, struct{}]{
			Evolve: func(st expressState, _ process.Input[process.Accepted[reserveStock, struct{}]]) expressState {
				st.Outcome = "reserved"
				return st
			},
			React: func(_ expressState, _ process.Input[process.Accepted[reserveStock, struct{}]], do *process.Step) {
				do.Send(sendMail{do.Instance(), "it is on its way"})
			},
		},
		process.OnFailed[expressState, reserveStock]{
			Evolve: func(st expressState, in process.Input[process.Failed[reserveStock]]) expressState {
				st.Outcome = "failed"
				if in.Event.Expired {
					st.Outcome = "expired"
				}
				return st
			},
			React: func(_ expressState, _ process.Input[process.Failed[reserveStock]], do *process.Step) {
				do.Send(sendMail{do.Instance(), "sorry, it cannot be"})
			},
		},
	}, care...)...).Otherwise(process.Ignore)
}

// What a handler may fail with, besides being down.
var (
	errBusy   = errors.New("too busy just now")
	errClosed = errors.New("closed for good")
	errOdd    = errors.New("something that nobody has seen before")

	handlerErrors = map[string]error{"busy": errBusy, "closed": errClosed, "odd": errOdd}
)

// carefully is what express does by the error.
var carefully = process.OnError[expressState](func(f process.Failure) process.Remedy {
	switch {
	case errors.Is(f.Err, errBusy):
		return process.RetryAfter(10 * time.Minute)
	case errors.Is(f.Err, errClosed):
		return process.GiveUp("the store is closed")
	case errors.Is(f.Err, errOdd):
		return process.HoldInstance()
	case f.Command == nil && f.Attempts == 1:
		return process.RetryAfter(5 * time.Minute)
	case f.Command == nil:
		return process.HoldInstance()
	default:
		return process.Remedy{}
	}
})
