package tick

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Config configures a Runner.
type Config struct {
	Module *aggregate.Module // in whose log the events are; its Inside handlers run with them
	Ticks  []Definition
	Now    func() time.Time // the clock; default that of the store, if it has one (eventlog.Clock), otherwise time.Now
	Logger *slog.Logger     // told of ticks that were missed, and of what fails; default slog.Default()
}

// Runner makes the time events of one module. Any number of them may run, in any number of programs.
type Runner struct {
	cfg   Config
	ticks []*runner
}

// New checks the definitions; all mistakes are returned, joined. One of them is an Event whose type the module doesn't have.
func New(cfg Config) (*Runner, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Runner{cfg: cfg}
	var errs []error
	names := map[string]bool{}
	for _, d := range cfg.Ticks {
		if names[d.Name] {
			errs = append(errs, fmt.Errorf("tick %q: another has that name", d.Name))
		}
		names[d.Name] = true
		if err := d.Check(); err != nil {
			errs = append(errs, err)
			continue
		}
		at, _ := d.On.Next(time.Now())
		draft, err := d.draft(cfg.Module.Name, at)
		if err == nil {
			_, err = cfg.Module.Types.Encode(draft)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tick %q: its event at %v: %w", d.Name, at, err))
			continue
		}
		r.ticks = append(r.ticks, &runner{Config: &r.cfg, Definition: d, wake: make(chan struct{}, 1),
			log: cfg.Logger.With("module", cfg.Module.Name, "tick", d.Name)})
	}
	return r, errors.Join(errs...)
}

// Run makes what is due, until the context ends; then it returns nil. Names don't wait for each other.
func (r *Runner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, t := range r.ticks {
		running.Go(func() { t.run(ctx) })
	}
	running.Wait()
	return nil
}

// Handled tells whether no tick is due. One that is, is then made at once.
func (r *Runner) Handled(ctx context.Context) (bool, error) {
	for _, t := range r.ticks {
		state, revision, err := t.state(ctx)
		if err != nil {
			return false, err
		}
		now, err := t.now(ctx)
		if err != nil {
			return false, err
		}
		at, ok := t.On.Next(state.Done)
		if revision != eventlog.NoEntry && (!ok || at.Truncate(time.Microsecond).After(now)) {
			continue
		}
		select {
		case t.wake <- struct{}{}:
		default:
		}
		return false, nil
	}
	return true, nil
}

// State is how far the time events of one name came.
type State struct {
	Name    string    `json:"-"`
	Done    time.Time `json:"done"`              // every tick up to this instant was made, or skipped by its policy
	Skipped int       `json:"skipped,omitempty"` // so many, ever
}

// States lists the time events that a log has, by name. It needs no definition.
func States(ctx context.Context, log eventlog.Log) ([]State, error) {
	var states []State
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Prefix: eventlog.Key(prefix) + "/"}) {
		var s State
		if err == nil {
			err = json.Unmarshal(e.Value, &s)
		}
		if err != nil {
			return nil, fmt.Errorf("tick: read %q: %w", e.Key, err)
		}
		s.Name = eventlog.SplitKey(e.Key)[1]
		states = append(states, s)
	}
	return states, nil
}

// prefix begins the keys of the states. It is stored: it never changes.
const prefix = "tick"

// runner makes the ticks of one definition.
type runner struct {
	*Config
	Definition
	log  *slog.Logger
	wake chan struct{}
}

func (t *runner) key() string { return eventlog.Key(prefix, t.Name) }

// now asks the clock.
func (t *runner) now(ctx context.Context) (time.Time, error) {
	if t.Now != nil {
		return t.Now(), nil
	}
	if store, ok := t.Module.Log.(eventlog.Clock); ok {
		now, err := store.Now(ctx)
		if err != nil {
			return now, fmt.Errorf("ask the store for the time: %w", err)
		}
		return now, nil
	}
	return time.Now(), nil
}

// state reads up to which instant all is done; eventlog.NoEntry where the name is new.
func (t *runner) state(ctx context.Context) (s State, revision eventlog.Revision, err error) {
	revision = eventlog.NoEntry
	for e, err := range t.Module.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Keys: []string{t.key()}}) {
		if err == nil {
			err = json.Unmarshal(e.Value, &s)
		}
		if err != nil {
			return s, 0, fmt.Errorf("read up to when all is done: %w", err)
		}
		revision = e.Revision
	}
	return s, revision, nil
}

func (t *runner) put(s State, expect eventlog.Revision) eventlog.Put {
	value, err := json.Marshal(s)
	if err != nil {
		panic(err) // a State has nothing that JSON cannot hold
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: t.key(), Value: value}, Expect: expect}
}

