package process

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
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
	read      atOnce
	workers   []*simWorker // those that live
	made      int          // workers made so far
	numbered  int          // events made so far
	strays    []simStray
	trouble   map[string]int // failures to come, by instance
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

// simWorker is one program that runs the process.
type simWorker struct {
	name    string
	id      event.ID
	w       *worker
	joined  bool
	t       *term                        // nil between terms
	at      map[string]eventlog.Position // by source: read up to there in this term
	flights []pending                    // commands on their way, from its dispatcher
	later   []func()                     // of its dispatcher
	asleep  int                          // it is paused for so many actions
	fault   simFault                     // of its next append
	turning bool                         // it takes a turn
	did     bool                         // its last turn did something, and there may be more
	crashed bool
}

// simStray is a delivery of a command that the sender has given up waiting for. It still arrives.
type simStray struct {
	module string
	c      command.Envelope
	first  bool
}

type simFault int

const (
	simRefused     simFault = 1 // the append fails
	simAnswerLost  simFault = 2 // it succeeds, and nobody hears of it
	simCrashBefore simFault = 3
	simCrashAfter  simFault = 4
)

var errSim = errors.New("simulated trouble")

const simTTL = 30 * time.Second

var simStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// simLog is the home log as one worker reaches it.
type simLog struct {
	*memlog.Log
	s *simulation
	w *simWorker
}

// Append fails as it was decided, and shows the oracle what was appended.
func (l simLog) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if l.w.turning {
		l.s.meanwhile(l.w)
	}
	fault := l.w.fault
	l.w.fault = 0
	l.w.crashed = fault == simCrashBefore || fault == simCrashAfter
	if fault == simRefused || fault == simCrashBefore {
		return eventlog.Appended{}, errSim
	}
	done, err := l.Log.Append(ctx, writes...)
	if err == nil && !done.Repeat { // a repeat writes nothing
		l.s.oracle.appended(l.w, writes)
	}
	if err == nil && fault != 0 {
		return eventlog.Appended{}, errSim
	}
	return done, err
}

