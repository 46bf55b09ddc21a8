package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/catering/domain"
)

// story is one order and what people answered.
type story struct {
	title   string
	order   string
	menus   []domain.Menu
	answers []answer
}

// answer is what somebody answered, so long after the order was placed.
type answer struct {
	after time.Duration
	what  domain.Event
}

// monday is when all orders are placed.
var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

var risotto = []domain.Menu{{Name: "risotto", Caterer: "Bruno"}}

var stories = []story{
	{"The customer answers first", "1", risotto, []answer{
		{1 * time.Hour, domain.CustomerConfirmed{OrderID: "1"}},
		{5 * time.Hour, domain.CatererConfirmed{OrderID: "1", Menu: "risotto", Caterer: "Bruno"}},
	}},
	{"The caterer answers first", "2", risotto, []answer{
		{2 * time.Hour, domain.CatererConfirmed{OrderID: "2", Menu: "risotto", Caterer: "Bruno"}},
		{26 * time.Hour, domain.CustomerConfirmed{OrderID: "2"}},
	}},
	{"The caterer is never heard from", "3", risotto, []answer{
		{1 * time.Hour, domain.CustomerConfirmed{OrderID: "3"}},
	}},
	{"The caterer's answer comes too late", "4", risotto, []answer{
		{1 * time.Hour, domain.CustomerConfirmed{OrderID: "4"}},
		{49 * time.Hour, domain.CatererConfirmed{OrderID: "4", Menu: "risotto", Caterer: "Bruno"}},
	}},
	{"The caterer declines", "5", risotto, []answer{
		{3 * time.Hour, domain.CatererDeclined{OrderID: "5", Menu: "risotto", Caterer: "Bruno", Reason: "no cook that evening"}},
		{4 * time.Hour, domain.CustomerConfirmed{OrderID: "5"}},
	}},
	{"Three menus, three caterers", "6", []domain.Menu{{Name: "soup", Caterer: "Noor"}, {Name: "lasagne", Caterer: "Bruno"}, {Name: "tart", Caterer: "Odile"}}, []answer{
		{1 * time.Hour, domain.CatererConfirmed{OrderID: "6", Menu: "tart", Caterer: "Odile"}},
		{2 * time.Hour, domain.CatererConfirmed{OrderID: "6", Menu: "soup", Caterer: "Noor"}},
		{3 * time.Hour, domain.CatererConfirmed{OrderID: "6", Menu: "soup", Caterer: "Noor"}},
		{4 * time.Hour, domain.CatererConfirmed{OrderID: "6", Menu: "lasagne", Caterer: "Odile"}},
		{5 * time.Hour, domain.CustomerConfirmed{OrderID: "6"}},
		{30 * time.Hour, domain.CatererConfirmed{OrderID: "6", Menu: "lasagne", Caterer: "Bruno"}},
	}},
}

// record places the orders and records the answers to all of them in the order in which they came: a log that is
// replayed is read in its own order, and its time never goes back. Everything has an id that follows from the story, so
// that recording it again, in a folder that has it already, changes nothing.
func record(ctx context.Context, app *ensue.App) error {
	type recorded struct {
		story
		answer
		number int
	}
	var all []recorded
	for _, s := range stories {
		_, err := ensue.Do[struct{}](ctx, app, PlaceOrder{OrderID: s.order, Menus: s.menus},
			command.WithTime(monday), command.WithID(event.DeriveID("catering", "place", s.order)))
		if err != nil {
			return fmt.Errorf("place order %s: %w", s.order, err)
		}
		for n, a := range s.answers {
			all = append(all, recorded{s, a, n})
		}
	}
	slices.SortStableFunc(all, func(a, b recorded) int { return cmp.Compare(a.after, b.after) })
	for _, r := range all {
		fact := event.New(r.what).At(monday.Add(r.after)).WithID(event.DeriveID("catering", "answer", r.order, strconv.Itoa(r.number)))
		if _, err := app.Module(module).Record(ctx, orders.Stream(r.order), fact); err != nil {
			return fmt.Errorf("record an answer to order %s: %w", r.order, err)
		}
	}
	return nil
}

// tell prints what happened to the order, in the order in which it happened.
func (s story) tell(ctx context.Context, out io.Writer, app *ensue.App) error {
	var happened []event.Recorded
	for rec, err := range app.Module(module).Log().ReadStream(ctx, orders.Stream(s.order), eventlog.StreamQuery{}) {
		if err != nil {
			return err
		}
		happened = append(happened, rec)
	}
	slices.SortStableFunc(happened, func(a, b event.Recorded) int { return a.Occurred.Compare(b.Occurred) })
	fmt.Fprintln(out, s.title)
	for _, rec := range happened {
		facts, err := app.Module(module).Types().Decode(rec.Event)
		if err != nil {
			return err
		}
		for _, fact := range facts {
			fmt.Fprintf(out, "  %s  %s\n", rec.Occurred.Format("Mon 15:04"), sentence(fact))
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

func sentence(fact any) string {
	switch e := fact.(type) {
	case domain.OrderPlaced:
		menus := make([]string, len(e.Menus))
		for n, m := range e.Menus {
			menus[n] = m.Name + " by " + m.Caterer
		}
		return fmt.Sprintf("order %s is placed: %s", e.OrderID, strings.Join(menus, ", "))
	case domain.CustomerConfirmed:
		return "the customer confirms"
	case domain.CatererConfirmed:
		return fmt.Sprintf("%s confirms the %s", e.Caterer, e.Menu)
	case domain.CatererDeclined:
		return fmt.Sprintf("%s declines the %s: %s", e.Caterer, e.Menu, e.Reason)
	case domain.OrderConfirmed:
		return "the order is CONFIRMED"
	case domain.OrderCancelled:
		return "the order is CANCELLED: " + e.Reason
	default:
		return fmt.Sprintf("%T", fact)
	}
}
