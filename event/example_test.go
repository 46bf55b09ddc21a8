package event_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/event"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// MenuConfirmed is a domain event: a Go type of the application, which knows nothing of this package.
type MenuConfirmed struct {
	OrderID string `json:"orderId"`
	Menu    string `json:"menu,omitempty"`
}

// Name a type, encode a value, and read it back.
func Example() {
	types := must(event.NewRegistry(event.Named[MenuConfirmed]("menu-confirmed")))
	e := must(types.Encode(MenuConfirmed{OrderID: "42"}))
	fmt.Println(e.Type, e.Schema, string(e.Data))
	for _, fact := range must(types.Decode(e)) {
		fmt.Printf("%+v\n", fact)
	}
	// Output:
	// menu-confirmed 1 {"orderId":"42"}
	// {OrderID:42 Menu:}
}

// Parts of the envelope are set on a draft, which is accepted wherever a domain event is.
func ExampleNew() {
	types := must(event.NewRegistry(event.Named[MenuConfirmed]("menu-confirmed")))
	e := must(types.Encode(event.New(MenuConfirmed{OrderID: "42"}).
		WithID(event.DeriveID("import", "row 17")).WithHeader("user", "ann").WithTag("order", "42")))
	fmt.Println(e.ID, e.Metadata.Header("user"), e.Tags)
	// Output: c1570858-9653-580c-89a2-f01ce35049a4 ann [{order 42}]
}

// What older programs wrote is read by upcasters: here the menu was called a dish, and an order had several.
func ExampleUpcastFrom() {
	fromDishes := func(old event.Raw) ([]event.Raw, error) {
		var v1 struct {
			OrderID string   `json:"orderId"`
			Dishes  []string `json:"dishes"`
		}
		if err := json.Unmarshal(old.Data, &v1); err != nil {
			return nil, err
		}
		var now []event.Raw
		for _, dish := range v1.Dishes {
			data, err := json.Marshal(MenuConfirmed{v1.OrderID, dish})
			if err != nil {
				return nil, err
			}
			now = append(now, event.Raw{Type: "menu-confirmed", Schema: 2, Data: data})
		}
		return now, nil
	}
	types := must(event.NewRegistry(
		event.Named[MenuConfirmed]("menu-confirmed", event.Schema(2), event.UpcastFrom(1, fromDishes), event.Formerly("dishes-chosen"))))

	stored := event.Event{Type: "dishes-chosen", Schema: 1, Data: []byte(`{"orderId":"42","dishes":["soup","cake"]}`)}
	for _, fact := range must(types.Decode(stored)) {
		fmt.Printf("%+v\n", fact)
	}
	_, err := types.Decode(event.Event{Type: "menu-confirmed", Schema: 3, Data: []byte(`{}`)})
	var newer *event.NewerSchemaError
	fmt.Println(errors.As(err, &newer), newer.Schema, "is newer than", newer.Known)
	// Output:
	// {OrderID:42 Menu:soup}
	// {OrderID:42 Menu:cake}
	// true 3 is newer than 2
}

// Events of types that nobody registered are not dropped: they surface as they are stored.
func ExampleRaw() {
	types := must(event.NewRegistry())
	for _, fact := range must(types.Decode(event.Event{Type: "from-elsewhere", Data: []byte("<xml/>")})) {
		raw := fact.(event.Raw)
		fmt.Println(raw.Type, raw.Schema, string(raw.Data))
	}
	// Output: from-elsewhere 1 <xml/>
}

// What an event causes carries its correlation, and of its headers those that are declared.
func ExampleMetadata_Carry() {
	paid := event.DeriveID("the payment")
	m := event.Metadata{Correlation: event.DeriveID("the order"), Headers: map[string]string{"order": "42", "trace": "f00"}}
	next := m.Carry(paid, []string{"order"})
	fmt.Println(next.Correlation == m.Correlation, next.Causation == paid, next.Headers)
	// Output: true true map[order:42]
}

// The same parts give the same id, in every process and for ever; where one ends matters.
func ExampleDeriveID() {
	fmt.Println(event.DeriveID("a", "b-c"))
	fmt.Println(event.DeriveID("a-b", "c"))
	// Output:
	// 33afba92-c295-5b9e-9bf4-025fdfcf3eab
	// 3f5ad973-10be-5fff-8dd3-d8549de3ea5a
}

// A codec of one's own, or a stricter one, is an option of the type.
func ExampleWith() {
	types := must(event.NewRegistry(event.Named[MenuConfirmed]("menu-confirmed", event.With(event.StrictJSON{}))))
	_, err := types.Decode(event.Event{Type: "menu-confirmed", Data: []byte(`{"orderId":"42","table":7}`)})
	var bad *event.DecodeError
	fmt.Println(errors.As(err, &bad), bad.Err)
	// Output: true json: unknown field "table"
}
