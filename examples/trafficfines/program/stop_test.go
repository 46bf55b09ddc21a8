package program_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
	"github.com/ensue-io/ensue/process"
)

// The two instants at which a program that stops leaves a command undecided: the step that sent it is committed and the
// receiver has not heard of it; the receiver has handled it and the home does not know. Either way its effect is there once (G7).
func TestStoppedAroundACommand(t *testing.T) { places(t, stoppedAroundACommand) }

func stoppedAroundACommand(t *testing.T, newAddress func(t *testing.T) string) {
	data := generated(t, 150, 8)
	expected := oracle(t, data)
	for name, behind := range map[string]bool{"between step and receipt": false, "between receipt and outcome": true} {
		for _, number := range []int64{1, 40, int64(expected.Penalties)} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				address := newAddress(t)
				app := open(t, address)
				if err := program.Import(t.Context(), app, program.Config{Data: data}); err != nil {
					t.Fatal(err)
				}
				stopAtCommand(t, app, number, behind)
				received := receipts(t, app)
				if err := app.Close(); err != nil {
					t.Fatal(err)
				}
				r, stats := run(t, program.Config{Address: address})
				mustEqual(t, r.Figures, expected)
				if stats.Engine.Commands == 0 {
					t.Error("no command was left to be sent again: nothing was shown")
				}
				if behind && received == 0 {
					t.Error("no receipt was written before the stop")
				}
			})
		}
	}
}

// stopAtCommand runs the process until the command of that number is dispatched: as if the program ended there, nothing
// is written to the home log any more. Behind is after the receiver handled it.
func stopAtCommand(t *testing.T, app *ensue.App, number int64, behind bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gone := &atomic.Bool{}
	var modules []process.Module
	for _, name := range authority.Names {
		m := process.Module{Name: name, Log: app.Module(name).Log(), Types: app.Module(name).Types()}
		if name == authority.Registry {
			m.Log = mortal{m.Log, gone}
		}
		modules = append(modules, m)
	}
	collections := &fatal{bus: app.Module(authority.Collections).Bus(), number: number, behind: behind, stop: func() { gone.Store(true); cancel() }}
	engine, err := process.NewEngine(process.Config{Definition: authority.FineCollection(nil), Home: authority.Registry, Modules: modules,
		Commands: collections, Replay: true, Written: []string{authority.Collections}, Batch: 64, Lease: consumer.LeaseOptions{TTL: time.Second}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Run(ctx); err != nil && !errors.Is(err, eventlog.ErrClosed) {
		t.Fatal(err)
	}
	if !gone.Load() {
		t.Fatalf("the process ended with %d commands, before it could be stopped", collections.dispatched.Load())
	}
}

// receipts returns how many commands collections has handled.
func receipts(t *testing.T, app *ensue.App) (n int) {
	t.Helper()
	for _, err := range app.Module(authority.Collections).Log().Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Receipt}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// mortal is a log of a program that may end: from then on it takes nothing.
type mortal struct {
	eventlog.Log
	gone *atomic.Bool
}

func (m mortal) Links() bool {
	l, ok := m.Log.(eventlog.Linker)
	return ok && l.Links()
}

func (m mortal) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if m.gone.Load() {
		return eventlog.Appended{}, eventlog.ErrClosed
	}
	return m.Log.Append(ctx, writes...)
}

// fatal takes commands to their module, and ends the program at one of them.
type fatal struct {
	bus        *command.Bus
	number     int64
	behind     bool // the command has been handled by then
	stop       func()
	dispatched atomic.Int64
}

func (f *fatal) Resolve(_ string, goType reflect.Type) (target, name string, err error) {
	name, _ = f.bus.Handles(goType)
	return authority.Collections, name, nil
}

func (f *fatal) Encode(_ string, cmd any) (target, name string, data []byte, err error) {
	e, err := f.bus.Encode(cmd)
	return authority.Collections, e.Type, e.Data, err
}

var errGone = errors.New("the program has ended")

func (f *fatal) Fail(ctx context.Context, _ string, c command.Envelope, reason string) (command.Outcome, error) {
	return f.bus.Fail(ctx, c, reason)
}

func (f *fatal) Dispatch(ctx context.Context, _ string, c command.Envelope, first bool) (command.Outcome, error) {
	last := f.dispatched.Add(1) == f.number
	if last && !f.behind {
		f.stop()
		return command.Outcome{}, errGone
	}
	out, err := f.bus.Dispatch(context.WithoutCancel(ctx), c, command.Hint{First: first})
	if last {
		f.stop()
		return out, errors.Join(err, errGone)
	}
	return out, err
}
