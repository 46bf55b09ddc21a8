package logtest

import (
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func link(stream string, expect eventlog.Expected, positions ...eventlog.Position) eventlog.LinkTo {
	return eventlog.LinkTo{Stream: stream, Expect: expect, Positions: positions}
}

// source fills stream "s" with n events and returns their positions.
func (t *trial) source(n int) []eventlog.Position {
	t.Helper()
	t.fill("s", n)
	var positions []eventlog.Position
	for _, r := range t.stream("s", eventlog.StreamQuery{}) {
		positions = append(positions, r.Position)
	}
	t.same("the number of events to link", len(positions), n)
	return positions
}

// linked links and wants the versions of the first and the last.
func (t *trial) linked(w eventlog.LinkTo, first, last eventlog.Version) {
	t.Helper()
	t.same(fmt.Sprintf("the result of %+v", w), t.append(w).Results[0], eventlog.Result{First: first, Last: last})
}

var linkCases = []Case{
	{Name: "link/puts an event of the log into another stream as well", needs: links, run: func(t *trial) {
		p := t.source(3)
		t.linked(link("view/1", eventlog.NoStream, p[2], p[0]), 1, 2)
		events := t.stream("view/1", eventlog.StreamQuery{})
		t.same("the view", payloads(events), []string{"3", "1"})
		t.same("its places", places(events), []string{"view/1@1", "view/1@2"})
		for i, r := range events {
			byID := t.read(eventlog.Query{IDs: []event.ID{r.ID}})
			t.same("the event by id", payloads(byID), []string{string(r.Data)})
			own := byID[0]
			t.same("the origin", r.Origin, own.Place)
			t.same("that it is a link", []bool{r.IsLink(), own.IsLink()}, []bool{true, false})
			r.Place, r.Origin = own.Place, event.Place{}
			t.same(fmt.Sprintf("link %d, places aside", i), describe(r), describe(own))
		}
	}},
	{Name: "link/the log has the event once, where it was appended", needs: links, run: func(t *trial) {
		p := t.source(2)
		before, head := t.read(eventlog.Query{}), t.head()
		t.append(link("view/1", eventlog.Any, p...), link("view/2", eventlog.Any, p[1]))
		t.same("the log", t.read(eventlog.Query{}), before)
		t.same("the head", t.head(), head)
		t.same("the events of the view's category", len(t.read(eventlog.Query{Categories: []string{"view"}})), 0)
		t.same("the events of the source's category", len(t.read(eventlog.Query{Categories: []string{"s"}})), 2)
		t.same("the source", places(t.stream("s", eventlog.StreamQuery{})), []string{"s@1", "s@2"})
	}},
	{Name: "link/counts versions with the stream's own events", needs: links, run: func(t *trial) {
		p := t.source(3)
		t.append(to("view", eventlog.NoStream, fact("own 1")))
		t.linked(link("view", eventlog.Exactly(1), p[0], p[1]), 2, 3)
		t.same("the next of its own", t.append(to("view", eventlog.Exactly(3), fact("own 2"))).Results[0].First, eventlog.Version(4))
		t.linked(link("view", eventlog.Exists, p[2]), 5, 5)
		t.same("the view", payloads(t.stream("view", eventlog.StreamQuery{})), []string{"own 1", "1", "2", "own 2", "3"})
		t.same("the view backwards", payloads(t.stream("view", eventlog.StreamQuery{Backward: true, After: 5, Limit: 2})), []string{"own 2", "2"})
		t.same("its own events by position", payloads(t.read(eventlog.Query{Categories: []string{"view"}})), []string{"own 1", "own 2"})
	}},
	{Name: "link/expected versions are met or refused", needs: links, run: func(t *trial) {
		p := t.source(9)
		for i, expect := range expectations {
			for _, last := range []eventlog.Version{0, 3} {
				s := fmt.Sprintf("view/%d/%d", i, last)
				if last > 0 {
					t.append(link(s, eventlog.Any, p[0], p[1]), to(s, eventlog.Any, fact("own")))
				}
				w := link(s, expect, p[4], p[5])
				if expect.Allows(last) {
					t.linked(w, last+1, last+2)
					continue
				}
				conflict := refusal[*eventlog.ConflictError](t, to("other", eventlog.Any, fact("1")), w)
				t.same("the conflict", *conflict, eventlog.ConflictError{Stream: s, Expected: expect, Actual: last})
			}
		}
	}},
	{Name: "link/again returns the first link, whatever it expects", needs: links, run: func(t *trial) {
		p := t.source(3)
		t.fill("view", 1)
		t.linked(link("view", eventlog.Exactly(1), p[1], p[0]), 2, 3)
		before := t.dump()
		for _, expect := range expectations {
			t.linked(link("view", expect, p[1], p[0]), 2, 3)
			t.linked(link("view", expect, p[0]), 3, 3)
			t.linked(link("view", expect, p[0], p[1], p[0]), 3, 3)
		}
		t.same("the log", t.dump(), before)
		t.linked(link("view", eventlog.Exactly(3), p[0], p[2], p[2]), 3, 4)
		t.same("the view", payloads(t.stream("view", eventlog.StreamQuery{})), []string{"1", "2", "1", "3"})
		refused[*eventlog.ConflictError](t, link("other", eventlog.Exists, p[0]))
	}},
	{Name: "link/with new ones among old ones needs the expected version", needs: links, run: func(t *trial) {
		p := t.source(3)
		t.linked(link("view", eventlog.Any, p[0]), 1, 1)
		refused[*eventlog.ConflictError](t, link("view", eventlog.NoStream, p[0], p[1]))
		t.linked(link("view", eventlog.Exactly(1), p[1], p[0]), 2, 1)
	}},
	{Name: "link/to an event of the stream's own is where that is", needs: links, run: func(t *trial) {
		p := t.source(3)
		t.linked(link("s", eventlog.NoStream, p[1], p[2]), 2, 3)
		t.same("the stream", places(t.stream("s", eventlog.StreamQuery{})), []string{"s@1", "s@2", "s@3"})
	}},
	{Name: "link/to no event is refused", needs: links, run: func(t *trial) {
		p := t.source(2)
		for _, wrong := range []eventlog.Position{0, t.head() + 1, 1 << 40} {
			for _, writes := range [][]eventlog.Write{
				{link("view", eventlog.Any, wrong)}, {link("view", eventlog.Any, p[0], wrong)},
				{link("view", eventlog.Any, p[0]), put(eventlog.Cursor, "c", "1"), link("view", eventlog.Any, wrong)},
			} {
				missing := refusal[*eventlog.NoEventError](t, writes...)
				t.same("the error", *missing, eventlog.NoEventError{Stream: "view", Position: wrong})
			}
		}
	}},
	{Name: "link/system records are left out of a view as of any stream", needs: links, run: func(t *trial) {
		e := of("ensue.mark", "1")
		t.append(to("s", eventlog.Any, e, fact("2")))
		p := t.position(e.ID)
		t.linked(link("view", eventlog.Any, p, t.head()), 1, 2)
		t.same("the view", places(t.stream("view", eventlog.StreamQuery{})), []string{"view@2"})
		t.same("the view with system records", places(t.stream("view", eventlog.StreamQuery{System: true})), []string{"view@1", "view@2"})
	}},
	{Name: "link/is made with the events and entries of its append, or not at all", needs: links, run: func(t *trial) {
		p := t.source(2)
		t.append(link("view", eventlog.NoStream, p[0]), put(eventlog.Cursor, "c", "1"), to("view", eventlog.Exactly(1), fact("own")), link("view", eventlog.Exactly(2), p[1]))
		refused[*eventlog.ConflictError](t, link("new", eventlog.NoStream, p...), link("view", eventlog.Any, t.head()), to("s", eventlog.NoStream, fact("3")))
		t.linked(link("new", eventlog.NoStream, p[1]), 1, 1)
	}},
	{Name: "link/many", needs: links, run: func(t *trial) {
		p := t.source(2500)
		t.linked(link("view", eventlog.NoStream, p...), 1, 2500)
		t.same("the view", payloads(t.stream("view", eventlog.StreamQuery{})), numbers(1, 2500))
		t.same("the view backwards", payloads(t.stream("view", eventlog.StreamQuery{Backward: true})), numbers(2500, 1))
	}},
}
