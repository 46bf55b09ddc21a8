package logtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// put appends an entry and returns its revision.
func (t *trial) put(p eventlog.Put) eventlog.Revision {
	t.Helper()
	return t.append(p).Results[0].Revision
}

var entryCases = []Case{
	{Name: "entry/of every kind comes back as it was put", run: func(t *trial) {
		east := time.FixedZone("east", -3600)
		for i, k := range eventlog.Kinds() {
			want := eventlog.Entry{Kind: k, Key: "key", Value: []byte{byte(i), 0, 0xff, '%'}, Due: time.Date(2024, 2, 29, 1, 2, 3, 4_567_890, east)}
			want.Revision = t.put(eventlog.Put{Entry: want})
			want.Due = event.Micro(want.Due)
			got, _ := t.entry(k, "key")
			t.same("the entry", got, want)
		}
		for _, k := range eventlog.Kinds() {
			t.same("entries of one kind", len(t.entries(eventlog.EntryQuery{Kind: k})), 1)
		}
	}},
	{Name: "entry/without value and due time", run: func(t *trial) {
		t.append(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Hold, Key: "k"}})
		got, ok := t.entry(eventlog.Hold, "k")
		t.same("it is there", ok, true)
		t.same("its due time", got.Due, time.Time{})
		t.same("the length of its value", len(got.Value), 0)
	}},
	{Name: "entry/due times of any age, to the microsecond", run: func(t *trial) {
		for i, due := range []time.Time{
			time.Unix(0, 0), time.Unix(-1, 999_999_999), time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		} {
			key := fmt.Sprint(i)
			t.append(putDue(key, due))
			got, _ := t.entry(eventlog.Timeout, key)
			t.same("the due time", got.Due, event.Micro(due))
		}
		t.same("by due time", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Timeout, ByDue: true})), []string{"2", "1", "0", "3"})
	}},
	{Name: "entry/put replaces, delete removes", run: func(t *trial) {
		t.append(put(eventlog.Cursor, "a", "1"), put(eventlog.Cursor, "b", "1"), put(eventlog.Lease, "a", "1"))
		t.append(put(eventlog.Cursor, "a", "2"))
		a, _ := t.entry(eventlog.Cursor, "a")
		t.same("a", string(a.Value), "2")
		t.append(eventlog.Delete{Kind: eventlog.Cursor, Key: "a"})
		t.same("cursors", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Cursor})), []string{"b"})
		t.same("leases", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Lease})), []string{"a"})
	}},
	{Name: "entry/deleting what is not there succeeds", run: func(t *trial) {
		t.append(put(eventlog.Cursor, "a", "1"))
		t.same("the revision as read", t.revision(eventlog.Cursor, "a") > 0, true)
		before := t.dump()
		t.append(eventlog.Delete{Kind: eventlog.Cursor, Key: "b"}, eventlog.Delete{Kind: eventlog.Lease, Key: "a"}, eventlog.Delete{Kind: eventlog.Cursor, Key: "b", Expect: eventlog.NoEntry})
		t.same("the log", t.dump(), before)
	}},
	{Name: "entry/expected revisions are met or refused", run: func(t *trial) {
		old := t.put(put(eventlog.Lease, "deleted", "1"))
		t.append(eventlog.Delete{Kind: eventlog.Lease, Key: "deleted"})
		older := t.put(put(eventlog.Lease, "there", "1"))
		now := t.put(put(eventlog.Lease, "there", "2"))
		for _, c := range []struct {
			key    string
			expect eventlog.Revision
			ok     bool
			actual eventlog.Revision
		}{
			{"never", eventlog.AnyRevision, true, 0}, {"never", eventlog.NoEntry, true, 0}, {"never", 1, false, 0}, {"never", now, false, 0},
			{"deleted", old, false, 0}, {"deleted", eventlog.NoEntry, true, 0},
			{"there", eventlog.NoEntry, false, now}, {"there", older, false, now}, {"there", now + 1, false, now}, {"there", old, false, now},
			{"there", now, true, now},
		} {
			p := put(eventlog.Lease, c.key, "new")
			p.Expect = c.expect
			for _, w := range []eventlog.Write{eventlog.Delete{Kind: eventlog.Lease, Key: c.key, Expect: c.expect}, p} {
				if !c.ok {
					conflict := refusal[*eventlog.EntryConflictError](t, to("s", eventlog.Any, fact("1")), w)
					t.same("the conflict", *conflict, eventlog.EntryConflictError{Kind: eventlog.Lease, Key: c.key, Expected: c.expect, Actual: c.actual})
					continue
				}
				if _, deletes := w.(eventlog.Delete); !deletes || c.actual == 0 {
					t.append(w)
				}
			}
			if c.ok && c.actual == 0 {
				t.append(eventlog.Delete{Kind: eventlog.Lease, Key: c.key})
			}
		}
		t.append(eventlog.Delete{Kind: eventlog.Lease, Key: "there", Expect: t.revision(eventlog.Lease, "there")})
		t.same("what is left", len(t.entries(eventlog.EntryQuery{Kind: eventlog.Lease})), 0)
	}},
	{Name: "entry/every put has a higher revision than any put before it in the log", run: func(t *trial) {
		last := eventlog.Revision(0)
		for i := range 30 {
			done := t.append(put(eventlog.Kinds()[i%3], fmt.Sprint(i%4), "1"), to("s", eventlog.Any, fact("1")), put(eventlog.Lease, "l", "1"))
			for _, at := range []int{0, 2} {
				if done.Results[at].Revision <= last {
					t.Fatalf("revision %d follows %d", done.Results[at].Revision, last)
				}
				last = done.Results[at].Revision
			}
			t.same("the revision as read", t.revision(eventlog.Lease, "l"), last)
		}
	}},
	{Name: "entry/deleted and put anew never has an old revision", run: func(t *trial) {
		seen := map[eventlog.Revision]bool{}
		for range 10 {
			for _, w := range []eventlog.Put{put(eventlog.Claim, "k", "1"), put(eventlog.Claim, "k", "2")} {
				r := t.put(w)
				if r <= 0 || seen[r] {
					t.Fatalf("a put got revision %d, after %v", r, seen)
				}
				seen[r] = true
			}
			t.same("the revision as read", t.revision(eventlog.Claim, "k") > 0, true)
			t.append(eventlog.Delete{Kind: eventlog.Claim, Key: "k"})
		}
		done := t.append(put(eventlog.Claim, "k", "1"), eventlog.Delete{Kind: eventlog.Claim, Key: "k"}, put(eventlog.Claim, "k", "2"))
		if seen[done.Results[0].Revision] || done.Results[2].Revision <= done.Results[0].Revision {
			t.Fatalf("put, deleted and put in one append gave %+v, after %v", done.Results, seen)
		}
	}},
	{Name: "entry/the revision of what is put is not looked at", run: func(t *trial) {
		p := put(eventlog.Setting, "k", "1")
		p.Entry.Revision = 1 << 40
		r := t.put(p)
		t.same("the revision", r, t.revision(eventlog.Setting, "k"))
		if r == p.Entry.Revision {
			t.Fatalf("the log took the revision %d from its caller", r)
		}
	}},
}

