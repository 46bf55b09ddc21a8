package authority

import (
	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/process"
)

// Registry is the name of the module in which fines are created, sent and collected. It is the home of fine-collection.
const Registry = "registry"

// What happens in the registry.
type (
	FineCreated struct {
		Fine         string       `json:"fine"`
		Amount       domain.Cents `json:"amount"`
		VehicleClass string       `json:"vehicleClass,omitempty"`
		Article      string       `json:"article,omitempty"`
		Points       string       `json:"points,omitempty"`
		Dismissal    string       `json:"dismissal,omitempty"`
	}
	FineSent struct {
		Fine    string       `json:"fine"`
		Expense domain.Cents `json:"expense"`
	}
	// PenaltyRecorded is the penalty that the real authority added.
	PenaltyRecorded struct {
		Fine   string       `json:"fine"`
		Amount domain.Cents `json:"amount"` // owed from now on, in place of the first amount
	}
	FineSentForCreditCollection struct {
		Fine string `json:"fine"`
	}
)

func registry(collection process.Definition) ensue.Module {
	return ensue.Module{
		Name: Registry,
		Events: []event.Type{
			event.Named[FineCreated]("fine-created"),
			event.Named[FineSent]("fine-sent"),
			event.Named[PenaltyRecorded]("penalty-recorded"),
			event.Named[FineSentForCreditCollection]("fine-sent-for-credit-collection"),
		},
		Processes: []process.Definition{collection},
	}
}
