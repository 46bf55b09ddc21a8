package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/calendar"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// The caterer's world of the examples.
type (
	MenuOrdered       struct{ Order string } // events
	CustomerConfirmed struct{ Order string }
	CatererConfirmed  struct{ Order string }
	DishServed        struct {
		Order string
		Dish  string
	}
	KitchenClosed struct{ Orders []string }
	MenuCancelled struct{ Order, Reason string } // emitted by a process

	AskCaterer  struct{ Order string } // commands
	ConfirmMenu struct{ Order string }

	Menu struct { // the state of a process
		Customer, Caterer bool
		Served            int
	}
)

// ordered is the part that starts an instance, and what ensues from its start.
func ordered(react func(Menu, process.Input[MenuOrdered], *process.Step)) process.Part[Menu] {
	return process.On[Menu, MenuOrdered]{Starts: true, Locate: process.Key(func(e MenuOrdered) string { return e.Order }), React: react}
}

// exampleMachine runs a definition in memory.
func exampleMachine(parts ...process.Part[Menu]) *process.Machine {
	m, err := process.NewMachine(process.Define("menu", parts...).Otherwise(process.Ignore), process.MachineOptions{})
	if err != nil {
		panic(err)
	}
	return m
}

// happen gives events to a machine and prints what was decided.
func happen(m *process.Machine, facts ...any) {
	for _, f := range facts {
		printDecisions(m.Give(process.Fact{Event: f}))
	}
}

// hours lets so many hours pass and prints what was decided.
func hours(m *process.Machine, n int) {
	printDecisions(m.Advance(m.Now().Add(time.Duration(n) * time.Hour)))
}

func printDecisions(decided []process.Decision, err error) {
	for _, d := range decided {
		input := d.Kind.String()
		if d.Kind == process.EventInput || d.Kind == process.TimeoutInput {
			input = reflect.TypeOf(d.Input).Name()
		}
		fmt.Printf("%s %s: %s\n", input, d.Instance, d.Verdict)
		for _, e := range d.Effects {
			var due string
			if e.Kind == process.EffectSet {
				due = " due " + e.Due.Format("Mon 15:04")
			}
			fmt.Println(strings.TrimSuffix(fmt.Sprintf("  %s %s%s", e.Kind, strings.TrimPrefix(fmt.Sprintf("%#v", e.Value), "process_test."), due), " <nil>"))
		}
	}
	if err != nil {
		fmt.Println(err)
	}
}

// A menu is confirmed once its customer and its caterer have confirmed it, in either order.
func ExampleDefine() {
	match := process.Define("menu",
		process.On[Menu, CustomerConfirmed]{
			Starts: true,
			Locate: process.Key(func(e CustomerConfirmed) string { return e.Order }),
			Evolve: func(m Menu, _ process.Input[CustomerConfirmed]) Menu { m.Customer = true; return m },
		},
		process.On[Menu, CatererConfirmed]{
			Starts: true,
			Locate: process.Key(func(e CatererConfirmed) string { return e.Order }),
			Evolve: func(m Menu, _ process.Input[CatererConfirmed]) Menu { m.Caterer = true; return m },
		},
		process.React(func(m Menu, do *process.Step) {
			if m.Customer && m.Caterer {
				do.Send(ConfirmMenu{do.Instance()})
				do.Complete()
			}
		}),
	).Otherwise(process.Ignore)
	m, err := process.NewMachine(match, process.MachineOptions{})
	if err != nil {
		panic(err)
	}
	happen(m, CatererConfirmed{"42"}, CustomerConfirmed{"42"}, CustomerConfirmed{"42"})
	// Output:
	// CatererConfirmed 42: handled
	// CustomerConfirmed 42: handled
	//   sent ConfirmMenu{Order:"42"}
	//   completed
	// CustomerConfirmed 42: ignored: completed
}

