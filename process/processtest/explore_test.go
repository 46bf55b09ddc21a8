package processtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// told is a T that keeps what it is told.
type told struct{ errors, logs []string }

func (*told) Helper() {}
func (t *told) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}
func (t *told) Logf(format string, args ...any) {
	t.logs = append(t.logs, fmt.Sprintf(format, args...))
}

type (
	Opened   struct{ ID string }
	Answered struct{ ID string }
	Closed   struct{ ID string }
	Odd      struct{ ID string }
	Ask      struct{ ID string }
	Note     struct{ At time.Time }
	Late     struct{}
	Reminder struct{ Number int }
	Talk     struct {
		Asked, Answered bool
		Count           int
		names           map[string]bool
	}
)

const (
	asking    process.Phase = "asking"
	answering process.Phase = "answering"
	lost      process.Phase = "lost"
)

func opened(react func(Talk, process.Input[Opened], *process.Step)) process.Part[Talk] {
	return process.On[Talk, Opened]{Starts: true, In: []process.Phase{}, Locate: process.Key(func(e Opened) string { return e.ID }), React: react}
}

func closed() process.Part[Talk] {
	return process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
		React: func(_ Talk, _ process.Input[Closed], do *process.Step) { do.Complete() }}
}

func answered(evolve func(Talk, process.Input[Answered]) Talk, in ...process.Phase) process.Part[Talk] {
	if evolve == nil {
		evolve = func(t Talk, _ process.Input[Answered]) Talk { return t }
	}
	return process.On[Talk, Answered]{NoInstance: process.Ignore, In: in, Locate: process.Key(func(e Answered) string { return e.ID }), Evolve: evolve}
}

// talk makes a definition.
func talk(parts ...process.Part[Talk]) process.Definition {
	return process.Define("talk", parts...).Otherwise(process.Ignore)
}

// handlesNote is a handler of Note, and of nothing else.
var handlesNote = []command.Handler{command.Handle("note", func(context.Context, *aggregate.Work, Note) (struct{}, error) { return struct{}{}, nil })}

