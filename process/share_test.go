package process_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func TestG12_WorkersShareThePartitionsEvenly(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		const soon = 2*sharePoll + sharePoll/10
		a := w.hire(t)
		wantOwned(t, "alone", []int{16}, a)
		b := w.hire(t)
		pass(t, soon)
		wantOwned(t, "when a second one joined", []int{8, 8}, a, b)
		if n := w.moved(); n != 16+8 {
			t.Errorf("%d partitions changed hands when a second one joined, want 8", n-16)
		}
		before := w.moved()
		c := w.hire(t)
		pass(t, soon)
		wantOwned(t, "when a third one joined", []int{6, 5, 5}, a, b, c)
		if n := w.moved() - before; n < 5 || n > 6 {
			t.Errorf("%d partitions changed hands when a third one joined", n)
		}
		pass(t, 10*shareTTL)
		if n := w.moved() - before; n > 6 {
			t.Errorf("partitions change hands although nobody joins or leaves: %d times", n)
		}
		c.stop()
		pass(t, soon)
		wantOwned(t, "when one left", []int{8, 8}, a, b)
		b.die()
		pass(t, shareTTL-soon)
		wantOwned(t, "before the lease of one that vanished has run out", []int{8}, a)
		pass(t, soon+soon)
		wantOwned(t, "when one vanished", []int{16}, a)
		if n := len(w.sharing().Workers); n != 1 {
			t.Errorf("%d workers are listed, want 1", n)
		}
		a.stop()
	})
}

func TestMoreWorkersThanPartitions(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		w.config.Partitions = 2
		hands := []*hand{w.hire(t), w.hire(t), w.hire(t)}
		pass(t, 5*sharePoll)
		wantOwned(t, "three workers", []int{1, 1, 0}, hands...)
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1}, OrderPlaced{"c", 1}, OrderPlaced{"d", 1})
		allIdle(t, hands...)
		w.wantStock(map[string][]string{"a": {"reserved"}, "b": {"reserved"}, "c": {"reserved"}, "d": {"reserved"}})
		for _, h := range hands[:2] {
			h.stop()
		}
		pass(t, 2*sharePoll)
		wantOwned(t, "when two left", []int{2}, hands[2])
		hands[2].stop()
	})
}

// A worker is stopped between deciding and committing for longer than its lease, and then goes on. What it decided is
// refused, it says so, and it joins again; meanwhile another one did all of the work.
func TestG12_AStoppedWorkerIsRefusedAndJoinsAgain(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		a := w.hire(t)
		synctest.Wait()
		p := a.pauseNext()
		w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"b", 1}, OrderPlaced{"c", 1})
		w.record("payments", Noted{"nobody"})
		<-p.stopped
		b := w.hire(t)
		pass(t, shareTTL-3*sharePoll)
		wantOwned(t, "while the lease of the stopped worker runs", []int{0}, b)
		pass(t, 5*sharePoll)
		wantOwned(t, "when it has run out", []int{16}, b)
		w.record("payments", Paid{"a", 1})
		allIdle(t, b)
		head, entries := must(w.logs["sales"].Head(t.Context())), w.entries(eventlog.Timeout)
		close(p.resume)
		var lost *eventlog.EntryConflictError
		if err := <-p.late; !errors.As(err, &lost) || lost.Kind != eventlog.Lease {
			t.Errorf("a worker that had lost its lease wrote: %v", err)
		}
		if now := must(w.logs["sales"].Head(t.Context())); now != head || !slices.Equal(entries, w.entries(eventlog.Timeout)) {
			t.Errorf("a worker that had lost its lease changed something: head %d, was %d", now, head)
		}
		pass(t, 5*sharePoll)
		wantOwned(t, "when it joined again", []int{8, 8}, a, b)
		if said := a.said.String(); !strings.Contains(said, "level=ERROR") || strings.Count(said, "lost its lease") != 1 || !strings.Contains(said, "since=") {
			t.Errorf("it said:\n%s", said)
		}
		allIdle(t, a, b)
		w.wantStock(map[string][]string{"a": {"reserved", "shipped"}, "b": {"reserved"}, "c": {"reserved"}})
		if got := must(process.Ignored(t.Context(), w.logs["sales"], "order")); got["no instance: noted"] != 1 {
			t.Errorf("ignored: %v", got)
		}
		a.stop()
		b.stop()
		w.verify()
	})
}

