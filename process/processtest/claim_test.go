package processtest_test

import (
	"fmt"
	"testing"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

type (
	invoiced   struct{ Order, Invoice string }
	annulled   struct{ Order, Invoice string }
	settled    struct{ Invoice string }
	ended      struct{ Order string }
	invoiceRun struct {
		Paid  int
		Taken string
	}
)

var invoices = process.Define("invoices",
	process.On[invoiceRun, invoiced]{Starts: true, Locate: process.Key(func(e invoiced) string { return e.Order }),
		React: func(_ invoiceRun, in process.Input[invoiced], do *process.Step) {
			do.Correlate("invoice", in.Event.Invoice)
		}},
	process.On[invoiceRun, annulled]{NoInstance: process.Ignore, Locate: process.Key(func(e annulled) string { return e.Order }),
		React: func(_ invoiceRun, in process.Input[annulled], do *process.Step) {
			do.Correlate("invoice", "passing") // released before the step ends
			do.Release("invoice", in.Event.Invoice)
			do.Release("invoice", "passing")
			do.Release("invoice", "never claimed")
		}},
	process.On[invoiceRun, ended]{NoInstance: process.Ignore, Locate: process.Key(func(e ended) string { return e.Order }),
		React: func(_ invoiceRun, _ process.Input[ended], do *process.Step) { do.Complete() }},
	process.On[invoiceRun, settled]{NoInstance: process.Defer, Locate: process.Claimed("invoice", func(e settled) string { return e.Invoice }),
		Evolve: func(s invoiceRun, _ process.Input[settled]) invoiceRun { s.Paid++; return s }},
	process.OnTaken[invoiceRun]{Name: "invoice",
		Evolve: func(s invoiceRun, in process.Input[process.ClaimTaken]) invoiceRun {
			s.Taken = fmt.Sprint(in.Event.Key, " by ", in.Event.By)
			return s
		}},
).Otherwise(process.Ignore)

func TestG8_G9_ClaimsInScenarios(t *testing.T) {
	t.Run("in any order", func(t *testing.T) {
		processtest.Permutations(t, invoices, []any{invoiced{"o", "i"}, settled{"i"}, settled{"i"}}, processtest.EndsWith(processtest.State(invoiceRun{Paid: 2}), processtest.Claimed("invoice", "i")))
	})
	t.Run("claimed, released, and claimed by another", func(t *testing.T) {
		processtest.Given(invoices).When(invoiced{"o", "i"}).Then(t, processtest.For("o", processtest.Claimed("invoice", "i"))).
			When(invoiced{"o", "i"}).Then(t).
			When(settled{"i"}, annulled{"o", "i"}, settled{"i"}).Then(t, processtest.Released("invoice", "i")).
			When(invoiced{"p", "i"}, settled{"i"}).Then(t, processtest.Claimed("invoice", "i"), processtest.For("o", processtest.State(invoiceRun{Paid: 1})),
			processtest.For("p", processtest.State(invoiceRun{Paid: 2}))).
			When(ended{"p"}).Then(t, processtest.Completed).
			When(invoiced{"q", "i"}).Then(t, processtest.Claimed("invoice", "i"))
	})
	t.Run("taken", func(t *testing.T) {
		processtest.Given(invoices, invoiced{"o", "i"}).When(invoiced{"p", "i"}).Then(t, processtest.For("p", processtest.State(invoiceRun{Taken: "i by o"})))
	})
}
