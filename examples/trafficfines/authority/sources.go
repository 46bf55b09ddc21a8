package authority

import (
	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

// Names of the modules that know nothing of how fines are collected.
const (
	Post     = "post"
	Payments = "payments"
	Appeals  = "appeals"
)

// FineNotified says that the offender was notified of a fine.
type FineNotified struct {
	Fine     string `json:"fine"`
	Type     string `json:"type,omitempty"`
	LastSent string `json:"lastSent,omitempty"`
}

func post() ensue.Module {
	return ensue.Module{Name: Post, Events: []event.Type{event.Named[FineNotified]("fine-notified")}}
}

// PaymentReceived says that something was paid for a fine.
type PaymentReceived struct {
	Fine   string       `json:"fine"`
	Amount domain.Cents `json:"amount"`
	Total  domain.Cents `json:"total"` // paid so far, as the cashier noted it
}

func payments() ensue.Module {
	return ensue.Module{Name: Payments, Events: []event.Type{event.Named[PaymentReceived]("payment-received")}}
}

// Appeal is what is noted with every step of an appeal.
type Appeal struct {
	Fine      string `json:"fine"`
	Dismissal string `json:"dismissal,omitempty"` // how the fine is dismissed from now on, if that is noted
	Matricola string `json:"matricola,omitempty"`
}

func (a Appeal) appeal() Appeal { return a }

// The steps of appeals.
type (
	PrefectureAppealDated    struct{ Appeal }
	PrefectureAppealSent     struct{ Appeal }
	PrefectureResultReceived struct{ Appeal }
	OffenderToldOfResult     struct{ Appeal }
	AppealedToJudge          struct{ Appeal }
	appealStep               interface{ appeal() Appeal }
)

func appeals() ensue.Module {
	return ensue.Module{Name: Appeals, Events: []event.Type{
		event.Named[PrefectureAppealDated]("prefecture-appeal-dated"),
		event.Named[PrefectureAppealSent]("prefecture-appeal-sent"),
		event.Named[PrefectureResultReceived]("prefecture-result-received"),
		event.Named[OffenderToldOfResult]("offender-told-of-result"),
		event.Named[AppealedToJudge]("appealed-to-judge"),
	}}
}
