package process_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// stalled is a world in which the append of the first batch takes a while, in virtual time, and may fail then.
type stalled struct {
	*world
	mu    sync.Mutex
	steps []string // that were computed: instance and input
	held  int      // appends that made an instance stand aside
}

// newStalled runs do beside an engine while the append is under way that has the first step of the order "a".
func newStalled(t *testing.T, s process.Store, end error, trouble func(what string), do func(s *stalled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := &stalled{world: newWorld(t)}
		st.config.Store = s
		st.config.Definition = orderProcess(func(id string, input any) {
			what := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%s %T", id, input), "process_test."))
			what = strings.Replace(what, "process_test.", "", 1)
			st.mu.Lock()
			st.steps = append(st.steps, what)
			st.mu.Unlock()
			if trouble != nil {
				trouble(what)
			}
		})
		var first sync.Once
		st.log = func(m string, l eventlog.Log) eventlog.Log {
			if m != "sales" {
				return l
			}
			return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (_ eventlog.Appended, err error) {
				if puts(writes, eventlog.Pending) {
					first.Do(func() {
						<-time.After(time.Second)
						err = end
					})
				}
				if err != nil {
					return eventlog.Appended{}, err
				}
				if puts(writes, eventlog.Hold) {
					st.held++
				}
				return l.Append(ctx, writes...)
			}}
		}
		st.record("sales", OrderPlaced{"a", 1})
		e := st.engine()
		st.with(e, func(ctx context.Context) {
			synctest.Wait()
			do(st)
			if err := e.WaitIdle(ctx); err != nil {
				t.Errorf("%v; %+v", err, e.Stats())
			}
		})
	})
}

func puts(writes []eventlog.Write, k eventlog.Kind) bool {
	return slices.ContainsFunc(writes, func(w eventlog.Write) bool {
		p, is := w.(eventlog.Put)
		return is && p.Entry.Kind == k
	})
}

// computed returns the steps that were computed until now, sorted.
func (s *stalled) computed() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(s.steps)), ", ")
}

func (s *stalled) handled() int {
	s.calls.Lock()
	defer s.calls.Unlock()
	return len(s.calls.handled)
}

// What comes while a batch is being written is decided at once, and neither's commands leave before it is written.
func TestG6_ABatchIsGatheredWhileTheOneBeforeIsWritten(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		var w *stalled
		newStalled(t, s, nil, nil, func(st *stalled) {
			w = st
			st.record("sales", OrderPlaced{"b", 1})
			st.record("payments", Noted{"a"})
			if got := st.computed(); got != "a noted, a orderplaced, b orderplaced" {
				t.Errorf("while the first batch is being written, these were computed: %s", got)
			}
			if n := st.handled(); n > 0 {
				t.Errorf("%d commands left before their batch was written", n)
			}
		})
		w.wantStock(map[string][]string{"a": {"reserved"}, "b": {"reserved"}})
		if state, _ := w.state("a"); state.Notes != 1 || !state.Reserved {
			t.Errorf("a ended as %+v", state)
		}
	})
}

// A batch that was gathered behind one that failed is forgotten with it, and decided again: on what is stored.
func TestG6_WhatWasDecidedBehindABatchThatFailedIsDecidedAgain(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		var w *stalled
		newStalled(t, s, errors.New("the medium is full"), nil, func(st *stalled) {
			w = st
			st.record("payments", Noted{"a"}, Noted{"a"})
			if got := st.computed(); got != "a noted, a noted, a orderplaced" {
				t.Errorf("while the first batch is being written, these were computed: %s", got)
			}
		})
		w.wantStock(map[string][]string{"a": {"reserved"}})
		state, _ := w.state("a")
		if got := strings.Join(state.Inputs, ", "); got != "placed, noted, noted" {
			t.Errorf("a took %s", got)
		}
	})
}

// A step fails behind a good one of its batch, while the batch before is being written, in which its instance took a step as
// well: it is mended on what that batch wrote, and stands aside.
func TestG9_AnInstanceIsMendedBehindABatchThatIsBeingWritten(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		var w *stalled
		failed := false
		trouble := func(what string) {
			if what == "a paid" && !failed {
				failed = true
				panic("for once")
			}
		}
		newStalled(t, s, nil, trouble, func(st *stalled) {
			w = st
			st.record("payments", Noted{"a"}, Paid{"a", 0})
			if got := st.computed(); got != "a noted, a orderplaced, a paid" {
				t.Errorf("while the first batch is being written, these were computed: %s", got)
			}
		})
		state, _ := w.state("a")
		if got := strings.Join(state.Inputs, ", "); got != "placed, noted, paid 0" {
			t.Errorf("a took %s", got)
		}
		if w.held == 0 {
			t.Error("it never stood aside: its batch was given up")
		}
	})
}

// What the store refuses although no instance took a step in it is tried again, less and less often, until it is kept.
func TestG9_ABatchWithoutStepsThatIsRefusedIsTriedAgainAfterABackOff(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.config.Store, w.config.Definition = s, orderProcess(nil)
			refused, began, took := 0, time.Now(), time.Duration(0)
			w.log = func(m string, l eventlog.Log) eventlog.Log {
				if m != "sales" {
					return l
				}
				return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
					if refused < 20 && puts(writes, eventlog.Setting) && puts(writes, eventlog.Cursor) {
						refused++
						took = time.Since(began)
						return eventlog.Appended{}, &eventlog.LimitError{What: "a value", Size: 2, Limit: 1}
					}
					return l.Append(ctx, writes...)
				}}
			}
			w.record("payments", Noted{"nobody"})
			w.settle(time.Hour)
			if refused != 20 || took == 0 { // by the virtual clock
				t.Errorf("it was refused %d times within %v", refused, took)
			}
		})
	})
}