// Each worker does what concerns its partitions, and nothing else.
func TestG12_AWorkerLeavesOthersPartitionsAlone(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		w.config.Lease.TTL = 15 * time.Minute
		var sent atomic.Int64
		w.bus = func(_ string, next dispatch) dispatch {
			return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
				sent.Add(1)
				return next(ctx, c, first)
			}
		}
		a, b := w.hire(t), w.hire(t)
		pass(t, 5*time.Minute)
		wantOwned(t, "at first", []int{8, 8}, a, b)
		const n = 50
		keys := map[event.ID]int64{}
		of := w.sharing()
		for i := range n {
			id := fmt.Sprint(i)
			w.record("sales", OrderPlaced{id, 1})
			keys[of.Partitions[consumer.Partition(id, 16)].Worker]++
		}
		synctest.Wait()
		for i := range n {
			w.record("payments", Noted{fmt.Sprint(i)})
		}
		pass(t, 2*time.Hour)
		for _, h := range []*hand{a, b} {
			s := h.Stats() // a start, a note, two outcomes of which one is handled, a timeout
			mine := s.Timeouts
			if mine != keys[of.Workers[0].Worker] && mine != keys[of.Workers[1].Worker] || s.Inputs != 4*mine || s.Commands != 2*mine || s.Duplicates > 0 {
				t.Errorf("%+v; the instances are divided %v", s, keys)
			}
			h.stop()
		}
		if a.Stats().Timeouts+b.Stats().Timeouts != n || sent.Load() != 2*n {
			t.Errorf("%d and %d timeouts, %d commands were dispatched; want %d and twice as many", a.Stats().Timeouts, b.Stats().Timeouts, sent.Load(), n)
		}
		w.verify()
	})
}

// Nobody counts an ignored input twice, or over another worker's count, and an event that cannot be decoded is held once.
func TestG9_WorkersCountAndHoldOnce(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		record := func(from int) {
			for n := range 30 {
				w.record("payments", Noted{fmt.Sprint("nobody", from+n)}, Noted{""})
				w.raw("payments", event.Event{Type: "paid", Data: []byte("no JSON")})
			}
		}
		check := func(want int64, hands ...*hand) {
			t.Helper()
			pass(t, 3*sharePoll)
			allIdle(t, hands...)
			got := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
			if !reflect.DeepEqual(got, map[string]int64{"no instance: noted": want, "no key: noted": want}) {
				t.Errorf("ignored %v, want %d of each", got, want)
			}
			if held := w.holds(); len(held) != int(want) {
				t.Errorf("%d events are held, want %d", len(held), want)
			}
		}
		a := w.hire(t)
		record(0)
		check(30, a)
		b, c := w.hire(t), w.hire(t)
		record(30)
		check(60, a, b, c)
		b.die()
		record(60)
		pass(t, shareTTL)
		check(90, a, c)
		a.stop()
		c.stop()
		w.loseCursors()
		a, b = w.hire(t), w.hire(t)
		check(90, a, b)
		a.stop()
		b.stop()
		w.verify()
	})
}

func TestWorkersAreListed(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		if _, err := process.Workers(t.Context(), w.logs["sales"], "order"); !errors.Is(err, process.ErrNoProcess) {
			t.Errorf("before anybody ran it: %v", err)
		}
		began := time.Now()
		a := w.hire(t)
		w.record("payments", Noted{"nobody"})
		allIdle(t, a)
		b := w.hire(t)
		pass(t, 3*sharePoll)
		s := w.sharing()
		if len(s.Workers) != 2 || len(s.Partitions) != 16 {
			t.Fatalf("%+v", s)
		}
		of, first := map[event.ID]int{}, 0
		for n, p := range s.Partitions {
			if of[p.Worker]++; p.Epoch == 1 && p.Since.Equal(began) {
				first++
			}
			if p.Partition != n || p.PID == 0 || p.Host == "" || !p.Until.After(time.Now()) || len(p.Cursors) != 2 || p.Cursors[0].Module != "sales" || p.Cursors[1].Module != "payments" {
				t.Errorf("%+v", p)
			}
			if p.Cursors[1].Position != 1 || p.Cursors[1].Time.IsZero() { // all were written when half of them moved
				t.Errorf("the cursors are %+v", p.Cursors)
			}
		}
		if first != 8 || of[s.Workers[0].Worker] != 8 || of[s.Workers[1].Worker] != 8 {
			t.Errorf("%v own partitions, %d were never moved; want 8 each", of, first)
		}
		a.stop()
		b.stop()
		if s := w.sharing(); len(s.Workers) > 0 || !s.Partitions[3].Worker.IsZero() || !s.Partitions[3].Until.IsZero() || s.Partitions[3].Epoch == 0 {
			t.Errorf("when all have left: %+v", s)
		}
	})
}
