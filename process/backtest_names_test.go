package process_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

type (
	Book struct { // which was Reserve
		ID  string
		Qty int
	}
	Overdue struct{} // which was PayDue
)

// bookings knows the command reserve, and what it was, as book.
type bookings struct{ process.Commands }

func (b bookings) Resolve(module string, t reflect.Type) (target, name string, err error) {
	if t == reflect.TypeFor[Book]() {
		return "stock", "book", nil
	}
	return b.Commands.Resolve(module, t)
}

func (b bookings) Encode(module string, cmd any) (target, name string, data []byte, err error) {
	if book, ok := cmd.(Book); ok {
		data, err = json.Marshal(book)
		return "stock", "book", data, err
	}
	return b.Commands.Encode(module, cmd)
}

func (bookings) FormerNames(t reflect.Type) []string {
	if t == reflect.TypeFor[Book]() {
		return []string{"reserve"}
	}
	return nil
}

// purchase is the process of the terms under other names, and with so much more to reserve.
func purchase(extra int) process.Definition {
	return process.Define("purchase",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Book{ID: in.Event.ID, Qty: in.Event.Qty + extra})
				do.After(time.Hour, Overdue{})
			}},
		process.On[OrderRun, Paid]{NoInstance: process.Defer, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun { s.Cents += in.Event.Cents; return s },
			React:  func(_ OrderRun, _ process.Input[Paid], do *process.Step) { do.Cancel(Overdue{}) }},
		process.OnTimeout[OrderRun, Overdue]{Name: "overdue", Formerly: []string{"pay-due"}, React: func(_ OrderRun, _ process.Input[Overdue], do *process.Step) {
			do.Send(Release{ID: do.Instance()})
			do.Emit(OrderClosed{ID: do.Instance(), How: "expired"})
			do.Complete()
		}},
		process.OnAccepted[OrderRun, Book, struct{}]{Evolve: func(s OrderRun, _ process.Input[process.Accepted[Book, struct{}]]) OrderRun {
			s.Reserved = true
			return s
		}},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s }},
	).Formerly("order").Otherwise(process.Ignore)
}

func (w *world) backtest(candidate process.Definition) process.Report {
	w.t.Helper()
	before := w.everything()
	report, err := process.Backtest(w.t.Context(), process.BacktestOptions{Engine: w.engine(), Candidate: candidate})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.everything() != before {
		w.t.Error("it wrote something")
	}
	return report
}

// What changed is the names of the process, of a command, of an event and of a timeout: that is no difference.
func TestBacktestKnowsFormerNames(t *testing.T) {
	w := recorded(t, terms{wait: time.Hour})
	w.types["sales"] = must(event.NewRegistry(event.Named[OrderPlaced]("order-placed"), event.Named[OrderClosed]("order-ended", event.Formerly("order-closed"))))
	w.names = func(c process.Commands) process.Commands { return bookings{c} }
	if r := w.backtest(purchase(0)); r.Instances != 3 || r.Differing != 0 {
		t.Errorf("it found differences:\n%v", r)
	}
	r := w.backtest(purchase(1))
	if r.Differing != 3 || !strings.Contains(r.String(), `
  - command book to stock {"ID":"a","Qty":1}
  + command book to stock {"ID":"a","Qty":2}
`) {
		t.Errorf("a payload that changed:\n%v", r)
	}
}

// An instance that stays with an older version is decided on by that, whatever the candidate says.
func TestBacktestLeavesPinnedInstancesAlone(t *testing.T) {
	old := terms{wait: time.Hour}
	w := recorded(t, old)
	w.config.Definition = terms{wait: time.Hour, extra: 1}.definition().WithVersion(2).Replacing(process.Pin(old.definition()))
	w.record("sales", OrderPlaced{"d", 1})
	w.run()
	for name, candidate := range map[string]process.Definition{"the engine's own": {}, "another": w.config.Definition} {
		r := w.backtest(candidate)
		if r.Instances != 1 || r.Pinned != 3 || r.Differing != 0 || !strings.Contains(r.String(), "3 are pinned to an older version, and were not tried") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r := w.backtest(terms{wait: time.Hour, extra: 2}.definition().WithVersion(2).Replacing(process.Pin(old.definition())))
	if r.Instances != 1 || r.Pinned != 3 || r.Differing != 1 || r.Differences[0].Instance != "d" {
		t.Errorf("another candidate: %v", r)
	}
	if r := w.backtest(terms{wait: time.Hour, extra: 1}.definition().WithVersion(2)); r.Instances != 4 || r.Pinned != 0 || r.Differing != 3 {
		t.Errorf("without the pin: %v", r)
	}
}

// What undoes a command is a decision like the command itself.
func TestBacktestComparesUndos(t *testing.T) {
	undone := func(undo ...any) process.Definition {
		return process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
					var options []process.SendOption
					for _, u := range undo {
						options = append(options, process.OnUndo(u))
					}
					do.Send(Reserve{ID: in.Event.ID, Qty: 1}, options...)
				}}).Otherwise(process.Ignore)
	}
	w := newWorld(t)
	w.config.Definition = undone(Release{"a"})
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	for name, c := range map[string]struct {
		candidate process.Definition
		want      string
	}{
		"the same":        {undone(Release{"a"}), ""},
		"another payload": {undone(Release{"b"}), `  + command reserve to stock {"ID":"a","Qty":1}, undone by release {"ID":"b"}`},
		"another command": {undone(Ship{"a"}), `  + command reserve to stock {"ID":"a","Qty":1}, undone by ship {"ID":"a"}`},
		"none":            {undone(), `  + command reserve to stock {"ID":"a","Qty":1}`},
	} {
		want := "order: 0 of 1 instances differ, in 2 steps\n"
		got := w.backtest(c.candidate).String()
		if c.want == "" && got == want {
			continue
		}
		if c.want == "" || !strings.Contains(got, `  - command reserve to stock {"ID":"a","Qty":1}, undone by release {"ID":"a"}`+"\n"+c.want+"\n") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}
