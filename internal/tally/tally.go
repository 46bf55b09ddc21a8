// Package tally counts what is asked of the logs of an application: of one instance, and of all others.
//
//	t := tally.New("the one that fails")
//	app, err := ensue.Open(ctx, "", orders, ensue.Options{Logs: func(module string) eventlog.Log { return t.Log(logs[module]) }})
//	// … run it …
//	one, others := t.Counts()
package tally

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Count is what was asked of logs on somebody's account.
type Count struct {
	Transactions int // appends
	Writes       int // in them: what becomes statements of a SQL database
	Reads        int // of streams and entries that name the instance
}

// Tally counts. It is safe for concurrent use.
type Tally struct {
	instance string

	mu          sync.Mutex
	wrote       func(eventlog.Write, Count)
	one, others Count
}

// New returns a tally that counts an instance, by its key, apart from all others.
func New(instance string) *Tally { return &Tally{instance: instance} }

// Wrote has do called for every write of the others that was appended, with what was asked of the logs on their account
// before. Set it before anything is appended.
func (t *Tally) Wrote(do func(w eventlog.Write, others Count)) { t.wrote = do }

// Counts returns what was asked until now of the one instance, and of all others. An append that has writes of others is a
// transaction of theirs, which they would have needed anyway; the instance's own are those that have nothing but its
// writes. Leases, cursors, settings and requests are the engine's, and nobody's.
func (t *Tally) Counts() (one, others Count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.one, t.others
}

// Log wraps a log, with the capabilities that all logs of this repository have (another one makes it panic), and that of a
// clock if it has one.
func (t *Tally) Log(log eventlog.Log) eventlog.Log {
	c := &counting{full: log.(full), tally: t}
	if clock, ok := log.(eventlog.Clock); ok {
		return struct {
			*counting
			eventlog.Clock
		}{c, clock}
	}
	return c
}

// full is what every log here can do.
type full interface {
	eventlog.Log
	eventlog.Linker
	eventlog.StreamLister
	eventlog.StreamsReader
	eventlog.StreamKeeper
}

type counting struct {
	full
	tally *Tally
}

// whose says on whose account something is asked.
type whose uint8

const (
	nobodys whose = iota
	itsOwn
	theirs
	follows // those of the append that it is in
)

// Append implements eventlog.Log.
func (c *counting) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	done, err := c.full.Append(ctx, writes...)
	if err == nil {
		c.tally.appended(writes)
	}
	return done, err
}

func (t *Tally) appended(writes []eventlog.Write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var count [follows + 1]int
	for _, w := range writes {
		by := t.writes(w)
		count[by]++
		if by == theirs && t.wrote != nil {
			t.wrote(w, t.others)
		}
	}
	switch {
	case count[theirs] > 0:
		t.others.Transactions++
		t.others.Writes += count[follows]
	case count[itsOwn] > 0:
		t.one.Transactions++
		t.one.Writes += count[follows]
	}
	t.others.Writes += count[theirs]
	t.one.Writes += count[itsOwn]
}

func (t *Tally) writes(w eventlog.Write) whose {
	switch w := w.(type) {
	case eventlog.ToStream:
		return t.stream(w.Stream)
	case eventlog.LinkTo:
		return t.stream(w.Stream)
	case eventlog.Put:
		return t.entry(w.Entry.Kind, w.Entry.Key)
	case eventlog.Delete:
		return t.entry(w.Kind, w.Key)
	default:
		return nobodys
	}
}

func (t *Tally) stream(name string) whose {
	if _, id, _ := strings.Cut(name, "/"); id == t.instance {
		return itsOwn
	}
	return theirs
}

func (t *Tally) entry(kind eventlog.Kind, key string) whose {
	switch kind {
	case eventlog.Lease, eventlog.Cursor, eventlog.Setting, eventlog.Request:
		return nobodys
	case eventlog.Receipt: // its key is the command's id
		return follows
	}
	switch parts := eventlog.SplitKey(key); {
	case len(parts) < 2 || parts[1] == "": // of all
		return nobodys
	case parts[1] == t.instance:
		return itsOwn
	default:
		return theirs
	}
}

func (t *Tally) read(by whose) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch by {
	case itsOwn:
		t.one.Reads++
	case theirs:
		t.others.Reads++
	}
}

// Entries implements eventlog.Log.
func (c *counting) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	by := c.tally.entry(q.Kind, q.Prefix)
	for _, key := range q.Keys {
		by = max(by, c.tally.entry(q.Kind, key))
	}
	c.tally.read(by)
	return c.full.Entries(ctx, q)
}

// ReadStream implements eventlog.Log.
func (c *counting) ReadStream(ctx context.Context, stream string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	c.tally.read(c.tally.stream(stream))
	return c.full.ReadStream(ctx, stream, q)
}

// ReadStreams implements eventlog.StreamsReader.
func (c *counting) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	by := itsOwn
	if slices.ContainsFunc(streams, func(s string) bool { return c.tally.stream(s) == theirs }) {
		by = theirs
	}
	c.tally.read(by)
	return c.full.ReadStreams(ctx, streams)
}
