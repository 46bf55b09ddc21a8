package shop_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/examples/conference/shop"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// counter is a shop in a bubble of virtual time, or on a server whose clock goes on, with somebody who asks things of it.
type counter struct {
	*testing.T
	app     *ensue.App
	letters *shop.Letters
	payment time.Duration // what a buyer has
	server  bool
	stop    context.CancelFunc // nil while the processes are stopped
	done    chan error
}

// On a server, the fifteen minutes for a payment are as long as they are; in stories in which they pass, they last a few
// seconds, and every other time is as much shorter.
const (
	quarter      = 15 * time.Minute
	shortQuarter = 4 * time.Second
)

// shops runs a story in a shop that is kept in memory, in one on a SQLite file, and in one in PostgreSQL.
func shops(t *testing.T, story func(c *counter)) {
	t.Helper()
	bubbles(t, story)
	onServer(t, quarter, story)
}

// shopsWhereTimePasses is shops for stories that wait.
func shopsWhereTimePasses(t *testing.T, story func(c *counter)) {
	t.Helper()
	bubbles(t, story)
	onServer(t, shortQuarter, story)
}

func onServer(t *testing.T, payment time.Duration, story func(c *counter)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		(&counter{T: t, payment: payment, server: true}).tell(pgtest.Database(t), ensue.Options{}, story)
	})
}

// bubbles runs a story that depends on exact times.
func bubbles(t *testing.T, story func(c *counter)) {
	t.Helper()
	for kind, address := range map[string]func(t *testing.T) string{
		"memory": func(*testing.T) string { return "memory:" },
		"sqlite": func(t *testing.T) string { return t.TempDir() + "/" },
	} {
		t.Run(kind, func(t *testing.T) {
			address := address(t)
			synctest.Test(t, func(t *testing.T) {
				(&counter{T: t}).tell(address, ensue.Options{Poll: time.Hour, Lease: time.Hour}, story)
			})
		})
	}
}

func (c *counter) tell(address string, o ensue.Options, story func(c *counter)) {
	c.Helper()
	c.letters = &shop.Letters{}
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	app, err := ensue.Open(c.Context(), address, shop.Parts(shop.Config{PaymentTime: c.payment, Mailer: c.letters, Options: o})...)
	if err != nil {
		c.Fatal(err)
	}
	c.app = app
	defer func() {
		c.pause()
		if err := app.Close(); err != nil {
			c.Error(err)
		}
	}()
	c.resume()
	c.must(seats.OpenSale{Conference: "saga", Capacity: 10})
	story(c)
	c.audit()
}

// resume runs the processes.
func (c *counter) resume() {
	ctx, stop := context.WithCancel(c.Context())
	c.stop, c.done = stop, make(chan error, 1)
	go func() { c.done <- c.app.Run(ctx) }()
	c.settle()
}

// pause stops the processes; commands are handled all the same.
func (c *counter) pause() {
	c.Helper()
	if c.stop == nil {
		return
	}
	c.stop()
	c.stop = nil
	if err := <-c.done; err != nil {
		c.Error(err)
	}
}

// settle waits until everything that ensues has ensued.
func (c *counter) settle() {
	c.Helper()
	switch {
	case !c.server:
		synctest.Wait()
	case c.stop != nil:
		if err := c.app.WaitIdle(c.Context()); err != nil {
			c.Error(err)
		}
	default:
		// What is appended there is recorded by whoever numbers it next; asking for a head has it numbered. What is numbered
		// together is recorded at one instant.
		for _, module := range []string{"orders", "seats", "payments"} {
			if _, err := c.app.Module(module).Log().Head(c.Context()); err != nil {
				c.Error(err)
			}
		}
	}
}

// do asks for something and waits until everything that ensues has ensued. It returns the code of a rejection.
func (c *counter) do(cmd any, settings ...command.Setting) string {
	c.Helper()
	defer c.settle()
	_, err := ensue.Do[struct{}](c.Context(), c.app, cmd, settings...)
	var rejection *command.Rejection
	if errors.As(err, &rejection) {
		return rejection.Code
	}
	if err != nil {
		c.Fatalf("%#v: %v", cmd, err)
	}
	return ""
}

