package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// request is what an operator wants of one instance, as it is kept until the instance's owner has carried it out.
type request struct {
	id        event.ID
	Operation event.ID        `json:"operation,omitzero"` // that waits for the answer; none for nobody
	Action    Action          `json:"action"`
	Instance  string          `json:"instance"`
	About     *about          `json:"about,omitempty"` // the hold; nil where there was none
	Reason    string          `json:"reason,omitempty"`
	By        string          `json:"by,omitempty"`
	At        time.Time       `json:"at"`
	Data      json.RawMessage `json:"data,omitempty"`
	Input     *Taken          `json:"input,omitempty"` // of actGive
}

// actGive gives an instance an event that could not be decoded when its turn came.
const actGive Action = "give"

// about tells a hold from those before and after it.
type about struct {
	Since time.Time `json:"since"`
	Input event.ID  `json:"input,omitzero"`
}

// answer is what became of a request, as it is kept until it is collected.
type answer struct {
	Reason string `json:"reason,omitempty"` // a name among the reasons; empty where it was done
	Detail string `json:"detail,omitempty"`
}

func (a *answer) err(process string, r *request) error {
	if a.Reason == "" {
		return nil
	}
	why := reasons[a.Reason]
	if why == nil {
		why = errors.New(a.Reason)
	}
	return &ActionError{Process: process, Instance: r.Instance, Action: r.Action, Err: why, Detail: a.Detail}
}

func requestKey(process string, id event.ID) string {
	return eventlog.Key(process, "asked", id.String())
}

// answerKey returns what the keys of all answers to an operation begin with.
func answerKey(process string, operation event.ID) string {
	return eventlog.Key(process, "answered", operation.String())
}

func lastPart(key string) string {
	parts := eventlog.SplitKey(key)
	return parts[len(parts)-1]
}

func (r *request) put(process string) (eventlog.Write, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("process: request: %w", err)
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Request, Key: requestKey(process, r.id), Value: value}, Expect: eventlog.NoEntry}, nil
}

const (
	requestMost = 4096            // requests kept in memory at most
	answerKept  = time.Hour       // how long an answer waits to be collected
	answerTidy  = 5 * time.Minute // how often answers are looked for that nobody collected
)

// readRequests returns the requests that are still to be carried out for instances of these partitions, in the order in
// which they were made. One that cannot be read stays where it is, and stops nothing.
func (t *term) readRequests(ctx context.Context) (all []request, err error) {
	for e, err := range t.home.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Request, Prefix: eventlog.Key(t.timers.process, "asked") + "/"}) {
		if err != nil {
			return nil, fmt.Errorf("process: read requests: %w", err)
		}
		var r request
		bad := json.Unmarshal(e.Value, &r)
		if bad == nil {
			r.id, bad = event.ParseID(lastPart(e.Key))
		}
		if bad != nil {
			t.cfg.Logger.Error("a request cannot be read", "entry", e.Key, "error", bad)
			continue
		}
		if t.mine.has(r.Instance) {
			if all = append(all, r); len(all) == requestMost {
				break
			}
		}
	}
	return all, nil
}

// takeRequests carries out what operators asked for, as much as the batch has room for. A request goes, and its answer
// is there, with the commit of what it led to.
func (t *term) takeRequests(ctx context.Context) error {
	if !slices.ContainsFunc(t.asked, t.ripe) { // what is not is in the store as well
		if !t.ask {
			return nil
		}
		t.ask = false
		var err error
		if t.asked, err = t.readRequests(ctx); err != nil {
			return err
		}
		t.ask = len(t.asked) == requestMost
		if err := t.tidyAnswers(ctx); err != nil {
			return err
		}
	}
	if t.single > 0 && t.batch.inputs > 0 {
		return nil
	}
	var left []request
	for n := range t.asked {
		r := &t.asked[n]
		if n-len(left) >= t.limit() {
			left = append(left, t.asked[n:]...)
			break
		}
		if t.batch.touched(r.Instance) || !t.ripe(*r) { // what stands in the store is not yet what is so
			left = append(left, *r)
			continue
		}
		if err := t.execute(ctx, r); err != nil {
			return err
		}
		t.batch.inputs++
	}
	t.asked = left
	return nil
}

// touched tells whether the batch changes anything of the instance.
func (b *batch) touched(key string) bool {
	return b.changed(key) || b.holds[key] != nil || b.released[key]
}

// tidyAnswers deletes answers that nobody has collected.
func (t *term) tidyAnswers(ctx context.Context) error {
	if time.Since(t.tidied) < answerTidy {
		return nil
	}
	t.tidied = time.Now()
	q := eventlog.EntryQuery{Kind: eventlog.Request, Prefix: eventlog.Key(t.timers.process, "answered") + "/", ByDue: true, DueBy: t.cfg.Now(), Limit: 1000}
	for e, err := range t.home.Log.Entries(ctx, q) {
		if err != nil {
			return fmt.Errorf("process: answers of %q: %w", t.timers.process, err)
		}
		t.batch.put(eventlog.Delete{Kind: eventlog.Request, Key: e.Key})
	}
	return nil
}

// execute carries out a request, or says why not.
func (t *term) execute(ctx context.Context, r *request) error {
	process := t.timers.process
	if r.Action == actGive {
		t.batch.put(eventlog.Delete{Kind: eventlog.Request, Key: requestKey(process, r.id)})
		return t.giveLate(ctx, r)
	}
	err := t.act(ctx, r)
	var no *ActionError
	if err != nil && !errors.As(err, &no) {
		return err
	}
	var a answer
	if no != nil {
		for name, why := range reasons {
			if errors.Is(no.Err, why) {
				a.Reason = name
			}
		}
		a.Detail = bounded(no.Detail, 2000)
	}
	t.cfg.Logger.Info("an operator's request", "action", r.Action, "instance", r.Instance, "by", r.By, "reason", r.Reason, "refused", a.Reason)
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	t.batch.put(eventlog.Delete{Kind: eventlog.Request, Key: requestKey(process, r.id)})
	t.batch.put(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Request, Key: answerKey(process, r.Operation) + "/" + r.id.String(), Value: value, Due: event.Micro(t.cfg.Now().Add(answerKept))}})
	return nil
}

// refuse returns why a request is not carried out.
func (t *term) refusal(r *request, why error, detail error) error {
	e := &ActionError{Process: t.timers.process, Instance: r.Instance, Action: r.Action, Err: why}
	if detail != nil {
		e.Detail = detail.Error()
	}
	return e
}
