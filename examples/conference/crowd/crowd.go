package crowd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
)

func (b buyer) cancel() any { return orders.RequestCancel{Order: b.order} }

// Progress is how far everything has come.
type Progress struct{ Placed, Closed, Confirmed int64 }

// Visit is a crowd in a shop.
type Visit struct {
	crowd  Crowd
	app    *ensue.App
	buyers []buyer
	hands  chan struct{} // so many do something at a time
	doing  sync.WaitGroup
	busy   atomic.Int64 // how many are doing something, or about to
	fail   context.CancelCauseFunc

	placed, closed, confirmed atomic.Int64
}

// Visits prepares the visit of a crowd. The shop must be open; whether its processes run here, elsewhere or not at all
// just now is of no concern to the buyers.
func (c Crowd) Visits(app *ensue.App) *Visit {
	return &Visit{crowd: c, app: app, buyers: c.plan(), hands: make(chan struct{}, 16)}
}

// Progress returns how far everything has come; it may be asked at any time.
func (v *Visit) Progress() Progress {
	return Progress{Placed: v.placed.Load(), Closed: v.closed.Load(), Confirmed: v.confirmed.Load()}
}

// Run lets everybody come, and returns when every order has ended and all that ensued has been done.
func (v *Visit) Run(ctx context.Context) (err error) {
	run, stop := context.WithCancelCause(ctx)
	v.fail = stop
	var following sync.WaitGroup
	defer func() {
		stop(nil)
		following.Wait()
		v.doing.Wait()
	}()
	if err := v.open(run); err != nil {
		return err
	}
	follow := func(module string, each func(context.Context, event.Recorded, any)) {
		following.Go(func() {
			if err := v.follow(run, v.app.Module(module), each); err != nil && run.Err() == nil {
				stop(err)
			}
		})
	}
	follow("orders", v.count)
	follow("payments", v.asked)
	v.arrive(run)
	err = v.end(run)
	if cause := context.Cause(run); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// open opens the sale of all conferences. Some seats are for the press: the box office's own affair, which no order knows.
func (v *Visit) open(ctx context.Context) error {
	for n := range v.crowd.conferences() {
		name := conference(n)
		v.act(ctx, event.Metadata{}, "open", name, seats.OpenSale{Conference: name, Capacity: capacity},
			seats.Reserve{Conference: name, Reservation: "press", Revision: 1, Seats: forThePress})
	}
	v.doing.Wait()
	return context.Cause(ctx)
}

// arrive lets the buyers come, in groups that are evenly spread.
func (v *Visit) arrive(ctx context.Context) {
	began := time.Now()
	for n, b := range v.buyers {
		at := began.Add(time.Duration(int64(v.crowd.Arrivals) * int64(n-n%atOnce) / int64(len(v.buyers))))
		if consumer.Sleep(ctx, time.Until(at)) != nil {
			return
		}
		commands := []any{orders.Place{Order: b.order, Conference: b.conference, Buyer: b.name, Seats: b.seats}}
		if b.habit == changes {
			commands = append(commands, orders.RequestChange{Order: b.order, Seats: b.instead})
		}
		v.act(ctx, event.Metadata{}, "order", b.order, commands...)
		if n == perConference-1 { // the first conference goes off sale early
			v.act(ctx, event.Metadata{}, "close", b.conference, seats.CloseSale{Conference: b.conference})
		}
	}
}

func (v *Visit) start(do func()) {
	v.busy.Add(1)
	v.doing.Go(func() {
		defer v.busy.Add(-1)
		do()
	})
}

// act does something, one command after the other. A command that is refused was worth a try.
func (v *Visit) act(ctx context.Context, m event.Metadata, what, whom string, commands ...any) {
	v.start(func() {
		select {
		case v.hands <- struct{}{}:
			defer func() { <-v.hands }()
		case <-ctx.Done():
			return
		}
		for _, c := range commands {
			id := v.crowd.id(what, whom, fmt.Sprintf("%T", c))
			_, err := ensue.Do[struct{}](ctx, v.app, c, command.WithID(id), command.WithMetadata(m))
			var refused *command.Rejection
			if err != nil && !errors.As(err, &refused) {
				v.fail(fmt.Errorf("%s %s: %w", what, whom, err))
				return
			}
		}
	})
}

// count notes what became of the orders.
func (v *Visit) count(_ context.Context, _ event.Recorded, fact any) {
	switch e := fact.(type) {
	case orders.Placed:
		v.placed.Add(1)
	case orders.Closed:
		v.closed.Add(1)
		if e.Outcome == orders.Confirmed {
			v.confirmed.Add(1)
		}
	}
}

// asked lets the buyer who is asked for a payment answer. What came with the request goes back with the answer: so it
// finds its order.
func (v *Visit) asked(ctx context.Context, rec event.Recorded, fact any) {
	e, ok := fact.(payments.Requested)
	if !ok {
		return
	}
	var n int
	if _, err := fmt.Sscanf(rec.Metadata.Header(shop.OrderHeader), "%d", &n); err != nil || n < 1 || n > len(v.buyers) {
		return // no buyer of ours
	}
	after, commands := v.buyers[n-1].answer(v.crowd, e.Payment)
	v.start(func() {
		if consumer.Sleep(ctx, time.Until(rec.Recorded.Add(after))) != nil {
			return
		}
		for _, c := range commands {
			v.act(ctx, rec.Metadata.Carry(rec.ID, shop.Carried()), "answer", e.Payment, c)
		}
	})
}

func (v *Visit) follow(ctx context.Context, m *ensue.OpenModule, each func(context.Context, event.Recorded, any)) error {
	for at := eventlog.Position(0); ; {
		head, err := m.Log().Head(ctx)
		if err != nil {
			return err
		}
		for rec, err := range m.Log().Read(ctx, eventlog.Query{After: at, To: head}) {
			if err != nil {
				return err
			}
			facts, err := m.Types().Decode(rec.Event)
			if err != nil {
				return err
			}
			for _, fact := range facts {
				each(ctx, rec, fact)
			}
		}
		at = head
		if err := m.Log().Wait(ctx, at); err != nil {
			return err
		}
	}
}

// end waits until nothing is left to do.
func (v *Visit) end(ctx context.Context) error {
	for {
		if err := consumer.Sleep(ctx, 25*time.Millisecond); err != nil {
			return err
		}
		if v.closed.Load() < int64(len(v.buyers)) || v.busy.Load() > 0 { // somebody may be about to pay too late
			continue
		}
		settled, err := shop.Settled(ctx, shop.LogsOf(v.app))
		if err != nil || settled {
			return err
		}
	}
}
