package process_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
)

// hostileOrder has phases, deferrals, claims, timeouts that are replaced, and events that concern several. Trouble tells
// whether a step on an input fails.
func hostileOrder(trouble func(key, what string) bool) process.Definition {
	const quiet, loud process.Phase = "quiet", "loud"
	saw := func(s OrderRun, what string) OrderRun { s.Inputs = append(slices.Clone(s.Inputs), what); return s }
	react := func(what string, do *process.Step) {
		if trouble(do.Instance(), what) {
			do.Fail(errors.New("trouble with " + what))
		}
		do.Cancel(PayDue{})
		do.After(time.Minute, PayDue{})
	}
	number := func(e Noted) string { return e.ID[max(0, strings.LastIndexByte(e.ID, '#')):] }
	return process.Define("order",
		process.Phases(func(s OrderRun) process.Phase {
			if s.Cents%2 == 1 {
				return loud
			}
			return quiet
		}, quiet, loud),
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[OrderPlaced]) OrderRun {
				return saw(s, fmt.Sprint("placed ", in.Event.Qty))
			},
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				react(fmt.Sprint("placed ", in.Event.Qty), do)
				if in.Event.Qty%3 == 0 {
					do.Correlate("line", fmt.Sprint(in.Event.Qty%2))
				}
				if in.Event.Qty%3 == 1 {
					do.Release("line", fmt.Sprint(in.Event.Qty%2))
				}
			}},
		process.OnTaken[OrderRun]{Name: "line", Evolve: func(s OrderRun, _ process.Input[process.ClaimTaken]) OrderRun { return s }},
		process.On[OrderRun, OrderClosed]{NoInstance: process.Defer, Locate: process.Claimed("line", func(e OrderClosed) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[OrderClosed]) OrderRun { return saw(s, "closed "+in.Event.How) },
			React:  func(_ OrderRun, in process.Input[OrderClosed], do *process.Step) { react("closed "+in.Event.How, do) }},
		process.On[OrderRun, Paid]{NoInstance: process.Defer, Locate: process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				s.Cents++
				return saw(s, fmt.Sprint("paid ", in.Event.Cents))
			},
			React: func(_ OrderRun, in process.Input[Paid], do *process.Step) {
				react(fmt.Sprint("paid ", in.Event.Cents), do)
			}},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, In: []process.Phase{quiet}, Defer: []process.Phase{loud},
			Locate: process.Keys(func(e Noted) []string { f := strings.Fields(e.ID); return f[:len(f)-1] }),
			Evolve: func(s OrderRun, in process.Input[Noted]) OrderRun { return saw(s, "noted "+number(in.Event)) },
			React:  func(_ OrderRun, in process.Input[Noted], do *process.Step) { react("noted "+number(in.Event), do) }},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
			Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { s.Notes++; return s },
			React: func(s OrderRun, _ process.Input[PayDue], do *process.Step) {
				if trouble(do.Instance(), fmt.Sprint("due ", s.Notes)) {
					do.Fail(errors.New("trouble"))
				}
				if s.Notes > 3 {
					do.Complete()
				}
			}},
	).Otherwise(process.Ignore)
}

// Events arrive while operators hold, resume, skip, replace and cancel, appends fail, answers are lost and cursors are:
// every event is accounted for, and none is taken twice. ENSUE_HOSTILE=200 tries more.
func TestG8_G9_OperatorsAmongTrouble(t *testing.T) {
	seeds := must(strconv.ParseUint(cmp.Or(os.Getenv("ENSUE_HOSTILE"), fmt.Sprint(raced.Fewer(6))), 10, 64))
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { hostile(t, seed) })
		})
	}
}

func hostile(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // chance that repeats itself
	w := newWorld(t)
	if seed%2 == 1 {
		w.config.Store = process.Documents{}
	}
	w.config.Partitions, w.config.Batch, w.config.Retry.Attempts = 1+random.IntN(4), 1+random.IntN(6), 2
	var ahead atomic.Int64
	w.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	broken := true
	w.config.Definition = hostileOrder(func(key, what string) bool {
		return broken && (len(what)+int(what[len(what)-1])+int(key[0]))%4 == 0
	})
	keys := []string{"a", "b", "c"}
	key := func() string { return keys[random.IntN(len(keys))] }
	n := 0
	for range 12 {
		for range random.IntN(8) {
			n++
			switch random.IntN(4) {
			case 0:
				w.record("sales", OrderPlaced{key(), n})
			case 1:
				w.record("payments", Paid{key(), n})
			case 2:
				w.record("payments", Noted{fmt.Sprintf("%s %s #%d", key(), key(), n)})
			case 3:
				w.record("sales", OrderClosed{fmt.Sprint(random.IntN(2)), fmt.Sprint(n)})
			}
		}
		if random.IntN(3) == 0 {
			ahead.Add(int64(time.Minute))
		}
		if random.IntN(5) == 0 && len(w.entries(eventlog.Cursor)) > 0 {
			w.loseCursors()
		}
		one := 2 + random.IntN(6)
		flaky := rand.New(rand.NewPCG(seed, uint64(n))) //nolint:gosec // as above
		w.log = func(m string, l eventlog.Log) eventlog.Log {
			return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
				trouble := 0
				if m == "sales" {
					trouble = flaky.IntN(one)
				}
				if trouble == 1 && flaky.IntN(3) == 0 {
					return eventlog.Appended{}, errCrash
				}
				done, err := l.Append(ctx, writes...)
				if trouble == 2 && err == nil && flaky.IntN(3) == 0 {
					return eventlog.Appended{}, errCrash
				}
				return done, err
			}}
		}
		w.patient(w.engine(), func(context.Context) {})
		action := []process.Action{process.ActHold, process.ActResume, process.ActSkip, process.ActReplace, process.ActCancel}[random.IntN(5)]
		if action == process.ActCancel && random.IntN(3) > 0 {
			continue
		}
		r := process.Request{Action: action, Instance: key(), Reason: "by chance"}
		if action == process.ActReplace {
			r.Data = []byte(`{"ID":"` + r.Instance + `","Cents":1000}`)
		}
		e := w.engine()
		w.patient(e, func(ctx context.Context) {
			r.Progress = func(int, int) { e.Notice() }
			if _, err := process.Operate(ctx, w.logs["sales"], "order", r); err != nil {
				t.Errorf("%s: %v", action, err)
			}
		})
	}
	w.log = nil
	broken = false
	for range 3 {
		w.operate(process.Request{Action: process.ActResume, All: true}, nil)
	}
	w.loseCursors()
	w.run()
	for _, h := range w.holds() {
		if h.Condition != process.Waiting {
			t.Errorf("left: %+v", h)
		}
	}
	for _, k := range keys {
		s, _ := w.state(k)
		slices.Sort(s.Inputs)
		s.Inputs = slices.DeleteFunc(s.Inputs, func(what string) bool { return what == "paid 1000" || what == "placed 0" || what == "closed " }) // replaced
		if all := len(s.Inputs); len(slices.Compact(s.Inputs)) < all {
			t.Errorf("%s took something twice: %q", k, s.Inputs)
		}
	}
	w.verify()
}

// patient runs an engine, which may lose its lease again and again, while do runs and until it is idle.
func (w *world) patient(e *process.Engine, do func(ctx context.Context)) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	run, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = e.Run(run) })
	do(ctx)
	if err := e.WaitIdle(ctx); err != nil {
		w.t.Errorf("not idle: %v; %+v; holds %+v", err, e.Stats(), w.holds())
	}
	end()
	running.Wait()
	if err != nil {
		w.t.Error(err)
	}
}
