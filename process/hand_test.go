package process_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

const (
	shareTTL  = consumer.DefaultTTL
	sharePoll = shareTTL / 15
)

// hand is a worker of a test: an engine that runs, and what can happen to it.
type hand struct {
	*process.Engine
	t       *testing.T
	said    lines
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	err     error
	dead    atomic.Bool // nothing that it writes arrives any more
	pause   atomic.Pointer[pause]
	paused  bool         // or otherwise in trouble, so that it may start over
	flaky   int          // one in so many of its appends to the home log fails, and of one in so many the answer is lost
	clashes atomic.Int64 // appends that were refused since somebody else had written to a stream
}

// pause stops a worker before its next append that has a cursor.
type pause struct {
	stopped, resume chan struct{}
	late            chan error // what became of the append
}

func (h *hand) pauseNext() *pause {
	p := &pause{make(chan struct{}), make(chan struct{}), make(chan error, 1)}
	h.pause.Store(p)
	h.paused = true
	return p
}

// lines collects what is logged.
type lines struct {
	sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(b)
}

func (l *lines) String() string {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.String()
}

// eachLog runs a test in a bubble, on logs in memory and in a file. Nothing in it takes real time.
func eachLog(t *testing.T, do func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { do(t, newWorld(t)) })
	})
	t.Run("sqlite", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			file := must(sqlitelog.Open(t.Context(), filepath.Join(t.TempDir(), "world.db"), sqlitelog.Options{Poll: -1}))
			for _, m := range w.order {
				w.logs[m] = must(file.Log(t.Context(), m))
			}
			do(t, w)
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// hire starts a worker.
func (w *world) hire(t *testing.T) *hand { return w.hireFlaky(t, 0) }

func (w *world) hireFlaky(t *testing.T, flaky int) *hand {
	t.Helper()
	h := &hand{t: t, flaky: flaky, paused: flaky > 0}
	before := w.config.Logger
	w.config.Logger = slog.New(slog.NewTextHandler(&h.said, nil))
	w.log = func(m string, l eventlog.Log) eventlog.Log {
		return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			if h.dead.Load() {
				return eventlog.Appended{}, errCrash
			}
			var p *pause
			if m == "sales" && hasKind(writes, eventlog.Cursor) {
				p = h.pause.Swap(nil)
			}
			if p == nil {
				trouble := 0
				if m == "sales" && h.flaky > 0 {
					trouble = rand.IntN(h.flaky)
				}
				if trouble == 1 {
					return eventlog.Appended{}, errCrash
				}
				done, err := l.Append(ctx, writes...)
				if trouble == 2 && err == nil {
					return eventlog.Appended{}, errCrash
				}
				var conflict *eventlog.ConflictError
				if errors.As(err, &conflict) {
					h.clashes.Add(1)
				}
				return done, err
			}
			close(p.stopped)
			<-p.resume
			done, err := l.Append(ctx, writes...)
			p.late <- err
			return done, err
		}}
	}
	h.Engine = w.engine()
	w.log, w.config.Logger = nil, before
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.running.Go(func() { h.err = h.Run(h.ctx) })
	return h
}

// stop lets a worker end in good order.
func (h *hand) stop() {
	h.t.Helper()
	h.cancel()
	h.running.Wait()
	if h.err != nil {
		h.t.Error(h.err)
	}
	if n := h.clashes.Load(); n > 0 || !h.dead.Load() && !h.paused && strings.Contains(h.said.String(), "starting over") {
		h.t.Errorf("workers got into each other's way, %d times in a stream:\n%s", n, &h.said)
	}
}

// die lets a worker vanish: nothing that it still writes arrives.
func (h *hand) die() {
	h.t.Helper()
	h.dead.Store(true)
	h.stop()
}

// owned returns how many partitions each of the workers owns.
func owned(hands ...*hand) (n []int) {
	for _, h := range hands {
		n = append(n, h.Stats().Owned)
	}
	slices.SortFunc(n, func(a, b int) int { return b - a })
	return n
}

func wantOwned(t *testing.T, when string, want []int, hands ...*hand) {
	t.Helper()
	synctest.Wait()
	if got := owned(hands...); !slices.Equal(got, want) {
		t.Errorf("%s: the workers own %v partitions, want %v", when, got, want)
	}
}

func (w *world) sharing() process.Sharing {
	w.t.Helper()
	return must(process.Workers(context.Background(), w.logs["sales"], "order"))
}

// moved returns how often a partition has changed hands.
func (w *world) moved() (n int64) {
	for _, p := range w.sharing().Partitions {
		n += p.Epoch
	}
	return n
}

// verify fails when Verify finds anything.
func (w *world) verify() {
	w.t.Helper()
	var modules []process.Module
	for _, m := range w.order {
		modules = append(modules, process.Module{Name: m, Log: w.logs[m], Types: w.types[m]})
	}
	for p, err := range process.VerifyWith(context.Background(), modules, []*process.Engine{w.engine()}, nil) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Errorf("verify: %s: %s", p.Where, p.What)
	}
}

func allIdle(t *testing.T, hands ...*hand) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	for _, h := range hands {
		if err := h.WaitIdle(ctx); err != nil {
			t.Fatalf("not idle: %v; %+v\n%s", err, h.Stats(), &h.said)
		}
	}
}
