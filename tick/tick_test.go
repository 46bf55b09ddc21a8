package tick_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the same rules on every machine

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/calendar"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/tick"
)

// DayEnded is a time event.
type DayEnded struct{ Day string }

// BooksClosed is what a handler of it records.
type BooksClosed struct{ Day string }

// world is a module whose log several programs share. Its time is virtual, and begins on 2000-01-01 at midnight UTC.
type world struct {
	t     *testing.T
	log   eventlog.Log
	types *event.Registry
	told  bytes.Buffer
}

func newWorld(t *testing.T) *world {
	types, err := event.NewRegistry(event.Named[DayEnded]("day-ended"), event.Named[BooksClosed]("books-closed"))
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, log: memlog.Options{Now: time.Now}.New(), types: types}
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// hourly ticks at every full hour.
func hourly(missed tick.Missed) tick.Definition {
	return tick.Definition{Name: "hour", On: calendar.MustCron("@hourly", time.UTC), Missed: missed, Event: dayEnded}
}

func dayEnded(at time.Time) any { return DayEnded{Day: at.Format(time.DateTime)} }

// runner is a program's.
func (w *world) runner(c tick.Config, ticks ...tick.Definition) *tick.Runner {
	w.t.Helper()
	if c.Module == nil {
		c.Module = &aggregate.Module{Name: "books", Log: w.log, Types: w.types}
	}
	c.Ticks = ticks
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r, err := tick.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// run runs programs together for a while.
func (w *world) run(d time.Duration, runners ...*tick.Runner) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), d)
	defer stop()
	var running sync.WaitGroup
	for _, r := range runners {
		running.Go(func() {
			if err := r.Run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	running.Wait()
}

func (w *world) pass(d time.Duration) {
	if err := consumer.Sleep(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

// want compares the events, by what they say, in the order of the log.
func (w *world) want(want ...string) {
	w.t.Helper()
	var got []string
	for rec, err := range w.log.Read(context.Background(), eventlog.Query{Types: []string{"day-ended"}}) {
		if err != nil {
			w.t.Fatal(err)
		}
		facts, err := w.types.Decode(rec.Event)
		if err != nil {
			w.t.Fatal(err)
		}
		got = append(got, facts[0].(DayEnded).Day)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("ticks\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// hours are the full hours of 2000-01-01 from one to another.
func hours(from, to int) (list []string) {
	for h := from; h <= to; h++ {
		list = append(list, time.Date(2000, 1, 1, h, 0, 0, 0, time.UTC).Format(time.DateTime))
	}
	return list
}

// Five programs run the same module. Of each tick there is one event, in order, dated at its instant and not earlier in the
// log than that.
func TestG5_EachTickOnceOverManyPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var runners []*tick.Runner
		for range 5 {
			runners = append(runners, w.runner(tick.Config{}, hourly(tick.None())))
		}
		w.run(24*time.Hour+time.Minute, runners...)
		w.want(hours(1, 24)...)
		n := 0
		for rec, err := range w.log.Read(t.Context(), eventlog.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if at := time.Date(2000, 1, 1, n, 0, 0, 0, time.UTC); !rec.Occurred.Equal(at) || rec.Recorded.Before(at) || rec.Recorded.Sub(at) > time.Second ||
				rec.Stream != "tick/hour" || rec.Metadata.Correlation != rec.ID || rec.ID != event.DeriveID("tick", "books", "hour", at.Format(time.RFC3339Nano)) {
				t.Errorf("tick %d: %+v", n, rec)
			}
		}
	})
}

// Two programs make one tick at the same moment, each with the entry as it was before: only one can.
func TestG5_ARaceForOneTickHasOneWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		closeBooks := func(_ context.Context, work *aggregate.Work, e DayEnded) error {
			return work.Append("books/1", eventlog.Any, BooksClosed(e))
		}
		gate := &gated{Log: w.log, wait: 2}
		var runners []*tick.Runner
		for range 2 {
			m := &aggregate.Module{Name: "books", Log: gate, Types: w.types, Handlers: []aggregate.Handler{aggregate.Inside("close-books", closeBooks)}}
			runners = append(runners, w.runner(tick.Config{Module: m}, hourly(tick.None())))
		}
		w.run(3*time.Hour+time.Minute, runners...)
		w.want(hours(1, 3)...)
		closed := 0
		for rec, err := range w.log.Read(t.Context(), eventlog.Query{Types: []string{"books-closed"}}) {
			if err != nil {
				t.Fatal(err)
			}
			closed++
			if rec.Metadata.Correlation.IsZero() {
				t.Errorf("%+v has no correlation", rec)
			}
		}
		if closed != 3 || gate.raced < 3 {
			t.Errorf("books were closed %d times in %d races", closed, gate.raced)
		}
	})
}

// gated is a log whose appends of events wait until two are there, and then come one after the other.
type gated struct {
	eventlog.Log
	wait  int
	mu    sync.Mutex
	here  int
	open  chan struct{}
	raced int
}

func (g *gated) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if len(writes) > 1 {
		g.mu.Lock()
		if g.here++; g.here == 1 {
			g.open = make(chan struct{})
		}
		open := g.open
		if g.here == g.wait {
			g.here = 0
			g.raced++
			close(open)
		}
		g.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return eventlog.Appended{}, ctx.Err()
		}
	}
	return g.Log.Append(ctx, writes...)
}