func (c *counter) must(cmd any, settings ...command.Setting) {
	c.Helper()
	if code := c.do(cmd, settings...); code != "" {
		c.Fatalf("%#v: %s", cmd, code)
	}
}

// by is what a buyer's request carries: the payment page knows the order that it belongs to.
func by(order string) command.Setting {
	return command.WithMetadata(event.Metadata{}.WithHeader(shop.OrderHeader, order))
}

func (c *counter) place(order string, n int) {
	c.Helper()
	c.must(orders.Place{Order: order, Conference: "saga", Buyer: "Ada", Seats: n})
}

// pass lets time pass. On a server, no more passes than a payment has and a little.
func (c *counter) pass(d time.Duration) {
	c.Helper()
	if c.server {
		d = min(d, quarter+quarter/10) / (quarter / shortQuarter)
	}
	if err := consumer.Sleep(c.Context(), d); err != nil {
		c.Fatal(err)
	}
	c.settle()
}

// facts returns the domain events of a module, each as its type's name, of one order or, if it is empty, all.
func (c *counter) facts(module, order string) []string {
	c.Helper()
	var all []string
	for rec, err := range c.app.Module(module).Log().Read(c.Context(), eventlog.Query{}) {
		if err != nil {
			c.Fatal(err)
		}
		if order == "" || rec.Metadata.Header(shop.OrderHeader) == order {
			all = append(all, rec.Type)
		}
	}
	return all
}

// story compares what happened to an order, in each of the modules.
func (c *counter) story(order, inOrders, inSeats, inPayments string) {
	c.Helper()
	for module, want := range map[string]string{"orders": inOrders, "seats": inSeats, "payments": inPayments} {
		if got := strings.Join(c.facts(module, order), " "); got != want {
			c.Errorf("%s of order %s:\n got %s\nwant %s", module, order, got, want)
		}
	}
}

func (c *counter) closed(order string) (closed orders.Closed) {
	c.Helper()
	types := c.app.Module("orders").Types()
	for rec, err := range c.app.Module("orders").Log().ReadStream(c.Context(), "order/"+order, eventlog.StreamQuery{}) {
		if err != nil {
			c.Fatal(err)
		}
		facts, err := types.Decode(rec.Event)
		if err != nil {
			c.Fatal(err)
		}
		if e, ok := facts[0].(orders.Closed); ok {
			closed = e
		}
	}
	return closed
}

func (c *counter) end(order string, want orders.Closed) {
	c.Helper()
	want.Order = order
	if got := c.closed(order); got != want {
		c.Errorf("order %s ended as %+v, want %+v", order, got, want)
	}
}

// audit is the end of every story.
func (c *counter) audit() {
	c.Helper()
	a, err := shop.TakeAudit(c.Context(), shop.LogsOf(c.app))
	if err != nil {
		c.Fatal(err)
	}
	if !a.OK() {
		c.Error(a)
	}
	for _, name := range []string{"registration", "fulfilment"} {
		log := c.app.Module("orders").Log()
		for s, err := range process.ListInstances(c.Context(), log, name, "") {
			if err != nil || s.Status != process.Completed {
				c.Errorf("%s %s is %v: %v", name, s.Key, s.Status, err)
			}
		}
		for h, err := range process.Holdings(c.Context(), log, name) {
			c.Errorf("%s holds %+v: %v", name, h, err)
		}
	}
	if got := len(c.letters.Sent()); got != a.Confirmed {
		c.Errorf("%d letters for %d confirmed orders", got, a.Confirmed)
	}
}

func (c *counter) ignored(rule string) int64 {
	c.Helper()
	counts, err := process.Ignored(c.Context(), c.app.Module("orders").Log(), "registration")
	if err != nil {
		c.Fatal(err)
	}
	return counts[rule]
}

func TestAnOrderIsReservedPaidAndConfirmed(t *testing.T) {
	shops(t, func(c *counter) {
		c.place("1", 3)
		c.must(payments.Pay{Payment: "1.1", Card: "visa"}, by("1"))
		c.story("1", "order-placed order-confirmed order-closed", "seats-reserved seats-sold", "payment-requested payment-received")
		c.end("1", orders.Closed{Outcome: orders.Confirmed, Seats: 3})
		for _, letter := range c.letters.Sent() {
			if want := "Dear Ada,\n\nyour order 1 is confirmed: 3 × saga, 297.00 paid.\n"; letter.Text() != want {
				c.Errorf("the letter says %q, want %q", letter.Text(), want)
			}
		}
	})
}

