package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// place is how far an Afterwards handler has come: the value of its cursor entry.
type place struct {
	Log      event.ID          `json:"log"`
	Position eventlog.Position `json:"position"`
	Event    event.ID          `json:"event,omitzero"` // the event there
	revision eventlog.Revision
}

func (h Handler) key() string { return eventlog.Key("afterwards", h.name) }

// Begin gives every Afterwards handler that is new its place: the end of the log as it is. From then on nothing is
// kept from it. Call it before the program appends; Run calls it too.
func (m *Module) Begin(ctx context.Context) error {
	for _, h := range m.Handlers {
		if !h.afterwards {
			continue
		}
		if _, found, err := m.place(ctx, h); err != nil || found {
			if err != nil {
				return err
			}
			continue
		}
		p := place{Log: m.Log.ID()}
		var err error
		if p.Position, err = m.Log.Head(ctx); err != nil {
			return fmt.Errorf("aggregate: handler %q: %w", h.name, err)
		}
		if p.Event, err = m.eventAt(ctx, p.Position); err != nil {
			return fmt.Errorf("aggregate: handler %q: %w", h.name, err)
		}
		_, err = m.Log.Append(ctx, p.put(h, eventlog.NoEntry))
		if err != nil && !errors.Is(err, eventlog.ErrConflict) { // another program was quicker
			return fmt.Errorf("aggregate: handler %q: %w", h.name, err)
		}
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

func (m *Module) place(ctx context.Context, h Handler) (p place, found bool, err error) {
	for entry, err := range m.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Keys: []string{h.key()}}) {
		if err != nil {
			return place{}, false, fmt.Errorf("aggregate: handler %q: read its place: %w", h.name, err)
		}
		if err := json.Unmarshal(entry.Value, &p); err != nil {
			return place{}, false, fmt.Errorf("aggregate: handler %q: its place is unreadable: %w", h.name, err)
		}
		p.revision, found = entry.Revision, true
	}
	return p, found, nil
}

// eventAt returns the id of the event at a position, zero where there is none.
func (m *Module) eventAt(ctx context.Context, p eventlog.Position) (id event.ID, err error) {
	if p == 0 {
		return event.ID{}, nil
	}
	for rec, err := range m.Log.Read(ctx, eventlog.Query{After: p - 1, To: p, System: true}) {
		if err != nil {
			return event.ID{}, err
		}
		id = rec.ID
	}
	return id, nil
}

func (p place) put(h Handler, expect eventlog.Revision) eventlog.Put {
	value, err := json.Marshal(p)
	if err != nil {
		panic(err) // two ids and a number
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: h.key(), Value: value}, Expect: expect}
}

// follower runs one Afterwards handler.
type follower struct {
	module  *Module
	handler Handler
	logger  *slog.Logger
	place   place // as stored
	reached place // in memory: events that don't concern the handler move it on
}

// errMoved means that another program wrote the handler's place.
var errMoved = errors.New("aggregate: the place was moved by another program")

// passed is after how many events that don't concern a handler its place is stored nevertheless.
const passed = 1000

func (f *follower) run(ctx context.Context) error {
	for failed := 0; ; {
		err := f.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case errors.Is(err, eventlog.ErrLogRewound):
			return err
		case errors.Is(err, errMoved):
			failed = 0
			continue
		}
		failed++
		f.logger.WarnContext(ctx, "reading again", slog.Any("error", err), slog.Int("failed", failed))
		_ = pause(ctx, failed, 10*time.Millisecond, 5*time.Second) // if it is cut short, so is the next round
	}
}

// follow takes the handler's place and hands on what is behind it, until something fails.
func (f *follower) follow(ctx context.Context) error {
	if err := f.resume(ctx); err != nil {
		return err
	}
	for {
		head, err := f.module.Log.Head(ctx)
		if err != nil {
			return err
		}
		for rec, err := range f.module.Log.Read(ctx, eventlog.Query{After: f.reached.Position, To: head}) {
			if err != nil {
				return err
			}
			if err := f.handle(ctx, rec); err != nil {
				return err
			}
		}
		if err := f.module.Log.Wait(ctx, head); err != nil {
			return err
		}
	}
}

// resume reads the place and makes sure that it is one of this log.
func (f *follower) resume(ctx context.Context) error {
	p, _, err := f.module.place(ctx, f.handler)
	if err != nil {
		return err
	}
	there, err := f.module.eventAt(ctx, p.Position)
	if err != nil {
		return err
	}
	if p.Log != f.module.Log.ID() || there != p.Event {
		return fmt.Errorf("aggregate: handler %q had come to event %s at position %d of log %s; log %s has %s there: %w",
			f.handler.name, p.Event, p.Position, p.Log, f.module.Log.ID(), there, eventlog.ErrLogRewound)
	}
	f.place, f.reached = p, p
	return nil
}

// handle gives one event to the handler, as often as it takes.
func (f *follower) handle(ctx context.Context, rec event.Recorded) error {
	next := place{Log: f.place.Log, Position: rec.Position, Event: rec.ID}
	for failed := 0; ; {
		appended, written, err := f.try(ctx, rec, next)
		if err == nil {
			if f.reached = next; written {
				next.revision = appended.Results[0].Revision
				f.place = next
			}
			return nil
		}
		var moved *eventlog.EntryConflictError
		if errors.As(err, &moved) && moved.Kind == eventlog.Cursor && moved.Key == f.handler.key() {
			return errMoved
		}
		if ctx.Err() != nil {
			return err
		}
		failed++
		f.logger.WarnContext(ctx, "trying again", slog.Any("error", err), slog.Int("failed", failed), slog.Uint64("position", uint64(rec.Position)))
		if err := pause(ctx, failed, 10*time.Millisecond, 30*time.Second); err != nil {
			return err
		}
	}
}

// try handles an event and stores the new place in one append. What does not concern the handler is stored now and then.
func (f *follower) try(ctx context.Context, rec event.Recorded, next place) (eventlog.Appended, bool, error) {
	facts, err := f.module.Types.Decode(rec.Event)
	if err != nil {
		return eventlog.Appended{}, false, err
	}
	w := NewWork(f.module, Cause{At: rec.Recorded, Metadata: rec.Metadata.Carry(rec.ID, f.module.Carried)})
	w.Put(next.put(f.handler, f.place.revision))
	concerned := rec.Position >= f.place.Position+passed
	for _, fact := range facts {
		if f.handler.matches(fact) {
			concerned = true
			if err := f.handler.run(ctx, w, fact); err != nil {
				return eventlog.Appended{}, false, err
			}
		}
	}
	if !concerned {
		return eventlog.Appended{}, false, nil
	}
	appended, err := w.Commit(ctx)
	return appended, true, err
}
