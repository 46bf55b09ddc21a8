package processtest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// said is a processtest.T that notes what it is told.
type said []string

func (*said) Helper()                             {}
func (s *said) Errorf(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }

func (s *said) passes(t *testing.T) {
	t.Helper()
	if len(*s) > 0 {
		t.Fatalf("it fails: %s", strings.Join(*s, "\n"))
	}
}

// fails asserts that it failed once, with all of the texts in its message.
func (s *said) fails(t *testing.T, texts ...string) {
	t.Helper()
	if len(*s) != 1 {
		t.Fatalf("it fails %d times: %q", len(*s), *s)
	}
	for _, text := range texts {
		if !strings.Contains((*s)[0], text) {
			t.Errorf("its message has no %q:\n%s", text, (*s)[0])
		}
	}
}

type (
	Started struct {
		Key  string
		When time.Time
	}
	Named   struct{ Keys []string }
	Broken  struct{ Key string }
	Do      struct{ Key, What string }
	Soon    struct{ Key string }
	Strange struct{ hidden int }
	Noted   struct{ Key string }
	Memory  struct{ Seen map[string]int }
)

func (s Soon) TimeoutKey() string { return s.Key }

var several = process.Define("several",
	process.On[Memory, Started]{
		Starts: true,
		Locate: process.Key(func(e Started) string { return e.Key }),
		React: func(_ Memory, in process.Input[Started], do *process.Step) {
			do.After(time.Hour, Soon{"a"})
			do.At(in.Time.Add(2*time.Hour), Soon{"b"})
			do.SendTo("desk", Do{in.Event.Key, "first"})
			do.Send(Do{in.Event.Key, "second"})
			do.Emit(Noted{in.Event.Key})
		},
	},
	process.On[Memory, Named]{
		NoInstance: process.Defer,
		Locate:     process.Keys(func(e Named) []string { return e.Keys }),
		React: func(_ Memory, in process.Input[Named], do *process.Step) {
			do.Send(Do{do.Instance(), "named " + in.Metadata.Header("by")})
		},
	},
	process.On[Memory, Broken]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e Broken) string { return e.Key }),
		React: func(_ Memory, in process.Input[Broken], do *process.Step) {
			do.Send(Do{do.Instance(), "never"})
			do.Fail(errors.New("out of order"))
		},
	},
	process.OnTimeout[Memory, Soon]{
		Name: "soon",
		React: func(_ Memory, in process.Input[Soon], do *process.Step) {
			do.Send(Do{do.Instance(), "timeout " + in.Event.Key})
		},
	},
).Otherwise(process.Ignore)

func TestThenWantsEverything(t *testing.T) {
	start := Started{Key: "1"}
	all := []any{processtest.To("desk", Do{"1", "first"}), Do{"1", "second"}, processtest.Emitted(Noted{"1"}),
		processtest.Timeout(time.Hour, Soon{"a"}), processtest.Timeout(2*time.Hour, Soon{"b"})}
	t.Run("all of it passes", func(t *testing.T) {
		var s said
		processtest.Given(several).When(start).Then(&s, all...)
		s.passes(t)
	})
	for n := range all {
		t.Run(fmt.Sprintf("without %d", n), func(t *testing.T) {
			var s said
			wants := append(append([]any{}, all[:n]...), all[n+1:]...)
			processtest.Given(several).When(start).Then(&s, wants...)
			s.fails(t, `process "several": it decided otherwise`, "≠", "what happened")
		})
		t.Run(fmt.Sprintf("twice %d", n), func(t *testing.T) {
			var s said
			processtest.Given(several).When(start).Then(&s, append([]any{all[n]}, all...)...)
			s.fails(t, "—")
		})
	}
	t.Run("nothing is wanted", func(t *testing.T) {
		var s said
		processtest.Given(several).When(start).Then(&s)
		s.fails(t, "send Do{Key:1 What:first} to desk")
	})
	t.Run("commands in another order", func(t *testing.T) {
		var s said
		wants := append([]any{}, all...)
		wants[0], wants[1] = wants[1], wants[0]
		processtest.Given(several).When(start).Then(&s, wants...)
		s.fails(t, "=  send Do{Key:1 What:second}")
	})
	t.Run("timeouts in another order", func(t *testing.T) {
		var s said
		wants := append([]any{}, all...)
		wants[3], wants[4] = wants[4], wants[3]
		processtest.Given(several).When(start).Then(&s, wants...)
		s.passes(t)
	})
	for what, other := range map[string]any{
		"module":        processtest.To("bureau", Do{"1", "first"}),
		"instance":      processtest.For("2", Do{"1", "first"}),
		"header":        processtest.WithHeader("by", "me", Do{"1", "first"}),
		"emitted":       processtest.Emitted(Do{"1", "first"}),
		"another value": Do{"1", "frist"},
		"another type":  Noted{"1"},
	} {
		t.Run("another "+what, func(t *testing.T) {
			var s said
			wants := append([]any{}, all...)
			wants[0] = other
			processtest.Given(several).When(start).Then(&s, wants...)
			s.fails(t, "≠")
		})
	}
	for what, other := range map[string]any{
		"duration": processtest.Timeout(2*time.Hour, Soon{"a"}),
		"due time": processtest.TimeoutAt(process.MachineStart, Soon{"a"}),
		"key":      processtest.Timeout(time.Hour, Soon{"b"}),
		"instance": processtest.For("2", processtest.Timeout(time.Hour, Soon{"a"})),
	} {
		t.Run("a timeout of another "+what, func(t *testing.T) {
			var s said
			wants := append([]any{}, all...)
			wants[3] = other
			processtest.Given(several).When(start).Then(&s, wants...)
			s.fails(t, "timeout Soon{Key:a} after 1h, at 2026-01-01T01:00:00Z")
		})
	}
}