// All mistakes of a definition are told at once; ensue.Open does so as well.
func ExampleDefinition_Check() {
	type Overdue struct{}
	def := process.Define("menu of the day",
		process.On[Menu, MenuOrdered]{Starts: true, NoInstance: process.Ignore},
		process.On[Menu, CatererConfirmed]{Locate: process.Key(func(e CatererConfirmed) string { return e.Order })},
		process.OnTimeout[Menu, Overdue]{React: func(Menu, process.Input[Overdue], *process.Step) {}},
	)
	fmt.Println(def.Check())
	var mistakes *process.DefinitionError
	fmt.Println(errors.As(def.Check(), &mistakes), len(mistakes.Mistakes))
	// Output:
	// process "menu of the day":
	//	the process's name "menu of the day" is not 1 to 200 letters, digits or -._: (and does not begin with ensue.)
	//	event process_test.CatererConfirmed: has neither Evolve nor React, so it does nothing
	//	timeout process_test.Overdue: its Name has 1 to 200 letters, digits or -._: and is not ""
	//	event process_test.MenuOrdered: has no Locate; say how it finds its instance by process.Key, Keys, Header or Claimed
	//	event process_test.MenuOrdered: starts an instance, so NoInstance never applies; leave it out
	//	3 pairs of a phase and an input have no choice (???): list the phase in In, Ignore, Defer or Hold of its On, set NoInstance or Completed there, or add .Otherwise(process.Ignore) to the definition
	//	                                     no instance  active  completed
	//	event process_test.MenuOrdered       start        handle  ???
	//	event process_test.CatererConfirmed  ???          handle  ???
	//	timeout ""                           ignore       handle  ignore
	// true 6
}

// Evolve makes the state after the event, and React is asked what must ensue, given that state.
func ExampleOn() {
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, DishServed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e DishServed) string { return e.Order }),
			Evolve:     func(m Menu, _ process.Input[DishServed]) Menu { m.Served++; return m },
			React: func(m Menu, in process.Input[DishServed], do *process.Step) {
				if m.Served == 3 { // the state after the event
					do.Emit(MenuCancelled{do.Instance(), "enough after the " + in.Event.Dish})
				}
			},
		},
	)
	happen(m, MenuOrdered{"42"}, DishServed{"42", "soup"}, DishServed{"42", "trout"}, DishServed{"42", "pie"})
	// Output:
	// MenuOrdered 42: handled
	// DishServed 42: handled
	// DishServed 42: handled
	// DishServed 42: handled
	//   emitted MenuCancelled{Order:"42", Reason:"enough after the pie"}
}

type (
	// Unanswered is a timeout.
	Unanswered struct{}
	// Cold is a timeout of which an instance has several at once: one for each dish.
	Cold struct{ Dish string }
)

// TimeoutKey tells the timeouts of one type apart.
func (c Cold) TimeoutKey() string { return c.Dish }

// A timeout is an input that an instance sends to its own future.
func ExampleOnTimeout() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.After(48*time.Hour, Unanswered{}) }),
		process.OnTimeout[Menu, Unanswered]{
			Name: "unanswered", // is stored
			React: func(_ Menu, in process.Input[Unanswered], do *process.Step) {
				do.Emit(MenuCancelled{do.Instance(), "nobody answered until " + in.Time.Format("Mon 15:04")})
				do.Complete()
			},
		},
	)
	happen(m, MenuOrdered{"42"})
	hours(m, 47)
	hours(m, 100)
	// Output:
	// MenuOrdered 42: handled
	//   set Unanswered{} due Sat 00:00
	// Unanswered 42: handled
	//   emitted MenuCancelled{Order:"42", Reason:"nobody answered until Sat 00:00"}
	//   completed
}

// A timeout that is set again replaces the one of the same name.
func ExampleStep_After() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.After(48*time.Hour, Unanswered{}) }),
		process.On[Menu, CustomerConfirmed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CustomerConfirmed) string { return e.Order }),
			React: func(_ Menu, _ process.Input[CustomerConfirmed], do *process.Step) {
				do.After(48*time.Hour, Unanswered{}) // from here
			},
		},
		process.OnTimeout[Menu, Unanswered]{Name: "unanswered", React: func(_ Menu, _ process.Input[Unanswered], do *process.Step) { do.Complete() }},
	)
	happen(m, MenuOrdered{"42"})
	hours(m, 24)
	happen(m, CustomerConfirmed{"42"})
	hours(m, 24)
	fmt.Println("nothing on", m.Now().Format("Mon 15:04"))
	hours(m, 24)
	// Output:
	// MenuOrdered 42: handled
	//   set Unanswered{} due Sat 00:00
	// CustomerConfirmed 42: handled
	//   set Unanswered{} due Sun 00:00
	// nothing on Sat 00:00
	// Unanswered 42: handled
	//   completed
}

