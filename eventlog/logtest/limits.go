package logtest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// limit is a bound: a write of that size is taken and comes back whole, and one above it is refused with a typed error.
type limit struct {
	name  string
	max   int
	write func(n int) eventlog.Write
	named bool // one above is a *eventlog.NameError, otherwise a *eventlog.LimitError
}

var limits = []limit{
	{"the name of a stream", eventlog.MaxStreamName, func(n int) eventlog.Write {
		return to("c/"+long(n-2), eventlog.Any, fact("1"))
	}, true},
	{"the name of an event type", eventlog.MaxTypeName, func(n int) eventlog.Write {
		return to("s", eventlog.Any, of(long(n), "1"))
	}, true},
	{"a payload", eventlog.MaxPayload, func(n int) eventlog.Write {
		return to("s", eventlog.Any, fact(strings.Repeat("\xff", n)))
	}, false},
	{"the headers of an event", eventlog.MaxHeaders, func(n int) eventlog.Write {
		e := fact("1")
		e.Metadata.Headers = map[string]string{"a": long(n/2 - 1), long(10): long(n - n/2 - 10)}
		return to("s", eventlog.Any, e)
	}, false},
	{"the number of tags", eventlog.MaxTags, func(n int) eventlog.Write {
		e := fact("1")
		for i := range n {
			e.Tags = append(e.Tags, event.Tag{Key: fmt.Sprint(i), Value: "v"})
		}
		return to("s", eventlog.Any, e)
	}, false},
	{"the key of a tag", eventlog.MaxTag, func(n int) eventlog.Write {
		e := fact("1")
		e.Tags = []event.Tag{{Key: long(n), Value: "v"}}
		return to("s", eventlog.Any, e)
	}, false},
	{"the value of a tag", eventlog.MaxTag, func(n int) eventlog.Write {
		e := fact("1")
		e.Tags = []event.Tag{{Key: "k", Value: long(n)}}
		return to("s", eventlog.Any, e)
	}, false},
	{"the key of an entry", eventlog.MaxEntryKey, func(n int) eventlog.Write { return put(eventlog.Claim, long(n), "1") }, true},
	{"the value of an entry", eventlog.MaxEntryValue, func(n int) eventlog.Write {
		return put(eventlog.Document, "d", strings.Repeat("\xff", n))
	}, false},
}

// long returns text of n bytes, most of them in runes of three.
func long(n int) string { return strings.Repeat("世", n/3) + strings.Repeat("x", n%3) }

func limitCases() []Case {
	var cases []Case
	for _, l := range limits {
		cases = append(cases, Case{Name: "limits/" + l.name, run: func(t *trial) {
			t.append(l.write(l.max))
			switch w := l.write(l.max).(type) {
			case eventlog.ToStream:
				r := t.one(w.Stream)
				w.Events[0].Schema = 1
				want := r
				want.Event = w.Events[0]
				want.ID, want.Occurred = r.ID, r.Occurred
				t.same("an event of the largest size", describe(r), describe(want))
			case eventlog.Put:
				e, _ := t.entry(w.Entry.Kind, w.Entry.Key)
				t.same("an entry of the largest size", brief(e.Value), brief(w.Entry.Value))
			}
			if l.named {
				refused[*eventlog.NameError](t, to("good", eventlog.Any, fact("1")), l.write(l.max+1))
			} else {
				refused[*eventlog.LimitError](t, to("good", eventlog.Any, fact("1")), l.write(l.max+1))
			}
		}})
	}
	return append(cases, nameCases...)
}

