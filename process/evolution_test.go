package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// bothStores runs a test on either store.
func bothStores(t *testing.T, test func(t *testing.T, store process.Store)) {
	t.Helper()
	for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
		t.Run(name, func(t *testing.T) { test(t, store) })
	}
}

// aged is a world in which order a was placed and noted by version 1, whose timeout is due after an hour.
func aged(t *testing.T, store process.Store) (w *world, clock *aheadClock) {
	t.Helper()
	w = newWorld(t)
	clock = &aheadClock{}
	w.config.Now, w.config.Store, w.config.Definition = clock.Now, store, terms{wait: time.Hour}.definition()
	w.record("sales", OrderPlaced{"a", 1})
	w.record("payments", Noted{"a"})
	w.run()
	return w, clock
}

// aheadClock runs, as far ahead as a test wants.
type aheadClock struct{ by atomic.Int64 }

func (c *aheadClock) Now() time.Time      { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *aheadClock) add(d time.Duration) { c.by.Add(int64(d)) }

// until runs an engine until an entry of a kind is written whose value has a text.
func (w *world) until(kind eventlog.Kind, text string) {
	w.t.Helper()
	written := make(chan struct{})
	var once sync.Once
	before := w.log
	w.log = func(_ string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			done, err := l.Append(ctx, writes...)
			for _, write := range writes {
				if put, ok := write.(eventlog.Put); ok && err == nil && put.Entry.Kind == kind && strings.Contains(string(put.Entry.Value), text) {
					once.Do(func() { close(written) })
				}
			}
			return done, err
		}}
	}
	e := w.engine()
	w.log = before
	w.with(e, func(ctx context.Context) {
		select {
		case <-written:
		case <-ctx.Done():
			w.t.Fatalf("no entry of kind %v says %q", kind, text)
		}
	})
}

// An instance that a newer version decided on waits for a program of that version: nothing is lost, others go on.
func TestOlderProgramLeavesNewerInstancesAloneG9(t *testing.T) {
	bothStores(t, func(t *testing.T, store process.Store) {
		w, clock := aged(t, store)
		w.config.Definition = terms{wait: time.Hour}.definition().WithVersion(2)
		w.record("payments", Noted{"a"})
		w.run()
		if i, err := w.engine().Instance(t.Context(), "a"); err != nil || i.Version != 2 {
			t.Fatal(i, err)
		}

		w.config.Definition = terms{wait: time.Hour}.definition()
		var newer *process.NewerVersionError
		if _, err := w.engine().Instance(t.Context(), "a"); !errors.As(err, &newer) || newer.Version != 2 || newer.Known != 1 {
			t.Fatal(err)
		}
		w.record("payments", Noted{"a"}, Paid{"a", 5})
		w.record("sales", OrderPlaced{"b", 1})
		w.until(eventlog.Hold, "program that has version 2")
		clock.add(2 * time.Hour) // also its timeout waits
		for range 3 {
			w.until(eventlog.Hold, `"queued"`)
		}
		for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
			if err != nil || h.Condition != process.Retrying || h.Attempts != 0 {
				t.Errorf("it stands aside as %+v, %v", h, err)
			}
		}
		if d, err := process.Descriptions(t.Context(), w.logs["sales"]); err != nil || d[0].Version != 2 {
			t.Errorf("the newer program describes the process, not %+v, %v", d, err)
		}

		w.config.Definition = terms{wait: time.Hour}.definition().WithVersion(2)
		w.run()
		s, status := w.state("a")
		if s.Notes != 3 || s.Cents != 5 || status != process.Running {
			t.Errorf("in the end a is %v %+v", status, s)
		}
		if _, status := w.state("b"); status == process.New {
			t.Error("b waited for a")
		}
		w.wantStock(map[string][]string{"a": {"reserved"}, "b": {"reserved", "released"}})
	})
}

