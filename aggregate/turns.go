package aggregate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// turns lets the works of one program that want the same stream go one after the other, as long as there is a
// conflict about it: of n works that load and append at once only one succeeds, and n in a row cost less than n² tries.
// It is a courtesy that wins time. What keeps states right is the version that an append expects.
type turns struct {
	contended atomic.Int64 // streams in of: 0 nearly always, so that nobody takes the lock
	mu        sync.Mutex
	of        map[string]*turn
}

// turn is had by whoever has put something into the slot.
type turn struct {
	stream string
	slot   chan struct{}
	users  int // those who have it or wait for it; under the lock of turns
}

// longestTurn bounds how long a work waits for its turn, behind one that takes its time.
const longestTurn = time.Second

// isContended tells whether works take turns for a stream.
func (t *turns) isContended(stream string) bool {
	if t.contended.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[stream] != nil
}

// take waits for a turn, and returns nil where it does not come.
func (t *turns) take(ctx context.Context, stream string) *turn {
	t.mu.Lock()
	wanted := t.of[stream]
	if wanted == nil {
		wanted = &turn{stream: stream, slot: make(chan struct{}, 1)}
		if t.of == nil {
			t.of = map[string]*turn{}
		}
		t.of[stream] = wanted
		t.contended.Add(1)
	}
	wanted.users++
	t.mu.Unlock()

	timer := time.NewTimer(longestTurn)
	defer timer.Stop()
	select {
	case wanted.slot <- struct{}{}:
		return wanted
	case <-timer.C:
	case <-ctx.Done():
	}
	t.leave(wanted)
	return nil
}

// give ends a turn.
func (t *turns) give(had *turn) {
	<-had.slot
	t.leave(had)
}

func (t *turns) leave(u *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.users--; u.users == 0 {
		delete(t.of, u.stream)
		t.contended.Add(-1)
	}
}

// await takes the work's turn for a stream, if turns are taken for it and the work takes part. Turns are waited for in
// the order of the streams' names only, so that no two works wait for each other.
func (w *Work) await(ctx context.Context, stream string) {
	if !w.polite || !w.module.turns.isContended(stream) {
		return
	}
	for _, t := range w.turns {
		if t.stream >= stream {
			return
		}
	}
	w.take(ctx, stream)
}

func (w *Work) take(ctx context.Context, stream string) {
	if t := w.module.turns.take(ctx, stream); t != nil {
		w.turns = append(w.turns, t)
	}
}

func (w *Work) giveTurns() {
	for _, t := range w.turns {
		w.module.turns.give(t)
	}
	w.turns = nil
}
