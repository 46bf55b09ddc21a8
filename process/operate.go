package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Action is what an operator does with an instance.
type Action string

// The actions. The words are stored: they never change.
const (
	ActHold    Action = "hold"    // a running instance is held, also a healthy one: what comes for it queues until it is resumed
	ActResume  Action = "resume"  // what failed is tried again, then what queues behind it, in order
	ActSkip    Action = "skip"    // the input that failed is left out, and recorded as ignored with the reason
	ActReplace Action = "replace" // the input that failed is taken with a corrected payload; the original is kept beside it
	ActCancel  Action = "cancel"  // the instance is completed; its timeouts are cancelled, and what queues is recorded as ignored
)

var actions = []Action{ActHold, ActResume, ActSkip, ActReplace, ActCancel}

// Request is what an operator wants, of one instance or of several. One of Instance, Fingerprint and All is set.
type Request struct {
	Action      Action
	Instance    string          // this one: its key, or that of a hold
	Fingerprint string          // all that stand aside with this error; see Holding
	All         bool            // all that stand aside
	Reason      string          // why: in the history after ActSkip, ActReplace and ActCancel, with the hold after ActHold. Needed for all but ActResume
	By          string          // who: recorded with it
	Data        json.RawMessage // of ActReplace: the payload of the event or timeout, the result or rejection of the command

	Wait     time.Duration             // for the answers, at most, once the requests are kept; 0 for as long as the context lasts
	Progress func(answered, asked int) // told now and then, if it is not nil
}

// Answer is what became of a request for one instance.
type Answer struct {
	Instance string
	Err      error // nil where it was done; else an *ActionError
}

// Why a request was not carried out. ErrNoInstance is another reason.
var (
	ErrNotHeld       = errors.New("it is not held")
	ErrStale         = errors.New("its hold is another one by now; look at it again")
	ErrCompleted     = errors.New("it is completed")
	ErrNothingFailed = errors.New("no input failed: it was held by hand, or what failed was to read it; resume it, or cancel it")
	ErrBadInput      = errors.New("the corrected input cannot be taken")
	ErrImpossible    = errors.New("it cannot be done")
)

// reasons are the errors that an answer keeps by name. The names are stored: they never change.
var reasons = map[string]error{"no instance": ErrNoInstance, "not held": ErrNotHeld, "stale": ErrStale, "completed": ErrCompleted,
	"nothing failed": ErrNothingFailed, "bad input": ErrBadInput, "impossible": ErrImpossible}

// ActionError says why an action was not carried out. Err is one of the reasons above.
type ActionError struct {
	Process, Instance string
	Action            Action
	Err               error
	Detail            string // more about it
}

func (e *ActionError) Error() string {
	text := fmt.Sprintf("process %q, instance %q, %s: %v", e.Process, e.Instance, e.Action, e.Err)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

func (e *ActionError) Unwrap() error { return e.Err }

// UnansweredError means that requests are kept and not all were carried out before the context ended. They will be, once a
// worker of the process that owns the instances runs.
type UnansweredError struct {
	Asked, Answered int
	Err             error // the context's
}

func (e *UnansweredError) Error() string {
	return fmt.Sprintf("process: %d of %d requests were not carried out yet; they are kept, and will be when the application runs: %v", e.Asked-e.Answered, e.Asked, e.Err)
}

func (e *UnansweredError) Unwrap() error { return e.Err }

// Operate asks the workers of a process, wherever they run, to do something with held instances, and waits for their
// answers, one for each instance. The log is the process's home. Requests are durable: each is carried out once, in the
// transaction of what it leads to, even when nobody waits for the answer. A request is about the hold that was there when
// Operate was called: when that has failed otherwise or was resumed since, the answer is ErrStale and nothing is done.
//
// When the context ends first, the error is an *UnansweredError beside the answers so far.
func Operate(ctx context.Context, log eventlog.Log, process string, r Request) ([]Answer, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if _, err := OpenHome(ctx, log, process); err != nil {
		return nil, err
	}
	o := operation{log: log, process: process, id: event.NewID(), asked: map[event.ID]int{}, tell: r.Progress}
	if err := o.choose(ctx, r); err != nil {
		return nil, err
	}
	if err := o.ask(ctx); err != nil {
		return nil, err
	}
	if r.Wait > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, r.Wait)
		defer stop()
	}
	return o.answers, o.await(ctx)
}

func (r *Request) check() error {
	known := false
	for _, a := range actions {
		known = known || a == r.Action
	}
	chosen := 0
	for _, is := range []bool{r.Instance != "", r.Fingerprint != "", r.All} {
		if is {
			chosen++
		}
	}
	switch {
	case !known:
		return fmt.Errorf("process: there is no action %q; there are %q", r.Action, actions)
	case chosen != 1:
		return errors.New("process: a request is for one instance, for all with the same error, or for all that stand aside: set one of Instance, Fingerprint and All")
	case r.Reason == "" && r.Action != ActResume:
		return fmt.Errorf("process: %s needs a reason, which is recorded", r.Action)
	case (r.Action == ActReplace) != (len(r.Data) > 0):
		return errors.New("process: replace needs the corrected payload, and nothing else takes one")
	case len(r.Data) > 0 && !json.Valid(r.Data):
		return errors.New("process: the corrected payload is no JSON")
	case len(r.Data) > eventlog.MaxPayload:
		return &eventlog.LimitError{What: "corrected payload, bytes", Size: len(r.Data), Limit: eventlog.MaxPayload}
	case r.Action == ActReplace && r.Instance == "":
		return errors.New("process: replace is for one instance")
	case len(r.Reason) > maxReason || len(r.By) > maxReason:
		return &eventlog.LimitError{What: "reason or name of an operator, bytes", Size: max(len(r.Reason), len(r.By)), Limit: maxReason}
	}
	return nil
}

