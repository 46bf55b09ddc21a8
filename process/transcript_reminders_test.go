package process_test

import (
	"time"

	"github.com/ensue-io/ensue/process"
)

type (
	meetingSet struct {
		ID  string `json:"id"`
		Who string `json:"who"`
		In  string `json:"in"` // a duration
	}
	meetingOff struct {
		ID  string `json:"id"`
		Who string `json:"who"`
	}
)

type reminderState struct {
	Reminded []string `json:"reminded,omitempty"`
}

// remind is a timeout of which an instance may have several at once: one for each person.
type remind struct {
	Who string `json:"who"`
}

// TimeoutKey tells the timeouts of one instance apart.
func (r remind) TimeoutKey() string { return r.Who }

// reminders remind people of a meeting, each by a timeout of its own; one that is set again is replaced.
func reminders(*story) process.Definition {
	return process.Define("reminders",
		process.On[reminderState, meetingSet]{
			Starts: true,
			Locate: process.Key(func(e meetingSet) string { return e.ID }),
			React: func(_ reminderState, in process.Input[meetingSet], do *process.Step) {
				d, err := time.ParseDuration(in.Event.In)
				if err != nil {
					do.Fail(err)
					return
				}
				do.After(d, remind{in.Event.Who})
			},
		},
		process.On[reminderState, meetingOff]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e meetingOff) string { return e.ID }),
			React: func(_ reminderState, in process.Input[meetingOff], do *process.Step) {
				do.Cancel(remind{in.Event.Who})
			},
		},
		process.OnTimeout[reminderState, remind]{
			Name: "remind",
			Evolve: func(r reminderState, in process.Input[remind]) reminderState {
				r.Reminded = append(r.Reminded, in.Event.Who)
				return r
			},
			React: func(_ reminderState, in process.Input[remind], do *process.Step) {
				do.Send(sendMail{do.Instance(), "remember, " + in.Event.Who})
			},
		},
	).Otherwise(process.Ignore)
}
