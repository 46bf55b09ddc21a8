package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
)

// Logs is the logs of a shop's modules.
type Logs struct{ Orders, Seats, Payments eventlog.Log }

// LogsOf returns the logs of an open application.
func LogsOf(app *ensue.App) Logs {
	return Logs{Orders: app.Module("orders").Log(), Seats: app.Module("seats").Log(), Payments: app.Module("payments").Log()}
}

// Audit is what the logs say of a shop.
type Audit struct {
	Orders      int     `json:"orders"`
	Confirmed   int     `json:"confirmed"`
	Rejected    int     `json:"rejected"`
	TimedOut    int     `json:"timedOut"`
	Compensated int     `json:"compensated"` // cancelled or declined after seats were reserved, which were released
	Open        int     `json:"open"`
	Changed     int     `json:"changed"`  // on the way, among all of them
	Stale       int     `json:"stale"`    // reservations that a change had overtaken
	Refunded    int     `json:"refunded"` // payments
	Checks      []Check `json:"checks"`
	Example     string  `json:"example"` // an order: the first that was changed and confirmed, if there is one

	confirmed map[string]bool // by order
	telling   bool            // the example was changed and confirmed
}

// Check is a sentence that must be true of the logs.
type Check struct {
	What  string   `json:"what"`
	Want  int64    `json:"want"`
	Found int64    `json:"found"`
	Wrong []string `json:"wrong,omitempty"` // orders, or whatever else is not as it should be
}

// OK tells whether the sentence is true.
func (c Check) OK() bool { return c.Want == c.Found && len(c.Wrong) == 0 }

// MarshalJSON says beside the fields whether the sentence is true.
func (c Check) MarshalJSON() ([]byte, error) {
	type fields Check
	return json.Marshal(struct {
		fields
		OK bool `json:"ok"`
	}{fields(c), c.OK()})
}

// OK tells whether everything is as it should be.
func (a *Audit) OK() bool {
	return !slices.ContainsFunc(a.Checks, func(c Check) bool { return !c.OK() })
}

// account is what the logs say of one order.
type account struct {
	placed, confirmed int
	closed            []orders.Closed
	changes           int
	revision          int // the last one
	bought            orders.OrderConfirmed
	sold              []seats.Sold
	received          int64 // cents, less what was refunded
	payments          int   // received and not refunded
	revisions         []int // that seats were reserved for
}

// TakeAudit reads the logs from their beginning to their end and compares what the modules say with each other. It needs no
// running application, and knows nothing but what is in the logs.
func TakeAudit(ctx context.Context, logs Logs) (*Audit, error) {
	a := auditor{accounts: map[string]*account{}, capacity: map[string]int64{}, sold: map[string]int64{}, named: map[string]string{}}
	for _, l := range []struct {
		log   eventlog.Log
		types []event.Type
		note  func(event.Recorded, any)
	}{
		{logs.Orders, Orders(Config{}).Events, a.order},
		{logs.Seats, Seats().Events, a.seats},
		{logs.Payments, Payments().Events, a.payment},
	} {
		types, err := event.NewRegistry(l.types...)
		if err != nil {
			return nil, err
		}
		for rec, err := range l.log.Read(ctx, eventlog.Query{}) {
			if err != nil {
				return nil, fmt.Errorf("read the log: %w", err)
			}
			facts, err := types.Decode(rec.Event)
			if err != nil {
				return nil, err
			}
			for _, fact := range facts {
				l.note(rec, fact)
			}
		}
	}
	return a.report(), nil
}

type auditor struct {
	accounts map[string]*account // by order
	capacity map[string]int64    // by conference
	sold     map[string]int64    // seats, by conference
	named    map[string]string   // orders, by what their payments are called
	refunded int                 // payments
}

func (a *auditor) account(order string) *account {
	if a.accounts[order] == nil {
		a.accounts[order] = &account{}
	}
	return a.accounts[order]
}

func (a *auditor) order(_ event.Recorded, fact any) {
	switch e := fact.(type) {
	case orders.Placed:
		x := a.account(e.Order)
		x.placed++
		x.revision = 1
	case orders.ChangeRequested:
		x := a.account(e.Order)
		x.changes++
		x.revision = e.Revision
	case orders.OrderConfirmed:
		x := a.account(e.Order)
		x.confirmed++
		x.bought = e
	case orders.Closed:
		x := a.account(e.Order)
		x.closed = append(x.closed, e)
	}
}

func (a *auditor) seats(rec event.Recorded, fact any) {
	switch e := fact.(type) {
	case seats.SaleOpened:
		a.capacity[e.Conference] = int64(e.Capacity)
	case seats.Reserved:
		if rec.Metadata.Header(OrderHeader) != "" { // else it is the box office's own
			x := a.account(e.Reservation)
			x.revisions = append(x.revisions, e.Revision)
		}
	case seats.Sold:
		a.sold[e.Conference] += int64(e.Seats)
		x := a.account(e.Reservation)
		x.sold = append(x.sold, e)
	}
}