// With a TimeoutKey, an instance has several timeouts of one type.
func ExampleStep_After_keyed() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) {
			do.After(time.Hour, Cold{"soup"})
			do.After(2*time.Hour, Cold{"pie"})
		}),
		process.On[Menu, DishServed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e DishServed) string { return e.Order }),
			React:      func(_ Menu, in process.Input[DishServed], do *process.Step) { do.Cancel(Cold{in.Event.Dish}) },
		},
		process.OnTimeout[Menu, Cold]{Name: "cold", React: func(_ Menu, in process.Input[Cold], do *process.Step) {
			do.Emit(MenuCancelled{do.Instance(), "cold " + in.Event.Dish})
		}},
	)
	happen(m, MenuOrdered{"42"}, DishServed{"42", "soup"})
	hours(m, 24)
	// Output:
	// MenuOrdered 42: handled
	//   set Cold{Dish:"soup"} due Thu 01:00
	//   set Cold{Dish:"pie"} due Thu 02:00
	// DishServed 42: handled
	//   cancelled Cold{Dish:"soup"}
	// Cold 42: handled
	//   emitted MenuCancelled{Order:"42", Reason:"cold pie"}
}

// At sets a timeout for an instant, here noon in Rome. One that is past fires at once.
func ExampleStep_At() {
	rome := time.FixedZone("Rome", 3600) // time.LoadLocation("Europe/Rome"), where the machine knows it
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) {
			now := do.Now().In(rome) // the input's instant; never the clock's
			do.At(time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, rome), Unanswered{})
		}),
		process.OnTimeout[Menu, Unanswered]{Name: "unanswered", React: func(_ Menu, _ process.Input[Unanswered], do *process.Step) { do.Complete() }},
	)
	happen(m, MenuOrdered{"42"})
	hours(m, 13)
	happen(m, MenuOrdered{"43"})
	// Output:
	// MenuOrdered 42: handled
	//   set Unanswered{} due Thu 11:00
	// Unanswered 42: handled
	//   completed
	// MenuOrdered 43: handled
	//   set Unanswered{} due Thu 11:00
	// Unanswered 43: handled
	//   completed
}

// What is cancelled does not fire. Completion cancels everything.
func ExampleStep_Cancel() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.After(48*time.Hour, Unanswered{}) }),
		process.On[Menu, CatererConfirmed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CatererConfirmed) string { return e.Order }),
			React:      func(_ Menu, _ process.Input[CatererConfirmed], do *process.Step) { do.Cancel(Unanswered{}) },
		},
		process.OnTimeout[Menu, Unanswered]{Name: "unanswered", React: func(_ Menu, _ process.Input[Unanswered], do *process.Step) { do.Complete() }},
	)
	happen(m, MenuOrdered{"42"}, CatererConfirmed{"42"}, CatererConfirmed{"42"})
	hours(m, 100)
	// Output:
	// MenuOrdered 42: handled
	//   set Unanswered{} due Sat 00:00
	// CatererConfirmed 42: handled
	//   cancelled Unanswered{}
	// CatererConfirmed 42: handled
}

func ExampleOnRejected() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.Send(AskCaterer{do.Instance()}) }),
		process.OnRejected[Menu, AskCaterer]{
			React: func(_ Menu, in process.Input[process.Rejected[AskCaterer]], do *process.Step) {
				do.Emit(MenuCancelled{in.Event.Command.Order, in.Event.Rejection.Reason})
				do.Complete()
			},
		},
	)
	happen(m, MenuOrdered{"42"})
	printDecisions(m.Reject(AskCaterer{"42"}, command.Reject("fully-booked", "the caterer is fully booked")))
	// Output:
	// MenuOrdered 42: handled
	//   sent AskCaterer{Order:"42"}
	// rejected 42: handled
	//   emitted MenuCancelled{Order:"42", Reason:"the caterer is fully booked"}
	//   completed
}

// OnAccepted is given what the command's handler returned.
func ExampleOnAccepted() {
	type Quote struct{ Cents int }
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.Send(AskCaterer{do.Instance()}) }),
		process.OnAccepted[Menu, AskCaterer, Quote]{
			React: func(_ Menu, in process.Input[process.Accepted[AskCaterer, Quote]], do *process.Step) {
				if in.Event.Result.Cents <= 5000 {
					do.Send(ConfirmMenu(in.Event.Command))
				}
			},
		},
	)
	happen(m, MenuOrdered{"42"})
	printDecisions(m.Accept(AskCaterer{"42"}, Quote{Cents: 4200}))
	// Output:
	// MenuOrdered 42: handled
	//   sent AskCaterer{Order:"42"}
	// accepted 42: handled
	//   sent ConfirmMenu{Order:"42"}
}

