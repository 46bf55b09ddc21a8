package tick_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/calendar"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/tick"
)

// The program was away from Friday to Monday: the days that ended meanwhile are made up for, since each counts.
func ExampleDefinition() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	monday := time.Date(2026, time.March, 30, 8, 0, 0, 0, berlin)
	books := ensue.Module{Name: "books", Events: []event.Type{event.Named[DayEnded]("day-ended")},
		Ticks: []tick.Definition{{
			Name:   "end-of-day",
			On:     calendar.MustCron("0 0 * * *", berlin),
			Event:  func(at time.Time) any { return DayEnded{at.AddDate(0, 0, -1).Format("Monday")} },
			Missed: tick.Each(31),
			From:   time.Date(2026, time.March, 28, 0, 0, 0, 0, berlin),
		}}}
	ctx, stop := context.WithCancel(context.Background())
	app, err := ensue.Open(ctx, "memory:", books, ensue.Options{Now: func() time.Time { return monday }})
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- app.Run(ctx) }()
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	for rec, err := range app.Module("books").Log().ReadStream(ctx, "tick/end-of-day", eventlog.StreamQuery{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(rec.Occurred.In(berlin), string(rec.Data))
	}
	stop()
	fmt.Println(<-done, app.Close())
	// Output:
	// 2026-03-28 00:00:00 +0100 CET {"Day":"Friday"}
	// 2026-03-29 00:00:00 +0100 CET {"Day":"Saturday"}
	// 2026-03-30 00:00:00 +0200 CEST {"Day":"Sunday"}
	// <nil> <nil>
}
