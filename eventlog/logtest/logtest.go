// Package logtest is the definition of a log, in tests: what package eventlog says of logs in sentences is here in
// cases, each named for the behaviour that it asks for. A store is a log when it passes:
//
//	func TestLog(t *testing.T) {
//		logtest.Run(t, logtest.Store{
//			Open: func(t logtest.T, now func() time.Time) eventlog.Log { return memlog.Options{Now: now}.New() },
//		})
//	}
//
// Cases of a capability (eventlog.Linker and the others) run when the log declares it, and then it has to work. The
// cases need nothing of the store but what Store says, and never sleep.
package logtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// Store says how logs of the kind under test are made. Its functions are called by cases that run at the same time.
type Store struct {
	// Open makes a new, empty log, and has t clean it up. Now is the clock that the log is to record events by.
	Open func(t T, now func() time.Time) eventlog.Log

	// Reopen closes a log that Open or Reopen returned, which may be in use, and opens its store again with the same
	// clock. It is nil for a log that does not outlive its process.
	Reopen func(t T, log eventlog.Log) eventlog.Log

	// OwnClock says that the log has a clock of its own (a server's) and does not look at the one that it is given.
	OwnClock bool

	// Patience is how long a case as a whole may take before what it waits for is taken to never happen; 2 minutes if 0.
	Patience time.Duration
}

// T is what a case needs of a *testing.T. It is an interface so that the suite itself can be tested: a case that is run
// on a broken log has to fail.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Case is one behaviour of a log.
type Case struct {
	Name       string // group/behaviour
	Concurrent bool   // it is about what many goroutines do at once
	Large      bool   // it takes long; Run leaves it out when testing.Short
	needs      capability
	run        func(*trial)
}

// Run runs the case on a new log of the store. It skips a case of a capability that the log does not declare.
func (c Case) Run(t T, s Store) {
	t.Helper()
	if s.Patience == 0 {
		s.Patience = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	t.Cleanup(cancel)
	tr := &trial{T: t, store: s, ctx: ctx}
	tr.log = tr.open()
	if !c.needs.of(tr.log, s) {
		t.Skipf("the log does not declare: %s", c.needs)
	}
	c.run(tr)
}

// Cases returns all cases.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		logCases, appendCases, expectCases, repeatCases, limitCases(), readCases, streamCases, sequenceCases(),
		entryCases, entryQueryCases, dueCases, waitCases, linkCases, listCases, gatherCases, closeCases, truncateCases, closerCases,
		reopenCases, transactionCases, concurrentCases, concurrentEntryCases,
	} {
		all = append(all, group...)
	}
	return all
}

// Run runs every case as a parallel subtest on a log of its own. Cases of a capability that the log does not declare are
// left out, and counted in the test's log.
func Run(t *testing.T, s Store) {
	t.Helper()
	declared := s.Open(t, time.Now)
	without := map[capability]int{}
	defer func() {
		for c, n := range without {
			t.Logf("%d cases left out: the log does not declare %s", n, c)
		}
	}()
	for _, c := range Cases() {
		if !c.needs.of(declared, s) {
			without[c.needs]++
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Large && testing.Short() {
				t.Skip("takes long")
			}
			t.Parallel()
			c.Run(t, s)
		})
	}
}

// capability is what a case needs beyond eventlog.Log.
type capability string

const (
	links      capability = "eventlog.Linker"
	lists      capability = "eventlog.StreamLister"
	gathers    capability = "eventlog.StreamsReader"
	keeps      capability = "eventlog.StreamKeeper"
	transacts  capability = "eventlog.SQLTransactor"
	closes     capability = "eventlog.Closer"
	watches    capability = "eventlog.Watcher"
	reopens    capability = "Reopen in its logtest.Store"
	linksKeeps capability = links + " and " + keeps
	listsKeeps capability = lists + " and " + keeps
	listsLinks capability = lists + " and " + links
)

func (c capability) of(log eventlog.Log, s Store) bool {
	switch c {
	case links:
		linker, ok := log.(eventlog.Linker)
		return ok && linker.Links()
	case lists:
		_, ok := log.(eventlog.StreamLister)
		return ok
	case gathers:
		_, ok := log.(eventlog.StreamsReader)
		return ok
	case keeps:
		_, ok := log.(eventlog.StreamKeeper)
		return ok
	case transacts:
		_, ok := log.(eventlog.SQLTransactor)
		return ok
	case closes:
		_, ok := log.(eventlog.Closer)
		return ok
	case watches:
		_, ok := log.(eventlog.Watcher)
		return ok
	case reopens:
		return s.Reopen != nil
	case linksKeeps:
		return links.of(log, s) && keeps.of(log, s)
	case listsKeeps:
		return lists.of(log, s) && keeps.of(log, s)
	case listsLinks:
		return lists.of(log, s) && links.of(log, s)
	default:
		return true
	}
}

// clock is the system's until it is set; then it stands still.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) set(t time.Time) { c.at.Store(&t) }

func (c *clock) now() time.Time {
	if t := c.at.Load(); t != nil {
		return *t
	}
	return time.Now()
}
