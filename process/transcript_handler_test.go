package process_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
)

// fault is what a handler of commands does instead of its work. The zero fault is none.
type fault struct {
	s     *story
	times int           // so many calls fail
	err   error         // with this
	hangs chan struct{} // the next call stops before it has done anything, until this is closed
	hung  bool          // that call is there
}

// fault returns what the handler does, under the name of a command or of a command and what it is about.
func (s *story) fault(key string) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[key]
	if f == nil {
		f = &fault{s: s}
		s.faults[key] = f
	}
	return f
}

// meet is called by the handler.
func (f *fault) meet() error {
	f.s.mu.Lock()
	hangs := f.hangs
	switch {
	case f.times > 0:
		f.times--
		defer f.s.mu.Unlock()
		return f.err
	case hangs != nil && !f.hung:
		f.hung = true
		f.s.mu.Unlock()
		<-hangs
		return nil
	}
	f.s.mu.Unlock()
	return nil
}

// goOn lets the call go on that hangs.
func (f *fault) goOn() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.hangs != nil {
		close(f.hangs)
		f.hangs, f.hung = nil, false
	}
}

// patience is how long a worker waits for an answer.
const patience = time.Minute

var errNoAnswer = fmt.Errorf("no answer in %v", patience)

// attempt takes a command to its handler. Where that hangs, the worker hears nothing, and the handler goes on when the scenario says so.
func (h *hireling) attempt(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error) {
	f := h.s.fault(c.Type)
	h.s.mu.Lock()
	hangs := f.hangs != nil && !f.hung
	h.s.mu.Unlock()
	if !hangs {
		return do()
	}
	go func() {
		outcome, err := do()
		h.s.trace.late(h.name, module, c, outcome, err)
	}()
	if err := consumer.Sleep(ctx, patience); err != nil {
		return command.Outcome{}, err
	}
	return command.Outcome{}, errNoAnswer
}

// handler changes what the handler of a command does.
func (s *story) handler(w words) string {
	name := w.need(0, "the name of a command")
	if only := w.value("only"); only != "" {
		name += " " + only
	}
	f := s.fault(name)
	what := w.need(1, "fails, hangs, goes-on, rejects or accepts")
	if what == "goes-on" {
		f.goOn()
		return s.settle()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch what {
	case "fails":
		f.times, f.err = must(strconv.Atoi(w.need(2, "how often"))), errors.New("the handler is down")
		why := ""
		if k := w.at(3); k != "" {
			if f.err = handlerErrors[k]; f.err == nil {
				panic(fmt.Errorf("a handler cannot fail because it is %q", k))
			}
			why = ": " + f.err.Error()
		}
		return fmt.Sprintf("the handler of %s will fail, %s%s", name, counted(f.times, "time"), why)
	case "hangs":
		f.hangs = make(chan struct{})
		return fmt.Sprintf("the handler of %s will be slow, so slow that no worker waits for it", name)
	case "rejects":
		s.rejects[name] = w.need(2, "a code")
		return fmt.Sprintf("the handler of %s will reject what it gets", name)
	case "accepts":
		delete(s.rejects, name)
		f.times = 0
		return fmt.Sprintf("the handler of %s is well", name)
	default:
		panic(fmt.Errorf("a handler fails, hangs, goes-on, rejects or accepts; it cannot %q", what))
	}
}