// A program is stopped in the middle of making a tick. Another passes it meanwhile, by its policy: the first comes too late,
// and sets nothing back.
func TestG5_AStoppedProgramMakesNoTickThatOthersPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stopped := &stopping{Log: w.log, until: time.Now().Add(5*time.Hour + 30*time.Minute)}
		var both sync.WaitGroup
		both.Go(func() {
			m := &aggregate.Module{Name: "books", Log: stopped, Types: w.types}
			w.run(8*time.Hour+time.Minute, w.runner(tick.Config{Module: m}, hourly(tick.None())))
		})
		w.pass(4*time.Hour + 30*time.Minute)
		w.run(30*time.Minute+time.Second, w.runner(tick.Config{}, hourly(tick.None())))
		both.Wait()
		w.want(hours(5, 8)...)
	})
}

// stopping is the log of a program that is stopped before its first event.
type stopping struct {
	eventlog.Log
	until time.Time
}

func (s *stopping) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if len(writes) > 1 {
		if err := consumer.Sleep(ctx, time.Until(s.until)); err != nil {
			return eventlog.Appended{}, err
		}
	}
	return s.Log.Append(ctx, writes...)
}

// The answer to an append is lost, or the program ends right behind it, or before it: the tick is made once.
func TestG5_ATickOverCrashesAndLostAnswers(t *testing.T) {
	for name, trouble := range map[string]func(l eventlog.Log, n int, writes []eventlog.Write) error{
		"the answer is lost": func(l eventlog.Log, _ int, writes []eventlog.Write) error {
			if _, err := l.Append(context.Background(), writes...); err != nil {
				return err
			}
			return eventlog.ErrUnknown
		},
		"nothing was written": func(eventlog.Log, int, []eventlog.Write) error { return eventlog.ErrBusy },
		"the event alone was brought by an import": func(l eventlog.Log, _ int, writes []eventlog.Write) error {
			if _, err := l.Append(context.Background(), writes[1:]...); err != nil {
				return err
			}
			return eventlog.ErrUnknown
		},
		"another release made it": func(l eventlog.Log, _ int, writes []eventlog.Write) error {
			to := writes[1].(eventlog.ToStream)
			to.Events = slices.Clone(to.Events)
			to.Events[0].Data = []byte(strings.Replace(string(to.Events[0].Data), "}", ` }`, 1))
			if _, err := l.Append(context.Background(), to); err != nil {
				return err
			}
			return eventlog.ErrUnknown
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				bad := &faulty{Log: w.log, trouble: trouble}
				m := &aggregate.Module{Name: "books", Log: bad, Types: w.types}
				w.run(5*time.Hour+30*time.Minute, w.runner(tick.Config{Module: m}, hourly(tick.Each(10))))
				w.want(hours(1, 5)...)
				if bad.times != 2 {
					t.Errorf("there was trouble %d times", bad.times)
				}
			})
		})
	}
}

// faulty is a log with trouble at the second and the fourth append of an event.
type faulty struct {
	eventlog.Log
	trouble       func(l eventlog.Log, n int, writes []eventlog.Write) error
	events, times int
}

func (f *faulty) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if len(writes) > 1 {
		if f.events++; f.events == 2 || f.events == 5 {
			f.times++
			return eventlog.Appended{}, f.trouble(f.Log, f.events, writes)
		}
	}
	return f.Log.Append(ctx, writes...)
}

