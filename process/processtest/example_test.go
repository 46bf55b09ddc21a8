package processtest_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

type (
	OrderPlaced     struct{ OrderID string }
	PaymentReceived struct{ OrderID string }
	OrderCancelled  struct{ OrderID string }
	OrderShipped    struct{ OrderID string }
	RequestPayment  struct{ OrderID string }
	Ship            struct{ OrderID string }
	Cancel          struct{ OrderID string }
	PaymentOverdue  struct{ Reminders int }
	Sale            struct{ Paid, Cancelled bool }
)

const fortnight = 14 * 24 * time.Hour

// selling requests a payment, ships when it has come, and cancels the order after a fortnight without one.
var selling = process.Define("selling",
	process.On[Sale, OrderPlaced]{
		Starts: true,
		Locate: process.Key(func(e OrderPlaced) string { return e.OrderID }),
		React: func(_ Sale, in process.Input[OrderPlaced], do *process.Step) {
			do.Send(RequestPayment(in.Event))
			do.After(fortnight, PaymentOverdue{})
		},
	},
	process.On[Sale, PaymentReceived]{
		NoInstance: process.Defer,
		Locate:     process.Key(func(e PaymentReceived) string { return e.OrderID }),
		Evolve:     func(s Sale, _ process.Input[PaymentReceived]) Sale { s.Paid = true; return s },
	},
	process.On[Sale, OrderCancelled]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e OrderCancelled) string { return e.OrderID }),
		Evolve:     func(s Sale, _ process.Input[OrderCancelled]) Sale { s.Cancelled = true; return s },
	},
	process.OnTimeout[Sale, PaymentOverdue]{
		Name: "payment-overdue",
		React: func(_ Sale, _ process.Input[PaymentOverdue], do *process.Step) {
			do.Send(Cancel{do.Instance()})
			do.Complete()
		},
	},
	process.OnRejected[Sale, Ship]{
		React: func(_ Sale, in process.Input[process.Rejected[Ship]], do *process.Step) {
			do.Send(Cancel{do.Instance()})
			do.Complete()
		},
	},
	process.OnFailed[Sale, Ship]{
		React: func(_ Sale, in process.Input[process.Failed[Ship]], do *process.Step) {
			if in.Event.Expired {
				do.Send(in.Event.Command, process.Within(24*time.Hour))
				return
			}
			do.Send(Cancel{do.Instance()})
			do.Complete()
		},
	},
	process.OnAccepted[Sale, Ship, string]{
		React: func(_ Sale, in process.Input[process.Accepted[Ship, string]], do *process.Step) {
			do.Emit(OrderShipped{do.Instance()})
			do.Complete()
		},
	},
	process.React(func(s Sale, do *process.Step) {
		switch {
		case s.Cancelled && do.Once("end"):
			do.Complete()
		case s.Paid && do.Once("end"):
			do.Cancel(PaymentOverdue{})
			do.Send(Ship{do.Instance()})
		}
	}),
).Otherwise(process.Ignore)

// printed is a *testing.T that prints.
type printed struct{}

func (printed) Helper() {}
func (printed) Errorf(format string, args ...any) {
	for _, l := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		fmt.Println(strings.TrimRight(l, " "))
	}
}

// t stands for the *testing.T of a test.
var t printed

func ExampleGiven() {
	processtest.Given(selling, OrderPlaced{"42"}).
		When(PaymentReceived{"42"}).
		Then(t, Ship{"42"}, processtest.Cancelled(PaymentOverdue{}))
	// Output:
}

func ExampleScenario_Then() {
	processtest.Given(selling).
		When(OrderPlaced{"42"}).
		Then(t, RequestPayment{"43"}, processtest.Completed)
	// Output:
	// process "selling": it decided otherwise
	//      got                                                                       want
	//   ≠  send RequestPayment{OrderID:42}                                           send RequestPayment{OrderID:43}
	//   ≠  timeout PaymentOverdue{Reminders:0} after 336h, at 2026-01-15T00:00:00Z   —
	//   ≠  —                                                                         completed
	// what happened
	//      2026-01-01T00:00:00Z event OrderPlaced{OrderID:42} at "42": handled
	//          sent RequestPayment{OrderID:42}
	//          set PaymentOverdue{Reminders:0} due 2026-01-15T00:00:00Z
}

