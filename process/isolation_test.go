package process_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/tally"
	"github.com/ensue-io/ensue/process"
)

// One of 151 instances fails, at its first input or behind good ones of the same batch, for ever or now and then: the
// others take as many transactions, writes and reads as without it, and it takes no more than its attempts.
func TestG9_AFailingInstanceCostsTheOthersNothing(t *testing.T) {
	always := func(input, _ int) bool { return true }
	behindItsStart := func(input, _ int) bool { return input > 1 }
	alone := newIsolation(t, nil)
	alone.run(3)
	_, before := alone.tally.Counts()
	if alone.until.Transactions != healthyOnes*3/isolationBatch || before.Writes != healthyOnes*12 {
		t.Fatalf("without a failing one: %+v, until their commands were sent %+v", before, alone.until)
	}
	for _, c := range []struct {
		name     string
		attempts int                           // of a step
		fails    func(input, attempt int) bool // both from 1
		want     func(attempts int) int        // writes that name the instance, after so many
	}{
		// Three inputs are put into its queue, in the transaction of its first attempt; each attempt writes its hold.
		{"it is held", 3, always, func(n int) int { return 3 + n }},
		{"it is retried all the time", 1 << 30, always, func(n int) int { return 3 + n }},
		// Before that, a link, a record and the listing start it.
		{"it is held behind its start", 3, behindItsStart, func(n int) int { return 3 + 2 + n - 1 }},
		{"it is retried all the time behind its start", 1 << 30, behindItsStart, func(n int) int { return 3 + 2 + n - 1 }},
		// It ends as the others do, each of which takes 12 writes. Its queue is written and deleted, and its hold is written by
		// three attempts that fail and deleted by the one that succeeds.
		{"it fails now and then", 3, func(_, attempt int) bool { return attempt == 1 }, func(int) int { return 12 + 2*3 + 4 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := newIsolation(t, c.fails)
			got.run(c.attempts)
			if got.until.Transactions != alone.until.Transactions {
				t.Errorf("until their commands were sent, the healthy ones took %+v; without the failing one %+v", got.until, alone.until)
			}
			own, others := got.tally.Counts()
			if want := c.want(got.attempts); own.Writes != want && (c.attempts < 1<<30 || own.Writes != want-1) { // the end may come within an attempt
				t.Errorf("%d attempts of the failing one took %d writes, want %d", got.attempts, own.Writes, want)
			}
			if others.Writes != before.Writes || others.Reads != before.Reads {
				t.Errorf("the healthy ones took %+v in all; without the failing one %+v", others, before)
			}
		})
	}
}

// Their inputs are one page of a source and make seven batches and a half, also with what the failing instance takes of them.
const isolationBatch, healthyOnes = 60, 150

// isolation is a world of 150 healthy instances of three inputs each and, unless fails is nil, one that fails.
type isolation struct {
	*world
	tally          *tally.Tally
	until          tally.Count   // what the healthy ones took until their commands were decided
	decided        chan struct{} // all of them are
	done           chan struct{} // and all have their outcomes
	sent, outcomes int

	mu       sync.Mutex
	attempts int         // of the failing one
	tried    map[int]int // of each input
}

func newIsolation(t *testing.T, fails func(input, attempt int) bool) *isolation {
	t.Helper()
	i := &isolation{world: newWorld(t), tally: tally.New("failing"), decided: make(chan struct{}), done: make(chan struct{}), tried: map[int]int{}}
	i.config.Batch, i.config.Retry.Backoff = isolationBatch, consumer.Backoff{First: 1, Most: 1} // it is due in the next turn
	i.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[OrderPlaced]) OrderRun { s.Notes++; return s },
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				if in.Event.ID == "failing" && i.asked(in.Event.Qty, fails) {
					do.Fail(errors.New("it fails"))
				}
				if in.Event.Qty == 3 {
					do.Send(Reserve{ID: in.Event.ID})
				}
			}},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			React: func(_ OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]], do *process.Step) {
				do.Complete()
			},
		},
	).Otherwise(process.Ignore)
	for n := range healthyOnes {
		if n == 10 && fails != nil {
			i.record("sales", OrderPlaced{"failing", 1}, OrderPlaced{"failing", 2}, OrderPlaced{"failing", 3})
		}
		id := fmt.Sprint(n)
		i.record("sales", OrderPlaced{id, 1}, OrderPlaced{id, 2}, OrderPlaced{id, 3})
	}
	i.log = func(_ string, l eventlog.Log) eventlog.Log { return i.tally.Log(l) }
	i.tally.Wrote(func(w eventlog.Write, others tally.Count) {
		switch w := w.(type) {
		case eventlog.Put:
			if w.Entry.Kind != eventlog.Pending {
				return
			}
			if i.sent++; i.sent == healthyOnes {
				i.until = others
				close(i.decided)
			}
		case eventlog.Delete:
			if w.Kind != eventlog.Pending {
				return
			}
			if i.outcomes++; i.outcomes == healthyOnes {
				close(i.done)
			}
		}
	})
	i.bus = func(_ string, next dispatch) dispatch { // nothing is sent before, so that what is taken until then is always the same
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			select {
			case <-i.decided:
				return next(ctx, c, first)
			case <-ctx.Done():
				return command.Outcome{}, ctx.Err()
			}
		}
	}
	return i
}

// asked counts an attempt of the failing instance and tells whether it fails.
func (i *isolation) asked(input int, fails func(input, attempt int) bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attempts++
	i.tried[input]++
	return fails(input, i.tried[input])
}

// run runs until the healthy ones are completed and, if it ever is, the failing one is held.
func (i *isolation) run(attempts int) {
	i.t.Helper()
	i.config.Retry.Attempts = attempts
	e := i.engine()
	i.with(e, func(ctx context.Context) {
		select {
		case <-i.done:
		case <-ctx.Done():
			i.t.Fatalf("%d commands were sent, %d have an outcome: %+v", i.sent, i.outcomes, e.Stats())
		}
		if attempts < 1<<30 {
			if err := e.WaitIdle(ctx); err != nil {
				i.t.Fatal(err)
			}
		}
	})
}
