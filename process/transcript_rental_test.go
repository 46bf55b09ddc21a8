package process_test

import (
	"fmt"
	"time"

	"github.com/ensue-io/ensue/process"
)

// A rental, as several versions of a program have it.
type (
	rentalState struct {
		Notes    int  `json:"notes"`
		Reserved bool `json:"reserved"`
	}
	rentalStateTwo struct { // of version 2
		Remarks int    `json:"remarks"`
		Since   string `json:"since"` // the version that began it
	}
	backDue   struct{}
	returnDue struct{}

	setAside struct { // what reserve is called later
		ID  string `json:"id"`
		Qty int    `json:"qty,omitempty"`
	}
)

// rentalOne is version 1: what was rented is to come back in a day, or a mail reminds of it.
func rentalOne(*story) process.Definition {
	return rentalAs[backDue, reserveStock]("rental", "back-due", "please bring it back")
}

func rentalAs[Due any, Command reserveStock | setAside](name, timeout, reminder string, former ...string) process.Definition {
	var due Due
	return process.Define(name,
		process.On[rentalState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			React: func(_ rentalState, in process.Input[saleOrdered], do *process.Step) {
				do.Send(Command(in.Event))
				do.After(24*time.Hour, due)
			},
		},
		process.On[rentalState, saleNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleNoted) string { return e.ID }),
			Evolve:     func(r rentalState, _ process.Input[saleNoted]) rentalState { r.Notes++; return r },
		},
		process.On[rentalState, saleCancelled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleCancelled) string { return e.ID }),
			React:      func(_ rentalState, _ process.Input[saleCancelled], do *process.Step) { do.Complete() },
		},
		process.OnTimeout[rentalState, Due]{
			Name: timeout, Formerly: former,
			React: func(r rentalState, _ process.Input[Due], do *process.Step) {
				do.Send(sendMail{do.Instance(), fmt.Sprintf("%s; notes: %d", reminder, r.Notes)})
			},
		},
		process.OnAccepted[rentalState, Command, struct{}]{
			Evolve: func(r rentalState, _ process.Input[process.Accepted[Command, struct{}]]) rentalState {
				r.Reserved = true
				return r
			},
		},
	).Otherwise(process.Ignore)
}

// rentalTwo is version 2: it reminds after two days, and keeps another state.
func rentalTwo(*story) process.Definition {
	return process.Define("rental",
		process.On[rentalStateTwo, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			Evolve: func(r rentalStateTwo, _ process.Input[saleOrdered]) rentalStateTwo { r.Since = "version 2"; return r },
			React: func(_ rentalStateTwo, in process.Input[saleOrdered], do *process.Step) {
				do.Send(reserveStock(in.Event))
				do.After(48*time.Hour, backDue{})
			},
		},
		process.On[rentalStateTwo, saleNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleNoted) string { return e.ID }),
			Evolve:     func(r rentalStateTwo, _ process.Input[saleNoted]) rentalStateTwo { r.Remarks++; return r },
		},
		process.OnTimeout[rentalStateTwo, backDue]{
			Name: "back-due",
			React: func(r rentalStateTwo, _ process.Input[backDue], do *process.Step) {
				do.Send(sendMail{do.Instance(), fmt.Sprintf("two days are over; remarks: %d", r.Remarks)})
			},
		},
	).Otherwise(process.Ignore).WithVersion(2)
}

// rentalPinning lets what version 1 began end with it.
func rentalPinning(s *story) process.Definition {
	return rentalTwo(s).Replacing(process.Pin(rentalOne(s)))
}

// rentalMigrating turns the states of version 1.
func rentalMigrating(s *story) process.Definition {
	return rentalTwo(s).Replacing(process.Migrate(rentalOne(s), func(old rentalState) (rentalStateTwo, error) {
		return rentalStateTwo{Remarks: old.Notes, Since: "version 1"}, nil
	}))
}

// hire is what version 1 did, by other names: those of the process, its timeout and its command.
func hire(*story) process.Definition {
	return rentalAs[returnDue, setAside]("hire", "return-due", "please return it", "back-due").Formerly("rental").WithVersion(2)
}
