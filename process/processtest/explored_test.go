package processtest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// Nothing is found in definitions that are sound: with timeouts, outcomes, an undo, and inputs that are deferred.
func TestExploreFindsNothingInSoundDefinitions(t *testing.T) {
	r := processtest.Explore(t, selling, OrderPlaced{"42"}, PaymentReceived{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"})
	if r.Bounded || len(r.Findings) != 0 || !slices.Equal(r.Reached[process.PhaseCompleted], []string{"OrderPlaced{OrderID:42}", "OrderCancelled{OrderID:42}"}) {
		t.Errorf("%s\n%q", r, r.Reached)
	}
}

// Nobody listens when the flight is refused: the trip then waits for nothing.
func TestExploreFindsAnOutcomeThatNobodyHandles(t *testing.T) {
	r := processtest.Look(t, travelling, TripBooked{"42"}, TripGivenUp{"42"})
	if found := r.Found(processtest.DeadEnd); len(r.Findings) != 1 || len(found) != 1 || !slices.Equal(found[0].Path, []string{"TripBooked{Trip:42}", "rejected BookFlight{Trip:42}: rejected"}) {
		t.Error(r)
	}
}

// An outcome that comes by itself is the one without a result; one that matters is a sample.
func TestExploreTakesOutcomesAsSamples(t *testing.T) {
	def := talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.Send(Ask{"1"}) }),
		process.OnAccepted[Talk, Ask, string]{React: func(_ Talk, in process.Input[process.Accepted[Ask, string]], do *process.Step) {
			if in.Event.Result == "all of it" {
				do.Complete()
			}
		}})
	if r := processtest.Look(t, def, Opened{"1"}); len(r.Found(processtest.NeverCompletes)) != 1 || len(r.Found(processtest.DeadEnd)) != 1 {
		t.Errorf("without the result: %s", r)
	}
	r := processtest.Look(t, def, Opened{"1"}, processtest.Accept(Ask{"1"}, "all of it"))
	if want := []string{"Opened{ID:1}", "accepted Ask{ID:1}"}; !slices.Equal(r.Reached[process.PhaseCompleted], want) {
		t.Errorf("with the result: %s", r)
	}
}

func TestExploreFollowsACompensation(t *testing.T) {
	undoing := 0
	def := talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) {
		do.Send(Ask{"1"}, process.OnUndo(Note{}))
		do.Send(Ask{"2"}, process.OnUndo(Note{}))
	}), process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
		React: func(_ Talk, _ process.Input[Closed], do *process.Step) { do.Compensate() }},
		process.Sends[Talk](Ask{}, Note{}))
	r := processtest.Explore(t, def, Opened{"1"}, Closed{"1"})
	for phase := range r.Reached {
		if phase == "compensating" {
			undoing++
		}
	}
	if _, completed := r.Reached[process.PhaseCompleted]; !completed || undoing != 1 || r.Held != 0 {
		t.Errorf("%s\n%q", r, r.Reached)
	}
}

// What a definition declares to hold, and what the author expects to fail, is counted and is no finding.
func TestExploreCountsWhatIsMeantToFail(t *testing.T) {
	def := talk(opened(nil), closed(), process.On[Talk, Odd]{NoInstance: process.Hold, Locate: process.Key(func(e Odd) string { return e.ID }),
		React: func(_ Talk, _ process.Input[Odd], do *process.Step) { do.Fail(errors.New("somebody must look at it")) }})
	samples := []any{Opened{"1"}, Closed{"1"}, Odd{"1"}}
	r := processtest.Look(t, def, samples...)
	if found := r.Found(processtest.StepFails); len(r.Findings) != 1 || len(found) != 1 || !strings.HasSuffix(found[0].Text, "in phase active: somebody must look at it") || r.Held != 1 {
		t.Errorf("%s\n%d held", r, r.Held)
	}
	r = processtest.Look(t, def, append([]any{processtest.Exploration{MayFail: []string{"look at it"}}}, samples...)...)
	if len(r.Findings) != 0 || r.Held != 2 {
		t.Errorf("%s\n%d held", r, r.Held)
	}
}

