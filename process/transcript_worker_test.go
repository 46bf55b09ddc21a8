package process_test

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// hireling is a worker of a story: an engine that runs, and what can happen to it.
type hireling struct {
	*process.Engine
	s       *story
	name    string
	cancel  context.CancelFunc
	running sync.WaitGroup
	ended   bool // Run has returned

	mu     sync.Mutex
	dead   bool          // nothing that it does arrives any more
	paused chan struct{} // closed when it goes on; nil while it runs
	next   string        // where something happens to it: a place below
	lost   bool          // its answers are lost there, but it lives on
	known  int64         // duplicates that were told of
}

// Places at which something can happen to a worker.
const (
	beforeCommit   = "before-commit"   // it has decided, and nothing of that is in the log
	afterCommit    = "after-commit"    // its decision is in the log, and it has not heard of that
	beforeDispatch = "before-dispatch" // a command was committed, and has not been sent
	afterDispatch  = "after-dispatch"  // the command took effect, and its outcome has not been heard of
)

var places = []string{beforeCommit, afterCommit, beforeDispatch, afterDispatch}

// hire starts a worker. One of the same name is the same worker: it need not wait for its own lease.
func (s *story) hire(name string, cfg process.Config) error {
	h := &hireling{s: s, name: name}
	cfg.Lease = consumer.LeaseOptions{TTL: storyLease, Worker: event.DeriveID("worker", name)}
	bus := newStoryBus(s, func(m string) eventlog.Log { return s.logs[m] })
	bus.next = h.dispatch
	engine, err := s.engine(cfg, func(l eventlog.Log) eventlog.Log { return wrapped{l, h.append} }, bus)
	if err != nil {
		return err
	}
	h.Engine = engine
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	s.workers[name] = h
	h.running.Go(func() {
		err := h.Run(ctx)
		h.mu.Lock()
		h.ended = true
		h.mu.Unlock()
		switch {
		case err != nil:
			s.trace.worker(name, "worker %s stops for good: %v", name, err)
		case ctx.Err() == nil:
			s.trace.worker(name, "worker %s has finished: every source is sealed and read to its end", name)
		}
	})
	return nil
}

func (h *hireling) runs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.dead && !h.ended
}

// leave lets a worker end in good order.
func (h *hireling) leave() {
	h.resume()
	h.cancel()
	h.running.Wait()
}

// die lets a worker vanish: nothing that it still does arrives.
func (h *hireling) die(how string) {
	h.mu.Lock()
	h.dead = true
	h.mu.Unlock()
	h.s.trace.worker(h.name, "worker %s dies %s", h.name, how)
	h.cancel()
}

// pause stops a worker before the next thing that it writes or sends. It keeps its lease until that runs out.
func (h *hireling) pause() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused == nil {
		h.paused = make(chan struct{})
	}
}

func (h *hireling) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused != nil {
		close(h.paused)
		h.paused = nil
	}
}

// gate is passed by everything that a worker writes or sends.
func (h *hireling) gate() error {
	h.mu.Lock()
	paused := h.paused
	h.mu.Unlock()
	if paused != nil {
		<-paused
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return errCrash
	}
	return nil
}

// comes tells whether something is to happen to the worker at this place, and whether it dies of it.
func (h *hireling) comes(place string) (happens, dies bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next != place {
		return false, false
	}
	h.next = ""
	return true, !h.lost
}

// errAnswerLost is what a worker gets instead of an answer.
var errAnswerLost = errors.New("the connection broke, and the answer is lost")

// append is what the worker writes to the home log.
func (h *hireling) append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if err := h.gate(); err != nil {
		return eventlog.Appended{}, err
	}
	commits := isCommit(writes)
	if commits {
		if happens, dies := h.comes(beforeCommit); happens && dies {
			h.die("before its commit: nothing of what it decided is in the log")
			return eventlog.Appended{}, errCrash
		} else if happens {
			h.s.trace.worker(h.name, "the log refuses a commit of worker %s: nothing of it is in the log", h.name)
			return eventlog.Appended{}, eventlog.ErrBusy
		}
	}
	h.s.trace.lock.Lock() // so that what is seen after an append is what it led to
	defer h.s.trace.lock.Unlock()
	done, err := h.s.homeLog().Append(ctx, writes...)
	if err != nil {
		var lease *eventlog.EntryConflictError
		if errors.As(err, &lease) && lease.Kind == eventlog.Lease && strings.Contains(lease.Key, "worker") {
			h.s.trace.worker(h.name, "the log refuses what worker %s writes: it has lost its lease", h.name)
		}
		return done, err
	}
	h.s.trace.observe(h.name)
	if commits {
		if happens, dies := h.comes(afterCommit); happens && dies {
			h.die("after its commit: the log has what it decided, and it has not heard of that")
			return eventlog.Appended{}, errCrash
		} else if happens {
			h.s.trace.worker(h.name, "the answer to a commit of worker %s is lost: the log has it, and the worker cannot know", h.name)
			return eventlog.Appended{}, eventlog.ErrUnknown
		}
	}
	return done, nil
}

// isCommit tells whether an append is that of a turn, and no mere renewal of a lease.
func isCommit(writes []eventlog.Write) bool {
	return slices.ContainsFunc(writes, func(w eventlog.Write) bool {
		switch w := w.(type) {
		case eventlog.ToStream, eventlog.LinkTo:
			return true
		case eventlog.Put:
			return w.Entry.Kind != eventlog.Lease && w.Entry.Kind != eventlog.Setting
		case eventlog.Delete:
			return w.Kind != eventlog.Lease
		default:
			return false
		}
	})
}

// onItsWay is how long a command travels: a moment that differs between commands, so that no two ever arrive at once.
func onItsWay(c command.Envelope) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write(c.ID[:])
	return time.Millisecond + time.Duration(sum.Sum32()%1000)*time.Microsecond
}

// dispatch takes a command of the worker to its module.
func (h *hireling) dispatch(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error) {
	if err := consumer.Sleep(ctx, onItsWay(c)); err != nil {
		return command.Outcome{}, err
	}
	if err := h.gate(); err != nil {
		return command.Outcome{}, err
	}
	if happens, _ := h.comes(beforeDispatch); happens {
		h.die("before it sent a command that it had committed")
		return command.Outcome{}, errCrash
	}
	outcome, err := do()
	h.s.trace.dispatched(h.name, module, c, outcome, err)
	if happens, dies := h.comes(afterDispatch); happens && dies {
		h.die("after a command of its took effect, before it heard of that")
		return command.Outcome{}, errCrash
	} else if happens {
		h.s.trace.worker(h.name, "the answer is lost on its way back")
		return command.Outcome{}, errAnswerLost
	}
	if err == nil {
		err = consumer.Sleep(ctx, time.Millisecond) // what the command led to is read before its outcome arrives
	}
	return outcome, err
}

// recognised tells how many inputs the worker met again since that was last told.
func (h *hireling) recognised() {
	n := h.Stats().Duplicates
	switch d := n - h.known; {
	case d == 1:
		h.s.trace.worker(h.name, "worker %s meets 1 input again that was decided before: it changes nothing", h.name)
	case d > 1:
		h.s.trace.worker(h.name, "worker %s meets %d inputs again that were decided before: they change nothing", h.name, d)
	}
	h.known = n
}