func TestInstantsAreComparedAsInstants(t *testing.T) {
	type at = struct{ When time.Time }
	def := process.Define("zones", process.On[struct{}, Started]{
		Starts: true,
		Locate: process.Key(func(e Started) string { return e.Key }),
		React:  func(_ struct{}, in process.Input[Started], do *process.Step) { do.Send(at{in.Event.When}) },
	}).Otherwise(process.Ignore)
	var s said
	noon := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	processtest.Given(def).When(Started{"1", noon.In(time.FixedZone("", 7200))}).Then(&s, at{noon})
	s.passes(t)
	processtest.Given(def).When(Started{"1", noon}).Then(&s, at{noon.Add(1)})
	s.fails(t, "≠")
}

func TestTimePasses(t *testing.T) {
	var s said
	start := process.MachineStart
	processtest.Given(several, Started{Key: "1"}).
		When(processtest.Advance(time.Hour-1)).
		Then(&s).
		When(processtest.Advance(time.Microsecond)).
		Then(&s, Do{"1", "timeout a"}).
		When(processtest.At(start.Add(2*time.Hour), Named{Keys: []string{"1"}})). // a timeout of the same instant goes first
		Then(&s, Do{"1", "timeout b"}, Do{"1", "named "}).
		When(processtest.AdvanceTo(start.Add(100 * time.Hour))).
		Then(&s)
	s.passes(t)
}

func TestSeveralInstances(t *testing.T) {
	var s said
	past := []any{Started{Key: "1"}, Started{Key: "2"}, Started{Key: "3"}}
	by := processtest.WithHeader("by", "me", Named{Keys: []string{"3", "", "1", "3", "9"}})
	processtest.Given(several, past...).
		When(by).
		Then(&s, processtest.For("3", Do{"3", "named me"}), processtest.For("1", Do{"1", "named me"})).
		When(Started{Key: "9"}). // it was deferred for this one
		Then(&s, Do{"9", "first"}, Do{"9", "second"}, Do{"9", "named me"}, processtest.Emitted(Noted{"9"}),
			processtest.Timeout(time.Hour, Soon{"a"}), processtest.Timeout(2*time.Hour, Soon{"b"}))
	s.passes(t)
}

func TestDuplicatesAreRecognised(t *testing.T) {
	var s said
	once := event.New(Named{Keys: []string{"1"}}).WithID(event.NewID())
	processtest.Given(several, Started{Key: "1"}).
		When(once, once).Then(&s, Do{"1", "named "}).
		When(once).Then(&s)
	s.passes(t)
}

func TestHeadersAreCarried(t *testing.T) {
	carried := processtest.Options{Carried: []string{"by"}}
	named := processtest.WithHeader("by", "me", Named{Keys: []string{"1"}})
	var s said
	processtest.Given(several, carried, Started{Key: "1"}).When(named).Then(&s, processtest.WithHeader("by", "me", Do{"1", "named me"}))
	s.passes(t)
	processtest.Given(several, Started{Key: "1"}).When(named).Then(&s, processtest.WithHeader("by", "me", Do{"1", "named me"}))
	s.fails(t, `with headers map["by":"me"]`)
}