// Each defect is found, where it is, and nothing else.
func TestExploreFindsADefect(t *testing.T) {
	phased := process.Phases(func(t Talk) process.Phase {
		switch {
		case t.Count > 5:
			return lost
		case t.Answered:
			return answering
		}
		return asking
	}, asking, answering, lost)
	toAnswered := func(t Talk, _ process.Input[Answered]) Talk { t.Answered = true; return t }
	open, answer, end := Opened{"1"}, Answered{"1"}, Closed{"1"}
	for name, c := range map[string]struct {
		def  process.Definition
		more []any // samples and options beside the three
		kind processtest.FindingKind
		text string
		path []string
	}{
		"a panic": {
			def: talk(opened(nil), closed(), answered(func(t Talk, _ process.Input[Answered]) Talk {
				t.names["x"] = true
				return t
			})),
			kind: processtest.StepFails, text: "event processtest_test.Answered in phase active: panic: assignment to entry in nil map",
			path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"a timeout that is not handled": {
			def: talk(opened(nil), closed(), answered(toAnswered), process.React(func(t Talk, do *process.Step) {
				if t.Answered {
					do.After(time.Hour, Late{})
				}
			})),
			kind: processtest.StepFails, text: "does not handle it; add process.OnTimeout[…, processtest_test.Late]", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"a pointer as a command": {
			def:  talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.Send(&Ask{}) }), closed(), answered(nil)),
			kind: processtest.StepFails, text: "commands and events are values, not pointers", path: []string{"Opened{ID:1}"},
		},
		"a phase that is not declared": {
			def: talk(opened(nil), closed(), answered(toAnswered), process.Phases(func(t Talk) process.Phase {
				if t.Answered {
					return "somewhere"
				}
				return asking
			}, asking)),
			kind: processtest.StepFails, text: `phase "somewhere", which Phases does not declare`, path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"a failing step behind a timeout": {
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.After(time.Hour, Late{}) }), closed(), answered(toAnswered),
				process.OnTimeout[Talk, Late]{Name: "late", React: func(t Talk, _ process.Input[Late], do *process.Step) {
					if t.Answered {
						do.Fail(errors.New("too late"))
					}
				}}),
			kind: processtest.StepFails, text: "too late", path: []string{"Opened{ID:1}", "Answered{ID:1}", `timeout "late" after 1h`},
		},
		"timeouts in the order that the later one is due first": {
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.After(48*time.Hour, Late{}) }), closed(),
				process.On[Talk, Answered]{NoInstance: process.Ignore, Locate: process.Key(func(e Answered) string { return e.ID }), Evolve: toAnswered,
					React: func(_ Talk, _ process.Input[Answered], do *process.Step) { do.After(time.Hour, Reminder{}) }},
				process.OnTimeout[Talk, Reminder]{Name: "reminder", React: func(_ Talk, _ process.Input[Reminder], do *process.Step) { do.Complete() }},
				process.OnTimeout[Talk, Late]{Name: "late", React: func(t Talk, _ process.Input[Late], do *process.Step) {
					if t.Answered {
						do.Fail(errors.New("too late"))
					}
				}}),
			kind: processtest.StepFails, text: "too late", path: []string{"Opened{ID:1}", "Answered{ID:1}, just before the next timeout", `timeout "late" after 1µs`},
		},
		"a rejection that panics": {
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.Send(Ask{"1"}) }), closed(), answered(nil),
				process.OnRejected[Talk, Ask]{React: func(Talk, process.Input[process.Rejected[Ask]], *process.Step) { panic("refused") }}),
			kind: processtest.StepFails, text: "panic: refused", path: []string{"Opened{ID:1}", "rejected Ask{ID:1}: rejected"},
		},
		"a deadline that panics": {
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.Send(Ask{"1"}, process.Within(time.Hour)) }), closed(), answered(nil),
				process.OnFailed[Talk, Ask]{React: func(_ Talk, in process.Input[process.Failed[Ask]], _ *process.Step) {
					if in.Event.Expired {
						panic("expired")
					}
				}}),
			kind: processtest.StepFails, text: "panic: expired", path: []string{"Opened{ID:1}", "expired Ask{ID:1}"},
		},
		"a reaction that changes the state": {
			def: talk(opened(nil), closed(), answered(func(t Talk, _ process.Input[Answered]) Talk { t.names = map[string]bool{}; return t }),
				process.React(func(t Talk, _ *process.Step) {
					if t.names != nil {
						t.names["seen"] = true
					}
				})),
			kind: processtest.StepFails, text: "React must not change the state", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"a phase that is never reached": {
			def:  talk(phased, opened(nil), closed(), answered(toAnswered)),
			kind: processtest.NeverReached, text: "lost",
		},
		"a process that never completes": {
			def:  talk(opened(nil), answered(nil), process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }), Evolve: func(t Talk, _ process.Input[Closed]) Talk { t.Asked = true; return t }}),
			kind: processtest.NeverCompletes, text: "no inputs lead from phase active to completion", path: []string{"Opened{ID:1}"},
		},
		"a dead end": {
			def: talk(process.Phases(func(t Talk) process.Phase {
				if t.Answered {
					return answering
				}
				return asking
			}, asking, answering), opened(nil),
				process.On[Talk, Closed]{In: process.In(asking), NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
					React: func(_ Talk, _ process.Input[Closed], do *process.Step) { do.Complete() }},
				answered(toAnswered, asking), process.OnTimeout[Talk, Late]{Name: "late", In: process.In(answering), React: func(_ Talk, _ process.Input[Late], do *process.Step) { do.Complete() }},
				process.React(func(t Talk, do *process.Step) {
					if t.Answered && do.Instance() == "2" {
						do.After(time.Hour, Late{})
					}
				})),
			more: []any{Opened{"2"}, Answered{"2"}},
			kind: processtest.DeadEnd, text: "in phase answering", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"an input without a sample": {
			def: talk(opened(nil), closed(), answered(nil), process.On[Talk, Odd]{NoInstance: process.Ignore, Locate: process.Key(func(e Odd) string { return e.ID }),
				Evolve: func(t Talk, _ process.Input[Odd]) Talk { return t }}),
			kind: processtest.NeverHandled, text: "event processtest_test.Odd: no sample of it was given",
		},
		"an outcome of a command that is never sent": {
			def:  talk(opened(nil), closed(), answered(nil), process.OnRejected[Talk, Ask]{Evolve: func(t Talk, _ process.Input[process.Rejected[Ask]]) Talk { return t }}),
			kind: processtest.NeverHandled, text: "rejected processtest_test.Ask: the command is never sent",
		},
		"a timeout that is never set": {
			def:  talk(opened(nil), closed(), answered(nil), process.OnTimeout[Talk, Late]{Name: "late", Evolve: func(t Talk, _ process.Input[Late]) Talk { return t }}),
			kind: processtest.NeverHandled, text: `timeout "late": it is never set, or never fires`,
		},
		"a command without a handler": {
			def: talk(opened(nil), closed(), answered(toAnswered), process.React(func(t Talk, do *process.Step) {
				if t.Answered && do.Once("ask") {
					do.Send(Ask{"1"})
				}
			})),
			more: []any{processtest.Exploration{Commands: handlesNote}},
			kind: processtest.NoHandler, text: "processtest_test.Ask; add command.Handle", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"a command that is declared and never sent": {
			def:  talk(opened(nil), closed(), answered(nil), process.Sends[Talk](Ask{})),
			kind: processtest.NeverSent, text: "processtest_test.Ask: process.Sends declares it",
		},
		"a command that is sent and not declared": {
			def:  talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) { do.Send(Ask{"1"}); do.Send(Note{}) }), closed(), answered(nil), process.Sends[Talk](Ask{})),
			kind: processtest.StepFails, text: "process.Sends declares what the process sends, and not processtest_test.Note; add it there", path: []string{"Opened{ID:1}"},
		},
		"a sample that concerns nobody": {
			def:  talk(opened(nil), closed(), answered(nil)),
			more: []any{Closed{}},
			kind: processtest.BadSample, text: "Closed{ID:} concerns no instance",
		},
		"a sample that is not handled": {
			def:  talk(opened(nil), closed(), answered(nil)),
			more: []any{Odd{"1"}},
			kind: processtest.BadSample, text: "add process.On[…, processtest_test.Odd]",
		},
		"a definition that cannot run": {
			def:  process.Define("talk", closed(), opened(nil), answered(nil)),
			kind: processtest.BadDefinition, text: "4 pairs of a phase and an input have no choice",
		},
		"the clock in a command": {
			def: talk(opened(nil), closed(), answered(toAnswered), process.React(func(t Talk, do *process.Step) {
				if t.Answered {
					do.Send(Note{time.Now()})
				}
			})),
			kind: processtest.NotPure, text: "Answered in phase active: the same inputs led to something else", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"the year by the clock": { // which only a clock that was moved shows
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) {
				if time.Now().Year() > 2000 {
					do.Send(Ask{"1"})
				}
			}), closed(), answered(nil)),
			kind: processtest.NotPure, text: "sent Ask{ID:1}", path: []string{"Opened{ID:1}"},
		},
		"chance in what is set": {
			def: talk(opened(func(_ Talk, _ process.Input[Opened], do *process.Step) {
				do.After(time.Duration(rand.Int64N(1e15)+1e9), Late{})
			}), closed(), answered(nil),
				process.OnTimeout[Talk, Late]{Name: "late", React: func(_ Talk, _ process.Input[Late], do *process.Step) { do.Complete() }}),
			kind: processtest.NotPure, text: "Opened in phase no instance", path: []string{"Opened{ID:1}"},
		},
		"the order of a map": {
			def: talk(opened(nil), closed(), answered(toAnswered), process.React(func(t Talk, do *process.Step) {
				if t.Answered && do.Once("ask") {
					for id := range map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true} {
						do.Send(Ask{id})
					}
				}
			})),
			kind: processtest.NotPure, text: "sent Ask", path: []string{"Opened{ID:1}", "Answered{ID:1}"},
		},
		"the order of a map, in what is emitted at the end": {
			def: talk(opened(nil), answered(nil), process.On[Talk, Closed]{NoInstance: process.Ignore, Locate: process.Key(func(e Closed) string { return e.ID }),
				React: func(_ Talk, _ process.Input[Closed], do *process.Step) {
					for id := range map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true} {
						do.Emit(Odd{id})
					}
					do.Complete()
				}}),
			kind: processtest.NotPure, text: "emitted Odd", path: []string{"Opened{ID:1}", "Closed{ID:1}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := processtest.Look(t, c.def, append(c.more, open, answer, end)...)
			found := r.Found(c.kind)
			if len(r.Findings) != 1 || len(found) != 1 || !strings.Contains(found[0].Text, c.text) || !slices.Equal(found[0].Path, c.path) {
				t.Errorf("%s\nwant one: %s: %s %q", r, c.kind, c.text, c.path)
			}
		})
	}
}
