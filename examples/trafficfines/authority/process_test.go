package authority_test

import (
	"testing"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/process/processtest"
)

const fine = "A1"

var (
	collection = authority.FineCollection(nil)
	created    = time.Date(2007, time.January, 3, 0, 0, 0, 0, domain.Rome)
	notified   = time.Date(2007, time.February, 2, 0, 0, 0, 0, domain.Rome)
	due        = time.Date(2007, time.April, 3, 0, 0, 0, 0, domain.Rome) // summer time began on 25 March
	instant    = time.Microsecond                                        // time is kept in
	past       = processtest.Options{Start: created, Replay: true}
)

func TestPenaltyIsAddedSixtyDaysAfterNotification(t *testing.T) {
	processtest.Given(collection, past, processtest.At(created, authority.FineCreated{Fine: fine, Amount: 3130})).
		When(processtest.At(notified, authority.FineNotified{Fine: fine})).
		Then(t, processtest.TimeoutAt(due, authority.PenaltyDue{})).
		When(processtest.AdvanceTo(due.Add(-instant))).
		Then(t).
		When(processtest.AdvanceTo(due)).
		Then(t, authority.AddPenalty{Fine: fine, Due: due.UTC()})
}

func TestPenaltyKnowsWhatWasPaidBeforeItsInstant(t *testing.T) {
	processtest.Given(collection, past,
		processtest.At(created, authority.FineCreated{Fine: fine, Amount: 3130}),
		processtest.At(created, authority.PaymentReceived{Fine: fine, Amount: 1000}),
		processtest.At(notified, authority.FineNotified{Fine: fine}),
		processtest.At(due.Add(-instant), authority.PaymentReceived{Fine: fine, Amount: 20})).
		When(processtest.At(due, authority.PaymentReceived{Fine: fine, Amount: 3})). // the timeout goes first
		Then(t, authority.AddPenalty{Fine: fine, Due: due.UTC(), Paid: 1020},
			processtest.State(domain.Fine{Amount: 3130, Paid: 1023}))
}

func TestPenaltyIsAddedToAPaidFineToo(t *testing.T) {
	processtest.Given(collection, past, processtest.At(created, authority.FineCreated{Fine: fine, Amount: 3130}),
		processtest.At(notified, authority.FineNotified{Fine: fine}),
		processtest.At(notified, authority.PaymentReceived{Fine: fine, Amount: 3130})).
		When(processtest.AdvanceTo(due)).
		Then(t, authority.AddPenalty{Fine: fine, Due: due.UTC(), Paid: 3130})
}

// Nobody says in which order the events of one instant in different modules are read, not even that the fine comes first.
func TestOrderWithinAnInstantDoesNotMatter(t *testing.T) {
	processtest.Permutations(t, collection, []any{
		authority.FineCreated{Fine: fine, Amount: 3130, Dismissal: "A"},
		authority.FineNotified{Fine: fine},
		processtest.InOrder(authority.PaymentReceived{Fine: fine, Amount: 1000}, authority.PaymentReceived{Fine: fine, Amount: 1000}),
		processtest.InOrder(
			authority.PrefectureAppealSent{Appeal: authority.Appeal{Fine: fine, Dismissal: "#"}},
			authority.PrefectureResultReceived{Appeal: authority.Appeal{Fine: fine}},
			authority.AppealedToJudge{Appeal: authority.Appeal{Fine: fine, Dismissal: "NIL"}}),
	})
}

func TestWhatIsRecordedOfAFine(t *testing.T) {
	processtest.Given(collection, authority.FineCreated{Fine: fine, Amount: 3130, Dismissal: "NIL"}).
		When(authority.FineSent{Fine: fine, Expense: 1000}, authority.FineSent{Fine: fine, Expense: 350},
			authority.PenaltyRecorded{Fine: fine, Amount: 7000}, authority.FineSentForCreditCollection{Fine: fine}).
		Then(t, processtest.State(domain.Fine{Amount: 3130, Dismissal: "NIL", Expense: 1350, Penalised: true, Penalty: 7000, Collected: true}))
}
