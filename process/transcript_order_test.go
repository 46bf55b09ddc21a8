package process_test

import (
	"strings"
	"time"

	"github.com/ensue-io/ensue/process"
)

// Sales, payments and stock.
type (
	saleOrdered struct {
		ID  string `json:"id"`
		Qty int    `json:"qty,omitempty"`
	}
	saleNoted struct {
		ID   string `json:"id"`
		Size int    `json:"size,omitempty"` // of what the process says about it, in bytes
	}
	saleCancelled struct {
		ID string `json:"id"`
	}
	saleConfirmed struct {
		ID string `json:"id"`
	}
	saleClosed struct {
		ID  string `json:"id"`
		How string `json:"how"`
	}
	saleRemark struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
	moneyPaid struct {
		ID     string `json:"id"`
		Amount int    `json:"amount,omitempty"`
	}
	stockChanged struct {
		ID   string `json:"id"`
		What string `json:"what"`
	}
	reserveStock struct {
		ID  string `json:"id"`
		Qty int    `json:"qty,omitempty"`
	}
	releaseStock struct {
		ID string `json:"id"`
	}
	confirmSale struct {
		ID string `json:"id"`
	}
)

type sagaState struct {
	Phase string `json:"phase"`
	Paid  int    `json:"paid,omitempty"`
	Notes int    `json:"notes,omitempty"`
}

type payDue struct{}

// orderSaga leads an order from its reservation over its payment to its confirmation, and gives the stock back when an
// hour passes without payment.
func orderSaga(s *story) process.Definition {
	return process.Define("order-saga",
		process.On[sagaState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[saleOrdered]) sagaState {
				s.trouble(in.Event.ID, "order-placed")
				st.Phase = "reserving"
				return st
			},
			React: func(_ sagaState, in process.Input[saleOrdered], do *process.Step) {
				s.decides()
				do.Send(reserveStock(in.Event))
				do.After(time.Hour, payDue{})
			},
		},
		process.OnAccepted[sagaState, reserveStock, struct{}]{
			Evolve: func(st sagaState, in process.Input[process.Accepted[reserveStock, struct{}]]) sagaState {
				s.trouble(in.Event.Command.ID, "accepted")
				st.Phase = "reserved"
				return st
			},
		},
		process.OnRejected[sagaState, reserveStock]{
			React: func(_ sagaState, in process.Input[process.Rejected[reserveStock]], do *process.Step) {
				do.Emit(saleClosed{do.Instance(), in.Event.Rejection.Code})
				do.Complete()
			},
		},
		process.On[sagaState, moneyPaid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e moneyPaid) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[moneyPaid]) sagaState {
				s.trouble(in.Event.ID, "paid")
				st.Paid += in.Event.Amount
				return st
			},
			React: func(_ sagaState, _ process.Input[moneyPaid], do *process.Step) { do.Cancel(payDue{}) },
		},
		process.On[sagaState, saleNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleNoted) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[saleNoted]) sagaState {
				s.trouble(in.Event.ID, "noted")
				st.Notes++
				return st
			},
			React: func(_ sagaState, in process.Input[saleNoted], do *process.Step) {
				if in.Event.Size > 0 {
					do.Emit(saleRemark{in.Event.ID, strings.Repeat("x", in.Event.Size)})
				}
			},
		},
		process.On[sagaState, saleCancelled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleCancelled) string { return e.ID }),
			React: func(_ sagaState, _ process.Input[saleCancelled], do *process.Step) {
				do.Send(releaseStock{do.Instance()})
				do.Emit(saleClosed{do.Instance(), "cancelled"})
				do.Complete()
			},
		},
		process.On[sagaState, saleConfirmed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleConfirmed) string { return e.ID }),
			Evolve: func(st sagaState, _ process.Input[saleConfirmed]) sagaState {
				st.Phase = "confirmed"
				return st
			},
			React: func(_ sagaState, _ process.Input[saleConfirmed], do *process.Step) { do.Complete() },
		},
		process.OnTimeout[sagaState, payDue]{
			Name: "pay-due",
			Evolve: func(st sagaState, in process.Input[payDue]) sagaState {
				st.Phase = "expired"
				return st
			},
			React: func(_ sagaState, _ process.Input[payDue], do *process.Step) {
				s.trouble(do.Instance(), "pay-due")
				do.Send(releaseStock{do.Instance()})
				do.Emit(saleClosed{do.Instance(), "expired"})
				do.Complete()
			},
		},
		process.React(func(st sagaState, do *process.Step) {
			s.decides()
			if st.Phase == "reserved" && st.Paid > 0 && do.Once("confirm") {
				do.Send(confirmSale{do.Instance()})
			}
		}),
	).Otherwise(process.Ignore)
}
