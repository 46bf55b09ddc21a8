package process_test

import (
	"strings"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// Whatever becomes of an input by the definition, a store that cannot keep the record of it stops nobody else.
func TestG9_WhatTheStoreRefusesStopsNobodyElse(t *testing.T) {
	const quiet, loud process.Phase = "quiet", "loud"
	huge := strings.Repeat("x", eventlog.MaxPayload)
	note := func(in process.On[OrderRun, Noted]) process.On[OrderRun, Noted] {
		in.NoInstance, in.Locate = process.Ignore, process.Key(func(e Noted) string { return e.ID })
		in.Evolve = func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s }
		return in
	}
	for name, c := range map[string]struct {
		note     process.On[OrderRun, Noted]
		complete bool
		small    bool // it is the step that is too large, and not the input
		holds    string
	}{
		"deferred":                    {note: note(process.On[OrderRun, Noted]{In: []process.Phase{loud}, Defer: []process.Phase{quiet}}), holds: "a held 2"},
		"ignored in a phase":          {note: note(process.On[OrderRun, Noted]{In: []process.Phase{loud}, Ignore: []process.Phase{quiet}})},
		"ignored since it is at rest": {note: note(process.On[OrderRun, Noted]{In: []process.Phase{quiet, loud}}), complete: true},
		"taken up": {note: func() process.On[OrderRun, Noted] {
			n := note(process.On[OrderRun, Noted]{In: []process.Phase{loud}, Defer: []process.Phase{quiet}})
			n.React = func(_ OrderRun, _ process.Input[Noted], do *process.Step) {
				do.Emit(OrderClosed{ID: do.Instance(), How: huge})
			}
			return n
		}(), small: true, holds: "a held 0"},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, store process.Store) {
				holds, notes := c.holds, 0
				if _, copies := store.(process.Streams); !copies && holds == "a held 2" { // there is room for it in a document
					holds, notes = "", 1
				}
				w := newTroubled(t, store, isNote)
				w.config.Definition = process.Define("order",
					process.Phases(func(s OrderRun) process.Phase {
						if s.Cents > 0 {
							return loud
						}
						return quiet
					}, quiet, loud),
					process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
						React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
							if c.complete && in.Event.ID == "a" {
								do.Complete()
							}
						}},
					process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
						Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun { s.Cents += in.Event.Cents; return s }},
					c.note,
				).Otherwise(process.Ignore)
				w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1})
				w.run()
				e := must(w.types["payments"].Encode(Noted{"a"}))
				if !c.small {
					e.Data = append(e.Data, []byte(strings.Repeat(" ", eventlog.MaxPayload-len(e.Data)))...)
				}
				w.raw("payments", e)
				w.record("payments", Paid{"a", 1}, Paid{"b", 2})
				if w.settle(10 * soon); t.Failed() { // megabytes, again and again
					return
				}
				if s, _ := w.state("b"); s.Cents != 2 {
					t.Errorf("b has %d cents", s.Cents)
				}
				if holds != "" {
					w.wantHolds(holds)
					w.operate(one(process.ActSkip, "a"), nil)
				}
				w.wantHolds()
				if s, status := w.state("a"); s.Cents != 1 && !c.complete || s.Notes != notes {
					t.Errorf("a, which is %v, has %d cents and %d notes", status, s.Cents, s.Notes)
				}
				w.verify()
			})
		})
	}
}
