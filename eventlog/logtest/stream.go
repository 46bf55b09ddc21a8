package logtest

import (
	"fmt"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// names returns the names of the streams of a category.
func (t *trial) names(category, after string, limit int) []string {
	t.Helper()
	list := []string{}
	for _, s := range collect(t, t.log.(eventlog.StreamLister).Streams(t.ctx, category, after, limit)) {
		list = append(list, s.Stream)
	}
	return list
}

func (t *trial) info(stream string) eventlog.StreamInfo {
	t.Helper()
	info, err := t.log.(eventlog.StreamLister).Stream(t.ctx, stream)
	t.ok("describe a stream", err)
	return info
}

func (t *trial) truncate(stream string, upTo eventlog.Version) {
	t.Helper()
	t.ok("truncate", t.log.(eventlog.StreamKeeper).TruncateStream(t.ctx, stream, upTo))
}

func (t *trial) close(stream string) {
	t.Helper()
	t.ok("close", t.log.(eventlog.StreamKeeper).CloseStream(t.ctx, stream, eventlog.Any))
}

var listCases = []Case{
	{Name: "streams/by name as bytes, of one category or all", needs: lists, run: func(t *trial) {
		all := []string{"order/2", "order/10", "order", "Order/1", "orders/1", "order-line/1", "é/1", "e\u0301/1", "a/b/c", "order/é", "世/界", "order /1"}
		for _, s := range all {
			t.fill(s, 1)
		}
		slices.Sort(all)
		t.same("all", t.names("", "", 0), all)
		t.same("those of a category", t.names("order", "", 0), []string{"order", "order/10", "order/2", "order/é"})
		t.same("after a name", t.names("", "order/1", 0), all[slices.Index(all, "order/10"):])
		t.same("those of a category after a name", t.names("order", "order/10", 1), []string{"order/2"})
		t.same("some", t.names("", "", 3), all[:3])
		t.same("those of no category", t.names("orde", "", 0), []string{})
	}},
	{Name: "streams/many pages", needs: lists, run: func(t *trial) {
		var writes []eventlog.Write
		var all []string
		for i := range 1500 {
			all = append(all, fmt.Sprintf("a/%05d", i))
			writes = append(writes, to(all[i], eventlog.Any, fact("1")), to(fmt.Sprintf("b/%05d", i), eventlog.Any, fact("1")))
		}
		t.append(writes...)
		t.same("those of a category", t.names("a", "", 0), all)
		t.same("some of them", t.names("a", all[99], 1200), all[100:1300])
		t.same("the number of all", len(t.names("", "", 0)), 3000)
	}},
	{Name: "streams/described one by one as in the list", needs: lists, run: func(t *trial) {
		t.fill("s", 3)
		t.fill("t", 1)
		t.append(to("s", eventlog.Any, of("ensue.mark", "")))
		want := []eventlog.StreamInfo{{Stream: "s", Version: 4}, {Stream: "t", Version: 1}}
		t.same("the list", collect(t, t.log.(eventlog.StreamLister).Streams(t.ctx, "", "", 0)), want)
		t.same("each", []eventlog.StreamInfo{t.info("s"), t.info("t")}, want)
		t.same("one that does not exist", t.info("none"), eventlog.StreamInfo{Stream: "none"})
	}},
	{Name: "streams/one that a refused append would have made does not exist", needs: lists, run: func(t *trial) {
		t.fill("s", 1)
		refused[*eventlog.ConflictError](t, to("new", eventlog.NoStream, fact("1")), to("s", eventlog.NoStream, fact("1")))
		t.same("the streams", t.names("", "", 0), []string{"s"})
		t.same("the stream", t.info("new").Version, eventlog.Version(0))
	}},
	{Name: "streams/of links alone exist", needs: listsLinks, run: func(t *trial) {
		p := t.source(2)
		t.append(link("view/1", eventlog.Any, p...))
		t.same("the streams", t.names("view", "", 0), []string{"view/1"})
		t.same("the stream", t.info("view/1"), eventlog.StreamInfo{Stream: "view/1", Version: 2})
	}},
	{Name: "streams/closed and truncated are said to be", needs: listsKeeps, run: func(t *trial) {
		t.fill("s", 5)
		t.truncate("s", 2)
		t.same("truncated", t.info("s"), eventlog.StreamInfo{Stream: "s", Version: 5, Truncated: 2})
		t.truncate("s", 1)
		t.same("truncated below that", t.info("s"), eventlog.StreamInfo{Stream: "s", Version: 5, Truncated: 2})
		t.truncate("s", 99)
		t.same("truncated beyond its end", t.info("s"), eventlog.StreamInfo{Stream: "s", Version: 5, Truncated: 5})
		t.close("s")
		want := eventlog.StreamInfo{Stream: "s", Version: 5, Truncated: 5, Closed: true}
		t.same("closed", t.info("s"), want)
		t.close("never was")
		t.same("closed before it existed", t.info("never was"), eventlog.StreamInfo{Stream: "never was", Closed: true})
		t.same("the list", collect(t, t.log.(eventlog.StreamLister).Streams(t.ctx, "", "", 0)), []eventlog.StreamInfo{want})
	}},
}

var closeCases = []Case{
	{Name: "close stream/refuses appends, whatever they expect", needs: keeps, run: func(t *trial) {
		t.fill("s", 3)
		t.close("s")
		for _, expect := range expectations {
			e := refusal[*eventlog.StreamClosedError](t, to("other", eventlog.Any, fact("1")), put(eventlog.Cursor, "c", "1"), to("s", expect, fact("4")))
			t.same("the stream in the error", e.Stream, "s")
		}
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, 3))
		t.same("the log", payloads(t.read(eventlog.Query{})), numbers(1, 3))
		t.fill("s/1", 1)
	}},
	{Name: "close stream/refuses links, but not those that are there", needs: linksKeeps, run: func(t *trial) {
		p := t.source(3)
		t.append(link("view", eventlog.Any, p[0], p[1]))
		t.close("view")
		for _, expect := range expectations {
			refused[*eventlog.StreamClosedError](t, link("view", expect, p[2]))
			refused[*eventlog.StreamClosedError](t, link("view", expect, p[0], p[2]))
			t.linked(link("view", expect, p[1]), 2, 2)
		}
		t.append(link("other", eventlog.Any, p[1]))
	}},
	{Name: "close stream/twice succeeds", needs: keeps, run: func(t *trial) {
		t.fill("s", 1)
		for range 2 {
			t.ok("close", t.log.(eventlog.StreamKeeper).CloseStream(t.ctx, "s", eventlog.Exactly(1)))
		}
		refused[*eventlog.StreamClosedError](t, to("s", eventlog.Any, fact("2")))
	}},
	{Name: "close stream/under every expected version", needs: keeps, run: func(t *trial) {
		for i, expect := range expectations {
			for _, last := range []eventlog.Version{0, 3} {
				s := fmt.Sprintf("s/%d/%d", i, last)
				if last > 0 {
					t.fill(s, 3)
				}
				err := t.log.(eventlog.StreamKeeper).CloseStream(t.ctx, s, expect)
				if !expect.Allows(last) {
					conflict, ok := err.(*eventlog.ConflictError) //nolint:errorlint // a wrapped one is no less wrong to compare
					if !ok {
						t.Fatalf("closing a stream at version %d that expects %v returned %v", last, expect, err)
					}
					t.same("the conflict", *conflict, eventlog.ConflictError{Stream: s, Expected: expect, Actual: last})
					t.append(to(s, eventlog.Any, fact("open")))
					continue
				}
				t.ok("close", err)
				refused[*eventlog.StreamClosedError](t, to(s, eventlog.Any, fact("closed")))
			}
		}
	}},
	{Name: "close stream/that does not exist keeps it from existing", needs: keeps, run: func(t *trial) {
		t.close("s")
		for _, expect := range expectations {
			refused[*eventlog.StreamClosedError](t, to("s", expect, fact("1")))
		}
		t.same("the stream", len(t.stream("s", eventlog.StreamQuery{})), 0)
		t.same("the head", t.head(), eventlog.Position(0))
	}},
}

