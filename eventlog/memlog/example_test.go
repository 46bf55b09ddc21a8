package memlog_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// A log whose clock is the test's.
func ExampleOptions() {
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	log := memlog.Options{Now: func() time.Time { return now }}.New()
	ctx := context.Background()
	if _, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Events: []event.Event{{Type: "placed"}}}); err != nil {
		fmt.Println(err)
	}
	for rec, err := range log.Read(ctx, eventlog.Query{}) {
		fmt.Println(rec.Position, rec.Type, rec.Recorded.Format(time.DateTime), err)
	}
	// Output: 1 placed 2030-05-01 12:00:00 <nil>
}