func TestBoxOfficeRejects(t *testing.T) {
	shops(t, func(c *counter) {
		c.place("1", 11)
		c.story("1", "order-placed order-closed", "", "")
		c.end("1", orders.Closed{Outcome: orders.Rejected, Reason: "sold-out"})
	})
}

func TestPaymentTimesOut(t *testing.T) {
	shopsWhereTimePasses(t, func(c *counter) {
		c.place("1", 3)
		before := quarter - time.Second
		if c.server {
			before = 0
		}
		c.pass(before)
		if got := c.closed("1"); got.Outcome != "" {
			c.Errorf("after less than 15 minutes the order is %s", got.Outcome)
		}
		c.pass(quarter - before)
		c.story("1", "order-placed order-closed", "seats-reserved seats-released", "payment-requested payment-withdrawn")
		c.end("1", orders.Closed{Outcome: orders.Expired, Reason: "not paid in time"})
		if code := c.do(payments.Pay{Payment: "1.1", Card: "visa"}, by("1")); code != "not-payable" {
			c.Errorf("paying too late: %q", code)
		}
		c.place("2", 10) // all seats are free again
		c.must(payments.Pay{Payment: "2.1", Card: "visa"}, by("2"))
		c.end("2", orders.Closed{Outcome: orders.Confirmed, Seats: 10})
	})
}

func TestBuyerCancels(t *testing.T) {
	shops(t, func(c *counter) {
		c.place("1", 3)
		c.must(orders.RequestCancel{Order: "1"})
		c.story("1", "order-placed cancel-requested order-closed", "seats-reserved seats-released", "payment-requested payment-withdrawn")
		c.end("1", orders.Closed{Outcome: orders.Cancelled, Reason: "by the buyer"})
	})
}

func TestCardIsDeclined(t *testing.T) {
	shops(t, func(c *counter) {
		c.place("1", 3)
		c.must(payments.Pay{Payment: "1.1", Card: payments.NoCover}, by("1"))
		c.story("1", "order-placed order-closed", "seats-reserved seats-released", "payment-requested payment-declined")
		c.end("1", orders.Closed{Outcome: orders.Cancelled, Reason: "payment declined"})
	})
}

// The payment and another wish stand in two logs before the process has seen either. What happened first decides: what was
// paid for in vain is refunded, what was wished for too late is left alone.
func TestPaymentCrosses(t *testing.T) {
	pay := payments.Pay{Payment: "1.1", Card: "visa"}
	for _, tt := range []struct {
		name  string
		other any
		first orders.Closed // how the order ends if the payment came second
	}{
		{"a cancellation", orders.RequestCancel{Order: "1"}, orders.Closed{Outcome: orders.Cancelled, Reason: "by the buyer"}},
		{"a change", orders.RequestChange{Order: "1", Seats: 5}, orders.Closed{Outcome: orders.Expired, Reason: "not paid in time"}},
		{"a change that cannot be", orders.RequestChange{Order: "1", Seats: 50}, orders.Closed{Outcome: orders.Rejected, Reason: "sold-out"}},
		{"the end of the sale", seats.CloseSale{Conference: "saga"}, orders.Closed{Outcome: orders.Rejected, Reason: "sale-closed"}},
	} {
		for _, payFirst := range []bool{false, true} {
			name := tt.name + " and then a payment"
			if payFirst {
				name = "a payment and then " + tt.name
			}
			t.Run(name, func(t *testing.T) {
				shopsWhereTimePasses(t, func(c *counter) {
					c.place("1", 3)
					c.pause()
					end, paid := tt.first, "payment-requested payment-received payment-refunded"
					if payFirst {
						c.must(pay, by("1"))
						end, paid = orders.Closed{Outcome: orders.Confirmed, Seats: 3}, "payment-requested payment-received"
					}
					c.pass(time.Second)
					c.must(tt.other)
					c.pass(time.Second)
					if !payFirst {
						c.must(pay, by("1"))
					}
					c.resume()
					if !c.server || end.Outcome == orders.Expired { // elsewhere, nothing happens in it
						c.pass(time.Hour)
					}
					c.end("1", end)
					if end.Outcome == orders.Expired { // what the change costs was asked for, too
						paid += " payment-requested payment-withdrawn"
					}
					got, want := c.facts("payments", ""), strings.Fields(paid)
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						c.Errorf("the cash desk says %s, want %s", got, want)
					}
				})
			})
		}
	}
}

