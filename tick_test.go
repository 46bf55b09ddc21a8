package ensue_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/calendar"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/tick"
)

type (
	// HourEnded is a time event.
	HourEnded struct{ Hour int }
	// HourCounted is what a process makes of it.
	HourCounted struct{ Hour int }
)

// hoursModule ends every hour, and has a process that follows.
func hoursModule(missed tick.Missed) ensue.Module {
	count := process.Define("hours",
		process.On[struct{}, HourEnded]{
			Starts: true,
			Locate: process.Key(func(HourEnded) string { return "all" }),
			React: func(_ struct{}, in process.Input[HourEnded], do *process.Step) {
				do.Emit(HourCounted(in.Event))
			},
		}).Otherwise(process.Ignore)
	return ensue.Module{Name: "clock", Processes: []process.Definition{count},
		Events: []event.Type{event.Named[HourEnded]("hour-ended"), event.Named[HourCounted]("hour-counted")},
		Ticks: []tick.Definition{{Name: "hour", On: calendar.MustCron("@hourly", time.UTC), Missed: missed,
			Event: func(at time.Time) any { return HourEnded{at.Hour()} }}}}
}

// Two applications run the same module on one file for a virtual day, one of them not all the time: one event for each
// hour, and what a process makes of it.
func TestG5_G11_TwoApplicationsTickOnceEachHour(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock.db")
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		run := func(d time.Duration) {
			app, err := ensue.Open(ctx, path, hoursModule(tick.None()), ensue.Options{Poll: 10 * time.Second, Lease: 48 * time.Hour, Logger: quiet()})
			if err != nil {
				t.Error(err)
				return
			}
			running, stop := context.WithTimeout(ctx, d)
			defer stop()
			if err := app.Run(running); err != nil {
				t.Error(err)
			}
			if err := app.Close(); err != nil {
				t.Error(err)
			}
		}
		var both sync.WaitGroup
		both.Go(func() { run(24*time.Hour + time.Minute) })
		both.Go(func() {
			run(7*time.Hour + 30*time.Minute)
			if err := consumer.Sleep(ctx, time.Hour); err != nil {
				t.Error(err)
			}
			run(15*time.Hour + 31*time.Minute)
		})
		both.Wait()
		app, err := ensue.Open(ctx, path, hoursModule(tick.None()), ensue.Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"hour-ended", "hour-counted"} {
			n := 0
			for rec, err := range app.Module("clock").Log().Read(ctx, eventlog.Query{Types: []string{name}}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if want := time.Date(2000, 1, 1, n, 0, 0, 0, time.UTC); name == "hour-ended" && !rec.Occurred.Equal(want) {
					t.Errorf("event %d is of %v, want %v", n, rec.Occurred, want)
				}
			}
			if n != 24 {
				t.Errorf("%d events %s, want 24", n, name)
			}
		}
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
}

// WaitIdle waits for ticks that are due by the application's clock, and for none that is still to come.
func TestWaitIdleWaitsForTicksThatAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var mu sync.Mutex
		var ahead time.Duration
		now := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		app, err := ensue.Open(ctx, "memory:", hoursModule(tick.Each(10)), ensue.Options{Now: now, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		all.Go(func() {
			if err := app.Run(running); err != nil {
				t.Error(err)
			}
		})
		for n := range 3 {
			if err := app.WaitIdle(ctx); err != nil {
				t.Fatal(err)
			}
			counted := 0
			for _, err := range app.Module("clock").Log().Read(ctx, eventlog.Query{Types: []string{"hour-counted"}}) {
				if err != nil {
					t.Fatal(err)
				}
				counted++
			}
			if want := 4 * n; counted != want {
				t.Errorf("idle after %d hours with %d counted", want, counted)
			}
			mu.Lock()
			ahead += 4 * time.Hour
			mu.Unlock()
		}
		if passed := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); passed > time.Minute {
			t.Errorf("waiting took %v", passed)
		}
		stop()
		all.Wait()
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
}

// By the replay clock the ticks are those of the log.
func TestNoTicksAreMadeByTheReplayClock(t *testing.T) {
	ctx := t.Context()
	module := hoursModule(tick.Each(10))
	module.Ticks[0].From = time.Now().Add(-5 * time.Hour)
	app, err := ensue.Open(ctx, "memory:", module, ensue.Options{Replay: true, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2001, 2, 3, 4, 0, 0, 0, time.UTC)
	if _, err := app.Module("clock").Record(ctx, "tick/hour", event.New(HourEnded{4}).At(at)); err != nil {
		t.Fatal(err)
	}
	if err := app.Module("clock").Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := app.Run(ctx); err != nil {
		t.Fatal(err)
	}
	types := map[string]int{}
	for rec, err := range app.Module("clock").Log().Read(ctx, eventlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		types[rec.Type]++
	}
	if types["hour-ended"] != 1 || types["hour-counted"] != 1 {
		t.Errorf("the log has %v", types)
	}
	if err := app.Close(); err != nil {
		t.Error(err)
	}
}

// Open says what is wrong with a tick.
func TestOpenChecksTicks(t *testing.T) {
	module := hoursModule(tick.Missed{})
	app, err := ensue.Open(t.Context(), "memory:", module)
	if err == nil {
		err = errors.Join(errors.New("no error"), app.Close())
	}
	if !strings.Contains(err.Error(), `module "clock": tick "hour": say what becomes of ticks that were missed`) {
		t.Error(err)
	}
}
