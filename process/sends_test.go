package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

type (
	Wired    struct{ Account string }
	Booking  struct{ Account string }
	Unbook   struct{ Account string }
	Balance  struct{}
	Chase    struct{}
	ChaseOne struct{}
	ChaseAll struct{}
)

// TimeoutKey makes several of them possible.
func (ChaseOne) TimeoutKey() string { return "one" }

// wiring sends what it is told to.
func wiring(react func(do *process.Step), parts ...process.Part[Balance]) process.Definition {
	return process.Define("wiring", append(parts, process.On[Balance, Wired]{
		Starts: true, In: []process.Phase{},
		Locate: process.Key(func(e Wired) string { return e.Account }),
		React:  func(_ Balance, _ process.Input[Wired], do *process.Step) { react(do) },
	})...).Otherwise(process.Ignore)
}

// handles returns a handler of commands of the type C.
func handles[C any](name string) command.Handler {
	return command.Handle(name, func(context.Context, *aggregate.Work, C) (struct{}, error) { return struct{}{}, nil })
}

func openWith(def process.Definition, handlers ...[]command.Handler) error {
	parts := []ensue.Part{ensue.Module{Name: "home", Events: []event.Type{event.Named[Wired]("wired")}, Processes: []process.Definition{def}}}
	for n, h := range handlers {
		parts = append(parts, ensue.Module{Name: fmt.Sprintf("books-%d", n+1), Commands: h})
	}
	app, err := ensue.Open(context.Background(), "memory:", parts...)
	if err == nil {
		err = app.Close()
	}
	return err
}

