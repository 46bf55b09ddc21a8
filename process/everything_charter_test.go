package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// The other half of everything: charters have phases and defer inputs, give up what came past its deadline, undo what they
// did, claim the numbers of their invoices, and are held until an operator decides. Their home is the module "charters";
// what concerns them comes from there and from "desk", and "depot" handles their commands.
type (
	CharterWanted struct {
		Charter string
		Stops   []string
	}
	CharterInvoiced  struct{ Charter, Invoice string } // the charter claims the invoice
	CharterUnbilled  struct{ Charter, Invoice string } // and releases it
	CharterCalledOff struct{ Charter string }
	CharterEnded     struct{ Charter string }
	DriverNamed      struct{ Charter, Driver string } // deferred until there is a bus
	InvoicePaid      struct {                         // names no charter: two hops away
		Invoice string
		Cents   int
	}

	RentBus     struct{ Charter string } // has a deadline
	ReturnBus   struct{ Charter string } // undoes it; the depot refuses while the garage is closed
	BookStop    struct{ Charter, Stop string }
	DropStop    struct{ Charter, Stop string } // undoes it
	BusRented   struct{ Charter string }
	BusReturned struct{ Charter string }
	StopBooked  struct{ Charter, Stop string }
	StopDropped struct{ Charter, Stop string }
	GarageOpens struct{}

	Charter struct {
		At      process.Phase
		Stops   []string
		Drivers []string
		Cents   []int
		Lost    []string // invoices that another charter had
		Late    bool
	}
)

// The phases of a charter.
const (
	withoutBus process.Phase = "without-bus"
	withBus    process.Phase = "with-bus"
)

// aDriverBug is a driver at whom the definition panics until it is mended.
const aDriverBug = "o'neil"

func charters(mended func() bool) process.Definition {
	return process.Define("charter",
		process.Phases(func(s Charter) process.Phase { return s.At }, withoutBus, withBus),
		process.On[Charter, CharterWanted]{
			Starts: true,
			Locate: process.Key(func(e CharterWanted) string { return e.Charter }),
			Evolve: func(s Charter, _ process.Input[CharterWanted]) Charter { s.At = withoutBus; return s },
			React: func(_ Charter, in process.Input[CharterWanted], do *process.Step) {
				for _, stop := range in.Event.Stops {
					do.Send(BookStop{in.Event.Charter, stop}, process.OnUndo(DropStop{in.Event.Charter, stop}))
				}
				patience := time.Hour
				if in.Event.Charter == "late" {
					patience = time.Millisecond // where nobody answers
				}
				do.Send(RentBus{in.Event.Charter}, process.Within(patience), process.OnUndo(ReturnBus{in.Event.Charter}))
				do.After(10_000*time.Minute, tripForever{}) // giving up cancels it
			},
		},
		process.OnAccepted[Charter, BookStop, struct{}]{
			Evolve: func(s Charter, in process.Input[process.Accepted[BookStop, struct{}]]) Charter {
				s.Stops = append(slices.Clip(s.Stops), in.Event.Command.Stop)
				return s
			},
		},
		process.OnAccepted[Charter, RentBus, struct{}]{
			Evolve: func(s Charter, _ process.Input[process.Accepted[RentBus, struct{}]]) Charter {
				s.At = withBus
				return s
			},
		},
		process.OnFailed[Charter, RentBus]{
			Evolve: func(s Charter, in process.Input[process.Failed[RentBus]]) Charter {
				s.Late = in.Event.Expired
				return s
			},
			React: func(_ Charter, _ process.Input[process.Failed[RentBus]], do *process.Step) { do.Compensate() },
		},
		process.On[Charter, CharterCalledOff]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CharterCalledOff) string { return e.Charter }),
			React:      func(_ Charter, _ process.Input[CharterCalledOff], do *process.Step) { do.Compensate() },
		},
		process.On[Charter, DriverNamed]{
			NoInstance: process.Defer, Defer: process.In(withoutBus), In: process.In(withBus), Completed: process.Ignore,
			Locate: process.Key(func(e DriverNamed) string { return e.Charter }),
			Evolve: func(s Charter, in process.Input[DriverNamed]) Charter {
				s.Drivers = append(slices.Clip(s.Drivers), in.Event.Driver)
				return s
			},
			React: func(_ Charter, in process.Input[DriverNamed], _ *process.Step) {
				if in.Event.Driver == aDriverBug && !mended() {
					panic("a driver's name has an apostrophe")
				}
			},
		},
		process.On[Charter, CharterInvoiced]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CharterInvoiced) string { return e.Charter }),
			React: func(_ Charter, in process.Input[CharterInvoiced], do *process.Step) {
				do.Correlate("invoice", in.Event.Invoice)
			},
		},
		process.On[Charter, CharterUnbilled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CharterUnbilled) string { return e.Charter }),
			React: func(_ Charter, in process.Input[CharterUnbilled], do *process.Step) {
				do.Release("invoice", in.Event.Invoice)
			},
		},
		process.OnTaken[Charter]{Name: "invoice", Evolve: func(s Charter, in process.Input[process.ClaimTaken]) Charter {
			s.Lost = append(slices.Clip(s.Lost), in.Event.Key+" to "+in.Event.By)
			return s
		}},
		process.On[Charter, InvoicePaid]{
			NoInstance: process.Defer,
			Locate:     process.Claimed("invoice", func(e InvoicePaid) string { return e.Invoice }),
			Evolve: func(s Charter, in process.Input[InvoicePaid]) Charter {
				s.Cents = append(slices.Clip(s.Cents), in.Event.Cents)
				return s
			},
		},
		process.On[Charter, CharterEnded]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e CharterEnded) string { return e.Charter }),
			React:      func(_ Charter, _ process.Input[CharterEnded], do *process.Step) { do.Complete() },
		},
		process.OnTimeout[Charter, tripForever]{
			Name:  "forever",
			React: func(_ Charter, _ process.Input[tripForever], do *process.Step) { do.Complete() },
		},
		process.OnError[Charter](func(f process.Failure) process.Remedy {
			if f.Command != nil {
				return process.RetryAfter(5 * time.Millisecond) // past the deadline of the one that nobody answers
			}
			return process.HoldInstance()
		}),
	).Otherwise(process.Ignore)
}

