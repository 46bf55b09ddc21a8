package logtest

import (
	"fmt"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// selection fills a log for queries: payloads "1" to "8", of which "3" is a system record.
func (t *trial) selection() (events []event.Event, positions []eventlog.Position) {
	t.Helper()
	red, blue, one := event.Tag{Key: "colour", Value: "red"}, event.Tag{Key: "colour", Value: "blue"}, event.Tag{Key: "n", Value: "1"}
	for i, e := range []struct {
		stream, typ string
		tags        []event.Tag
	}{
		{"order/1", "placed", []event.Tag{red, one}},
		{"order/2", "placed", []event.Tag{blue}},
		{"order/1", "ensue.timer", []event.Tag{red}},
		{"orders/1", "shipped", []event.Tag{one}},
		{"order", "shipped", nil},
		{"Order/1", "Placed", []event.Tag{{Key: "Colour", Value: "red"}, {Key: "red", Value: "colour"}}},
		{"order-line/1", "placed", []event.Tag{red, blue}},
		{"order/1", "paid", []event.Tag{one, red}},
	} {
		ev := of(e.typ, fmt.Sprint(i+1))
		ev.Tags = e.tags
		t.append(to(e.stream, eventlog.Any, ev))
		events = append(events, ev)
		positions = append(positions, t.position(ev.ID))
	}
	return events, positions
}

// selects wants the payloads of what a query returns.
func (t *trial) selects(q eventlog.Query, want ...string) {
	t.Helper()
	t.same(fmt.Sprintf("what %+v selects", q), payloads(t.read(q)), append([]string{}, want...))
}

var readCases = []Case{
	{Name: "read/returns each event once, in position order, in the stream that it was appended to", run: func(t *trial) {
		_, positions := t.selection()
		events := t.read(eventlog.Query{System: true})
		t.same("the log", payloads(events), numbers(1, 8))
		t.same("the places", places(events), []string{"order/1@1", "order/2@1", "order/1@2", "orders/1@1", "order@1", "Order/1@1", "order-line/1@1", "order/1@3"})
		for i, r := range events {
			if r.Position != positions[i] || i > 0 && r.Position <= events[i-1].Position || r.IsLink() || r.Origin != (event.Place{}) {
				t.Fatalf("event %d is %s", i+1, describe(r))
			}
		}
	}},
	{Name: "read/after, to and limit", run: func(t *trial) {
		_, p := t.selection()
		t.selects(eventlog.Query{After: p[4]}, "6", "7", "8")
		t.selects(eventlog.Query{To: p[1]}, "1", "2")
		t.selects(eventlog.Query{After: p[1], To: p[4]}, "4", "5")
		t.selects(eventlog.Query{After: p[7]})
		t.selects(eventlog.Query{After: p[7] + 1000})
		t.selects(eventlog.Query{To: p[7] + 1000}, "1", "2", "4", "5", "6", "7", "8")
		t.selects(eventlog.Query{After: p[4], To: p[1]})
		t.selects(eventlog.Query{Limit: 3}, "1", "2", "4")
		t.selects(eventlog.Query{Limit: 3, After: p[5]}, "7", "8")
		t.selects(eventlog.Query{Limit: 1, System: true, After: p[1]}, "3")
	}},
	{Name: "read/an empty log", run: func(t *trial) {
		t.selects(eventlog.Query{})
		t.selects(eventlog.Query{After: 5, System: true})
		t.fill("s", 1)
		t.selects(eventlog.Query{}, "1")
	}},
	{Name: "read/by category of the stream, any of them", run: func(t *trial) {
		t.selection()
		t.selects(eventlog.Query{Categories: []string{"order"}}, "1", "2", "5", "8")
		t.selects(eventlog.Query{Categories: []string{"Order", "orders", "none"}}, "4", "6")
		t.selects(eventlog.Query{Categories: []string{"order/1"}})
		t.selects(eventlog.Query{Categories: []string{"order", "order"}, Limit: 3}, "1", "2", "5")
		t.selects(eventlog.Query{Categories: []string{}, Limit: 1}, "1")
	}},
	{Name: "read/by type, any of them", run: func(t *trial) {
		t.selection()
		t.selects(eventlog.Query{Types: []string{"placed"}}, "1", "2", "7")
		t.selects(eventlog.Query{Types: []string{"paid", "Placed", "none"}}, "6", "8")
		t.selects(eventlog.Query{Types: []string{"plac"}})
	}},
	{Name: "read/by tags, all of them", run: func(t *trial) {
		t.selection()
		tag := func(k, v string) event.Tag { return event.Tag{Key: k, Value: v} }
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "red")}}, "1", "7", "8")
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "red"), tag("n", "1")}}, "1", "8")
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "red"), tag("colour", "blue")}}, "7")
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "red"), tag("colour", "red")}}, "1", "7", "8")
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "re")}})
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "")}})
		t.selects(eventlog.Query{Tags: []event.Tag{tag("n", "1")}, Limit: 2}, "1", "4")
		t.selects(eventlog.Query{Tags: []event.Tag{tag("colour", "red")}, System: true}, "1", "3", "7", "8")
	}},
	{Name: "read/by id, any of them, each once", run: func(t *trial) {
		e, p := t.selection()
		t.selects(eventlog.Query{IDs: []event.ID{e[6].ID, e[0].ID, event.NewID(), e[6].ID}}, "1", "7")
		t.selects(eventlog.Query{IDs: []event.ID{event.NewID()}})
		t.selects(eventlog.Query{IDs: []event.ID{{}}})
		t.selects(eventlog.Query{IDs: []event.ID{e[0].ID, e[1].ID, e[7].ID}, After: p[0], Limit: 1}, "2")
		var many []event.ID
		for range 3000 {
			many = append(many, event.NewID())
		}
		t.selects(eventlog.Query{IDs: append(many, e[3].ID, e[4].ID)}, "4", "5")
	}},
	{Name: "read/conditions of different fields must all hold", run: func(t *trial) {
		e, p := t.selection()
		q := eventlog.Query{
			Categories: []string{"order", "orders"}, Types: []string{"placed", "paid", "shipped"}, Tags: []event.Tag{{Key: "n", Value: "1"}},
			IDs: []event.ID{e[0].ID, e[1].ID, e[3].ID, e[6].ID, e[7].ID},
		}
		t.selects(q, "1", "4", "8")
		q.After, q.To = p[0], p[7]
		t.selects(q, "4", "8")
		q.Categories = []string{"order"}
		t.selects(q, "8")
		q.Types = []string{"shipped"}
		t.selects(q)
	}},
	{Name: "read/system records only when asked for, or when their type is", run: func(t *trial) {
		e, _ := t.selection()
		t.append(to("order/1", eventlog.Any, of("ensue.other", "9"), of("ensued", "10")))
		t.selects(eventlog.Query{Categories: []string{"order"}}, "1", "2", "5", "8", "10")
		t.selects(eventlog.Query{Categories: []string{"order"}, System: true}, "1", "2", "3", "5", "8", "9", "10")
		t.selects(eventlog.Query{Types: []string{"ensue.timer"}}, "3")
		t.selects(eventlog.Query{Types: []string{"ensue.timer", "paid"}}, "3", "8")
		t.selects(eventlog.Query{IDs: []event.ID{e[2].ID, e[7].ID}}, "8")
		t.selects(eventlog.Query{IDs: []event.ID{e[2].ID, e[7].ID}, System: true}, "3", "8")
	}},
	{Name: "read/many pages", run: func(t *trial) {
		const n = 5000
		for from := 1; from <= n; from += 500 {
			var writes []eventlog.Write
			for i := from; i < from+500; i++ {
				e := of([]string{"fact", "rare"}[max(0, i%1000-998)], fmt.Sprint(i))
				e.Tags = []event.Tag{{Key: "mod", Value: fmt.Sprint(i % 7)}}
				writes = append(writes, to(fmt.Sprintf("c%d/s", i%2), eventlog.Any, e))
			}
			t.append(writes...)
		}
		t.selects(eventlog.Query{}, numbers(1, n)...)
		t.selects(eventlog.Query{Limit: 1001}, numbers(1, 1001)...)
		t.selects(eventlog.Query{Types: []string{"rare"}}, "999", "1999", "2999", "3999", "4999")
		for _, q := range []eventlog.Query{{Categories: []string{"c1"}}, {Tags: []event.Tag{{Key: "mod", Value: "3"}}}} {
			every, first := 2, 1
			if len(q.Tags) > 0 {
				every, first = 7, 3
			}
			var want []string
			for i := first; i <= n; i += every {
				want = append(want, fmt.Sprint(i))
			}
			t.selects(q, want...)
			q.Limit = 600
			t.selects(q, want[:600]...)
		}
	}},
	{Name: "read/what it returns is the caller's own", run: func(t *trial) {
		e := fact("1")
		e.Metadata.Headers, e.Tags = map[string]string{"h": "1"}, []event.Tag{{Key: "k", Value: "1"}}
		t.append(to("s", eventlog.Any, e), put(eventlog.Document, "d", "1"))
		before := t.dump()
		t.same("the log", payloads(t.read(eventlog.Query{})), []string{"1"})
		for _, r := range slices.Concat(t.read(eventlog.Query{}), t.stream("s", eventlog.StreamQuery{}), t.read(eventlog.Query{IDs: []event.ID{e.ID}})) {
			t.same("the event", fmt.Sprintf("%s %v %v", r.Data, r.Tags, r.Metadata.Headers), "1 [{k 1}] map[h:1]")
			r.Data[0], r.Tags[0].Value, r.Metadata.Headers["h"] = '2', "2", "2"
		}
		for _, d := range slices.Concat(t.entries(eventlog.EntryQuery{Kind: eventlog.Document}), t.entries(eventlog.EntryQuery{Kind: eventlog.Document, Keys: []string{"d"}})) {
			t.same("the entry", string(d.Value), "1")
			d.Value[0] = '2'
		}
		t.same("the log", t.dump(), before)
	}},
}

