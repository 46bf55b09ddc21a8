package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

func fact(typ, data string) event.Event { return event.Event{Type: typ, Data: []byte(data)} }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Append under an expected version, and read by position and by stream.
func Example() {
	ctx, log := context.Background(), memlog.New()
	_, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Expect: eventlog.NoStream, Events: []event.Event{fact("placed", "{}"), fact("paid", "{}")}})
	check(err)
	_, err = log.Append(ctx, eventlog.ToStream{Stream: "order/42", Expect: eventlog.Exactly(1), Events: []event.Event{fact("cancelled", "{}")}})
	fmt.Println(err, errors.Is(err, eventlog.ErrConflict))

	for rec, err := range log.Read(ctx, eventlog.Query{Types: []string{"paid"}}) {
		check(err)
		fmt.Println(rec.Position, rec.Stream, rec.Place.Version, rec.Type)
	}
	for rec, err := range log.ReadStream(ctx, "order/42", eventlog.StreamQuery{Backward: true, Limit: 1}) {
		check(err)
		fmt.Println("the last is", rec.Type)
	}
	// Output:
	// eventlog: stream "order/42": expected version 1, found version 2; load it again and decide again true
	// 2 order/42 2 paid
	// the last is paid
}

// Events with ids of their own can be appended again, when it is not known whether the first attempt succeeded.
func ExampleLog_append_repeat() {
	ctx, log := context.Background(), memlog.New()
	placed := fact("placed", "{}")
	placed.ID = event.DeriveID("import", "row 17")
	for range 2 {
		done, err := log.Append(ctx, eventlog.ToStream{Stream: "order/17", Expect: eventlog.NoStream, Events: []event.Event{placed}})
		fmt.Println(done.Results[0].Last, done.Repeat, err)
	}
	placed.Data = []byte(`{"changed": true}`)
	_, err := log.Append(ctx, eventlog.ToStream{Stream: "order/17", Events: []event.Event{placed}})
	var taken *eventlog.IDError
	fmt.Println(errors.As(err, &taken), taken.Reason)
	// Output:
	// 1 false <nil>
	// 1 true <nil>
	// true it is at version 1 already, with another type or payload
}

// Entries change together with events, all or none.
func ExamplePut() {
	ctx, log := context.Background(), memlog.New()
	due := time.Date(2030, 5, 1, 0, 0, 0, 0, time.UTC)
	reminder := eventlog.Entry{Kind: eventlog.Timeout, Key: eventlog.Key("reminder", "order/42"), Value: []byte("pay!"), Due: due}
	done, err := log.Append(ctx,
		eventlog.ToStream{Stream: "order/42", Events: []event.Event{fact("placed", "{}")}},
		eventlog.Put{Entry: reminder, Expect: eventlog.NoEntry})
	check(err)

	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout, ByDue: true, DueBy: due}) {
		check(err)
		fmt.Println(e.Due.Format(time.DateOnly), eventlog.SplitKey(e.Key), string(e.Value))
	}

	// Who knows the revision of what was read is sure that it fires once.
	fire := eventlog.Delete{Kind: eventlog.Timeout, Key: reminder.Key, Expect: done.Results[1].Revision}
	for range 2 {
		_, err = log.Append(ctx, fire, eventlog.ToStream{Stream: "order/42", Events: []event.Event{fact("reminded", "{}")}})
		fmt.Println(err)
	}
	// Output:
	// 2030-05-01 [reminder order/42] pay!
	// <nil>
	// eventlog: timeout "reminder/order%2F42": expected revision 1, found no entry
}

// Follow a log: read what there is, wait until there is more.
func ExampleLog_wait() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := memlog.New()
	go func() {
		for _, day := range []string{"monday", "tuesday", "wednesday"} {
			_, err := log.Append(ctx, eventlog.ToStream{Stream: "calendar", Events: []event.Event{fact(day, "")}})
			check(err)
		}
	}()
	for seen := eventlog.Position(0); ; {
		for rec, err := range log.Read(ctx, eventlog.Query{After: seen}) {
			check(err)
			fmt.Println(rec.Type)
			if seen = rec.Position; seen == 3 {
				cancel()
				break
			}
		}
		if err := log.Wait(ctx, seen); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// monday
	// tuesday
	// wednesday
	// context canceled
}

// A link puts an event into another stream as well; the log has it once.
func ExampleLinkTo() {
	ctx, log := context.Background(), memlog.New()
	done, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Events: []event.Event{fact("placed", "{}")}})
	check(err)
	for range 2 { // linking again returns the first link
		linked, err := log.Append(ctx, eventlog.LinkTo{Stream: "customer/7", Positions: []eventlog.Position{done.Results[0].Position}})
		check(err)
		fmt.Println("at version", linked.Results[0].First)
	}
	for rec, err := range log.ReadStream(ctx, "customer/7", eventlog.StreamQuery{}) {
		check(err)
		fmt.Println(rec.Stream, rec.Place.Version, "is", rec.Origin.Stream, rec.Origin.Version, "at position", rec.Position)
	}
	// Output:
	// at version 1
	// at version 1
	// customer/7 1 is order/42 1 at position 1
}

// A stream can be closed, and its beginning taken out of it; the log keeps the events.
func ExampleStreamKeeper() {
	ctx, log := context.Background(), memlog.New()
	_, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Events: []event.Event{fact("placed", "{}"), fact("paid", "{}")}})
	check(err)
	var keeper eventlog.StreamKeeper = log
	check(keeper.TruncateStream(ctx, "order/42", 1))
	check(keeper.CloseStream(ctx, "order/42", eventlog.Exists))

	_, err = log.Append(ctx, eventlog.ToStream{Stream: "order/42", Events: []event.Event{fact("shipped", "{}")}})
	fmt.Println(err)
	info, err := log.Stream(ctx, "order/42")
	fmt.Printf("%+v %v\n", info, err)
	for rec, err := range log.Read(ctx, eventlog.Query{}) {
		check(err)
		fmt.Println(rec.Position, rec.Type)
	}
	// Output:
	// eventlog: stream "order/42" is closed; nothing can be appended to it any more
	// {Stream:order/42 Version:2 Truncated:1 Closed:true} <nil>
	// 1 placed
	// 2 paid
}