// Each step records the version that decided it, and another one over running instances reads their history again.
func TestVersionIsRecordedAndHistoryIsReadAgain(t *testing.T) {
	w, _ := aged(t, process.Streams{})
	w.config.Definition = terms{wait: time.Hour, cents: 1}.definition().WithVersion(3)
	w.record("payments", Paid{"a", 5}, Noted{"a"})
	w.record("sales", OrderPlaced{"b", 1})
	w.run()
	if s, _ := w.state("a"); s.Cents != 10 || s.Notes != 2 {
		t.Errorf("a is %+v", s)
	}
	var by []int
	for step, err := range process.History(t.Context(), w.engine().Home(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		by = append(by, step.By)
	}
	if want := []int{0, 0, 0, 3, 0}; !reflect.DeepEqual(by, want) {
		t.Errorf("the steps are by versions %v, want %v", by, want)
	}
	for _, key := range []string{"a", "b"} {
		i, err := process.Look(t.Context(), w.engine().Home(), key)
		if err != nil || i.Version != 3 {
			t.Errorf("%s is of version %d, %v", key, i.Version, err)
		}
	}
}

// Instances of a pinned version go on with it; new ones are of the new one. Their locators may differ.
func TestPinnedInstancesGoOnWithTheirVersion(t *testing.T) {
	bothStores(t, func(t *testing.T, store process.Store) {
		w, clock := aged(t, store)
		v1 := w.config.Definition
		v2 := terms{wait: 30 * time.Minute, no: false, cents: 1, notedBy: func(n Noted) string { return "new-" + n.ID },
			due: func(do *process.Step) { do.Send(Ship{ID: do.Instance()}) }}.definition().WithVersion(2).Replacing(process.Pin(v1))
		w.config.Definition = v2
		w.record("payments", Paid{"new-b", 7}) // waits for its instance
		w.record("sales", OrderPlaced{"new-b", 1}, OrderPlaced{"new-a", 1})
		w.record("payments", Noted{"a"}, Noted{"b"}, Noted{"new-b"})
		w.run()
		for key, want := range map[string]OrderRun{
			"a":     {Reserved: true, Notes: 2}, // its own locator finds it
			"new-a": {Reserved: true, Notes: 1}, // the new one
			"new-b": {Reserved: true, Notes: 1, Cents: 14},
		} {
			if s, _ := w.state(key); !reflect.DeepEqual(s, want) {
				t.Errorf("%s is %+v, want %+v", key, s, want)
			}
		}
		clock.add(2 * time.Hour)
		w.run()
		w.wantStock(map[string][]string{"a": {"reserved", "released"}, "new-a": {"reserved", "released", "shipped"}, "new-b": {"reserved"}})
		if i, err := w.engine().Instance(t.Context(), "a"); err != nil || i.Version != 1 || i.Status != process.Completed {
			t.Errorf("a is %+v, %v", i, err)
		}
		ignored, err := process.Ignored(t.Context(), w.logs["sales"], "order")
		if err != nil || ignored["another version: noted"] != 1 { // new-b, by the locator of version 1
			t.Error(ignored, err)
		}
	})
}

// Bill is what the state of an order becomes.
type Bill struct {
	Total string
	Lines []string
}

// billed is the version of the process whose state is a Bill.
func billed(version int) process.Definition {
	return process.Define("order",
		process.On[Bill, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(b Bill, _ process.Input[OrderPlaced]) Bill { b.Lines = append(b.Lines, "placed"); return b }},
		process.On[Bill, Paid]{NoInstance: process.Defer, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(b Bill, in process.Input[Paid]) Bill {
				b.Lines = append(b.Lines, fmt.Sprint("paid ", in.Event.Cents))
				return b
			},
			React: func(b Bill, in process.Input[Paid], do *process.Step) {
				if b.Total == "" {
					do.Fail(errors.New("a bill without a total"))
				}
				do.Send(Ship{ID: in.Event.ID})
			}},
		process.OnTimeout[Bill, PayDue]{Name: "pay-due", React: func(_ Bill, _ process.Input[PayDue], do *process.Step) { do.Complete() }},
	).Otherwise(process.Ignore).WithVersion(version)
}

// State is migrated with the next input of each instance, in its step: a crash does nothing twice, and nothing stands still.
func TestMigratedStateG6(t *testing.T) {
	bothStores(t, func(t *testing.T, store process.Store) {
		w, _ := aged(t, store)
		v1 := w.config.Definition
		keys := []string{"a"}
		for n := range 40 {
			keys = append(keys, fmt.Sprint("n", n))
			w.record("sales", OrderPlaced{keys[n+1], 1})
		}
		w.record("payments", Paid{"n1", 3})
		w.run()
		turns := map[string]int{}
		var mu sync.Mutex
		v2 := billed(2).Replacing(process.Migrate(v1, func(old OrderRun) (Bill, error) {
			mu.Lock()
			defer mu.Unlock()
			turns["all"]++
			if old.Cents == 3 {
				return Bill{}, errors.New("no bill of three cents")
			}
			return Bill{Total: fmt.Sprintf("%d notes", old.Notes)}, nil
		}))
		w.config.Definition = v2
		w.run() // nothing happens to anybody
		if turns["all"] != 0 {
			t.Errorf("%d states were migrated before an input came", turns["all"])
		}
		w.record("payments", Paid{"a", 5}, Paid{"n1", 1})
		crashes := 0
		w.log = func(_ string, l eventlog.Log) eventlog.Log {
			return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
				sends := slices.ContainsFunc(writes, func(x eventlog.Write) bool {
					put, ok := x.(eventlog.Put)
					return ok && put.Entry.Kind == eventlog.Pending
				})
				if sends && crashes < 2 { // before it is written, and after
					crashes++
					if crashes == 2 {
						_, err := l.Append(ctx, writes...)
						return eventlog.Appended{}, errors.Join(errCrash, err)
					}
					return eventlog.Appended{}, errCrash
				}
				return l.Append(ctx, writes...)
			}}
		}
		w.run()
		w.log = nil
		if crashes != 2 {
			t.Errorf("it crashed %d times", crashes)
		}
		bill := func(key string) (Bill, *process.Instance) {
			t.Helper()
			i, err := w.engine().Instance(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return i.State.(Bill), i
		}
		if b, i := bill("a"); !reflect.DeepEqual(b, Bill{"1 notes", []string{"paid 5"}}) || i.Version != 2 {
			t.Errorf("a is %+v, of version %d", b, i.Version)
		}
		if b, i := bill("n2"); !reflect.DeepEqual(b, Bill{Total: "0 notes"}) || i.Version != 1 {
			t.Errorf("n2 is %+v, of version %d, though no input came", b, i.Version)
		}
		w.wantShipped("a")
		for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
			if err != nil || h.Instance != "n1" || h.Condition != process.Held || !strings.Contains(h.Error, "no bill of three cents") {
				t.Errorf("what stands aside is %+v", h)
			}
		}

		// Who has been migrated needs the old definition no more.
		w.config.Definition = billed(2)
		w.record("payments", Paid{"a", 6})
		w.run()
		if b, _ := bill("a"); !reflect.DeepEqual(b, Bill{"1 notes", []string{"paid 5", "paid 6"}}) {
			t.Errorf("without the old definition a is %+v", b)
		}
		// The version after that reads on from there, too.
		w.config.Definition = billed(3)
		if b, _ := bill("a"); !reflect.DeepEqual(b, Bill{"1 notes", []string{"paid 5", "paid 6"}}) {
			t.Errorf("by version 3 a is %+v", b)
		}
	})
}

