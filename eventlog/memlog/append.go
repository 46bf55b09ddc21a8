package memlog

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Append implements eventlog.Log.
func (l *Log) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if err := eventlog.Check(writes); err != nil {
		return eventlog.Appended{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(ctx); err != nil {
		return eventlog.Appended{}, err
	}
	switch repeat, err := l.repeats(writes); {
	case err != nil:
		return eventlog.Appended{}, err
	case repeat:
		return l.again(writes), nil
	}
	c := &change{Log: l, now: l.recordingTime()}
	before := l.head()
	results := make([]eventlog.Result, len(writes))
	for i, w := range writes {
		r, err := c.apply(w)
		if err != nil {
			c.undo()
			return eventlog.Appended{}, err
		}
		results[i] = r
	}
	if l.head() > before {
		l.announce()
	}
	return eventlog.Appended{Results: results}, nil
}

// recordingTime is the clock's, or the last event's where the clock was set back.
func (l *Log) recordingTime() time.Time {
	now := event.Micro(l.now())
	if n := len(l.events); n > 0 && now.Before(l.events[n-1].recorded) {
		return l.events[n-1].recorded
	}
	return now
}

// repeats tells whether all events of the writes are in the log already, each in the stream that it is for now and with
// the same type and payload.
func (l *Log) repeats(writes []eventlog.Write) (bool, error) {
	events, known := 0, 0
	var one *eventlog.IDError
	for _, w := range writes {
		to, ok := w.(eventlog.ToStream)
		if !ok {
			continue
		}
		events += len(to.Events)
		for i := range to.Events {
			e := &to.Events[i]
			p, ok := l.byID[e.ID]
			if !ok {
				continue
			}
			known++
			one = &eventlog.IDError{ID: e.ID, Stream: to.Stream, Reason: fmt.Sprintf("it is at position %d already, and other events of the same append are not in the log", p)}
			switch there := l.at(p); {
			case there.place.Stream != to.Stream:
				one.Reason = fmt.Sprintf("it is in stream %q already", there.place.Stream)
				return false, one
			case there.Type != e.Type || !bytes.Equal(there.Data, e.Data):
				one.Reason = fmt.Sprintf("it is at version %d already, with another type or payload", there.place.Version)
				return false, one
			}
		}
	}
	if known > 0 && known < events {
		return false, one
	}
	return known > 0, nil
}

// again returns what the first append of the writes returned, revisions aside: entries may have changed since.
func (l *Log) again(writes []eventlog.Write) eventlog.Appended {
	results := make([]eventlog.Result, len(writes))
	for i, w := range writes {
		switch w := w.(type) {
		case eventlog.ToStream:
			first, last := l.byID[w.Events[0].ID], l.byID[w.Events[len(w.Events)-1].ID]
			results[i] = eventlog.Result{First: l.at(first).place.Version, Last: l.at(last).place.Version, Position: last}
		case eventlog.LinkTo:
			results[i].First, _ = l.holds(w.Stream, w.Positions[0])
			results[i].Last, _ = l.holds(w.Stream, w.Positions[len(w.Positions)-1])
		}
	}
	return eventlog.Appended{Results: results, Repeat: true}
}

// holds returns the version at which the stream has the event of a position, as its own or by a link; also one that was
// truncated since.
func (l *Log) holds(name string, p eventlog.Position) (eventlog.Version, bool) {
	if p == 0 || p > l.head() {
		return 0, false
	}
	if own := l.at(p).place; own.Stream == name {
		return own.Version, true
	}
	if s, ok := l.streams[name]; ok {
		v, linked := s.links[p]
		return v, linked
	}
	return 0, false
}

// change applies writes one by one, each to what those before it made of the log, and can take them all back: the log
// is locked until it is known which.
type change struct {
	*Log
	now  time.Time
	back []func()
}

func (c *change) undo() {
	for _, f := range slices.Backward(c.back) {
		f()
	}
}

func (c *change) apply(w eventlog.Write) (eventlog.Result, error) {
	switch w := w.(type) {
	case eventlog.ToStream:
		return c.toStream(w)
	case eventlog.LinkTo:
		return c.linkTo(w)
	case eventlog.Put:
		return c.put(w)
	case eventlog.Delete:
		return eventlog.Result{}, c.remove(w)
	default:
		return eventlog.Result{}, fmt.Errorf("memlog: %T is no write", w) // Check refused it already
	}
}

// open returns the stream, ready to be extended if it is as expected.
func (c *change) open(name string, expect eventlog.Expected) (*stream, error) {
	s := c.streams[name]
	if s == nil {
		s = &stream{}
	}
	if s.closed {
		return nil, &eventlog.StreamClosedError{Stream: name}
	}
	if !expect.Allows(s.version()) {
		return nil, &eventlog.ConflictError{Stream: name, Expected: expect, Actual: s.version()}
	}
	if s.version() == 0 {
		c.streams[name] = s
		c.names.insert(name)
		c.back = append(c.back, func() {
			delete(c.streams, name)
			c.names.remove(name)
		})
	}
	return s, nil
}

func (c *change) toStream(w eventlog.ToStream) (eventlog.Result, error) {
	s, err := c.open(w.Stream, w.Expect)
	if err != nil {
		return eventlog.Result{}, err
	}
	before, head := s.version(), c.head()
	c.back = append(c.back, func() { // whatever was appended later is gone when this runs
		for i := range c.events[head:] {
			delete(c.byID, c.events[head:][i].ID)
		}
		c.events, s.positions = slices.Delete(c.events, int(head), len(c.events)), s.positions[:before] // #nosec G115 -- a position in memory
	})
	for _, e := range w.Events {
		if e.ID.IsZero() {
			e.ID = event.NewID()
		}
		if _, twice := c.byID[e.ID]; twice {
			return eventlog.Result{}, &eventlog.IDError{ID: e.ID, Stream: w.Stream, Reason: "it is twice in this append"}
		}
		e = own(e)
		e.Schema = max(e.Schema, 1)
		if e.Occurred = event.Micro(e.Occurred); e.Occurred.IsZero() {
			e.Occurred = c.now
		}
		c.events = append(c.events, record{Event: e, place: event.Place{Stream: w.Stream, Version: s.version() + 1}, recorded: c.now})
		c.byID[e.ID] = c.head()
		s.positions = append(s.positions, c.head())
	}
	return eventlog.Result{First: before + 1, Last: s.version(), Position: c.head()}, nil
}

func (c *change) linkTo(w eventlog.LinkTo) (eventlog.Result, error) {
	there := 0
	for _, p := range w.Positions {
		if p == 0 || p > c.head() {
			return eventlog.Result{}, &eventlog.NoEventError{Stream: w.Stream, Position: p}
		}
		if _, ok := c.holds(w.Stream, p); ok {
			there++
		}
	}
	if there < len(w.Positions) {
		s, err := c.open(w.Stream, w.Expect)
		if err != nil {
			return eventlog.Result{}, err
		}
		for _, p := range w.Positions {
			if _, ok := c.holds(w.Stream, p); !ok {
				c.link(s, p)
			}
		}
	}
	first, _ := c.holds(w.Stream, w.Positions[0])
	last, _ := c.holds(w.Stream, w.Positions[len(w.Positions)-1])
	return eventlog.Result{First: first, Last: last}, nil
}

func (c *change) link(s *stream, p eventlog.Position) {
	if s.links == nil {
		s.links = map[eventlog.Position]eventlog.Version{}
	}
	s.positions = append(s.positions, p)
	s.links[p] = s.version()
	c.back = append(c.back, func() {
		delete(s.links, p)
		s.positions = s.positions[:len(s.positions)-1]
	})
}

// own returns the event with a payload, headers and tags of its own, so that what one caller changes later another
// does not see.
func own(e event.Event) event.Event {
	e.Data = bytes.Clone(e.Data)
	e.Metadata.Headers = maps.Clone(e.Metadata.Headers)
	e.Tags = slices.Clone(e.Tags)
	return e
}