func ExampleAdvance() {
	processtest.Given(selling, OrderPlaced{"42"}).
		When(processtest.Advance(fortnight)).
		Then(t, Cancel{"42"}, processtest.Completed)
	// Output:
}

func ExampleTimeout() {
	processtest.Given(selling).
		When(OrderPlaced{"42"}).
		Then(t, RequestPayment{"42"}, processtest.Timeout(fortnight, PaymentOverdue{}))
	// Output:
}

func ExampleAt() {
	noon := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	processtest.Given(selling).
		When(processtest.At(noon, OrderPlaced{"42"})).
		Then(t, RequestPayment{"42"}, processtest.TimeoutAt(noon.Add(fortnight), PaymentOverdue{}))
	// Output:
}

func ExampleReject() {
	processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).
		When(processtest.Reject(Ship{"42"}, "out-of-stock")).
		Then(t, Cancel{"42"}, processtest.Completed)
	// Output:
}

func ExampleRejectWith() {
	processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).
		When(processtest.RejectWith(Ship{"42"}, *command.Reject("out-of-stock", "none left"))).
		Then(t, Cancel{"42"}, processtest.Completed)
	// Output:
}

func ExampleFail() {
	processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).
		When(processtest.Fail(Ship{"42"}, "the warehouse did not answer for a week")).
		Then(t, Cancel{"42"}, processtest.Completed)
	// Output:
}

func ExampleExpire() {
	processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).
		When(processtest.Expire(Ship{"42"})).
		Then(t, Ship{"42"})
	// Output:
}

func ExampleAccept() {
	processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).
		When(processtest.Accept(Ship{"42"}, "tracking-number")).
		Then(t, processtest.Emitted(OrderShipped{"42"}), processtest.Completed)
	// Output:
}

func ExampleFor() {
	processtest.Given(selling, OrderPlaced{"1"}, OrderPlaced{"2"}).
		When(PaymentReceived{"2"}, OrderCancelled{"1"}).
		Then(t,
			processtest.For("1", processtest.Completed),
			processtest.For("2", Ship{"2"}, processtest.Cancelled(PaymentOverdue{}), processtest.State(Sale{Paid: true})))
	// Output:
}

func ExamplePermutations() {
	// However they arrive, the order is shipped or cancelled, and never both.
	processtest.Permutations(t, selling, []any{OrderPlaced{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"}},
		processtest.EndsWith(RequestPayment{"42"}, Ship{"42"}),            // a payment before a cancellation
		processtest.EndsWith(RequestPayment{"42"}, processtest.Completed), // and the other way round
	)
	// Output:
}

func ExamplePermutations_differ() {
	processtest.Permutations(t, selling, []any{OrderPlaced{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"}})
	// Output:
	// process "selling": the order of the inputs decides how it ends
	//   one
	//      1. OrderPlaced{OrderID:42}
	//      2. PaymentReceived{OrderID:42}
	//      3. OrderCancelled{OrderID:42}
	//   two
	//      1. OrderPlaced{OrderID:42}
	//      2. OrderCancelled{OrderID:42}
	//      3. PaymentReceived{OrderID:42}
	//      one                                          two
	//   =  "42": send RequestPayment{OrderID:42}        "42": send RequestPayment{OrderID:42}
	//   ≠  "42": send Ship{OrderID:42}                  —
	//   ≠  —                                            "42": completed
	//   ≠  "42": state Sale{Paid:true Cancelled:true}   "42": state Sale{Paid:false Cancelled:true}
}

func ExampleInOrder() {
	processtest.Permutations(t, selling, []any{processtest.InOrder(OrderPlaced{"42"}, OrderCancelled{"42"}), OrderPlaced{"43"}})
	// Output:
}
