package pglog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// TestLoadsThatShareAStatement: what readers of several streams are given is what each is given alone, whatever the others
// are; and they do share.
func TestLoadsThatShareAStatement(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := opened(t, pgtest.Database(t), Options{})
	l := logOf(t, db)
	fill := func(stream string, n int, data string) {
		t.Helper()
		events := make([]event.Event, n)
		for i := range events {
			events[i] = event.Event{Type: "filled", Data: []byte(data)}
		}
		if _, err := l.Append(ctx, eventlog.ToStream{Stream: stream, Expect: eventlog.NoStream, Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		fill(fmt.Sprint("short/", n), n+1, fmt.Sprintf(`{"n":%d}`, n))
	}
	fill("long", shortStream+1, `{}`)
	large := `"` + strings.Repeat("x", 600<<10) + `"`
	for n := range 9 { // of which a page doesn't hold all
		fill(fmt.Sprint("large/", n), 1, large)
	}
	if _, err := l.Append(ctx, eventlog.LinkTo{Stream: "links", Positions: []eventlog.Position{1, 2, 4}},
		eventlog.ToStream{Stream: "links", Events: []event.Event{{Type: "own", Data: []byte(`{}`)}}}); err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context, stream string) (all []event.Recorded, err error) {
		for rec, err := range l.ReadStream(ctx, stream, eventlog.StreamQuery{System: true}) {
			if err != nil {
				return nil, err
			}
			all = append(all, rec)
		}
		return all, nil
	}
	gathered := func(n int) {
		t.Helper()
		for waiting := 0; waiting < n; {
			l.loads.mu.Lock()
			waiting = len(l.loads.waiting)
			l.loads.mu.Unlock()
			if err := pause(t.Context(), time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	// together has streams read while two others are being read.
	together := func(streams []string) ([][]event.Recorded, []error) {
		l.loads.mu.Lock()
		l.loads.under = groupsAtOnce
		l.loads.mu.Unlock()
		rows, errs := make([][]event.Recorded, len(streams)), make([]error, len(streams))
		var reading sync.WaitGroup
		for n, stream := range streams {
			reading.Go(func() { rows[n], errs[n] = read(ctx, stream) })
			gathered(n + 1) // in that order
		}
		l.loads.next()
		l.loads.next()
		reading.Wait()
		return rows, errs
	}

	streams := []string{"short/0", "none", "short/1", "long", "links", "short/2", "im\x00possible", "short/1", "short/3", "large/0", "large/1", "large/2", "large/3",
		"large/4", "large/5", "large/6", "large/7", "large/8", "short/4", "long"}
	want := make([][]event.Recorded, len(streams))
	for n, stream := range streams {
		var err error
		if want[n], err = read(ctx, stream); err != nil {
			t.Fatalf("%s alone: %v", stream, err)
		}
	}
	before := db.Stats().Shared
	rows, errs := together(streams)
	for n, stream := range streams {
		if errs[n] != nil || !reflect.DeepEqual(rows[n], want[n]) {
			t.Errorf("%s is read with others as %d events (%v), alone as %d", stream, len(rows[n]), errs[n], len(want[n]))
		}
	}
	// Those that don't: long ones, a stream's second reader, and what did not fit into a page.
	if shared := db.Stats().Shared - before; shared < 10 || shared > int64(len(streams)-3) {
		t.Errorf("%d of %d shared a statement", shared, len(streams))
	}
	for under := 1; under > 0; { // the groups end behind their readers
		l.loads.mu.Lock()
		under = l.loads.under
		l.loads.mu.Unlock()
		if err := pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal("somebody is said to read still")
		}
	}

	// Who waits and gives up is not waited for, and the others are none the worse.
	l.loads.mu.Lock()
	l.loads.under = groupsAtOnce
	l.loads.mu.Unlock()
	ending, end := context.WithCancel(ctx)
	failed := make(chan error)
	go func() { _, err := read(ending, "short/0"); failed <- err }()
	gathered(1)
	end()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	go func() { _, err := read(ctx, "short/1"); failed <- err }()
	gathered(2)
	l.loads.next()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
