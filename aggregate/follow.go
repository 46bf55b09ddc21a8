package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// The keys of the handlers' cursors begin with an empty part, which no consumer's name is.
func (h Handler) key() string { return eventlog.Key("", "afterwards", h.name) }

// Begin gives every Afterwards handler that is new its place: the end of the log as it is. From then on nothing is
// kept from it. Call it before the program appends; Run calls it too.
func (m *Module) Begin(ctx context.Context) error {
	for _, h := range m.Handlers {
		if !h.afterwards {
			continue
		}
		if err := m.begin(ctx, h); err != nil {
			return fmt.Errorf("aggregate: handler %q: %w", h.name, err)
		}
	}
	return nil
}

func (m *Module) begin(ctx context.Context, h Handler) error {
	if _, revision, err := m.cursor(ctx, h); err != nil || revision != eventlog.NoEntry {
		return err
	}
	head, err := m.Log.Head(ctx)
	if err != nil {
		return err
	}
	c := consumer.Cursor{Log: m.Log.ID(), Position: head}
	if head > 0 {
		for rec, err := range m.Log.Read(ctx, eventlog.Query{After: head - 1, To: head, System: true}) {
			if err != nil {
				return err
			}
			c.Event, c.At = rec.ID, rec.Position
		}
	}
	put := c.Put(h.key())
	put.Expect = eventlog.NoEntry
	if _, err := m.Log.Append(ctx, put); err != nil && !errors.Is(err, eventlog.ErrConflict) { // another program may have been quicker
		return err
	}
	return nil
}

// Run runs the module's Afterwards handlers, each for itself, until ctx ends; then it returns nil. Several programs
// may run the same handlers: whoever is later leaves the event to the other. It stops with eventlog.ErrLogRewound when
// the log is not the one that a handler has followed.
func (m *Module) Run(ctx context.Context) error {
	if err := m.Begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to end
		}
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	errs := make([]error, len(m.Handlers))
	for i, h := range m.Handlers {
		if !h.afterwards {
			continue
		}
		running.Go(func() {
			f := follower{module: m, handler: h, logger: m.logger().With(slog.String("module", m.Name), slog.String("handler", h.name))}
			if errs[i] = f.run(ctx); errs[i] != nil {
				stop(errs[i])
			}
		})
	}
	running.Wait()
	<-ctx.Done()
	return errors.Join(errs...)
}

// cursor returns the handler's cursor and its revision, eventlog.NoEntry where there is none.
func (m *Module) cursor(ctx context.Context, h Handler) (c consumer.Cursor, revision eventlog.Revision, err error) {
	revision = eventlog.NoEntry
	for entry, err := range m.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Keys: []string{h.key()}}) {
		if err != nil {
			return consumer.Cursor{}, 0, fmt.Errorf("read its cursor: %w", err)
		}
		if err := json.Unmarshal(entry.Value, &c); err != nil {
			return consumer.Cursor{}, 0, fmt.Errorf("its cursor is unreadable: %w", err)
		}
		revision = entry.Revision
	}
	return c, revision, nil
}

// Handled tells whether every Afterwards handler has met every event of the log that concerns it.
func (m *Module) Handled(ctx context.Context) (bool, error) {
	for _, h := range m.Handlers {
		if !h.afterwards {
			continue
		}
		c, _, err := m.cursor(ctx, h)
		if err != nil {
			return false, fmt.Errorf("aggregate: handler %q: %w", h.name, err)
		}
		for rec, err := range m.Log.Read(ctx, eventlog.Query{After: c.Position}) {
			if err != nil {
				return false, err
			}
			facts, err := m.Types.Decode(rec.Event)
			if err != nil || slices.ContainsFunc(facts, h.matches) {
				return false, nil // also where the handler stands before what it cannot read
			}
		}
	}
	return true, nil
}