func TestExploreLeavesPhasesAloneThatMayLast(t *testing.T) {
	def := talk(opened(nil))
	if r := processtest.Look(t, def, Opened{"1"}); len(r.Found(processtest.NeverCompletes)) != 1 || len(r.Found(processtest.DeadEnd)) != 1 || len(r.Findings) != 2 {
		t.Error(r)
	}
	processtest.Explore(t, def, processtest.Exploration{Endless: process.In(process.PhaseActive)}, Opened{"1"})
}

// Where a bound is reached, nothing is claimed of what may come behind it.
func TestExploreSaysWhereItStopped(t *testing.T) {
	def := talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.After(time.Hour, Reminder{}) }),
		process.OnTimeout[Talk, Reminder]{Name: "reminder",
			Evolve: func(t Talk, _ process.Input[Reminder]) Talk { t.Count++; return t },
			React: func(t Talk, _ process.Input[Reminder], do *process.Step) {
				if do.After(time.Hour, Reminder{}); t.Count == 20 {
					do.Complete()
				}
			}})
	for name, c := range map[string]struct {
		bounds  processtest.Exploration
		states  int
		bounded bool
	}{
		"states": {processtest.Exploration{States: 10}, 11, true},
		"depth":  {processtest.Exploration{Depth: 12}, 13, true},
		"none":   {processtest.Exploration{}, 22, false},
	} {
		var said told
		r := processtest.Explore(&said, def, c.bounds, Opened{"1"})
		if r.Bounded != c.bounded || r.States != c.states || len(r.Findings) != 0 || len(said.errors) != 0 || len(said.logs) > 0 != c.bounded {
			t.Errorf("%s: %s, and it was told %q", name, r, said.logs)
		}
	}
}

// In a bubble there is no other one, and the clock stands still: what can be found without is found.
func TestExploreInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		processtest.Explore(t, selling, OrderPlaced{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"})
	})
}

// A state that only fields show that are not exported is another state.
func TestExploreTellsStatesApartByAllOfTheirFields(t *testing.T) {
	def := talk(opened(nil), answered(func(t Talk, _ process.Input[Answered]) Talk {
		t.names = map[string]bool{"answered": true, "a": true, "b": true, "c": true, "d": true}
		return t
	}), process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
		React: func(t Talk, _ process.Input[Closed], do *process.Step) {
			if t.names["answered"] {
				do.Complete()
			}
		}})
	processtest.Explore(t, def, Opened{"1"}, Answered{"1"}, Closed{"1"})
}

func TestExploreTellsOnceAndAllAtOnce(t *testing.T) {
	var said told
	r := processtest.Explore(&said, talk(opened(nil), answered(nil), closed()), Opened{"1"}, Answered{}, Odd{"1"})
	if len(said.errors) != 1 || said.errors[0] != r.String() || len(r.Findings) != 5 {
		t.Errorf("%q", said.errors)
	}
}

func ExampleExplore() {
	// A payment that comes after the fortnight finds the order cancelled: nothing is wrong.
	processtest.Explore(t, selling, OrderPlaced{"42"}, PaymentReceived{"42"}, OrderCancelled{"42"})
	// Output:
}

func ExampleExplore_finding() {
	greeting := process.Define("greeting",
		process.On[Sale, OrderPlaced]{
			Starts: true, In: []process.Phase{},
			Locate: process.Key(func(e OrderPlaced) string { return e.OrderID }),
			React: func(_ Sale, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(RequestPayment(in.Event))
			},
		},
		process.OnAccepted[Sale, RequestPayment, string]{
			React: func(_ Sale, _ process.Input[process.Accepted[RequestPayment, string]], do *process.Step) {
				do.Complete()
			},
		},
		process.OnRejected[Sale, RequestPayment]{
			Evolve: func(s Sale, _ process.Input[process.Rejected[RequestPayment]]) Sale { s.Cancelled = true; return s },
		},
	).Otherwise(process.Ignore)
	processtest.Explore(t, greeting, OrderPlaced{"42"})
	// Output:
	// process "greeting": one thing is wrong in 4 states
	//   an instance waits for nothing: in phase active no event is handled, no timeout is set, and no command is on its way whose outcome is handled
	//      1. OrderPlaced{OrderID:42}
	//      2. rejected RequestPayment{OrderID:42}: rejected
	// what was handled
	//      event processtest_test.OrderPlaced         no instance
	//      accepted processtest_test.RequestPayment   active
	//      rejected processtest_test.RequestPayment   active
}

