// Package eventlog defines a module's log: the totally ordered sequence of its events, the streams that are views of
// it, and the small state (cursors, receipts, timeouts …) that changes together with events, in one call.
//
// The smallest useful program appends under an expected version and reads by position:
//
//	log := memlog.New()
//	_, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Expect: eventlog.NoStream, Events: events})
//	for rec, err := range log.Read(ctx, eventlog.Query{}) {
//		// …
//	}
//
// Package logtest is the definition of this contract in tests: a store is a log when it passes.
package eventlog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Position is an event's place in its log; it only grows, and a position that was seen is never filled in later.
type Position = event.Position

// Version is an event's place in its stream: 1, 2, 3, …
type Version = event.Version

// Log is one module's log. All methods are safe for concurrent use.
//
// Reads return sequences that may be ranged over again and then read anew. An error is yielded once, last, with a zero
// event. Rows come in pages: no connection, transaction or lock is held while the loop's body runs, so the body may
// append to the same log. Breaking out releases everything. A cancelled context ends a sequence with its error, before
// the next event. Events that are appended after a ranging began are not in it, so that a loop that appends ends; entries
// that change meanwhile may be seen either way. What a read returns is the caller's own to change, and so is, once
// Append has returned, what it was given.
//
// Nil and empty are the same for payloads, values, headers and tags: they come back with length 0.
type Log interface {
	// ID identifies this history of the log. It is made when the log is, and changes only with a new history.
	ID() event.ID

	// Append applies the writes in order, all or none; each sees what those before it did. It returns one result for
	// each write; no writes are no change. When it returns without an error, everything is durable and visible to readers.
	//
	// Events whose ids are already there, in the same streams with the same type and payload, are a repeat: if that holds
	// for all events of the call (and there is at least one), nothing is changed, whatever the expected versions and
	// revisions say, and the results are those of the first append, with Repeat set; revisions are 0 in them, since the
	// entries may have changed since, and so are versions of links that are not there. A partial overlap, an id with other
	// content or in another stream, or an id twice in the call, is an *IDError, whatever the expected versions say, and
	// changes nothing. An event without an id gets a new one, and a zero Occurred becomes the time at which the event is
	// recorded.
	//
	// Errors: *ConflictError, *EntryConflictError, *IDError, *StreamClosedError, *NoEventError for a link to nothing, *LimitError and *NameError for what is out
	// of bounds (see Check), ErrBusy, ErrReadOnly, ErrFull, ErrClosed, ErrUnknown. After any error but ErrUnknown nothing of the
	// call is in the log.
	Append(ctx context.Context, writes ...Write) (Appended, error)

	// ReadStream returns a stream's events in version order. A stream that does not exist is empty.
	ReadStream(ctx context.Context, stream string, q StreamQuery) iter.Seq2[event.Recorded, error]

	// Read returns the log's events in position order, each once, in the stream that it was appended to.
	Read(ctx context.Context, q Query) iter.Seq2[event.Recorded, error]

	// Entries returns entries of one kind, by key, or by due time where the query says so.
	Entries(ctx context.Context, q EntryQuery) iter.Seq2[Entry, error]

	// Head returns the position of the last event, 0 for an empty log.
	Head(ctx context.Context) (Position, error)

	// Wait returns nil once the head is above after, or the context's error. It may return early, though not when the
	// context has ended; it never misses an event.
	Wait(ctx context.Context, after Position) error
}

// StreamQuery selects events of one stream. The zero query is all of it, system records left out.
type StreamQuery struct {
	After    Version // only versions above it; backwards: only versions below it, 0 for from the end
	Limit    int     // at most so many events, 0 for all
	Backward bool    // from the last version to the first
	System   bool    // with system records
}

// Query selects events by position. The zero query is the whole log, system records left out. Conditions of different
// fields must all hold; of the values of one field any suffices, except Tags, which must all be there. A field without
// values is no condition.
type Query struct {
	After      Position    // only positions above it
	To         Position    // only positions up to and including it, 0 for the head
	Limit      int         // at most so many events, 0 for all
	Categories []string    // of the stream that the event was appended to
	Types      []string    // names of event types
	Tags       []event.Tag // all of them
	IDs        []event.ID  // events by identity: how a position is asked for
	System     bool        // with system records; they are also returned when Types names one
}

