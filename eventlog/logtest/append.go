package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

var logCases = []Case{
	{Name: "log/has an id of its own", run: func(t *trial) {
		id := t.log.ID()
		t.append(to("s", eventlog.Any, fact("1")))
		t.same("the id after an append", t.log.ID(), id)
		if other := t.open().ID(); id.IsZero() || id == other {
			t.Fatalf("two new logs have the ids %v and %v", id, other)
		}
	}},
	{Name: "log/head is the position of the last event", run: func(t *trial) {
		t.same("the head of an empty log", t.head(), eventlog.Position(0))
		for i := range 3 {
			e := fact("1")
			t.append(to(fmt.Sprintf("s/%d", i), eventlog.Any, fact("0"), e))
			t.same("the head", t.head(), t.position(e.ID))
		}
	}},
	{Name: "log/head does not move for entries", run: func(t *trial) {
		e := fact("1")
		t.append(to("s", eventlog.Any, e))
		before := t.position(e.ID)
		t.append(put(eventlog.Cursor, "c", "1"))
		t.same("the head after an append of an entry", t.head(), before)
	}},
}

var appendCases = []Case{
	{Name: "append/applies the writes in order, each to what those before it did", run: func(t *trial) {
		k := put(eventlog.Claim, "k", "1")
		k.Expect = eventlog.NoEntry
		t.append(
			to("s", eventlog.NoStream, fact("1")),
			to("s", eventlog.Exactly(1), fact("2"), fact("3")),
			k, eventlog.Delete{Kind: eventlog.Claim, Key: "k"}, k,
			to("s", eventlog.Exactly(3), fact("4")))
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, 4))
		if _, ok := t.entry(eventlog.Claim, "k"); !ok {
			t.Fatalf("an entry that was put, deleted and put is not there")
		}
	}},
	{Name: "append/refuses all if one write does not suit what those before it did", run: func(t *trial) {
		c := refusal[*eventlog.ConflictError](t, to("s", eventlog.NoStream, fact("1")), to("s", eventlog.NoStream, fact("2")))
		t.same("the conflict", *c, eventlog.ConflictError{Stream: "s", Expected: eventlog.NoStream, Actual: 1})
		k := put(eventlog.Claim, "k", "1")
		k.Expect = eventlog.NoEntry
		refused[*eventlog.EntryConflictError](t, k, to("s", eventlog.NoStream, fact("1")), k)
	}},
	{Name: "append/returns one result for each write", run: func(t *trial) {
		done := t.append(
			to("s", eventlog.Any, fact("1"), fact("2")),
			put(eventlog.Receipt, "r", "1"),
			to("s", eventlog.Any, fact("3")),
			eventlog.Delete{Kind: eventlog.Receipt, Key: "none"},
			to("other", eventlog.Any, fact("4")))
		if done.Repeat {
			t.Fatalf("an append of new events is said to be a repeat")
		}
		r, ok := t.entry(eventlog.Receipt, "r")
		if !ok || r.Revision == 0 {
			t.Fatalf("the entry that was put is %+v", r)
		}
		events := t.read(eventlog.Query{})
		t.same("the log", payloads(events), numbers(1, 4))
		want := []eventlog.Result{
			{First: 1, Last: 2, Position: events[1].Position},
			{Revision: r.Revision},
			{First: 3, Last: 3, Position: events[2].Position},
			{},
			{First: 1, Last: 1, Position: events[3].Position},
		}
		for i, got := range done.Results {
			if got.Position == 0 {
				want[i].Position = 0 // a log that numbers after commit
			}
		}
		t.same("the results", done.Results, want)
	}},
	{Name: "append/of no writes changes nothing", run: func(t *trial) {
		t.fill("s", 1)
		before := t.dump()
		done := t.append()
		t.same("what an append of nothing did", done.Repeat, false)
		t.same("the log", t.dump(), before)
	}},
	{Name: "append/is visible to every read when it returns", run: func(t *trial) {
		for i := range 20 {
			e := fact(fmt.Sprint(i))
			t.append(to("s", eventlog.Any, e), put(eventlog.Cursor, "c", fmt.Sprint(i)))
			p := t.position(e.ID)
			t.same("the head", t.head(), p)
			t.same("the last of the log", len(t.read(eventlog.Query{After: p - 1})), 1)
			t.same("the last of the stream", payloads(t.stream("s", eventlog.StreamQuery{After: eventlog.Version(i)})), []string{fmt.Sprint(i)})
			c, _ := t.entry(eventlog.Cursor, "c")
			t.same("the entry", string(c.Value), fmt.Sprint(i))
		}
	}},
	{Name: "append/gives positions in the order of the writes", run: func(t *trial) {
		t.append(to("b", eventlog.Any, fact("1"), fact("2")), to("a", eventlog.Any, fact("3")), to("b", eventlog.Any, fact("4")))
		t.append(to("a", eventlog.Any, fact("5")))
		t.same("the log", payloads(t.read(eventlog.Query{})), numbers(1, 5))
	}},
	{Name: "append/gives a new id to an event that has none", run: func(t *trial) {
		t.append(to("s", eventlog.Any, event.Event{Type: "fact"}, event.Event{Type: "fact"}))
		events := t.stream("s", eventlog.StreamQuery{})
		if len(events) != 2 || events[0].ID.IsZero() || events[0].ID == events[1].ID || events[0].ID[6]>>4 != 7 {
			t.Fatalf("two events without id have %v", events)
		}
	}},
	{Name: "append/keeps the id that an event has", run: func(t *trial) {
		e := fact("1")
		e.ID = event.DeriveID("of another version")
		t.append(to("s", eventlog.Any, e))
		t.same("the id", t.one("s").ID, e.ID)
	}},
	{Name: "append/takes schema version 0 as 1, and keeps any other", run: func(t *trial) {
		for i, schema := range []int{0, 1, 7, 1 << 30} {
			e := fact("1")
			e.Schema = schema
			s := fmt.Sprintf("s/%d", i)
			t.append(to(s, eventlog.Any, e))
			t.same("the schema version", t.one(s).Schema, max(schema, 1))
		}
	}},
	{Name: "append/keeps payloads byte for byte", run: func(t *trial) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for i, data := range [][]byte{
			all, slices.Concat(all, all), {0}, {0xff, 0xfe}, []byte("Grüße, 世界 🌍\u0000 e\u0301 \u00e9"), []byte(` { "b": 1.0, "a": 1e2 } `),
			[]byte("NULL"), []byte("'; --"), []byte("\r\n\t"), slices.Repeat([]byte{0x80}, 70_000),
		} {
			s := fmt.Sprintf("s/%d", i)
			t.append(to(s, eventlog.Any, event.Event{Type: "fact", Data: data}))
			t.same("the payload", t.one(s).Data, data)
		}
	}},
	{Name: "append/takes a nil payload as an empty one", run: func(t *trial) {
		t.append(to("s", eventlog.Any, event.Event{Type: "nil"}, event.Event{Type: "empty", Data: []byte{}}))
		t.same("the payloads", payloads(t.stream("s", eventlog.StreamQuery{})), []string{"", ""})
	}},
	{Name: "append/keeps metadata", run: func(t *trial) {
		e := fact("1")
		e.Metadata = event.Metadata{Correlation: event.NewID(), Causation: event.DeriveID("c"), Headers: map[string]string{
			"user": "Zoë", "empty": "", "Case": "1", "case": "2", "with space": "\x00\n\"'", "é": "e\u0301",
		}}
		t.append(to("s", eventlog.Any, e, event.Event{Type: "bare", Metadata: event.Metadata{Headers: map[string]string{}}}))
		events := t.stream("s", eventlog.StreamQuery{})
		t.same("the number of events", len(events), 2)
		t.same("the metadata", events[0].Metadata, e.Metadata)
		bare := events[1].Metadata
		if len(bare.Headers) != 0 || !bare.Correlation.IsZero() || !bare.Causation.IsZero() {
			t.Fatalf("an event without metadata has %+v", bare)
		}
	}},
	{Name: "append/keeps tags in their order", run: func(t *trial) {
		e := fact("1")
		e.Tags = []event.Tag{{Key: "z", Value: "1"}, {Key: "a", Value: ""}, {Key: "z", Value: "0"}, {Key: "é=&", Value: "世 '界'"}}
		t.append(to("s", eventlog.Any, e))
		t.same("the tags", t.one("s").Tags, e.Tags)
	}},
	{Name: "append/keeps occurred to the microsecond, in UTC", run: func(t *trial) {
		east := time.FixedZone("east", 5*3600)
		for i, at := range []time.Time{
			time.Date(2024, 2, 29, 23, 59, 59, 999_999_999, east), time.Date(1969, 12, 31, 23, 59, 59, 999_999_500, time.UTC),
			time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Unix(0, 0), time.Now(),
		} {
			e := fact("1")
			e.Occurred = at
			s := fmt.Sprintf("s/%d", i)
			t.append(to(s, eventlog.Any, e))
			t.same("the time it occurred", t.one(s).Occurred, event.Micro(at))
		}
	}},
	{Name: "append/takes the time of recording where occurred is zero", run: func(t *trial) {
		at := time.Date(2031, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
		t.clock.set(at)
		t.append(to("s", eventlog.Any, fact("1")))
		r := t.one("s")
		t.same("the time it occurred", r.Occurred, r.Recorded)
		t.same("that time to the microsecond in UTC", r.Recorded, event.Micro(r.Recorded))
		if !t.store.OwnClock {
			t.same("that time by the log's clock", r.Recorded, event.Micro(at))
		}
	}},
	{Name: "append/recorded never decreases with the position, whatever the clock does", run: func(t *trial) {
		at := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
		for i, d := range []time.Duration{0, time.Second, -time.Hour, time.Minute, -time.Microsecond, 2 * time.Second} {
			t.clock.set(at.Add(d))
			t.append(to(fmt.Sprintf("s/%d", i%2), eventlog.Any, fact("1"), fact("2")))
		}
		events := t.read(eventlog.Query{})
		t.same("the number of events", len(events), 12)
		if !slices.IsSortedFunc(events, func(a, b event.Recorded) int { return a.Recorded.Compare(b.Recorded) }) {
			t.Fatalf("the times of recording decrease: %v", events)
		}
	}},
	{Name: "append/keeps nothing of what it was given", run: func(t *trial) {
		e := fact("first")
		e.Metadata.Headers = map[string]string{"h": "1"}
		e.Tags = []event.Tag{{Key: "k", Value: "1"}}
		p := put(eventlog.Document, "d", "first")
		t.append(to("s", eventlog.Any, e), p)
		copy(e.Data, "later")
		e.Metadata.Headers["h"] = "2"
		e.Tags[0].Value = "2"
		copy(p.Entry.Value, "later")
		r := t.one("s")
		d, _ := t.entry(eventlog.Document, "d")
		t.same("what was appended", fmt.Sprintf("%s %v %v %s", r.Data, r.Metadata.Headers, r.Tags, d.Value), "first map[h:1] [{k 1}] first")
	}},
	{Name: "append/leaves nothing when its context is cancelled", run: func(t *trial) {
		t.fill("s", 1)
		before := t.dump()
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		if _, err := t.log.Append(ctx, to("s", eventlog.Any, fact("2")), put(eventlog.Cursor, "c", "1")); !errors.Is(err, context.Canceled) {
			t.Fatalf("append with a cancelled context returned %v", err)
		}
		t.same("the log", t.dump(), before)
	}},
	{Name: "append/takes system records like any event", run: func(t *trial) {
		t.append(to("s", eventlog.NoStream, of("ensue.timer", "1"), fact("2"), of("ensue.timer", "3")))
		t.append(to("s", eventlog.Exactly(3), fact("4")))
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{System: true})), numbers(1, 4))
	}},
}

