package process_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
)

// couple is two workers: the key's owns the partition of document "d…", the instance's those of the orders x and y.
type couple struct {
	*world
	t             *testing.T
	key, instance *hand
	d, x, y       string
	other         map[*hand]string // an order of each, to keep it busy
}

// claimCouple hires two workers, and finds names so that the document's key is the first one's and the orders are the other's.
func claimCouple(t *testing.T, w *world) *couple {
	t.Helper()
	w.claiming(append(claimParts(), onTaken())...)
	return w.couple(t)
}

func (w *world) couple(t *testing.T) *couple {
	t.Helper()
	c := &couple{world: w, t: t, other: map[*hand]string{}}
	first, second := event.NewID(), event.NewID()
	w.config.Lease.Worker = first
	c.key = w.hire(t)
	w.config.Lease.Worker = second
	c.instance = w.hire(t)
	w.config.Lease.Worker = event.ID{}
	pass(t, 3*sharePoll)
	find := func(of event.ID, prefix string, place func(string) string) string {
		for n := 0; ; n++ {
			name := fmt.Sprint(prefix, n)
			if w.sharing().Partitions[consumer.Partition(place(name), 16)].Worker == of {
				return name
			}
		}
	}
	order := func(s string) string { return s }
	c.d = find(first, "d", func(s string) string { return "document/" + s })
	c.x, c.y = find(second, "x", order), find(second, "y", order)
	c.other[c.key], c.other[c.instance] = find(first, "a", order), find(second, "b", order)
	w.happen(OrderPlaced{ID: c.x}, OrderPlaced{ID: c.y}, OrderPlaced{ID: c.other[c.key]}, OrderPlaced{ID: c.other[c.instance]})
	pass(t, sharePoll)
	return c
}

// stopped stops a worker at an append of another instance's while do happens, so that it is behind the other worker.
func (c *couple) stopped(h *hand, do func()) {
	c.t.Helper()
	p := h.pauseNext()
	c.happen(OrderPlaced{ID: c.other[h]})
	<-p.stopped
	do()
	close(p.resume)
	if err := <-p.late; err != nil {
		c.t.Fatal(err)
	}
	pass(c.t, 3*sharePoll)
}

// then lets facts happen one after the other, each with time to be taken.
func (c *couple) then(facts ...any) {
	c.t.Helper()
	for _, f := range facts {
		c.happen(f)
		pass(c.t, sharePoll/10)
	}
}

// end checks what the orders took, also when everything is read again.
func (c *couple) end(x, y []string, claims ...string) {
	c.t.Helper()
	pass(c.t, 3*sharePoll)
	check := func(when string) {
		c.t.Helper()
		c.wantTook(when, c.x, x...)
		c.wantTook(when, c.y, y...)
		c.wantClaims(when, claims...)
		c.verify()
	}
	check("at the end")
	c.key.stop()
	c.instance.stop()
	ignored := must(process.Ignored(c.t.Context(), c.logs["sales"], "order"))
	c.loseCursors()
	h := c.hire(c.t)
	allIdle(c.t, h)
	h.stop()
	check("cursors lost")
	if again := must(process.Ignored(c.t.Context(), c.logs["sales"], "order")); !reflect.DeepEqual(ignored, again) {
		c.t.Errorf("ignored %v, when cursors were lost %v", ignored, again)
	}
}

func (c *couple) has(instance string, waiting int) string {
	return fmt.Sprintf("%s: %q, %d waiting", c.d, instance, waiting)
}

func eachCouple(t *testing.T, do func(c *couple)) {
	t.Helper()
	eachLog(t, func(t *testing.T, w *world) { do(claimCouple(t, w)) })
}

func TestG8_G9_AnInputBeforeItsClaimIsHandedOverByAWorkerThatIsBehind(t *testing.T) {
	eachCouple(t, func(c *couple) {
		c.stopped(c.key, func() {
			c.then(Paid{c.d, 1}, Glanced{c.d, 1}, Issued{c.d, c.x}, Paid{c.d, 2}, Glanced{c.d, 2})
			c.wantTook("the key's owner is behind", c.x, "paid 2", "glanced 2")
		})
		c.then(Paid{c.d, 3})
		c.end([]string{"paid 2", "glanced 2", "paid 1", "paid 3"}, nil, c.has(c.x, 0))
	})
}

