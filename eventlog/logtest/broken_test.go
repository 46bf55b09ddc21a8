package logtest_test

import (
	"context"
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// Each of these is a log in memory with one mistake that stores have been seen to make.

// pauses lets other goroutines run, every eighth time, so that a mistake in what is done meanwhile shows.
type pauses struct{ n atomic.Int64 }

func (p *pauses) pause() {
	if p.n.Add(1)%8 == 0 {
		for range 3 {
			runtime.Gosched()
		}
	}
}

// changed is a sequence with each element changed, or left out where change says no.
func changed[E any](seq iter.Seq2[E, error], change func(*E) bool) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		for e, err := range seq {
			if err == nil && !change(&e) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// rewritten returns the writes with those to streams changed.
func rewritten(writes []eventlog.Write, change func(*eventlog.ToStream)) []eventlog.Write {
	writes = slices.Clone(writes)
	for i, w := range writes {
		if to, ok := w.(eventlog.ToStream); ok {
			to.Events = slices.Clone(to.Events)
			change(&to)
			writes[i] = to
		}
	}
	return writes
}

// expectsNothing swallows conflicts of streams.
type expectsNothing struct{ *memlog.Log }

func (l expectsNothing) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	return l.Log.Append(ctx, rewritten(writes, func(to *eventlog.ToStream) { to.Expect = eventlog.Any })...)
}

// putsAnyway swallows conflicts of entries.
type putsAnyway struct{ *memlog.Log }

func (l putsAnyway) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	writes = slices.Clone(writes)
	for i, w := range writes {
		if p, ok := w.(eventlog.Put); ok {
			p.Expect = eventlog.AnyRevision
			writes[i] = p
		}
	}
	return l.Log.Append(ctx, writes...)
}

// oneByOne applies writes one by one: when one fails, those before it stay.
type oneByOne struct{ *memlog.Log }

func (l oneByOne) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	var all eventlog.Appended
	for _, w := range writes {
		done, err := l.Log.Append(ctx, w)
		if err != nil {
			return eventlog.Appended{}, err
		}
		all.Results = append(all.Results, done.Results...)
		all.Repeat = all.Repeat || done.Repeat
	}
	return all, nil
}

// entriesLater applies the entries in a transaction of their own, after that of the events.
type entriesLater struct {
	*memlog.Log
	pauses
}

func (l *entriesLater) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	var results [2]eventlog.Appended
	var parts [2][]eventlog.Write
	var part []int
	for _, w := range writes {
		p := 1
		switch w.(type) {
		case eventlog.ToStream, eventlog.LinkTo:
			p = 0
		}
		parts[p], part = append(parts[p], w), append(part, p)
	}
	for p := range parts {
		var err error
		if results[p], err = l.Log.Append(ctx, parts[p]...); err != nil {
			return eventlog.Appended{}, err
		}
		if p == 0 {
			l.pause()
		}
	}
	all := eventlog.Appended{Repeat: results[0].Repeat}
	for _, p := range part {
		all.Results = append(all.Results, results[p].Results[0])
		results[p].Results = results[p].Results[1:]
	}
	return all, nil
}

// entriesAgain applies the entries of a repeat once more.
type entriesAgain struct{ *memlog.Log }

func (l entriesAgain) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	done, err := l.Log.Append(ctx, writes...)
	if err != nil || !done.Repeat {
		return done, err
	}
	for _, w := range writes {
		if p, ok := w.(eventlog.Put); ok {
			if _, err := l.Log.Append(ctx, eventlog.Put{Entry: p.Entry}); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// forgetsIDs takes an event again whose id it has.
type forgetsIDs struct {
	*memlog.Log
	mu    sync.Mutex
	given map[event.ID]event.ID
}

func (l *forgetsIDs) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.given == nil {
		l.given = map[event.ID]event.ID{}
	}
	return l.Log.Append(ctx, rewritten(writes, func(to *eventlog.ToStream) {
		for i := range to.Events {
			id := event.NewID()
			l.given[id], to.Events[i].ID = to.Events[i].ID, id
		}
	})...)
}

func (l *forgetsIDs) rename(r *event.Recorded) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.ID = l.given[r.ID]
	return true
}

func (l *forgetsIDs) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.Read(ctx, q), l.rename)
}

func (l *forgetsIDs) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.ReadStream(ctx, s, q), l.rename)
}

// skipsVersion leaves out version 5 of every stream.
type skipsVersion struct{ *memlog.Log }

func skipping(v eventlog.Version) eventlog.Version {
	if v >= 5 {
		v++
	}
	return v
}

func (l skipsVersion) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	done, err := l.Log.Append(ctx, rewritten(writes, func(to *eventlog.ToStream) {
		if to.Expect > 5 {
			to.Expect--
		}
	})...)
	for i := range done.Results {
		r := &done.Results[i]
		r.First, r.Last = skipping(r.First), skipping(r.Last)
	}
	if c, ok := err.(*eventlog.ConflictError); ok { //nolint:errorlint // memlog does not wrap it
		c.Actual = skipping(c.Actual)
	}
	return done, err
}