// What Sends declares has a handler when the application is opened; several modules may have one, for SendTo.
func TestDeclaredCommandsHaveHandlers(t *testing.T) {
	nothing := func(*process.Step) {}
	books, unbooks := handles[Booking]("book"), handles[Unbook]("unbook")
	for name, c := range map[string]struct {
		def      process.Definition
		handlers [][]command.Handler
		want     []string // that nobody handles
	}{
		"nothing declared":    {wiring(nothing), nil, nil},
		"handled":             {wiring(nothing, process.Sends[Balance](Booking{}, Unbook{})), [][]command.Handler{{books}, {unbooks}}, nil},
		"handled by two":      {wiring(nothing, process.Sends[Balance](Booking{})), [][]command.Handler{{books}, {books}}, nil},
		"handled by nobody":   {wiring(nothing, process.Sends[Balance](Booking{}, Unbook{})), [][]command.Handler{{books}}, []string{"process_test.Unbook"}},
		"in two declarations": {wiring(nothing, process.Sends[Balance](Booking{}), process.Sends[Balance](Unbook{})), nil, []string{"process_test.Booking", "process_test.Unbook"}},
	} {
		err := openWith(c.def, c.handlers...)
		if c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), `process "wiring": declared by Sends: ensue: no module handles `+want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

// A step sends nothing that is not declared, where anything is; an undo that is kept counts as sent.
func TestNothingUndeclaredIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		parts []process.Part[Balance]
		send  func(do *process.Step)
		want  string
	}{
		"no declaration":     {nil, func(do *process.Step) { do.Send(Booking{}) }, ""},
		"an empty one":       {[]process.Part[Balance]{process.Sends[Balance]()}, func(do *process.Step) { do.Send(Booking{}) }, "and not process_test.Booking"},
		"declared":           {[]process.Part[Balance]{process.Sends[Balance](Booking{})}, func(do *process.Step) { do.SendTo("x", Booking{}) }, ""},
		"not declared":       {[]process.Part[Balance]{process.Sends[Balance](Unbook{})}, func(do *process.Step) { do.SendTo("x", Booking{}) }, "and not process_test.Booking"},
		"an undo that isn't": {[]process.Part[Balance]{process.Sends[Balance](Booking{})}, func(do *process.Step) { do.Send(Booking{}, process.OnUndo(Unbook{})) }, "and not process_test.Unbook"},
	} {
		m, err := process.NewMachine(wiring(c.send, c.parts...), process.MachineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		decisions, err := m.Give(process.Fact{Event: Wired{"1"}})
		var step *process.StepError
		switch {
		case c.want == "" && (err != nil || len(decisions) != 1 || len(decisions[0].Effects) != 1):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &step) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// Mistakes that can be seen without running anything are those of the definition.
func TestStaticMistakes(t *testing.T) {
	react := func(*process.Step) {}
	chase := func(name string) process.Part[Balance] {
		return process.OnTimeout[Balance, Chase]{Name: name, Evolve: func(b Balance, _ process.Input[Chase]) Balance { return b }}
	}
	chaseOne := func(name string) process.Part[Balance] {
		return process.OnTimeout[Balance, ChaseOne]{Name: name, Evolve: func(b Balance, _ process.Input[ChaseOne]) Balance { return b }}
	}
	chaseAll := func(name string) process.Part[Balance] {
		return process.OnTimeout[Balance, ChaseAll]{Name: name, Evolve: func(b Balance, _ process.Input[ChaseAll]) Balance { return b }}
	}
	for name, c := range map[string]struct {
		parts []process.Part[Balance]
		want  string
	}{
		"several timeouts":                 {[]process.Part[Balance]{chase("chase"), chaseOne("chase-one"), chaseAll("chase:all")}, ""},
		"two timeouts of one name":         {[]process.Part[Balance]{chase("chase"), chaseAll("chase")}, `timeouts process_test.Chase and process_test.ChaseAll have the same name "chase"`},
		"a timeout of two names":           {[]process.Part[Balance]{chase("chase"), chase("hunt")}, `timeout process_test.Chase has two names, "chase" and "hunt"`},
		"a name that is another's key":     {[]process.Part[Balance]{chaseOne("chase"), chaseAll("chase:one")}, `timeouts "chase" and "chase:one": the one with a TimeoutKey`},
		"the same the other way round":     {[]process.Part[Balance]{chaseAll("chase:one"), chaseOne("chase")}, `timeouts "chase:one" and "chase": the one with a TimeoutKey`},
		"a pointer that is declared":       {[]process.Part[Balance]{process.Sends[Balance](&Booking{})}, "Sends lists *process_test.Booking; commands are values"},
		"nothing that is declared":         {[]process.Part[Balance]{process.Sends[Balance](nil)}, "Sends lists <nil>; commands are values"},
		"a command that is declared twice": {[]process.Part[Balance]{process.Sends[Balance](Booking{}, Booking{})}, "Sends lists process_test.Booking twice"},
	} {
		err := wiring(react, c.parts...).Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || strings.Count(err.Error(), "\n\t") != 1 || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSendsAreListed(t *testing.T) {
	react := func(*process.Step) {}
	if have := wiring(react).Sends(); have != nil {
		t.Errorf("undeclared: %v", have)
	}
	if have := wiring(react, process.Sends[Balance](Booking{}, Unbook{})).Sends(); !reflect.DeepEqual(have, []reflect.Type{reflect.TypeFor[Booking](), reflect.TypeFor[Unbook]()}) {
		t.Errorf("%v", have)
	}
}

func ExampleSends() {
	def := process.Define("wiring",
		process.Sends[Balance](Booking{}),
		process.On[Balance, Wired]{
			Starts: true,
			Locate: process.Key(func(e Wired) string { return e.Account }),
			React: func(_ Balance, in process.Input[Wired], do *process.Step) {
				do.Send(Booking(in.Event))
				do.Complete()
			},
		},
	).Otherwise(process.Ignore)
	_, err := ensue.Open(context.Background(), "memory:", ensue.Module{
		Name:      "accounts",
		Events:    []event.Type{event.Named[Wired]("wired")},
		Processes: []process.Definition{def},
	})
	fmt.Println(err)
	// Output:
	// ensue: process "wiring": declared by Sends: ensue: no module handles process_test.Booking; add command.Handle("…", …) to the Commands of one
}