func TestG8_G9_AnInputBehindItsClaimIsTakenInItsPlaceByAWorkerThatIsBehind(t *testing.T) {
	eachCouple(t, func(c *couple) {
		c.stopped(c.instance, func() {
			c.then(Paid{c.d, 1}, Issued{c.d, c.x}, Paid{c.d, 2}, Paid{c.d, 3})
			c.wantClaims("the instance's owner is behind", c.has("", 3))
		})
		c.then(Paid{c.d, 4})
		c.end([]string{"paid 1", "paid 2", "paid 3", "paid 4"}, nil, c.has(c.x, 0))
	})
}

func TestG9_WhatTheInstanceHasNotComeToWaitsOnWhenItsClaimEnds(t *testing.T) {
	eachCouple(t, func(c *couple) {
		c.then(Glanced{c.d, 0}, Issued{c.d, c.x}, Paid{c.d, 1})
		pass(c.t, 3*sharePoll)
		c.stopped(c.instance, func() {
			c.then(Paid{c.d, 2}, Withdrawn{c.d, c.x}, Paid{c.d, 3}, Glanced{c.d, 1})
			c.wantClaims("the instance's owner is behind", c.has(c.x, 3))
		})
		c.wantClaims("released", c.has("", 1))
		if n := must(process.Ignored(c.t.Context(), c.logs["sales"], "order")); !reflect.DeepEqual(n, map[string]int64{"no instance: glanced": 2}) {
			c.t.Errorf("ignored %v", n)
		}
		c.then(Issued{c.d, c.y}, Paid{c.d, 4})
		c.end([]string{"paid 1", "paid 2"}, []string{"paid 3", "paid 4"}, c.has(c.y, 0))
	})
}

func TestG8_WhatAnInstanceTookBeforeItsClaimEndedFindsNoOther(t *testing.T) {
	eachCouple(t, func(c *couple) {
		c.then(Issued{c.d, c.x})
		c.stopped(c.key, func() { c.then(Paid{c.d, 1}, Glanced{c.d, 1}, Withdrawn{c.d, c.x}) })
		c.wantClaims("released")
		c.then(Paid{c.d, 2}, Issued{c.d, c.y})
		c.end([]string{"paid 1", "glanced 1"}, []string{"paid 2"}, c.has(c.y, 0))
	})
}

func TestG8_G9_AClaimThatEndsBeforeTheKeysOwnerSeesIt(t *testing.T) {
	eachCouple(t, func(c *couple) {
		c.stopped(c.key, func() { c.then(Paid{c.d, 1}, Issued{c.d, c.x}, Paid{c.d, 2}, Withdrawn{c.d, c.x}, Paid{c.d, 3}) })
		c.wantClaims("released", c.has("", 2))
		c.then(Issued{c.d, c.y})
		c.end([]string{"paid 2"}, []string{"paid 1", "paid 3"}, c.has(c.y, 0))
	})
}

// refusedClaim tells whether an append was refused since somebody else had changed a claimed key.
func refusedClaim(err error) bool {
	var conflict *eventlog.EntryConflictError
	return errors.As(err, &conflict) && conflict.Kind == eventlog.Claim
}

// The must-show race: neither order of the two appends, nor that both were decided on the same row, lets an input wait
// for ever or takes it twice.
func TestG9_AClaimThatRacesADeferredInputNeverLeavesItWaiting(t *testing.T) {
	t.Run("the claim is faster", func(t *testing.T) {
		eachCouple(t, func(c *couple) {
			p := c.key.pauseNext()
			c.happen(Paid{c.d, 1})
			<-p.stopped // it is about to let the payment wait
			c.then(Issued{c.d, c.x})
			c.wantClaims("claimed meanwhile", c.has(c.x, 0))
			close(p.resume)
			if err := <-p.late; !refusedClaim(err) {
				c.t.Errorf("the deferral was committed on a row that had changed: %v", err)
			}
			c.end([]string{"paid 1"}, nil, c.has(c.x, 0))
		})
	})
	t.Run("the deferral is faster", func(t *testing.T) {
		eachCouple(t, func(c *couple) {
			p := c.instance.pauseNext()
			c.happen(Issued{c.d, c.x})
			<-p.stopped // it is about to claim
			c.then(Paid{c.d, 1})
			c.wantClaims("deferred meanwhile", c.has("", 1))
			close(p.resume)
			if err := <-p.late; !refusedClaim(err) {
				c.t.Errorf("the claim was committed on a row that had changed: %v", err)
			}
			c.end([]string{"paid 1"}, nil, c.has(c.x, 0))
		})
	})
	t.Run("two claims", func(t *testing.T) {
		eachCouple(t, func(c *couple) {
			p := c.instance.pauseNext()
			c.happen(Issued{c.d, c.x})
			<-p.stopped
			c.then(Issued{c.d, c.other[c.key]})
			close(p.resume)
			if err := <-p.late; !refusedClaim(err) {
				c.t.Errorf("both claims were committed: %v", err)
			}
			c.end([]string{"document " + c.d + " is taken by " + c.other[c.key]}, nil, c.has(c.other[c.key], 0))
		})
	})
}

