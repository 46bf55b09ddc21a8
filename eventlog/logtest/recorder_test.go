package logtest_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog/logtest"
)

// recorder is a logtest.T that notes the end of a case instead of ending a test.
type recorder struct {
	dir func() string

	mu       sync.Mutex
	failed   string // what the first failure said
	skipped  string
	cleanups []func()
}

func (*recorder) Helper()             {}
func (*recorder) Logf(string, ...any) {}
func (r *recorder) TempDir() string   { return r.dir() }

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.note(&r.failed, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.note(&r.skipped, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *recorder) note(what *string, said string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *what == "" {
		*what = said
	}
}

// try runs a case that is expected to fail, and returns what it said.
func try(t *testing.T, c logtest.Case, s logtest.Store) (failed, skipped string) {
	t.Helper()
	r := &recorder{dir: t.TempDir}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("the case panics where it should fail: %v\n%s", p, debug.Stack())
			}
		}()
		c.Run(r, s)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Minute): // a case's patience is 2 minutes, if its store has no other
		t.Fatalf("the case goes on and on, though its store's patience is %v", s.Patience)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.failed, r.skipped
}
