package process_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// storyLease is how long a worker of a story that vanished keeps its partitions.
const storyLease = 15 * time.Minute

// story is the world of a scenario: the logs, which outlive the workers, and what the scenario's words change.
type story struct {
	t       *testing.T
	began   time.Time
	order   []string // of the modules
	logs    map[string]*memlog.Log
	types   map[string]*event.Registry
	name    string // of the process
	home    string // its home module
	config  process.Config
	workers map[string]*hireling
	names   []string // of the workers, in the order in which they came
	events  int      // that the scenario appended
	renamed bool     // the command reserve has another name
	short   map[string]string

	mu      sync.Mutex // of what follows, which workers ask as well
	trace   *trace
	broken  map[[2]string]bool  // by instance and input
	faults  map[string]*fault   // by command, or by command and what it is about: the next calls of its handler
	rejects map[string]string   // by command: the code of its rejection
	sent    map[event.ID]string // the instance of each command
	decided atomic.Int64        // steps in which a process was asked what to do
	given   *atomic.Bool        // the scenario was given up: everything in it ends
}

func newStory(t *testing.T, given *atomic.Bool) *story {
	s := &story{t: t, given: given, began: time.Now(), logs: map[string]*memlog.Log{}, workers: map[string]*hireling{}, short: map[string]string{},
		broken: map[[2]string]bool{}, faults: map[string]*fault{}, rejects: map[string]string{}, sent: map[event.ID]string{}}
	s.order, s.types = modulesOfStories()
	for _, m := range s.order {
		s.logs[m] = memlog.New()
	}
	s.trace = newTrace(s)
	return s
}

// end stops what still runs.
func (s *story) end() {
	for _, f := range s.faults {
		f.goOn()
	}
	for _, name := range s.names {
		s.workers[name].leave()
	}
}

// do plays one command of the scenario.
func (s *story) do(d *datadriven.TestData) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = e
		}
	}()
	v, ok := verbs[d.Cmd]
	if !ok {
		return "", fmt.Errorf("there is no word %q; these are known: %s", d.Cmd, strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	if s.name == "" && d.Cmd != "process" {
		return "", errors.New("a scenario begins with: process NAME")
	}
	text = v(s, words{d})
	return s.shorten(text), nil
}

var longID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// shorten gives every id a number, in the order in which a reader meets them.
func (s *story) shorten(text string) string {
	return longID.ReplaceAllStringFunc(text, func(id string) string {
		if s.short[id] == "" {
			s.short[id] = fmt.Sprintf("#%d", len(s.short)+1)
		}
		return s.short[id]
	})
}

// settle waits until everything that was started has ended, and returns what happened meanwhile.
func (s *story) settle() string {
	rounds := 0
	for quiet := 0; quiet < 3; {
		if rounds++; rounds > mostRounds || s.given.Load() {
			panic(errors.New("the scenario does not come to rest: something goes on happening"))
		}
		before := s.trace.length()
		s.pass(10 * time.Millisecond) // a command is a moment on its way
		if quiet++; s.trace.length() > before {
			quiet = 0
		}
	}
	return s.told()
}

// mostRounds is how long a scenario takes to come to rest at most, in moments of ten milliseconds.
const mostRounds = 1000

// idle is what is told when nothing happened.
const idle = "nothing happens"

// told returns what happened since it was last asked.
func (s *story) told() string {
	for _, name := range s.names {
		s.workers[name].recognised()
	}
	text := s.trace.take(len(s.names) > 1)
	if text != "" {
		return text
	}
	for _, name := range s.names {
		if s.workers[name].runs() {
			return idle
		}
	}
	return idle + ": no worker runs"
}

// pass lets virtual time pass.
func (s *story) pass(d time.Duration) {
	synctest.Wait()
	if err := consumer.Sleep(context.Background(), d); err != nil {
		panic(err)
	}
	synctest.Wait()
}

// clock shows an instant as the time since the scenario began.
func (s *story) clock(at time.Time) string {
	minutes := int(at.Sub(s.began).Minutes())
	days := minutes / (24 * 60)
	text := fmt.Sprintf("%02d:%02d", minutes/60%24, minutes%60)
	if days > 0 {
		text = fmt.Sprintf("%dd+%s", days, text)
	}
	return text
}

// trouble panics where a scenario has broken the definition for an instance and an input.
func (s *story) trouble(instance, input string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken[[2]string{instance, input}] {
		panic("a bug in the definition")
	}
}

// handling is what every handler of a command does: it appends an event, unless a scenario has it fail or refuse.
func (s *story) handling(name string, w *aggregate.Work, stream string, fact any, what ...string) error {
	for _, key := range []string{name, strings.Join(append([]string{name}, what...), " ")} {
		if err := s.fault(key).meet(); err != nil {
			return err
		}
		s.mu.Lock()
		code := s.rejects[key]
		s.mu.Unlock()
		if code != "" {
			return command.Reject(code, "not now")
		}
	}
	return w.Append(stream, eventlog.Any, fact)
}

// decides counts that a process was asked what to do: reading history never does.
func (s *story) decides() { s.decided.Add(1) }

// engine makes an engine on the logs as a worker sees them.
func (s *story) engine(cfg process.Config, home func(eventlog.Log) eventlog.Log, bus *storyBus) (*process.Engine, error) {
	for _, m := range s.order {
		var l eventlog.Log = s.logs[m]
		if m == s.home {
			l = home(l)
		}
		cfg.Modules = append(cfg.Modules, process.Module{Name: m, Log: l, Types: s.types[m]})
	}
	cfg.Commands = bus
	return process.NewEngine(cfg)
}

// reader returns an engine that never runs, to read with.
func (s *story) reader() (*process.Engine, error) {
	log := func(m string) eventlog.Log { return s.logs[m] }
	return s.engine(s.config, func(l eventlog.Log) eventlog.Log { return l }, newStoryBus(s, log))
}

func (s *story) homeLog() *memlog.Log { return s.logs[s.home] }

// words are a command of a scenario.
type words struct{ *datadriven.TestData }

// at returns the n-th word behind the command that has no value, or "".
func (w words) at(n int) string {
	for _, a := range w.CmdArgs {
		if len(a.Vals) == 0 {
			if n == 0 {
				return a.Key
			}
			n--
		}
	}
	return ""
}

// need is at, and an error where there is no such word.
func (w words) need(n int, what string) string {
	v := w.at(n)
	if v == "" {
		panic(fmt.Errorf("%s: it needs %s", w.Cmd, what))
	}
	return v
}

// value returns the value of name=value, or "".
func (w words) value(name string) string {
	if a, ok := w.Arg(name); ok && len(a.Vals) == 1 {
		return a.Vals[0]
	}
	return ""
}

// number is value as a number; 0 where there is none.
func (w words) number(name string) int {
	n := 0
	if v := w.value(name); v != "" {
		if _, err := fmt.Sscanf(v, "%d", &n); err != nil {
			panic(fmt.Errorf("%s: %s=%s is no number", w.Cmd, name, v))
		}
	}
	return n
}

// policy is value as a policy; 0 where there is none.
func (w words) policy(name string) (p process.Policy) {
	if v := w.value(name); v != "" {
		if err := p.UnmarshalText([]byte(v)); err != nil {
			panic(err)
		}
	}
	return p
}