func newSimulation(o simOptions) *simulation {
	s := &simulation{options: o, rng: rand.New(rand.NewPCG(o.seed, 0)), clock: simStart, types: simTypes(), logs: map[string]eventlog.Log{}, trouble: map[string]int{}}
	now := func() time.Time { return s.clock }
	for _, m := range simModules {
		s.logs[m] = memlog.Options{Now: now}.New()
	}
	s.receivers = simReceivers(s.logs, s.types, now)
	s.many = 1 + s.rng.IntN(6)
	s.read = atOnce{events: 1 + s.rng.IntN(8), timers: 1 + s.rng.IntN(4)}
	s.cfg = Config{Definition: simDefinition(s.fails), Home: "home", Commands: simCommands{s}, Partitions: 1 + s.rng.IntN(4), Batch: 1 + s.rng.IntN(12), Cache: []int{2, 8, 100}[s.rng.IntN(3)],
		Retry: Retry{Attempts: 3, Backoff: consumer.Backoff{First: time.Second, Most: 4 * time.Second, Random: func(n int64) int64 { return n / 2 }}},
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

// fails is what every step asks.
func (s *simulation) fails(instance string) error {
	if s.trouble[instance] == 0 {
		return nil
	}
	s.trouble[instance]--
	return errSim
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
	{"event", 12, false, (*simulation).happen},
	{"read", 30, false, (*simulation).readPage},
	{"turn", 40, false, func(s *simulation) string { return s.with(func(w *simWorker) string { return s.turn(w) }) }},
	{"dispatch", 20, false, (*simulation).take},
	{"deliver", 20, false, (*simulation).deliver},
	{"later", 10, false, (*simulation).later},
	{"time", 14, false, (*simulation).pass},
	{"look", 4, false, (*simulation).compare},
	{"renew", 4, false, (*simulation).renew},
	{"start", 4, false, func(s *simulation) string { return s.start() }},
	{"fault", 8, true, (*simulation).spoil},
	{"stray", 6, true, (*simulation).stray},
	{"crash", 2, true, (*simulation).crash},
	{"pause", 3, true, (*simulation).pause},
	{"lose cursors", 2, true, (*simulation).loseCursors},
	{"failing step", 3, true, (*simulation).spoilStep},
	{"leave", 1, true, (*simulation).leave},
	// An operator's resume, skip, replace and cancel, an export and import, and a deadline come here.
}

// with lets a worker do something that is awake.
func (s *simulation) with(do func(*simWorker) string) string {
	if len(s.workers) == 0 {
		return ""
	}
	w := s.workers[s.rng.IntN(len(s.workers))]
	if w.asleep > 0 {
		return ""
	}
	what := do(w)
	if what == "" {
		return ""
	}
	if w.crashed {
		s.bury(w)
		what += ", and crashes"
	}
	return w.name + " " + what
}

// running is with for a worker that has a term.
func (s *simulation) running(do func(*simWorker) string) string {
	return s.with(func(w *simWorker) string {
		if w.t == nil {
			return ""
		}
		return do(w)
	})
}

func (s *simulation) bury(w *simWorker) {
	for _, p := range w.flights { // they are on their way already
		s.strays = append(s.strays, simStray{p.sent.Module, p.sent.envelope(), p.first && p.attempts == 0})
	}
	s.workers = slices.DeleteFunc(s.workers, func(x *simWorker) bool { return x == w })
	s.oracle.gone(w)
}

// meanwhile is what happens between what a worker decided in a turn and its append: its dispatcher goes on and, now and
// then, it is stopped for so long that others take over.
func (s *simulation) meanwhile(w *simWorker) {
	d := w.t.dispatch
	if len(d.ready) > 0 && s.rng.IntN(3) == 0 {
		p, _ := d.next()
		s.log("      meanwhile %s has %s %d of %s handled", w.name, p.sent.Type, p.sent.Number, p.instance)
		out, err := simCommands{s}.Dispatch(context.Background(), p.sent.Module, p.sent.envelope(), p.first && p.attempts == 0)
		d.answered(context.Background(), p, out, err)
	}
	if s.calm || s.stopped || s.options.without["pause"] || s.rng.IntN(60) > 0 {
		return
	}
	s.stopped, w.asleep = true, math.MaxInt
	s.clock = s.clock.Add(simTTL + time.Second)
	s.log("      %s is stopped before its append, past its lease", w.name)
	for range 40 {
		s.act()
		s.oracle.look()
	}
	s.log("      %s goes on with its append", w.name)
	s.stopped, w.asleep = false, 0
}

func (s *simulation) start() string {
	if len(s.workers) >= 3 {
		return ""
	}
	w := &simWorker{name: fmt.Sprint("w", s.made)}
	w.id = event.DeriveID("worker", w.name)
	s.made++
	cfg := s.cfg
	for _, m := range simModules {
		log := s.logs[m]
		if m == "home" {
			log = simLog{log.(*memlog.Log), s, w}
		}
		cfg.Modules = append(cfg.Modules, Module{Name: m, Log: log, Types: s.types[m]})
	}
	cfg.Lease.Worker = w.id
	e, err := NewEngine(cfg)
	if err != nil {
		panic(err)
	}
	e.read = s.read
	w.w = &worker{Engine: e, member: consumer.NewMember(e.home.Log, shareKey("sim"), e.cfg.Partitions, e.cfg.Lease)}
	s.workers = append(s.workers, w)
	return w.name + " is started"
}

// turn takes a worker one step further: it joins, takes partitions, or takes a turn.
func (s *simulation) turn(w *simWorker) string {
	ctx := context.Background()
	if !w.joined {
		s.oracle.joining = w
		err := w.w.join(ctx)
		s.oracle.joining = nil
		w.joined = err == nil
		return "joins" + s.trouble0(w, err)
	}
	if w.t == nil {
		d, err := w.w.claim(ctx)
		if err != nil {
			return "claims" + s.broken(w, err)
		}
		owned := w.w.member.Owned()
		if len(owned) == 0 {
			return "finds no free partition"
		}
		t := w.w.newTerm(d)
		if err := t.restore(ctx); err != nil {
			return "begins" + s.broken(w, err)
		}
		w.t, w.at, w.flights, w.later = t, map[string]eventlog.Position{}, nil, nil
		t.dispatch.after = func(_ time.Duration, do func()) { w.later = append(w.later, do) }
		for _, src := range t.sources {
			w.at[src.module.Name] = src.begin()
		}
		return fmt.Sprint("begins a term with partitions ", owned)
	}
	w.turning = true
	did, err := w.t.next(ctx)
	w.turning, w.did = false, did
	b := &w.t.batch
	what := fmt.Sprintf("takes a turn: %d inputs", b.inputs)
	if did {
		what += fmt.Sprintf(" (%+v)", simStats(b.stats))
	}
	if err != nil {
		return what + s.ended(w, err)
	}
	s.oracle.turned(w)
	return what
}

func simStats(s Stats) string {
	return fmt.Sprintf("%d steps, %d again, %d ignored, %d timeouts, %d commands", s.Inputs, s.Duplicates, s.Ignored, s.Timeouts, s.Commands)
}

// ended ends a worker's term, as worker.term does.
func (s *simulation) ended(w *simWorker, err error) string {
	t := w.t
	w.t = nil
	for _, p := range w.flights {
		s.strays = append(s.strays, simStray{p.sent.Module, p.sent.envelope(), p.first && p.attempts == 0})
	}
	w.flights = nil
	next := w.w.ended(context.Background(), t, err)
	if errors.Is(next, errAgain) {
		return ": another term, since " + err.Error()
	}
	return s.broken(w, next)
}

// broken is what Engine.Run does with an error: the worker leaves, or not, and joins anew.
func (s *simulation) broken(w *simWorker, err error) string {
	w.joined = false
	what := s.trouble0(w, err)
	if !w.crashed && s.rng.IntN(2) == 0 {
		w.w.leave(context.Background())
		what += ", leaves"
	}
	return what
}

// trouble0 checks that an error is one of those that are expected.
func (s *simulation) trouble0(w *simWorker, err error) string {
	var conflict *eventlog.EntryConflictError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errSim):
		return ": simulated trouble"
	case errors.Is(err, consumer.ErrLeaseLost), errors.As(err, &conflict) && conflict.Kind == eventlog.Lease:
		return ": the lease was lost"
	default:
		s.oracle.fail("%s: unexpected error: %v", w.name, err)
		return ": " + err.Error()
	}
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

func (s *simulation) readPage() string {
	return s.running(func(w *simWorker) string {
		src := w.t.sources[s.rng.IntN(len(w.t.sources))]
		return s.readSource(w, src)
	})
}

func (s *simulation) readSource(w *simWorker, src *source) string {
	if len(src.pages) == cap(src.pages) {
		return ""
	}
	p := src.read(context.Background(), w.t.router, false, w.at[src.module.Name])
	w.at[src.module.Name] = p.scanned
	src.pages <- p
	return fmt.Sprintf("reads %s: %d, up to %d", src.module.Name, len(p.items), p.scanned)
}

// take takes a command from a dispatcher, as one of its workers does.
func (s *simulation) take() string {
	return s.running(func(w *simWorker) string {
		d := w.t.dispatch
		if len(d.ready) == 0 || len(w.flights) >= 4 {
			return ""
		}
		n := s.rng.IntN(len(d.ready)) // workers race
		d.ready[0], d.ready[n] = d.ready[n], d.ready[0]
		p, _ := d.next()
		w.flights = append(w.flights, p)
		return fmt.Sprintf("dispatches %s %d of %s", p.sent.Type, p.sent.Number, p.instance)
	})
}

// deliver lets a command that is on its way arrive, or not, and its answer arrive, or not.
func (s *simulation) deliver() string {
	return s.running(func(w *simWorker) string {
		if len(w.flights) == 0 {
			return ""
		}
		n := s.rng.IntN(len(w.flights))
		p := w.flights[n]
		w.flights = slices.Delete(w.flights, n, n+1)
		what := fmt.Sprintf("has %s %d of %s", p.sent.Type, p.sent.Number, p.instance)
		chance := s.rng.IntN(10)
		if s.calm || s.options.without["stray"] {
			chance = 9
		}
		first := p.first && p.attempts == 0
		switch chance {
		case 0: // it never arrived
			w.t.dispatch.answered(context.Background(), p, command.Outcome{}, errSim)
			return what + " lost"
		case 1: // it arrives later
			s.strays = append(s.strays, simStray{p.sent.Module, p.sent.envelope(), first})
			w.t.dispatch.answered(context.Background(), p, command.Outcome{}, errSim)
			return what + " delayed"
		}
		out, err := simCommands{s}.Dispatch(context.Background(), p.sent.Module, p.sent.envelope(), first)
		switch {
		case err != nil:
			s.oracle.fail("dispatch of %s: %v", p.sent.Type, err)
			return what + " failed"
		case chance == 2:
			w.t.dispatch.answered(context.Background(), p, command.Outcome{}, errSim)
			return what + " handled, and the answer is lost"
		case chance == 3: // it arrives twice
			s.strays = append(s.strays, simStray{p.sent.Module, p.sent.envelope(), first})
		}
		w.t.dispatch.answered(context.Background(), p, out, nil)
		return what + fmt.Sprint(" handled: ", out.Status)
	})
}

// stray lets a delivery arrive that nobody waits for any more.
func (s *simulation) stray() string {
	if len(s.strays) == 0 {
		return ""
	}
	n := s.rng.IntN(len(s.strays))
	x := s.strays[n]
	s.strays = slices.Delete(s.strays, n, n+1)
	out, err := simCommands{s}.Dispatch(context.Background(), x.module, x.c, x.first)
	if err != nil {
		s.oracle.fail("late dispatch of %s: %v", x.c.Type, err)
	}
	return fmt.Sprintf("%s arrives late: %v, again: %v", x.c.Type, out.Status, out.Repeat)
}

// later ends a back-off of a dispatcher.
func (s *simulation) later() string {
	return s.running(func(w *simWorker) string {
		if len(w.later) == 0 {
			return ""
		}
		do := w.later[0]
		w.later = w.later[1:]
		do()
		return "will dispatch again"
	})
}

func (s *simulation) pass() string {
	d := time.Duration(s.rng.IntN(4)) * 500 * time.Millisecond
	if s.rng.IntN(12) == 0 {
		d = time.Duration(s.rng.IntN(2*int(simTTL/time.Second))) * time.Second
	}
	s.clock = s.clock.Add(d)
	return fmt.Sprint("time passes: ", d)
}

func (s *simulation) compare() string {
	return s.running(func(w *simWorker) string {
		if err := w.t.compare(context.Background()); err != nil {
			return "looks who else is there" + s.ended(w, err)
		}
		return "looks who else is there"
	})
}

func (s *simulation) renew() string {
	return s.running(func(w *simWorker) string {
		if err := w.t.lease.Renew(context.Background()); err != nil {
			return "renews its lease" + s.ended(w, err)
		}
		return "renews its lease"
	})
}

// spoil lets the next append of a worker fail in some way.
func (s *simulation) spoil() string {
	return s.with(func(w *simWorker) string {
		w.fault = simFault(1 + s.rng.IntN(4))
		return "will " + [...]string{1: "not reach the store", 2: "not hear of its append", 3: "crash before its append", 4: "crash behind its append"}[w.fault]
	})
}

func (s *simulation) crash() string {
	return s.with(func(w *simWorker) string {
		s.bury(w)
		return "crashes"
	})
}

// pause stops a worker for a while, sometimes past its lease. It goes on with what it had in memory.
func (s *simulation) pause() string {
	return s.with(func(w *simWorker) string {
		w.asleep = 1 + s.rng.IntN(80)
		what := fmt.Sprintf("is stopped for %d actions", w.asleep)
		if s.rng.IntN(2) == 0 {
			s.clock = s.clock.Add(simTTL + time.Second)
			what += ", past its lease"
		}
		return what
	})
}

func (s *simulation) leave() string {
	return s.running(func(w *simWorker) string {
		return "is ended" + s.ended(w, errSim)
	})
}

func (s *simulation) loseCursors() string {
	var writes []eventlog.Write
	home := s.logs["home"]
	for e, err := range home.Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Cursor}) {
		if err != nil {
			s.oracle.fail("entries: %v", err)
		}
		if s.rng.IntN(3) > 0 {
			writes = append(writes, eventlog.Delete{Kind: eventlog.Cursor, Key: e.Key})
		}
	}
	if len(writes) == 0 {
		return ""
	}
	if _, err := home.Append(context.Background(), writes...); err != nil {
		panic(err)
	}
	s.oracle.appended(nil, writes)
	what := fmt.Sprintf("%d cursors are lost", len(writes))
	if !s.stopped && s.rng.IntN(2) == 0 { // before those that know them by heart write them again
		for len(s.workers) > 0 {
			s.bury(s.workers[0])
		}
		what += ", and all workers crash"
	}
	return what
}

