package sqlitelog

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// TestWaitInVirtualTime: all that a file does in time, it does by the package time, and nothing is left when it closes.
func TestWaitInVirtualTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { closeFile(t, f) }()
		l := openLog(t, f, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := l.Wait(ctx, 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				began := time.Now()
				if err := l.Wait(t.Context(), 0); err != nil || time.Since(began) != time.Minute {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		<-time.After(time.Minute)
		fill(t, l, "s", 1)
		all.Wait()
		if r := first(t, l); !r.Equal(time.Now()) {
			t.Errorf("recorded at %v, now is %v", r, time.Now())
		}
	})
}

func first(t *testing.T, l *Log) time.Time {
	t.Helper()
	for r, err := range l.Read(context.Background(), eventlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		return r.Recorded
	}
	t.Fatal("the log is empty")
	return time.Time{}
}

// TestSixtyVirtualDays pass in a moment when nobody polls for other processes.
func TestSixtyVirtualDays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(t.Context(), path, Options{Poll: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { closeFile(t, f) }()
		l := openLog(t, f, "orders")
		waited := make(chan error)
		go func() { waited <- l.Wait(t.Context(), 0) }()
		<-time.After(60 * 24 * time.Hour)
		fill(t, l, "s", 1)
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

// TestPollingStopsWhenNobodyWaits, and begins again.
func TestPollingStopsWhenNobodyWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	synctest.Test(t, func(t *testing.T) {
		f, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { closeFile(t, f) }()
		l := openLog(t, f, "orders")
		running := func() bool {
			f.watch.mu.Lock()
			defer f.watch.mu.Unlock()
			return f.watch.running
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_ = l.Wait(ctx, 0)
			cancel()
			if !running() {
				t.Error("nobody polls")
			}
			<-time.After(time.Second)
			if running() {
				t.Error("somebody polls for nobody")
			}
		}
	})
}

// TestCloseEndsWaiting, of one log and of all.
func TestCloseEndsWaiting(t *testing.T) {
	f := newFile(t, Options{})
	orders, bills := openLog(t, f, "orders"), openLog(t, f, "bills")
	waited := make(chan error, 2)
	for _, l := range []*Log{orders, bills} {
		go func() { waited <- l.Wait(context.Background(), 0) }()
	}
	for _, l := range []*Log{orders, bills} {
		for !l.head.Awaited() {
			runtime.Gosched() // it is on its way
		}
	}
	if err := orders.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if orders = openLog(t, f, "orders"); orders.closed.Load() {
		t.Error("the log can't be opened again")
	}
	closeFile(t, f)
	if err := <-waited; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	closeFile(t, f)
	for what, err := range map[string]error{
		"wait":   orders.Wait(context.Background(), 0),
		"append": second(orders.Append(context.Background(), to("s", eventlog.Any, fact("1")))),
		"head":   second(orders.Head(context.Background())),
		"log":    second(f.Log(context.Background(), "orders")),
	} {
		if !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
