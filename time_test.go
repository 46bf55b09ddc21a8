package ensue_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

type (
	// FineSent starts an instance of the process "reminders".
	FineSent struct{ ID string }
	// Reminded is what its last timeout leads to.
	Reminded struct {
		ID   string
		Days int
	}
	remind    struct{}
	reminders struct{ Days int }
)

// daily counts the days of a fine, and emits what it counted after sixty.
var daily = process.Define("reminders",
	process.On[reminders, FineSent]{
		Starts: true,
		Locate: process.Key(func(e FineSent) string { return e.ID }),
		React:  func(_ reminders, _ process.Input[FineSent], do *process.Step) { do.After(24*time.Hour, remind{}) },
	},
	process.OnTimeout[reminders, remind]{
		Name:   "remind",
		Evolve: func(s reminders, _ process.Input[remind]) reminders { s.Days++; return s },
		React: func(s reminders, _ process.Input[remind], do *process.Step) {
			if s.Days < 60 {
				do.After(24*time.Hour, remind{})
				return
			}
			do.Emit(Reminded{ID: do.Instance(), Days: s.Days})
			do.Complete()
		},
	},
).Otherwise(process.Ignore)

func dailyModule() ensue.Module {
	return ensue.Module{Name: "fines", Processes: []process.Definition{daily},
		Events: []event.Type{event.Named[FineSent]("fine-sent"), event.Named[Reminded]("reminded")}}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Sixty days of timeouts, one a day, over a real file, in virtual time: each fires at its instant to the microsecond.
func TestSixtyVirtualDaysOverARealFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fines.db")
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		app, err := ensue.Open(ctx, path, dailyModule(), ensue.Options{Poll: -1, Lease: 7 * 24 * time.Hour, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() {
			if err := app.Run(run); err != nil {
				t.Error(err)
			}
		})
		sent := time.Now()
		log := app.Module("fines").Log()
		if _, err := app.Module("fines").Record(ctx, "fine/1", FineSent{"1"}); err != nil {
			t.Fatal(err)
		}
		var last event.Recorded
		for last.Type != "reminded" {
			head, err := log.Head(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for rec, err := range log.Read(ctx, eventlog.Query{Types: []string{"reminded"}}) {
				if err != nil {
					t.Fatal(err)
				}
				last = rec
			}
			if last.Type == "" {
				if err := log.Wait(ctx, head); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := sent.Add(60 * 24 * time.Hour); last.Occurred.Sub(want).Abs() > time.Millisecond || string(last.Data) != `{"ID":"1","Days":60}` {
			t.Errorf("got %s at %v, want sixty days at %v", last.Data, last.Occurred, want)
		}
		stop()
		running.Wait()
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A million pending timeouts cost nothing but an index: neither time nor memory when a program starts.
func TestOpeningWithAMillionPendingTimeouts(t *testing.T) {
	const pending = 1_000_000 / raceFactor // CI runs it at full size without the race detector
	ctx := t.Context()
	folder := t.TempDir() + "/"
	open := func() *ensue.App {
		app, err := ensue.Open(ctx, folder, dailyModule(), ensue.Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		return app
	}
	app := open()
	due := time.Now().Add(365 * 24 * time.Hour)
	writes := make([]eventlog.Write, 0, eventlog.MaxWrites)
	for n := range pending {
		id := event.DeriveID("timeout", fmt.Sprint(n))
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Timeout, Key: eventlog.Key("reminders", fmt.Sprintf("%07d", n), "remind"),
			Value: id[:], Due: due.Add(time.Duration(n%1000) * time.Second)}})
		if len(writes) == cap(writes) {
			if _, err := app.Module("fines").Log().Append(ctx, writes...); err != nil {
				t.Fatal(err)
			}
			writes = writes[:0]
		}
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}

	before := heap()
	began := time.Now()
	app = open()
	run, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = app.Run(run) })
	if _, err := app.Module("fines").Record(ctx, "fine/new", FineSent{"new"}); err != nil {
		t.Fatal(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	took, grew := time.Since(began), heap()-before
	stop()
	running.Wait()
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("opened and handled a first input in %v, heap grew by %d KB", took, grew>>10)
	if took > time.Second*raceFactor || grew > 100<<20 {
		t.Errorf("opening took %v and %d MB; at most a second and 100 MB", took, grew>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) // #nosec G115 -- far below 2^63
}