func (s *simulation) spoilStep() string {
	key := s.key()
	s.trouble[key] = 1 + s.rng.IntN(4)
	return fmt.Sprintf("the next %d steps of %s will fail", s.trouble[key], key)
}

// rest lets everything come to rest: nothing goes wrong any more, an operator has what is held tried again, and time
// passes for as long as something is due.
func (s *simulation) rest() {
	s.calm = true
	clear(s.trouble)
	for _, w := range s.workers {
		w.asleep, w.fault = 0, 0
	}
	s.clock = s.clock.Add(2 * simTTL) // those that vanished are given up
	s.log("the end begins")
	if len(s.workers) == 0 {
		s.start()
	}
	s.settle()
	if s.resume() && s.oracle.wrong == nil {
		s.start()
		s.settle()
	}
	if s.oracle.wrong == nil {
		s.oracle.look()
		s.oracle.final()
	}
}

// settle runs all workers until nothing happens any more.
func (s *simulation) settle() {
	for range 10_000 {
		if s.oracle.wrong != nil {
			return
		}
		if s.round() {
			continue
		}
		next := time.Time{}
		sooner := func(at time.Time) {
			if at.After(s.clock) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		for _, i := range s.oracle.instances {
			for _, t := range i.timers {
				sooner(t.Due)
			}
		}
		for h, err := range Holdings(context.Background(), s.logs["home"], "sim") {
			if err != nil {
				s.oracle.fail("entries: %v", err)
			}
			sooner(h.RetryAt)
		}
		if next.IsZero() {
			return
		}
		s.clock = next
		s.log("time passes, to the next that is due")
		for _, w := range s.workers {
			if w.t != nil {
				if err := w.t.lease.Renew(context.Background()); err != nil {
					s.ended(w, err)
				}
			}
		}
	}
	s.oracle.fail("it does not come to rest")
}

// round lets every worker do what it can, once; false when nothing changed.
func (s *simulation) round() bool {
	before := s.oracle.happened()
	busy := false
	for len(s.strays) > 0 {
		s.log("%s", s.stray())
		busy = true
	}
	for _, w := range s.workers {
		what := s.turn(w)
		s.log("%s %s", w.name, what)
		if w.t == nil {
			busy = busy || !w.joined
			continue
		}
		busy = busy || w.did
		for _, src := range w.t.sources {
			if w.at[src.module.Name] < s.oracle.head(src.module.Name) || !src.ended && len(src.pages) == 0 {
				s.readSource(w, src)
			}
			busy = busy || len(src.pages) > 0 || len(src.buffer) > 0
		}
		for len(w.t.dispatch.ready) > 0 {
			p, _ := w.t.dispatch.next()
			w.flights = append(w.flights, p)
			busy = true
		}
		for len(w.flights) > 0 {
			p := w.flights[0]
			w.flights = w.flights[1:]
			out, err := simCommands{s}.Dispatch(context.Background(), p.sent.Module, p.sent.envelope(), p.first && p.attempts == 0)
			if err != nil {
				s.oracle.fail("dispatch: %v", err)
			}
			w.t.dispatch.answered(context.Background(), p, out, err)
			busy = true
		}
		for len(w.later) > 0 {
			w.later[0]()
			w.later = w.later[1:]
			busy = true
		}
		if !busy {
			if err := w.t.compare(context.Background()); err != nil {
				s.ended(w, err)
				busy = true
			}
		}
		s.oracle.look()
	}
	return busy || before != s.oracle.happened()
}

// resume is what an operator does when all workers have stopped: what is held is tried again.
func (s *simulation) resume() bool {
	for len(s.workers) > 0 {
		w := s.workers[0]
		if w.t != nil {
			s.ended(w, errSim)
		}
		w.w.leave(context.Background())
		s.bury(w)
	}
	var writes []eventlog.Write
	for h, err := range Holdings(context.Background(), s.logs["home"], "sim") {
		if err != nil {
			s.oracle.fail("entries: %v", err)
		}
		if h.Condition == Held {
			h.Condition, h.RetryAt = Retrying, s.clock
			put, err := h.put("sim")
			if err != nil {
				panic(err)
			}
			writes = append(writes, put)
		}
	}
	if len(writes) == 0 {
		return false
	}
	if _, err := s.logs["home"].Append(context.Background(), writes...); err != nil {
		panic(err)
	}
	s.oracle.appended(nil, writes)
	s.log("an operator has %d instances tried again", len(writes))
	return true
}
