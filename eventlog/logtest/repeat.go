package logtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// repeated appends what is there already, and wants the log unchanged and the first results, revisions aside.
func (t *trial) repeated(first []eventlog.Result, writes ...eventlog.Write) {
	t.Helper()
	before := t.dump()
	again := t.append(writes...)
	if !again.Repeat {
		t.Fatalf("append of what is there already is not said to be a repeat: %+v", again)
	}
	want := slices.Clone(first)
	for i := range want {
		want[i].Revision = 0
	}
	t.same("the results of the repeat", again.Results, want)
	t.same("the log after the repeat", t.dump(), before)
}

var repeatCases = []Case{
	{Name: "repeat/succeeds under every expected version, with the first results", run: func(t *trial) {
		events := []event.Event{fact("1"), fact("2")}
		first := t.append(to("s", eventlog.NoStream, events...))
		for _, expect := range expectations {
			t.repeated(first.Results, to("s", expect, events...))
		}
		t.append(to("s", eventlog.Exactly(2), fact("3")))
		for _, expect := range expectations {
			t.repeated(first.Results, to("s", expect, events...))
		}
	}},
	{Name: "repeat/of an append to several streams", run: func(t *trial) {
		writes := []eventlog.Write{to("a", eventlog.NoStream, fact("1")), to("b", eventlog.NoStream, fact("2"), fact("3")), to("a", eventlog.Exactly(1), fact("4"))}
		first := t.append(writes...)
		t.fill("a", 5)
		t.repeated(first.Results, writes...)
	}},
	{Name: "repeat/of a part of an append, and of two appends at once", run: func(t *trial) {
		a, b, c := fact("1"), fact("2"), fact("3")
		first := t.append(to("s", eventlog.Any, a, b))
		second := t.append(to("s", eventlog.Any, c))
		p := first.Results[0].Position
		t.repeated([]eventlog.Result{{First: 2, Last: 2, Position: p}}, to("s", eventlog.NoStream, b))
		t.repeated([]eventlog.Result{{First: 1, Last: 3, Position: second.Results[0].Position}}, to("s", eventlog.NoStream, a, b, c))
		t.repeated([]eventlog.Result{first.Results[0], second.Results[0]}, to("s", eventlog.NoStream, a, b), to("s", eventlog.NoStream, c))
	}},
	{Name: "repeat/looks at stream, type and payload alone", run: func(t *trial) {
		e := fact("1")
		e.Metadata.Headers = map[string]string{"attempt": "1"}
		first := t.append(to("s", eventlog.Any, e))
		e.Schema, e.Occurred, e.Tags = 2, time.Unix(1, 0), []event.Tag{{Key: "k", Value: "v"}}
		e.Metadata = event.Metadata{Correlation: event.NewID(), Headers: map[string]string{"attempt": "2"}}
		t.repeated(first.Results, to("s", eventlog.Any, e))
		t.same("the header", t.one("s").Metadata.Header("attempt"), "1")
	}},
	{Name: "repeat/of an empty payload", run: func(t *trial) {
		e := fact("")
		first := t.append(to("s", eventlog.Any, e))
		e.Data = nil
		t.repeated(first.Results, to("s", eventlog.Any, e))
	}},
	{Name: "repeat/does not apply entries again, whatever their expected revisions", run: func(t *trial) {
		add := put(eventlog.Cursor, "c", "first")
		add.Expect = eventlog.NoEntry
		t.append(put(eventlog.Timeout, "deleted", "1"))
		writes := []eventlog.Write{to("s", eventlog.NoStream, fact("1")), add, put(eventlog.Claim, "k", "first"), eventlog.Delete{Kind: eventlog.Timeout, Key: "deleted"}}
		first := t.append(writes...)
		t.repeated(first.Results, writes...)
		t.append(put(eventlog.Cursor, "c", "later"), eventlog.Delete{Kind: eventlog.Claim, Key: "k"}, put(eventlog.Timeout, "deleted", "anew"))
		t.repeated(first.Results, writes...)
		c, _ := t.entry(eventlog.Cursor, "c")
		t.same("the entry that was put again later", string(c.Value), "later")
	}},
	{Name: "repeat/entries alone are never one", run: func(t *trial) {
		one, two := t.append(put(eventlog.Cursor, "c", "1")), t.append(put(eventlog.Cursor, "c", "1"))
		if one.Repeat || two.Repeat || two.Results[0].Revision <= one.Results[0].Revision {
			t.Fatalf("the same entry put twice gave %+v and %+v", one, two)
		}
		t.same("the revision as read", t.revision(eventlog.Cursor, "c"), two.Results[0].Revision)
	}},
	{Name: "repeat/does not link what was not linked, and says where the rest is", needs: links, run: func(t *trial) {
		e := fact("1")
		t.append(to("s", eventlog.Any, e))
		p := t.position(e.ID)
		t.fill("view", 2)
		t.append(eventlog.LinkTo{Stream: "view", Positions: []eventlog.Position{p}})
		before := t.dump()
		again := t.append(to("s", eventlog.Any, e),
			eventlog.LinkTo{Stream: "view", Expect: eventlog.NoStream, Positions: []eventlog.Position{p}},
			eventlog.LinkTo{Stream: "other", Expect: eventlog.Exists, Positions: []eventlog.Position{p}})
		t.same("a repeat", again.Repeat, true)
		t.same("the results of the links", again.Results[1:], []eventlog.Result{{First: 3, Last: 3}, {}})
		t.same("the log after the repeat", t.dump(), before)
	}},
	{Name: "repeat/a partial overlap is refused under every expected version", run: func(t *trial) {
		a, b := fact("1"), fact("2")
		t.append(to("s", eventlog.Any, a, b))
		for _, expect := range expectations {
			for _, writes := range [][]eventlog.Write{
				{to("s", expect, a, b, fact("3"))},
				{to("s", expect, fact("3"), b)},
				{to("s", expect, a, event.Event{Type: "without an id"})},
				{to("s", expect, a, b), to("other", expect, fact("3"))},
				{to("other", expect, fact("3")), put(eventlog.Cursor, "c", "1"), to("s", expect, a)},
			} {
				known := refusal[*eventlog.IDError](t, writes...)
				if known.ID != a.ID && known.ID != b.ID || known.Stream != "s" {
					t.Fatalf("the error names event %v of stream %q", known.ID, known.Stream)
				}
			}
		}
	}},
	{Name: "repeat/an id with another payload, type or stream is refused under every expected version", run: func(t *trial) {
		a, b := fact("1"), fact("2")
		t.append(to("s", eventlog.Any, a, b))
		t.fill("existing", 3)
		payload, typ, shorter := a, a, a
		payload.Data, typ.Type, shorter.Data = []byte("other"), "other", nil
		for _, expect := range expectations {
			for _, w := range []eventlog.ToStream{
				to("s", expect, payload), to("s", expect, typ), to("s", expect, shorter), to("s", expect, payload, b), to("s", expect, b, typ),
				to("existing", expect, a), to("new", expect, a), to("S", expect, a),
			} {
				known := refusal[*eventlog.IDError](t, w)
				t.same("what the error names", fmt.Sprint(known.ID, known.Stream), fmt.Sprint(a.ID, w.Stream))
			}
		}
	}},
	{Name: "repeat/an id twice in one append is refused", run: func(t *trial) {
		e, other := fact("1"), fact("2")
		other.ID = e.ID
		for _, writes := range [][]eventlog.Write{
			{to("s", eventlog.Any, e, e)}, {to("s", eventlog.Any, e, other)}, {to("s", eventlog.Any, e), to("t", eventlog.Any, e)},
			{to("s", eventlog.Any, e), put(eventlog.Cursor, "c", "1"), to("s", eventlog.Any, fact("3"), e)},
		} {
			t.same("the id in the error", refusal[*eventlog.IDError](t, writes...).ID, e.ID)
		}
		if r := t.append(to("s", eventlog.NoStream, e)); r.Repeat {
			t.Fatalf("an id of a refused append is said to be there")
		}
	}},
	{Name: "repeat/after a refused append it is an append", run: func(t *trial) {
		e := fact("1")
		refused[*eventlog.ConflictError](t, to("s", eventlog.Exists, e))
		if done := t.append(to("s", eventlog.NoStream, e)); done.Repeat {
			t.Fatalf("an event that was refused before is said to be there")
		}
		t.same("the event", t.one("s").ID, e.ID)
	}},
	{Name: "repeat/of an append to a stream that was closed and truncated since", needs: keeps, run: func(t *trial) {
		keeper := t.log.(eventlog.StreamKeeper)
		w := to("s", eventlog.NoStream, fact("1"), fact("2"))
		first := t.append(w)
		t.ok("truncate", keeper.TruncateStream(t.ctx, "s", 2))
		t.repeated(first.Results, w)
		t.ok("close", keeper.CloseStream(t.ctx, "s", eventlog.Any))
		t.repeated(first.Results, w)
	}},
}
