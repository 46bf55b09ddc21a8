package ensue

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/ensue-io/ensue/eventlog"
)

// Run runs every process, every handler that comes afterwards, and every queue of submitted commands, until the context
// ends, which is no error. By the replay clock it also ends when every process has finished. Anything that cannot go on
// stops everything and is returned.
func (a *App) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
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
	}
	if a.options.Replay && len(a.engines) > 0 {
		all.Go(func() {
			processes.Wait()
			stop(errDone)
		})
	}
	processes.Wait()
	all.Wait()
	if err := context.Cause(ctx); err != errDone && err != ctx.Err() { //nolint:errorlint // compared with what this function itself gave
		return fmt.Errorf("ensue: %w", err)
	}
	return nil
}

var errDone = fmt.Errorf("ensue: every process has finished")

// WaitIdle waits until nothing is left to do: every process has taken what the logs hold, every command that was sent
// has its outcome, and nothing is due. Instances that are held, and inputs that wait for an instance, don't count. Run
// must be running, and nobody else should append.
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
		after, err := a.heads(ctx)
		if err != nil {
			return err
		}
		if maps.Equal(before, after) {
			return nil
		}
	}
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
