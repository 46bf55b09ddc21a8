package process_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ensue-io/ensue/process"
)

// A step fails behind good ones of its instance in the same batch: these are kept as they were, once, without what the
// failed one had changed in place by then.
func TestG9_GoodStepsBeforeAFailedOneOfTheirBatchAreKept(t *testing.T) {
	for _, migrated := range []bool{false, true} {
		t.Run(fmt.Sprintf("migrated=%v", migrated), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s process.Store) {
				w := newWorld(t)
				w.config.Store = s
				failed := 0
				definition := func() process.Definition {
					return process.Define("order",
						process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
							Evolve: func(s OrderRun, in process.Input[OrderPlaced]) OrderRun {
								if s.Trouble == nil {
									s.Trouble = map[string]int{}
								}
								s.Trouble["changed in place"] += in.Event.Qty
								return s
							},
							React: func(s OrderRun, in process.Input[OrderPlaced], do *process.Step) {
								if in.Event.Qty == 4 && failed < 2 {
									failed++
									do.Fail(errors.New("not yet"))
								}
								do.Send(Reserve{ID: fmt.Sprint(s.Trouble["changed in place"])})
								do.After(time.Hour, PayDue{})
							}},
						process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) { do.Complete() }},
					).Otherwise(process.Ignore)
				}
				w.config.Definition = definition()
				w.record("sales", OrderPlaced{"a", 1})
				w.run()
				want := []string{"reserve 1", "reserve 3", "reserve 7", "reserve 15"}
				if migrated {
					w.config.Definition = definition().WithVersion(2).Replacing(process.Migrate(definition(), func(old OrderRun) (OrderRun, error) {
						old.Trouble["changed in place"] += 100
						return old, nil
					}))
					want = []string{"reserve 1", "reserve 103", "reserve 107", "reserve 115"}
				}
				w.record("sales", OrderPlaced{"a", 2}, OrderPlaced{"a", 4}, OrderPlaced{"a", 8})
				w.run()
				if failed != 2 || !slices.Equal(w.calls.handled, want) {
					t.Errorf("after %d failures the commands are %v, want %v", failed, w.calls.handled, want)
				}
				i, err := w.engine().Instance(t.Context(), "a")
				if err != nil || i.Steps != 4 || len(i.Timers) != 1 || i.Sent != 4 {
					t.Fatalf("%+v, %v", i, err)
				}
				if holds := w.holds(); len(holds) > 0 {
					t.Errorf("holds are left: %+v", holds)
				}
				if _, streams := s.(process.Streams); !streams {
					return
				}
				turned := 0
				for step, err := range process.History(t.Context(), w.engine().Home(), "a") {
					if err != nil {
						t.Fatal(err)
					}
					if step.Migrated != nil {
						turned++
					}
				}
				if migrated && turned != 1 {
					t.Errorf("the migrated state is recorded %d times", turned)
				}
			})
		})
	}
}
