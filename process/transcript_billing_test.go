package process_test

import (
	"github.com/ensue-io/ensue/process"
)

// Invoices: sent for an order at sales; payments names only the invoice.
type (
	invoiceSent struct {
		ID      string `json:"id"` // of the order
		Invoice string `json:"invoice"`
	}
	invoiceWithdrawn struct {
		ID      string `json:"id"`
		Invoice string `json:"invoice"`
	}
	invoicePaid struct {
		ID     string `json:"id"` // of the invoice
		Amount int    `json:"amount"`
	}
	invoiceAsked struct {
		ID string `json:"id"` // of the invoice
	}
)

type billState struct {
	Paid  int `json:"paid"`
	Asked int `json:"asked,omitempty"`
}

// billing counts what is paid for an order, by the invoices that were sent for it.
func billing(s *story) process.Definition {
	return process.Define("billing",
		process.On[billState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
		},
		process.On[billState, invoiceSent]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e invoiceSent) string { return e.ID }),
			React: func(_ billState, in process.Input[invoiceSent], do *process.Step) {
				do.Correlate("invoice", in.Event.Invoice)
			},
		},
		process.On[billState, invoiceWithdrawn]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e invoiceWithdrawn) string { return e.ID }),
			React: func(_ billState, in process.Input[invoiceWithdrawn], do *process.Step) {
				do.Release("invoice", in.Event.Invoice)
			},
		},
		process.OnTaken[billState]{
			Name: "invoice",
			React: func(_ billState, in process.Input[process.ClaimTaken], do *process.Step) {
				do.Send(sendMail{do.Instance(), "invoice " + in.Event.Key + " is that of order " + in.Event.By})
			},
		},
		process.On[billState, invoicePaid]{
			NoInstance: process.Defer,
			Locate:     process.Claimed("invoice", func(e invoicePaid) string { return e.ID }),
			Evolve: func(b billState, in process.Input[invoicePaid]) billState {
				s.trouble(in.Event.ID, "invoice-paid")
				b.Paid += in.Event.Amount
				return b
			},
		},
		process.On[billState, invoiceAsked]{
			NoInstance: process.Ignore,
			Locate:     process.Claimed("invoice", func(e invoiceAsked) string { return e.ID }),
			Evolve:     func(b billState, _ process.Input[invoiceAsked]) billState { b.Asked++; return b },
		},
		process.On[billState, saleCancelled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleCancelled) string { return e.ID }),
			React:      func(_ billState, _ process.Input[saleCancelled], do *process.Step) { do.Complete() },
		},
	).Otherwise(process.Ignore)
}
