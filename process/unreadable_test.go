package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

type (
	fEvent struct{ Key, Text string }
	fOut   struct{ Text string }
	fLater struct{ N int }
	fOther struct{ N string }
)

type fNobody struct{}

func (fNobody) Resolve(string, reflect.Type) (string, string, error) {
	return "", "", errors.New("nobody")
}
func (fNobody) Encode(string, any) (string, string, []byte, error) {
	return "", "", nil, errors.New("nobody")
}
func (fNobody) Dispatch(context.Context, string, command.Envelope, bool) (command.Outcome, error) {
	return command.Outcome{}, errors.New("nobody")
}

func (fNobody) Fail(context.Context, string, command.Envelope, string) (command.Outcome, error) {
	return command.Outcome{}, errors.New("nobody")
}

// fRun runs the definition until it is idle, and fails when the engine starts over, which would go on for ever.
func fRun(t *testing.T, log eventlog.Log, def process.Definition, s process.Store, now func() time.Time) process.Stats {
	t.Helper()
	types, err := event.NewRegistry(event.Named[fEvent]("in"), event.Named[fOut]("out"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	e, err := process.NewEngine(process.Config{Definition: def, Home: "m", Modules: []process.Module{{Name: "m", Log: log, Types: types}}, Commands: fNobody{}, Store: s,
		Now: now, Retry: process.Retry{Attempts: 1, Backoff: consumer.Backoff{First: time.Millisecond, Most: time.Millisecond}}, Logger: slog.New(fWatch{stop})})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := e.WaitIdle(short); err != nil {
		t.Errorf("%v: %v", err, context.Cause(short))
	}
	stop(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	return e.Stats()
}

type fWatch struct{ stop context.CancelCauseFunc }

func (fWatch) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (w fWatch) WithAttrs([]slog.Attr) slog.Handler         { return w }
func (w fWatch) WithGroup(string) slog.Handler              { return w }
func (w fWatch) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "starting over" {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		w.stop(errors.New(text))
	}
	return nil
}

func fRecord(t *testing.T, log eventlog.Log, events ...fEvent) {
	t.Helper()
	for _, e := range events {
		data, _ := json.Marshal(e)
		if _, err := log.Append(t.Context(), eventlog.ToStream{Stream: "x/1", Events: []event.Event{{Type: "in", Data: data}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func fStore(t *testing.T, f func(t *testing.T, s process.Store)) {
	t.Run("streams", func(t *testing.T) { f(t, process.Streams{}) })
	t.Run("documents", func(t *testing.T) { f(t, process.Documents{}) })
}

func fDef(react func(in process.Input[fEvent], do *process.Step), more ...process.Part[int]) process.Definition {
	parts := append([]process.Part[int]{process.On[int, fEvent]{Starts: true, Locate: process.Key(func(e fEvent) string { return e.Key }),
		Evolve: func(n int, _ process.Input[fEvent]) int { return n + 1 },
		React:  func(_ int, in process.Input[fEvent], do *process.Step) { react(in, do) }}}, more...)
	return process.Define("p", parts...).Otherwise(process.Ignore)
}

func fState(t *testing.T, log eventlog.Log, def process.Definition, s process.Store, key string) *process.Instance {
	t.Helper()
	types, _ := event.NewRegistry(event.Named[fEvent]("in"), event.Named[fOut]("out"))
	e, err := process.NewEngine(process.Config{Definition: def, Home: "m", Modules: []process.Module{{Name: "m", Log: log, Types: types}}, Commands: fNobody{}, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	i, err := s.Load(t.Context(), e.Home(), []string{key})
	if err != nil {
		t.Fatal(err)
	}
	return i[0]
}

// A timeout that the definition no longer reads holds its instance, and no other (G9).
func TestTimeoutThatCannotBeReadHoldsItsInstanceAlone(t *testing.T) {
	fStore(t, func(t *testing.T, s process.Store) {
		for name, later := range map[string]process.Part[int]{
			"another type": process.OnTimeout[int, fOther]{Name: "later", React: func(int, process.Input[fOther], *process.Step) {}},
			"no part":      process.OnTimeout[int, fOther]{Name: "other", React: func(int, process.Input[fOther], *process.Step) {}},
		} {
			t.Run(name, func(t *testing.T) {
				log := memlog.New()
				now := time.Now()
				fRecord(t, log, fEvent{"a", "set"})
				react := func(in process.Input[fEvent], do *process.Step) {
					if in.Event.Text == "set" {
						do.After(time.Minute, fLater{7})
					}
				}
				fRun(t, log, fDef(react, process.OnTimeout[int, fLater]{Name: "later", React: func(int, process.Input[fLater], *process.Step) {}}), s, func() time.Time { return now })
				fRecord(t, log, fEvent{"b", ""})
				def := fDef(func(process.Input[fEvent], *process.Step) {}, later)
				stats := fRun(t, log, def, s, func() time.Time { return now.Add(time.Hour) })
				if stats.Held != 1 {
					t.Errorf("%d instances are held, and should be 1", stats.Held)
				}
			})
		}
	})
}

// An emitted event whose id the definition chose, and which the log has already, holds its instance: it is neither taken
// for a commit that was repeated, nor does it stop the others.
func TestEmittedIDsThatCollideHoldTheirInstanceAlone(t *testing.T) {
	fStore(t, func(t *testing.T, s process.Store) {
		for _, other := range []string{"the same content", "other content"} {
			t.Run(other, func(t *testing.T) {
				log := memlog.New()
				id := event.NewID()
				def := fDef(func(in process.Input[fEvent], do *process.Step) {
					if strings.HasPrefix(in.Event.Text, "emit") {
						do.Emit(event.New(fOut{in.Event.Text}).WithID(id))
					}
				})
				fRecord(t, log, fEvent{"a", "emit"})
				fRun(t, log, def, s, nil)
				text := "emit"
				if other == "other content" {
					text = "emit other"
				}
				fRecord(t, log, fEvent{"a", text})
				stats := fRun(t, log, def, s, nil)
				i := fState(t, log, def, s, "a")
				if i.State != 1 && i.State != 2 || i.State == 1 && stats.Held != 1 {
					t.Errorf("the state is %v, %d are held", i.State, stats.Held)
				}
				fRecord(t, log, fEvent{"b", ""})
				fRun(t, log, def, s, nil)
				if i := fState(t, log, def, s, "b"); i == nil || i.State != 1 {
					t.Errorf("b is %+v", i)
				}
			})
		}
	})
}

// A document whose state no longer fits the definition's type holds its instance, and no other (G9).
func TestStateThatCannotBeReadHoldsItsInstanceAlone(t *testing.T) {
	log := memlog.New()
	fRecord(t, log, fEvent{"a", ""})
	fRun(t, log, fDef(func(process.Input[fEvent], *process.Step) {}), process.Documents{}, nil)
	def := process.Define("p", process.On[string, fEvent]{Starts: true, Locate: process.Key(func(e fEvent) string { return e.Key }),
		Evolve: func(s string, _ process.Input[fEvent]) string { return s + "." }}).Otherwise(process.Ignore)
	fRecord(t, log, fEvent{"a", ""}, fEvent{"b", ""})
	if stats := fRun(t, log, def, process.Documents{}, nil); stats.Held != 1 {
		t.Errorf("%d instances are held, and should be 1", stats.Held)
	}
}
