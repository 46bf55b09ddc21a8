package logtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

var day = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// due is the query for timeouts by due time.
func due() eventlog.EntryQuery { return eventlog.EntryQuery{Kind: eventlog.Timeout, ByDue: true} }

// calendar puts timeouts: a key's digit is the day on which it is due; "x…" has no due time.
func (t *trial) calendar(keys ...string) {
	t.Helper()
	for _, k := range keys {
		at := time.Time{}
		if d := strings.IndexAny(k, "0123456789"); d >= 0 {
			at = day.AddDate(0, 0, int(k[d]-'0'))
		}
		t.append(putDue(k, at))
	}
}

var dueCases = []Case{
	{Name: "due/ordered by due time, then key as bytes; without one left out", run: func(t *trial) {
		t.calendar("c1", "x", "a2", "b1", "a0", "B1", "é1", "a1")
		t.append(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Lease, Key: "another kind", Due: day}})
		t.same("by due time", keys(t.entries(due())), []string{"a0", "B1", "a1", "b1", "c1", "é1", "a2"})
		t.same("by key", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Timeout})), []string{"B1", "a0", "a1", "a2", "b1", "c1", "x", "é1"})
	}},
	{Name: "due/by a time, that time included", run: func(t *trial) {
		t.calendar("a0", "a1", "a2", "b1")
		for by, want := range map[time.Time][]string{
			day.Add(-time.Microsecond): {}, day: {"a0"}, day.AddDate(0, 0, 1).Add(-time.Microsecond): {"a0"},
			day.AddDate(0, 0, 1): {"a0", "a1", "b1"}, day.AddDate(0, 0, 1).Add(time.Nanosecond): {"a0", "a1", "b1"}, day.AddDate(1, 0, 0): {"a0", "a1", "b1", "a2"},
			day.In(time.FixedZone("east", 9*3600)): {"a0"},
		} {
			q := due()
			q.DueBy = by
			t.same(fmt.Sprintf("due by %v", by), keys(t.entries(q)), want)
		}
	}},
	{Name: "due/after a due time and key, through equal due times", run: func(t *trial) {
		t.calendar("a0", "a1", "b1", "c1", "a2")
		one := day.AddDate(0, 0, 1)
		for _, c := range []struct {
			due   time.Time
			after string
			want  []string
		}{
			{one, "", []string{"a1", "b1", "c1", "a2"}}, {one, "a1", []string{"b1", "c1", "a2"}}, {one, "b", []string{"b1", "c1", "a2"}},
			{one, "c1", []string{"a2"}}, {day, "a0", []string{"a1", "b1", "c1", "a2"}}, {day.AddDate(0, 0, 2), "a2", []string{}},
			{one.Add(-time.Microsecond), "z", []string{"a1", "b1", "c1", "a2"}}, {time.Time{}, "", []string{"a0", "a1", "b1", "c1", "a2"}},
		} {
			q := due()
			q.AfterDue, q.After = c.due, c.after
			t.same(fmt.Sprintf("after %v %q", c.due, c.after), keys(t.entries(q)), c.want)
			q.Limit = 2
			t.same(fmt.Sprintf("two after %v %q", c.due, c.after), keys(t.entries(q)), c.want[:min(2, len(c.want))])
			q.Limit, q.DueBy = 0, one
			t.same(fmt.Sprintf("after %v %q by a time", c.due, c.after), keys(t.entries(q)),
				slices.DeleteFunc(slices.Clone(c.want), func(k string) bool { return k == "a2" }))
		}
	}},
	{Name: "due/page after page returns each once", run: func(t *trial) {
		const n = 2500
		var writes []eventlog.Write
		for i := range n {
			writes = append(writes, putDue(fmt.Sprintf("%04d", i*7919%n), day.Add(time.Duration(i/900)*time.Microsecond)))
		}
		t.append(writes...)
		all := keys(t.entries(due()))
		t.same("the number of entries", len(all), n)
		var paged []string
		q := due()
		for q.Limit = 333; ; {
			page := t.entries(q)
			paged = append(paged, keys(page)...)
			if len(page) < q.Limit {
				break
			}
			q.AfterDue, q.After = page[len(page)-1].Due, page[len(page)-1].Key
		}
		t.same("the pages", paged, all)
		slices.Sort(paged)
		t.same("the number of different keys", len(slices.Compact(paged)), n)
	}},
	{Name: "due/cleared, moved and deleted", run: func(t *trial) {
		t.calendar("a0", "a1", "a2", "a3")
		t.append(putDue("a1", time.Time{}), putDue("a2", day.AddDate(0, 0, 9)), eventlog.Delete{Kind: eventlog.Timeout, Key: "a0"})
		t.same("by due time", keys(t.entries(due())), []string{"a3", "a2"})
		t.same("by key", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Timeout})), []string{"a1", "a2", "a3"})
		t.append(putDue("a1", day), putDue("a0", day))
		t.same("by due time, when they are due again", keys(t.entries(due())), []string{"a0", "a1", "a3", "a2"})
	}},
	{Name: "due/with a prefix, and by keys", run: func(t *trial) {
		t.calendar("a0", "b0", "a1", "b1", "a2", "x", "ax")
		q := due()
		q.Prefix = "a"
		t.same("those with a prefix", keys(t.entries(q)), []string{"a0", "a1", "a2"})
		q.Limit, q.AfterDue, q.After = 1, day, "a0"
		t.same("the next of them", keys(t.entries(q)), []string{"a1"})
		q = due()
		q.Keys, q.DueBy = []string{"x", "b1", "a2", "a0", "b0"}, day.AddDate(0, 0, 1)
		t.same("those of some keys", keys(t.entries(q)), []string{"a0", "b0", "b1"})
	}},
	{Name: "due/a refused append changes no due time", run: func(t *trial) {
		t.calendar("a0", "a1", "a2")
		refused[*eventlog.ConflictError](t, putDue("a0", day.AddDate(0, 0, 5)), putDue("a1", time.Time{}), eventlog.Delete{Kind: eventlog.Timeout, Key: "a2"}, putDue("new", day), to("s", eventlog.Exists, fact("1")))
		t.same("by due time", keys(t.entries(due())), []string{"a0", "a1", "a2"})
	}},
}