// Workers that come, vanish, fail and lose answers, at different paces: each payment finds exactly one instance or waits,
// and every instance takes what came behind its claim in the order of the log.
func TestG8_G9_ClaimsOfWorkersInTrouble(t *testing.T) {
	for seed := range uint64(raced.Fewer(16)) { // #nosec G115 -- a few
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1)) // #nosec G404 -- a test
				w := claimWorld(t)
				w.config.Batch = 1 + random.IntN(4)
				const docs, orders = 4, 6
				for n := range orders {
					w.happen(OrderPlaced{ID: fmt.Sprint("o", n)})
				}
				hands := []*hand{w.hireFlaky(t, 12), w.hireFlaky(t, 12)}
				paid := 0
				for range 150 {
					doc, order := fmt.Sprint("d", random.IntN(docs)), fmt.Sprint("o", random.IntN(orders))
					switch k := random.IntN(20); {
					case k < 11:
						paid++
						w.happen(Paid{doc, paid})
					case k < 15:
						w.happen(Issued{doc, order})
					case k < 19:
						w.happen(Withdrawn{doc, order})
					case random.IntN(4) == 0:
						hands[0].die()
						hands = append(hands[1:], w.hireFlaky(t, 12))
					}
					if random.IntN(3) == 0 {
						pass(t, time.Duration(random.Int64N(int64(sharePoll))))
					}
				}
				pass(t, 3*shareTTL)
				for _, h := range hands {
					h.stop()
				}
				pass(t, 2*shareTTL) // one may have failed to leave
				last := w.hire(t)
				pass(t, 2*sharePoll)
				allIdle(t, last)
				last.stop()
				w.verify()
				found := w.eachOnce(paid, docs)
				w.loseCursors()
				last = w.hire(t)
				pass(t, 2*sharePoll)
				allIdle(t, last)
				last.stop()
				w.verify()
				if again := w.eachOnce(paid, docs); !slices.Equal(found, again) {
					t.Errorf("when cursors were lost:\n%q\nbefore:\n%q", again, found)
				}
			})
		})
	}
}

// eachOnce checks that each of so many payments was taken once or waits, and returns who took what.
func (w *world) eachOnce(paid, docs int) (found []string) {
	w.t.Helper()
	times := map[string]int{}
	for s, err := range process.ListInstances(w.t.Context(), w.logs["sales"], "order", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		state, _ := w.state(s.Key)
		found = append(found, fmt.Sprint(s.Key, state.Inputs))
		for _, what := range state.Inputs {
			if strings.HasPrefix(what, "paid ") {
				times[what]++
			}
		}
	}
	waiting := 0
	for c, err := range process.Claims(w.t.Context(), w.logs["sales"], "order") {
		if err != nil {
			w.t.Fatal(err)
		}
		waiting += c.Waiting
		if c.Instance != "" && c.Waiting > 0 {
			w.t.Errorf("%v is claimed by %s, and %d inputs wait beside it", c.ClaimedKey, c.Instance, c.Waiting)
		}
	}
	for what, n := range times {
		if n != 1 {
			w.t.Errorf("%q was taken %d times", what, n)
		}
	}
	if len(times)+waiting != paid {
		w.t.Errorf("%d payments were taken and %d wait, of %d", len(times), waiting, paid)
	}
	return found
}