// expectations are all kinds of them, for a stream with three events.
var expectations = []eventlog.Expected{
	eventlog.Any, eventlog.Exists, eventlog.NoStream, eventlog.Exactly(0), eventlog.Exactly(1), eventlog.Exactly(3), eventlog.Exactly(4), eventlog.Exactly(1 << 40),
}

var expectCases = []Case{
	{Name: "expect/is met or refused on a stream that does not exist", run: func(t *trial) {
		for i, expect := range expectations {
			expectOn(t, fmt.Sprintf("s/%d", i), expect, 0)
		}
	}},
	{Name: "expect/is met or refused on a stream that exists", run: func(t *trial) {
		for i, expect := range expectations {
			s := fmt.Sprintf("s/%d", i)
			t.fill(s, 3)
			expectOn(t, s, expect, 3)
		}
	}},
	{Name: "expect/a conflict is matched by ErrConflict", run: func(t *trial) {
		t.fill("s", 1)
		for _, w := range []eventlog.Write{
			to("s", eventlog.NoStream, fact("2")),
			eventlog.Delete{Kind: eventlog.Lease, Key: "l", Expect: 3},
		} {
			if _, err := t.log.Append(t.ctx, w); !errors.Is(err, eventlog.ErrConflict) {
				t.Fatalf("a conflict is the error %v", err)
			}
		}
	}},
	{Name: "expect/a conflict in any write leaves nothing of the others", run: func(t *trial) {
		t.fill("s", 2)
		t.append(put(eventlog.Cursor, "c", "1"))
		for _, bad := range []eventlog.Write{
			to("s", eventlog.Exactly(1), fact("3")),
			eventlog.Delete{Kind: eventlog.Cursor, Key: "c", Expect: eventlog.NoEntry},
		} {
			good := []eventlog.Write{to("new", eventlog.NoStream, fact("1"), fact("2")), put(eventlog.Cursor, "c", "2"), put(eventlog.Claim, "k", "1"), eventlog.Delete{Kind: eventlog.Cursor, Key: "c"}}
			if _, deletes := bad.(eventlog.Delete); deletes {
				good = good[:3]
			}
			for at := range len(good) + 1 {
				refused[error](t, slices.Insert(slices.Clone(good), at, bad)...)
			}
		}
		t.same("the next version of a stream that was never made", t.append(to("new", eventlog.NoStream, fact("1"))).Results[0].First, eventlog.Version(1))
	}},
}

// expectOn appends to a stream whose last version is known, and wants what the expectation says.
func expectOn(t *trial, stream string, expect eventlog.Expected, last eventlog.Version) {
	t.Helper()
	w := to(stream, expect, fact("new"), fact("newer"))
	if !expect.Allows(last) {
		c := refusal[*eventlog.ConflictError](t, w)
		t.same("the conflict", *c, eventlog.ConflictError{Stream: stream, Expected: expect, Actual: last})
		return
	}
	r := t.append(w).Results[0]
	t.same("the versions", []eventlog.Version{r.First, r.Last}, []eventlog.Version{last + 1, last + 2})
}
