package processtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/faultlog"
	"github.com/ensue-io/ensue/process"
)

// Program is one life of a story's program: what it runs on. The names of its members are those of ensue.Options.
type Program struct {
	Worker event.ID      // the identity of its worker, the same in each life: it goes on at once where it stopped
	Lease  time.Duration // of its worker, long where time is virtual, so that nothing ticks

	stage *stage
	life  *faultlog.Life

	mu      sync.Mutex
	engines []*process.Engine
	notes   []string
	failed  error
}

// Logs returns the log of a module in this life.
func (p *Program) Logs(module string) eventlog.Log {
	p.stage.mu.Lock()
	log := p.stage.logs[module]
	if log == nil {
		log = p.stage.make(module)
		p.stage.logs[module] = log
	}
	p.stage.mu.Unlock()
	return p.life.Log(module, log)
}

// Commands wraps what takes commands to their modules: a dispatch is an operation of its own, at which the program crashes.
func (p *Program) Commands(next process.Commands) process.Commands { return dispatches{next, p.life} }

type dispatches struct {
	process.Commands
	life *faultlog.Life
}

func (d dispatches) Dispatch(ctx context.Context, module string, c command.Envelope, first bool) (out command.Outcome, err error) {
	err = d.life.Do("dispatch", module, c.Type+" "+string(c.Data), func() (err error) {
		out, err = d.Commands.Dispatch(ctx, module, c, first)
		return err
	})
	if err != nil {
		out = command.Outcome{}
	}
	return out, err
}

// Now returns the time, which in a story of RealTime is its own.
func (p *Program) Now() time.Time {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	return time.Now().Add(p.stage.ahead)
}

// Until waits until so much time has passed since the story began, in its first life. What is due meanwhile comes about,
// but not all that it leads to: wait until all is idle behind it.
func (p *Program) Until(ctx context.Context, after time.Duration) error {
	if !p.stage.story.RealTime {
		return consumer.Sleep(ctx, time.Until(p.stage.began.Add(after)))
	}
	p.stage.mu.Lock()
	p.stage.ahead = max(p.stage.ahead, time.Until(p.stage.began.Add(after)))
	p.stage.mu.Unlock()
	return ctx.Err()
}

// While runs the application (its Run) while things happen, and stops it then.
func (p *Program) While(ctx context.Context, run, happens func(ctx context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	happening, end := context.WithCancelCause(ctx)
	defer end(nil)
	ended := make(chan error, 1)
	go func() {
		err := run(running)
		end(errors.Join(errors.New("processtest: the application has ended"), err))
		ended <- err
	}()
	err := happens(happening)
	if err != nil && happening.Err() != nil {
		err = context.Cause(happening)
	}
	stop()
	return errors.Join(err, <-ended)
}

// Engine says that the states of a process's instances belong to the end that is compared. Call it before Run returns.
func (p *Program) Engine(e *process.Engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.engines = append(p.engines, e)
}

// Note says that something else, which must be JSON, belongs to the end that is compared: what a mailer has sent, a read
// model. Call it before Run returns.
func (p *Program) Note(what string, value any) {
	text, err := json.Marshal(value)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes = append(p.notes, fmt.Sprintf("%s: %s", what, text))
	p.failed = errors.Join(p.failed, err)
}
