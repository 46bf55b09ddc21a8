package process_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// reminder is a timeout of which an instance has several.
type reminder struct{ About string }

func (r reminder) TimeoutKey() string { return r.About }

// What an instance set and neither cancelled nor replaced is listed in the order in which it fires, with both stores.
func TestTimeoutsToComeAreListed(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		in := func(d time.Duration) time.Time { return event.Micro(time.Now().Add(d)) }
		soon, later, replaced := in(time.Hour), in(30*time.Hour), in(20*time.Hour)
		w.config.Definition = process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[OrderPlaced], do *process.Step) {
					do.At(later, PayDue{})
					do.At(soon, reminder{"stock"})
					do.At(soon, reminder{"price"})
					do.At(soon, reminder{"nothing"})
					do.At(soon, reminder{"address"})
				}},
			process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[Paid], do *process.Step) {
					do.Cancel(reminder{"nothing"})
					do.At(replaced, reminder{"address"})
				}},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) { do.Complete() }},
			process.OnTimeout[OrderRun, reminder]{Name: "remind", React: func(_ OrderRun, _ process.Input[reminder], do *process.Step) { do.Complete() }},
		).Otherwise(process.Ignore)
		w.record("sales", OrderPlaced{"a/b", 1}, OrderPlaced{"a", 1})
		w.record("payments", Paid{"a", 1}, Paid{"a/b", 1})
		w.run()
		list := func(instance string) (names []string, dues []time.Time) {
			for i, err := range process.Timeouts(t.Context(), w.logs["sales"], "order", instance) {
				if err != nil || i.ID.IsZero() {
					t.Fatal(i, err)
				}
				names, dues = append(names, i.Instance+" "+i.Name), append(dues, i.Due)
			}
			return names, dues
		}
		names, dues := list("a")
		if want := []string{"a remind:price", "a remind:stock", "a remind:address", "a pay-due"}; !slices.Equal(names, want) {
			t.Errorf("listed %v, want %v", names, want)
		}
		if want := []time.Time{soon, soon, replaced, later}; !slices.EqualFunc(dues, want, time.Time.Equal) {
			t.Errorf("due %v, want %v", dues, want)
		}
		names, _ = list("")
		if len(names) != 8 || names[7][len(names[7])-7:] != "pay-due" || names[0][len(names[0])-12:] != "remind:price" {
			t.Errorf("of all instances %v", names)
		}
		if names, _ := list("none"); len(names) > 0 {
			t.Errorf("of an instance that is none %v", names)
		}
		if _, err := w.logs["sales"].Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Timeout, Key: eventlog.Key("order", "a"), Due: soon}}); err != nil {
			t.Fatal(err)
		}
		var corrupt *eventlog.CorruptError
		for _, err := range process.Timeouts(t.Context(), w.logs["sales"], "order", "") {
			if err != nil && !errors.As(err, &corrupt) {
				t.Error(err)
			}
		}
		if corrupt == nil {
			t.Error("an entry that is no timeout was left out")
		}
	})
}
