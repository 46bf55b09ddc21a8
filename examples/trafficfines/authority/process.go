package authority

import (
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/process"
)

// Collection is the name of the process.
const Collection = "fine-collection"

// PenaltyDue is the timeout by which a fine can be paid without a penalty.
type PenaltyDue struct{}

// FineCollection follows each fine from its creation, and has a penalty added to it sixty days after its notification.
// It waits for nothing but the calendar: the authority never cancelled a penalty, not even of a fine that was paid.
//
// A payment or a notification may be read before the fine that it concerns, since the order of modules is not defined
// within an instant; it is kept until the fine is there.
//
// Watch, if there is one, is called at the end of every step: a test may count them, or make one fail.
func FineCollection(watch func(domain.Fine, *process.Step)) process.Definition {
	parts := []process.Part[domain.Fine]{
		process.On[domain.Fine, FineCreated]{
			Starts: true,
			Locate: process.Key(func(e FineCreated) string { return e.Fine }),
			Evolve: func(f domain.Fine, in process.Input[FineCreated]) domain.Fine {
				f.Amount, f.Dismissal = in.Event.Amount, in.Event.Dismissal
				return f
			},
		},
		process.On[domain.Fine, FineSent]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e FineSent) string { return e.Fine }),
			Evolve: func(f domain.Fine, in process.Input[FineSent]) domain.Fine {
				f.Expense += in.Event.Expense
				return f
			},
		},
		process.On[domain.Fine, FineNotified]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e FineNotified) string { return e.Fine }),
			React: func(_ domain.Fine, _ process.Input[FineNotified], do *process.Step) {
				do.At(domain.PenaltyDue(do.Now()), PenaltyDue{})
			},
		},
		process.OnTimeout[domain.Fine, PenaltyDue]{
			Name: "penalty-due",
			React: func(f domain.Fine, _ process.Input[PenaltyDue], do *process.Step) {
				do.Send(AddPenalty{Fine: do.Instance(), Due: do.Now(), Paid: f.Paid})
			},
		},
		process.On[domain.Fine, PaymentReceived]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e PaymentReceived) string { return e.Fine }),
			Evolve: func(f domain.Fine, in process.Input[PaymentReceived]) domain.Fine {
				f.Paid += in.Event.Amount
				return f
			},
		},
		process.On[domain.Fine, PenaltyRecorded]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e PenaltyRecorded) string { return e.Fine }),
			Evolve: func(f domain.Fine, in process.Input[PenaltyRecorded]) domain.Fine {
				f.Penalised, f.Penalty = true, in.Event.Amount
				return f
			},
		},
		process.On[domain.Fine, FineSentForCreditCollection]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e FineSentForCreditCollection) string { return e.Fine }),
			Evolve: func(f domain.Fine, _ process.Input[FineSentForCreditCollection]) domain.Fine {
				f.Collected = true
				return f
			},
		},
		onAppeal[PrefectureAppealDated](),
		onAppeal[PrefectureAppealSent](),
		onAppeal[PrefectureResultReceived](),
		onAppeal[OffenderToldOfResult](),
		onAppeal[AppealedToJudge](),
	}
	if watch != nil {
		parts = append(parts, process.React(watch))
	}
	return process.Define(Collection, parts...).Otherwise(process.Ignore)
}

// onAppeal handles a step of an appeal: the last dismissal that is noted counts.
func onAppeal[E appealStep]() process.Part[domain.Fine] {
	return process.On[domain.Fine, E]{
		NoInstance: process.Defer,
		Locate:     process.Key(func(e E) string { return e.appeal().Fine }),
		Evolve: func(f domain.Fine, in process.Input[E]) domain.Fine {
			if d := in.Event.appeal().Dismissal; d != "" {
				f.Appealed = d
			}
			return f
		},
	}
}