// Appended is what Append did.
type Appended struct {
	Results []Result // one for each write, in their order
	Repeat  bool     // every event was there already; nothing was changed
}

// Result is what one write did.
type Result struct {
	First, Last Version  // ToStream, LinkTo: versions of its first and last event; for links that were there already, those of the first link
	Position    Position // ToStream: position of its last event; 0 in a log that numbers after commit
	Revision    Revision // Put: the entry's new revision
}

// Expected is the version that an append expects a stream to have. The zero value is Any.
type Expected int64

// What an append may expect of a stream. A stream exists once anything was appended or linked to it, also after it was
// truncated or closed.
const (
	Any      Expected = 0
	Exists   Expected = -1
	NoStream Expected = -2
)

// Exactly expects the stream's last version to be v. Exactly(0) is NoStream.
func Exactly(v Version) Expected {
	if v == 0 {
		return NoStream
	}
	return Expected(v) // #nosec G115 -- versions count events and stay far below 2^63
}

// Allows tells whether a stream whose last version is v meets the expectation.
func (e Expected) Allows(v Version) bool {
	switch {
	case e == Any:
		return true
	case e == Exists:
		return v > 0
	case e == NoStream:
		return v == 0
	default:
		return e > 0 && Version(e) == v
	}
}

func (e Expected) String() string {
	switch e {
	case Any:
		return "any version"
	case Exists:
		return "an existing stream"
	case NoStream:
		return "no stream"
	default:
		return fmt.Sprintf("version %d", int64(e))
	}
}

// Write is one part of an append: ToStream, LinkTo, Put or Delete.
type Write interface{ write() }

// ToStream appends events to a stream.
type ToStream struct {
	Stream string
	Expect Expected
	Events []event.Event // at least one
}

// LinkTo puts events that are in the log already into another stream as well. An event that the stream holds already,
// by a link or as its own, is not linked again; the first place counts, also if it was truncated since, and a LinkTo
// whose every link is there already succeeds whatever it expects, also when the stream is closed. Logs that offer it implement Linker.
type LinkTo struct {
	Stream    string
	Expect    Expected
	Positions []Position // at least one
}

// Put stores an entry.
type Put struct {
	Entry  Entry // its Revision is not looked at
	Expect Revision
}

// Delete removes an entry. Removing what is not there succeeds under AnyRevision.
type Delete struct {
	Kind   Kind
	Key    string
	Expect Revision
}

func (ToStream) write() {}
func (LinkTo) write()   {}
func (Put) write()      {}
func (Delete) write()   {}

// Revision counts the changes of entries: every put gets a higher one than any put before it in the log had, so that an
// entry that was deleted and made anew never has an old revision.
type Revision int64

// What a Put or Delete may expect instead of a revision.
const (
	AnyRevision Revision = 0
	NoEntry     Revision = -1
)

// Kind says what an entry is.
type Kind uint8

// The kinds of entries. The numbers are stored: they never change.
const (
	Cursor   Kind = 1  // how far a consumer has handled a log, for one partition
	Receipt  Kind = 2  // that a command was handled, with its outcome
	Timeout  Kind = 3  // an input that an instance sends to its own future; due
	Claim    Kind = 4  // a correlation key of an instance
	Lease    Kind = 5  // a worker's right to run consumers; due
	Queued   Kind = 6  // an input that waits: held, retrying, or deferred
	Hold     Kind = 7  // an instance, or a key, whose inputs queue; due when it is to be retried
	Snapshot Kind = 8  // an aggregate's state at a version
	Document Kind = 9  // an instance kept as one document
	Pending  Kind = 10 // a command that was decided and has no outcome yet
	Setting  Kind = 11 // what describes the log's use: definitions, partitions, seals
	Request  Kind = 12 // what an operator wants of an instance, and the answer
)

// kindNames has each kind's name at its number.
var kindNames = [...]string{Cursor: "cursor", Receipt: "receipt", Timeout: "timeout", Claim: "claim", Lease: "lease",
	Queued: "queued", Hold: "hold", Snapshot: "snapshot", Document: "document", Pending: "pending", Setting: "setting", Request: "request"}

// Kinds returns all kinds.
func Kinds() []Kind {
	kinds := make([]Kind, 0, len(kindNames))
	for k := range kindNames {
		if kindNames[k] != "" {
			kinds = append(kinds, Kind(k)) // #nosec G115 -- twelve kinds
		}
	}
	return kinds
}

