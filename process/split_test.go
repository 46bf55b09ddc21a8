package process_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/process"
)

// What one instance took long ago must not use up the inputs that are taken one by one after a split: the cursors of
// partitions that are idle are behind, so a term begins with inputs that were taken.
func TestG9_ASplitReachesTheCulpritBehindWhatIsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.config.Retry.Attempts = 1
	w.config.Definition = orderProcess(func(id string, input any) {
		if p, ok := input.(Paid); ok && p.ID == "b" && p.Cents == 13 {
			panic("cannot take 13")
		}
	})
	w.record("payments", Noted{"nobody"})
	for range 600 {
		w.record("sales", OrderPlaced{ID: "a", Qty: 1})
	}
	w.record("sales", OrderPlaced{ID: "b", Qty: 1})
	w.run()
	for range 600 {
		w.record("payments", Noted{"a"})
	}
	w.record("payments", Noted{"b"}, Paid{"b", 13})
	w.run()
	held := 0
	for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
		if err != nil || h.Instance != "b" || h.Condition != process.Held {
			t.Errorf("%+v, %v", h, err)
		}
		held++
	}
	if held != 1 {
		t.Errorf("%d held", held)
	}
}

// The outcome of a command comes later than what a term reads again; a step on it that the store refuses must be held.
func TestG9_AnOutcomeThatCannotBeStoredIsHeld(t *testing.T) {
	w := newWorld(t)
	w.config.Retry.Attempts = 1
	w.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: 1})
			}},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			React: func(_ OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]], do *process.Step) {
				how := "ok"
				if do.Instance() == "bad" {
					how = strings.Repeat("x", 40<<20)
				}
				do.Emit(OrderClosed{ID: do.Instance(), How: how})
			}},
	).Otherwise(process.Ignore)
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			o, err := next(ctx, c, first)
			_ = consumer.Sleep(ctx, 5*time.Millisecond)
			return o, err
		}
	}
	for _, id := range []string{"a", "b", "bad", "c", "d", "e"} {
		w.record("sales", OrderPlaced{ID: id, Qty: 1})
	}
	w.run()
	held := 0
	for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
		if err != nil || h.Instance != "bad" {
			t.Errorf("%+v, %v", h, err)
		}
		held++
	}
	if held != 1 {
		t.Errorf("%d held", held)
	}
}