// A buyer changes the order while the reservation is under way: what comes back is about an order that is no more, and
// nobody is asked to pay for it.
func TestStaleReservationIsIgnored(t *testing.T) {
	shops(t, func(c *counter) {
		c.pause()
		c.place("1", 3)
		c.must(orders.RequestChange{Order: "1", Seats: 5})
		c.resume()
		c.story("1", "order-placed change-requested", "seats-reserved seats-reserved", "payment-requested")
		if code := c.do(payments.Pay{Payment: "1.1", Card: "visa"}, by("1")); code != "unknown-payment" {
			c.Errorf("paying for the first revision: %q", code)
		}
		c.must(payments.Pay{Payment: "1.2", Card: "visa"}, by("1"))
		c.end("1", orders.Closed{Outcome: orders.Confirmed, Seats: 5})
	})
}

// The first revision is too much for the box office, but the buyer has thought better of it meanwhile.
func TestStaleRejectionIsIgnored(t *testing.T) {
	shops(t, func(c *counter) {
		c.pause()
		c.place("1", 50)
		c.must(orders.RequestChange{Order: "1", Seats: 5})
		c.resume()
		c.must(payments.Pay{Payment: "1.2", Card: "visa"}, by("1"))
		c.story("1", "order-placed change-requested order-confirmed order-closed", "seats-reserved seats-sold", "payment-requested payment-received")
	})
}

// A change that comes when the buyer is asked to pay replaces the reservation and the payment.
func TestChangeAfterReservation(t *testing.T) {
	bubbles(t, func(c *counter) {
		c.place("1", 3)
		c.pass(14 * time.Minute)
		c.must(orders.RequestChange{Order: "1", Seats: 10})
		c.pass(14 * time.Minute) // the time for the payment begins anew
		c.must(payments.Pay{Payment: "1.2", Card: "visa"}, by("1"))
		c.end("1", orders.Closed{Outcome: orders.Confirmed, Seats: 10})
	})
}

// The box office closes the sale: one event reaches every order that is open, and no other.
func TestEndOfSaleReachesAllOpenOrders(t *testing.T) {
	shops(t, func(c *counter) {
		for _, order := range []string{"1", "2", "3"} {
			c.place(order, 2)
		}
		c.must(payments.Pay{Payment: "2.1", Card: "visa"}, by("2"))
		c.must(seats.Reserve{Conference: "saga", Reservation: "the press", Revision: 1, Seats: 1})
		c.must(seats.CloseSale{Conference: "saga"})
		c.end("1", orders.Closed{Outcome: orders.Rejected, Reason: "sale-closed"})
		c.end("2", orders.Closed{Outcome: orders.Confirmed, Seats: 2})
		c.end("3", orders.Closed{Outcome: orders.Rejected, Reason: "sale-closed"})
		c.place("4", 1)
		c.end("4", orders.Closed{Outcome: orders.Rejected, Reason: "sale-closed"})
	})
}

// What the box office does on its own account carries no order: it finds no instance, and is counted.
func TestLocatorFindsNone(t *testing.T) {
	shops(t, func(c *counter) {
		c.must(seats.Reserve{Conference: "saga", Reservation: "the press", Revision: 1, Seats: 1})
		if got := c.ignored("no key: seats-reserved"); got != 1 {
			c.Errorf("%d inputs without a key were counted, want 1", got)
		}
		c.must(seats.Reserve{Conference: "saga", Reservation: "the speakers", Revision: 1, Seats: 1}, by("no such order"))
		if got := c.ignored("no instance: seats-reserved"); got != 1 {
			c.Errorf("%d inputs without an instance were counted, want 1", got)
		}
	})
}
