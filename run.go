package ensue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// Run runs every process, every handler that comes afterwards, every queue of submitted commands, and the modules' ticks,
// until the context ends, which is no error. By the replay clock it also ends when every process has finished. Anything that cannot go on
// stops everything and is returned.
func (a *App) Run(asked context.Context) error {
	ctx, stop := context.WithCancelCause(asked)
	defer stop(nil)
	var all, processes sync.WaitGroup
	run := func(what string, wg *sync.WaitGroup, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, e := range a.engines {
		run("process", &processes, e.Run)
	}
	for _, m := range a.modules {
		run(m.declared.Name+": handlers", &all, m.module.Run)
		if len(m.declared.Commands) > 0 {
			run(m.declared.Name+": submitted commands", &all, m.bus.Run)
		}
		if m.ticks != nil {
			run(m.declared.Name+": ticks", &all, m.ticks.Run)
		}
	}
	if a.options.Replay && len(a.engines) > 0 {
		all.Go(func() {
			processes.Wait()
			stop(errDone)
		})
	}
	processes.Wait()
	all.Wait()
	if err := context.Cause(ctx); err != nil && err != context.Cause(asked) && !errors.Is(err, errDone) { //nolint:errorlint // whether it is the very one that Run was ended with
		return fmt.Errorf("ensue: %w", err)
	}
	return nil
}

var errDone = errors.New("ensue: every process has finished")

// WaitIdle waits until nothing is left to do: every process has taken what the logs hold, every command that was sent or
// submitted has its outcome, every handler has met what happened, and neither a timeout nor a tick is due. Instances that are held, and inputs
// that wait for an instance, don't count. Run must be running, and nobody else should append.
func (a *App) WaitIdle(ctx context.Context) error {
	for {
		before, err := a.heads(ctx)
		if err != nil {
			return err
		}
		for _, e := range a.engines {
			if err := e.WaitIdle(ctx); err != nil {
				return err
			}
		}
		handled, err := a.handled(ctx)
		if err != nil {
			return err
		}
		after, err := a.heads(ctx)
		if err != nil {
			return err
		}
		if handled && maps.Equal(before, after) {
			return nil
		}
		if !handled {
			if err := consumer.Sleep(ctx, lookAgain); err != nil { // a handler's place is no event that could be waited for
				return err
			}
		}
	}
}

// lookAgain is how often WaitIdle asks whether handlers and queues are done.
const lookAgain = 5 * time.Millisecond

// handled tells whether no handler and no queue of submitted commands has anything left.
func (a *App) handled(ctx context.Context) (bool, error) {
	for _, m := range a.modules {
		if done, err := m.module.Handled(ctx); err != nil || !done {
			return false, err
		}
		if done, err := m.bus.Handled(ctx); err != nil || !done {
			return false, err
		}
		if m.ticks != nil {
			if done, err := m.ticks.Handled(ctx); err != nil || !done {
				return false, err
			}
		}
	}
	return true, nil
}

func (a *App) heads(ctx context.Context) (map[string]eventlog.Position, error) {
	heads := map[string]eventlog.Position{}
	for _, m := range a.modules {
		head, err := m.log.Head(ctx)
		if err != nil {
			return nil, err
		}
		heads[m.declared.Name] = head
	}
	return heads, nil
}