// wantShipped checks that of all orders only this one was shipped, once.
func (w *world) wantShipped(id string) {
	w.t.Helper()
	shipped := 0
	for key, what := range w.stock() {
		for _, x := range what {
			if x == "shipped" {
				if shipped++; key != id {
					w.t.Errorf("%s was shipped", key)
				}
			}
		}
	}
	if shipped != 1 {
		w.t.Errorf("%d were shipped", shipped)
	}
}

func TestReplacingIsChecked(t *testing.T) {
	v1 := terms{wait: time.Hour}.definition()
	wrong := process.Migrate(v1, func(int) (string, error) { return "", nil })
	for want, def := range map[string]process.Definition{
		"give it a higher one":   v1.Replacing(process.Pin(v1)),
		"replaced twice":         v1.WithVersion(2).Replacing(process.Pin(v1), process.Pin(v1)),
		"declare that name":      process.Define("sale", process.React(func(OrderRun, *process.Step) {})).WithVersion(2).Replacing(process.Pin(v1)),
		"Migrate takes int":      v1.WithVersion(2).Replacing(wrong),
		"Migrate makes string":   v1.WithVersion(2).Replacing(wrong),
		"count from 1":           v1.WithVersion(0),
		"formerly: the process'": v1.Formerly("a/b"),
	} {
		if err := def.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if v := v1.WithVersion(4).Version(); v != 4 || v1.Version() != 1 {
		t.Error(v, v1.Version())
	}
}

// renamed is the definition of an older program under another name.
func renamed(v terms) process.Definition {
	v.name = "purchase"
	return v.definition().Formerly("order")
}

// A renamed process keeps its instances, timeouts, deferred inputs and commands; programs that know it by either name
// run one process.
func TestRenamedProcessStrandsNothingG9(t *testing.T) {
	bothStores(t, func(t *testing.T, store process.Store) {
		w, clock := aged(t, store)
		w.record("payments", Paid{"later", 9}) // deferred
		w.record("sales", OrderPlaced{"b", 1})
		down := true // no command of b comes through
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				if down {
					return command.Outcome{}, errCrash
				}
				return next(ctx, c, first)
			}
		}
		w.until(eventlog.Pending, "reserve")
		down = false
		before := w.entries(eventlog.Pending)
		if len(before) != 1 || len(w.entries(eventlog.Queued)) != 1 || len(w.entries(eventlog.Timeout)) != 2 {
			t.Fatal("there is nothing to strand", before)
		}

		w.config.Definition = renamed(terms{wait: time.Hour})
		w.record("payments", Noted{"a"})
		w.record("sales", OrderPlaced{"later", 1})
		w.run()
		w.loseCursors() // what was decided by the old name is recognised by the new one
		w.run()
		if s, _ := w.state("a"); s.Notes != 2 {
			t.Errorf("a is %+v", s)
		}
		if s, _ := w.state("later"); s.Cents != 9 || !s.Reserved {
			t.Errorf("later is %+v", s)
		}
		clock.add(2 * time.Hour)
		w.run()
		w.wantStock(map[string][]string{"a": {"reserved", "released"}, "b": {"reserved", "released"}, "later": {"reserved"}})
		for _, kind := range []eventlog.Kind{eventlog.Pending, eventlog.Queued, eventlog.Hold, eventlog.Timeout} {
			if left := w.entries(kind); len(left) > 0 {
				t.Errorf("entries of kind %v are left: %v", kind, left)
			}
		}
		described := func() process.Description {
			t.Helper()
			all, err := process.Descriptions(t.Context(), w.logs["sales"])
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		}
		if d := described(); d.Process != "order" || d.Name != "purchase" {
			t.Errorf("it is described as %+v", d)
		}
		if home, err := process.OpenHome(t.Context(), w.logs["sales"], "purchase"); err != nil || home.Stream("a") != "order/a" {
			t.Error(home, err)
		}

		// Side by side.
		old, young := terms{wait: time.Hour}.definition(), w.config.Definition
		w.config.Definition = old
		first := w.engine()
		w.config.Definition = young
		second := w.engine()
		w.with(first, func(ctx context.Context) {
			w.with(second, func(context.Context) {
				for n := range 30 {
					w.record("sales", OrderPlaced{fmt.Sprint("n", n), 1})
				}
				for _, e := range []*process.Engine{first, second} {
					if err := e.WaitIdle(ctx); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
		w.config.Definition = young
		w.run()
		for n := range 30 {
			if got := w.stock()[fmt.Sprint("n", n)]; !reflect.DeepEqual(got, []string{"reserved", "released"}) { // the clock is ahead of the log
				t.Errorf("order n%d: %v", n, got)
			}
		}
		if d := described(); d.Name != "purchase" {
			t.Errorf("then it is described as %+v", d)
		}
	})
}

// A rename that would split a process in two is refused.
func TestRenameWithoutTheFormerNameIsRefused(t *testing.T) {
	w, _ := aged(t, process.Streams{})
	w.config.Definition = renamed(terms{wait: time.Hour})
	w.run()
	refused := func(def process.Definition, stored string) {
		t.Helper()
		w.config.Definition, w.config.Stored = def, stored
		var no *process.RenamedError
		if _, err := process.StoredName(t.Context(), w.logs["sales"], def); !errors.As(err, &no) {
			t.Error(err)
		}
		if err := w.engine().Run(t.Context()); !errors.As(err, &no) {
			t.Error(err)
		}
	}
	refused(terms{name: "purchase", wait: time.Hour}.definition(), "")
	sale := terms{name: "sale", wait: time.Hour}.definition()
	w.config.Definition, w.config.Stored = sale, ""
	w.run() // another process
	refused(sale.Formerly("order"), "sale")
}

// The same facts, in other Go types and another order of fields: only their names are stored.
type (
	PlacedNow   struct{ ID string }
	PaidNow     struct{ ID string }
	BookStock   struct{ ID string }
	PaymentLate struct{}
)

// Go's names of events, timeouts and commands, and the stable names that had to change, strand nothing.
func TestRenamedTypesStrandNothingG11(t *testing.T) {
	w, clock := aged(t, process.Streams{})
	fail := true
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if fail {
				return command.Outcome{}, errCrash
			}
			if c.Type == "book" {
				c.Type = "reserve" // the receiver knows it still
			}
			return next(ctx, c, first)
		}
	}
	w.record("sales", OrderPlaced{"b", 1}, OrderPlaced{"c", 1})
	w.until(eventlog.Pending, "reserve")
	fail = false
	w.types["sales"] = must(event.NewRegistry(event.Named[PlacedNow]("placed", event.Formerly("order-placed")), event.Named[OrderClosed]("order-closed")))
	w.types["payments"] = must(event.NewRegistry(event.Named[PaidNow]("paid")))
	w.names = func(c process.Commands) process.Commands { return newNames{c} }
	type run struct{ Placed, Booked, Paid bool }
	w.config.Definition = process.Define("order",
		process.On[run, PlacedNow]{Starts: true, Locate: process.Key(func(e PlacedNow) string { return e.ID }),
			Evolve: func(s run, _ process.Input[PlacedNow]) run { s.Placed = true; return s }},
		process.On[run, PaidNow]{NoInstance: process.Ignore, Locate: process.Key(func(e PaidNow) string { return e.ID }),
			Evolve: func(s run, _ process.Input[PaidNow]) run { s.Paid = true; return s },
			React: func(_ run, in process.Input[PaidNow], do *process.Step) {
				if in.Event.ID == "c" {
					do.After(3*time.Hour, PaymentLate{}) // replaces the one of the old name
				} else {
					do.Cancel(PaymentLate{})
				}
			}},
		process.OnTimeout[run, PaymentLate]{Name: "late", Formerly: []string{"pay-due"}, React: func(_ run, _ process.Input[PaymentLate], do *process.Step) {
			do.Send(Release{ID: do.Instance()})
			do.Complete()
		}},
		process.OnAccepted[run, BookStock, struct{}]{Evolve: func(s run, _ process.Input[process.Accepted[BookStock, struct{}]]) run {
			s.Booked = true
			return s
		}},
	).Otherwise(process.Ignore)
	w.record("payments", PaidNow{"b"}, PaidNow{"c"})
	w.run()
	clock.add(2 * time.Hour)
	w.run()
	for key, want := range map[string]run{"a": {Placed: true, Booked: true}, "b": {true, true, true}, "c": {true, true, true}} {
		i, err := w.engine().Instance(t.Context(), key)
		if err != nil || i.State != want {
			t.Errorf("%s is %+v, want %+v, %v", key, i.State, want, err)
		}
	}
	w.wantStock(map[string][]string{"a": {"reserved", "released"}, "b": {"reserved"}, "c": {"reserved"}})
	clock.add(2 * time.Hour)
	w.run()
	w.wantStock(map[string][]string{"a": {"reserved", "released"}, "b": {"reserved"}, "c": {"reserved", "released"}})
}

// newNames knows the command reserve by another name and Go type.
type newNames struct{ process.Commands }

func (n newNames) Resolve(module string, t reflect.Type) (target, name string, err error) {
	if t == reflect.TypeFor[BookStock]() {
		return "stock", "book", nil
	}
	return n.Commands.Resolve(module, t)
}

func (newNames) FormerNames(t reflect.Type) []string {
	if t == reflect.TypeFor[BookStock]() {
		return []string{"reserve"}
	}
	return nil
}

// A timeout whose part is gone is held with an error that says so, and goes on where the part is back.
func TestTimeoutWithoutItsPartIsHeldG9(t *testing.T) {
	w, clock := aged(t, process.Streams{})
	w.config.Definition = process.Define("order", process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })}).Otherwise(process.Ignore)
	clock.add(2 * time.Hour)
	w.until(eventlog.Hold, "no longer handles it")
	for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
		if err != nil || !strings.Contains(h.Error, `keep the part`) || h.Queued != 1 {
			t.Errorf("it says %+v", h)
		}
	}
	w.config.Definition = terms{wait: time.Hour}.definition()
	w.run()
	w.wantStock(map[string][]string{"a": {"reserved", "released"}})
}