// charterParts is the application around it.
func charterParts(mended func() bool, o ensue.Options) []ensue.Part {
	garage := aggregate.Define("fact", func(open int, _ any) int { return open + 1 })
	depot := func(c string, fact any) func(*aggregate.Work) error {
		return func(w *aggregate.Work) error { return w.Append("depot/"+c, eventlog.Any, fact) }
	}
	return []ensue.Part{o,
		ensue.Module{Name: "charters", Processes: []process.Definition{charters(mended)},
			Events: []event.Type{event.Named[CharterWanted]("charter-wanted"), event.Named[CharterInvoiced]("charter-invoiced"),
				event.Named[CharterUnbilled]("charter-unbilled"), event.Named[CharterCalledOff]("charter-called-off"), event.Named[CharterEnded]("charter-ended")}},
		ensue.Module{Name: "desk", Events: []event.Type{event.Named[DriverNamed]("driver-named"), event.Named[InvoicePaid]("invoice-paid")}},
		ensue.Module{Name: "depot",
			Events: []event.Type{event.Named[BusRented]("bus-rented"), event.Named[BusReturned]("bus-returned"), event.Named[StopBooked]("stop-booked"),
				event.Named[StopDropped]("stop-dropped"), event.Named[GarageOpens]("garage-opens")},
			Commands: []command.Handler{
				command.Handle("book-stop", func(_ context.Context, w *aggregate.Work, c BookStop) (struct{}, error) {
					return struct{}{}, depot(c.Charter, StopBooked(c))(w)
				}),
				command.Handle("drop-stop", func(_ context.Context, w *aggregate.Work, c DropStop) (struct{}, error) {
					return struct{}{}, depot(c.Charter, StopDropped(c))(w)
				}),
				command.Handle("rent-bus", func(_ context.Context, w *aggregate.Work, c RentBus) (struct{}, error) {
					if c.Charter == "late" {
						return struct{}{}, errors.New("nobody answers")
					}
					return struct{}{}, depot(c.Charter, BusRented(c))(w)
				}),
				command.Handle("return-bus", func(ctx context.Context, w *aggregate.Work, c ReturnBus) (struct{}, error) {
					return struct{}{}, aggregate.Change(ctx, w, garage, "garage", func(open int) ([]any, error) {
						if open == 0 {
							return nil, command.Reject("closed", "the garage is closed")
						}
						return nil, depot(c.Charter, BusReturned(c))(w)
					})
				}),
			}},
	}
}

