package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// A consumer keeps its cursor with what it does: in the same append, under its lease. It then goes on where it stood.
func Example() {
	ctx := context.Background()
	orders, billing := memlog.New(), memlog.New() // what is read, and where the consumer is at home
	for range 3 {
		placed := eventlog.ToStream{Stream: "order/1", Events: []event.Event{{Type: "order-placed"}}}
		if _, err := orders.Append(ctx, placed); err != nil {
			panic(err)
		}
	}

	bill := func(most int) {
		lease, err := consumer.Acquire(ctx, billing, "bills", consumer.LeaseOptions{})
		if err != nil {
			panic(err)
		}
		cursor, err := consumer.LoadCursor(ctx, billing, "bills/orders")
		if err == nil {
			err = cursor.Check(ctx, orders)
		}
		if err != nil {
			panic(err)
		}
		for rec, err := range orders.Read(ctx, eventlog.Query{After: cursor.Position, Limit: most}) {
			if err != nil {
				panic(err)
			}
			fmt.Println("bill", rec.Type, rec.Position)
			cursor = consumer.Cursor{Log: orders.ID(), Position: rec.Position, Event: rec.ID, At: rec.Position}
			written, err := billing.Append(ctx, lease.Write(), cursor.Put("bills/orders"),
				eventlog.ToStream{Stream: "bills", Events: []event.Event{{Type: "billed"}}})
			if err != nil {
				panic(err) // nothing of it happened; where lease.Lost(err), somebody else does the work now
			}
			lease.Renewed(written.Results[0].Revision)
		}
		if err := lease.Release(ctx); err != nil {
			panic(err)
		}
	}
	bill(2)
	fmt.Println("the next worker")
	bill(10)
	// Output:
	// bill order-placed 1
	// bill order-placed 2
	// the next worker
	// bill order-placed 3
}

// A cursor is of use on the log alone that it was made on.
func ExampleCursor_Check() {
	ctx := context.Background()
	log, restored := memlog.New(), memlog.New()
	cursor := consumer.Cursor{Log: log.ID(), Position: 0}
	fmt.Println(cursor.Check(ctx, log))
	fmt.Println(errors.Is(cursor.Check(ctx, restored), eventlog.ErrLogRewound))
	// Output:
	// <nil>
	// true
}

func ExamplePartition() {
	for _, order := range []string{"1", "2", "3"} {
		fmt.Println(order, consumer.Partition(order, consumer.DefaultPartitions))
	}
	// Output:
	// 1 12
	// 2 5
	// 3 2
}

// Each wait is between the half and the whole of a time that doubles.
func ExampleBackoff() {
	b := consumer.Backoff{First: time.Second, Most: time.Minute}
	for _, n := range []int{1, 2, 3, 10} {
		d := b.After(n)
		most := min(time.Second<<(n-1), time.Minute)
		fmt.Println(n, most, most/2 <= d && d <= most)
	}
	// Output:
	// 1 1s true
	// 2 2s true
	// 3 4s true
	// 10 1m0s true
}

// Leases tells who works.
func ExampleLeases() {
	ctx, log := context.Background(), memlog.New()
	if _, err := consumer.Acquire(ctx, log, "bills", consumer.LeaseOptions{TTL: time.Minute}); err != nil {
		panic(err)
	}
	holders, err := consumer.Leases(ctx, log)
	if err != nil {
		panic(err)
	}
	for name, h := range holders {
		fmt.Println(name, h.Epoch, h.Until.Sub(h.Since).Round(time.Second))
	}
	// Output: bills 1 1m0s
}
