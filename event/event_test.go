package event_test

import (
	"maps"
	"testing"

	"github.com/ensue-io/ensue/event"
)

func TestMetadataIsCarriedFromCauseToEffect(t *testing.T) {
	first, second := event.NewID(), event.NewID()
	m := event.Metadata{Headers: map[string]string{"order": "42", "trace": "x", "empty": ""}}
	next := m.Carry(first, []string{"order", "empty", "absent"})
	if next.Correlation != first || next.Causation != first || !maps.Equal(next.Headers, map[string]string{"order": "42", "empty": ""}) {
		t.Errorf("what the first causes has %+v", next)
	}
	last := next.Carry(second, nil)
	if last.Correlation != first || last.Causation != second || last.Headers != nil {
		t.Errorf("what the second causes has %+v", last)
	}
	if none := m.Carry(first, []string{"absent"}); none.Headers != nil {
		t.Errorf("headers that are not there were carried: %v", none.Headers)
	}
	next.Headers["order"] = "43"
	if m.Header("order") != "42" {
		t.Error("cause and effect share their headers")
	}
}

func TestMetadataWithAHeaderIsAnother(t *testing.T) {
	var none event.Metadata
	one := none.WithHeader("a", "1")
	two := one.WithHeader("b", "2").WithHeader("a", "3")
	if len(none.Headers) != 0 || !maps.Equal(one.Headers, map[string]string{"a": "1"}) || !maps.Equal(two.Headers, map[string]string{"a": "3", "b": "2"}) {
		t.Errorf("%v, %v, %v", none.Headers, one.Headers, two.Headers)
	}
	if two.Header("a") != "3" || two.Header("c") != "" {
		t.Errorf("headers a and c are %q and %q", two.Header("a"), two.Header("c"))
	}
}

func TestSystemRecordsAndLinksAreToldApart(t *testing.T) {
	for name, system := range map[string]bool{"ensue.timer": true, "ensue.": true, "ensue": false, "ensued": false, "Ensue.timer": false, "x.ensue.": false, "": false} {
		if got := (event.Event{Type: name}).IsSystem(); got != system {
			t.Errorf("%q is a system record: %v", name, got)
		}
	}
	r := event.Recorded{Place: event.Place{Stream: "view/1", Version: 1}}
	if r.IsLink() {
		t.Error("an event at its own place is said to be a link")
	}
	r.Origin = event.Place{Stream: "order/1", Version: 7}
	if !r.IsLink() {
		t.Error("an event with an origin is not said to be a link")
	}
}