func (t *trial) revision(k eventlog.Kind, key string) eventlog.Revision {
	t.Helper()
	e, _ := t.entry(k, key)
	return e.Revision
}

var entryQueryCases = []Case{
	{Name: "entries/are ordered by key as bytes", run: func(t *trial) {
		all := []string{"b", "a", "B", "a/b", "a%", "é", "e\u0301", "a ", "a\u007f", "世", "🌍", "\u00a0", "1", "10", "2", "\uffff"}
		for _, k := range all {
			t.append(put(eventlog.Queued, k, "1"))
		}
		slices.Sort(all)
		t.same("the keys", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Queued})), all)
		for i, k := range all {
			t.same("the keys after "+k, keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Queued, After: k})), append([]string{}, all[i+1:]...))
		}
	}},
	{Name: "entries/by prefix, taken literally", run: func(t *trial) {
		for _, k := range []string{"a", "a/1", "a/2", "A/3", "ab", "a%b", "a_b", "axb", "a*", "a[b]", "b", "\U0010ffff", "\U0010ffff1", "é1", "e\u03011"} {
			t.append(put(eventlog.Queued, k, "1"))
		}
		for prefix, want := range map[string][]string{
			"a/": {"a/1", "a/2"}, "A": {"A/3"}, "a%": {"a%b"}, "a_": {"a_b"}, "a*": {"a*"}, "a[": {"a[b]"}, "a": {"a", "a%b", "a*", "a/1", "a/2", "a[b]", "a_b", "ab", "axb"},
			"\U0010ffff": {"\U0010ffff", "\U0010ffff1"}, "é": {"é1"}, "none": {}, "b": {"b"}, "a/1": {"a/1"},
		} {
			t.same("the keys that begin with "+prefix, keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Queued, Prefix: prefix})), want)
		}
	}},
	{Name: "entries/by keys, leaving out those that are not there", run: func(t *trial) {
		for _, k := range []string{"a", "b", "c", "d"} {
			t.append(put(eventlog.Receipt, k, "1"), put(eventlog.Claim, "only a claim", "1"))
		}
		get := func(keys ...string) eventlog.EntryQuery {
			return eventlog.EntryQuery{Kind: eventlog.Receipt, Keys: keys}
		}
		t.same("some", keys(t.entries(get("d", "none", "a", "d", "only a claim"))), []string{"a", "d"})
		t.same("none", keys(t.entries(get("none"))), []string{})
		t.same("no condition", keys(t.entries(get())), []string{"a", "b", "c", "d"})
		many := []string{"b", "c"}
		for i := range 5000 {
			many = append(many, fmt.Sprint(i))
		}
		t.same("many", keys(t.entries(get(many...))), []string{"b", "c"})
		q := get("a", "b", "c")
		q.Limit, q.After = 1, "a"
		t.same("the next of them", keys(t.entries(q)), []string{"b"})
		q.Prefix = "c"
		t.same("those with a prefix", keys(t.entries(q)), []string{"c"})
	}},
	{Name: "entries/after and limit, in pages", run: func(t *trial) {
		const n = 3000
		var writes []eventlog.Write
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%c/%05d", "abc"[i%3], i))
			writes = append(writes, put(eventlog.Snapshot, all[i], fmt.Sprint(i)))
		}
		t.append(writes...)
		slices.Sort(all)
		snapshots := eventlog.EntryQuery{Kind: eventlog.Snapshot}
		t.same("all", keys(t.entries(snapshots)), all)
		t.same("those of a prefix", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Snapshot, Prefix: "b/"})), all[n/3:n/3*2])
		t.same("those of a prefix, after and limit", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Snapshot, Prefix: "b/", After: all[n/3+10], Limit: 700})), all[n/3+11:n/3+711])
		t.same("those of a prefix, after an earlier key", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Snapshot, Prefix: "b/", After: "a/1", Limit: 2})), all[n/3:n/3+2])
		t.same("those of a prefix, after a later key", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Snapshot, Prefix: "b/", After: "c"})), []string{})
		var paged []string
		for snapshots.Limit = 999; ; {
			page := keys(t.entries(snapshots))
			if paged = append(paged, page...); len(page) < snapshots.Limit {
				break
			}
			snapshots.After = page[len(page)-1]
		}
		t.same("page after page", paged, all)
	}},
}