var streamCases = []Case{
	{Name: "stream/in version order, with its own events alone", run: func(t *trial) {
		for i := 1; i <= 6; i++ {
			t.append(to([]string{"s", "s/1", "S"}[i%3], eventlog.Any, fact(fmt.Sprint(i))))
		}
		events := t.stream("s/1", eventlog.StreamQuery{})
		t.same("the stream", payloads(events), []string{"1", "4"})
		t.same("the places", places(events), []string{"s/1@1", "s/1@2"})
		byID := t.read(eventlog.Query{IDs: []event.ID{events[1].ID}})
		t.same("the same by id", payloads(byID), []string{"4"})
		t.same("the same by position", describe(events[1]), describe(byID[0]))
	}},
	{Name: "stream/that does not exist is empty", run: func(t *trial) {
		t.fill("s", 1)
		t.same("another stream", len(t.stream("s/1", eventlog.StreamQuery{System: true})), 0)
		t.same("another stream backwards", len(t.stream("t", eventlog.StreamQuery{Backward: true})), 0)
		t.same("the stream", len(t.stream("s", eventlog.StreamQuery{})), 1)
	}},
	{Name: "stream/after and limit, forwards and backwards", run: func(t *trial) {
		t.fill("other", 3)
		t.fill("s", 9)
		for _, c := range []struct {
			q    eventlog.StreamQuery
			want []string
		}{
			{eventlog.StreamQuery{}, numbers(1, 9)},
			{eventlog.StreamQuery{After: 6}, numbers(7, 9)},
			{eventlog.StreamQuery{After: 6, Limit: 2}, numbers(7, 8)},
			{eventlog.StreamQuery{After: 9}, []string{}},
			{eventlog.StreamQuery{After: 100}, []string{}},
			{eventlog.StreamQuery{Limit: 1}, numbers(1, 1)},
			{eventlog.StreamQuery{Limit: 100}, numbers(1, 9)},
			{eventlog.StreamQuery{Backward: true}, numbers(9, 1)},
			{eventlog.StreamQuery{Backward: true, Limit: 1}, numbers(9, 9)},
			{eventlog.StreamQuery{Backward: true, After: 4}, numbers(3, 1)},
			{eventlog.StreamQuery{Backward: true, After: 4, Limit: 2}, numbers(3, 2)},
			{eventlog.StreamQuery{Backward: true, After: 1}, []string{}},
			{eventlog.StreamQuery{Backward: true, After: 9}, numbers(8, 1)},
			{eventlog.StreamQuery{Backward: true, After: 100}, numbers(9, 1)},
		} {
			t.same(fmt.Sprintf("what %+v selects", c.q), payloads(t.stream("s", c.q)), c.want)
		}
	}},
	{Name: "stream/system records only when asked for, though they have versions", run: func(t *trial) {
		t.append(to("s", eventlog.Any, of("ensue.a", "1"), fact("2"), of("ensue.b", "3"), fact("4"), of("ensue.c", "5")))
		events := t.stream("s", eventlog.StreamQuery{})
		t.same("the places", places(events), []string{"s@2", "s@4"})
		t.same("the last", payloads(t.stream("s", eventlog.StreamQuery{Backward: true, Limit: 1})), []string{"4"})
		t.same("with system records", payloads(t.stream("s", eventlog.StreamQuery{System: true, Backward: true})), numbers(5, 1))
		t.same("a limit counts what is returned", payloads(t.stream("s", eventlog.StreamQuery{Limit: 2})), []string{"2", "4"})
	}},
	{Name: "stream/of 10,000 events, forwards, and backwards with a limit", run: func(t *trial) {
		const n = 10_000
		t.fill("s", n)
		t.same("the stream", payloads(t.stream("s", eventlog.StreamQuery{})), numbers(1, n))
		t.same("its end", payloads(t.stream("s", eventlog.StreamQuery{Backward: true, Limit: 2500})), numbers(n, n-2499))
		t.same("its middle", payloads(t.stream("s", eventlog.StreamQuery{Backward: true, Limit: 1234, After: 5000})), numbers(4999, 4999-1233))
		t.same("its beginning", payloads(t.stream("s", eventlog.StreamQuery{Backward: true, After: 3000})), numbers(2999, 1))
	}},
}