const (
	// spread is over which time the programs that wait for one tick come to it, so that most of them find it made.
	spread = 50 * time.Millisecond
	// longest is how long nobody looks at the clock, which may be set, and stands still for a machine that sleeps.
	longest = time.Minute
	// longestOwn is that for a clock of the program's own, which may do anything.
	longestOwn = time.Second
)

func (t *runner) run(ctx context.Context) {
	backoff := consumer.Backoff{Most: longest}
	for failed := 0; ctx.Err() == nil; {
		wait, err := t.look(ctx)
		switch {
		case err == nil:
			failed = 0
		case t.overtaken(err):
			continue // somebody was faster: what is left is to be decided anew
		case ctx.Err() != nil:
			return
		default:
			failed++
			wait = backoff.After(failed)
			t.log.Error("a time event cannot be made, and is tried again", "error", err, "failed", failed, "again", wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// overtaken tells whether an append failed because somebody else had moved on.
func (t *runner) overtaken(err error) bool {
	var conflict *eventlog.EntryConflictError
	return errors.As(err, &conflict) && conflict.Kind == eventlog.Setting && conflict.Key == t.key()
}

// look makes what is due, and returns how long there is nothing to do.
func (t *runner) look(ctx context.Context) (time.Duration, error) {
	state, revision, err := t.state(ctx)
	if err != nil {
		return 0, err
	}
	now, err := t.now(ctx)
	if err != nil {
		return 0, err
	}
	if revision == eventlog.NoEntry {
		if state.Done = event.Micro(now); !t.From.IsZero() {
			state.Done = event.Micro(t.From).Add(-time.Microsecond)
		}
		if revision, err = t.move(ctx, state, revision); err != nil {
			return 0, err
		}
	}
	p, err := t.plan(state.Done, now)
	if err != nil {
		return 0, err
	}
	if n := p.skipped.count + p.missed; n > 0 {
		t.log.Warn("ticks were missed", "missed", n, "since", state.Done, "policy", t.Missed.String(), "made", p.missed, "skipped", p.skipped.count)
	}
	if p.skipped.count > 0 {
		state.Done, state.Skipped = event.Micro(p.skipped.last), state.Skipped+p.skipped.count
		if len(p.make) == 0 {
			if _, err := t.move(ctx, state, revision); err != nil {
				return 0, err
			}
		}
	}
	for _, at := range p.make {
		state.Done = event.Micro(at)
		if revision, err = t.happen(ctx, at, state, revision); err != nil {
			return 0, err
		}
	}
	wait := longest
	if t.Now != nil {
		wait = longestOwn
	}
	if !p.next.IsZero() {
		wait = min(wait, p.next.Sub(now)+rand.N(spread)) // #nosec G404 -- jitter, no secret
	}
	return wait, nil
}

// happen appends the event of a tick, and with it that all is done up to there.
func (t *runner) happen(ctx context.Context, at time.Time, state State, revision eventlog.Revision) (eventlog.Revision, error) {
	draft, err := t.draft(t.Module.Name, at)
	if err != nil {
		return 0, fmt.Errorf("its event at %v: %w", at, err)
	}
	w := aggregate.NewWork(t.Module, aggregate.Cause{At: event.Micro(at), Metadata: event.Metadata{Correlation: draft.ID}})
	w.Put(t.put(state, revision))
	if err := w.Append(t.stream(), eventlog.Any, draft); err != nil {
		return 0, fmt.Errorf("its event at %v: %w", at, err)
	}
	done, err := w.Commit(ctx)
	switch {
	case err == nil && !done.Repeat:
		return done.Results[0].Revision, nil
	case err != nil && !t.isThere(ctx, draft.ID, err):
		return 0, fmt.Errorf("its event at %v: %w", at, err)
	}
	// The event is there and the entry is behind it: an import, or a repair, that brought events alone.
	return t.move(ctx, state, revision)
}

// isThere tells whether an append failed because the log has the event, perhaps as another release of the program made it.
func (t *runner) isThere(ctx context.Context, id event.ID, err error) bool {
	var known *eventlog.IDError
	if !errors.As(err, &known) {
		return false
	}
	for rec, err := range t.Module.Log.Read(ctx, eventlog.Query{IDs: []event.ID{id}}) {
		return err == nil && rec.ID == id
	}
	return false
}

// move says up to which instant all is done, where no event goes with it.
func (t *runner) move(ctx context.Context, state State, revision eventlog.Revision) (eventlog.Revision, error) {
	done, err := t.Module.Log.Append(ctx, t.put(state, revision))
	if err != nil {
		return 0, fmt.Errorf("say up to when all is done: %w", err)
	}
	return done.Results[0].Revision, nil
}
