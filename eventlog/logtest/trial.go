package logtest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// trial is a case under way: whom it reports to, and the new log that it has.
type trial struct {
	T
	store Store
	ctx   context.Context
	log   eventlog.Log
	clock clock
}

// open makes another new log.
func (t *trial) open() eventlog.Log { return t.store.Open(t.T, t.clock.now) }

// append appends what has to be taken.
func (t *trial) append(writes ...eventlog.Write) eventlog.Appended {
	t.Helper()
	done, err := t.log.Append(t.ctx, writes...)
	t.ok("append", err)
	if len(done.Results) != len(writes) {
		t.Fatalf("append of %d writes returned %d results", len(writes), len(done.Results))
	}
	for i, r := range done.Results {
		if !done.Repeat && !likely(writes[i], r) {
			t.Fatalf("append of %+v returned %+v", writes[i], r)
		}
	}
	return done
}

// likely tells whether r can be the result of a write that was applied.
func likely(w eventlog.Write, r eventlog.Result) bool {
	switch w := w.(type) {
	case eventlog.ToStream:
		return r.First > 0 && r.Last == r.First+eventlog.Version(len(w.Events))-1 && r.Revision == 0
	case eventlog.LinkTo:
		return r.First > 0 && r.Last > 0 && r.Revision == 0
	case eventlog.Put:
		return r.First == 0 && r.Last == 0 && r.Revision > 0
	default:
		return r == eventlog.Result{}
	}
}

// fill appends n events of type "fact" to a stream, their payloads "1", "2", …
func (t *trial) fill(stream string, n int) {
	t.Helper()
	const most = 1000
	for from := 1; from <= n; from += most {
		var events []event.Event
		for i := from; i <= n && i < from+most; i++ {
			events = append(events, fact(fmt.Sprint(i)))
		}
		t.append(to(stream, eventlog.Any, events...))
	}
	t.same("the end of the stream", payloads(t.stream(stream, eventlog.StreamQuery{Backward: true, Limit: 1})), []string{fmt.Sprint(n)})
}

// refused appends what must fail with an error of type E, and leave nothing behind.
func refused[E error](t *trial, writes ...eventlog.Write) {
	t.Helper()
	_ = refusal[E](t, writes...)
}

// refusal is refused for who wants to look at the error.
func refusal[E error](t *trial, writes ...eventlog.Write) E {
	t.Helper()
	before := t.dump()
	done, err := t.log.Append(t.ctx, writes...)
	want, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("append returned error %v (%T), want a %v", err, err, reflect.TypeFor[E]())
	}
	if len(done.Results) > 0 || done.Repeat {
		t.Fatalf("append failed with %v and returned %+v as well", err, done)
	}
	t.same("the log after a refused append", t.dump(), before)
	return want
}

// dump describes everything that the log holds.
func (t *trial) dump() string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, "head", t.head())
	streams := map[string]bool{}
	for _, r := range t.read(eventlog.Query{System: true}) {
		fmt.Fprintln(&b, describe(r))
		streams[r.Stream] = true
	}
	if lister, ok := t.log.(eventlog.StreamLister); ok {
		for _, s := range collect(t, lister.Streams(t.ctx, "", "", 0)) {
			fmt.Fprintf(&b, "%+v\n", s)
			streams[s.Stream] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		for _, r := range t.stream(name, eventlog.StreamQuery{System: true}) {
			fmt.Fprintln(&b, describe(r))
		}
	}
	for _, k := range eventlog.Kinds() {
		for _, e := range t.entries(eventlog.EntryQuery{Kind: k}) {
			fmt.Fprintf(&b, "%v %q %s due %v revision %d\n", e.Kind, e.Key, brief(e.Value), e.Due, e.Revision)
		}
	}
	return b.String()
}

// describe tells everything about an event; nil and empty look the same.
func describe(r event.Recorded) string {
	return fmt.Sprintf("%d %s@%d %s %s/%d %s correlation %v causation %v headers %q tags %q occurred %v recorded %v origin %v",
		r.Position, r.Stream, r.Place.Version, r.ID, r.Type, r.Schema, brief(r.Data), r.Metadata.Correlation, r.Metadata.Causation,
		r.Metadata.Headers, r.Tags, r.Occurred, r.Recorded, r.Origin)
}

// brief tells a payload; a long one by its length and a checksum.
func brief(data []byte) string {
	if len(data) <= 200 {
		return strconv.Quote(string(data))
	}
	return fmt.Sprintf("%d bytes with checksum %x", len(data), crc32.ChecksumIEEE(data))
}

func (t *trial) head() eventlog.Position {
	t.Helper()
	head, err := t.log.Head(t.ctx)
	t.ok("head", err)
	return head
}

func (t *trial) read(q eventlog.Query) []event.Recorded {
	t.Helper()
	return collect(t, t.log.Read(t.ctx, q))
}