// Valid tells whether k is one of the kinds.
func (k Kind) Valid() bool { return int(k) < len(kindNames) && kindNames[k] != "" }

func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Entry is a small piece of state that changes together with events.
type Entry struct {
	Kind     Kind
	Key      string    // unique in its kind; see Key
	Value    []byte    // comes back byte for byte
	Due      time.Time // optional: entries of a kind can be read in the order of their due times. Kept to the microsecond, in UTC
	Revision Revision  // as read
}

// EntryQuery selects entries of one kind, ordered by key as bytes.
type EntryQuery struct {
	Kind   Kind
	Keys   []string // only these, if there are any; those that do not exist are left out
	Prefix string   // only keys that begin with it
	After  string   // only keys above it; with ByDue: with the same due time as AfterDue
	Limit  int      // at most so many, 0 for all

	// ByDue orders by due time, then key, and leaves out entries without one. DueBy, if not zero, leaves out those due later
	// than it. AfterDue with After continues behind the entry of that due time and key.
	ByDue    bool
	DueBy    time.Time
	AfterDue time.Time
}

// Linker is a capability: the log supports LinkTo.
type Linker interface{ Links() bool }

// StreamInfo describes a stream.
type StreamInfo struct {
	Stream    string
	Version   Version // the last
	Truncated Version // versions up to it can no longer be read from the stream
	Closed    bool
}

// StreamLister is a capability: the log can list its streams.
type StreamLister interface {
	// Streams returns the streams that exist by name as bytes, those of one category or, if it is empty, all, beginning
	// above after, at most limit, 0 for all.
	Streams(ctx context.Context, category, after string, limit int) iter.Seq2[StreamInfo, error]
	// Stream describes one stream; one that does not exist has version 0.
	Stream(ctx context.Context, stream string) (StreamInfo, error)
}

// StreamsReader is a capability: several streams can be read at once, which costs far less than one after the other.
type StreamsReader interface {
	// ReadStreams returns the events of the streams, whole and with system records: stream after stream in the order given,
	// each in version order. Streams that do not exist have none. Each is named once. What is appended to a stream before
	// its turn comes may be in it, later events are not.
	ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error]
}

// StreamKeeper is a capability: streams can be closed and truncated.
type StreamKeeper interface {
	// CloseStream refuses all later appends and links to the stream with *StreamClosedError, whatever they expect. Repeats
	// of earlier appends still succeed. Closing twice succeeds. A stream that is not as expected is a *ConflictError; one that
	// does not exist can be closed, and then never will.
	CloseStream(ctx context.Context, stream string, expect Expected) error
	// TruncateStream takes the versions up to and including upTo out of the stream; those that it does not have yet are
	// not affected. Its last version stays what it was, and the log keeps the events: by position, by id and through links
	// they are read as before.
	TruncateStream(ctx context.Context, stream string, upTo Version) error
}

// SQLTransactor is a capability of logs in SQL databases: an append in the caller's own transaction, which is the
// transactional outbox for teams that keep their state in tables.
type SQLTransactor interface {
	// InTx runs do in a transaction of the log's writer and commits it if do returns nil. Within do, append by AppendTx; an
	// Append with the context that do is given fails at once with ErrInsideTx, instead of waiting for itself.
	InTx(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error
	// AppendTx is Append inside tx: rolled back with it, visible to readers after its commit and not before. If it fails, tx
	// is as it was before.
	AppendTx(ctx context.Context, tx *sql.Tx, writes ...Write) (Appended, error)
}

// Watcher is a capability: the log keeps in mind how far it was seen to reach, so that who follows it need not ask.
type Watcher interface {
	// Seen returns a position up to which everything can be read: at most Head, and above whatever a Wait that has returned
	// without an error waited for. It asks nobody, and may lag behind. After ErrLogRewound it begins anew.
	Seen() Position
}

// Clock is a capability: the store has a clock of its own, which all who use the log see alike. Leases run by it.
type Clock interface {
	// Now returns the time by the store's clock.
	Now(ctx context.Context) (time.Time, error)
}

// Closer is implemented by logs that hold resources. After Close every call fails with ErrClosed, one that waits too;
// closing twice succeeds.
type Closer interface{ Close() error }
