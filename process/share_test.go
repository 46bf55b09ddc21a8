package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

const (
	shareTTL  = consumer.DefaultTTL
	sharePoll = shareTTL / 15
)

// hand is a worker of a test: an engine that runs, and what can happen to it.
type hand struct {
	*process.Engine
	t       *testing.T
	said    lines
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	err     error
	dead    atomic.Bool // nothing that it writes arrives any more
	pause   atomic.Pointer[pause]
	paused  bool         // or otherwise in trouble, so that it may start over
	flaky   int          // one in so many of its appends to the home log fails, and of one in so many the answer is lost
	clashes atomic.Int64 // appends that were refused since somebody else had written to a stream
}

// pause stops a worker before its next append that has a cursor.
type pause struct {
	stopped, resume chan struct{}
	late            chan error // what became of the append
}

func (h *hand) pauseNext() *pause {
	p := &pause{make(chan struct{}), make(chan struct{}), make(chan error, 1)}
	h.pause.Store(p)
	h.paused = true
	return p
}

// lines collects what is logged.
type lines struct {
	sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(b)
}

func (l *lines) String() string {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.String()
}

// eachLog runs a test in a bubble, on logs in memory and in a file. Nothing in it takes real time.
func eachLog(t *testing.T, do func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { do(t, newWorld(t)) })
	})
	t.Run("sqlite", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			file := must(sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), "world.db"), sqlitelog.Options{Poll: -1}))
			for _, m := range w.order {
				w.logs[m] = must(file.Log(t.Context(), m))
			}
			do(t, w)
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// hire starts a worker.
func (w *world) hire(t *testing.T) *hand { return w.hireFlaky(t, 0) }

func (w *world) hireFlaky(t *testing.T, flaky int) *hand {
	t.Helper()
	h := &hand{t: t, flaky: flaky, paused: flaky > 0}
	before := w.config.Logger
	w.config.Logger = slog.New(slog.NewTextHandler(&h.said, nil))
	w.log = func(m string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			if h.dead.Load() {
				return eventlog.Appended{}, errCrash
			}
			var p *pause
			if m == "sales" && hasKind(writes, eventlog.Cursor) {
				p = h.pause.Swap(nil)
			}
			if p == nil {
				trouble := 0
				if m == "sales" && h.flaky > 0 {
					trouble = rand.IntN(h.flaky)
				}
				if trouble == 1 {
					return eventlog.Appended{}, errCrash
				}
				done, err := l.Append(ctx, writes...)
				if trouble == 2 && err == nil {
					return eventlog.Appended{}, errCrash
				}
				var conflict *eventlog.ConflictError
				if errors.As(err, &conflict) {
					h.clashes.Add(1)
				}
				return done, err
			}
			close(p.stopped)
			<-p.resume
			done, err := l.Append(ctx, writes...)
			p.late <- err
			return done, err
		}}
	}
	h.Engine = w.engine()
	w.log, w.config.Logger = nil, before
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.running.Go(func() { h.err = h.Run(h.ctx) })
	return h
}

// stop lets a worker end in good order.
func (h *hand) stop() {
	h.t.Helper()
	h.cancel()
	h.running.Wait()
	if h.err != nil {
		h.t.Error(h.err)
	}
	if n := h.clashes.Load(); n > 0 || !h.dead.Load() && !h.paused && strings.Contains(h.said.String(), "starting over") {
		h.t.Errorf("workers got into each other's way, %d times in a stream:\n%s", n, &h.said)
	}
}

// die lets a worker vanish: nothing that it still writes arrives.
func (h *hand) die() {
	h.t.Helper()
	h.dead.Store(true)
	h.stop()
}

// owned returns how many partitions each of the workers owns.
func owned(hands ...*hand) (n []int) {
	for _, h := range hands {
		n = append(n, h.Stats().Owned)
	}
	slices.SortFunc(n, func(a, b int) int { return b - a })
	return n
}

func wantOwned(t *testing.T, when string, want []int, hands ...*hand) {
	t.Helper()
	synctest.Wait()
	if got := owned(hands...); !slices.Equal(got, want) {
		t.Errorf("%s: the workers own %v partitions, want %v", when, got, want)
	}
}

