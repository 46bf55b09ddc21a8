package process_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// Whatever happens to the workers while events are recorded, each instance takes each of its inputs once, in order.
func TestG8_WorkersComeAndGo(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		eachLog(t, func(t *testing.T, w *world) {
			w.config.Store, w.config.Batch = s, 16
			comeAndGo(t, w, rand.New(rand.NewPCG(1, 1)), 0)
			w = newWorld(t) // now with appends that fail, and answers that are lost
			w.config.Store, w.config.Batch = s, 16
			comeAndGo(t, w, rand.New(rand.NewPCG(2, 2)), 15)
		})
	})
}

func comeAndGo(t *testing.T, w *world, random *rand.Rand, flaky int) {
	const instances, rounds = 12, 30
	ids := make([]string, instances)
	for n := range ids {
		ids[n] = fmt.Sprint("o", n)
		w.record("sales", OrderPlaced{ids[n], 1})
	}
	crew := []*hand{w.hireFlaky(t, flaky)}
	want := []string{"placed"}
	leave := func(end func(*hand)) {
		n := random.IntN(len(crew))
		end(crew[n])
		crew = slices.Delete(crew, n, n+1)
	}
	for n := range rounds {
		for _, id := range ids {
			w.record("payments", Noted{id}, Paid{id, -1 - n})
		}
		want = append(want, "noted", fmt.Sprint("paid ", -1-n))
		pass(t, time.Duration(random.Int64N(int64(2*sharePoll))))
		switch x := random.IntN(12); {
		case len(crew) == 0 || x < 3 && len(crew) < 5:
			crew = append(crew, w.hireFlaky(t, flaky))
		case x < 5:
			leave((*hand).stop)
		case x < 6:
			leave((*hand).die)
		case x == 6:
			h := crew[random.IntN(len(crew))]
			p := h.pauseNext() // it goes on when its lease has run out, or just before
			h.running.Go(func() {
				select {
				case <-p.stopped:
					_ = consumer.Sleep(h.ctx, shareTTL+time.Duration(n%5-2)*sharePoll)
				case <-h.ctx.Done():
				}
				close(p.resume)
			})
		}
	}
	if len(crew) == 0 {
		crew = append(crew, w.hire(t))
	}
	pass(t, 3*shareTTL)
	allIdle(t, crew...)
	for _, h := range crew {
		h.stop()
	}
	stock := map[string][]string{}
	for _, id := range ids {
		stock[id] = []string{"reserved"}
		if got, _ := w.state(id); !slices.Equal(got.Inputs, want) || !got.Reserved {
			t.Errorf("%s took %v, want %v", id, got.Inputs, want)
		}
	}
	w.wantStock(stock)
	w.verify()
	if w.moved() < 32 {
		t.Errorf("partitions changed hands %d times only", w.moved())
	}
}

// Timeouts, instances that stand aside, inputs that wait and commands without outcome go where their partition goes.
func TestG9_G11_WhatIsOpenMovesWithItsPartition(t *testing.T) {
	for _, how := range []string{"shared", "vanished"} {
		t.Run(how, func(t *testing.T) {
			eachLog(t, func(t *testing.T, w *world) {
				var mended, reachable atomic.Bool
				w.config.Lease.TTL = 2 * time.Minute
				w.config.Definition = orderProcess(func(_ string, input any) {
					if _, paid := input.(Paid); paid && !mended.Load() {
						panic("not yet")
					}
				})
				w.config.Retry = process.Retry{Attempts: 1000, Backoff: consumer.Backoff{First: 30 * time.Second, Most: time.Minute}}
				w.bus = func(_ string, next dispatch) dispatch {
					return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
						if !reachable.Load() {
							return command.Outcome{}, errCrash
						}
						return next(ctx, c, first)
					}
				}
				const n = 20
				closed, stock := map[string][]string{}, map[string][]string{}
				for i := range n {
					due, paid, deferred := fmt.Sprint("due", i), fmt.Sprint("paid", i), fmt.Sprint("deferred", i)
					w.record("sales", OrderPlaced{due, 1}, OrderPlaced{paid, 1})
					w.record("payments", Paid{paid, 1}, Noted{paid}, Paid{deferred, 1})
					closed[due], stock[due] = []string{"expired"}, []string{"reserved", "released"}
					closed[paid], stock[paid] = []string{"shipped"}, []string{"reserved", "shipped"}
					closed[deferred], stock[deferred] = []string{"shipped"}, []string{"reserved", "shipped"}
				}
				hands := []*hand{w.hire(t)}
				pass(t, time.Minute)
				if how == "vanished" {
					hands[0].die()
					hands = nil
				}
				hands = append(hands, w.hire(t), w.hire(t))
				pass(t, 4*time.Minute)
				for _, h := range hands {
					if got := h.Stats(); got.Owned == 0 || got.Owned == 16 || got.Waiting == 0 || got.Waiting == n {
						t.Errorf("%+v; want a share of what waits", got)
					}
				}
				mended.Store(true)
				reachable.Store(true)
				for i := range n {
					w.record("sales", OrderPlaced{fmt.Sprint("deferred", i), 1})
				}
				pass(t, 5*time.Minute)
				wantOwned(t, "in the end", map[string][]int{"shared": {6, 5, 5}, "vanished": {8, 8}}[how], hands...)
				of, mine := w.sharing(), map[event.ID]int64{}
				for i := range n {
					mine[of.Partitions[consumer.Partition(fmt.Sprint("due", i), 16)].Worker]++
				}
				pass(t, time.Hour)
				allIdle(t, hands...)
				var fired, want []int64
				for _, h := range hands {
					fired = append(fired, h.Stats().Timeouts)
					h.stop()
				}
				for _, h := range of.Workers {
					want = append(want, mine[h.Worker])
				}
				slices.Sort(fired)
				slices.Sort(want)
				if !slices.Equal(fired, want) {
					t.Errorf("the workers fired %v timeouts, want %v", fired, want)
				}
				w.wantStock(stock)
				if got := w.closed(); !reflect.DeepEqual(got, closed) {
					t.Errorf("closed %v, want %v", got, closed)
				}
				for i := range n {
					if got, _ := w.state(fmt.Sprint("paid", i)); !slices.Equal(got.Inputs, []string{"placed", "paid 1", "noted"}) {
						t.Errorf("paid%d took %v", i, got.Inputs)
					}
				}
				for _, kind := range []eventlog.Kind{eventlog.Pending, eventlog.Queued, eventlog.Hold, eventlog.Timeout} {
					if keys := w.entries(kind); len(keys) > 0 {
						t.Errorf("%v left: %v", kind, keys)
					}
				}
				w.verify()
			})
		})
	}
}
