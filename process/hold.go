package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Condition says why the inputs of a key queue instead of being taken.
type Condition string

// The conditions. The words are stored: they never change.
const (
	Retrying Condition = "retrying" // a step failed; it is tried again when the hold is due
	Held     Condition = "held"     // its retries are used up, or OnError holds it; it waits for an operator
	Waiting  Condition = "waiting"  // there is no instance yet, and the inputs were deferred until there is
	Awaiting Condition = "awaiting" // by the replay clock: a command of it has no outcome yet, which comes before them
	Skipped  Condition = "skipped"  // an event that could not be decoded was skipped or replaced by an operator: kept so that it is never taken as it is
)

// Holding is an instance that stands aside, or a key with deferred inputs, as it is kept and shown.
type Holding struct {
	Instance    string    `json:"-"`
	Condition   Condition `json:"condition"`
	Since       time.Time `json:"since"`
	Input       string    `json:"input,omitempty"` // the input that failed
	InputID     event.ID  `json:"inputId,omitzero"`
	Attempts    int       `json:"attempts,omitempty"`
	Error       string    `json:"error,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"` // of the error: the same for all instances that failed alike
	Stack       string    `json:"stack,omitempty"`
	Alone       bool      `json:"alone,omitempty"`  // the store refused the step: it is tried again in an append of its own
	Undo        bool      `json:"undo,omitempty"`   // an undo was not accepted: to resume sends it again
	Command     event.ID  `json:"command,omitzero"` // the command that it is held for: it has no outcome, and is not dispatched meanwhile
	Queued      int       `json:"queued"`           // inputs in the queue, the one that failed included
	Next        int       `json:"next"`             // number of the next input in the queue
	Front       int       `json:"front,omitempty"`  // by the replay clock: number of the last input that was put before the others
	Marks       []Mark    `json:"marks,omitempty"`
	Reason      string    `json:"reason,omitempty"` // why an operator held it
	By          string    `json:"by,omitempty"`     // the operator
	Drop        string    `json:"drop,omitempty"`   // the rule by which what is in the queue up to DropTo is ignored
	DropTo      int       `json:"dropTo,omitempty"`
	Anew        time.Time `json:"anew,omitzero"` // where no instance has come in time, since when the inputs wait again: an operator resumed it
	RetryAt     time.Time `json:"-"`             // when it is tried again

	kept, keptTo int    // inputs at the head of the queue that stay deferred, and the number of the last one that was looked at
	first        *Taken // of those that stay deferred
}

// Holdings lists the instances of a process that stand aside and the keys that inputs wait for, by key. It needs no definition.
func Holdings(ctx context.Context, log eventlog.Log, process string) iter.Seq2[Holding, error] {
	return holdings(ctx, log, process, eventlog.EntryQuery{Kind: eventlog.Hold, Prefix: eventlog.Key(process) + "/"})
}

func holdings(ctx context.Context, log eventlog.Log, process string, q eventlog.EntryQuery) iter.Seq2[Holding, error] {
	return func(yield func(Holding, error) bool) {
		for e, err := range log.Entries(ctx, q) {
			var h Holding
			if err == nil {
				err = json.Unmarshal(e.Value, &h)
			}
			if err != nil {
				yield(Holding{}, fmt.Errorf("process: holds of %q: %w", process, err))
				return
			}
			h.Instance, h.RetryAt = eventlog.SplitKey(e.Key)[1], e.Due
			if !yield(h, nil) {
				return
			}
		}
	}
}

// put returns the write that keeps the hold.
func (h *Holding) put(process string) (eventlog.Write, error) {
	value, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Hold, Key: eventlog.Key(process, h.Instance), Value: value, Due: h.RetryAt}}, nil
}

// has tells whether an event stands in the queue already or was decided before the hold.
func (h *Holding) has(t *Taken) bool {
	k := slices.IndexFunc(h.Marks, func(m Mark) bool { return m.Module == t.Module && m.Log == t.Log })
	return t.Kind == EventInput && k >= 0 && t.Position <= h.Marks[k].Position
}

func (h *Holding) mark(t *Taken) {
	if t.Kind != EventInput {
		return
	}
	i := Instance{Marks: h.Marks}
	i.mark(Mark{Module: t.Module, Log: t.Log, Position: t.Position})
	h.Marks = i.Marks
}

// failed takes note of a failure and says what happens next: another attempt after a while, or waiting for an operator.
func (h *Holding) failed(t *Taken, err error, now time.Time, r Retry) {
	var newer *NewerVersionError
	if errors.As(err, &newer) { // no failure of its own: it waits for another program, for as long as it takes
		h.InputID, h.Input, h.Error, h.Stack = t.ID, t.describe(), bounded(err.Error(), 2000), ""
		h.Condition, h.RetryAt = Retrying, event.Micro(now.Add(min(5*time.Second, r.Backoff.After(newerAttempts))))
		return
	}
	if h.InputID != t.ID {
		h.InputID, h.Attempts = t.ID, 0
	}
	h.Attempts++
	var undo *UndoError
	var no *refusedError
	h.kept, h.keptTo, h.Undo, h.Alone = 0, 0, errors.As(err, &undo), errors.As(err, &no)
	h.Input, h.Error, h.Stack, h.Fingerprint = t.describe(), bounded(err.Error(), 2000), "", fingerprint(h.Instance, err)
	var step *StepError
	if errors.As(err, &step) {
		h.Stack = bounded(step.Stack, 8000)
	}
	if h.Attempts >= r.Attempts {
		h.Condition, h.RetryAt = Held, time.Time{}
		return
	}
	h.Condition, h.RetryAt = Retrying, event.Micro(now.Add(r.Backoff.After(h.Attempts)))
}

// newerAttempts makes the wait for a newer program the longest one of the backoff.
const newerAttempts = 64

func bounded(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

func queueKey(process, instance string, number int) string {
	return eventlog.Key(process, instance, fmt.Sprintf("%012d", number))
}

// queued is an input in the queue, with its place there.
type queued struct {
	number int
	taken  Taken
}

// Queue returns the inputs that wait for an instance, in order.
func Queue(ctx context.Context, log eventlog.Log, process, instance string, limit int) ([]Taken, error) {
	items, err := readQueue(ctx, log, process, instance, 0, limit)
	taken := make([]Taken, len(items))
	for i := range items {
		taken[i] = items[i].taken
	}
	return taken, err
}

// readQueue returns the inputs behind a place in the queue.
func readQueue(ctx context.Context, log eventlog.Log, process, instance string, after, limit int) ([]queued, error) {
	var items []queued
	q := eventlog.EntryQuery{Kind: eventlog.Queued, Prefix: eventlog.Key(process, instance) + "/", Limit: limit}
	if after > 0 {
		q.After = queueKey(process, instance, after)
	}
	for e, err := range log.Entries(ctx, q) {
		var item queued
		if err == nil {
			err = json.Unmarshal(e.Value, &item.taken)
		}
		if err == nil {
			_, err = fmt.Sscanf(eventlog.SplitKey(e.Key)[2], "%d", &item.number)
		}
		if err != nil {
			return nil, fmt.Errorf("process: queue of %s: %w", Stream(process, instance), err)
		}
		items = append(items, item)
	}
	return items, nil
}