func ExampleKey() {
	m := exampleMachine(ordered(nil))
	happen(m, MenuOrdered{"42"}, MenuOrdered{""})
	// Output:
	// MenuOrdered 42: handled
	// MenuOrdered : ignored: no key
}

// One event may concern many instances. Each takes it once.
func ExampleKeys() {
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, KitchenClosed]{
			NoInstance: process.Ignore,
			Locate:     process.Keys(func(e KitchenClosed) []string { return e.Orders }),
			React:      func(_ Menu, _ process.Input[KitchenClosed], do *process.Step) { do.Complete() },
		},
	)
	happen(m, MenuOrdered{"1"}, MenuOrdered{"2"}, KitchenClosed{[]string{"2", "1", "2", "3"}})
	// Output:
	// MenuOrdered 1: handled
	// MenuOrdered 2: handled
	// KitchenClosed 2: handled
	//   completed
	// KitchenClosed 1: handled
	//   completed
	// KitchenClosed 3: ignored: no instance
}

// A module that knows nothing of orders answers all the same: the header goes from the input through the command to
// the events that it causes, if the application carries it (ensue.Options.Carried).
func ExampleHeader() {
	type PaymentReceived struct{ Cents int }
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, PaymentReceived]{
			NoInstance: process.Ignore,
			Locate:     process.Header[PaymentReceived]("order"),
			React:      func(_ Menu, _ process.Input[PaymentReceived], do *process.Step) { do.Complete() },
		},
	)
	happen(m, MenuOrdered{"42"}, event.New(PaymentReceived{4200}).WithHeader("order", "42"), PaymentReceived{4200})
	// Output:
	// MenuOrdered 42: handled
	// PaymentReceived 42: handled
	//   completed
	// PaymentReceived : ignored: no key
}

// An event that finds no instance is ignored for ever, or waits until there is one.
func ExamplePolicy() {
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, CustomerConfirmed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CustomerConfirmed) string { return e.Order }),
			Evolve:     func(m Menu, _ process.Input[CustomerConfirmed]) Menu { m.Customer = true; return m },
		},
		process.On[Menu, CatererConfirmed]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e CatererConfirmed) string { return e.Order }),
			Evolve:     func(m Menu, _ process.Input[CatererConfirmed]) Menu { m.Caterer = true; return m },
		},
	)
	happen(m, CustomerConfirmed{"42"}, CatererConfirmed{"42"})
	fmt.Println(m.Waiting("42"), "waits")
	happen(m, MenuOrdered{"42"})
	inst, _ := m.Instance("42")
	fmt.Printf("%+v\n", inst.State)
	// Output:
	// CustomerConfirmed 42: ignored: no instance
	// CatererConfirmed 42: deferred
	// 1 waits
	// MenuOrdered 42: handled
	// CatererConfirmed 42: handled
	// {Customer:false Caterer:true Served:0}
}

// A rule is asked after every input. Once makes it act once.
func ExampleStep_Once() {
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, DishServed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e DishServed) string { return e.Order }),
			Evolve:     func(m Menu, _ process.Input[DishServed]) Menu { m.Served++; return m },
		},
		process.React(func(m Menu, do *process.Step) {
			if m.Served >= 1 && do.Once("first dish") {
				do.Send(ConfirmMenu{do.Instance()})
			}
		}),
	)
	happen(m, MenuOrdered{"42"}, DishServed{"42", "soup"}, DishServed{"42", "pie"})
	// Output:
	// MenuOrdered 42: handled
	// DishServed 42: handled
	//   sent ConfirmMenu{Order:"42"}
	// DishServed 42: handled
}

// What a process emits is an event like any other. The process itself may handle it, too.
func ExampleStep_Emit() {
	m := exampleMachine(
		ordered(func(_ Menu, in process.Input[MenuOrdered], do *process.Step) {
			do.Emit(MenuCancelled{in.Event.Order, "closed on " + in.Time.Format("Monday")})
		}),
		process.On[Menu, MenuCancelled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e MenuCancelled) string { return e.Order }),
			React:      func(_ Menu, _ process.Input[MenuCancelled], do *process.Step) { do.Complete() },
		},
	)
	happen(m, MenuOrdered{"42"})
	// Output:
	// MenuOrdered 42: handled
	//   emitted MenuCancelled{Order:"42", Reason:"closed on Thursday"}
	// MenuCancelled 42: handled
	//   completed
}

