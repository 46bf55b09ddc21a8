package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

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
	turning bool                         // it appends what a turn led to
	did     bool                         // its last turn did something, and there may be more
	append  func()                       // the append of its last turn, if that is yet to be executed
	decided int                          // how many appends there were when that was decided
	crashed bool
}

// simStray is a delivery of a command that the sender has given up waiting for. It still arrives.
type simStray struct {
	module string
	c      command.Envelope
	first  bool
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

// work has a worker read what there is, mostly, and take some turns.
func (s *simulation) work() string {
	return s.with(func(w *simWorker) string {
		what := s.turn(w)
		for range s.rng.IntN(4) {
			if w.t == nil || w.crashed {
				break
			}
			for _, src := range w.t.sources {
				s.readSource(w, src)
			}
			what += "; " + s.turn(w)
		}
		return what
	})
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
			if !s.calm && !slices.ContainsFunc(s.workers, func(w *simWorker) bool { return w.t != nil }) {
				s.clock = s.clock.Add(simTTL / 4) // those that have them vanished
			}
			return "finds no free partition"
		}
		t := w.w.newTerm(d)
		if err := t.restore(ctx); err != nil {
			return "begins" + s.broken(w, err)
		}
		w.t, w.at, w.flights, w.later = t, map[string]eventlog.Position{}, nil, nil
		t.aside, t.waits = func(do func()) { w.append, w.decided = do, s.oracle.appends }, func() { s.appends(w) }
		t.dispatch.after = func(_ time.Duration, do func()) { w.later = append(w.later, do) }
		for _, src := range t.sources {
			w.at[src.module.Name] = src.begin()
		}
		return fmt.Sprint("begins a term with partitions ", owned)
	}
	did, err := w.t.next(ctx)
	b := &w.t.batch
	if w.t.writing != nil {
		b = &w.t.writing.batch
	}
	if err == nil && (s.calm || s.rng.IntN(2) == 0) { // else others go on first, and its next turn begins without that
		err = w.written()
	}
	w.did = did
	what := fmt.Sprintf("takes a turn: %d inputs", b.inputs)
	if did {
		what += fmt.Sprintf(" (%+v)", simStats(b.stats))
	}
	if err != nil {
		return what + s.ended(w, err)
	}
	if w.t.writing == nil {
		s.oracle.turned(b.changes)
	}
	return what
}

// appends executes the append of a worker's last turn.
func (s *simulation) appends(w *simWorker) {
	if do := w.append; do != nil {
		w.append, w.turning = nil, true
		do()
		w.turning = false
	}
}

// written waits for that append, as the loop does before it does anything else than take a turn.
func (w *simWorker) written() error {
	if err := w.t.written(); err != nil {
		return w.t.failed(err)
	}
	return nil
}

func simStats(s Stats) string {
	return fmt.Sprintf("%d steps, %d again, %d ignored, %d timeouts, %d commands", s.Inputs, s.Duplicates, s.Ignored, s.Timeouts, s.Commands)
}

// ended ends a worker's term, as worker.term does.
func (s *simulation) ended(w *simWorker, err error) string {
	t := w.t
	_ = t.written() // a term waits for it, whatever it ends with
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
		if s.silent > 0 && !s.calm {
			s.silent--
			chance = s.rng.IntN(3)
		}
		first := p.first && p.attempts == 0
		switch chance {
		case 0: // it never arrived
			s.oracle.unanswered(&p)
			w.t.dispatch.answered(context.Background(), p, command.Outcome{}, errSim)
			return what + " lost"
		case 1: // it arrives later
			s.strays = append(s.strays, simStray{p.sent.Module, p.sent.envelope(), first})
			s.oracle.unanswered(&p)
			w.t.dispatch.answered(context.Background(), p, command.Outcome{}, errSim)
			return what + " delayed"
		}
		out, err := simCommands{s}.Dispatch(context.Background(), p.sent.Module, p.sent.envelope(), first)
		switch {
		case err != nil:
			s.oracle.fail("dispatch of %s: %v", p.sent.Type, err)
			return what + " failed"
		case chance == 2:
			s.oracle.unanswered(&p)
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

func (s *simulation) compare() string {
	return s.running(func(w *simWorker) string {
		err := w.written()
		if err == nil {
			err = w.t.compare(context.Background())
		}
		if err != nil {
			return "looks who else is there" + s.ended(w, err)
		}
		return "looks who else is there"
	})
}

func (s *simulation) renew() string {
	return s.running(func(w *simWorker) string {
		err := w.written()
		if err == nil {
			err = w.t.lease.Renew(context.Background())
		}
		if err != nil {
			return "renews its lease" + s.ended(w, err)
		}
		return "renews its lease"
	})
}
