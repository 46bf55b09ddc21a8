package storetest

import (
	"errors"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

var saveCases = []Case{
	{"save/writes nothing by itself", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"})
		s, home := t.store(), t.home()
		before := t.dump()
		changes := []process.Change{t.change(home, home.NewInstance("a"), 0)}
		writes, err := s.Save(home, changes)
		t.ok("save", err)
		t.same("the log", t.dump(), before)
		if i := t.load("a")[0]; i != nil {
			t.Fatalf("an instance is there before its change was appended: %+v", i)
		}
		_, err = t.desk.Append(t.ctx, writes...)
		t.ok("append", err)
		t.same("a", describe(t.one("a")), describe(changes[0].Instance))
	}},
	{"save/again without loading", func(t *trial) {
		t.happens(opened{"a", "one"}, added{[]string{"a"}, []string{"x"}}, added{[]string{"a"}, []string{"y"}}, called{"a", ""},
			added{[]string{"a"}, []string{"z"}}, called{"a", "last"})
		s, home := t.store(), t.home()
		i := home.NewInstance("a")
		for n := range 4 {
			t.ok("commit", t.commit(s, home, t.change(home, i, n)))
			t.same("a", describe(t.one("a")), describe(i))
		}
		t.ok("commit", t.commit(t.store(), home, t.change(home, t.one("a"), 4)))
		if err := t.commit(s, home, t.change(home, i, 5)); !errors.Is(err, eventlog.ErrConflict) { // somebody else came between
			t.Fatalf("the append returned error %v, and should have returned eventlog.ErrConflict", err)
		}
	}},
	{"save/several steps of several instances at once", func(t *trial) {
		t.happens(opened{"a", "one"}, added{[]string{"a", "b"}, []string{"x"}}, added{[]string{"a", "b"}, []string{"y"}}, called{"a", ""}, opened{"b", "two"})
		s, home := t.store(), t.home()
		a, b := home.NewInstance("a"), home.NewInstance("b")
		steps := func(i *process.Instance, events ...int) process.Change {
			c := process.Change{Instance: i}
			for _, n := range events {
				c.Steps = append(c.Steps, t.change(home, i, n).Steps...)
			}
			return c
		}
		t.ok("commit", t.commit(s, home, steps(a, 0, 1, 2), steps(b, 4)))
		t.ok("commit", t.commit(s, home, steps(b, 1, 2), steps(a, 3)))
		for _, i := range []*process.Instance{a, b} {
			t.same(i.Key, describe(t.one(i.Key)), describe(i))
		}
	}},
	{"save/of a stale instance is refused", func(t *trial) {
		t.happens(opened{"a", "one"}, added{[]string{"a"}, []string{"x"}}, added{[]string{"a"}, []string{"y"}}, called{"a", ""}, called{"a", "more"})
		s, home := t.store(), t.home()
		t.ok("commit", t.commit(s, home, t.change(home, home.NewInstance("a"), 0)))
		for n := 1; n < 4; n++ { // also where the change is a link alone
			stale := t.one("a")
			t.ok("commit", t.commit(s, home, t.change(home, t.one("a"), n)))
			before, is := t.dump(), describe(t.one("a"))
			if err := t.commit(t.store(), home, t.change(home, stale, n+1)); !errors.Is(err, eventlog.ErrConflict) {
				t.Fatalf("the append returned error %v, and should have returned eventlog.ErrConflict", err)
			}
			t.same("the log", t.dump(), before)
			t.same("a", describe(t.one("a")), is)
		}
	}},
	{"save/of a stale instance is refused after its completion", func(t *trial) {
		t.happens(opened{"a", "one"}, closed{"a"}, added{[]string{"a"}, []string{"x"}})
		s, home := t.store(), t.home()
		i := home.NewInstance("a")
		t.ok("commit", t.commit(s, home, t.change(home, i, 0)))
		stale := t.one("a")
		last := t.change(home, i, 1)
		last.Steps[0].Record.Completed = true
		i.Status, i.Timers = process.Completed, nil
		t.ok("commit", t.commit(s, home, last))
		if err := t.commit(t.store(), home, t.change(home, stale, 2)); !errors.Is(err, eventlog.ErrConflict) {
			t.Fatalf("the append returned error %v, and should have returned eventlog.ErrConflict", err)
		}
		t.same("a", describe(t.one("a")), describe(i))
	}},
	{"save/of an instance that somebody else started is refused", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"a", "two"})
		s, home := t.store(), t.home()
		t.ok("commit", t.commit(s, home, t.change(home, home.NewInstance("a"), 0)))
		if err := t.commit(t.store(), home, t.change(home, home.NewInstance("a"), 1)); !errors.Is(err, eventlog.ErrConflict) {
			t.Fatalf("the append returned error %v, and should have returned eventlog.ErrConflict", err)
		}
		if text := t.one("a").State.(story).Text; text != "one" {
			t.Fatalf("it is that of %q now", text)
		}
	}},
	{"save/all or nothing", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, added{[]string{"a", "b"}, []string{"x"}})
		s, home := t.store(), t.home()
		a, b := home.NewInstance("a"), home.NewInstance("b")
		t.ok("commit", t.commit(s, home, t.change(home, a, 0), t.change(home, b, 1)))
		stale, fresh := t.one("b"), t.one("a")
		t.ok("commit", t.commit(s, home, t.change(home, b, 2)))
		if err := t.commit(t.store(), home, t.change(home, fresh, 2), t.change(home, stale, 2)); !errors.Is(err, eventlog.ErrConflict) {
			t.Fatalf("the append returned error %v, and should have returned eventlog.ErrConflict", err)
		}
		t.same("a", describe(t.one("a")), describe(a))
		t.same("b", describe(t.one("b")), describe(b))
	}},
	{"save/emitted events stand in the instance's stream, in order", func(t *trial) {
		t.happens(opened{"a", "one"}, added{[]string{"a"}, []string{"x"}}, opened{"b", "two"})
		s, home := t.store(), t.home()
		var want []string
		emit := func(texts ...string) (events []event.Event) {
			for _, text := range texts {
				e, err := deskTypes.Encode(noted{Text: text})
				t.ok("encode", err)
				e.ID = event.DeriveID("emitted", text)
				e.Metadata = event.Metadata{Causation: t.script[0].id}.WithHeader("name", text)
				events = append(events, e)
				want = append(want, e.ID.String()+" "+text)
			}
			return events
		}
		i := home.NewInstance("a")
		t.ok("commit", t.commit(s, home, t.change(home, i, 0, emit("1", "2", "3")...), t.change(home, home.NewInstance("b"), 2)))
		t.ok("commit", t.commit(s, home, t.change(home, i, 1, emit("4", "5")...)))
		var got []string
		for _, e := range t.emitted("a") {
			got = append(got, e.ID.String()+" "+e.Metadata.Header("name"))
		}
		t.same("the stream", strings.Join(got, "\n"), strings.Join(want, "\n"))
		if own := t.emitted("b"); len(own) > 0 {
			t.Fatalf("the stream of another instance has %v", own)
		}
		t.same("a", describe(t.one("a")), describe(i))
	}},
}
