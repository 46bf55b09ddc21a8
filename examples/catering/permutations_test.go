package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/catering/domain"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process"
)

// The orders of these tests have two menus. What may happen to one, by a letter each; "w" is that two days pass.
var (
	twoMenus = []domain.Menu{{Name: "soup", Caterer: "Noor"}, {Name: "tart", Caterer: "Odile"}}
	letters  = map[rune]func(order string) domain.Event{
		'c': func(order string) domain.Event { return domain.CustomerConfirmed{OrderID: order} },
		's': func(order string) domain.Event {
			return domain.CatererConfirmed{OrderID: order, Menu: "soup", Caterer: "Noor"}
		},
		't': func(order string) domain.Event {
			return domain.CatererConfirmed{OrderID: order, Menu: "tart", Caterer: "Odile"}
		},
		'd': func(order string) domain.Event {
			return domain.CatererDeclined{OrderID: order, Menu: "tart", Caterer: "Odile", Reason: "no eggs"}
		},
	}
)

// alphabets are what happens, each in every order. A letter that stands twice comes twice: two facts that say the same.
var alphabets = []string{"ccsstt", "cstdd", "cstw", "csdw", "ctw", "w"}

// permutations returns every distinct order of the letters.
func permutations(letters string) []string {
	if letters == "" {
		return []string{""}
	}
	var all []string
	for n, first := range letters {
		if strings.ContainsRune(letters[:n], first) {
			continue
		}
		for _, rest := range permutations(letters[:n] + letters[n+1:]) {
			all = append(all, string(first)+rest)
		}
	}
	return all
}

// outcome is what became of an order.
type outcome struct {
	State                domain.Order
	Confirmed, Cancelled int // how often
}

// expected is the rule that the process is to follow, in the simplest words: go through what happened and stop where it
// is decided.
func expected(happened string) outcome {
	o := outcome{State: domain.Order{Status: domain.Placed, Menus: twoMenus}}
	cancelled := func(reason string) outcome {
		o.State.Status, o.State.Reason, o.Cancelled = domain.Cancelled, reason, 1
		return o
	}
	silent := []string{"the customer", "Noor (soup)", "Odile (tart)"}
	for _, letter := range happened + "w" {
		switch letter {
		case 'd':
			if slices.Contains(silent, "Odile (tart)") {
				return cancelled("Odile declined the tart: no eggs")
			}
		case 'w':
			return cancelled("no answer within 48 hours from " + strings.Join(silent, ", "))
		default:
			who := map[rune]string{'c': "the customer", 's': "Noor (soup)", 't': "Odile (tart)"}[letter]
			silent = slices.DeleteFunc(silent, func(s string) bool { return s == who })
		}
		if len(silent) == 0 {
			o.State.Status, o.Confirmed = domain.Confirmed, 1
			return o
		}
	}
	return o
}

// happening is one thing that happens to one order.
type happening struct {
	after time.Duration // since the orders were placed
	order string
	what  domain.Event
}

// schedule lets something happen to each order every hour, and nothing for two days at a "w".
func schedule(orders []string) []happening {
	var all []happening
	for _, order := range orders {
		at := time.Duration(0)
		for _, letter := range order {
			if letter == 'w' {
				at += patience
				continue
			}
			at += time.Hour
			all = append(all, happening{at, order, letters[letter](order)})
		}
	}
	slices.SortStableFunc(all, func(a, b happening) int { return cmp.Compare(a.after, b.after) })
	return all
}

// Three ways to keep the state, two ways to run: whatever the order of the inputs, each order is confirmed once or
// cancelled once, for the same reason.
func TestEveryOrderOfInputsHasTheSameOutcomeInEveryStore(t *testing.T) {
	want := map[string]outcome{}
	for _, letters := range alphabets {
		for _, p := range permutations(letters) {
			want[p] = expected(p)
		}
	}
	ids := slices.Sorted(maps.Keys(want))
	var short, decided []string // of those with two days of silence and those without, enough for a server
	for _, id := range ids {
		switch wait := strings.Contains(id, "w"); {
		case wait:
			short = append(short, id)
		case strings.Contains(id, "d"):
			decided = append(decided, id)
		}
	}
	for store := range stores {
		t.Run(store+", replayed", func(t *testing.T) { compare(t, want, replay(t, store, "memory:", ids)) })
		t.Run(store+", replayed on PostgreSQL", func(t *testing.T) {
			t.Parallel()
			compareThese(t, short, want, replay(t, store, pgtest.Database(t), short))
		})
		t.Run(store+", live on PostgreSQL", func(t *testing.T) { // whose clock waits for no two days
			t.Parallel()
			compareThese(t, decided, want, liveAtOnce(t, store, pgtest.Database(t), decided))
		})
		t.Run(store+", live", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compare(t, want, live(t, store, "memory:", ids)) })
		})
	}
}

