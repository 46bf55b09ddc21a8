package aggregate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func TestARecordedFactBeginsAConversation(t *testing.T) {
	m := bank(t)
	given := event.NewID()
	_, err := aggregate.Record(t.Context(), m, "account/1", Deposited{1}, event.New(Deposited{2}).WithID(given).WithHeader("order-id", "42"))
	must(t, err)
	events := all(t, m.Log)
	if len(events) != 2 || events[1].ID != given || events[1].Metadata.Header("order-id") != "42" {
		t.Fatalf("%+v", events)
	}
	for _, e := range events {
		if e.Metadata.Correlation != e.ID || !e.Metadata.Causation.IsZero() {
			t.Errorf("%+v", e.Metadata)
		}
	}
}

func TestG5_RecordingAgainUnderTheSameIDsChangesNothing(t *testing.T) {
	for name, handlers := range map[string][]aggregate.Handler{
		"without handlers": nil,
		"with handlers":    {aggregate.Inside("count", count), aggregate.Afterwards("later", count)},
	} {
		t.Run(name, func(t *testing.T) {
			m := bank(t, handlers...)
			facts := []any{event.New(Deposited{1}).WithID(event.NewID()), event.New(Deposited{2}).WithID(event.NewID())}
			first, err := aggregate.Record(t.Context(), m, "account/1", facts...)
			must(t, err)
			n := len(all(t, m.Log))
			again, err := aggregate.Record(t.Context(), m, "account/1", facts...)
			must(t, err)
			if !again.Repeat || first.Repeat || again.Results[0] != first.Results[0] || len(all(t, m.Log)) != n {
				t.Errorf("first %+v, again %+v", first, again)
			}
			other := event.New(Deposited{3}).WithID(facts[0].(event.Draft).ID)
			var id *eventlog.IDError
			if _, err := aggregate.Record(t.Context(), m, "account/1", other); !errors.As(err, &id) {
				t.Errorf("another fact under the same id: %v", err)
			}
		})
	}
}

func TestRecordingNothingIsNothing(t *testing.T) {
	m := bank(t, aggregate.Inside("never", func(context.Context, *aggregate.Work, any) error { return errors.New("ran") }))
	appended, err := aggregate.Record(t.Context(), m, "account/1")
	must(t, err)
	if len(appended.Results) != 0 || len(all(t, m.Log)) != 0 {
		t.Errorf("%+v", appended)
	}
}