var truncateCases = []Case{
	{Name: "truncate stream/takes versions out of the stream", needs: keeps, run: func(t *trial) {
		t.fill("other", 9)
		t.fill("s", 9)
		t.truncate("s", 4)
		for _, c := range []struct {
			q    eventlog.StreamQuery
			want []string
		}{
			{eventlog.StreamQuery{}, numbers(5, 9)},
			{eventlog.StreamQuery{Limit: 2}, numbers(5, 6)},
			{eventlog.StreamQuery{After: 2, Limit: 2}, numbers(5, 6)},
			{eventlog.StreamQuery{After: 6}, numbers(7, 9)},
			{eventlog.StreamQuery{Backward: true}, numbers(9, 5)},
			{eventlog.StreamQuery{Backward: true, After: 7}, numbers(6, 5)},
			{eventlog.StreamQuery{Backward: true, After: 5}, []string{}},
			{eventlog.StreamQuery{Backward: true, After: 3}, []string{}},
		} {
			t.same(fmt.Sprintf("what %+v selects", c.q), payloads(t.stream("s", c.q)), c.want)
		}
		t.same("the place of the first", places(t.stream("s", eventlog.StreamQuery{Limit: 1})), []string{"s@5"})
		t.same("another stream", len(t.stream("other", eventlog.StreamQuery{})), 9)
	}},
	{Name: "truncate stream/leaves its last version as it was", needs: keeps, run: func(t *trial) {
		for i, expect := range expectations {
			s := fmt.Sprintf("s/%d", i)
			t.fill(s, 3)
			t.truncate(s, 3)
			t.same("the stream", len(t.stream(s, eventlog.StreamQuery{System: true})), 0)
			expectOn(t, s, expect, 3)
		}
	}},
	{Name: "truncate stream/leaves the log as it was, by position and by id", needs: keeps, run: func(t *trial) {
		t.fill("s", 5)
		all, head := t.read(eventlog.Query{}), t.head()
		t.same("the number of events", len(all), 5)
		t.truncate("s", 5)
		t.same("the log", t.read(eventlog.Query{}), all)
		t.same("an event by id", t.read(eventlog.Query{IDs: []event.ID{all[0].ID}}), all[:1])
		t.same("the head", t.head(), head)
		refused[*eventlog.IDError](t, to("other", eventlog.Any, all[0].Event))
	}},
	{Name: "truncate stream/leaves links to its events as they were", needs: linksKeeps, run: func(t *trial) {
		p := t.source(3)
		t.append(link("view", eventlog.Any, p[0]))
		before := t.stream("view", eventlog.StreamQuery{})
		t.truncate("s", 3)
		t.same("the view", t.stream("view", eventlog.StreamQuery{}), before)
		t.linked(link("view", eventlog.Any, p[1]), 2, 2)
		t.same("the view of what was truncated", payloads(t.stream("view", eventlog.StreamQuery{})), numbers(1, 2))
	}},
	{Name: "truncate stream/a link that was truncated is not made anew", needs: linksKeeps, run: func(t *trial) {
		p := t.source(3)
		t.append(link("view", eventlog.Any, p...))
		t.truncate("view", 2)
		t.same("the view", places(t.stream("view", eventlog.StreamQuery{})), []string{"view@3"})
		t.linked(link("view", eventlog.NoStream, p[0], p[1]), 1, 2)
		t.same("the view after linking again", places(t.stream("view", eventlog.StreamQuery{})), []string{"view@3"})
		t.same("the source", places(t.stream("s", eventlog.StreamQuery{})), []string{"s@1", "s@2", "s@3"})
	}},
	{Name: "truncate stream/affects no version that comes later, and none is put back", needs: keeps, run: func(t *trial) {
		t.fill("s", 3)
		t.truncate("s", 99)
		t.truncate("none", 99)
		t.truncate("s", 1)
		t.truncate("s", 0)
		t.same("the stream", len(t.stream("s", eventlog.StreamQuery{})), 0)
		t.append(to("s", eventlog.Exactly(3), fact("4")), to("none", eventlog.NoStream, fact("1")))
		t.same("the stream, extended", places(t.stream("s", eventlog.StreamQuery{})), []string{"s@4"})
		t.same("a stream that did not exist", places(t.stream("none", eventlog.StreamQuery{})), []string{"none@1"})
	}},
	{Name: "truncate stream/also when it is closed", needs: keeps, run: func(t *trial) {
		t.fill("s", 3)
		t.close("s")
		t.truncate("s", 2)
		t.same("the stream", places(t.stream("s", eventlog.StreamQuery{})), []string{"s@3"})
		refused[*eventlog.StreamClosedError](t, to("s", eventlog.Any, fact("4")))
	}},
}