// A completed instance takes nothing any more: what comes late never resurrects it.
func ExampleStep_Complete() {
	m := exampleMachine(ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) { do.Complete() }))
	happen(m, MenuOrdered{"42"}, MenuOrdered{"42"})
	inst, _ := m.Instance("42")
	fmt.Println(inst.Status, inst.Steps)
	// Output:
	// MenuOrdered 42: handled
	//   completed
	// MenuOrdered 42: ignored: completed
	// completed 2
}

// A machine says what an engine would decide, without a log. Package processtest makes tests out of it.
func ExampleNewMachine() {
	def := process.Define("menu", ordered(func(_ Menu, in process.Input[MenuOrdered], do *process.Step) { do.Send(AskCaterer{in.Event.Order}) })).Otherwise(process.Ignore)
	m, err := process.NewMachine(def, process.MachineOptions{Start: time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)})
	if err != nil {
		panic(err)
	}
	for range 2 { // the second time, under the same id, it is known
		decided, err := m.Give(process.Fact{Event: MenuOrdered{"42"}, ID: event.DeriveID("menu", "42")})
		if err != nil {
			panic(err)
		}
		fmt.Println(decided[0].At.Format(time.DateTime), decided[0].Verdict, len(decided[0].Effects))
	}
	fmt.Println(m.Keys())
	// Output:
	// 2026-03-02 09:00:00 handled 1
	// 2026-03-02 09:00:00 a duplicate 0
	// [42]
}

// kitchen is an application on logs in memory: "orders", where the process lives, and "caterers", which is asked. No
// caterer serves order 13, and the process fails at order 7.
func kitchen(store process.Store) (app *ensue.App, stop func()) {
	type Asked struct{ Order string }
	menu := process.Define("menu",
		ordered(func(_ Menu, in process.Input[MenuOrdered], do *process.Step) {
			if in.Event.Order == "7" {
				do.Fail(errors.New("nobody knows what to do with order 7"))
			}
			do.Send(AskCaterer{in.Event.Order})
		}),
		process.On[Menu, DishServed]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e DishServed) string { return e.Order }),
			Evolve:     func(m Menu, _ process.Input[DishServed]) Menu { m.Served++; return m },
		},
		process.OnAccepted[Menu, AskCaterer, string]{
			Evolve: func(m Menu, _ process.Input[process.Accepted[AskCaterer, string]]) Menu { m.Caterer = true; return m },
		},
		process.OnRejected[Menu, AskCaterer]{
			React: func(_ Menu, _ process.Input[process.Rejected[AskCaterer]], do *process.Step) { do.Complete() },
		},
	).Otherwise(process.Ignore)
	ctx, end := context.WithCancel(context.Background())
	app, err := ensue.Open(ctx, "memory:",
		ensue.Module{Name: "orders", Processes: []process.Definition{menu},
			Events: []event.Type{event.Named[MenuOrdered]("menu-ordered"), event.Named[DishServed]("dish-served")}},
		ensue.Module{Name: "caterers", Events: []event.Type{event.Named[Asked]("asked")},
			Commands: []command.Handler{command.Handle("ask-caterer", func(_ context.Context, w *aggregate.Work, c AskCaterer) (string, error) {
				if c.Order == "13" {
					return "", command.Reject("superstition", "not this one")
				}
				return "yes", w.Append("caterer/1", eventlog.Any, Asked(c))
			})}},
		ensue.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Processes: map[string]ensue.ProcessOptions{"menu": {Store: store, Retry: process.Retry{Attempts: 1}}}},
	)
	if err != nil {
		panic(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := app.Run(ctx); err != nil {
			panic(err)
		}
	})
	return app, func() {
		end()
		running.Wait()
		if err := app.Close(); err != nil {
			panic(err)
		}
	}
}

