package pglog

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// TestG4_AGroupBesideAFew: while few appends are under way others are sent beside them, but none that has a stream in common
// with them, and none beside many.
func TestG4_AGroupBesideAFew(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent, release := make(chan struct{}, 10), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	first := true
	var mu sync.Mutex
	log := logOf(t, opened(t, pgtest.Database(t), Options{hooks: hooks{group: func(int) {
		mu.Lock()
		wait := first
		first = false
		mu.Unlock()
		sent <- struct{}{}
		if wait {
			<-release
		}
	}}}))
	begin := func(w eventlog.Write) func() eventlog.Version {
		done, version := make(chan error, 1), eventlog.Version(0)
		go func() {
			all, err := log.Append(ctx, w)
			if err == nil {
				version = all.Results[0].Last
			}
			done <- err
		}()
		return func() eventlog.Version {
			t.Helper()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			return version
		}
	}

	one := begin(made("a"))
	<-sent
	two := begin(made("a"))
	for inQueue := false; !inQueue; { // it is looked at before the next one, which comes behind it
		select {
		case <-sent:
			t.Fatal("an append was sent beside one to the same stream")
		default:
		}
		log.writer.mu.Lock()
		inQueue = len(log.writer.queue) == 1
		log.writer.mu.Unlock()
	}
	if v := begin(made("b"))(); v != 1 {
		t.Errorf("the append beside it has version %d, want 1", v)
	}
	let()
	if v := [2]eventlog.Version{one(), two()}; v != [2]eventlog.Version{1, 2} {
		t.Errorf("the versions of the stream are given in the order %v", v)
	}

	many := flight{}
	r, err := encode([]eventlog.Write{eventlog.ToStream{Stream: "c", Events: slices.Repeat([]event.Event{{Type: "made"}}, aFew+1)}})
	if err != nil {
		t.Fatal(err)
	}
	many.rows = r.rows()
	if w := (&writer{under: []*flight{&many}}); w.mayStart() {
		t.Errorf("beside %d rows under way there is room for more", many.rows)
	}
	if w := (&writer{under: []*flight{{rows: 1}, {rows: 1}}}); w.mayStart() {
		t.Error("three groups would be under way")
	}
}
