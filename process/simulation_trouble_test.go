package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// simFault is what happens to an append.
type simFault int

const (
	simRefused     simFault = 1 // the append fails
	simAnswerLost  simFault = 2 // it succeeds, and nobody hears of it
	simCrashBefore simFault = 3
	simCrashAfter  simFault = 4
)

var errSim = errors.New("simulated trouble")

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

// fails is what every step asks.
func (s *simulation) fails(instance string) error {
	if s.trouble[instance] == 0 {
		return nil
	}
	s.trouble[instance]--
	return errSim
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

// silence has receivers not be heard for a while, so that commands are given up.
func (s *simulation) silence() string {
	s.silent = 4 + s.rng.IntN(12)
	return fmt.Sprintf("%d answers will be lost", s.silent)
}

func (s *simulation) spoilStep() string {
	key := s.key()
	s.trouble[key] = 1 + s.rng.IntN(4)
	return fmt.Sprintf("the next %d steps of %s will fail", s.trouble[key], key)
}
