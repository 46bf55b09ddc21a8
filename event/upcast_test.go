package event_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
)

type address struct{ Street, City string }

// raw makes a payload, for upcasters.
func raw(name string, schema int, v any) event.Raw {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return event.Raw{Type: name, Schema: schema, Data: data}
}

// split is an upcaster from {"Text": "street, city"}.
func split(r event.Raw) ([]event.Raw, error) {
	var old struct{ Text string }
	if err := json.Unmarshal(r.Data, &old); err != nil {
		return nil, err
	}
	street, city, ok := strings.Cut(old.Text, ", ")
	if !ok {
		return nil, fmt.Errorf("no comma in %q", old.Text)
	}
	return []event.Raw{raw(r.Type, r.Schema+1, address{street, city})}, nil
}

// rename is an upcaster from one field's name to another's.
func rename(from, to string) event.Upcast {
	return func(r event.Raw) ([]event.Raw, error) {
		var m map[string]any
		if err := json.Unmarshal(r.Data, &m); err != nil {
			return nil, err
		}
		m[to] = m[from]
		delete(m, from)
		return []event.Raw{raw(r.Type, r.Schema+1, m)}, nil
	}
}

func becomes(raws ...event.Raw) event.Upcast {
	return func(event.Raw) ([]event.Raw, error) { return raws, nil }
}

func TestUpcasters(t *testing.T) {
	r := registry(t,
		event.Named[address]("moved", event.Schema(3), event.UpcastFrom(1, rename("Addr", "Text")), event.UpcastFrom(2, split),
			event.Formerly("relocated"), event.Formerly("went")),
		event.Named[placed]("placed"),
		event.Named[shipped]("shipped", event.Schema(5),
			event.UpcastFrom(1, becomes()), // of no interest any more
			event.UpcastFrom(2, becomes(raw("shipped", 5, shipped{"a"}), raw("placed", 1, placed{"b", 1}), raw("unknown", 9, nil), raw("shipped", 4, nil))),
			event.UpcastFrom(4, becomes(raw("moved", 2, map[string]string{"Text": "here, there"}))), // to another type, which goes on from there
		),
	)
	for _, c := range []struct {
		what string
		e    event.Event
		want []any
	}{
		{"a chain", event.Event{Type: "moved", Schema: 1, Data: []byte(`{"Addr":"Main St, Rome"}`)}, []any{address{"Main St", "Rome"}}},
		{"schema version 0, which is 1", event.Event{Type: "moved", Data: []byte(`{"Addr":"Main St, Rome"}`)}, []any{address{"Main St", "Rome"}}},
		{"the end of a chain", event.Event{Type: "moved", Schema: 2, Data: []byte(`{"Text":"Main St, Rome"}`)}, []any{address{"Main St", "Rome"}}},
		{"today's", event.Event{Type: "moved", Schema: 3, Data: []byte(`{"Street":"a","City":"b"}`)}, []any{address{"a", "b"}}},
		{"a former name", event.Event{Type: "relocated", Schema: 3, Data: []byte(`{"Street":"a","City":"b"}`)}, []any{address{"a", "b"}}},
		{"another former name, and a chain", event.Event{Type: "went", Schema: 1, Data: []byte(`{"Addr":"a, b"}`)}, []any{address{"a", "b"}}},
		{"to none", event.Event{Type: "shipped", Schema: 1}, []any{}},
		{"to another type", event.Event{Type: "shipped", Schema: 4}, []any{address{"here", "there"}}},
		{"to several", event.Event{Type: "shipped", Schema: 2}, []any{shipped{"a"}, placed{"b", 1}, raw("unknown", 9, nil), address{"here", "there"}}},
	} {
		facts, err := r.Decode(c.e)
		if err != nil || !reflect.DeepEqual(facts, c.want) {
			t.Errorf("%s: decoded %v, %v, want %v", c.what, facts, err, c.want)
		}
	}
	e, err := r.Encode(address{"a", "b"})
	if err != nil || e.Type != "moved" || e.Schema != 3 {
		t.Errorf("what had other names is written as %q %d, %v", e.Type, e.Schema, err)
	}
	for name, want := range map[string]string{"moved": "moved", "relocated": "moved", "went": "moved", "unknown": ""} {
		if got, ok := r.PresentName(name); got != want || ok != (want != "") {
			t.Errorf("the present name of %q is %q, %v", name, got, ok)
		}
	}
}

