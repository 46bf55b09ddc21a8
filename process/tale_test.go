package process_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// tale is an application, and what happens to it. Together the tales use everything that processes can do: a new ability gets
// its place in one of them. Each is short, since a program crashes at everything that it does in them.
type tale struct {
	process string
	modules []string
	tell    func(ensue.Options) ([]ensue.Part, happening) // one life of it
}

// happening is what happens from outside, in one life of a program. It is told again by a program that has crashed.
type happening func(ctx context.Context, app *ensue.App, until func(ctx context.Context, after time.Duration) error) error

var tales = map[string]tale{
	"trips": {"trip", []string{"trips", "desk", "depot"}, func(o ensue.Options) ([]ensue.Part, happening) {
		return tripParts(o), tripsHappen
	}},
	"charters": {"charter", []string{"charters", "desk", "depot"}, func(o ensue.Options) ([]ensue.Part, happening) {
		var mended atomic.Bool // the program has a bug, and a newer one has not
		return charterParts(mended.Load, o), chartersHappen(func() { mended.Store(true) })
	}},
}

// begin is one life of the tale.
func (t tale) begin(ctx context.Context, store process.Store, o ensue.Options) (*ensue.App, happening, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	o.Processes = map[string]ensue.ProcessOptions{t.process: {Store: store, Retry: process.Retry{Backoff: consumer.Backoff{First: time.Millisecond, Most: 5 * time.Millisecond}}}}
	parts, happens := t.tell(o)
	app, err := ensue.Open(ctx, "", parts...)
	return app, happens, err
}

// run is one life of the tale, on what a test gives it.
func (t tale) run(store process.Store) func(ctx context.Context, p *processtest.Program) error {
	return func(ctx context.Context, p *processtest.Program) error {
		app, happens, err := t.begin(ctx, store, ensue.Options{Logs: p.Logs, Commands: p.Commands, Worker: p.Worker, Lease: p.Lease, Now: p.Now})
		if err != nil {
			return err
		}
		err = p.While(ctx, app.Run, func(ctx context.Context) error { return happens(ctx, app, p.Until) })
		p.Engine(app.Process(t.process))
		return err
	}
}

// chapter is what happens when so much time has passed.
type chapter struct {
	after time.Duration
	facts func() error
}

// chapters lets what a tale tells happen, each when everything before it has come to rest.
func chapters(ctx context.Context, app *ensue.App, until func(ctx context.Context, after time.Duration) error, list []chapter) error {
	for _, c := range list {
		if err := all(until(ctx, c.after), app.WaitIdle(ctx)); err != nil {
			return err
		}
		if err := all(c.facts(), app.WaitIdle(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// facts returns what records the facts of a tale. Each has an id of its own, so it can be told again.
func facts(ctx context.Context, app *ensue.App, tale string) func(module, about string, what any) error {
	n := 0
	return func(module, about string, what any) error {
		n++
		draft := event.New(what).WithID(event.DeriveID(tale, fmt.Sprint(n))).WithHeader("trip", about)
		_, err := app.Module(module).Record(ctx, "fact/"+about, draft)
		return err
	}
}

// all returns the first error. Its arguments are evaluated in their order, so it must not be given what depends on
// what came before.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
