// Package crowd is a crowd of simulated buyers, who want seats from a shop and don't all behave.
package crowd

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
)

// Crowd says who comes. The same crowd does the same again, under the same ids: what it did before has no effect a
// second time.
type Crowd struct {
	Seed        uint64
	Buyers      int
	PaymentTime time.Duration // that the shop gives them
	Arrivals    time.Duration // from the first buyer to the last
}

// habit is how a buyer behaves.
type habit int

const (
	pays       habit = iota
	paysLate         // when the time for it is over
	paysNever        //
	hasNoCover       // the card is declined
	cancels          // when asked to pay
	isTorn           // pays and cancels at the same moment
	changes          // the order, as soon as it is placed
	isGroup          // wants more seats than there are
)

// A conference has so many buyers, and seats for most of them.
const (
	perConference = 20
	capacity      = 44
	forThePress   = 2
	atOnce        = 10 // buyers come in groups
)

// deck is the habits of a conference's buyers.
func deck() []habit {
	return []habit{paysLate, paysNever, hasNoCover, cancels, cancels, isTorn, changes, changes, changes, isGroup,
		pays, pays, pays, pays, pays, pays, pays, pays, pays, pays}
}

// buyer is one of the crowd.
type buyer struct {
	order, conference, name string
	habit                   habit
	seats, instead          int           // instead: what the order is changed to
	pause                   time.Duration // before answering a request to pay
}

var names = []string{"Ada", "Bob", "Cem", "Dag", "Eva", "Finn", "Gül", "Hana", "Ivo", "Jana", "Kofi", "Lin", "Mia", "Noa", "Ola", "Pia", "Quy", "Rui", "Sara", "Timo"}

func conference(n int) string { return fmt.Sprintf("saga-%02d", n+1) }

func (c Crowd) conferences() int { return (c.Buyers + perConference - 1) / perConference }

// plan returns what everybody will do.
func (c Crowd) plan() []buyer {
	all := make([]buyer, 0, c.Buyers)
	for n := range c.conferences() {
		rng := rand.New(rand.NewPCG(c.Seed, uint64(n)))
		habits := deck()
		rng.Shuffle(len(habits), func(i, j int) { habits[i], habits[j] = habits[j], habits[i] })
		for i := range min(perConference, c.Buyers-n*perConference) {
			b := buyer{order: fmt.Sprintf("%04d", len(all)+1), conference: conference(n), name: names[rng.IntN(len(names))], habit: habits[i],
				seats: 1 + rng.IntN(4), pause: time.Duration(rng.IntN(150)) * time.Millisecond}
			b.instead = 1 + b.seats%4
			if b.habit == isGroup {
				b.seats = capacity + 1
			}
			all = append(all, b)
		}
	}
	return all
}

// answer returns what a buyer does on being asked for the payment of a revision, and how long that takes.
func (b buyer) answer(c Crowd, payment string) (after time.Duration, commands []any) {
	card := "card of " + b.name
	switch b.habit {
	case paysLate:
		return c.PaymentTime + b.pause, []any{payments.Pay{Payment: payment, Card: card}}
	case paysNever:
		return 0, nil
	case hasNoCover:
		return b.pause, []any{payments.Pay{Payment: payment, Card: payments.NoCover}}
	case cancels:
		return b.pause, []any{b.cancel()}
	case isTorn:
		return b.pause, []any{payments.Pay{Payment: payment, Card: card}, b.cancel()}
	case changes:
		if payment == b.order+".1" {
			return 0, nil // that is not what is wanted any more
		}
	}
	return b.pause, []any{payments.Pay{Payment: payment, Card: card}}
}

// id returns the id of something that the crowd does: the same each time that it does it.
func (c Crowd) id(what ...string) event.ID {
	return event.DeriveID(append([]string{"crowd", strconv.FormatUint(c.Seed, 10)}, what...)...)
}