func (l skipsVersion) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.ReadStream(ctx, s, q), func(r *event.Recorded) bool {
		r.Place.Version = skipping(r.Place.Version)
		return true
	})
}

func (l skipsVersion) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.Read(ctx, q), func(r *event.Recorded) bool {
		r.Place.Version = skipping(r.Place.Version)
		return true
	})
}

// locksLoop holds its lock while the body of a loop runs.
type locksLoop struct {
	*memlog.Log
	mu *sync.RWMutex
}

func (l locksLoop) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Log.Append(ctx, writes...)
}

func (l locksLoop) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return func(yield func(event.Recorded, error) bool) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		l.Log.Read(ctx, q)(yield)
	}
}

// countsPerKey counts revisions for each key, from 1 again after it was deleted.
type countsPerKey struct {
	*memlog.Log
	mu    sync.Mutex
	count map[string]eventlog.Revision
}

func (l *countsPerKey) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done, err := l.Log.Append(ctx, writes...)
	if err != nil {
		return done, err
	}
	if l.count == nil {
		l.count = map[string]eventlog.Revision{}
	}
	for i, w := range writes {
		switch w := w.(type) {
		case eventlog.Put:
			l.count[w.Entry.Key]++
			done.Results[i].Revision = l.count[w.Entry.Key]
		case eventlog.Delete:
			delete(l.count, w.Key)
		}
	}
	return done, nil
}

func (l *countsPerKey) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return changed(l.Log.Entries(ctx, q), func(e *eventlog.Entry) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		e.Revision = l.count[e.Key]
		return true
	})
}

// missesMoves looks at the head and then waits for the next append: one in between is missed.
type missesMoves struct {
	*memlog.Log
	mu    sync.Mutex
	moved chan struct{}
}

func (l *missesMoves) next() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	return l.moved
}

func (l *missesMoves) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	done, err := l.Log.Append(ctx, writes...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
	return done, err
}

func (l *missesMoves) Wait(ctx context.Context, after eventlog.Position) error {
	if head, err := l.Head(ctx); err != nil || head > after {
		return err
	}
	for range 10 {
		runtime.Gosched()
	}
	select {
	case <-l.next():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// linksAgain links what the stream has already once more.
type linksAgain struct{ *memlog.Log }

func (l linksAgain) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	w, ok := writes[0].(eventlog.LinkTo)
	if !ok || len(writes) > 1 {
		return l.Log.Append(ctx, writes...)
	}
	to := eventlog.ToStream{Stream: w.Stream, Expect: w.Expect}
	for _, p := range w.Positions {
		for r, err := range l.Log.Read(ctx, eventlog.Query{After: p - 1, To: p, System: true}) {
			if err != nil {
				return eventlog.Appended{}, err
			}
			r.ID = event.ID{}
			to.Events = append(to.Events, r.Event)
		}
	}
	done, err := l.Log.Append(ctx, to)
	if err == nil {
		done.Results[0].Position = 0
	}
	return done, err
}

// sharesMemory keeps the caller's slices.
type sharesMemory struct {
	*memlog.Log
	given map[event.ID][]byte
}

func (l sharesMemory) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	for _, w := range writes {
		if to, ok := w.(eventlog.ToStream); ok {
			maps.Insert(l.given, func(yield func(event.ID, []byte) bool) {
				for _, e := range to.Events {
					if !yield(e.ID, e.Data) {
						return
					}
				}
			})
		}
	}
	return l.Log.Append(ctx, writes...)
}

func (l sharesMemory) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.ReadStream(ctx, s, q), func(r *event.Recorded) bool {
		r.Data = l.given[r.ID]
		return true
	})
}

// pagesByDue goes on behind a due time without looking at the key.
type pagesByDue struct{ *memlog.Log }

func (l pagesByDue) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	if q.ByDue && !q.AfterDue.IsZero() {
		q.AfterDue, q.After = q.AfterDue.Add(time.Microsecond), ""
	}
	return l.Log.Entries(ctx, q)
}

// truncatesLog takes what is truncated out of the log as well.
type truncatesLog struct{ *memlog.Log }

func (l truncatesLog) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.Read(ctx, q), func(r *event.Recorded) bool {
		info, err := l.Stream(ctx, r.Stream)
		return err == nil && r.Place.Version > info.Truncated
	})
}

// leavesWaiting closes without waking those who wait.
type leavesWaiting struct {
	*memlog.Log
	closed atomic.Bool
}

func (l *leavesWaiting) Close() error {
	l.closed.Store(true)
	return nil
}

func (l *leavesWaiting) Wait(ctx context.Context, after eventlog.Position) error {
	if l.closed.Load() {
		return eventlog.ErrClosed
	}
	return l.Log.Wait(ctx, after)
}

// sees says how far the log was seen, by so many events more or fewer than it is.
type sees struct {
	*memlog.Log
	more int
}

func (l sees) Seen() eventlog.Position {
	head, _ := l.Head(context.Background())
	return eventlog.Position(max(0, int(head)+l.more)) // #nosec G115 -- few
}
