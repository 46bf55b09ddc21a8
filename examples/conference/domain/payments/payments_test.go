package payments_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/examples/conference/domain/payments"
)

// TestPayment asks everything of a payment in each of its states.
func TestPayment(t *testing.T) {
	const id = "7"
	after := func(events ...any) payments.Payment {
		var p payments.Payment
		for _, e := range events {
			p = p.Apply(e)
		}
		return p
	}
	requested, received := payments.Requested{Payment: id, Cents: 500}, payments.Received{Payment: id, Cents: 500}
	withdrawn, refunded := payments.Withdrawn{Payment: id}, payments.Refunded{Payment: id, Cents: 500}
	type answer struct {
		event any
		err   error
	}
	for _, tt := range []struct {
		state                          payments.Payment
		request, pay, withdraw, refund answer
	}{
		{after(), answer{event: requested}, answer{err: payments.Unknown}, answer{err: payments.Unknown}, answer{err: payments.NotPaid}},
		{after(requested), answer{err: payments.Known}, answer{event: received}, answer{event: withdrawn}, answer{err: payments.NotPaid}},
		{after(requested, received), answer{err: payments.Known}, answer{err: payments.IsPaid}, answer{err: payments.IsPaid}, answer{event: refunded}},
		{after(requested, withdrawn), answer{err: payments.Known}, answer{err: payments.IsOver}, answer{}, answer{err: payments.NotPaid}},
		{after(requested, payments.Declined{Payment: id}), answer{err: payments.Known}, answer{err: payments.IsOver}, answer{}, answer{err: payments.NotPaid}},
		{after(requested, received, refunded), answer{err: payments.Known}, answer{err: payments.IsOver}, answer{}, answer{err: payments.NotPaid}},
	} {
		check := func(what string, want answer) func([]any, error) {
			return func(events []any, err error) {
				var wanted []any
				if want.event != nil {
					wanted = []any{want.event}
				}
				if !errors.Is(err, want.err) || !reflect.DeepEqual(events, wanted) {
					t.Errorf("%s of a payment that is %q: got %v, %v, want %v, %v", what, tt.state.Status, events, err, wanted, want.err)
				}
			}
		}
		check("request", tt.request)(tt.state.Request(payments.Request{Payment: id, Cents: 500}))
		check("pay", tt.pay)(tt.state.Pay(payments.Pay{Payment: id, Card: "visa"}))
		check("withdraw", tt.withdraw)(tt.state.Withdraw(payments.Withdraw{Payment: id}))
		check("refund", tt.refund)(tt.state.Refund(payments.Refund{Payment: id}))
	}
}

func TestNoCoverIsDeclined(t *testing.T) {
	p := payments.Payment{}.Apply(payments.Requested{Payment: "7"})
	got, err := p.Pay(payments.Pay{Payment: "7", Card: payments.NoCover})
	if want := []any{payments.Declined{Payment: "7", Reason: payments.NoCover}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