func TestFailingSteps(t *testing.T) {
	t.Run("are wanted", func(t *testing.T) {
		var s said
		processtest.Given(several, Started{Key: "1"}).When(Broken{"1"}).Then(&s, processtest.Fails("out of order"))
		s.passes(t)
	})
	t.Run("are not wanted", func(t *testing.T) {
		var s said
		processtest.Given(several, Started{Key: "1"}).When(Broken{"1"}).Then(&s, Do{"1", "never"})
		s.fails(t, "out of order", "≠")
	})
	t.Run("fail otherwise", func(t *testing.T) {
		var s said
		processtest.Given(several, Started{Key: "1"}).When(Broken{"1"}).Then(&s, processtest.Fails("in order"))
		s.fails(t, "out of order")
	})
	t.Run("in what is given", func(t *testing.T) {
		var s said
		processtest.Given(several, Started{Key: "1"}, Broken{"1"}).When().Then(&s, processtest.Fails("out of order"))
		s.fails(t, "what was given fails already", "out of order")
	})
}

func TestMistakesOfTheTestAreSaidClearly(t *testing.T) {
	for name, c := range map[string]struct {
		items []any
		text  string
	}{
		"unhandled event":   {[]any{Noted{"1"}}, "does not handle event processtest_test.Noted; add process.On[…, processtest_test.Noted]"},
		"pointer":           {[]any{&Started{Key: "1"}}, "give the value, not a pointer"},
		"timeout":           {[]any{Soon{"a"}}, "it is a timeout: it fires by itself"},
		"nil":               {[]any{nil}, "does not handle event"},
		"another module":    {[]any{processtest.From("elsewhere", Noted{"1"})}, "does not handle event"},
		"outcome unhandled": {[]any{processtest.Reject(Do{"1", "first"}, "no")}, "add process.OnRejected[…, processtest_test.Do]"},
		"in order":          {[]any{processtest.InOrder()}, "InOrder is for Permutations"},
	} {
		t.Run(name, func(t *testing.T) {
			var s said
			processtest.Given(several).When(c.items...).Then(&s).Then(&s)
			s.fails(t, c.text)
		})
	}
	for name, c := range map[string]struct {
		item any
		text string
	}{
		"never sent":          {processtest.Accept(Ship{"43"}, nil), `has not sent processtest_test.Ship{OrderID:43}`},
		"another result":      {processtest.Accept(Ship{"42"}, 7), "takes string as the result of processtest_test.Ship, not int"},
		"accepted, unhandled": {processtest.Accept(Cancel{"42"}, nil), "OnAccepted[…, processtest_test.Cancel, …]"},
	} {
		t.Run(name, func(t *testing.T) {
			var s said
			processtest.Given(selling, OrderPlaced{"42"}, PaymentReceived{"42"}).When(c.item).Then(&s)
			s.fails(t, c.text)
		})
	}
	for name, c := range map[string]struct {
		want any
		text string
	}{
		"nil":         {nil, "to want nothing, give it nothing"},
		"an item":     {processtest.Advance(1), "give it to When"},
		"an item For": {processtest.For("1", processtest.Advance(1)), "give it to When"},
		"an effect":   {process.Effect{}, "give it the command"},
	} {
		t.Run("wanted: "+name, func(t *testing.T) {
			var s said
			processtest.Given(several).When().Then(&s, c.want)
			s.fails(t, c.text)
		})
	}
	t.Run("a definition with mistakes", func(t *testing.T) {
		var s said
		processtest.Given(process.Define[int]("nothing").Otherwise(process.Ignore)).When(1).Then(&s)
		s.fails(t, "no input starts an instance")
	})
	t.Run("a timeout that is not handled", func(t *testing.T) {
		def := process.Define("lax", process.On[int, Started]{
			Starts: true,
			Locate: process.Key(func(e Started) string { return e.Key }),
			React:  func(_ int, _ process.Input[Started], do *process.Step) { do.After(1, Strange{}) },
		}).Otherwise(process.Ignore)
		var s said
		processtest.Given(def).When(Started{Key: "1"}).Then(&s)
		s.fails(t, `add process.OnTimeout[…, processtest_test.Strange]`)
	})
}