func (w *world) sharing() process.Sharing {
	w.t.Helper()
	return must(process.Workers(context.Background(), w.logs["sales"], "order"))
}

// moved returns how often a partition has changed hands.
func (w *world) moved() (n int64) {
	for _, p := range w.sharing().Partitions {
		n += p.Epoch
	}
	return n
}

// verify fails when Verify finds anything.
func (w *world) verify() {
	w.t.Helper()
	var modules []process.Module
	for _, m := range w.order {
		modules = append(modules, process.Module{Name: m, Log: w.logs[m], Types: w.types[m]})
	}
	for p, err := range process.VerifyWith(context.Background(), modules, []*process.Engine{w.engine()}, nil) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Errorf("verify: %s: %s", p.Where, p.What)
	}
}

func allIdle(t *testing.T, hands ...*hand) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	for _, h := range hands {
		if err := h.WaitIdle(ctx); err != nil {
			t.Fatalf("not idle: %v; %+v\n%s", err, h.Stats(), &h.said)
		}
	}
}

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

// A run by the replay clock ends the same however many workers there are, and for all of them.
func TestReplayIsSharedByWorkers(t *testing.T) {
	run := func(t *testing.T, w *world, workers int, disturb bool) string {
		w.config.Replay = true
		w.config.Definition = process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
					do.After(time.Hour, PayDue{})
					do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty})
				}},
			process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[Paid], do *process.Step) { do.Cancel(PayDue{}) }},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
				React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) {
					do.Send(Release{ID: do.Instance()})
					do.Complete()
				}}).Otherwise(process.Ignore)
		var hands []*hand
		for range workers {
			hands = append(hands, w.hire(t))
		}
		pass(t, 5*sharePoll)
		var p *pause
		if disturb {
			p = hands[1].pauseNext()
		}
		at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
		var placed, paid []event.Event
		add := func(all *[]event.Event, module, id string, f any, at time.Time) {
			*all = append(*all, must(w.types[module].Encode(event.New(f).WithID(event.DeriveID("replay", module, id)).At(at))))
		}
		for n := range 300 {
			id, at := fmt.Sprint(n), at.Add(time.Duration(n)*time.Minute)
			add(&placed, "sales", id, OrderPlaced{id, 1}, at)
			if n%3 > 0 { // in time, or not
				add(&paid, "payments", id, Paid{id, 1}, at.Add(time.Hour+time.Duration(n%3*2-3)*time.Microsecond))
			}
		}
		must(w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "fact/sales", Events: placed}))
		pass(t, sharePoll) // sales is the home, and holds nothing back: it is read before payments has anything
		must(w.logs["payments"].Append(t.Context(), eventlog.ToStream{Stream: "fact/payments", Events: paid}))
		w.seal("sales", "payments")
		if disturb { // the others take over, from where it stood, and end only when that is done as well
			<-p.stopped
			pass(t, 2*shareTTL)
			close(p.resume)
		}
		began := time.Now()
		for _, h := range hands {
			h.running.Wait()
			if h.err != nil {
				t.Error(h.err)
			}
		}
		if took := time.Since(began); took > 5*sharePoll {
			t.Errorf("%d workers ended after %v", workers, took)
		}
		w.verify()
		return w.history(w.engine())
	}
	eachLog(t, func(t *testing.T, w *world) {
		want := run(t, newWorld(t), 1, false)
		if strings.Count(want, "→ release") < 150 {
			t.Fatalf("too few timeouts:\n%s", want)
		}
		if got := run(t, newWorld(t), 3, false); got != want {
			t.Errorf("three workers: %s", firstDifference(got, want))
		}
		w.config.Batch = 2
		if got := run(t, w, 3, true); got != want {
			t.Errorf("three workers, of which one was stopped for long: %s", firstDifference(got, want))
		}
	})
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for n := range min(len(g), len(w)) {
		if g[n] != w[n] {
			return fmt.Sprintf("got\n%s\nwant\n%s", g[n], w[n])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
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