// payment notes who asked for a payment. That is known from the request: what ensues from the end of a sale carries no order.
func (a *auditor) payment(rec event.Recorded, fact any) {
	switch e := fact.(type) {
	case payments.Requested:
		a.named[e.Payment] = rec.Metadata.Header(OrderHeader)
	case payments.Received:
		x := a.account(a.named[e.Payment])
		x.payments++
		x.received += e.Cents
	case payments.Refunded:
		x := a.account(a.named[e.Payment])
		x.payments--
		x.received -= e.Cents
		a.refunded++
	}
}

func (a *auditor) report() *Audit {
	r := &Audit{Refunded: a.refunded, confirmed: map[string]bool{}}
	ends := Check{What: "every order ended in exactly one outcome"}
	once := Check{What: "confirmed orders were confirmed once, and no others"}
	sold := Check{What: "seats sold = seats of confirmed orders"}
	paid := Check{What: "payments received and kept = confirmed orders"}
	cents := Check{What: "cents received and kept = price of what was confirmed"}
	halls := Check{What: "no conference is oversold", Want: int64(len(a.capacity))}
	for _, name := range slices.Sorted(maps.Keys(a.accounts)) {
		x := a.accounts[name]
		outcome := r.count(name, x)
		wrong := func(c *Check, bad bool) {
			if bad {
				c.Wrong = append(c.Wrong, name)
			}
		}
		var want account
		if x.placed > 0 || len(x.closed) > 0 {
			ends.Want++
		}
		if x.placed == 1 && len(x.closed) == 1 {
			ends.Found++
		}
		wrong(&ends, x.placed != len(x.closed) || x.placed > 1)
		if outcome == orders.Confirmed {
			want = account{confirmed: 1, payments: 1, received: x.bought.Cents}
			sold.Want += int64(x.closed[0].Seats)
		}
		once.Want += int64(want.confirmed)
		once.Found += int64(x.confirmed)
		wrong(&once, x.confirmed != want.confirmed)
		var seatsSold int64
		for _, s := range x.sold {
			seatsSold += int64(s.Seats)
		}
		sold.Found += seatsSold
		wrong(&sold, len(x.sold) != want.confirmed || outcome == orders.Confirmed && seatsSold != int64(x.bought.Seats))
		paid.Want += int64(want.payments)
		paid.Found += int64(x.payments)
		wrong(&paid, x.payments != want.payments)
		cents.Want += want.received
		cents.Found += x.received
		wrong(&cents, x.received != want.received || outcome == orders.Confirmed && want.received != int64(x.bought.Seats)*orders.Price)
	}
	for _, name := range slices.Sorted(maps.Keys(a.capacity)) {
		if a.sold[name] > a.capacity[name] {
			halls.Wrong = append(halls.Wrong, name)
		} else {
			halls.Found++
		}
	}
	r.Checks = []Check{ends, once, sold, paid, cents, halls}
	return r
}

// count counts an order under its outcome, and returns that; none where it has not exactly one.
func (a *Audit) count(name string, x *account) (o orders.Outcome) {
	a.Orders += min(x.placed, 1)
	if x.changes > 0 {
		a.Changed++
	}
	for _, revision := range x.revisions {
		if revision < x.revision {
			a.Stale++
		}
	}
	if len(x.closed) == 1 {
		o = x.closed[0].Outcome
	}
	switch {
	case o == orders.Confirmed:
		a.Confirmed++
		a.confirmed[name] = true
	case o == orders.Rejected:
		a.Rejected++
	case o == orders.Expired:
		a.TimedOut++
	case o == orders.Cancelled:
		a.Compensated++
	case len(x.closed) == 0 && x.placed > 0:
		a.Open++
	}
	if telling := o == orders.Confirmed && x.changes > 0; a.Example == "" || telling && !a.telling {
		a.Example, a.telling = name, telling
	}
	return o
}

// Letters adds the check that every buyer of a confirmed order was told once, and nobody else.
func (a *Audit) Letters(sent map[string]int) {
	c := Check{What: "confirmations sent = confirmed orders", Want: int64(len(a.confirmed))}
	for order, n := range sent {
		c.Found += int64(n)
		if n != 1 || !a.confirmed[order] {
			c.Wrong = append(c.Wrong, order)
		}
	}
	for order := range a.confirmed {
		if sent[order] == 0 {
			c.Wrong = append(c.Wrong, order)
		}
	}
	slices.Sort(c.Wrong)
	a.Checks = append(a.Checks, c)
}

func (a *Audit) String() string {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
