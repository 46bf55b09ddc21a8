// Package memlog keeps a log in memory. It is the contract of package eventlog in its shortest executable form, and
// what tests of everything above a log run on:
//
//	log := memlog.New()
//	_, err := log.Append(ctx, eventlog.ToStream{Stream: "order/42", Events: events})
//
// Nothing survives the process.
package memlog

import (
	"context"
	"sync"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Log is a log in memory. Make one with New; it is safe for concurrent use.
type Log struct {
	id  event.ID
	now func() time.Time

	mu       sync.RWMutex
	events   []record // the event at position p is events[p-1]
	byID     map[event.ID]eventlog.Position
	streams  map[string]*stream
	names    ordered[string] // of the streams that exist
	entries  map[eventlog.Kind]*table
	revision eventlog.Revision // the last one given out
	moved    chan struct{}     // closed and replaced when the head moves or the log is closed
	closed   bool
}

// record is an event that the log holds, with where and when it was appended.
type record struct {
	event.Event
	place    event.Place
	recorded time.Time
}

// stream is a view of the log: the position of the event at version v is positions[v-1], for its own events and for
// links. It exists once it has a position; one that was only closed does not.
type stream struct {
	positions []eventlog.Position
	links     map[eventlog.Position]eventlog.Version // of the links among them
	truncated eventlog.Version                       // versions up to it are not read any more
	closed    bool
}

func (s *stream) version() eventlog.Version { return eventlog.Version(len(s.positions)) }

// Options are what can be chosen for a log. The zero Options are what New takes.
type Options struct {
	// Now is the log's clock, by which events are recorded; time.Now if nil.
	Now func() time.Time
}

// New returns an empty log.
func New() *Log { return Options{}.New() }

// New returns an empty log with these options.
func (o Options) New() *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{
		id:      event.NewID(),
		now:     o.Now,
		byID:    map[event.ID]eventlog.Position{},
		streams: map[string]*stream{},
		names:   ordered[string]{before: func(a, b string) bool { return a < b }},
		entries: map[eventlog.Kind]*table{},
		moved:   make(chan struct{}),
	}
	for _, k := range eventlog.Kinds() {
		l.entries[k] = newTable()
	}
	return l
}

// ID implements eventlog.Log.
func (l *Log) ID() event.ID { return l.id }

// Links implements eventlog.Linker.
func (l *Log) Links() bool { return true }

// Head implements eventlog.Log.
func (l *Log) Head(ctx context.Context) (eventlog.Position, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.head(), l.usable(ctx)
}

// Wait implements eventlog.Log.
func (l *Log) Wait(ctx context.Context, after eventlog.Position) error {
	for {
		l.mu.RLock()
		head, moved, closed := l.head(), l.moved, l.closed
		l.mu.RUnlock()
		switch {
		case closed:
			return eventlog.ErrClosed
		case head > after:
			return nil
		}
		select {
		case <-moved: // made before the head was read, so that no move is missed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close implements eventlog.Closer: whoever waits is woken, and every later call fails with eventlog.ErrClosed. The
// events are given back to the garbage collector.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.moved)
		l.events, l.byID, l.streams, l.entries, l.names.chunks = nil, nil, nil, nil, nil
	}
	return nil
}

// head, usable and all else in lower case is called with l.mu held.
func (l *Log) head() eventlog.Position { return eventlog.Position(len(l.events)) }

func (l *Log) at(p eventlog.Position) *record { return &l.events[p-1] }

func (l *Log) usable(ctx context.Context) error {
	if l.closed {
		return eventlog.ErrClosed
	}
	return ctx.Err()
}

func (l *Log) announce() {
	close(l.moved)
	l.moved = make(chan struct{})
}
