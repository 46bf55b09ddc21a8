// Package domain is what a traffic fine is: what was owed and paid, what became of it, and when its penalty falls due.
// It knows nothing of events, files or engines.
//
//	f := domain.Fine{Amount: 3130, Paid: 3130}
//	f.Outcome()                  // paid_in_full
//	domain.PenaltyDue(notified)  // midnight in Rome, 60 calendar days later
package domain

// Fine is what the authority knows of one fine.
type Fine struct {
	Amount    Cents  `json:"amount"`              // when it was created
	Penalised bool   `json:"penalised,omitempty"` // a penalty was recorded
	Penalty   Cents  `json:"penalty,omitempty"`   // the amount that the recorded penalty put in place of the first one
	Expense   Cents  `json:"expense,omitempty"`   // of sending it, all together
	Paid      Cents  `json:"paid,omitempty"`      // all together
	Collected bool   `json:"collected,omitempty"` // it was sent for credit collection
	Dismissal string `json:"dismissal,omitempty"` // as of its creation
	Appealed  string `json:"appealed,omitempty"`  // the last dismissal that an appeal led to
}

// NotDismissed is the dismissal of a fine that stands.
const NotDismissed = "NIL"

// Owed returns what is to be paid, without expenses.
func (f Fine) Owed() Cents {
	if f.Penalised {
		return f.Penalty
	}
	return f.Amount
}

// DismissedAs returns how the fine was dismissed, NotDismissed if it was not: what appeals led to goes before what was
// noted at its creation.
func (f Fine) DismissedAs() string {
	switch {
	case f.Appealed != "":
		return f.Appealed
	case f.Dismissal != "":
		return f.Dismissal
	default:
		return NotDismissed
	}
}

// Outcome is what became of a fine.
type Outcome string

// The outcomes, in the order in which they are tried: the first that applies is the fine's.
const (
	CreditCollection          Outcome = "credit_collection"
	CreditCollectionAfterPart Outcome = "credit_collection_after_part_payment"
	NothingOwed               Outcome = "nothing_owed"
	PaidInFull                Outcome = "paid_in_full"
	DismissedByPrefect        Outcome = "dismissed(#)"
	DismissedByJudge          Outcome = "dismissed(G)"
	DismissedOtherwise        Outcome = "dismissed(other)"
	PartPaidOpen              Outcome = "part_paid_open"
	UnpaidOpen                Outcome = "unpaid_open"
)

// Outcome returns what became of the fine as of now.
func (f Fine) Outcome() Outcome {
	due := f.Owed() + f.Expense
	switch dismissed := f.DismissedAs(); {
	case f.Collected && f.Paid > 0:
		return CreditCollectionAfterPart
	case f.Collected:
		return CreditCollection
	case due == 0 && f.Paid == 0:
		return NothingOwed
	case f.Paid >= due:
		return PaidInFull
	case dismissed == "#":
		return DismissedByPrefect
	case dismissed == "G":
		return DismissedByJudge
	case dismissed != NotDismissed:
		return DismissedOtherwise
	case f.Paid > 0:
		return PartPaidOpen
	default:
		return UnpaidOpen
	}
}
