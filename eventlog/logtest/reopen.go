package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// reopen closes the trial's log and opens it again.
func (t *trial) reopen() {
	t.Helper()
	t.log = t.store.Reopen(t.T, t.log)
}

var reopenCases = []Case{
	{Name: "reopen/everything that was acknowledged is there, and its id", needs: reopens, run: func(t *trial) {
		id := t.log.ID()
		e := of("ensue.mark", "1\x00\xff")
		e.Tags, e.Metadata = []event.Tag{{Key: "k", Value: "v"}}, event.Metadata{Correlation: event.NewID(), Headers: map[string]string{"h": "v"}}
		for i := range 5 {
			e.ID = event.ID{}
			t.append(to(fmt.Sprintf("s/%d", i%2), eventlog.Any, e, fact(fmt.Sprint(i))), putDue(fmt.Sprint(i), day), put(eventlog.Lease, "l", "1"), eventlog.Delete{Kind: eventlog.Timeout, Key: "2"})
			before := t.dump()
			t.reopen()
			t.same("the log", t.dump(), before)
		}
		t.same("the number of events", len(t.read(eventlog.Query{System: true})), 10)
		t.same("the id", t.log.ID(), id)
	}},
	{Name: "reopen/positions, versions and times of recording go on", needs: reopens, run: func(t *trial) {
		at := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
		t.clock.set(at)
		t.fill("s", 2)
		head := t.head()
		t.reopen()
		t.clock.set(at.Add(-time.Hour))
		t.append(to("s", eventlog.Exactly(2), fact("3")))
		events := t.stream("s", eventlog.StreamQuery{})
		t.same("the places", places(events), []string{"s@1", "s@2", "s@3"})
		if events[2].Position <= head || events[2].Recorded.Before(events[1].Recorded) {
			t.Fatalf("after position %d and %v came %s", head, events[1].Recorded, describe(events[2]))
		}
	}},
	{Name: "reopen/revisions keep growing, also when the highest was deleted", needs: reopens, run: func(t *trial) {
		t.put(put(eventlog.Claim, "a", "1"))
		highest := t.put(put(eventlog.Claim, "b", "1"))
		t.append(eventlog.Delete{Kind: eventlog.Claim, Key: "b"})
		t.reopen()
		if r := t.put(put(eventlog.Claim, "b", "1")); r <= highest {
			t.Fatalf("revision %d of before reopening was followed by %d", highest, r)
		}
		t.same("the entries", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Claim})), []string{"a", "b"})
	}},
	{Name: "reopen/a repeat is still one, and an id still taken", needs: reopens, run: func(t *trial) {
		w := []eventlog.Write{to("s", eventlog.NoStream, fact("1"), fact("2")), put(eventlog.Cursor, "c", "1")}
		first := t.append(w...)
		t.reopen()
		t.repeated(first.Results, w...)
		refused[*eventlog.IDError](t, to("other", eventlog.Any, w[0].(eventlog.ToStream).Events[1]))
	}},
	{Name: "reopen/a refused append is not there either", needs: reopens, run: func(t *trial) {
		t.fill("s", 1)
		refused[*eventlog.ConflictError](t, to("new", eventlog.NoStream, fact("1")), put(eventlog.Cursor, "c", "1"), to("s", eventlog.NoStream, fact("1")))
		before := t.dump()
		t.reopen()
		t.same("the log", t.dump(), before)
		t.append(to("new", eventlog.NoStream, fact("1")))
	}},
	{Name: "reopen/links, closed and truncated streams stay", needs: reopens, run: func(t *trial) {
		p := t.source(3)
		if links.of(t.log, t.store) {
			t.append(link("view", eventlog.Any, p[2], p[0]))
		}
		if keeps.of(t.log, t.store) {
			t.fill("closed", 1)
			t.close("closed")
			t.close("never was")
			t.truncate("s", 2)
		}
		before := t.dump()
		t.reopen()
		t.same("the log", t.dump(), before)
		if links.of(t.log, t.store) {
			t.linked(link("view", eventlog.NoStream, p[0]), 2, 2)
		}
		if keeps.of(t.log, t.store) {
			refused[*eventlog.StreamClosedError](t, to("closed", eventlog.Any, fact("2")))
			refused[*eventlog.StreamClosedError](t, to("never was", eventlog.Any, fact("1")))
		}
	}},
	{Name: "reopen/while many append, what was acknowledged is there", needs: reopens, Concurrent: true, run: reopenUnderLoad},
}

func reopenUnderLoad(t *trial) {
	const writers = 8
	for round := range 4 {
		log, stream := t.log, fmt.Sprintf("round/%d", round)
		var acknowledged [writers]int
		var total atomic.Int64
		enough := make(chan struct{})
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for t.ctx.Err() == nil {
					_, err := log.Append(t.ctx, to(fmt.Sprintf("%s/%d", stream, w), eventlog.Any, fact(fmt.Sprint(acknowledged[w]+1))))
					if errors.Is(err, eventlog.ErrBusy) {
						continue
					}
					if err != nil {
						if !errors.Is(err, eventlog.ErrClosed) && !errors.Is(err, context.DeadlineExceeded) {
							acknowledged[w] = -1
							t.Logf("an append to a log that is being closed returned %v", err)
						}
						return
					}
					acknowledged[w]++
					if total.Add(1) == 100 {
						close(enough)
					}
				}
			})
		}
		t.within("100 appends", func() { <-enough })
		t.within("reopening", t.reopen)
		t.within("the end of appends to the log that was closed", all.Wait)
		if slices.Contains(acknowledged[:], -1) {
			t.Fatalf("an append to a closed log did not fail with ErrClosed")
		}
		for w, n := range acknowledged {
			there := payloads(t.stream(fmt.Sprintf("%s/%d", stream, w), eventlog.StreamQuery{}))
			if len(there) < n {
				t.Fatalf("of %d acknowledged appends %d are there", n, len(there))
			}
			if len(there) > 0 {
				t.same("the stream", there, numbers(1, len(there)))
			}
		}
	}
}
