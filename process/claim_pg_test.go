package process_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ensue-io/ensue/internal/crashes"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// Two workers share a process on PostgreSQL whose orders claim documents, some the same one at once. Payments name the
// document alone, and come before its claim and behind it. Each document has one holder, the other is told; each payment is
// taken once, in order, by the holder; nothing waits in the end.
func TestG8_G9_ClaimsOfTwoWorkersOnPostgreSQL(t *testing.T) {
	const documents = 40
	w := claimWorld(t)
	w.config.Lease.TTL = 1500 * time.Millisecond // who shares looks ten times a second
	log := crashes.Postgres(pgtest.Database(t))(t)
	for _, m := range w.order {
		w.logs[m] = log(m)
	}
	one, other := w.hire(t), w.hire(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	until := func(what string, reached func() bool) {
		t.Helper()
		for !reached() {
			if ctx.Err() != nil {
				t.Fatalf("%s: not in time; %+v and %+v", what, one.Stats(), other.Stats())
			}
			pass(t, 10*time.Millisecond)
		}
	}
	until("the partitions are shared", func() bool { return one.Stats().Owned > 0 && other.Stats().Owned > 0 })
	doc := func(n int) string { return fmt.Sprint("d", n) }
	for n := range documents {
		w.happen(OrderPlaced{ID: fmt.Sprint("x", n)}, OrderPlaced{ID: fmt.Sprint("y", n)}, Paid{doc(n), 1})
	}
	for n := range documents {
		w.happen(Issued{doc(n), fmt.Sprint("x", n)}, Paid{doc(n), 2}, Issued{doc(n), fmt.Sprint("y", n)}, Paid{doc(n), 3})
	}
	taken := func(n int) (holder, told []string) {
		for _, order := range []string{fmt.Sprint("x", n), fmt.Sprint("y", n)} {
			s, _ := w.state(order)
			if len(s.Inputs) == 1 && s.Inputs[0] != "paid 1" {
				told = s.Inputs
			} else {
				holder = append(holder, s.Inputs...)
			}
		}
		return holder, told
	}
	for n := range documents {
		until(doc(n), func() bool { holder, told := taken(n); return len(holder) >= 3 && len(told) > 0 })
	}
	one.stop()
	other.stop()
	check := func(when string) {
		t.Helper()
		for n := range documents {
			holder, told := taken(n)
			slices.Sort(holder) // what came before the claim may be handed over behind what came after it
			if !slices.Equal(holder, []string{"paid 1", "paid 2", "paid 3"}) || len(told) != 1 {
				t.Errorf("%s: of %s, the holder took %q, and the other %q", when, doc(n), holder, told)
			}
		}
		if got := w.claims(); len(got) != documents {
			t.Errorf("%s: %d keys are claimed or waited for: %q", when, len(got), got)
		}
		w.verify()
	}
	check("at the end")
	w.loseCursors()
	w.run()
	check("cursors lost")
}