// The same live on a file: 48 hours pass on the clock of a bubble while the process sleeps.
func TestTwoDaysOnAFile(t *testing.T) {
	want := map[string]outcome{"cst": expected("cst"), "tcws": expected("tcws"), "wcst": expected("wcst"), "csd": expected("csd")}
	file := t.TempDir() + "/orders.db"
	synctest.Test(t, func(t *testing.T) { compare(t, want, live(t, "streams", file, slices.Sorted(maps.Keys(want)))) })
}

func compareThese(t *testing.T, ids []string, want, got map[string]outcome) {
	t.Helper()
	for _, id := range ids {
		compare(t, map[string]outcome{id: want[id]}, got)
	}
}

func compare(t *testing.T, want, got map[string]outcome) {
	t.Helper()
	for id, w := range want {
		g := got[id]
		if g.State.Status != w.State.Status || g.State.Reason != w.State.Reason || !slices.Equal(g.State.Menus, w.State.Menus) ||
			g.Confirmed != w.Confirmed || g.Cancelled != w.Cancelled {
			t.Errorf("order %s: %+v, want %+v", id, g, w)
		}
	}
}

// open opens the application with small batches and a small cache, so that instances are often loaded.
func open(t *testing.T, address, store string, o ensue.Options) *ensue.App {
	t.Helper()
	o.Processes = map[string]ensue.ProcessOptions{CateringMatch.Name(): {Store: stores[store], Batch: 7, Cache: 10}}
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	app, err := ensue.Open(t.Context(), address, catering(), o)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func place(t *testing.T, app *ensue.App, ids []string, at time.Time) {
	t.Helper()
	for _, id := range ids {
		if _, err := ensue.Do[struct{}](t.Context(), app, PlaceOrder{OrderID: id, Menus: twoMenus}, command.WithTime(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func happen(t *testing.T, app *ensue.App, h happening, at time.Time) {
	t.Helper()
	if _, err := app.Module(module).Record(t.Context(), orders.Stream(h.order), event.New(h.what).At(at)); err != nil {
		t.Fatal(err)
	}
}

// replay records everything first and then runs the process over it.
func replay(t *testing.T, store, address string, ids []string) map[string]outcome {
	t.Helper()
	app := open(t, address, store, ensue.Options{Replay: true})
	place(t, app, ids, monday)
	for _, h := range schedule(ids) {
		happen(t, app, h, monday.Add(h.after))
	}
	if err := app.Module(module).Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return outcomes(t, app, store, ids)
}

// live lets everything happen while the process runs, which is started anew every time, so that it finds each instance
// as its store kept it. It is called inside a bubble.
func live(t *testing.T, store, address string, ids []string) map[string]outcome {
	t.Helper()
	app := open(t, address, store, ensue.Options{Poll: 24 * time.Hour, Lease: 24 * time.Hour})
	start := time.Now()
	place(t, app, ids, time.Time{})
	working(t, app)
	for all := schedule(ids); len(all) > 0; {
		now := all[0].after
		<-time.After(time.Until(start.Add(now)))
		for ; len(all) > 0 && all[0].after == now; all = all[1:] {
			happen(t, app, all[0], time.Time{})
		}
		working(t, app)
	}
	run, done := begin(t, app)
	<-time.After(time.Until(start.Add(patience + 12*time.Hour)))
	idle(t, app)
	run()
	<-done
	return outcomes(t, app, store, ids)
}

// liveAtOnce lets everything happen one after the other while the process runs, whatever the clock says.
func liveAtOnce(t *testing.T, store, address string, ids []string) map[string]outcome {
	t.Helper()
	app := open(t, address, store, ensue.Options{})
	place(t, app, ids, time.Time{})
	stop, done := begin(t, app)
	for n, h := range schedule(ids) {
		happen(t, app, h, time.Time{})
		if n%100 == 99 { // started anew, it finds each instance as its store kept it
			idle(t, app)
			stop()
			<-done
			stop, done = begin(t, app)
		}
	}
	idle(t, app)
	stop()
	<-done
	return outcomes(t, app, store, ids)
}

// working runs the application until there is nothing left to do.
func working(t *testing.T, app *ensue.App) {
	t.Helper()
	stop, done := begin(t, app)
	idle(t, app)
	stop()
	<-done
}

func begin(t *testing.T, app *ensue.App) (stop context.CancelFunc, done <-chan struct{}) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := app.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return stop, ended
}

func idle(t *testing.T, app *ensue.App) {
	t.Helper()
	if err := app.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// outcomes reads what became of the orders, and closes the application.
func outcomes(t *testing.T, app *ensue.App, store string, ids []string) map[string]outcome {
	t.Helper()
	engine := app.Process(CateringMatch.Name())
	for i, err := range stores[store].List(t.Context(), engine.Home(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Status != process.Completed {
			t.Errorf("instance %s is %v", i.Key, i.Status)
		}
	}
	if s := engine.Stats(); s.Held > 0 || len(s.Blocked) > 0 {
		t.Errorf("the process is stuck: %+v", s)
	}
	all := map[string]outcome{}
	m := app.Module(module)
	for _, id := range ids {
		var o outcome
		for rec, err := range m.Log().ReadStream(t.Context(), orders.Stream(id), eventlog.StreamQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			facts, err := m.Types().Decode(rec.Event)
			if err != nil {
				t.Fatal(err)
			}
			for _, fact := range facts {
				o.State = o.State.Evolve(fact.(domain.Event))
				switch fact.(type) {
				case domain.OrderConfirmed:
					o.Confirmed++
				case domain.OrderCancelled:
					o.Cancelled++
				}
			}
		}
		all[id] = o
	}
	if err := app.Close(); err != nil {
		t.Error(err)
	}
	return all
}

func inMemoryAndPostgres(t *testing.T, test func(t *testing.T, address string)) {
	t.Run("memory", func(t *testing.T) { test(t, "memory:") })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.Database(t)) })
}

// What "folded" claims: the state stands nowhere but in the orders' streams, and is folded up to what the process has
// taken there, not up to what is there.
func TestFoldedKeepsNoState(t *testing.T) {
	inMemoryAndPostgres(t, foldedKeepsNoState)
}

func foldedKeepsNoState(t *testing.T, address string) {
	app := open(t, address, "folded", ensue.Options{})
	defer app.Close()
	place(t, app, []string{"cst"}, time.Time{})
	all := schedule([]string{"cst"})
	happen(t, app, all[0], time.Time{})
	happen(t, app, all[1], time.Time{})
	working(t, app)
	happen(t, app, all[2], time.Time{}) // nobody works
	home := app.Process(CateringMatch.Name()).Home()
	kept, err := process.Documents{}.Load(t.Context(), home, []string{"cst"})
	if err != nil {
		t.Fatal(err)
	}
	if m := kept[0].State.(domain.Match); m.Customer || m.Missing != nil {
		t.Errorf("a state is kept: %+v", m)
	}
	folded, err := Folded{}.Load(t.Context(), home, []string{"cst"})
	if err != nil {
		t.Fatal(err)
	}
	if m := folded[0].State.(domain.Match); !m.Customer || !slices.Equal(m.Missing, twoMenus[1:]) {
		t.Errorf("the fold gives %+v", m)
	}
}

// What "streams" claims: an instance's stream is made of links to the order's events.
func TestStreamsAreLinks(t *testing.T) {
	inMemoryAndPostgres(t, streamsAreLinks)
}

func streamsAreLinks(t *testing.T, address string) {
	app := open(t, address, "streams", ensue.Options{})
	defer app.Close()
	place(t, app, []string{"cs"}, time.Time{})
	for _, h := range schedule([]string{"cs"}) {
		happen(t, app, h, time.Time{})
	}
	working(t, app)
	var have []string
	for rec, err := range app.Module(module).Log().ReadStream(t.Context(), process.Stream(CateringMatch.Name(), "cs"), eventlog.StreamQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !rec.IsLink() || rec.Origin.Stream != orders.Stream("cs") {
			t.Errorf("version %d is no link to the order's stream", rec.Version)
		}
		have = append(have, rec.Type)
	}
	if want := []string{"order-placed", "customer-confirmed", "caterer-confirmed"}; !slices.Equal(have, want) {
		t.Errorf("the instance's stream holds %q, want %q", have, want)
	}
}