// chartersHappen is the story: between two of its parts everything comes to rest, so that nothing in it depends on an order
// that nobody promises.
func chartersHappen(mend func()) happening {
	return func(ctx context.Context, app *ensue.App, until func(ctx context.Context, after time.Duration) error) error {
		record := facts(ctx, app, "charters")
		operate := func(action process.Action, charter string) error { return operatorAsks(ctx, app, action, charter) }
		return chapters(ctx, app, until, []chapter{
			{0, func() error {
				return all(
					record("desk", "i", InvoicePaid{"i", 1}),           // waits beside the invoice
					record("desk", "good", DriverNamed{"good", "ann"})) // waits for the charter
			}},
			{time.Minute, func() error {
				return all(
					record("charters", "good", CharterWanted{"good", []string{"a", "b"}}),
					record("charters", "late", CharterWanted{"late", []string{"c"}}), // gets no bus in time
					record("charters", "stuck", CharterWanted{"stuck", []string{"d"}}),
					record("charters", "second", CharterWanted{"second", nil}))
			}},
			{2 * time.Minute, func() error {
				return all(
					record("charters", "good", CharterInvoiced{"good", "i"}), // takes what was paid before
					record("charters", "stuck", CharterCalledOff{"stuck"}))   // is held: the garage is closed
			}},
			{3 * time.Minute, func() error {
				return all(
					record("charters", "second", CharterInvoiced{"second", "i"}), // the first one has it
					record("desk", "stuck", DriverNamed{"stuck", "kim"}),         // queues, and is ignored when it goes on
					record("desk", "good", DriverNamed{"good", aDriverBug}),      // holds it
					record("desk", "i", InvoicePaid{"i", 2}))                     // queues behind that
			}},
			{4 * time.Minute, func() error {
				mend()
				return all(
					record("depot", "garage", GarageOpens{}),
					operate(process.ActResume, "good"),
					operate(process.ActResume, "stuck"),
					record("charters", "good", CharterUnbilled{"good", "i"}))
			}},
			{5 * time.Minute, func() error {
				return all(
					operate(process.ActHold, "second"),                           // by hand
					record("desk", "i", InvoicePaid{"i", 3}),                     // waits beside the invoice again
					record("charters", "second", CharterInvoiced{"second", "i"}), // queues
					operate(process.ActResume, "second"))
			}},
			{6 * time.Minute, func() error {
				return all(
					record("charters", "good", CharterEnded{"good"}),
					record("charters", "second", CharterEnded{"second"})) // releases the invoice
			}},
		})
	}
}

// operatorAsks has an operator do something, who was perhaps there before the program crashed: then there is nothing to do.
func operatorAsks(ctx context.Context, app *ensue.App, action process.Action, charter string) error {
	if err := app.WaitIdle(ctx); err != nil {
		return err
	}
	e := app.Process("charter")
	answers, err := process.Operate(ctx, app.Module("charters").Log(), "charter",
		process.Request{Action: action, Instance: charter, Reason: "it is time", By: "ada", Progress: func(int, int) { e.Notice() }})
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.Err != nil && !errors.Is(a.Err, process.ErrNotHeld) && !errors.Is(a.Err, process.ErrCompleted) {
			return fmt.Errorf("asked for: %w", a.Err)
		}
	}
	return nil
}

// The tale is what it says: where nobody disturbs it, each charter ends as it is to.
func TestChartersEndAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, happens, err := tales["charters"].begin(t.Context(), nil, ensue.Options{Logs: func(string) eventlog.Log { return memlog.New() }})
		if err != nil {
			t.Fatal(err)
		}
		began, p := time.Now(), &processtest.Program{}
		if err := p.While(t.Context(), app.Run, func(ctx context.Context) error {
			return happens(ctx, app, func(ctx context.Context, after time.Duration) error {
				return consumer.Sleep(ctx, time.Until(began.Add(after)))
			})
		}); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]struct {
			Charter
			ending process.Ending
		}{
			"good":   {Charter{At: withBus, Stops: []string{"a", "b"}, Drivers: []string{"ann", aDriverBug}, Cents: []int{1, 2}}, process.Ended},
			"second": {Charter{At: withBus, Cents: []int{3}, Lost: []string{"i to good"}}, process.Ended},
			"late":   {Charter{At: withoutBus, Stops: []string{"c"}, Late: true}, process.Compensated},
			"stuck":  {Charter{At: withBus, Stops: []string{"d"}}, process.Compensated},
		} {
			i, err := app.Process("charter").Instance(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(i.State, want.Charter) || i.Status != process.Completed || i.Ending != want.ending {
				t.Errorf("%s is %v, %q, %+v; want %q, %+v", key, i.Status, i.Ending, i.State, want.ending, want.Charter)
			}
		}
		for h, err := range process.Holdings(t.Context(), app.Module("charters").Log(), "charter") {
			t.Errorf("still held, or waiting: %+v, %v", h, err)
		}
	})
}
