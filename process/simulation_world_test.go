package process

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// simulation runs the engine in one goroutine, one action after the other: whatever runs beside the loop otherwise (the
// readers of the sources, the dispatcher's workers, its back-off) is an action that chance chooses, as are crashes, lost
// answers, pauses, and time. The code is that of the engine; what is simulated is the world.
type simulation struct {
	options   simOptions
	rng       *rand.Rand
	clock     time.Time
	many      int // instances that run at a time, about
	logs      map[string]eventlog.Log
	types     map[string]*event.Registry
	receivers map[string]*command.Bus
	cfg       Config
	bounds    Deferral
	read      atOnce
	workers   []*simWorker // those that live
	made      int          // workers made so far
	asked     int          // requests of operators made so far
	numbered  int          // events made so far
	strays    []simStray
	trouble   map[string]int // failures to come, by instance
	silent    int            // so many answers of receivers are lost
	weights   []int          // of the actions
	oracle    *oracle
	calm      bool // nothing goes wrong any more
	stopped   bool // a worker is stopped in the middle of a turn

	did    int
	trace  []string
	hashed uint64
}

// simOptions are what a simulation follows from.
type simOptions struct {
	seed    uint64
	actions int
	without map[string]bool // actions that never happen: a failure that needs few of them is easier to read
}

const simTTL = 30 * time.Second

var simStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func newSimulation(o simOptions) *simulation {
	s := &simulation{options: o, rng: rand.New(rand.NewPCG(o.seed, 0)), clock: simStart, types: simTypes(), logs: map[string]eventlog.Log{}, trouble: map[string]int{}}
	now := func() time.Time { return s.clock }
	for _, m := range simModules {
		s.logs[m] = memlog.Options{Now: now}.New()
	}
	s.receivers = simReceivers(s.logs, s.types, now, s.refusesUndo)
	s.many = 1 + s.rng.IntN(6)
	s.read = atOnce{events: 1 + s.rng.IntN(8), timers: 1 + s.rng.IntN(4)}
	s.bounds = s.simBounds()
	s.cfg = Config{Definition: simDefinition(s.fails, s.bounds), Home: "home", Commands: simCommands{s}, Partitions: 1 + s.rng.IntN(4), Batch: 1 + s.rng.IntN(12), Cache: []int{2, 8, 100}[s.rng.IntN(3)],
		Retry: Retry{Attempts: 3, Dispatch: []int{0, 2, 4}[s.rng.IntN(3)], Backoff: consumer.Backoff{First: time.Second, Most: 4 * time.Second, Random: func(n int64) int64 { return n / 2 }}},
		Lease: consumer.LeaseOptions{TTL: simTTL, Now: now}, Now: now, Logger: slog.New(slog.DiscardHandler)}
	if s.rng.IntN(3) == 0 {
		s.cfg.Store = Documents{}
	}
	for _, a := range simActions {
		weight := a.weight
		if a.trouble { // how much of what goes wrong is different in each simulation, and some of it doesn't happen at all
			weight = weight * s.rng.IntN(4) / 2
		}
		if o.without[a.name] {
			weight = 0
		}
		s.weights = append(s.weights, weight)
	}
	s.oracle = newOracle(s)
	s.start()
	return s
}

// key returns the key of some instance: mostly one of those that began not long ago.
func (s *simulation) key() string {
	generation := max(s.did/150-s.rng.IntN(2)*s.rng.IntN(3), 0)
	return fmt.Sprintf("k%d%s", s.rng.IntN(s.many), strings.Repeat("'", generation))
}

func (s *simulation) log(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%4d  %8v  ", s.did, s.clock.Sub(simStart))+fmt.Sprintf(format, args...))
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s", s.hashed, s.trace[len(s.trace)-1])
	s.hashed = h.Sum64()
}

// run does so many actions, and then lets everything come to rest. The error is what the oracle found.
func (s *simulation) run() error {
	for s.did = 0; s.did < s.options.actions && s.oracle.wrong == nil; s.did++ {
		s.act()
		s.oracle.look()
	}
	if s.oracle.wrong == nil {
		s.rest()
	}
	return s.oracle.wrong
}

// act does one action. One that is not possible now is replaced by another.
func (s *simulation) act() {
	total := 0
	for _, w := range s.weights {
		total += w
	}
	for range 20 {
		n, k := s.rng.IntN(total), 0
		for n >= s.weights[k] {
			n -= s.weights[k]
			k++
		}
		if what := simActions[k].do(s); what != "" {
			s.log("%s", what)
			break
		}
	}
	for _, w := range s.workers {
		w.asleep = max(w.asleep-1, 0)
	}
}

// simAction is something that may happen next. It tells what happened, or nothing where it wasn't possible.
type simAction struct {
	name    string
	weight  int
	trouble bool
	do      func(*simulation) string
}

var simActions = []simAction{
	{"event", 14, false, (*simulation).happen},
	{"read", 10, false, (*simulation).readPage},
	{"turn", 40, false, (*simulation).work},
	{"dispatch", 20, false, (*simulation).take},
	{"deliver", 20, false, (*simulation).deliver},
	{"later", 10, false, (*simulation).later},
	{"time", 8, false, (*simulation).pass},
	{"look", 4, false, (*simulation).compare},
	{"renew", 4, false, (*simulation).renew},
	{"start", 4, false, func(s *simulation) string { return s.start() }},
	{"fault", 3, true, (*simulation).spoil},
	{"stray", 6, true, (*simulation).stray},
	{"crash", 1, true, (*simulation).crash},
	{"pause", 1, true, (*simulation).pause},
	{"lose cursors", 1, true, (*simulation).loseCursors},
	{"failing step", 3, true, (*simulation).spoilStep},
	{"silence", 2, true, (*simulation).silence},
	{"leave", 1, true, (*simulation).leave},
	{"operator", 5, false, (*simulation).operate},
	// An export and import come here.
}

// happen appends events to some module.
func (s *simulation) happen() string {
	var said []string
	for range 1 + s.rng.IntN(3) {
		module, fact := s.fact()
		e, err := s.types[module].Encode(fact)
		if err != nil {
			panic(err)
		}
		e.ID = event.DeriveID("event", fmt.Sprint(s.options.seed), fmt.Sprint(s.numbered))
		if _, err := s.logs[module].Append(context.Background(), eventlog.ToStream{Stream: "fact/" + module, Events: []event.Event{e}}); err != nil {
			panic(err)
		}
		said = append(said, fmt.Sprintf("%s: %s%v", module, e.Type, fact))
	}
	return strings.Join(said, ", ")
}

func (s *simulation) pass() string {
	d := time.Duration(s.rng.IntN(4)) * 500 * time.Millisecond
	if s.rng.IntN(24) == 0 {
		d = time.Duration(s.rng.IntN(2*int(simTTL/time.Second))) * time.Second
	}
	s.clock = s.clock.Add(d)
	return fmt.Sprint("time passes: ", d)
}
