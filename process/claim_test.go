package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// The world of claims: a document is issued for an order, which claims its number; payments name only the document.
type (
	Issued    struct{ Doc, Order string }
	Withdrawn struct{ Doc, Order string }
	Ended     struct{ Order string }
	Glanced   struct {
		Doc string
		N   int
	}
)

func tookNext(s OrderRun, what string) OrderRun {
	s.Inputs = append(slices.Clip(s.Inputs), what)
	return s
}

// claimParts are the parts of the order process that claims documents.
func claimParts() []process.Part[OrderRun] {
	return []process.Part[OrderRun]{
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		process.On[OrderRun, Issued]{NoInstance: process.Defer, Locate: process.Key(func(e Issued) string { return e.Order }),
			React: func(_ OrderRun, in process.Input[Issued], do *process.Step) { do.Correlate("document", in.Event.Doc) }},
		process.On[OrderRun, Withdrawn]{NoInstance: process.Ignore, Locate: process.Key(func(e Withdrawn) string { return e.Order }),
			React: func(_ OrderRun, in process.Input[Withdrawn], do *process.Step) { do.Release("document", in.Event.Doc) }},
		process.On[OrderRun, Ended]{NoInstance: process.Ignore, Locate: process.Key(func(e Ended) string { return e.Order }),
			React: func(_ OrderRun, _ process.Input[Ended], do *process.Step) { do.Complete() }},
		process.On[OrderRun, Paid]{NoInstance: process.Defer, Locate: process.Claimed("document", func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				return tookNext(s, fmt.Sprintf("paid %d", in.Event.Cents))
			}},
		process.On[OrderRun, Glanced]{NoInstance: process.Ignore, Locate: process.Claimed("document", func(e Glanced) string { return e.Doc }),
			Evolve: func(s OrderRun, in process.Input[Glanced]) OrderRun {
				return tookNext(s, fmt.Sprintf("glanced %d", in.Event.N))
			}},
	}
}

func onTaken() process.Part[OrderRun] {
	return process.OnTaken[OrderRun]{Name: "document", Evolve: func(s OrderRun, in process.Input[process.ClaimTaken]) OrderRun {
		return tookNext(s, in.Event.Name+" "+in.Event.Key+" is taken by "+in.Event.By)
	}}
}

func claimWorld(t testing.TB) *world {
	w := newWorld(t)
	w.claiming(append(claimParts(), onTaken())...)
	return w
}

func (w *world) claiming(parts ...process.Part[OrderRun]) {
	w.types["sales"] = must(event.NewRegistry(event.Named[OrderPlaced]("order-placed"), event.Named[OrderClosed]("order-closed"),
		event.Named[Issued]("issued"), event.Named[Withdrawn]("withdrawn"), event.Named[Ended]("ended")))
	w.types["payments"] = must(event.NewRegistry(event.Named[Paid]("paid"), event.Named[Noted]("noted"), event.Named[Glanced]("glanced")))
	w.config.Definition = process.Define("order", parts...).Otherwise(process.Ignore)
}

// happen records facts in the modules that they are of.
func (w *world) happen(facts ...any) {
	w.t.Helper()
	for _, f := range facts {
		switch f.(type) {
		case Paid, Noted, Glanced:
			w.record("payments", f)
		default:
			w.record("sales", f)
		}
	}
}

func (w *world) wantTook(when, key string, want ...string) {
	w.t.Helper()
	s, _ := w.state(key)
	if !slices.Equal(s.Inputs, want) {
		w.t.Errorf("%s: %s took %q, want %q", when, key, s.Inputs, want)
	}
}

// claims lists the claimed keys and those that inputs wait for.
func (w *world) claims() (all []string) {
	w.t.Helper()
	for c, err := range process.Claims(w.t.Context(), w.logs["sales"], "order") {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s: %q, %d waiting", c.Key, c.Instance, c.Waiting))
	}
	return all
}

func (w *world) wantClaims(when string, want ...string) {
	w.t.Helper()
	if got := w.claims(); !slices.Equal(got, want) {
		w.t.Errorf("%s: claims %q, want %q", when, got, want)
	}
}

