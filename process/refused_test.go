package process_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/tally"
	"github.com/ensue-io/ensue/process"
)

// The store refuses a step of one instance, again and again: while it is retried, the others take as many transactions as
// without it, but for chance. When the step can be kept at last, the instance goes on where it was.
func TestG9_AStepThatTheStoreRefusesIsRetriedAlone(t *testing.T) {
	eachStore(t, func(t *testing.T, store process.Store) {
		alone := newRefusal(t, store, 0)
		alone.run()
		_, without := alone.tally.Counts()
		if without.Transactions < healthyOnes*3/isolationBatch {
			t.Fatalf("without one that is refused: %+v", without)
		}
		for _, attempts := range []int{3, 20} { // fewer than there are batches, and more
			r := newRefusal(t, store, attempts)
			r.run()
			own, others := r.tally.Counts()
			// How many inputs are there when a batch is full of what came is chance, and a document is written once for each batch.
			if _, streams := store.(process.Streams); others.Transactions > without.Transactions+2 || streams && others.Writes != without.Writes {
				t.Errorf("with %d refusals the healthy ones took %+v, without them %+v", attempts, others, without)
			}
			if s, _ := r.state("refused"); s.Notes != 3 || r.tries != attempts+1 {
				t.Errorf("in %d attempts it took %d inputs; %d were to be refused", r.tries, s.Notes, attempts)
			}
			if own.Transactions > r.tries+2 {
				t.Errorf("%d attempts took %d transactions of their own", r.tries, own.Transactions)
			}
			if left := r.entries(eventlog.Hold); len(left) > 0 {
				t.Errorf("holds are left: %v", left)
			}
		}
	})
}

// refusal is a world of healthy instances and, unless attempts is 0, one whose first step is so often more than the store
// takes. The first attempt was made before the others come.
type refusal struct {
	*world
	tally *tally.Tally
	tries int
}

func newRefusal(t *testing.T, store process.Store, attempts int) *refusal {
	t.Helper()
	r := &refusal{world: newWorld(t), tally: tally.New("refused")}
	r.config.Store, r.config.Batch = store, isolationBatch
	r.config.Definition = process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[OrderPlaced]) OrderRun { s.Notes++; return s },
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				if in.Event.ID != "refused" || in.Event.Qty > 1 {
					return
				}
				if r.tries++; r.tries <= attempts {
					do.Emit(OrderClosed{ID: "refused", How: strings.Repeat("x", eventlog.MaxPayload)})
				}
			}},
	).Otherwise(process.Ignore)
	if attempts == 0 {
		return r
	}
	r.record("sales", OrderPlaced{"refused", 1}, OrderPlaced{"refused", 2}, OrderPlaced{"refused", 3})
	r.config.Retry = process.Retry{Attempts: 1 << 30, Backoff: consumer.Backoff{First: time.Hour, Most: time.Hour}}
	failed := make(chan struct{})
	var once sync.Once
	r.log = func(m string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			done, err := l.Append(ctx, writes...)
			if err == nil && hasKind(writes, eventlog.Hold) {
				once.Do(func() { close(failed) })
			}
			return done, err
		}}
	}
	r.with(r.engine(), func(context.Context) { <-failed })
	return r
}

// run has the healthy ones take their inputs while the other one is retried in every second turn.
func (r *refusal) run() {
	r.t.Helper()
	for n := range healthyOnes {
		id := fmt.Sprint(n)
		r.record("sales", OrderPlaced{id, 1}, OrderPlaced{id, 2}, OrderPlaced{id, 3})
	}
	r.config.Retry.Backoff = consumer.Backoff{First: 1, Most: 1}
	r.config.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r.log = func(_ string, l eventlog.Log) eventlog.Log { return r.tally.Log(l) }
	r.world.run()
	r.log, r.config.Now = nil, nil
}