// Nobody ran from two in the morning to half past six: what becomes of the ticks of that time is declared, told, and counted.
func TestWhatWasMissedFollowsItsPolicy(t *testing.T) {
	for _, tt := range []struct {
		missed  tick.Missed
		back    time.Duration // when somebody runs again
		want    []string
		skipped int
	}{
		{tick.Each(10), 6*time.Hour + 30*time.Minute, hours(1, 8), 0},
		{tick.Each(2), 6*time.Hour + 30*time.Minute, slices.Concat(hours(1, 2), hours(5, 8)), 2},
		{tick.Latest(), 6*time.Hour + 30*time.Minute, slices.Concat(hours(1, 2), hours(6, 8)), 3},
		{tick.None(), 6*time.Hour + 30*time.Minute, slices.Concat(hours(1, 2), hours(7, 8)), 4},
		{tick.Each(10), 6*time.Hour + 30*time.Second, hours(1, 8), 0},
		{tick.Each(2), 6*time.Hour + 30*time.Second, slices.Concat(hours(1, 2), hours(4, 8)), 1}, // six o'clock is late, not missed
		{tick.Latest(), 6*time.Hour + 30*time.Second, slices.Concat(hours(1, 2), hours(6, 8)), 3},
		{tick.None(), 6*time.Hour + 30*time.Second, slices.Concat(hours(1, 2), hours(6, 8)), 3},
		{tick.None(), 2*time.Hour + 30*time.Minute, hours(1, 8), 0}, // nothing was missed
	} {
		t.Run(fmt.Sprint(tt.missed, " ", tt.back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				began := time.Now()
				w.run(2*time.Hour+time.Minute, w.runner(tick.Config{}, hourly(tick.None())))
				w.pass(time.Until(began.Add(tt.back)))
				r := w.runner(tick.Config{Logger: slog.New(slog.NewTextHandler(&w.told, nil))}, hourly(tt.missed))
				w.run(time.Until(began.Add(8*time.Hour+time.Minute)), r)
				w.want(tt.want...)
				states, err := tick.States(t.Context(), w.log)
				if at := began.Add(8 * time.Hour); err != nil || len(states) != 1 || states[0].Name != "hour" || !states[0].Done.Equal(at) || states[0].Skipped != tt.skipped {
					t.Errorf("%+v, %v; want all done up to %v, %d skipped", states, err, at, tt.skipped)
				}
				told := strings.Contains(w.told.String(), "ticks were missed") && strings.Contains(w.told.String(), fmt.Sprintf("skipped=%d", tt.skipped))
				if missed := tt.back > 3*time.Hour; told != missed {
					t.Errorf("told: %s", &w.told)
				}
			})
		})
	}
}

// A new name begins with the next tick, or where its definition says.
func TestANewTickBeginsNowOrFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.pass(4 * time.Hour) // at the very instant of a tick, which is over
		from := hourly(tick.Each(10))
		from.Name, from.From, from.Stream = "from", time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC), "clock/hours"
		later := hourly(tick.Each(10))
		later.Name, later.From = "later", time.Date(2000, 1, 1, 6, 0, 0, 0, time.UTC)
		w.run(2*time.Hour+time.Minute, w.runner(tick.Config{}, hourly(tick.Each(10)), from, later))
		for stream, want := range map[string][]string{"tick/hour": hours(5, 6), "clock/hours": hours(3, 6), "tick/later": hours(6, 6)} {
			n := 0
			for rec, err := range w.log.ReadStream(t.Context(), stream, eventlog.StreamQuery{}) {
				if err != nil || n >= len(want) || rec.Occurred.Format(time.DateTime) != want[n] {
					t.Errorf("%s: %v, %v; want %v", stream, rec.Occurred, err, want)
				}
				n++
			}
			if n != len(want) {
				t.Errorf("%s: %d events, want %v", stream, n, want)
			}
		}
	})
}

// A release changes when: it goes on from the last tick. Two hours nobody ran.
func TestAnotherCalendarGoesOnFromTheLastTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(2*time.Hour+time.Minute, w.runner(tick.Config{}, hourly(tick.Each(10))))
		half := hourly(tick.Each(10))
		half.On = calendar.MustCron("30 * * * *", time.UTC)
		w.pass(2 * time.Hour)
		w.run(time.Hour, w.runner(tick.Config{}, half))
		w.want("2000-01-01 01:00:00", "2000-01-01 02:00:00", "2000-01-01 02:30:00", "2000-01-01 03:30:00", "2000-01-01 04:30:00")
	})
}

// The days of Berlin, also those of 23 and of 25 hours.
func TestTicksOfAZoneOverItsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		berlin := zone(t, "Europe/Berlin")
		w.pass(time.Until(time.Date(2000, 3, 25, 12, 0, 0, 0, berlin)))
		d := tick.Definition{Name: "night", On: calendar.MustCron("30 2 * * *", berlin), Missed: tick.None(), Event: func(at time.Time) any { return DayEnded{at.Format(time.RFC3339)} }}
		w.run(48*time.Hour, w.runner(tick.Config{}, d), w.runner(tick.Config{}, d))
		w.pass(time.Until(time.Date(2000, 10, 28, 12, 0, 0, 0, berlin)))
		w.run(48*time.Hour, w.runner(tick.Config{}, d), w.runner(tick.Config{}, d))
		w.want("2000-03-26T03:00:00+02:00", "2000-03-27T02:30:00+02:00", "2000-10-29T02:30:00+02:00", "2000-10-30T02:30:00+01:00")
	})
}

