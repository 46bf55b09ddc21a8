package event_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
)

type placed struct {
	OrderID string
	Lines   int
}

type shipped struct{ OrderID string }

type tagged struct {
	Table string
	At    time.Time
}

func (t tagged) EventTags() []event.Tag { return []event.Tag{{Key: "table", Value: t.Table}} }
func (t tagged) OccurredAt() time.Time  { return t.At }

func registry(t *testing.T, types ...event.Type) *event.Registry {
	t.Helper()
	r, err := event.NewRegistry(types...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNamesOfTypes(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "menu-confirmed": true, "A.b_c:9": true, "ensued": true, "9": true, strings.Repeat("x", 200): true,
		"": false, strings.Repeat("x", 201): false, "ensue.timer": false, "a b": false, "a/b": false, "é": false, "a\n": false, "a\x00": false,
	} {
		err := event.CheckTypeName(name)
		_, err2 := event.NewRegistry(event.Named[placed](name))
		var typeErr *event.TypeError
		switch {
		case good && (err != nil || err2 != nil):
			t.Errorf("%q is refused: %v, %v", name, err, err2)
		case !good && (!errors.As(err, &typeErr) || typeErr.Name != name || !errors.As(err2, &typeErr)):
			t.Errorf("%q: %v, %v", name, err, err2)
		}
	}
}

func TestARegistryReportsEveryMistake(t *testing.T) {
	up := func(r event.Raw) ([]event.Raw, error) { return nil, nil }
	_, err := event.NewRegistry(
		event.Named[placed]("placed"),
		event.Named[shipped]("placed"), // name twice
		event.Named[placed]("other"),   // Go type twice
		event.Named[tagged]("bad name"),
		event.Named[int]("int", event.Formerly("placed"), event.Schema(0)),
		event.Named[string]("string", event.Schema(2), event.UpcastFrom(1, up), event.UpcastFrom(1, up)),
		event.Named[*placed]("pointer"),
		event.Named[any]("interface"),
		event.Type{},
	)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("one error: %v", err)
	}
	said := ""
	for _, e := range joined.Unwrap() {
		said += e.Error() + "\n"
	}
	for _, want := range []string{
		`"placed" is registered twice: for event_test.placed and for event_test.shipped`,
		`"other" names event_test.placed, which "placed" names already`,
		`"bad name" holds ' '`,
		`"placed" is registered twice: for event_test.placed and for int`,
		`"int": schema version 0`,
		`"string": two upcasters from schema version 1`,
		`"pointer" names the Go type *event_test.placed`,
		`"interface" names the Go type interface {}`,
		`"" is empty`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("not reported: %s\n%s", want, said)
		}
	}
	if n := len(joined.Unwrap()); n != 9 {
		t.Errorf("%d errors:\n%s", n, said)
	}
}

func TestEncodeAndDecode(t *testing.T) {
	r := registry(t, event.Named[placed]("placed", event.Schema(3)), event.Named[shipped]("shipped"))
	e, err := r.Encode(placed{"42", 2})
	if err != nil {
		t.Fatal(err)
	}
	if want := (event.Event{Type: "placed", Schema: 3, Data: []byte(`{"OrderID":"42","Lines":2}`)}); !reflect.DeepEqual(e, want) {
		t.Errorf("encoded %+v", e)
	}
	facts, err := r.Decode(e)
	if err != nil || !slices.Equal(facts, []any{placed{"42", 2}}) {
		t.Errorf("decoded %v, %v", facts, err)
	}
	if name, ok := r.NameOf(reflect.TypeFor[shipped]()); name != "shipped" || !ok {
		t.Errorf("the name of shipped is %q, %v", name, ok)
	}
	if _, ok := r.NameOf(reflect.TypeFor[int]()); ok || r.Knows("int") || !r.Knows("shipped") {
		t.Error("what is registered is not what is known")
	}
	var names []string
	for _, typ := range r.Types() {
		names = append(names, fmt.Sprintf("%s %d %v", typ.Name(), typ.SchemaVersion(), typ.GoType()))
	}
	if want := []string{"placed 3 event_test.placed", "shipped 1 event_test.shipped"}; !slices.Equal(names, want) {
		t.Errorf("the types are %q", names)
	}
}

func TestAnUnregisteredTypeIsAnError(t *testing.T) {
	r := registry(t, event.Named[placed]("placed"))
	for _, fact := range []any{shipped{"42"}, &placed{}, nil, event.New(shipped{})} {
		var unregistered *event.UnregisteredError
		if _, err := r.Encode(fact); !errors.As(err, &unregistered) {
			t.Errorf("%T: %v", fact, err)
		} else if d, ok := fact.(event.Draft); !ok && unregistered.GoType != reflect.TypeOf(fact) || ok && unregistered.GoType != reflect.TypeOf(d.Fact) {
			t.Errorf("%T: the error names %v", fact, unregistered.GoType)
		}
	}
}

