package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// SubmittedType is the type of the system record of a submitted command.
const SubmittedType = event.SystemPrefix + "command"

// submitted begins the keys of the pending entries of submitted commands. The empty part before it keeps them apart from the
// commands of processes, whose keys begin with a process's name.
const submitted = "/submitted/"

// Submit puts a command into the module's queue and returns its id: when it returns, the command stands in the log, and
// Run will have it handled, here or in another program, also after a restart. Status tells what became of it. A deadline
// (Before) counts when Run comes to it. Submitting the same command again under the same id is the same submission, with
// the deadline of the first one; another command under that id is a *DigestError.
func (b *Bus) Submit(ctx context.Context, cmd any, settings ...Setting) (ID, error) {
	e, first, err := b.envelope(cmd, settings)
	if err != nil {
		return ID{}, err
	}
	if !first { // it may have been handled without being submitted
		a := attempt{bus: b, command: &e, digest: e.Digest()}
		if _, found, err := a.answered(ctx); err != nil || found {
			return e.ID, err
		}
	}
	q := queued{Envelope: e, due: b.nextDue()}
	var record object
	record.text("type", e.Type)
	if e.Target != "" {
		record.text("target", e.Target)
	}
	record.data("data", e.Data)
	_, err = b.module.Log.Append(ctx, q.put(eventlog.NoEntry), eventlog.ToStream{
		Stream: "ensue.commands/" + e.ID.String(),
		Events: []event.Event{{
			ID:       event.DeriveID(SubmittedType, e.ID.String()), // so the log itself recognises a repeat, and what is none
			Type:     SubmittedType,
			Data:     record.end(),
			Metadata: e.Metadata.Carry(e.ID, b.module.Carried),
		}},
	})
	var other *eventlog.IDError
	if errors.As(err, &other) {
		return ID{}, &DigestError{ID: e.ID, Type: e.Type, Known: "command"}
	}
	if err != nil {
		return ID{}, fmt.Errorf("command: submit %q %s: %w", e.Type, e.ID, err)
	}
	return e.ID, nil
}

// Status tells what became of a command: its outcome, or that it is Queued, or Unknown.
func (b *Bus) Status(ctx context.Context, id ID) (Outcome, error) {
	var waiting Outcome
	for entry, err := range b.module.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Keys: []string{submitted + id.String()}}) {
		if err != nil {
			return Outcome{}, fmt.Errorf("command: read the queue: %w", err)
		}
		q, err := readQueued(entry)
		if err != nil {
			return Outcome{}, err
		}
		waiting = Outcome{ID: id, Type: q.Type, Status: Queued, Reason: q.failure, At: q.At, Correlation: q.Metadata.Correlation}
		if waiting.Correlation.IsZero() {
			waiting.Correlation = id
		}
	}
	outcomes, err := b.Outcomes(ctx, id) // asked for after the queue, which a command leaves with its receipt
	if err != nil {
		return Outcome{}, err
	}
	if outcomes[0].Status == Unknown && waiting.Status == Queued {
		return waiting, nil
	}
	return outcomes[0], nil
}

// nextDue returns the time of a submission: later than any before it by this bus, so that their order is kept.
func (b *Bus) nextDue() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	due := event.Micro(b.now())
	if !due.After(b.lastSubmitted) {
		due = b.lastSubmitted.Add(time.Microsecond)
	}
	b.lastSubmitted = due
	return due
}

// queued is a submitted command: the value of a pending entry, due when it is to be handled.
type queued struct {
	Envelope
	failed   int    // attempts that failed
	failure  string // how the last of them failed
	due      time.Time
	revision eventlog.Revision
}

func (q *queued) key() string { return submitted + q.ID.String() }

func (q *queued) put(expect eventlog.Revision) eventlog.Put {
	b := make(object, 0, 128+len(q.Data))
	b.text("type", q.Type)
	if q.Target != "" {
		b.text("target", q.Target)
	}
	b.data("data", q.Data)
	b.value("metadata", q.Metadata)
	if !q.At.IsZero() {
		b.number("at", q.At.UnixMicro())
	}
	if !q.Before.IsZero() {
		b.number("before", q.Before.UnixMicro())
	}
	if q.failed > 0 {
		b.number("failed", int64(q.failed))
		b.text("failure", q.failure)
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: q.key(), Value: b.end(), Due: q.due}, Expect: expect}
}

// readQueued is the inverse of put.
func readQueued(entry eventlog.Entry) (*queued, error) {
	var v struct {
		Type     string          `json:"type"`
		Target   string          `json:"target"`
		Data     json.RawMessage `json:"data"`
		Data64   []byte          `json:"data64"`
		Metadata event.Metadata  `json:"metadata"`
		At       int64           `json:"at"`
		Before   int64           `json:"before"`
		Failed   int             `json:"failed"`
		Failure  string          `json:"failure"`
	}
	id, err := event.ParseID(entry.Key[min(len(submitted), len(entry.Key)):])
	if err == nil {
		err = json.Unmarshal(entry.Value, &v)
	}
	if err != nil {
		return nil, fmt.Errorf("command: pending command %q is unreadable: %w", entry.Key, err)
	}
	q := &queued{
		Envelope: Envelope{ID: id, Type: v.Type, Data: either(v.Data, v.Data64), Metadata: v.Metadata, Target: v.Target},
		failed:   v.Failed, failure: v.Failure, due: entry.Due, revision: entry.Revision,
	}
	if v.At != 0 {
		q.At = time.UnixMicro(v.At).UTC()
	}
	if v.Before != 0 {
		q.Before = time.UnixMicro(v.Before).UTC()
	}
	return q, nil
}