// follower runs one Afterwards handler.
type follower struct {
	module   *Module
	handler  Handler
	logger   *slog.Logger
	revision eventlog.Revision // of the cursor as stored
	reached  eventlog.Position // in memory: events that don't concern the handler move it on
	passed   int               // so many of them, since the cursor was stored
}

// errMoved means that another program wrote the handler's cursor.
var errMoved = errors.New("aggregate: the cursor was moved by another program")

// mostPassed is after how many events that don't concern a handler its cursor is stored nevertheless.
const mostPassed = 1000

func (f *follower) run(ctx context.Context) error {
	backoff := consumer.Backoff{Most: 5 * time.Second}
	for failed := 0; ctx.Err() == nil; {
		err := f.follow(ctx)
		switch {
		case errors.Is(err, eventlog.ErrLogRewound):
			return fmt.Errorf("aggregate: handler %q: %w", f.handler.name, err)
		case errors.Is(err, errMoved):
			failed = 0
			continue
		}
		if failed++; ctx.Err() == nil {
			f.logger.WarnContext(ctx, "reading again", slog.Any("error", err), slog.Int("failed", failed))
			_ = consumer.Sleep(ctx, backoff.After(failed)) // when it is cut short, the loop ends
		}
	}
	return nil
}

// follow takes up the handler's cursor and hands on what is behind it, until something fails.
func (f *follower) follow(ctx context.Context) error {
	c, revision, err := f.module.cursor(ctx, f.handler)
	if err != nil {
		return err
	}
	if err := c.Check(ctx, f.module.Log); err != nil {
		return err
	}
	f.revision, f.reached, f.passed = revision, c.Position, 0
	for {
		head, err := f.module.Log.Head(ctx)
		if err != nil {
			return err
		}
		for rec, err := range f.module.Log.Read(ctx, eventlog.Query{After: f.reached, To: head}) {
			if err != nil {
				return err
			}
			if err := f.handle(ctx, rec); err != nil {
				return err
			}
			f.reached = rec.Position
		}
		if err := f.module.Log.Wait(ctx, head); err != nil {
			return err
		}
	}
}

// handle gives one event to the handler, as often as it takes.
func (f *follower) handle(ctx context.Context, rec event.Recorded) error {
	for failed := 0; ; {
		err := f.try(ctx, rec)
		var moved *eventlog.EntryConflictError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &moved) && moved.Kind == eventlog.Cursor && moved.Key == f.handler.key():
			return errMoved
		case ctx.Err() != nil:
			return err
		}
		failed++
		f.logger.WarnContext(ctx, "trying again", slog.Any("error", err), slog.Int("failed", failed), slog.Uint64("position", uint64(rec.Position)))
		if err := consumer.Sleep(ctx, consumer.Backoff{}.After(failed)); err != nil {
			return err
		}
	}
}

// try handles an event and stores the cursor behind it, in one append. For what does not concern the handler the cursor
// is stored now and then.
func (f *follower) try(ctx context.Context, rec event.Recorded) error {
	facts, err := f.module.Types.Decode(rec.Event)
	if err != nil {
		return err
	}
	next := consumer.Cursor{Log: f.module.Log.ID(), Position: rec.Position, Event: rec.ID, At: rec.Position}
	put := next.Put(f.handler.key())
	put.Expect = f.revision
	w := NewWork(f.module, Cause{At: rec.Recorded, Metadata: rec.Metadata.Carry(rec.ID, f.module.Carried)})
	w.Put(put)
	concerned := f.passed+1 >= mostPassed
	for _, fact := range facts {
		if f.handler.matches(fact) {
			concerned = true
			if err := f.handler.run(ctx, w, fact); err != nil {
				return err
			}
		}
	}
	if !concerned {
		f.passed++
		return nil
	}
	appended, err := w.Commit(ctx)
	if err != nil {
		return err
	}
	f.revision, f.passed = appended.Results[0].Revision, 0
	return nil
}
