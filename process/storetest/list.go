package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

var listCases = []Case{
	{"list/every instance once, by its key", func(t *trial) {
		keys := oddKeys()
		var all []any
		for _, key := range keys {
			all = append(all, opened{key, "one"})
		}
		t.happens(append(all, tick())...)
		t.run()
		slices.SortFunc(keys, func(a, b string) int { return strings.Compare(eventlog.Key(a), eventlog.Key(b)) })
		for range 2 {
			t.same("the list", strings.Join(t.listed(""), "\n"), strings.Join(keys, "\n"))
		}
	}},
	{"list/continues behind any key", func(t *trial) {
		var many []any
		for _, key := range append(oddKeys(), "k1", "k10", "k2") {
			many = append(many, opened{key, "one"})
		}
		t.happens(append(many, tick())...)
		t.run()
		all := t.listed("")
		if len(all) == 0 {
			t.Fatalf("nothing is listed")
		}
		for n, key := range all {
			t.same(fmt.Sprintf("the list behind %q", key), strings.Join(t.listed(key), "\n"), strings.Join(all[n+1:], "\n"))
		}
	}},
	{"list/begins behind a key that is not there", func(t *trial) {
		var all []any
		for _, key := range []string{"b", "a2", "a10", "a", "Z", "c", "a1", "0"} {
			all = append(all, opened{key, "one"})
		}
		t.happens(append(all, tick())...)
		t.run()
		t.same("the list behind a11", strings.Join(t.listed("a11"), " "), "a2 b c")
		t.same("the list behind z", strings.Join(t.listed("z"), " "), "")
	}},
	{"list/tells where an instance is in its life", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, added{[]string{"b"}, []string{"x"}}, closed{"b"}, added{[]string{"c"}, nil}, tick())
		t.run()
		var got, want []string
		for _, s := range collect(t, t.store().List(t.ctx, t.home(), "")) {
			line := fmt.Sprintf("%s %v %v", s.Key, s.Status, s.Started)
			if s.Status == process.Completed { // of a running one they may be those of its start
				line += fmt.Sprintf(" %d %v", s.Steps, s.Changed)
			}
			got = append(got, line)
		}
		for _, i := range t.load("a", "b") {
			if i == nil {
				t.Fatalf("an instance is not there")
			}
			line := fmt.Sprintf("%s %v %v", i.Key, i.Status, i.Started)
			if i.Status == process.Completed {
				line += fmt.Sprintf(" %d %v", i.Steps, i.Changed)
			}
			want = append(want, line)
		}
		t.same("the list", strings.Join(got, "\n"), strings.Join(want, "\n"))
		if len(got) != 2 || !strings.HasPrefix(got[0], "a running") || !strings.HasPrefix(got[1], "b completed") {
			t.Fatalf("the list is %q", got)
		}
	}},
	{"list/ends where its reader ends, and can be read again", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, opened{"c", "three"}, tick())
		t.run()
		list := t.store().List(t.ctx, t.home(), "")
		for range 2 {
			var got []string
			for s, err := range list {
				t.ok("list", err)
				if got = append(got, s.Key); len(got) == 2 {
					break
				}
			}
			t.same("two of the list", strings.Join(got, " "), "a b")
		}
	}},
	{"list/ends with its context", func(t *trial) {
		t.happens(opened{"a", "one"}, tick())
		t.run()
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		var last error
		for _, err := range t.store().List(ctx, t.home(), "") {
			last = err
		}
		if last == nil {
			t.Fatalf("a context that has ended is no error")
		}
	}},
}

func (t *trial) listed(after string) (keys []string) {
	t.Helper()
	for _, s := range collect(t, t.store().List(t.ctx, t.home(), after)) {
		keys = append(keys, s.Key)
	}
	return keys
}
