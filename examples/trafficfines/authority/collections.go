package authority

import (
	"context"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

// Collections is the name of the module that the process commands.
const Collections = "collections"

// AddPenalty tells collections that a fine was not paid in time.
type AddPenalty struct {
	Fine string       `json:"fine"`
	Due  time.Time    `json:"due"`
	Paid domain.Cents `json:"paid"` // what the process knew as paid at that moment
}

// PenaltyAdded says that a penalty was added to a fine.
type PenaltyAdded struct {
	Fine string       `json:"fine"`
	Due  time.Time    `json:"due"`
	Paid domain.Cents `json:"paid"` // before it was due
}

// OccurredAt makes the penalty an event of the instant at which it was due, however late it is handled.
func (p PenaltyAdded) OccurredAt() time.Time { return p.Due }

// account is what collections knows of a fine. It adds a penalty as often as it is told to, and counts: that it is
// told once is the engine's word, which a second penalty in the log would show to be broken.
type account struct{ penalties int }

var accounts = aggregate.Define("collection", func(a account, _ PenaltyAdded) account {
	a.penalties++
	return a
})

func addPenalty(ctx context.Context, w *aggregate.Work, c AddPenalty) (struct{}, error) {
	return struct{}{}, aggregate.Change(ctx, w, accounts, c.Fine, func(account) ([]PenaltyAdded, error) {
		return []PenaltyAdded{PenaltyAdded(c)}, nil
	})
}

func collections() ensue.Module {
	return ensue.Module{
		Name:     Collections,
		Events:   []event.Type{event.Named[PenaltyAdded]("penalty-added")},
		Commands: []command.Handler{command.Handle("add-penalty", addPenalty)},
	}
}
