package dataset

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

// Generate makes up fines and writes them into a folder, in the form that Read reads. The same seed gives the same
// fines. What is rare in the recorded data, and a trap, is frequent here: payments and notifications at the very instant of
// the creation, two payments on a day, payments at the instant of the penalty and after all is over, and notifications
// around both changes of the clock.
func Generate(folder string, cases int, seed uint64) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	g := generator{Rand: rand.New(rand.NewPCG(seed, 60)), records: map[string][]record{}} // #nosec G404 -- meant to be repeatable
	for n := range cases {
		g.fine(fmt.Sprintf("%c%d", "ACNPSV"[g.IntN(6)], 10_000+n))
	}
	for _, module := range authority.Sources {
		if err := g.write(folder, module); err != nil {
			return fmt.Errorf("write %s: %w", File(folder, module), err)
		}
	}
	return nil
}

// record is one made-up event; values holds its columns by name.
type record struct {
	at     time.Time
	values map[string]string
}

type generator struct {
	*rand.Rand
	records map[string][]record // by module

	id     string // of the fine that is being made up
	events int    // that it has
	paid   domain.Cents
}

// chance is true in so many of 100 cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// add makes up one event of the fine; columns are names and values in turn.
func (g *generator) add(module, activity string, at time.Time, columns ...string) {
	values := map[string]string{"event_id": fmt.Sprintf("%s#%d", g.id, g.events), "fine_id": g.id, "activity": activity, "timestamp": at.Format(time.RFC3339)}
	for n := 0; n < len(columns); n += 2 {
		values[columns[n]] = columns[n+1]
	}
	g.events++
	g.records[module] = append(g.records[module], record{at, values})
}

// fine makes up what happened to one fine.
func (g *generator) fine(id string) {
	g.id, g.events, g.paid = id, 0, 0
	created := midnight(2000+g.IntN(12), 1, 1+g.IntN(365))
	notified := later(created, g.IntN(200))
	switch {
	case g.chance(10):
		notified = created
	case g.chance(40):
		notified = g.aroundClockChange(created)
	}
	amount := domain.Cents(2000 + g.IntN(9000))
	if g.chance(6) {
		amount = 0
	}
	g.add(authority.Registry, createFine, created, "amount", euros(amount), "vehicleClass", g.pick("A", "C", "M"), "article", g.pick("7", "157", "158"),
		"points", g.pick("0", "2"), "dismissal", g.pick("NIL", "NIL", "NIL", "NIL", "NIL", "NIL", "NIL", "NIL", "#", "G", "A", "T", ""))
	if g.chance(15) {
		g.pay(created, amount)
	}
	expense := domain.Cents(0)
	if sent := later(created, g.IntN(1+days(created, notified))); g.chance(70) {
		if g.chance(80) {
			expense = domain.Cents(500 + g.IntN(1500))
		}
		g.add(authority.Registry, sendFine, sent, "expense", euros(expense))
	}
	end := later(created, 400+g.IntN(400))
	if g.chance(65) {
		due := later(notified, domain.DaysToPay)
		g.add(authority.Post, notify, notified, "notificationType", g.pick("P", "C"), "lastSent", g.pick("P", "N", "C", ""))
		if g.chance(10) {
			g.pay(due, amount+expense)
		}
		amount += amount/2 + domain.Cents(g.IntN(3000))
		g.add(authority.Registry, addPenalty, due, "amount", euros(amount))
		if end = later(due, g.IntN(700)); g.chance(40) {
			g.add(authority.Registry, sendToCollection, end)
		}
	}
	for g.chance(55) { // some of it after the end
		at := later(created, g.IntN(days(created, end)+60))
		if g.pay(at, amount+expense); g.chance(20) {
			g.pay(at, amount+expense)
		}
	}
	if g.chance(20) {
		g.appeal(later(created, g.IntN(300)))
	}
}

// pay makes up a payment: of all that is owed, or of a part.
func (g *generator) pay(at time.Time, owed domain.Cents) {
	if g.chance(50) {
		owed = domain.Cents(g.IntN(int(owed) + 1))
	}
	g.paid += owed
	g.add(authority.Payments, pay, at, "paymentAmount", euros(owed), "totalPaymentAmount", euros(g.paid))
}

func (g *generator) appeal(at time.Time) {
	if g.chance(30) {
		g.add(authority.Appeals, appealToJudge, at, "dismissal", g.pick("NIL", "G", "C", "#"), "matricola", "0")
		at = later(at, g.IntN(30))
	}
	g.add(authority.Appeals, dateAppeal, at)
	if g.chance(90) {
		g.add(authority.Appeals, sendAppeal, later(at, 10), "dismissal", g.pick("NIL", "#", "G", "D"))
	}
	if g.chance(50) {
		g.add(authority.Appeals, receiveResult, later(at, 90))
		g.add(authority.Appeals, tellResult, later(at, 90+g.IntN(20)))
	}
}

// aroundClockChange returns a day on which, or 60 days after which, the clock is about to change or has just done so.
func (g *generator) aroundClockChange(after time.Time) time.Time {
	month := time.March
	if g.chance(50) {
		month = time.October
	}
	change := midnight(after.Year()+1, month, 31)
	for change.Weekday() != time.Sunday {
		change = later(change, -1)
	}
	change = later(change, g.IntN(5)-2)
	if g.chance(70) {
		change = later(change, -domain.DaysToPay)
	}
	return change
}

func midnight(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, domain.Rome)
}

func later(t time.Time, days int) time.Time { return midnight(t.Year(), t.Month(), t.Day()+days) }

func days(from, to time.Time) int { return max(0, int(to.Sub(from).Hours())/24) }

// euros writes an amount as the recorded data do: 3130 is 31.3, and 3500 is 35.0.
func euros(c domain.Cents) string {
	s := fmt.Sprintf("%d.%02d", c/100, c%100)
	return strings.TrimSuffix(s, "0")
}

// write writes a module's events in the order of their instants; those of one instant stay in the order in which they were
// made up.
func (g *generator) write(folder, module string) (err error) {
	records := g.records[module]
	slices.SortStableFunc(records, func(a, b record) int { return a.at.Compare(b.at) })
	file, err := os.Create(File(folder, module)) // #nosec G304 -- the user names the folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	zipped := gzip.NewWriter(file)
	table := csv.NewWriter(zipped)
	head := append(slices.Clone(common), own[module]...)
	if err := table.Write(head); err != nil {
		return err
	}
	line := make([]string, len(head))
	for n, r := range records {
		r.values["position"] = strconv.Itoa(n + 1)
		for k, name := range head {
			line[k] = r.values[name]
		}
		if err := table.Write(line); err != nil {
			return err
		}
	}
	table.Flush()
	return errors.Join(table.Error(), zipped.Close())
}