func TestWhatATimeoutLosesInTheStoreIsSeen(t *testing.T) {
	def := process.Define("lossy",
		process.On[int, Started]{
			Starts: true,
			Locate: process.Key(func(e Started) string { return e.Key }),
			React:  func(_ int, _ process.Input[Started], do *process.Step) { do.After(time.Hour, Strange{7}) },
		},
		process.OnTimeout[int, Strange]{Name: "strange", React: func(int, process.Input[Strange], *process.Step) {}}).Otherwise(process.Ignore)
	var s said
	processtest.Given(def).When(Started{Key: "1"}).Then(&s, processtest.Timeout(time.Hour, Strange{7}))
	s.fails(t, "Strange{hidden:0}", "Strange{hidden:7}")
}

func TestImpureDefinitionsAreFound(t *testing.T) {
	locate := process.Key(func(e Started) string { return e.Key })
	calls := 0
	for name, on := range map[string]process.On[Memory, Started]{
		"React changes the state": {Starts: true, Locate: locate,
			Evolve: func(m Memory, _ process.Input[Started]) Memory { return Memory{map[string]int{"a": 1}} },
			React:  func(m Memory, _ process.Input[Started], _ *process.Step) { m.Seen["a"] = 2 }},
		"Evolve depends on something else": {Starts: true, Locate: locate,
			Evolve: func(m Memory, _ process.Input[Started]) Memory { calls++; return Memory{map[string]int{"a": calls}} }},
	} {
		t.Run(name, func(t *testing.T) {
			var s said
			processtest.Given(process.Define("impure", on).Otherwise(process.Ignore)).When(Started{Key: "1"}).Then(&s)
			s.fails(t, "when history is read again")
		})
	}
}

func TestStates(t *testing.T) {
	var s said
	processtest.Given(selling, OrderPlaced{"42"}).When(OrderCancelled{"42"}).
		Then(&s, processtest.Completed, processtest.State(Sale{Cancelled: true}), processtest.For("7", processtest.State(Sale{})))
	s.passes(t)
	processtest.Given(selling, OrderPlaced{"42"}).When().Then(&s, processtest.State(Sale{Paid: true}))
	s.fails(t, "state Sale{Paid:false Cancelled:false}   state Sale{Paid:true Cancelled:false}")
}

func TestThenGoesOnAfterNoFailure(t *testing.T) {
	var s said
	processtest.Given(selling).When(OrderPlaced{"42"}).Then(&s).When(PaymentReceived{"42"}).Then(&s)
	s.fails(t)
}

func TestPermutationsTryEveryOrder(t *testing.T) {
	starts := func(arrived *[]string) process.Definition { // impure on purpose: it tells what arrives
		return process.Define("any", process.On[int, Started]{
			Starts: true,
			Locate: process.Key(func(e Started) string { return "one" }),
			React:  func(_ int, in process.Input[Started], _ *process.Step) { *arrived = append(*arrived, in.Event.Key) },
		}).Otherwise(process.Ignore)
	}
	a, b, c := Started{Key: "a"}, Started{Key: "b"}, Started{Key: "c"}
	for _, test := range []struct {
		inputs []any
		want   string
	}{
		{[]any{a, b, c}, "abc acb bac bca cab cba"},
		{[]any{processtest.InOrder(a, b), c}, "abc acb cab"},
		{[]any{processtest.InOrder(a, b, c)}, "abc"},
		{nil, ""},
	} {
		var s said
		var arrived []string
		processtest.Permutations(&s, starts(&arrived), test.inputs)
		s.passes(t)
		var orders []string
		for ; len(arrived) > 0; arrived = arrived[3:] {
			orders = append(orders, strings.Join(arrived[:3], ""))
		}
		if got := strings.Join(orders, " "); got != test.want {
			t.Errorf("the orders are %q, not %q", got, test.want)
		}
	}
}

func TestPermutationsAreBounded(t *testing.T) {
	all := func(n int) (inputs []any) {
		for range n {
			inputs = append(inputs, Started{Key: "1"})
		}
		return inputs
	}
	var s said
	processtest.Permutations(&s, several, []any{processtest.InOrder(all(50)...), Started{Key: "2"}})
	s.passes(t)
	processtest.Permutations(&s, several, all(9))
	s.fails(t, "more than 40320 orders; give at most eight, or keep some InOrder")
}

