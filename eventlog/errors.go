package eventlog

import (
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/event"
)

// Conditions of a log that are the same for every call; errors of logs wrap them.
var (
	// ErrConflict is matched by *ConflictError and *EntryConflictError: load again, decide again, and retry.
	ErrConflict = errors.New("eventlog: conflict")
	// ErrBusy means that somebody else held the store longer than a writer waits. Nothing was written; retry.
	ErrBusy = errors.New("eventlog: the store is busy")
	// ErrReadOnly means that the store can be read but not written: its medium, its file or how it was opened.
	ErrReadOnly = errors.New("eventlog: the store is read-only")
	// ErrFull means that the medium has no room. Nothing of the call was written; all that was acknowledged is there.
	ErrFull = errors.New("eventlog: the store's medium is full")
	// ErrClosed means that the log was closed by this program.
	ErrClosed = errors.New("eventlog: the log is closed")
	// ErrInsideTx means an Append from inside InTx that would wait for itself; use AppendTx.
	ErrInsideTx = errors.New("eventlog: append inside InTx waits for itself; use AppendTx with its transaction")
	// ErrUnknown means that the connection to the store was lost while an append was under way: nobody knows whether it was
	// made. Append the same events again, under the same ids: if it was, that is a repeat. Otherwise read what is there.
	ErrUnknown = errors.New("eventlog: nobody knows whether the append was made")
	// ErrLogRewound means that a position that was handled now holds something else: the log was restored or replaced.
	ErrLogRewound = errors.New("eventlog: the log was rewound")
)

// ConflictError reports that a stream is not what an append expected.
type ConflictError struct {
	Stream   string
	Expected Expected
	Actual   Version // the stream's last version
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("eventlog: stream %q: expected %v, found version %d; load it again and decide again", e.Stream, e.Expected, e.Actual)
}

// Is makes the error match ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// EntryConflictError reports that an entry is not what a write expected.
type EntryConflictError struct {
	Kind     Kind
	Key      string
	Expected Revision
	Actual   Revision // 0 where there is no entry
}

func (e *EntryConflictError) Error() string {
	return fmt.Sprintf("eventlog: %v %q: expected %s, found %s", e.Kind, e.Key, revision(e.Expected), revision(e.Actual))
}

// Is makes the error match ErrConflict.
func (e *EntryConflictError) Is(target error) bool { return target == ErrConflict }

func revision(r Revision) string {
	if r <= 0 {
		return "no entry"
	}
	return fmt.Sprintf("revision %d", int64(r))
}

// IDError reports an event whose id the log holds already, with other content or in another stream, or an append of
// which only some events are there.
type IDError struct {
	ID     event.ID
	Stream string // the stream it was to be appended to
	Reason string
}

func (e *IDError) Error() string {
	return fmt.Sprintf("eventlog: event %s for stream %q: %s; an id belongs to one event for ever", e.ID, e.Stream, e.Reason)
}

// StreamClosedError reports an append to a stream that was closed.
type StreamClosedError struct{ Stream string }

func (e *StreamClosedError) Error() string {
	return fmt.Sprintf("eventlog: stream %q is closed; nothing can be appended to it any more", e.Stream)
}

// NoEventError reports a link to a position at which there is no event.
type NoEventError struct {
	Stream   string
	Position Position
}

func (e *NoEventError) Error() string {
	return fmt.Sprintf("eventlog: stream %q: there is no event at position %d to link", e.Stream, e.Position)
}

// LimitError reports something larger than a log takes.
type LimitError struct {
	What  string // "payload of event …", "events in one append" …
	Size  int
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("eventlog: %s: %d, at most %d are taken", e.What, e.Size, e.Limit)
}

// NameError reports a name that a log does not take.
type NameError struct {
	What   string // "stream", "category", "entry key" …
	Name   string
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("eventlog: %s %q %s", e.What, e.Name, e.Reason)
}

// CorruptError reports a store whose content contradicts itself, or that is no store of ours.
type CorruptError struct {
	Address string
	Reason  string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("eventlog: %s: %s", e.Address, e.Reason) }