func TestWhatHasNoUpcasterOrIsNewerIsNeverGuessed(t *testing.T) {
	r := registry(t, event.Named[placed]("placed", event.Schema(3), event.UpcastFrom(2, split), event.Formerly("ordered")),
		event.Named[shipped]("shipped", event.Schema(2), event.UpcastFrom(1, becomes(raw("placed", 1, nil)))),
		event.Named[address]("address", event.Schema(2), event.UpcastFrom(1, becomes(raw("placed", 9, nil)))))
	id := event.NewID()
	var missing *event.MissingUpcastError
	for name, known := range map[string]string{"placed": "placed", "ordered": "ordered", "shipped": "placed"} {
		facts, err := r.Decode(event.Event{ID: id, Type: name, Schema: 1, Data: []byte(`{}`)})
		if !errors.As(err, &missing) || *missing != (event.MissingUpcastError{Type: known, Schema: 1, Known: 3, ID: id}) || facts != nil {
			t.Errorf("%s: %v, %v", name, facts, err)
		}
	}
	var newer *event.NewerSchemaError
	for name, schema := range map[string]int{"placed": 4, "ordered": 4, "shipped": 3, "address": 1} {
		facts, err := r.Decode(event.Event{ID: id, Type: name, Schema: schema, Data: []byte(`{}`)})
		if !errors.As(err, &newer) || newer.ID != id || newer.Schema <= newer.Known || facts != nil {
			t.Errorf("%s: %v, %v", name, facts, err)
		}
	}
}

func TestUpcastersThatGoWrong(t *testing.T) {
	broken := errors.New("broken")
	r := registry(t,
		event.Named[address]("fails", event.Schema(2), event.UpcastFrom(1, func(event.Raw) ([]event.Raw, error) { return nil, broken })),
		event.Named[placed]("stays", event.Schema(3), event.UpcastFrom(1, becomes(raw("stays", 1, nil))), event.UpcastFrom(2, becomes(raw("stays", 1, nil)))),
		event.Named[int]("ping", event.Schema(2), event.UpcastFrom(1, becomes(raw("pong", 1, nil)))),
		event.Named[string]("pong", event.Schema(2), event.UpcastFrom(1, becomes(raw("ping", 1, nil)))),
		event.Named[shipped]("bad", event.Schema(2), event.UpcastFrom(1, becomes(raw("bad", 2, "not an object")))),
	)
	for _, c := range []struct {
		name   string
		schema int
		says   string
	}{
		{"fails", 1, "upcast: broken"}, {"stays", 1, "it must grow"}, {"stays", 2, "it must grow"}, {"ping", 1, "in a row"}, {"pong", 1, "in a row"}, {"bad", 1, "cannot unmarshal"},
	} {
		var bad *event.DecodeError
		if facts, err := r.Decode(event.Event{Type: c.name, Schema: c.schema, Data: []byte(`{}`)}); !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) || facts != nil {
			t.Errorf("%s from %d: %v, %v", c.name, c.schema, facts, err)
		}
	}
	if _, err := r.Decode(event.Event{Type: "fails", Schema: 1}); !errors.Is(err, broken) {
		t.Errorf("the upcaster's error is not wrapped: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	r, err := event.NewRegistry(
		event.Named[address]("moved", event.Schema(3), event.UpcastFrom(1, rename("Addr", "Text")), event.UpcastFrom(2, split), event.Formerly("went")),
		event.Named[placed]("placed", event.With(event.StrictJSON{})))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("moved", 1, []byte(`{"Addr":"Main St, Rome"}`))
	f.Add("moved", 2, []byte(`{"Text":null}`))
	f.Add("went", 3, []byte(`{"Street":1}`))
	f.Add("placed", 0, []byte(`{"OrderID":"1"}`))
	f.Add("placed", -1, []byte(`null`))
	f.Add("placed", 9, []byte(`{`))
	f.Add("unknown", 7, []byte("\xff"))
	f.Fuzz(func(t *testing.T, name string, schema int, data []byte) {
		e := event.Event{Type: name, Schema: schema, Data: data}
		facts, err := r.Decode(e)
		switch {
		case err != nil && facts != nil:
			t.Errorf("an error and %v", facts)
		case err == nil && len(facts) == 0:
			t.Error("dropped without a word")
		case err == nil && !r.Knows(name):
			if got, ok := facts[0].(event.Raw); !ok || got.Type != name || string(got.Data) != string(data) {
				t.Errorf("an unknown type surfaced as %+v", facts[0])
			}
		case err == nil:
			again, err := r.Encode(facts[0])
			if err != nil {
				t.Fatalf("what was decoded cannot be encoded: %v", err)
			}
			if same, err := r.Decode(again); err != nil || !reflect.DeepEqual(same, facts) {
				t.Errorf("decoded, encoded and decoded it is %v, %v, and was %v", same, err, facts)
			}
		}
	})
}