func TestPermutationsGiveInstantsByPlace(t *testing.T) {
	noon := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	def := process.Define("times", process.On[time.Time, Started]{
		Starts: true,
		Locate: process.Key(func(e Started) string { return "one" }),
		Evolve: func(at time.Time, in process.Input[Started]) time.Time {
			if in.Time.Before(at) {
				panic("time goes back")
			}
			return in.Time
		},
	}).Otherwise(process.Ignore)
	var s said
	processtest.Permutations(&s, def, []any{processtest.At(noon.Add(time.Hour), Started{Key: "a"}), processtest.At(noon, Started{Key: "b"}), Started{Key: "c"}},
		processtest.EndsWith(processtest.State(noon.Add(time.Hour))))
	s.passes(t)
}

func TestPermutationsLeaveOutOutcomesBeforeTheirCommands(t *testing.T) {
	var s said
	processtest.Permutations(&s, selling, []any{OrderPlaced{"42"}, PaymentReceived{"42"}, processtest.Accept(Ship{"42"}, "x")})
	s.passes(t)
	processtest.Permutations(&s, selling, []any{OrderPlaced{"42"}, processtest.Accept(Ship{"42"}, "x")})
	s.fails(t, "there is no order in which each outcome comes after its command")
}

func TestPermutationsTellWhatIsWrong(t *testing.T) {
	inputs := []any{OrderPlaced{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"}}
	paid := processtest.EndsWith(RequestPayment{"42"}, Ship{"42"})
	for name, c := range map[string]struct {
		def     process.Definition
		inputs  []any
		endings []processtest.Ending
		texts   []string
	}{
		"an ending that is not listed": {selling, inputs, []processtest.Ending{paid},
			[]string{"an order ends in none of the ways listed", "1. OrderPlaced{OrderID:42}\n     2. OrderCancelled{OrderID:42}", `"42": completed`}},
		"an ending that is not reached": {selling, inputs[:2], []processtest.Ending{paid, processtest.EndsWith(Ship{"42"}, processtest.Completed)},
			[]string{"none of the 2 orders ends with send Ship{OrderID:42}, completed"}},
		"an ending with nothing": {selling, inputs[:2], []processtest.Ending{paid, processtest.EndsWith()},
			[]string{"ends with nothing at all"}},
		"a failing step": {several, []any{Broken{"1"}, Started{Key: "1"}}, nil,
			[]string{"out of order", "1. Started{Key:1"}},
		"an unhandled event": {several, []any{Noted{"1"}}, nil,
			[]string{"does not handle event", "1. Noted{Key:1}"}},
		"an item among the endings": {several, []any{Started{Key: "1"}}, []processtest.Ending{processtest.EndsWith(processtest.Advance(1))},
			[]string{"give it to When"}},
		"InOrder twice": {several, []any{processtest.InOrder(processtest.InOrder(Started{Key: "1"}))}, nil,
			[]string{"InOrder inside InOrder"}},
		"a definition with mistakes": {process.Define[int]("nothing").Otherwise(process.Ignore), []any{1}, nil, []string{"no input starts"}},
		"one that is missing": {selling, []any{OrderCancelled{"42"}, processtest.InOrder(OrderPlaced{"42"}, PaymentReceived{"42"})}, nil,
			[]string{"the order of the inputs decides"}},
	} {
		t.Run(name, func(t *testing.T) {
			var s said
			processtest.Permutations(&s, c.def, c.inputs, c.endings...)
			s.fails(t, c.texts...)
		})
	}
}

func TestPermutationsSeeAnInstanceThatOnlyOneOrderStarts(t *testing.T) {
	def := process.Define("chain",
		process.On[int, Started]{Starts: true, Locate: process.Key(func(e Started) string { return e.Key }),
			React: func(_ int, in process.Input[Started], do *process.Step) {}},
		process.On[int, Named]{NoInstance: process.Ignore, Locate: process.Keys(func(e Named) []string { return e.Keys }),
			React: func(_ int, in process.Input[Named], do *process.Step) { do.Emit(Started{Key: "second"}) }}).Otherwise(process.Ignore)
	var s said
	processtest.Permutations(&s, def, []any{Named{[]string{"first"}}, Started{Key: "first"}})
	s.fails(t, `"second": state int0`)
}

func BenchmarkScenario(b *testing.B) {
	b.ReportAllocs()
	var s said
	for b.Loop() {
		processtest.Given(selling, OrderPlaced{"42"}).When(PaymentReceived{"42"}).Then(&s, Ship{"42"}, processtest.Cancelled(PaymentOverdue{}))
	}
	if len(s) > 0 {
		b.Fatal(s)
	}
}
