package aggregate_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// SeatEvent is what can happen to a seat.
type SeatEvent interface{ seatEvent() }

type (
	SeatTaken struct{ Guest string }
	SeatFreed struct{}
)

func (SeatTaken) seatEvent() {}
func (SeatFreed) seatEvent() {}

// Seat is the state of one seat.
type Seat struct{ Guest string }

var seats = aggregate.Define("seat", func(s Seat, e SeatEvent) Seat {
	switch e := e.(type) {
	case SeatTaken:
		s.Guest = e.Guest
	case SeatFreed:
		s.Guest = ""
	}
	return s
})

// take decides: pure, from the state alone.
func take(guest string) func(Seat) ([]SeatEvent, error) {
	return func(s Seat) ([]SeatEvent, error) {
		if s.Guest != "" {
			return nil, fmt.Errorf("the seat is %s's", s.Guest)
		}
		return []SeatEvent{SeatTaken{guest}}, nil
	}
}

func theatre(handlers ...aggregate.Handler) *aggregate.Module {
	types, err := event.NewRegistry(event.Named[SeatTaken]("seat-taken"), event.Named[SeatFreed]("seat-freed"), event.Named[SubscriberEntered]("subscriber-entered"))
	if err != nil {
		panic(err)
	}
	return &aggregate.Module{Name: "theatre", Log: memlog.New(), Types: types, Handlers: handlers}
}

func ExampleExecute() {
	ctx, m := context.Background(), theatre()
	fmt.Println(aggregate.Execute(ctx, m, seats, "12", take("Ada")))
	fmt.Println(aggregate.Execute(ctx, m, seats, "12", take("Bob")))
	// Output:
	// <nil>
	// the seat is Ada's
}

// Several aggregates change in one work: all of them, or none.
func ExampleWork() {
	ctx, m := context.Background(), theatre()
	if err := aggregate.Execute(ctx, m, seats, "12", take("Ada")); err != nil {
		panic(err)
	}
	move := func(from, to string) error {
		_, err := aggregate.Do(ctx, m, aggregate.Cause{}, func(ctx context.Context, w *aggregate.Work) error {
			seat, err := aggregate.Load(ctx, w, seats, from)
			if err != nil {
				return err
			}
			free := func(Seat) ([]SeatEvent, error) { return []SeatEvent{SeatFreed{}}, nil }
			return errors.Join(aggregate.Change(ctx, w, seats, from, free), aggregate.Change(ctx, w, seats, to, take(seat.Guest)))
		})
		return err
	}
	fmt.Println(move("12", "13"))
	for rec, err := range m.Log.Read(ctx, eventlog.Query{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(rec.Position, rec.Stream, rec.Type)
	}
	// Output:
	// <nil>
	// 1 seat/12 seat-taken
	// 2 seat/12 seat-freed
	// 3 seat/13 seat-taken
}

// A work that is opened by hand is committed by hand, under the versions that it loaded.
func ExampleWork_Commit() {
	ctx, m := context.Background(), theatre()
	slow, quick := aggregate.NewWork(m, aggregate.Cause{}), aggregate.NewWork(m, aggregate.Cause{})
	for _, w := range []*aggregate.Work{slow, quick} {
		if err := aggregate.Change(ctx, w, seats, "12", take("Ada")); err != nil {
			panic(err)
		}
	}
	_, err := quick.Commit(ctx)
	fmt.Println(err)
	_, err = slow.Commit(ctx)
	fmt.Println(err)
	fmt.Println(errors.Is(err, eventlog.ErrConflict))
	// Output:
	// <nil>
	// eventlog: stream "seat/12": expected no stream, found version 1; load it again and decide again
	// true
}

// Chair is a seat in the style of objects.
type Chair struct {
	aggregate.Recorder
	guest string
}

// Take changes the chair and records that it did.
func (c *Chair) Take(guest string) error {
	if c.guest != "" {
		return fmt.Errorf("the chair is %s's", c.guest)
	}
	c.guest = guest
	c.Record(SeatTaken{guest})
	return nil
}

func ExampleRecorder() {
	ctx, m := context.Background(), theatre()
	w := aggregate.NewWork(m, aggregate.Cause{})
	chair := &Chair{} // new, or read from wherever chairs are kept
	if err := w.Track("seat/12", eventlog.NoStream, chair); err != nil {
		panic(err)
	}
	if err := chair.Take("Ada"); err != nil {
		panic(err)
	}
	if _, err := w.Commit(ctx); err != nil {
		panic(err)
	}
	fmt.Println(aggregate.Load(ctx, aggregate.NewWork(m, aggregate.Cause{}), seats, "12"))
	// Output: {Ada} <nil>
}

func ExampleSnapshotEvery() {
	busy := aggregate.Define("seat", func(taken int, e SeatEvent) int {
		if _, ok := e.(SeatTaken); ok {
			taken++
		}
		return taken
	}, aggregate.SnapshotEvery(100, 1)) // raise the 1 when the state comes to mean something else

	ctx, m := context.Background(), theatre()
	for range 250 {
		err := aggregate.Execute(ctx, m, busy, "12", func(int) ([]SeatEvent, error) { return []SeatEvent{SeatTaken{"Ada"}}, nil })
		if err != nil {
			panic(err)
		}
	}
	for entry, err := range m.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Snapshot}) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s …\n", entry.Value[:len(`{"format":1,"version":200`)])
	}
	fmt.Println(aggregate.Load(ctx, aggregate.NewWork(m, aggregate.Cause{}), busy, "12"))
	// Output:
	// {"format":1,"version":200 …
	// 250 <nil>
}

