package logtest_test

import (
	"context"
	"database/sql"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// handle is an opened log whose store, in memory, outlives it.
type handle struct {
	*memlog.Log
	mu     *sync.RWMutex
	closed chan struct{}
}

func opened(l *memlog.Log) handle { return handle{l, &sync.RWMutex{}, make(chan struct{})} }

func (h handle) store() handle { return h }

func (h handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.usable() == nil {
		close(h.closed)
	}
	return nil
}

func (h handle) usable() error {
	select {
	case <-h.closed:
		return eventlog.ErrClosed
	default:
		return nil
	}
}

func (h handle) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	h.mu.RLock() // so that what was begun before Close is finished
	defer h.mu.RUnlock()
	if err := h.usable(); err != nil {
		return eventlog.Appended{}, err
	}
	return h.Log.Append(ctx, writes...)
}

func (h handle) Head(ctx context.Context) (eventlog.Position, error) {
	if err := h.usable(); err != nil {
		return 0, err
	}
	return h.Log.Head(ctx)
}

func (h handle) Wait(ctx context.Context, after eventlog.Position) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-h.closed:
			cancel(eventlog.ErrClosed)
		case <-ctx.Done():
		}
	}()
	if err := h.Log.Wait(ctx, after); err != nil {
		return context.Cause(ctx)
	}
	return h.usable()
}

// whileOpen is the sequence, ended when the handle is closed.
func whileOpen[E any](h handle, seq iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		if err := h.usable(); err != nil {
			yield(zero, err)
			return
		}
		for e, err := range seq {
			if closed := h.usable(); closed != nil {
				yield(zero, closed)
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (h handle) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return whileOpen(h, h.Log.Read(ctx, q))
}

func (h handle) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return whileOpen(h, h.Log.ReadStream(ctx, s, q))
}

func (h handle) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	return whileOpen(h, h.Log.ReadStreams(ctx, streams))
}

func (h handle) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return whileOpen(h, h.Log.Entries(ctx, q))
}

func (h handle) Streams(ctx context.Context, category, after string, limit int) iter.Seq2[eventlog.StreamInfo, error] {
	return whileOpen(h, h.Log.Streams(ctx, category, after, limit))
}

func (h handle) Stream(ctx context.Context, s string) (eventlog.StreamInfo, error) {
	if err := h.usable(); err != nil {
		return eventlog.StreamInfo{}, err
	}
	return h.Log.Stream(ctx, s)
}

func (h handle) CloseStream(ctx context.Context, s string, expect eventlog.Expected) error {
	if err := h.usable(); err != nil {
		return err
	}
	return h.Log.CloseStream(ctx, s, expect)
}

func (h handle) TruncateStream(ctx context.Context, s string, upTo eventlog.Version) error {
	if err := h.usable(); err != nil {
		return err
	}
	return h.Log.TruncateStream(ctx, s, upTo)
}

// durable is a store whose logs are opened again as they were.
func durable() logtest.Store {
	return logtest.Store{
		Open:   func(_ logtest.T, now func() time.Time) eventlog.Log { return opened(memlog.Options{Now: now}.New()) },
		Reopen: func(t logtest.T, log eventlog.Log) eventlog.Log { return reopen(t, log) },
	}
}

func reopen(t logtest.T, log eventlog.Log) handle {
	h := log.(interface{ store() handle }).store()
	if err := h.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return opened(h.Log)
}

// losesLast loses the last event when it is opened again.
type losesLast struct {
	handle
	lost map[event.ID]bool
}

func (l losesLast) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.Read(ctx, q), func(r *event.Recorded) bool { return !l.lost[r.ID] })
}

func (l losesLast) ReadStream(ctx context.Context, s string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return changed(l.Log.ReadStream(ctx, s, q), func(r *event.Recorded) bool { return !l.lost[r.ID] })
}

func reopenWithoutLast(t logtest.T, log eventlog.Log) eventlog.Log {
	again := losesLast{reopen(t, log), map[event.ID]bool{}}
	for r, err := range again.Log.Read(context.Background(), eventlog.Query{System: true}) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		clear(again.lost)
		again.lost[r.ID] = true
	}
	return again
}

// reopensAnew counts revisions on from the highest that is left.
type reopensAnew struct {
	handle
	less eventlog.Revision
}

func (l reopensAnew) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	done, err := l.handle.Append(ctx, writes...)
	for i := range done.Results {
		if done.Results[i].Revision > 0 {
			done.Results[i].Revision -= l.less
		}
	}
	return done, err
}

func reopenWithLess(t logtest.T, log eventlog.Log) eventlog.Log {
	return reopensAnew{reopen(t, log), 1}
}

// losesTransactions answers every tenth transaction without committing it.
type losesTransactions struct {
	*memlog.Log
	n *atomic.Int64
}

type lost struct{}

func (l losesTransactions) InTx(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if l.n.Add(1)%10 == 0 {
		ctx = context.WithValue(ctx, lost{}, true)
	}
	return do(ctx, nil)
}

func (l losesTransactions) AppendTx(ctx context.Context, _ *sql.Tx, writes ...eventlog.Write) (eventlog.Appended, error) {
	if ctx.Value(lost{}) != nil {
		return eventlog.Appended{Results: make([]eventlog.Result, len(writes))}, nil
	}
	return l.Append(ctx, writes...)
}