// An instance whose worker is behind claims a key that another one has had meanwhile: what that one took is not met again.
func TestG8_AClaimByAWorkerThatIsBehindTakesNothingTwice(t *testing.T) {
	for name, in := range map[string]func(c *couple, a string) []any{
		"taken in its place": func(c *couple, a string) []any {
			return []any{Issued{c.d, a}, Issued{c.d, c.y}, Paid{c.d, 1}, Withdrawn{c.d, a}}
		},
		"handed over": func(c *couple, a string) []any {
			return []any{Issued{c.d, c.y}, Paid{c.d, 1}, Issued{c.d, a}, Withdrawn{c.d, a}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachCouple(t, func(c *couple) {
				a := c.other[c.key]
				c.stopped(c.instance, func() { c.then(in(c, a)...) })
				c.then(Paid{c.d, 2})
				c.wantTook("at the end", a, "paid 1")
				c.end(nil, []string{"paid 2"}, c.has(c.y, 0))
			})
		})
	}
}

// An instance gives a key back in the same turn in which its worker would hand over what waits there, for too long by now:
// the key's owner counts that, beside what it has counted before.
func TestG9_WhatAKeyGivenBackLeavesIsCountedByTheKeysOwner(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		var well atomic.Bool
		parts := claimParts()
		parts[3] = process.On[OrderRun, Ended]{NoInstance: process.Ignore, Locate: process.Key(func(e Ended) string { return e.Order }),
			React: func(_ OrderRun, _ process.Input[Ended], do *process.Step) {
				if !well.Load() {
					panic("not yet")
				}
				do.Complete()
			}}
		w.claiming(append(parts, onTaken())...)
		const within = 4 * sharePoll
		w.config.Retry = process.Retry{Backoff: consumer.Backoff{First: within, Most: within, Random: func(n int64) int64 { return n - 1 }}}
		w.config.Definition = w.config.Definition.Deferring(process.Deferral{Within: within, Then: process.Ignore})
		c := w.couple(t)
		c.then(Paid{c.d, 1})
		pass(t, 2*within)
		c.wantClaims("the first waited for too long")
		behind := c.key.pauseNext()
		c.happen(OrderPlaced{ID: c.other[c.key]})
		<-behind.stopped
		c.then(Paid{c.d, 2}, Issued{c.d, c.x}, Ended{c.x})
		c.wantHolds(c.x + " retrying 1")
		stopped := c.instance.pauseNext()
		c.happen(OrderPlaced{ID: c.other[c.instance]})
		<-stopped.stopped
		close(behind.resume)
		pass(t, within+sharePoll) // meanwhile, the order is to be tried again
		c.wantClaims("to be handed over", c.has(c.x, 1))
		well.Store(true)
		close(stopped.resume)
		pass(t, 2*within)
		want := map[string]int64{"no instance, deferred too long: paid": 2}
		if n := must(process.Ignored(t.Context(), c.logs["sales"], "order")); !reflect.DeepEqual(n, want) {
			t.Errorf("ignored %v, want %v", n, want)
		}
		c.end(nil, nil)
	})
}

// A worker is stopped in the middle of a step. Others give back a key meanwhile, and another instance claims it. When it
// goes on, it hears that it has lost its lease: what it finds is not damage.
func TestG12_AKeyThatHasGoneOnIsNoDamageToAWorkerThatLostItsLease(t *testing.T) {
	eachLog(t, func(t *testing.T, w *world) {
		stopped, resume := make(chan struct{}), make(chan struct{})
		var again atomic.Bool
		parts := claimParts()
		parts[0] = process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], _ *process.Step) {
				if in.Event.ID == "slow" && !again.Swap(true) {
					close(stopped)
					<-resume
				}
			}}
		w.claiming(append(parts, onTaken())...)
		late := w.hire(t)
		late.paused = true
		w.happen(OrderPlaced{ID: "x"}, OrderPlaced{ID: "y"}, Issued{"d", "x"})
		allIdle(t, late)
		w.record("sales", OrderPlaced{ID: "slow"}, Withdrawn{"d", "x"})
		<-stopped
		next := w.hire(t)
		pass(t, 2*shareTTL)
		w.happen(Issued{"d", "y"}, Paid{"d", 1})
		allIdle(t, next)
		w.wantClaims("it has gone on", `d: "y", 0 waiting`)
		close(resume)
		pass(t, 3*sharePoll)
		allIdle(t, late, next)
		if said := late.said.String(); !strings.Contains(said, "lost its lease") || strings.Contains(said, "held") {
			t.Errorf("it said:\n%s", said)
		}
		w.wantHolds()
		w.wantTook("at the end", "y", "paid 1")
		late.stop()
		next.stop()
		w.verify()
	})
}
