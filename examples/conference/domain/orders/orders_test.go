package orders_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/examples/conference/domain/orders"
)

func TestOrder(t *testing.T) {
	after := func(events ...any) orders.Order {
		var o orders.Order
		for _, e := range events {
			o = o.Apply(e)
		}
		return o
	}
	placed := orders.Placed{Order: "7", Conference: "saga", Buyer: "Ada", Seats: 2}
	changed := orders.ChangeRequested{Order: "7", Revision: 2, Seats: 3}
	closed := orders.Closed{Order: "7", Outcome: orders.Expired}
	change := orders.RequestChange{Order: "7", Seats: 3}
	for _, tt := range []struct {
		name string
		do   func() ([]any, error)
		want []any
		err  error
	}{
		{"place", func() ([]any, error) { return after().Place(orders.Place(placed)) }, []any{placed}, nil},
		{"place twice", func() ([]any, error) { return after(placed).Place(orders.Place(placed)) }, nil, orders.Known},
		{"place nothing", func() ([]any, error) { return after().Place(orders.Place{Order: "7"}) }, nil, orders.Empty},
		{"change", func() ([]any, error) { return after(placed).RequestChange(change) }, []any{changed}, nil},
		{"change again", func() ([]any, error) { return after(placed, changed).RequestChange(change) }, []any{orders.ChangeRequested{Order: "7", Revision: 3, Seats: 3}}, nil},
		{"change to nothing", func() ([]any, error) { return after(placed).RequestChange(orders.RequestChange{Order: "7"}) }, nil, orders.Empty},
		{"change too late", func() ([]any, error) { return after(placed, closed).RequestChange(change) }, nil, orders.IsClosed},
		{"change after cancelling", func() ([]any, error) { return after(placed, orders.CancelRequested{Order: "7"}).RequestChange(change) }, nil, orders.Cancelling},
		{"cancel nothing", func() ([]any, error) { return after().RequestCancel(orders.RequestCancel{Order: "7"}) }, nil, orders.Unknown},
		{"end", func() ([]any, error) { return after(placed).Close(orders.Close{Order: "7", Outcome: orders.Expired}) }, []any{closed}, nil},
		{"end twice", func() ([]any, error) {
			return after(placed, closed).Close(orders.Close{Order: "7", Outcome: orders.Expired})
		}, nil, orders.IsClosed},
		{"end nothing", func() ([]any, error) { return after().Close(orders.Close{Order: "7"}) }, nil, orders.Unknown},
		{"confirm", func() ([]any, error) {
			return after(placed, changed).Confirm(orders.OrderConfirmed{Order: "7", Seats: 2})
		}, []any{orders.Closed{Order: "7", Outcome: orders.Confirmed, Seats: 2}}, nil},
		{"confirm after the end", func() ([]any, error) { return after(placed, closed).Confirm(orders.OrderConfirmed{Order: "7"}) }, nil, orders.IsClosed},
	} {
		got, err := tt.do()
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}
