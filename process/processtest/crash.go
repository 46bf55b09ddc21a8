package processtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/faultlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// Story is a program with all that happens to it, for CrashEverywhere.
type Story struct {
	// Run is one life of the program, from its start until nothing is left to do: it opens the application on the program's
	// logs (Program.Log), lets happen what happens, waits until all is idle, and closes. When the program crashes, the context
	// ends, and Run is to return; then it is called again, on what the logs hold, and does the same again. So everything that
	// it lets happen needs an identity of its own: facts by event.Draft.WithID, commands by command.WithID.
	Run func(ctx context.Context, p *Program) error

	// Logs makes the empty logs of one run, and has t clean them up; it is asked once for each module. Default: memlog.
	Logs func(t *testing.T) func(module string) eventlog.Log

	// RealTime says that the logs cannot live inside a bubble of testing/synctest: what they wait for is outside of the program,
	// as a server is. Program.Until and Program.Now then move a clock of the story's own, which the application must be given.
	RealTime bool

	// OrderFree says that nothing in the story depends on an order that nobody promises (that between logs, between a command's
	// outcome and the events that it caused, between commands of different instances), because there is none or because the
	// replay clock decides. Then the whole history must be that of the run without a crash, and every stream in its order.
	OrderFree bool

	Sample int             // so many crashes, picked by Seed, instead of one before and one after every operation
	Twice  int             // so many runs more, picked by Seed, that crash a second time while they recover
	Seed   uint64          // of what is picked
	Only   []faultlog.Plan // these lives alone, one after the other, to look at a failure; the last one is followed by one without a crash
}

// CrashEverywhere runs a story once without a crash, and then once for each side of every operation that it does on a
// log, and of every dispatch of a command: it crashes there, is started again on the same logs, and must come to the same
// end. What must be equal are, for every instance of every process, its inputs from each source in that source's order,
// the commands that it sent, by id and payload, with one outcome and one effect each, its timeouts, its state (where
// Program.Engine was told of the process) and its status; the events of every module; whatever Program.Note was told;
// and nothing in the logs may contradict itself (process.Verify). See Story.OrderFree for the order.
//
// Time is virtual: every run is in a bubble of testing/synctest, in which hours pass at once (but see Story.RealTime). The
// runs are spread over GOMAXPROCS parallel subtests.
func CrashEverywhere(t *testing.T, s Story) {
	t.Helper()
	e := explorer{story: s}
	if s.Run == nil {
		t.Fatal("processtest: the story has no Run")
	}
	if !t.Run("without a crash", e.learn) {
		return
	}
	lives := e.lives()
	next := make(chan []faultlog.Plan, len(lives))
	for _, plans := range lives {
		next <- plans
	}
	close(next)
	began := time.Now()
	t.Run("crashes", func(t *testing.T) {
		for n := range min(runtime.GOMAXPROCS(0), len(lives)) {
			t.Run(fmt.Sprint("worker ", n+1), func(t *testing.T) {
				t.Parallel()
				for plans := range next {
					if text := e.compare(t, plans); text != "" {
						t.Error(text)
						e.failed.Add(1)
					}
					if e.failed.Load() >= mostFailures {
						return
					}
				}
			})
		}
	})
	t.Logf("%d runs, of which %d crashed, in %v; without a crash it does %d operations", len(lives), e.crashed.Load(), time.Since(began).Round(time.Millisecond), e.operations)
}

// mostFailures is how many runs may differ before the others are not made.
const mostFailures = 3

// explorer tries a story in many ways.
type explorer struct {
	story      Story
	want       *End
	operations int
	calls      int
	failed     atomic.Int64
	crashed    atomic.Int64
}

// learn runs the story twice without a crash, to know its end, and that it has one.
func (e *explorer) learn(t *testing.T) {
	first := e.run(t, []faultlog.Plan{{Most: 1_000_000}})
	if first.err != nil {
		t.Fatal(first.err)
	}
	second := e.run(t, []faultlog.Plan{{Most: 1_000_000}})
	if second.err != nil {
		t.Fatal(second.err)
	}
	if text := first.seen.Differences(second.seen); text != "" {
		t.Fatalf("two runs without a crash differ: something in the story is not determined. Facts need ids of their own (event.Draft.WithID), what happens from outside waits for Program.While's idle, and what depends on the order between logs is not compared unless OrderFree says so\n%s", text)
	}
	first.seen.Agree(second.seen)
	e.want, e.operations = first.seen, max(first.operations, second.operations)
	e.calls = max(first.calls, second.calls)
	if problems := e.want.wrong; len(problems) > 0 {
		t.Fatalf("a run without a crash ends in what cannot be:\n\t%s", strings.Join(problems, "\n\t"))
	}
}

