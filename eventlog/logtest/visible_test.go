package logtest_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// The mistakes of this file are about when an event can be seen.

// hiding is a log that can hide events from readers.
type hiding struct {
	*memlog.Log
	mu     sync.Mutex
	hidden map[event.ID]bool
}

func (l *hiding) hide(writes []eventlog.Write, hidden bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hidden == nil {
		l.hidden = map[event.ID]bool{}
	}
	for _, w := range writes {
		if to, ok := w.(eventlog.ToStream); ok {
			for _, e := range to.Events {
				l.hidden[e.ID] = hidden
			}
		}
	}
}

func (l *hiding) visible(r *event.Recorded) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.hidden[r.ID]
}

func (l *hiding) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.Read(ctx, q), l.visible)
}

func (l *hiding) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.ReadStream(ctx, s, q), l.visible)
}

// numbersFirst draws its numbers before it commits: an event becomes visible below one that was seen.
type numbersFirst struct {
	hiding
	pauses
}

func (l *numbersFirst) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	l.hide(writes, true)
	defer l.hide(writes, false)
	defer l.pause()
	return l.Log.Append(ctx, writes...)
}

// answersEarly returns from an append before readers see it: only the next append shows it.
type answersEarly struct {
	hiding
	one  sync.Mutex
	last []eventlog.Write
}

func (l *answersEarly) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	l.one.Lock()
	defer l.one.Unlock()
	l.hide(l.last, false)
	l.last = writes
	l.hide(writes, true)
	return l.Log.Append(ctx, writes...)
}

// showsEarly shows the events of an append before it is known whether it will be taken.
type showsEarly struct {
	*memlog.Log
	phantoms atomic.Pointer[[]event.Event]
	pauses
}

func (l *showsEarly) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	var events []event.Event
	for _, w := range writes {
		if to, ok := w.(eventlog.ToStream); ok {
			events = append(events, to.Events...)
		}
	}
	l.phantoms.Store(&events)
	l.pause()
	l.phantoms.Store(nil)
	return l.Log.Append(ctx, writes...)
}

func (l *showsEarly) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return func(yield func(event.Recorded, error) bool) {
		last := q.After
		for r, err := range l.Log.Read(ctx, q) {
			last = r.Position
			if !yield(r, err) {
				return
			}
		}
		if phantoms := l.phantoms.Load(); phantoms != nil {
			for _, e := range *phantoms {
				if last++; !yield(event.Recorded{Event: e, Position: last}, nil) {
					return
				}
			}
		}
	}
}