// permutations calls do with every order of the facts that leaves the payments in theirs.
func permutations(facts []any, do func([]any)) {
	var with func(so, rest []any)
	with = func(so, rest []any) {
		if len(rest) == 0 {
			do(slices.Clone(so))
		}
		paid := false
		for n, f := range rest {
			if _, ok := f.(Paid); ok {
				if paid {
					continue
				}
				paid = true
			}
			with(append(slices.Clone(so), f), slices.Delete(slices.Clone(rest), n, n+1))
		}
	}
	with(nil, facts)
}

func TestG8_G9_ATwoHopJoinWorksInAnyOrderOfArrival(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
		t.Run(name, func(t *testing.T) {
			permutations([]any{OrderPlaced{ID: "o"}, Issued{"d", "o"}, Paid{"d", 1}, Paid{"d", 2}, Paid{"d", 3}}, func(facts []any) {
				for _, atOnce := range []bool{true, false} {
					w := claimWorld(t)
					w.config.Store = store
					for _, f := range facts {
						if w.happen(f); !atOnce {
							w.run()
						}
					}
					w.run()
					when := fmt.Sprintf("%v, at once: %v", facts, atOnce)
					w.wantTook(when, "o", "paid 1", "paid 2", "paid 3")
					w.wantClaims(when, `d: "o", 0 waiting`)
					w.loseCursors()
					w.run()
					w.wantTook(when+", cursors lost", "o", "paid 1", "paid 2", "paid 3")
					w.verify()
				}
			})
		})
	}
}

func TestG8_AKeyThatMovedAppliesNothingLate(t *testing.T) {
	t.Parallel()
	w := claimWorld(t)
	w.happen(OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, Glanced{"d", 0}, Paid{"d", 1}, Issued{"d", "x"})
	w.run()
	w.happen(Paid{"d", 2}, Glanced{"d", 1})
	w.run()
	w.happen(Withdrawn{"d", "x"})
	w.run()
	w.happen(Paid{"d", 3}, Glanced{"d", 2})
	w.run()
	w.wantClaims("released", `d: "", 1 waiting`)
	w.loseCursors()
	w.run()
	w.wantClaims("cursors lost", `d: "", 1 waiting`)
	w.happen(Issued{"d", "y"})
	w.run()
	w.happen(Paid{"d", 4}, Glanced{"d", 3})
	w.run()
	check := func(when string) {
		t.Helper()
		w.wantTook(when, "x", "paid 1", "paid 2", "glanced 1")
		w.wantTook(when, "y", "paid 3", "paid 4", "glanced 3")
		if n := must(process.Ignored(t.Context(), w.logs["sales"], "order")); !reflect.DeepEqual(n, map[string]int64{"no instance: glanced": 2}) {
			t.Errorf("%s: ignored %v", when, n)
		}
		w.verify()
	}
	check("moved")
	w.loseCursors()
	w.run()
	check("cursors lost after the key moved")
	w.happen(Withdrawn{"d", "y"})
	w.run()
	w.loseCursors()
	w.happen(OrderPlaced{ID: "z"}, Issued{"d", "z"})
	w.run()
	w.wantTook("claimed again when cursors were lost", "z")
	check("claimed again when cursors were lost")
}

func TestG10_CompletionReleasesWhatWasClaimed(t *testing.T) {
	t.Parallel()
	w := claimWorld(t)
	w.happen(OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, Issued{"d", "x"}, Issued{"e", "x"}, Paid{"d", 1})
	w.run()
	w.wantClaims("claimed", `d: "x", 0 waiting`, `e: "x", 0 waiting`)
	w.happen(Ended{"x"})
	w.run()
	w.wantClaims("completed")
	w.happen(Issued{"d", "y"}, Paid{"d", 2})
	w.run()
	w.wantClaims("claimed by another", `d: "y", 0 waiting`)
	w.wantTook("completed", "x", "paid 1")
	w.wantTook("claimed by another", "y", "paid 2")
	w.verify()
}

func TestG9_AClaimThatIsTakenIsAnOutcome(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
		t.Run(name, func(t *testing.T) {
			w := claimWorld(t)
			w.config.Store = store
			w.happen(OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, Issued{"d", "x"}, Issued{"d", "y"}, Issued{"d", "x"}, Paid{"d", 1})
			w.run()
			w.wantTook("taken", "x", "paid 1")
			w.wantTook("taken", "y", `document d is taken by x`)
			w.wantClaims("taken", `d: "x", 0 waiting`)
			w.loseCursors()
			w.run()
			w.wantTook("cursors lost", "y", `document d is taken by x`)
			w.verify()
		})
	}
}

