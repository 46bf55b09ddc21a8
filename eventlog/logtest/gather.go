package logtest

import (
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// gathered wants of several streams at once what ReadStream returns of each.
func (t *trial) gathered(streams ...string) {
	t.Helper()
	var want, got []string
	for _, s := range streams {
		for _, r := range t.stream(s, eventlog.StreamQuery{System: true}) {
			want = append(want, describe(r))
		}
	}
	for _, r := range collect(t, t.log.(eventlog.StreamsReader).ReadStreams(t.ctx, streams)) {
		got = append(got, describe(r))
	}
	t.same(fmt.Sprintf("what was read of %.200q at once", streams), got, want)
}

var gatherCases = []Case{
	{Name: "streams at once/are each as when it is read alone, in the order given", needs: gathers, run: func(t *trial) {
		e := of("ensue.mark", "\x00\xff")
		e.Tags, e.Metadata = []event.Tag{{Key: "k", Value: "v"}}, event.Metadata{Causation: event.NewID(), Headers: map[string]string{"h": "v"}}
		for i := range 4 {
			for _, s := range []string{"b", "a", "A", "a/1", "é/1", "e\u0301/1"} {
				e.ID = event.ID{}
				t.append(to(s, eventlog.Any, fact(fmt.Sprint(i)), e))
			}
		}
		t.same("the number of events", len(t.stream("b", eventlog.StreamQuery{System: true})), 8)
		t.gathered("b", "a/1", "none", "a", "é/1", "A")
		t.gathered("none", "e\u0301/1")
		t.gathered("none", "nor this")
		t.gathered()
	}},
	{Name: "streams at once/many, some of them long", needs: gathers, run: func(t *trial) {
		var writes []eventlog.Write
		var all []string
		for i := range 1200 {
			s := fmt.Sprintf("s/%d", i)
			all = append(all, s, "none/"+s)
			writes = append(writes, to(s, eventlog.Any, fact(s)))
		}
		t.append(writes...)
		t.fill("long", 1500)
		t.gathered(append(all[:1000:1000], append([]string{"long"}, all[1000:]...)...)...)
	}},
	{Name: "streams at once/through links, and truncated", needs: gathers, run: func(t *trial) {
		p := t.source(5)
		if links.of(t.log, t.store) {
			t.append(link("view", eventlog.Any, p[4], p[0]), to("view", eventlog.Any, fact("own")))
		}
		if keeps.of(t.log, t.store) {
			t.truncate("s", 3)
			t.fill("gone", 2)
			t.truncate("gone", 2)
		}
		t.gathered("view", "gone", "s")
	}},
}
