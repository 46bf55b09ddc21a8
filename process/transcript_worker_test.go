package process_test

import (
	"context"
	"errors"
	"hash/fnv"
	"iter"
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
	fate   fate          // what happens to it there
	known  int64         // duplicates that were told of
}

// Places at which something can happen to a worker.
const (
	beforeCommit   = "before-commit"   // it has decided, and nothing of that is in the log
	afterCommit    = "after-commit"    // its decision is in the log, and it has not heard of that
	beforeDispatch = "before-dispatch" // a command was committed, and has not been sent
	afterDispatch  = "after-dispatch"  // the command took effect, and its outcome has not been heard of
	beforeGiveUp   = "before-give-up"  // a command is to be given up, and its receiver has not been told
	afterGiveUp    = "after-give-up"   // its receiver knows, and its answer has not been heard
)

// places says of each when a worker comes there, and what it means that an answer is lost there, if it can be.
var places = map[string]struct{ when, loses string }{
	beforeCommit:   {"when it has decided something next, before it commits that", "the log will refuse the next commit"},
	afterCommit:    {"right after its next commit, before it hears that it succeeded", "the answer to the next commit will be lost"},
	beforeDispatch: {"before it sends the next command", ""},
	afterDispatch:  {"when the next command has taken effect, before it hears of that", "the answer to the next command will be lost"},
	beforeGiveUp:   {"before it tells a receiver that it gives a command up", ""},
	afterGiveUp:    {"when a receiver knows that a command is given up, before it hears of that", "the answer to giving a command up will be lost"},
}

// hire starts a worker, which dies at a place if one is given. One of the same name is the same worker: it need not wait for its own lease.
func (s *story) hire(name string, cfg process.Config, place string) error {
	h := &hireling{s: s, name: name}
	if place != "" {
		h.at(place, dies)
	}
	cfg.Lease = consumer.LeaseOptions{TTL: storyLease, Worker: event.DeriveID("worker", name)}
	cfg.Now = func() time.Time {
		if s.given.Load() {
			h.cancel()
		}
		return time.Now()
	}
	bus := newStoryBus(s, func(m string) eventlog.Log { return s.logs[m] })
	bus.next, bus.fail = h.dispatch, h.giveUp
	engine, err := s.engine(cfg, func(l eventlog.Log) eventlog.Log { return gated{wrapped{l, h.append}, h} }, bus)
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

// pause stops a worker before the next thing that it reads, writes or sends. It keeps its lease until that runs out.
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

// errGivenUp ends what a worker does in a scenario that was given up.
var errGivenUp = errors.New("the scenario was given up")

// gated is the home log of a worker, which does not even read while it is stopped.
type gated struct {
	wrapped
	h *hireling
}

func (l gated) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		if err := l.h.gate(500 * time.Millisecond); err != nil {
			yield(eventlog.Entry{}, err)
			return
		}
		l.wrapped.Entries(ctx, q)(yield)
	}
}

// gate is passed by everything that a worker reads, writes or sends. What was stopped there goes on after a moment: commands on
// their way first, so that a story goes the same way each time.
func (h *hireling) gate(moment time.Duration) error {
	if h.s.given.Load() {
		h.cancel()
		return errGivenUp
	}
	h.mu.Lock()
	paused := h.paused
	h.mu.Unlock()
	if paused != nil {
		<-paused
		_ = consumer.Sleep(context.Background(), moment)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return errCrash
	}
	return nil
}

// fate is what can happen to a worker at a place.
type fate int

const (
	dies        fate = iota + 1 // nothing that it would still do arrives
	losesAnswer                 // it lives on, and an answer does not reach it
	stops                       // it goes on when the scenario says so
)

// meets returns what happens to the worker at this place, if anything does. One that stops there has gone on when it returns.
func (h *hireling) meets(place string) (fate, error) {
	h.mu.Lock()
	if h.next != place {
		h.mu.Unlock()
		return 0, nil
	}
	f := h.fate
	h.next, h.fate = "", 0
	h.mu.Unlock()
	if f != stops {
		return f, nil
	}
	h.s.trace.worker(h.name, "worker %s stops at that point", h.name)
	h.pause()
	return f, h.gate(0)
}

