package process

import (
	"context"
	"time"
)

// rest lets everything come to rest: nothing goes wrong any more, an operator has what is held tried again, and time
// passes for as long as something is due.
func (s *simulation) rest() {
	s.oracle.kinds["steps before the end"] += s.oracle.steps
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
	for s.oracle.wrong == nil && s.resume() {
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
		s.oracle.waitsUntil(sooner)
		for _, h := range s.holdings() {
			if h.Queued > 0 || h.Condition != Waiting {
				sooner(h.RetryAt)
			}
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
		if w.t != nil {
			w.t.ask, w.t.claims.look = true, true // as every second
		}
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
	var requests []request
	for _, h := range s.holdings() {
		if h.Condition == Held {
			requests = append(requests, request{Action: ActResume, Instance: h.Instance, About: aboutHold(&h)})
		}
	}
	if len(requests) == 0 {
		return false
	}
	s.ask(requests...)
	s.log("an operator has %d instances tried again", len(requests))
	return true
}