// SubscriberEntered is a fact that needs no decision.
type SubscriberEntered struct{ Name string }

// Whether a subscriber's seat is taken with the entry, in the same work, or afterwards, is one word.
func ExampleInside() {
	takeSeat := func(ctx context.Context, w *aggregate.Work, e SubscriberEntered) error {
		return aggregate.Change(ctx, w, seats, "12", take(e.Name))
	}
	ctx, m := context.Background(), theatre(aggregate.Inside("take-seat", takeSeat))
	for _, name := range []string{"Ada", "Bob"} {
		_, err := aggregate.Record(ctx, m, "door/main", SubscriberEntered{name})
		fmt.Println(err)
	}
	head, err := m.Log.Head(ctx)
	fmt.Println(head, err) // Bob's entry was rolled back with the seat that he did not get
	// Output:
	// <nil>
	// aggregate: handler "take-seat" of aggregate_test.SubscriberEntered: the seat is Ada's
	// 2 <nil>
}

func ExampleAfterwards() {
	ctx, stop := context.WithCancel(context.Background())
	m := theatre(aggregate.Afterwards("greet", func(_ context.Context, _ *aggregate.Work, e SubscriberEntered) error {
		fmt.Println("good evening,", e.Name)
		if e.Name == "Bob" {
			stop()
		}
		return nil
	}))
	if err := m.Begin(ctx); err != nil {
		panic(err)
	}
	if _, err := aggregate.Record(ctx, m, "door/main", SubscriberEntered{"Ada"}, SubscriberEntered{"Bob"}); err != nil {
		panic(err)
	}
	fmt.Println(m.Run(ctx))
	// Output:
	// good evening, Ada
	// good evening, Bob
	// <nil>
}

// A fact that came from elsewhere under an id of its own can be recorded again without harm.
func ExampleRecord() {
	ctx, m := context.Background(), theatre()
	entered := event.New(SubscriberEntered{"Ada"}).WithID(event.DeriveID("turnstile", "entry-4711"))
	for range 2 {
		appended, err := aggregate.Record(ctx, m, "door/main", entered)
		fmt.Println(appended.Results[0].Last, appended.Repeat, err)
	}
	// Output:
	// 1 false <nil>
	// 1 true <nil>
}