// recordIn has events happen in a module and waits until everything ensued.
func recordIn(app *ensue.App, module string, facts ...any) {
	ctx := context.Background()
	if _, err := app.Module(module).Record(ctx, "tonight/1", facts...); err != nil {
		panic(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
}

// The history of an instance is what it took and what it decided.
func ExampleHistory() {
	app, stop := kitchen(process.Streams{})
	defer stop()
	recordIn(app, "orders", MenuOrdered{"13"})
	recordIn(app, "orders", DishServed{"13", "soup"})

	home, err := process.OpenHome(context.Background(), app.Module("orders").Log(), "menu") // needs no definition
	if err != nil {
		panic(err)
	}
	for step, err := range process.History(context.Background(), home, "13") {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s %s: sent %d, completed %v, ignored %q\n", step.Input.Kind, step.Input.Type, len(step.Sent), step.Completed, step.Ignored)
	}
	// Output:
	// event menu-ordered: sent 1, completed false, ignored ""
	// rejected ask-caterer: sent 0, completed true, ignored ""
	// event dish-served: sent 0, completed false, ignored "completed"
}

func ExampleListInstances() {
	app, stop := kitchen(process.Documents{})
	defer stop()
	recordIn(app, "orders", MenuOrdered{"13"}, MenuOrdered{"42"}, DishServed{"42", "soup"})
	for s, err := range process.ListInstances(context.Background(), app.Module("orders").Log(), "menu", "") {
		if err != nil {
			panic(err)
		}
		fmt.Println(s.Key, s.Status, s.Steps)
	}
	// Output:
	// 13 completed 2
	// 42 running 3
}

// An instance whose step fails stands aside, and later inputs queue behind the one that failed. So do inputs that wait
// for their instance. Everything else goes on.
func ExampleHoldings() {
	app, stop := kitchen(process.Streams{})
	defer stop()
	recordIn(app, "orders", MenuOrdered{"7"}, DishServed{"7", "soup"}, DishServed{"8", "pie"}, MenuOrdered{"42"})

	ctx, log := context.Background(), app.Module("orders").Log()
	for h, err := range process.Holdings(ctx, log, "menu") {
		if err != nil {
			panic(err)
		}
		fmt.Println(h.Instance, h.Condition, h.Queued, h.Attempts)
		queue, err := process.Queue(ctx, log, "menu", h.Instance, 10)
		if err != nil {
			panic(err)
		}
		for _, in := range queue {
			fmt.Println("  ", in.Type, string(in.Data))
		}
	}
	// Output:
	// 7 held 2 1
	//    menu-ordered {"Order":"7"}
	//    dish-served {"Order":"7","Dish":"soup"}
	// 8 waiting 1 0
	//    dish-served {"Order":"8","Dish":"pie"}
}

// Documents keeps the state itself, which Look then shows without the definition.
func ExampleDocuments() {
	app, stop := kitchen(process.Documents{})
	defer stop()
	recordIn(app, "orders", MenuOrdered{"42"}, DishServed{"42", "soup"})
	inst, err := process.Look(context.Background(), app.Process("menu").Home(), "42")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", inst.Status, inst.State)
	// Output:
	// running {"Customer":false,"Caterer":true,"Served":1}
}

// Streams keeps the history, in a stream of the home log, beside the events.
func ExampleStreams() {
	app, stop := kitchen(process.Streams{})
	defer stop()
	recordIn(app, "orders", MenuOrdered{"42"})
	recordIn(app, "orders", DishServed{"42", "soup"})
	log := app.Module("orders").Log()
	for rec, err := range log.ReadStream(context.Background(), process.Stream("menu", "42"), eventlog.StreamQuery{System: true}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(rec.Version, rec.Type, rec.IsLink())
	}
	loaded, err := process.Streams{}.Load(context.Background(), app.Process("menu").Home(), []string{"42"})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", loaded[0].State)
	// Output:
	// 1 menu-ordered true
	// 2 ensue.step false
	// 3 ensue.step false
	// 4 dish-served true
	// {Customer:false Caterer:true Served:1}
}

// What was ignored because it found no instance is counted, by rule.
func ExampleIgnored() {
	app, stop := kitchen(nil)
	defer stop()
	recordIn(app, "orders", MenuOrdered{""}, MenuOrdered{"42"}, MenuOrdered{""})
	counts, err := process.Ignored(context.Background(), app.Module("orders").Log(), "menu")
	fmt.Println(counts, err)
	// Output:
	// map[no key: menu-ordered:2] <nil>
}

// Who runs a process, and which partitions are whose, is read from its home log alone.
func ExampleWorkers() {
	app, stop := kitchen(nil)
	defer stop()
	recordIn(app, "orders", MenuOrdered{"42"})
	sharing, err := process.Workers(context.Background(), app.Module("orders").Log(), "menu")
	if err != nil {
		panic(err)
	}
	for _, w := range sharing.Workers {
		owned := 0
		for _, p := range sharing.Partitions {
			if p.Worker == w.Worker {
				owned++
			}
		}
		fmt.Printf("one of %d workers owns %d of %d partitions\n", len(sharing.Workers), owned, len(sharing.Partitions))
	}
	// Output:
	// one of 1 workers owns 16 of 16 partitions
}

// What an instance has set is listed without its definition; here by the calendar of a zone.
func ExampleTimeouts() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	friday := time.Date(2099, time.March, 27, 18, 0, 0, 0, berlin)
	remind := process.Define("remind",
		process.On[struct{}, MenuOrdered]{
			Starts: true,
			Locate: process.Key(func(e MenuOrdered) string { return e.Order }),
			React: func(_ struct{}, _ process.Input[MenuOrdered], do *process.Step) {
				do.At(calendar.NextWeekday(do.Now(), time.Monday, 9, 15, berlin), Unanswered{})
			},
		},
		process.OnTimeout[struct{}, Unanswered]{Name: "unanswered", React: func(_ struct{}, _ process.Input[Unanswered], do *process.Step) { do.Complete() }},
	).Otherwise(process.Ignore)
	ctx, stop := context.WithCancel(context.Background())
	app, err := ensue.Open(ctx, "memory:", ensue.Module{Name: "orders", Events: []event.Type{event.Named[MenuOrdered]("menu-ordered")},
		Processes: []process.Definition{remind}}, ensue.Options{Now: func() time.Time { return friday }})
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- app.Run(ctx) }()
	recordIn(app, "orders", MenuOrdered{"42"})
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	for t, err := range process.Timeouts(ctx, app.Module("orders").Log(), "remind", "42") {
		if err != nil {
			panic(err)
		}
		fmt.Println(t.Instance, t.Name, t.Due.In(berlin))
	}
	stop()
	fmt.Println(<-done, app.Close())
	// Output:
	// 42 unanswered 2099-03-30 09:15:00 +0200 CEST
	// <nil> <nil>
}