// clocked is a log whose store has a clock of its own.
type clocked struct {
	eventlog.Log
	ahead *atomic.Int64
}

func (c clocked) Now(context.Context) (time.Time, error) {
	return time.Now().Add(time.Duration(c.ahead.Load())), nil
}

// The store's clock says when a tick is due, never the machine's; and when it is set back, nothing happens twice.
func TestG11_TicksAreNeverEarlyByTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		var ahead atomic.Int64
		ahead.Store(int64(-90 * time.Minute))
		w.log = clocked{w.log, &ahead}
		runners := []*tick.Runner{w.runner(tick.Config{}, hourly(tick.Each(10))), w.runner(tick.Config{}, hourly(tick.Each(10)))}
		until := func(at time.Duration) { w.run(time.Until(began.Add(at)), runners...) }
		until(150*time.Minute - time.Second)
		w.want("1999-12-31 23:00:00", "2000-01-01 00:00:00") // it is one o'clock in a second
		until(152 * time.Minute)
		w.want("1999-12-31 23:00:00", "2000-01-01 00:00:00", "2000-01-01 01:00:00")
		ahead.Add(int64(-3 * time.Hour)) // somebody sets it back, and it is ten again
		until(6*time.Hour + 15*time.Minute)
		w.want("1999-12-31 23:00:00", "2000-01-01 00:00:00", "2000-01-01 01:00:00")
		until(6*time.Hour + 31*time.Minute)
		w.want("1999-12-31 23:00:00", "2000-01-01 00:00:00", "2000-01-01 01:00:00", "2000-01-01 02:00:00")
	})
}

// One name whose event fails, by an error or a panic, is tried again, and delays no other.
func TestATickThatFailsIsTriedAgainAndDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fails := false
		bad := hourly(tick.None())
		bad.Name = "bad"
		bad.Event = func(at time.Time) any {
			if fails && time.Now().Before(time.Date(2000, 1, 1, 1, 0, 30, 0, time.UTC)) {
				panic("not yet")
			}
			return dayEnded(at)
		}
		r := w.runner(tick.Config{Logger: slog.New(slog.NewTextHandler(&w.told, nil))}, bad, hourly(tick.None()))
		fails = true
		w.run(2*time.Hour-time.Minute, r)
		w.want("2000-01-01 01:00:00", "2000-01-01 01:00:00")
		var streams []string
		for rec, err := range w.log.Read(t.Context(), eventlog.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, rec.Stream)
		}
		if want := []string{"tick/hour", "tick/bad"}; !slices.Equal(streams, want) || !strings.Contains(w.told.String(), "not yet") {
			t.Errorf("%v, want %v; told: %s", streams, want, &w.told)
		}
	})
}

func TestDefinitionsSayAllThatIsWrong(t *testing.T) {
	w := newWorld(t)
	good := hourly(tick.None())
	for want, change := range map[string]func(*tick.Definition){
		"a name is 1 to 100":     func(d *tick.Definition) { d.Name = "end of day" },
		"it has no calendar":     func(d *tick.Definition) { d.On = nil },
		"never ticks again":      func(d *tick.Definition) { d.On = calendar.MustCron("0 0 30 2 *", time.UTC) },
		"zone of this machine":   func(d *tick.Definition) { d.On = calendar.MustCron("@daily", time.Local) },
		"it has no Event":        func(d *tick.Definition) { d.Event = nil },
		"ticks that were missed": func(d *tick.Definition) { d.Missed = tick.Missed{} },
		"it is 1 to 100000":      func(d *tick.Definition) { d.Missed = tick.Each(0) },
		"Late is":                func(d *tick.Definition) { d.Late = -1 },
		"stream":                 func(d *tick.Definition) { d.Stream = "/" },
		"no stable name":         func(d *tick.Definition) { d.Event = func(time.Time) any { return 1 } },
		"Event returned nil":     func(d *tick.Definition) { d.Event = func(time.Time) any { return nil } },
		"panic: no":              func(d *tick.Definition) { d.Event = func(time.Time) any { panic("no") } },
		"another has that name":  func(*tick.Definition) {},
	} {
		d := hourly(tick.None())
		change(&d)
		_, err := tick.New(tick.Config{Module: &aggregate.Module{Name: "books", Log: w.log, Types: w.types}, Ticks: []tick.Definition{good, d}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	var unregistered *event.UnregisteredError
	d := hourly(tick.None())
	d.Event = func(time.Time) any { return 1 }
	if _, err := tick.New(tick.Config{Module: &aggregate.Module{Name: "books", Log: w.log, Types: w.types}, Ticks: []tick.Definition{d}}); !errors.As(err, &unregistered) {
		t.Errorf("%v is no UnregisteredError", err)
	}
}