// lives returns where the runs crash.
func (e *explorer) lives() [][]faultlog.Plan {
	s := &e.story
	if len(s.Only) > 0 {
		return [][]faultlog.Plan{s.Only}
	}
	random := rand.New(rand.NewPCG(s.Seed, 6)) // #nosec G404 -- meant to be repeatable
	var all [][]faultlog.Plan
	for n := range e.operations {
		for _, when := range []faultlog.Moment{faultlog.Before, faultlog.After} {
			all = append(all, []faultlog.Plan{{At: n + 1, When: when}})
		}
	}
	if s.Sample > 0 && s.Sample < len(all) {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:s.Sample]
	}
	any := func() faultlog.Plan {
		return faultlog.Plan{At: 1 + random.IntN(e.operations), When: faultlog.Moment(random.IntN(2))} // #nosec G115 -- 0 or 1
	}
	for range s.Twice {
		second := any()
		second.At = 1 + second.At/2 // a life that begins later has less to do
		all = append(all, []faultlog.Plan{any(), second})
	}
	return all
}

// compare runs the story with crashes, and tells what is other than without.
func (e *explorer) compare(t *testing.T, plans []faultlog.Plan) string {
	plans = append(slices.Clone(plans), faultlog.Plan{})
	for n := range plans {
		plans[n].Most = 20*e.calls + 2000
	}
	got := e.run(t, plans)
	if len(got.crashes) > 0 {
		e.crashed.Add(1)
	}
	var text string
	switch {
	case got.err != nil:
		text = fmt.Sprintf("it then fails: %v", got.err)
	default:
		if text = e.want.Differences(got.seen); text != "" {
			text = "it does not come to the same end\n" + text
		}
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf("crashed %s: %s", strings.Join(got.crashes, ", and then "), text)
}

// ending is what became of a run.
type ending struct {
	seen       *End
	operations int // of its last life
	calls      int
	crashes    []string // where
	err        error
}

// run runs the story through several lives, until one of them ends by itself.
func (e *explorer) run(t *testing.T, plans []faultlog.Plan) (end ending) {
	t.Helper()
	if e.story.RealTime {
		t.Run("run", func(t *testing.T) { end = e.story.live(t, plans, time.Minute) }) // so that its logs are cleaned up
		return end
	}
	synctest.Test(t, func(t *testing.T) { end = e.story.live(t, plans, 100*365*24*time.Hour) })
	return end
}

// live is run, where time is as it must be.
func (s *Story) live(t *testing.T, plans []faultlog.Plan, patience time.Duration) (end ending) {
	w := newStage(t, s)
	all, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("it does not come to rest within %v", patience))
	defer cancel()
	var crashed []*End // what the lives before left
	for _, plan := range plans {
		life := plan.Begin()
		ctx, release := life.Context(all)
		p := &Program{stage: w, life: life, Worker: w.worker, Lease: w.lease}
		err := s.Run(ctx, p)
		release()
		end.operations, end.calls = life.Operations(), life.Calls()
		op, dead := life.Crashed()
		switch {
		case dead && plan.Most > 0 && life.Calls() > plan.Most:
			end.err = fmt.Errorf("it does not come to rest: after %d calls of logs it goes on with %s of %s: %s", plan.Most, op.Kind, op.Where, op.What)
			return end
		case dead:
			end.crashes = append(end.crashes, fmt.Sprintf("%v %v", plan.When, op))
			left, err := readEnd(all, w.logs, false, nil)
			if err == nil && len(left.wrong) > 0 {
				err = fmt.Errorf("what the crash left contradicts itself:\n\t%s", strings.Join(left.wrong, "\n\t"))
			}
			if err != nil {
				end.err = err
				return end
			}
			crashed = append(crashed, left)
			continue
		case err != nil:
			end.err = err
			if cause := context.Cause(all); cause != nil {
				end.err = errors.Join(cause, err)
			}
			return end
		}
		life.Retire()
		if end.seen, end.err = w.observe(all, p); end.err == nil {
			for _, left := range crashed {
				end.seen.early(left)
			}
		}
		return end
	}
	end.err = errors.New("its last life crashes as well")
	return end
}

// stage is where a run takes place: what outlives the program.
type stage struct {
	story  *Story
	worker event.ID
	lease  time.Duration
	began  time.Time
	make   func(module string) eventlog.Log

	mu    sync.Mutex
	logs  map[string]eventlog.Log
	ahead time.Duration // of a story's own clock, before the real one
}

func newStage(t *testing.T, s *Story) *stage {
	w := &stage{story: s, worker: event.NewID(), lease: 300 * 24 * time.Hour, logs: map[string]eventlog.Log{}, began: time.Now()}
	if s.RealTime {
		w.lease = 300 * time.Millisecond // in a fifteenth of it, the engine sees that the clock was moved
	}
	if s.Logs != nil {
		w.make = s.Logs(t)
	} else {
		w.make = func(string) eventlog.Log { return memlog.New() }
	}
	return w
}