// An instance claims a further key. What names only that key finds it, also what came before.
func ExampleClaimed() {
	type InvoiceIssued struct{ Order, Invoice string }
	type InvoicePaid struct{ Invoice string }
	m := exampleMachine(
		ordered(nil),
		process.On[Menu, InvoiceIssued]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e InvoiceIssued) string { return e.Order }),
			React: func(_ Menu, in process.Input[InvoiceIssued], do *process.Step) {
				do.Correlate("invoice", in.Event.Invoice)
			},
		},
		process.On[Menu, InvoicePaid]{
			NoInstance: process.Defer,
			Locate:     process.Claimed("invoice", func(e InvoicePaid) string { return e.Invoice }),
			Evolve:     func(m Menu, _ process.Input[InvoicePaid]) Menu { m.Customer = true; return m },
		},
	)
	happen(m, InvoicePaid{"R-1"})
	fmt.Println(m.WaitingFor("invoice", "R-1"), "waits")
	happen(m, MenuOrdered{"42"}, InvoiceIssued{"42", "R-1"})
	inst, _ := m.Instance("42")
	fmt.Println(inst.Claims)
	// Output:
	// InvoicePaid : deferred
	// 1 waits
	// MenuOrdered 42: handled
	// InvoiceIssued 42: handled
	//   claimed process.ClaimedKey{Name:"invoice", Key:"R-1"}
	// InvoicePaid 42: handled
	// [invoice "R-1"]
}

// Another instance may have the key. That is an outcome.
func ExampleOnTaken() {
	m := exampleMachine(
		ordered(func(_ Menu, _ process.Input[MenuOrdered], do *process.Step) {
			do.Correlate("table", "the one at the window")
		}),
		process.OnTaken[Menu]{Name: "table",
			React: func(_ Menu, in process.Input[process.ClaimTaken], do *process.Step) {
				fmt.Printf("%s has %s\n", in.Event.By, in.Event.Key)
				do.Complete()
			}},
	)
	happen(m, MenuOrdered{"42"}, MenuOrdered{"43"})
	// Output:
	// MenuOrdered 42: handled
	//   claimed process.ClaimedKey{Name:"table", Key:"the one at the window"}
	// 42 has the one at the window
	// MenuOrdered 43: handled
	// claim 43: handled
	//   completed
}