func TestG9_AClaimThatIsTakenHoldsWhereNothingIsDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.claiming(claimParts()...)
	w.happen(OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, OrderPlaced{ID: "z"}, Issued{"d", "x"}, Issued{"d", "y"}, Issued{"e", "z"}, Paid{"e", 1}, Paid{"d", 2})
	w.run()
	for h, err := range process.Holdings(t.Context(), w.logs["sales"], "order") {
		if err != nil || h.Instance != "y" || h.Condition != process.Held || !strings.Contains(h.Error, `instance "x" has claimed document "d"`) {
			t.Errorf("%+v, %v", h, err)
		}
	}
	if s := w.run(); s.Held != 1 {
		t.Errorf("%d held", s.Held)
	}
	w.wantTook("another is held", "z", "paid 1")
	w.wantTook("another is held", "x", "paid 2")
	w.verify()
}

// Everything happens again after a crash before each append of the home log, and after each.
func TestG8_G9_ClaimsSurviveACrashAtEveryAppend(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for k := 1; ; k++ {
			w := claimWorld(t)
			w.config.Batch = 2
			w.happen(Paid{"d", 1}, OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, Issued{"d", "x"}, Paid{"d", 2}, Issued{"d", "y"}, Withdrawn{"d", "x"}, Paid{"d", 3}, Issued{"d", "y"}, Paid{"d", 4}, Ended{"y"})
			n := 0
			w.log = func(m string, l eventlog.Log) eventlog.Log {
				return wrapped{l, appendFunc(func(do func() (eventlog.Appended, error), writes []eventlog.Write) (eventlog.Appended, error) {
					if m != "sales" || !hasKind(writes, eventlog.Cursor) && !hasKind(writes, eventlog.Claim) {
						return do()
					}
					if n++; n != k {
						return do()
					}
					if after {
						_, _ = do()
					}
					return eventlog.Appended{}, errCrash
				}, l)}
			}
			w.run()
			w.log = nil
			when := fmt.Sprintf("crash at append %d, after: %v", k, after)
			x, _ := w.state("x")
			y, _ := w.state("y")
			all := slices.Concat(x.Inputs, y.Inputs)
			slices.Sort(all)
			if want := []string{"document d is taken by x", "paid 1", "paid 2", "paid 3", "paid 4"}; !slices.Equal(all, want) {
				t.Errorf("%s: x took %q, y %q", when, x.Inputs, y.Inputs)
			}
			w.verify()
			if n < k {
				break
			}
		}
	}
}

func TestClaimMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.claiming(append(claimParts(), process.On[OrderRun, Noted]{Starts: true, Locate: process.Claimed("document", func(e Noted) string { return e.ID })},
		process.OnTaken[OrderRun]{Name: "bad name"}, process.On[OrderRun, Stocked]{NoInstance: process.Ignore, Locate: process.Claimed("", func(e Stocked) string { return e.ID }), In: []process.Phase{}})...)
	err := w.config.Definition.Check()
	for _, want := range []string{"leave Starts out", `is not "bad name"`, "the name of claimed keys", `is not "(empty)"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	m := must(process.NewMachine(process.Define("order", process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
		React: func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) { do.Correlate("dokument", "d") }}).Otherwise(process.Ignore), process.MachineOptions{}))
	var step *process.StepError
	if _, err := m.Give(process.Fact{Event: OrderPlaced{ID: "x"}}); !errors.As(err, &step) || !strings.Contains(err.Error(), `no input is located by process.Claimed("dokument", …)`) {
		t.Errorf("a name that nothing is located by: %v", err)
	}
}

// appendFunc is an Append that a test decides about.
func appendFunc(f func(do func() (eventlog.Appended, error), writes []eventlog.Write) (eventlog.Appended, error), l eventlog.Log) func(context.Context, ...eventlog.Write) (eventlog.Appended, error) {
	return func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
		return f(func() (eventlog.Appended, error) { return l.Append(ctx, writes...) }, writes)
	}
}
