package process_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// Trips are booked in the module "trips", which is the home of their process; what concerns them comes from there and from
// "desk", and "depot" handles their commands.
type (
	TripBooked struct {
		Trip string
		Bags int
	}
	TripClosed   struct{ Trip, How string } // emitted by the process, which takes it too
	DeskOpened   struct{ Trips []string }   // concerns several trips
	TripPaid     struct{ Trip string }      // waits for a trip that isn't booked yet
	TripNoticed  struct{ Trip string }      // of no interest without a trip
	TripExtended struct{ Trip string }

	LoadBags   struct{ Trip string }
	UnloadBags struct{ Trip string }
	PrintLabel struct {
		Trip string
		Bag  int
	}
	Labels      struct{ Count int }
	BagsLoaded  struct{ Trip string }
	LabelMade   struct{ Trip, Label string }
	BagsOff     struct{ Trip string }
	TripPayDue  struct{}
	TripReview  struct{ Bag int }
	tripForever struct{}

	Trip struct {
		Bags, Paid, Notices, Extended, Opened int
		Reviews                               []int
		Loaded, Refused, Closed               bool
		Labels                                int
	}
)

// TimeoutKey tells the reviews of a trip's bags apart.
func (r TripReview) TimeoutKey() string { return fmt.Sprint(r.Bag) }

func trips() process.Definition {
	key := func(trip string) string { return trip }
	return process.Define("trip",
		process.On[Trip, TripBooked]{
			Starts: true,
			Locate: process.Key(func(e TripBooked) string { return key(e.Trip) }),
			Evolve: func(s Trip, in process.Input[TripBooked]) Trip { s.Bags = in.Event.Bags; return s },
			React: func(s Trip, in process.Input[TripBooked], do *process.Step) {
				do.Send(LoadBags{Trip: in.Event.Trip})
				for bag := range s.Bags {
					do.Send(PrintLabel{Trip: in.Event.Trip, Bag: bag})
					do.After(time.Duration(40+10*bag)*time.Minute, TripReview{Bag: bag})
				}
				do.After(30*time.Minute, TripPayDue{})
				do.After(10_000*time.Minute, tripForever{})
			},
		},
		process.On[Trip, DeskOpened]{
			NoInstance: process.Ignore,
			Locate:     process.Keys(func(e DeskOpened) []string { return e.Trips }),
			Evolve:     func(s Trip, _ process.Input[DeskOpened]) Trip { s.Opened++; return s },
		},
		process.On[Trip, TripPaid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e TripPaid) string { return key(e.Trip) }),
			Evolve:     func(s Trip, _ process.Input[TripPaid]) Trip { s.Paid++; return s },
			React:      func(_ Trip, _ process.Input[TripPaid], do *process.Step) { do.Cancel(TripPayDue{}) },
		},
		process.On[Trip, TripNoticed]{
			NoInstance: process.Ignore,
			Locate:     process.Header[TripNoticed]("trip"),
			Evolve:     func(s Trip, _ process.Input[TripNoticed]) Trip { s.Notices++; return s },
		},
		process.On[Trip, TripExtended]{ // replaces the timeout
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e TripExtended) string { return key(e.Trip) }),
			Evolve:     func(s Trip, _ process.Input[TripExtended]) Trip { s.Extended++; return s },
			React:      func(_ Trip, _ process.Input[TripExtended], do *process.Step) { do.After(60*time.Minute, TripPayDue{}) },
		},
		process.On[Trip, TripClosed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e TripClosed) string { return key(e.Trip) }),
			Evolve:     func(s Trip, _ process.Input[TripClosed]) Trip { s.Closed = true; return s },
			React: func(s Trip, _ process.Input[TripClosed], do *process.Step) {
				if s.Loaded {
					do.Send(UnloadBags{Trip: do.Instance()})
				}
				do.Complete()
			},
		},
		process.OnTimeout[Trip, TripPayDue]{
			Name: "pay-due",
			React: func(_ Trip, _ process.Input[TripPayDue], do *process.Step) {
				do.Emit(TripClosed{Trip: do.Instance(), How: "not paid"})
			},
		},
		process.OnTimeout[Trip, TripReview]{
			Name: "review",
			Evolve: func(s Trip, in process.Input[TripReview]) Trip {
				s.Reviews = append(s.Reviews, in.Event.Bag)
				return s
			},
		},
		process.OnTimeout[Trip, tripForever]{
			Name:  "forever",
			React: func(_ Trip, _ process.Input[tripForever], do *process.Step) { do.Complete() },
		},
		process.OnAccepted[Trip, LoadBags, struct{}]{
			Evolve: func(s Trip, _ process.Input[process.Accepted[LoadBags, struct{}]]) Trip { s.Loaded = true; return s },
		},
		process.OnRejected[Trip, LoadBags]{
			Evolve: func(s Trip, _ process.Input[process.Rejected[LoadBags]]) Trip { s.Refused = true; return s },
			React: func(_ Trip, in process.Input[process.Rejected[LoadBags]], do *process.Step) {
				do.Emit(TripClosed{Trip: do.Instance(), How: in.Event.Rejection.Code})
			},
		},
		process.OnAccepted[Trip, PrintLabel, Labels]{
			Evolve: func(s Trip, in process.Input[process.Accepted[PrintLabel, Labels]]) Trip {
				s.Labels += in.Event.Result.Count
				return s
			},
		},
		process.React(func(s Trip, do *process.Step) {
			if s.Paid > 0 && len(s.Reviews) == s.Bags && do.Once("close") {
				do.Emit(TripClosed{Trip: do.Instance(), How: "travelled"})
			}
		}),
	).Otherwise(process.Ignore)
}