// errAnswerLost is what a worker gets instead of an answer.
var errAnswerLost = errors.New("the connection broke, and the answer is lost")

// append is what the worker writes to the home log.
func (h *hireling) append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if err := h.gate(500 * time.Millisecond); err != nil {
		return eventlog.Appended{}, err
	}
	commits := isCommit(writes)
	if commits {
		f, err := h.meets(beforeCommit)
		switch {
		case err != nil:
			return eventlog.Appended{}, err
		case f == dies:
			h.die("before its commit: nothing of what it decided is in the log")
			return eventlog.Appended{}, errCrash
		case f == losesAnswer:
			h.s.trace.worker(h.name, "the log refuses a commit of worker %s: nothing of it is in the log", h.name)
			return eventlog.Appended{}, eventlog.ErrBusy
		}
	}
	done, err := h.write(ctx, writes, commits)
	if err != nil || !commits {
		return done, err
	}
	f, err := h.meets(afterCommit)
	switch {
	case err != nil:
		return eventlog.Appended{}, err
	case f == dies:
		h.die("after its commit: the log has what it decided, and it has not heard of that")
		return eventlog.Appended{}, errCrash
	case f == losesAnswer:
		h.s.trace.worker(h.name, "the answer to a commit of worker %s is lost: the log has it, and the worker cannot know", h.name)
		return eventlog.Appended{}, eventlog.ErrUnknown
	}
	return done, nil
}

// write appends, and tells what that led to before anybody else appends.
func (h *hireling) write(ctx context.Context, writes []eventlog.Write, commits bool) (eventlog.Appended, error) {
	h.s.trace.lock.Lock()
	defer h.s.trace.lock.Unlock()
	done, err := h.s.homeLog().Append(ctx, writes...)
	var lease *eventlog.EntryConflictError
	switch {
	case err == nil && commits: // a lease that is renewed has led to nothing
		h.s.trace.observe(h.name)
	case err == nil:
	case errors.As(err, &lease) && lease.Kind == eventlog.Lease && strings.Contains(lease.Key, "worker"):
		h.s.trace.worker(h.name, "the log refuses what worker %s writes: it has lost its lease", h.name)
	}
	return done, err
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
	if err := h.reaches(beforeDispatch, "before it sends a command that it has committed"); err != nil {
		return command.Outcome{}, err
	}
	outcome, err := h.attempt(ctx, module, c, do)
	h.s.trace.dispatched(h.name, module, c, outcome, err)
	if err != nil {
		return outcome, err
	}
	return h.answered(ctx, afterDispatch, outcome)
}

// giveUp tells a module that a command of the worker is given up.
func (h *hireling) giveUp(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error) {
	if err := consumer.Sleep(ctx, onItsWay(c)); err != nil {
		return command.Outcome{}, err
	}
	if err := h.reaches(beforeGiveUp, "before it tells anybody that it gives a command up"); err != nil {
		return command.Outcome{}, err
	}
	outcome, err := do()
	h.s.trace.givenUp(h.name, module, c, outcome, err)
	if err != nil {
		return outcome, err
	}
	return h.answered(ctx, afterGiveUp, outcome)
}

// reaches is a place before something that the worker does.
func (h *hireling) reaches(place, how string) error {
	if err := h.gate(0); err != nil {
		return err
	}
	f, err := h.meets(place)
	if err == nil && f == dies {
		h.die(how)
		err = errCrash
	}
	return err
}

// answered is a place between what a module has done and the worker, which hears of it.
func (h *hireling) answered(ctx context.Context, place string, outcome command.Outcome) (command.Outcome, error) {
	f, err := h.meets(place)
	switch {
	case err != nil:
		return command.Outcome{}, err
	case f == dies:
		h.die("before it hears of that")
		return command.Outcome{}, errCrash
	case f == losesAnswer:
		h.s.trace.worker(h.name, "the answer to worker %s is lost on its way", h.name)
		return command.Outcome{}, errAnswerLost
	}
	return outcome, consumer.Sleep(ctx, time.Millisecond) // what the command led to is read before its outcome arrives
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
