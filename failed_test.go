package ensue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// Whose caterer never answers hears of it: the policy, or OnError, gives the command up at its module, and a deadline ends
// it there; whatever comes later finds the receipt.
func TestG7_AnApplicationGivesACommandUp(t *testing.T) {
	for name, c := range map[string]struct {
		retry process.Retry
		send  []process.SendOption
		want  command.Status
	}{
		"after its attempts": {process.Retry{Dispatch: 3}, nil, command.Failed},
		"at its deadline":    {process.Retry{}, []process.SendOption{process.Within(time.Second)}, command.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			c.retry.Backoff = consumer.Backoff{First: time.Millisecond, Most: time.Millisecond}
			began := time.Now()
			var ticks atomic.Int64
			var id command.ID
			def := process.Define("asking",
				process.On[Match, CustomerConfirmedMenu]{Starts: true, Locate: process.Key(func(e CustomerConfirmedMenu) string { return e.OrderID }),
					React: func(_ Match, in process.Input[CustomerConfirmedMenu], do *process.Step) {
						do.Send(ConfirmOrder(in.Event), c.send...)
					}},
				process.OnFailed[Match, ConfirmOrder]{
					React: func(_ Match, in process.Input[process.Failed[ConfirmOrder]], do *process.Step) {
						if in.Event.Expired != (c.want == command.Expired) || in.Event.Reason == "" {
							do.Fail(errors.New("it is told otherwise"))
						}
						do.Complete()
					}},
			).Otherwise(process.Ignore)
			app, err := ensue.Open(t.Context(), "memory:",
				ensue.Module{Name: "menus", Events: []event.Type{event.Named[CustomerConfirmedMenu]("customer-confirmed-menu")}, Processes: []process.Definition{def}},
				ensue.Module{Name: "orders", Commands: []command.Handler{command.Handle("confirm-order", func(_ context.Context, w *aggregate.Work, _ ConfirmOrder) (struct{}, error) {
					ticks.Add(1)
					id = w.Cause().Command
					return struct{}{}, errors.New("the caterer does not answer")
				})}},
				ensue.Options{Now: func() time.Time { return began.Add(time.Duration(ticks.Load()) * 400 * time.Millisecond) }, // by attempts
					Processes: map[string]ensue.ProcessOptions{"asking": {Retry: c.retry}}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = app.Close() }()
			if _, err := app.Module("menus").Record(t.Context(), "menu/1", CustomerConfirmedMenu{"1"}); err != nil {
				t.Fatal(err)
			}
			defer running(app)()
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out, err := app.Status(t.Context(), id); err != nil || out.Status != c.want || ticks.Load() != 3 {
				t.Errorf("%+v, %v after %d attempts", out, err, ticks.Load())
			}
			if i, err := process.Look(t.Context(), app.Process("asking").Home(), "1"); err != nil || i.Status != process.Completed {
				t.Errorf("the process was not told: %+v, %v", i, err)
			}
		})
	}
}