var nameCases = []Case{
	{Name: "limits/the number of events, links and writes of an append, and its bytes", run: func(t *trial) {
		few := make([]event.Event, eventlog.MaxAppend/2)
		for i := range few {
			few[i].Type = "fact"
		}
		refused[*eventlog.LimitError](t, to("s", eventlog.Any, few...), to("t", eventlog.Any, few...), to("u", eventlog.Any, fact("1")))
		refused[*eventlog.LimitError](t, to("s", eventlog.Any, fact("1")), eventlog.LinkTo{Stream: "t", Positions: make([]eventlog.Position, eventlog.MaxAppend)})
		writes := make([]eventlog.Write, eventlog.MaxWrites+1)
		for i := range writes {
			writes[i] = eventlog.Delete{Kind: eventlog.Claim, Key: "k"}
		}
		refused[*eventlog.LimitError](t, writes...)
		large := event.Event{Type: "fact", Data: make([]byte, eventlog.MaxPayload)} // shared: it is refused before it is copied
		many := make([]event.Event, eventlog.MaxAppendBytes/eventlog.MaxPayload+1)
		for i := range many {
			many[i] = large
		}
		refused[*eventlog.LimitError](t, to("s", eventlog.Any, many...))
	}},
	{Name: "limits/an append of the largest number of events and writes", Large: true, run: func(t *trial) {
		writes := make([]eventlog.Write, eventlog.MaxWrites)
		for i := range writes {
			writes[i] = to(fmt.Sprintf("s/%d", i%100), eventlog.Any, event.Event{Type: "fact"})
		}
		done := t.append(writes...)
		t.same("the last version", done.Results[eventlog.MaxWrites-1].Last, eventlog.Version(eventlog.MaxWrites/100))
		t.same("the event at the head", places(t.read(eventlog.Query{After: t.head() - 1})), []string{fmt.Sprintf("s/99@%d", eventlog.MaxWrites/100)})
	}},
	{Name: "limits/a stream's name has a category, and text without control characters", run: func(t *trial) {
		for _, name := range []string{"", "/", "/1", "a/", "a\x00b", "a/\n", "a\x7f", "\xff", "a/\xc3"} {
			refused[*eventlog.NameError](t, to("good", eventlog.Any, fact("1")), to(name, eventlog.Any, fact("1")))
			refused[*eventlog.NameError](t, eventlog.LinkTo{Stream: name, Positions: []eventlog.Position{1}})
		}
		t.fill("good", 1)
	}},
	{Name: "limits/names are told apart byte by byte", run: func(t *trial) {
		names := []string{"a", "A", "a/1", "a/1/2", "a//", "a /1", "a/1 ", "é/1", "e\u0301/1", "a%/1", "a_/1", "世/界", "a/🌍", "a/'; --", `a/"\`, "a/\u00a0"}
		for i, name := range names {
			t.append(to(name, eventlog.NoStream, of(name, fmt.Sprint(i))), put(eventlog.Claim, name, name))
		}
		for i, name := range names {
			r := t.one(name)
			t.same("the event of stream "+name, []string{r.Stream, r.Type, string(r.Data)}, []string{name, name, fmt.Sprint(i)})
			e, _ := t.entry(eventlog.Claim, name)
			t.same("the entry "+name, string(e.Value), name)
			t.same("the events of type "+name, len(t.read(eventlog.Query{Types: []string{name}})), 1)
		}
	}},
	{Name: "limits/names of types, headers and tags are text", run: func(t *trial) {
		for _, e := range []event.Event{
			{Type: ""}, {Type: "a\nb"}, {Type: "\xff"},
			{Type: "t", Tags: []event.Tag{{Key: "a\x00", Value: "v"}}}, {Type: "t", Tags: []event.Tag{{Key: "k", Value: "\xff"}}},
			{Type: "t", Metadata: event.Metadata{Headers: map[string]string{"": "v"}}},
			{Type: "t", Metadata: event.Metadata{Headers: map[string]string{"h": "\xff"}}},
		} {
			refused[*eventlog.NameError](t, to("s", eventlog.Any, fact("1")), to("s", eventlog.Any, e))
		}
		refused[*eventlog.LimitError](t, to("s", eventlog.Any, event.Event{Type: "t", Tags: []event.Tag{{Value: "no key"}}}))
	}},
	{Name: "limits/an entry has a known kind and a key", run: func(t *trial) {
		for _, key := range []string{"", "\xff", "a\x00"} {
			refused[*eventlog.NameError](t, put(eventlog.Cursor, key, "1"))
			refused[*eventlog.NameError](t, eventlog.Delete{Kind: eventlog.Cursor, Key: key})
		}
		for _, k := range []eventlog.Kind{0, 200} {
			refused[error](t, to("s", eventlog.Any, fact("1")), put(k, "k", "1"))
			refused[error](t, eventlog.Delete{Kind: k, Key: "k"})
		}
	}},
	{Name: "limits/an append to a stream has events, and an expectation that there is", run: func(t *trial) {
		refused[*eventlog.LimitError](t, to("s", eventlog.Any))
		refused[*eventlog.LimitError](t, eventlog.LinkTo{Stream: "s"})
		refused[error](t, to("s", -3, fact("1")))
		negative := fact("1")
		negative.Schema = -1
		refused[*eventlog.LimitError](t, to("s", eventlog.Any, negative))
		if _, err := t.log.Append(t.ctx, to("s", eventlog.Any)); errors.Is(err, eventlog.ErrConflict) {
			t.Fatalf("an append without events is said to be a conflict, which would be tried again")
		}
	}},
}
