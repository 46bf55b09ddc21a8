package faultlog_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/faultlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// A log in a life without a crash is a log.
func TestIsALog(t *testing.T) {
	logtest.Run(t, logtest.Store{
		Open: func(_ logtest.T, now func() time.Time) eventlog.Log {
			return faultlog.Plan{}.Begin().Log("orders", memlog.Options{Now: now}.New())
		},
	})
}

// What a log can do, it can do in a life, and no more.
func TestCapabilitiesArePassedOn(t *testing.T) {
	file, err := sqlitelog.Open(t.Context(), t.TempDir()+"/a.db", sqlitelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	inFile, err := file.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []eventlog.Log{memlog.New(), inFile, bare{memlog.New()}, withClock{memlog.New()}} {
		wrapped := faultlog.Plan{}.Begin().Log("orders", log)
		if got, want := capabilities(wrapped), capabilities(log); got != want {
			t.Errorf("%T: the wrapper can %s, the log %s", log, got, want)
		}
	}
}

type bare struct{ eventlog.Log }

type withClock struct{ eventlog.Log }

func (withClock) Now(context.Context) (time.Time, error) { return time.Time{}, nil }

func capabilities(log eventlog.Log) string {
	linker, links := log.(eventlog.Linker)
	_, lists := log.(eventlog.StreamLister)
	_, gathers := log.(eventlog.StreamsReader)
	_, keeps := log.(eventlog.StreamKeeper)
	_, transacts := log.(eventlog.SQLTransactor)
	_, tells := log.(eventlog.Clock)
	return fmt.Sprint(links && linker.Links(), lists, gathers, keeps, transacts, tells)
}

// story is a program of five operations.
func story(ctx context.Context, log eventlog.Log) error {
	for n := range 2 {
		if _, err := log.Append(ctx, eventlog.ToStream{Stream: "a/1", Events: []event.Event{{Type: fmt.Sprint("fact", n), Data: []byte("1")}}}); err != nil {
			return err
		}
		for _, err := range log.Read(ctx, eventlog.Query{}) {
			if err != nil {
				return err
			}
		}
	}
	return log.Wait(ctx, 1)
}

// At each operation the program stops on the chosen side of it, and does nothing from then on.
func TestStopsBeforeAndAfterEachOperation(t *testing.T) {
	for when, heads := range map[faultlog.Moment][]eventlog.Position{faultlog.Before: {0, 1, 1, 2, 2, 2}, faultlog.After: {1, 1, 2, 2, 2, 2}} {
		for n, want := range heads {
			log := memlog.New()
			life := faultlog.Plan{At: n + 1, When: when}.Begin()
			wrapped := life.Log("orders", log)
			err := story(t.Context(), wrapped)
			op, crashed := life.Crashed()
			if n < 5 && (!errors.Is(err, faultlog.ErrCrashed) || !crashed || op.Number != n+1 || life.Operations() != n+1) {
				t.Errorf("%v %d: the program ended with %v, crashed %v at %v after %d operations", when, n+1, err, crashed, op, life.Operations())
			}
			if n == 5 && (err != nil || crashed || life.Operations() != 5) {
				t.Errorf("%v %d: a program of five operations ended with %v, crashed %v, with %d", when, n+1, err, crashed, life.Operations())
			}
			if head, err := log.Head(t.Context()); err != nil || head != want {
				t.Errorf("%v %d: the log holds %d events, want %d; %v", when, n+1, head, want, err)
			}
			if _, err := wrapped.Head(t.Context()); crashed && !errors.Is(err, faultlog.ErrCrashed) {
				t.Errorf("%v %d: a dead program asked for the head, and got %v", when, n+1, err)
			}
		}
	}
}

// Who waits, or works under the life's context, ends when the program crashes elsewhere.
func TestACrashEndsWhatIsUnderWay(t *testing.T) {
	life := faultlog.Plan{At: 2}.Begin()
	log := life.Log("orders", memlog.New())
	ctx, release := life.Context(t.Context())
	defer release()
	waited := make(chan error)
	payments := life.Log("payments", memlog.New())
	go func() { waited <- payments.Wait(t.Context(), 0) }()
	for life.Operations() == 0 { // the wait is the first operation
		runtime.Gosched()
	}
	if err := life.Do("dispatch", "stock", "reserve", func() error { t.Error("it happened"); return nil }); !errors.Is(err, faultlog.ErrCrashed) {
		t.Errorf("the dispatch ended with %v", err)
	}
	if err := <-waited; !errors.Is(err, faultlog.ErrCrashed) {
		t.Errorf("the wait ended with %v", err)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, faultlog.ErrCrashed) {
		t.Errorf("the context ended with %v", err)
	}
	if _, err := log.Append(t.Context()); !errors.Is(err, faultlog.ErrCrashed) {
		t.Errorf("a dead program appended, and got %v", err)
	}
}

// A program that never comes to rest is stopped.
func TestMost(t *testing.T) {
	life := faultlog.Plan{Most: 3}.Begin()
	log := life.Log("orders", memlog.New())
	for n := 1; ; n++ {
		if _, err := log.Head(t.Context()); err != nil { // the same question again and again
			if n != 4 || life.Operations() != 1 || life.Calls() != 4 || !errors.Is(err, faultlog.ErrCrashed) {
				t.Errorf("operation %d ended with %v", n, err)
			}
			return
		}
	}
}
