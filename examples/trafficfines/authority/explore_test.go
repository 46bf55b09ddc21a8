package authority_test

import (
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// A fine is never closed: the authority goes on to collect what is owed, and nothing that it recorded says when it stopped.
func TestNothingIsWrongWithTheCollection(t *testing.T) {
	appeal := authority.Appeal{Fine: fine, Dismissal: "#"}
	var handlers []command.Handler
	for _, p := range authority.Modules(collection) {
		handlers = append(handlers, p.(ensue.Module).Commands...)
	}
	processtest.Explore(t, collection, past, processtest.Exploration{States: 300, Commands: handlers, Endless: []process.Phase{process.PhaseActive}},
		processtest.At(created, authority.FineCreated{Fine: fine, Amount: 3130}),
		authority.FineSent{Fine: fine, Expense: 1000},
		processtest.At(notified, authority.FineNotified{Fine: fine}),
		authority.PaymentReceived{Fine: fine, Amount: 1000},
		authority.PenaltyRecorded{Fine: fine, Amount: 7000},
		authority.FineSentForCreditCollection{Fine: fine},
		authority.PrefectureAppealDated{Appeal: appeal}, authority.PrefectureAppealSent{Appeal: appeal},
		authority.PrefectureResultReceived{Appeal: appeal}, authority.OffenderToldOfResult{Appeal: appeal}, authority.AppealedToJudge{Appeal: appeal})
}