func (t *trial) stream(name string, q eventlog.StreamQuery) []event.Recorded {
	t.Helper()
	return collect(t, t.log.ReadStream(t.ctx, name, q))
}

func (t *trial) entries(q eventlog.EntryQuery) []eventlog.Entry {
	t.Helper()
	return collect(t, t.log.Entries(t.ctx, q))
}

// one returns the only event of a stream.
func (t *trial) one(stream string) event.Recorded {
	t.Helper()
	all := t.stream(stream, eventlog.StreamQuery{System: true})
	if len(all) != 1 {
		t.Fatalf("stream %q has %d events, want 1: %v", stream, len(all), places(all))
	}
	return all[0]
}

// entry returns the entry of a kind and key, and whether it is there.
func (t *trial) entry(k eventlog.Kind, key string) (eventlog.Entry, bool) {
	t.Helper()
	found := t.entries(eventlog.EntryQuery{Kind: k, Keys: []string{key}})
	if len(found) > 1 {
		t.Fatalf("%v %q is there %d times", k, key, len(found))
	}
	if len(found) == 0 {
		return eventlog.Entry{}, false
	}
	return found[0], true
}

// position returns the position of an event.
func (t *trial) position(id event.ID) eventlog.Position {
	t.Helper()
	found := t.read(eventlog.Query{IDs: []event.ID{id}, System: true})
	if len(found) != 1 || found[0].ID != id {
		t.Fatalf("event %v was found %d times", id, len(found))
	}
	return found[0].Position
}

func (t *trial) ok(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// same fails unless got is what is wanted.
func (t *trial) same(what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is\n\t%v\nand should be\n\t%v", what, got, want)
	}
}

// within runs what must come to an end while the case has time, and what ignores its context when it does not.
func (t *trial) within(what string, do func()) {
	t.Helper()
	ended, returned := make(chan struct{}), false
	go func() {
		defer close(ended) // also when do ends its goroutine by Fatalf
		do()
		returned = true
	}()
	select {
	case <-ended:
	case <-t.ctx.Done():
		select {
		case <-ended: // with the context's error, and what that meant
		case <-time.After(5 * time.Second):
			t.Fatalf("%s does not come to an end", what)
		}
	}
	if !returned {
		t.Fatalf("%s failed", what)
	}
}

// together runs n goroutines that begin at once, and fails with the first error that one returns.
func (t *trial) together(n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	var all sync.WaitGroup
	start, errs := make(chan struct{}), make(chan error, n)
	for i := range n {
		all.Go(func() {
			<-start
			if err := do(ctx, i); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	close(start)
	t.within(fmt.Sprintf("the work of %d goroutines", n), all.Wait)
	close(errs)
	for err := range errs { // the first; others may only have been cancelled by it
		t.Fatalf("%v", err)
	}
}

// collect reads a sequence to its end.
func collect[E any](t *trial, sequence iter.Seq2[E, error]) []E {
	t.Helper()
	all, err := gather(sequence)
	t.ok("read", err)
	return all
}

// gather is collect for goroutines, which must not end their case.
func gather[E any](sequence iter.Seq2[E, error]) ([]E, error) {
	var all []E
	for e, err := range sequence {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// fact returns an event with a payload, and an id, so that it can be asked for.
func fact(data string) event.Event { return of("fact", data) }

func of(typ, data string) event.Event {
	return event.Event{ID: event.NewID(), Type: typ, Data: []byte(data)}
}

func to(stream string, expect eventlog.Expected, events ...event.Event) eventlog.ToStream {
	return eventlog.ToStream{Stream: stream, Expect: expect, Events: events}
}

func put(k eventlog.Kind, key, value string) eventlog.Put {
	return eventlog.Put{Entry: eventlog.Entry{Kind: k, Key: key, Value: []byte(value)}}
}

func putDue(key string, due time.Time) eventlog.Put {
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Timeout, Key: key, Due: due}}
}

// places returns where events were read: stream@version.
func places(events []event.Recorded) []string {
	list := []string{}
	for _, r := range events {
		list = append(list, fmt.Sprintf("%s@%d", r.Stream, r.Place.Version))
	}
	return list
}

// payloads returns the events' payloads as text.
func payloads(events []event.Recorded) []string {
	list := []string{}
	for _, r := range events {
		list = append(list, string(r.Data))
	}
	return list
}

// keys returns the entries' keys.
func keys(entries []eventlog.Entry) []string {
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Key)
	}
	return list
}

// numbers returns "from" … "to" as fill writes them, counting down where from is larger.
func numbers(from, to int) []string {
	list := []string{fmt.Sprint(from)}
	for from != to {
		if from < to {
			from++
		} else {
			from--
		}
		list = append(list, fmt.Sprint(from))
	}
	return list
}
