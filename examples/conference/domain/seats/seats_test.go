package seats_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/examples/conference/domain/seats"
)

// hall returns the hall after events.
func hall(events ...any) seats.Hall {
	var h seats.Hall
	for _, e := range append([]any{seats.SaleOpened{Conference: "saga", Capacity: 10}}, events...) {
		h = h.Apply(e)
	}
	return h
}

func reserved(name string, revision, n int) seats.Reserved {
	return seats.Reserved{Conference: "saga", Reservation: name, Revision: revision, Seats: n}
}

func TestHall(t *testing.T) {
	reserve := func(h seats.Hall, name string, revision, n int) ([]any, error) {
		return h.Reserve(seats.Reserve{Conference: "saga", Reservation: name, Revision: revision, Seats: n})
	}
	sold := seats.Sold{Conference: "saga", Reservation: "a", Seats: 4}
	release := seats.Release{Conference: "saga", Reservation: "a"}
	sell := seats.Sell{Conference: "saga", Reservation: "a"}
	for _, tt := range []struct {
		name string
		do   func() ([]any, error)
		want []any
		err  error
	}{
		{"all seats", func() ([]any, error) { return reserve(hall(), "a", 1, 10) }, []any{reserved("a", 1, 10)}, nil},
		{"too many", func() ([]any, error) { return reserve(hall(), "a", 1, 11) }, nil, seats.SoldOut},
		{"too many beside others", func() ([]any, error) { return reserve(hall(reserved("b", 1, 7)), "a", 1, 4) }, nil, seats.SoldOut},
		{"other ones instead", func() ([]any, error) { return reserve(hall(reserved("a", 1, 7)), "a", 2, 10) }, []any{reserved("a", 2, 10)}, nil},
		{"an overtaken revision", func() ([]any, error) { return reserve(hall(reserved("a", 2, 7)), "a", 1, 1) }, nil, seats.Overtaken},
		{"what was sold", func() ([]any, error) { return reserve(hall(reserved("a", 1, 4), sold), "a", 2, 1) }, nil, seats.AlreadySold},
		{"after the end", func() ([]any, error) { return reserve(hall(seats.SaleClosed{Conference: "saga"}), "a", 1, 1) }, nil, seats.Closed},
		{"before the beginning", func() ([]any, error) { return reserve(seats.Hall{}, "a", 1, 1) }, nil, seats.NotOnSale},
		{"what was released", func() ([]any, error) {
			return reserve(hall(reserved("a", 1, 10), seats.Released{Conference: "saga", Reservation: "a", Seats: 10}), "b", 1, 10)
		}, []any{reserved("b", 1, 10)}, nil},
		{"release", func() ([]any, error) { return hall(reserved("a", 1, 4)).Release(release) }, []any{seats.Released{Conference: "saga", Reservation: "a", Seats: 4}}, nil},
		{"release nothing", func() ([]any, error) { return hall().Release(release) }, nil, nil},
		{"release what was sold", func() ([]any, error) { return hall(reserved("a", 1, 4), sold).Release(release) }, nil, seats.AlreadySold},
		{"sell", func() ([]any, error) { return hall(reserved("a", 1, 4)).Sell(sell) }, []any{sold}, nil},
		{"sell after the end", func() ([]any, error) {
			return hall(reserved("a", 1, 4), seats.SaleClosed{Conference: "saga"}).Sell(sell)
		}, []any{sold}, nil},
		{"sell twice", func() ([]any, error) { return hall(reserved("a", 1, 4), sold).Sell(sell) }, nil, seats.AlreadySold},
		{"sell nothing", func() ([]any, error) { return hall().Sell(sell) }, nil, seats.NotReserved},
		{"close", func() ([]any, error) {
			return hall(reserved("c", 1, 1), reserved("a", 1, 4), sold, reserved("b", 1, 1)).CloseSale(seats.CloseSale{Conference: "saga"})
		}, []any{seats.SaleClosed{Conference: "saga", Reservations: []string{"b", "c"}}}, nil},
	} {
		got, err := tt.do()
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}