func TestWhatCannotBeEncodedOrDecoded(t *testing.T) {
	r := registry(t, event.Named[chan int]("channel"), event.Named[placed]("placed"), event.Named[shipped]("strict", event.With(event.StrictJSON{})))
	if _, err := r.Encode(make(chan int)); err == nil || !strings.Contains(err.Error(), `encode "channel"`) {
		t.Errorf("a channel was encoded: %v", err)
	}
	id := event.NewID()
	for _, c := range []event.Event{
		{ID: id, Type: "placed", Data: []byte(`{"OrderID":1}`)}, {ID: id, Type: "placed", Data: nil}, {ID: id, Type: "placed", Data: []byte(`{} {}`)},
		{ID: id, Type: "strict", Data: []byte(`{"OrderID":"1","More":2}`)}, {ID: id, Type: "strict", Data: []byte(`{} x`)}, {ID: id, Type: "strict", Data: []byte(`{}{}`)},
	} {
		var bad *event.DecodeError
		if facts, err := r.Decode(c); !errors.As(err, &bad) || bad.ID != id || bad.Type != c.Type || bad.Schema != 1 || bad.Unwrap() == nil {
			t.Errorf("%s %s: %v, %v", c.Type, c.Data, facts, err)
		}
	}
	for _, c := range []event.Event{
		{Type: "placed", Data: []byte(`{"OrderID":"1","More":2}`)}, {Type: "strict", Data: []byte(" {\"OrderID\":\"1\"}\n ")},
	} {
		if _, err := r.Decode(c); err != nil {
			t.Errorf("%s %s: %v", c.Type, c.Data, err)
		}
	}
}

func TestADraftSetsTheEnvelope(t *testing.T) {
	r := registry(t, event.Named[tagged]("tagged"))
	id, at := event.NewID(), time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	plain := event.New(tagged{"7", at})
	draft := plain.WithID(id).At(at.Add(time.Hour)).WithHeader("user", "zoë").WithHeader("user", "ann").WithHeader("b", "2").WithTag("seat", "3").WithTag("seat", "4")
	e, err := r.Encode(draft)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != id || !e.Occurred.Equal(at.Add(time.Hour)) || e.Metadata.Header("user") != "ann" || len(e.Metadata.Headers) != 2 {
		t.Errorf("encoded %+v", e)
	}
	if want := []event.Tag{{Key: "table", Value: "7"}, {Key: "seat", Value: "3"}, {Key: "seat", Value: "4"}}; !slices.Equal(e.Tags, want) {
		t.Errorf("the tags are %v", e.Tags)
	}
	e, err = r.Encode(plain) // which what was made of it left as it was
	if err != nil || !e.ID.IsZero() || !e.Occurred.Equal(at) || e.Metadata.Headers != nil || len(e.Tags) != 1 {
		t.Errorf("encoded %+v, %v", e, err)
	}
	one, other := draft.WithTag("x", "1").WithHeader("x", "1"), draft.WithTag("y", "2").WithHeader("y", "2")
	if one.Tags[2].Key != "x" || other.Tags[2].Key != "y" || len(one.Headers) != 3 || len(other.Headers) != 3 || len(draft.Tags) != 2 {
		t.Errorf("two drafts of one draft share what they hold: %+v, %+v", one, other)
	}
}

func TestAnUnknownTypeSurfacesAsItIs(t *testing.T) {
	r := registry(t, event.Named[placed]("placed"))
	e := event.Event{ID: event.NewID(), Type: "from-elsewhere", Schema: 4, Data: []byte("\x00 not JSON")}
	facts, err := r.Decode(e)
	raw := event.Raw{Type: "from-elsewhere", Schema: 4, Data: []byte("\x00 not JSON")}
	if err != nil || !reflect.DeepEqual(facts, []any{raw}) {
		t.Fatalf("decoded %v, %v", facts, err)
	}
	again, err := r.Encode(event.New(facts[0]).WithID(e.ID).WithTag("k", "v"))
	if err != nil || again.ID != e.ID || again.Type != e.Type || again.Schema != 4 || string(again.Data) != string(e.Data) || len(again.Tags) != 1 {
		t.Errorf("encoded again it is %+v, %v", again, err)
	}
	var bad *event.TypeError
	if _, err := r.Encode(event.Raw{Type: "ensue.timer"}); !errors.As(err, &bad) {
		t.Errorf("a system record was encoded: %v", err)
	}
	if e, err := r.Encode(event.Raw{Type: "new"}); err != nil || e.Schema != 1 {
		t.Errorf("a raw event without schema version is %+v, %v", e, err)
	}
}
