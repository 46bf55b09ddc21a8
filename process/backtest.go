package process

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/ensue-io/ensue/eventlog"
)

// BacktestOptions say what a backtest compares. Engine is needed.
type BacktestOptions struct {
	Engine    *Engine      // of the process as the application has it: where its instances are kept and what commands mean. It need not run
	Candidate Definition   // what is tried; by default the engine's own definition, compared with what was decided before
	Only      Status       // Running for the live instances alone, Completed for the others; by default all
	Instances []string     // keys; by default every instance
	Most      int          // differing instances that the report describes, at most; default 100. All are counted
	Progress  func(Report) // called after each instance with the counts so far; its Differences are nil
}

// ErrNoHistory means that the store of a process keeps no history that a backtest could take its inputs from.
var ErrNoHistory = errors.New("process: the store keeps no history of the inputs; process.Streams does")

// Backtest gives the recorded inputs of a process to a candidate definition and reports, per instance, what it would have
// decided otherwise: commands, timeouts, events, completion and, where the candidate is another definition than the engine's,
// the state that it ends in. Nothing is written, and nothing is sent (G13). One instance is in memory at a time.
//
// An instance's inputs are those that it took, in that order. What cannot be known is said in the notes of its difference:
//   - A timeout that is not recorded fires virtually, when an input recorded after it was due comes. A recorded firing that
//     the candidate had not set for that instant is left out.
//   - The outcome of a command that the candidate does not send is left out. One that it sends beside has no outcome.
//   - An event that no instance took is not met, nor one that another instance took.
//
// Commands, events and timeouts are equal by name and payload, commands also by what undoes them; metadata and ids are not
// compared. A command, event or timeout that had another name then is compared under the present one. Instances that the
// candidate pins to an older version are counted, and not tried. Once an instance has differed, its later steps count for its
// end, and are not listed. Where the store keeps no history, the error is ErrNoHistory.
func Backtest(ctx context.Context, o BacktestOptions) (Report, error) {
	if o.Engine == nil {
		return Report{}, errors.New("process: a backtest needs BacktestOptions.Engine; ensue.App.Process returns it")
	}
	b := &backtest{e: o.Engine, renamed: map[string]string{}, def: &o.Candidate, compares: o.Candidate.name != ""}
	if !b.compares {
		b.def = b.e.home.def
	}
	candidate, err := b.def.ready()
	if err != nil {
		return Report{}, err
	}
	if slices.Contains(candidate.Names(), b.e.home.name) {
		candidate = candidate.kept(b.e.home.name)
	}
	b.def = &candidate
	if b.router, err = newRouter(b.def, b.e.router.types, commandNames(b.e.cfg.Commands)); err != nil {
		return Report{}, err
	}
	r := Report{Process: b.e.home.name, Differences: []InstanceDifference{}}
	most := orDefault(o.Most, 100)
	for key, err := range b.keys(ctx, o) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r, err
		}
		if pinned, err := b.pinned(ctx, key); err != nil {
			return r, err
		} else if pinned {
			r.Pinned++
			continue
		}
		t, err := b.try(ctx, key)
		if err != nil {
			return r, err
		}
		r.Instances++
		r.Steps += t.steps
		if d := t.end(); d != nil {
			if r.Differing++; len(r.Differences) < most {
				r.Differences = append(r.Differences, *d)
			}
		}
		if o.Progress != nil {
			counts := r
			counts.Differences = nil
			o.Progress(counts)
		}
	}
	return r, nil
}

// backtest is a candidate over what an engine's process has recorded.
type backtest struct {
	e        *Engine
	def      *Definition       // the candidate
	router   *router           // of the candidate
	compares bool              // the engine's definition is another one: states can be compared
	renamed  map[string]string // present names of commands, by former ones
}

// keys returns the keys of the instances to try.
func (b *backtest) keys(ctx context.Context, o BacktestOptions) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, key := range o.Instances {
			if !yield(key, nil) {
				return
			}
		}
		if o.Instances != nil {
			return
		}
		for s, err := range b.e.cfg.Store.List(ctx, b.e.home, "") {
			if err == nil && o.Only != New && s.Status != o.Only {
				continue
			}
			if !yield(s.Key, err) {
				return
			}
		}
	}
}

// pinned tells whether the instance stays with an older version, whatever the candidate decides.
func (b *backtest) pinned(ctx context.Context, key string) (bool, error) {
	if len(b.router.pinned()) == 0 {
		return false, nil
	}
	i, err := Look(ctx, b.e.home, key)
	var corrupt *eventlog.CorruptError
	switch {
	case errors.As(err, &corrupt), errors.Is(err, ErrNoInstance): // which trying it says
		return false, nil
	case err != nil:
		return false, err
	}
	return b.router.of(i) != b.router, nil
}

// try gives one instance's inputs to the candidate.
func (b *backtest) try(ctx context.Context, key string) (*trial, error) {
	t := b.newTrial(key)
	for s, err := range recordedSteps(ctx, b.e.home, key, true) {
		var corrupt *eventlog.CorruptError
		if errors.As(err, &corrupt) {
			t.steps++
			t.fail(&s.Input, fmt.Errorf("its history: %w", err))
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		t.step(&s)
	}
	if t.steps == 0 {
		return nil, fmt.Errorf("%w (of instance %s)", ErrNoHistory, b.e.home.Stream(key))
	}
	return t, nil
}