// tripParts is the application around it.
func tripParts(o ensue.Options) []ensue.Part {
	o.Carried = []string{"trip"}
	depot := aggregate.Define("depot", func(s int, _ any) int { return s + 1 })
	return []ensue.Part{o,
		ensue.Module{Name: "trips", Processes: []process.Definition{trips()},
			Events: []event.Type{event.Named[TripBooked]("trip-booked"), event.Named[TripClosed]("trip-closed"), event.Named[TripExtended]("trip-extended")}},
		ensue.Module{Name: "desk",
			Events: []event.Type{event.Named[DeskOpened]("desk-opened"), event.Named[TripPaid]("trip-paid"), event.Named[TripNoticed]("trip-noticed")}},
		ensue.Module{Name: "depot",
			Events: []event.Type{event.Named[BagsLoaded]("bags-loaded"), event.Named[LabelMade]("label-made"), event.Named[BagsOff]("bags-off")},
			Commands: []command.Handler{
				command.Handle("load-bags", func(ctx context.Context, w *aggregate.Work, c LoadBags) (struct{}, error) {
					if c.Trip == "refused" {
						return struct{}{}, command.Reject("too-heavy", "trip %s", c.Trip)
					}
					return struct{}{}, aggregate.Change(ctx, w, depot, c.Trip, func(int) ([]any, error) { return []any{BagsLoaded(c)}, nil })
				}),
				command.Handle("print-label", func(ctx context.Context, w *aggregate.Work, c PrintLabel) (Labels, error) {
					var n int
					err := aggregate.Change(ctx, w, depot, c.Trip, func(before int) ([]any, error) {
						n = before // how much of the trip was here before: an effect that came twice would show
						return []any{LabelMade{Trip: c.Trip, Label: fmt.Sprint(c.Bag, "/", before)}}, nil
					})
					return Labels{Count: n}, err
				}),
				command.Handle("unload-bags", func(_ context.Context, w *aggregate.Work, c UnloadBags) (struct{}, error) {
					return struct{}{}, w.Append("depot/"+c.Trip, eventlog.Any, BagsOff(c))
				}),
			}},
	}
}

// tripsHappen is the story: what happens to the trips in some hours.
func tripsHappen(ctx context.Context, app *ensue.App, until func(ctx context.Context, after time.Duration) error) error {
	fact := facts(ctx, app, "trips")
	return chapters(ctx, app, until, []chapter{
		{0, func() error {
			return all(
				fact("desk", "early", TripPaid{"early"}),      // waits for the booking
				fact("desk", "nobody", TripNoticed{"nobody"}), // of no interest
			)
		}},
		{time.Minute, func() error {
			return all(
				fact("trips", "early", TripBooked{"early", 2}),
				fact("trips", "late", TripBooked{"late", 1}),
				fact("trips", "refused", TripBooked{"refused", 0}),
				fact("trips", "extended", TripBooked{"extended", 1}),
			)
		}},
		{10 * time.Minute, func() error {
			return all(
				fact("desk", "all", DeskOpened{[]string{"early", "late", "nobody", "refused", "extended"}}),
				fact("desk", "late", TripNoticed{"late"}),
				fact("trips", "extended", TripExtended{"extended"}),
			)
		}},
		{50 * time.Minute, func() error { // "late" has ended
			return all(
				fact("desk", "late", TripPaid{"late"}),
				fact("desk", "extended", TripNoticed{"extended"}),
				fact("desk", "extended", TripPaid{"extended"}),
			)
		}},
		{200 * time.Minute, func() error { return fact("desk", "early", TripNoticed{"early"}) }},
	})
}