// A state that is reached sooner with fewer samples left is looked at again when it is reached later with more of them.
func TestExploreLooksAgainWhereMoreCanCome(t *testing.T) {
	locate := process.Key(func(e Odd) string { return e.ID })
	def := talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.After(time.Hour, Late{}) }),
		process.On[Talk, Odd]{NoInstance: process.Ignore, Locate: locate,
			Evolve: func(t Talk, _ process.Input[Odd]) Talk { t.Answered, t.Asked = t.Asked, true; return t },
			React: func(t Talk, _ process.Input[Odd], do *process.Step) {
				do.Cancel(Late{})
				do.Cancel(Reminder{})
				if t.Answered {
					do.Complete()
				}
			}},
		process.OnTimeout[Talk, Late]{Name: "late", React: func(_ Talk, _ process.Input[Late], do *process.Step) { do.After(time.Hour, Reminder{}) }},
		process.OnTimeout[Talk, Reminder]{Name: "reminder", Evolve: func(t Talk, _ process.Input[Reminder]) Talk { t.Asked = true; return t }})
	r := processtest.Explore(t, def, Opened{"1"}, Odd{"1"})
	if want := []string{"Opened{ID:1}", `timeout "late" after 1h`, `timeout "reminder" after 1h`, "Odd{ID:1}"}; !slices.Equal(r.Reached[process.PhaseCompleted], want) {
		t.Errorf("%q", r.Reached)
	}
}

// What another instance waits for does not help the one that waits for nothing.
func TestExploreLooksAtEachInstance(t *testing.T) {
	def := talk(process.On[Talk, Opened]{Starts: true, In: []process.Phase{}, Locate: process.Keys(func(e Opened) []string { return strings.Split(e.ID, ",") }),
		React: func(_ Talk, _ process.Input[Opened], do *process.Step) {
			if do.Instance() == "b" {
				do.Send(Ask{"b"})
			}
		}},
		process.OnAccepted[Talk, Ask, struct{}]{React: func(_ Talk, _ process.Input[process.Accepted[Ask, struct{}]], do *process.Step) { do.Complete() }})
	r := processtest.Look(t, def, Opened{"a,b"})
	if found := r.Found(processtest.DeadEnd); len(found) != 1 || !slices.Equal(found[0].Path, []string{"Opened{ID:a,b}"}) {
		t.Error(r)
	}
}

// What an instance asked Once for, the keys that it claimed, and what waits for it make another state, although it is not in the state's value.
func TestExploreTellsStatesApartByWhatIsKeptBeside(t *testing.T) {
	def := talk(opened(nil),
		process.On[Talk, Answered]{NoInstance: process.Ignore, Locate: process.Key(func(e Answered) string { return e.ID }),
			React: func(_ Talk, _ process.Input[Answered], do *process.Step) { do.Once("answer") }},
		process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
			React: func(_ Talk, _ process.Input[Closed], do *process.Step) {
				if !do.Once("answer") {
					do.Complete()
				}
			}})
	processtest.Explore(t, def, Opened{"1"}, Answered{"1"}, Closed{"1"})

	def = talk(opened(nil),
		process.On[Talk, Answered]{NoInstance: process.Ignore, Locate: process.Key(func(e Answered) string { return e.ID }),
			React: func(_ Talk, _ process.Input[Answered], do *process.Step) { do.Correlate("odd", "key") }},
		process.On[Talk, Odd]{NoInstance: process.Ignore, Locate: process.Claimed("odd", func(e Odd) string { return e.ID }),
			React: func(_ Talk, _ process.Input[Odd], do *process.Step) { do.Complete() }})
	processtest.Explore(t, def, Opened{"1"}, Answered{"1"}, Odd{"key"})

	def = talk(opened(nil), process.On[Talk, Closed]{NoInstance: process.Defer, Locate: process.Key(func(e Closed) string { return e.ID }),
		React: func(_ Talk, _ process.Input[Closed], do *process.Step) { do.Complete() }})
	if r := processtest.Explore(t, def, Opened{"1"}, Closed{"1"}); r.States != 4 { // nothing, running, completed, and nothing but a deferred input
		t.Error(r)
	}
}