// maxReason is how many bytes a reason may have.
const maxReason = 1000

// operation is a call of Operate.
type operation struct {
	log      eventlog.Log
	process  string
	id       event.ID
	requests []request
	asked    map[event.ID]int // open requests, with their places among the answers
	answers  []Answer
	tell     func(answered, asked int)
}

// choose finds the instances that a request is about, and what their holds are now.
func (o *operation) choose(ctx context.Context, r Request) error {
	want := func(h *Holding) bool {
		return (h.Condition == Held || h.Condition == Retrying) && (r.All || r.Fingerprint != "" && h.Fingerprint == r.Fingerprint)
	}
	q := eventlog.EntryQuery{Kind: eventlog.Hold, Prefix: eventlog.Key(o.process) + "/"}
	if r.Instance != "" {
		want = func(*Holding) bool { return true }
		q = eventlog.EntryQuery{Kind: eventlog.Hold, Keys: []string{eventlog.Key(o.process, r.Instance)}}
	}
	for h, err := range holdings(ctx, o.log, o.process, q) {
		if err != nil {
			return err
		}
		if want(&h) {
			o.add(r, h.Instance, &about{Since: h.Since, Input: h.InputID})
		}
	}
	if r.Instance != "" && len(o.requests) == 0 {
		o.add(r, r.Instance, nil)
	}
	return nil
}

func (o *operation) add(r Request, instance string, a *about) {
	o.requests = append(o.requests, request{id: event.NewID(), Operation: o.id, Action: r.Action, Instance: instance, About: a, Reason: r.Reason,
		By: r.By, At: event.Micro(time.Now()), Data: r.Data})
}

// askedAtOnce is how many requests are written in one append.
const askedAtOnce = 500

// ask writes the requests.
func (o *operation) ask(ctx context.Context) error {
	o.answers = make([]Answer, len(o.requests))
	for from := 0; from < len(o.requests); from += askedAtOnce {
		var writes []eventlog.Write
		for n := from; n < min(from+askedAtOnce, len(o.requests)); n++ {
			r := &o.requests[n]
			w, err := r.put(o.process)
			if err != nil {
				return err
			}
			writes = append(writes, w)
			o.asked[r.id], o.answers[n].Instance = n, r.Instance
		}
		if _, err := o.log.Append(ctx, writes...); err != nil {
			return fmt.Errorf("process: ask for %s of instances of %q: %w", o.requests[from].Action, o.process, err)
		}
	}
	return nil
}

// await collects the answers, which it deletes.
func (o *operation) await(ctx context.Context) error {
	all, wait := len(o.requests), 5*time.Millisecond
	for len(o.asked) > 0 {
		got, err := o.collect(ctx)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if err == nil && got == 0 {
			err = consumer.Sleep(ctx, wait)
			wait = min(2*wait, 250*time.Millisecond)
		} else {
			wait = 5 * time.Millisecond
		}
		if o.tell != nil {
			o.tell(all-len(o.asked), all)
		}
		if err != nil && ctx.Err() != nil {
			o.open()
			return &UnansweredError{Asked: all, Answered: all - len(o.asked), Err: ctx.Err()}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open leaves only those answers that came.
func (o *operation) open() {
	open := make([]bool, len(o.answers))
	for _, n := range o.asked {
		open[n] = true
	}
	came := o.answers[:0]
	for n, a := range o.answers {
		if !open[n] {
			came = append(came, a)
		}
	}
	o.answers = came
}

func (o *operation) collect(ctx context.Context) (int, error) {
	var deletes []eventlog.Write
	for e, err := range o.log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Request, Prefix: answerKey(o.process, o.id) + "/", Limit: 4 * askedAtOnce}) {
		var a answer
		if err == nil {
			err = json.Unmarshal(e.Value, &a)
		}
		id, bad := event.ParseID(lastPart(e.Key))
		if err = errors.Join(err, bad); err != nil {
			return 0, fmt.Errorf("process: answers of %q: %w", o.process, err)
		}
		if n, ok := o.asked[id]; ok {
			o.answers[n].Err = a.err(o.process, &o.requests[n])
			delete(o.asked, id)
		}
		deletes = append(deletes, eventlog.Delete{Kind: eventlog.Request, Key: e.Key})
	}
	if len(deletes) == 0 {
		return 0, nil
	}
	_, err := o.log.Append(ctx, deletes...)
	return len(deletes), err
}

// Notice has a running engine look for requests at once, and not only within the next second.
func (e *Engine) Notice() {
	select {
	case e.notice <- struct{}{}:
	default:
	}
}
