// Package storetest is the definition of a process.Store, in tests: what package process says of stores in sentences is
// here in cases, each named for the behaviour that it asks for. A store keeps instances when it passes:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(storetest.T) process.Store { return MyStore{} })
//	}
//
// Most cases run the real engine through the store, over logs in memory and in a SQLite file, and compare what is there
// afterwards with what a process.Machine decides on the same inputs. Nothing sleeps.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/ensue-io/ensue/process"
)

// T is what a case needs of a *testing.T. It is an interface so that the suite itself can be tested: a case that is run
// on a broken store has to fail.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Logs says what the logs of a case are made of.
type Logs string

// The logs.
const (
	Memory Logs = "memlog"
	SQLite Logs = "sqlitelog"
)

// Setting is where a case runs.
type Setting struct {
	Store    func(T) process.Store // makes the store; it is made anew where a program would be started again
	Logs     Logs                  // default Memory
	Patience time.Duration         // how long a case may take before what it waits for is taken to never happen; default 1 minute
}

// Case is one behaviour of a store.
type Case struct {
	Name string // group/behaviour
	run  func(*trial)
}

// Run runs the case.
func (c Case) Run(t T, s Setting) {
	t.Helper()
	if s.Patience == 0 {
		s.Patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	t.Cleanup(cancel)
	tr := &trial{T: t, setting: s, ctx: ctx, receiver: newReceiver(), kept: map[string]string{}}
	tr.openLogs()
	c.run(tr)
}

// Cases returns all cases.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{loadCases, saveCases, stepCases, onceCases, holdCases, listCases} {
		all = append(all, group...)
	}
	return all
}

// Run runs every case as a parallel subtest, on logs of each kind.
func Run(t *testing.T, store func(T) process.Store) {
	t.Helper()
	for _, logs := range []Logs{Memory, SQLite} {
		t.Run(string(logs), func(t *testing.T) {
			for _, c := range Cases() {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					c.Run(t, Setting{Store: store, Logs: logs})
				})
			}
		})
	}
}
