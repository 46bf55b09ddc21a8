package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// tick is an event that concerns nobody; with the one behind it, the replay clock passes what came before.
func tick() any { return added{} }

// life is a script in which a and b live, b to its end, and some inputs wait for c.
func life() []any {
	return []any{
		added{[]string{"a", "b"}, []string{"early"}},
		opened{"a", "one"},
		opened{"b", "two"},
		called{"a", ""}, // an event of the home log that leads to nothing: a link alone
		added{[]string{"a"}, []string{"two"}},
		added{[]string{"a", "b"}, []string{"two", "emit x"}},
		called{"b", "called"},
		added{[]string{"a"}, []string{"cancel", "three", "three"}},
		stopped{"b"},
		closed{"b"},
		added{[]string{"b"}, []string{"late"}},
		opened{"b", "anew"},
		added{[]string{"a"}, []string{"again", "three"}},
		added{[]string{"c"}, []string{"early"}},
		tick(),
	}
}

var loadCases = []Case{
	{"load/everything as it was kept", func(t *trial) {
		t.happens(life()...)
		t.run()
		t.keeps(2)
	}},
	{"load/everything as it was kept one input at a time", func(t *trial) {
		t.batch = 1
		t.happens(life()...)
		t.run()
		t.keeps(2)
	}},
	{"load/a long history", func(t *trial) {
		many := []any{opened{"a", "one"}}
		for n := range 150 {
			many = append(many, added{[]string{"a"}, []string{fmt.Sprint("note ", n)}}, called{"a", ""})
		}
		t.happens(append(many, tick())...)
		t.run()
		t.keeps(1)
	}},
	{"load/absent instances are nil, in their places", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"c", "two"}, opened{"e", "three"}, tick())
		t.run()
		var got []string
		for _, i := range t.load("e", "nobody", "a", "d", "c", "") {
			if i == nil {
				got = append(got, "nil")
			} else {
				got = append(got, i.Key+"="+i.State.(story).Text)
			}
		}
		t.same("e, nobody, a, d, c and none", strings.Join(got, " "), "e=three nil a=one nil c=two nil")
		if none := t.load(); len(none) != 0 {
			t.Fatalf("of no keys, %d instances are returned", len(none))
		}
	}},
	{"load/what is returned belongs to the caller", func(t *trial) {
		t.happens(life()...)
		t.run()
		s, home := t.store(), t.home()
		for range 2 {
			loaded, err := s.Load(t.ctx, home, []string{"a"})
			t.ok("load", err)
			if len(loaded) != 1 || loaded[0] == nil {
				t.Fatalf("instance a is not there")
			}
			i := loaded[0]
			t.same("a", describe(i), t.kept["a"])
			state := i.State.(story)
			state.Notes[0], state.Counts["two"] = "spoilt", 99
			i.Marks[0].Position, i.Taken[0], i.Timers[0].Name, i.Once[0] = 99, event.ID{}, "spoilt", "spoilt"
			i.Status = process.Completed
		}
	}},
	{"load/writes nothing and sends nothing (G13)", func(t *trial) {
		t.happens(life()...)
		t.run()
		before, sent := t.dump(), len(t.receiver.order)
		t.keeps(2)
		_ = collect(t, t.store().List(t.ctx, t.home(), ""))
		t.same("the log", t.dump(), before)
		if now := len(t.receiver.order); now != sent {
			t.Fatalf("%d commands were sent, and before it %d", now, sent)
		}
	}},
	{"load/many at once", func(t *trial) {
		var many []any
		for n := range 700 {
			many = append(many, opened{fmt.Sprintf("many/%d", n), fmt.Sprint(n)})
		}
		t.happens(append(many, tick())...)
		t.run()
		t.keeps(700)
	}},
	{"load/keys of any characters", func(t *trial) {
		keys := oddKeys()
		for n, key := range keys {
			t.happens(opened{key, fmt.Sprint(n)}, added{[]string{key}, []string{"emit " + fmt.Sprint(n)}})
		}
		t.happens(tick())
		t.run()
		t.keeps(len(keys))
		for n, i := range t.load(keys...) {
			if i == nil || i.Key != keys[n] || i.State.(story).Text != fmt.Sprint(n) {
				t.Fatalf("instance %q is %+v", keys[n], i)
			}
			if own := t.emitted(keys[n]); len(own) != 2 || !strings.Contains(string(own[1].Data), fmt.Sprintf("emit %d", n)) {
				t.Fatalf("the stream of %q has %v", keys[n], own)
			}
		}
	}},
	{"load/keeps processes of one log apart", func(t *trial) {
		t.happens(opened{"a", "one"}, tick())
		t.run()
		for _, name := range []string{"tellin", "telling2", "telling%", "a"} {
			config := t.config(t.store())
			config.Definition = define(strings.TrimSuffix(name, "%"))
			e, err := process.NewEngine(config)
			t.ok("make an engine", err)
			if name == "telling%" {
				t.keeps(1)
				continue
			}
			loaded, err := t.store().Load(t.ctx, e.Home(), []string{"a"})
			t.ok("load", err)
			if len(loaded) != 1 || loaded[0] != nil {
				t.Fatalf("process %q has the instance of another one: %+v", name, loaded)
			}
			if all := collect(t, t.store().List(t.ctx, e.Home(), "")); len(all) > 0 {
				t.Fatalf("process %q lists %+v of another one", name, all)
			}
		}
	}},
	{"load/ends with its context", func(t *trial) {
		t.happens(opened{"a", "one"}, tick())
		t.run()
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		if _, err := t.store().Load(ctx, t.home(), []string{"a"}); err == nil {
			t.Fatalf("a context that has ended is no error")
		}
	}},
}

// oddKeys are keys that are easily confused.
func oddKeys() []string {
	return []string{"a/b", "a%2Fb", "a%b", "a", "a/", "a//b", "A", "ä", "a\u0308", "日本", "🚂", " ", "a b", "..", "'", `"`, `\`, "?*[]", "%", "%%", "%25", "100%",
		"telling", "telling/a", strings.Repeat("k", 380), "\u2028", "null", "0", "00"}
}

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

var stepCases = []Case{
	{"steps/decide what a machine decides", func(t *trial) {
		t.happens(life()...)
		t.run()
		t.same("the outcome", t.outcome("a", "b", "c"), t.wanted("a", "b", "c"))
	}},
	{"steps/decide the same when everything is restarted after each input", func(t *trial) {
		for _, fact := range life() {
			t.happens(fact)
			if _, home := fact.(called); home {
				continue // the replay clock stands before it until field has something later
			}
			t.run()
			t.same("the outcome so far", t.outcome("a", "b", "c"), t.wanted("a", "b", "c"))
		}
		t.keeps(2)
	}},
	{"steps/decide the same in any order of reading", func(t *trial) {
		var backwards []any
		for _, key := range []string{"x", "y", "z"} {
			backwards = append(backwards, added{[]string{key, "a"}, []string{"two"}}, opened{key, key}, called{key, "called"}, added{[]string{key}, []string{"two"}})
		}
		t.batch = 3
		t.happens(append(backwards, opened{"a", "last"}, tick())...)
		t.run()
		t.same("the outcome", t.outcome("a", "x", "y", "z"), t.wanted("a", "x", "y", "z"))
	}},
	{"steps/take the outcomes of commands", func(t *trial) {
		t.happens(opened{"a", "one"}, added{[]string{"a"}, []string{"ask"}}, added{[]string{"a"}, []string{"ask"}}, tick())
		t.run()
		t.keeps(1)
		if got := fmt.Sprint(t.one("a").State.(story).Answers); got != "map[no:2 yes:2]" {
			t.Fatalf("the answers are %s", got)
		}
	}},
	{"steps/take what was emitted, also by the instance itself", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, added{[]string{"a"}, []string{"back b"}}, tick())
		t.run()
		t.happens(tick()) // behind it, what was emitted is read
		t.run()
		t.keeps(2)
		for _, key := range []string{"a", "b"} {
			i := t.one(key)
			if got := fmt.Sprint(i.State.(story).Answers); got != "map[back b:1]" || !slices.Contains(i.Once, "noted") {
				t.Fatalf("%s has answers %s and once %q", key, got, i.Once)
			}
		}
	}},
	{"steps/complete, and record what comes late as ignored", func(t *trial) {
		t.happens(opened{"a", "one"}, closed{"a"}, tick())
		t.run()
		before := t.one("a")
		if before.Status != process.Completed || len(before.Timers) > 0 {
			t.Fatalf("it should be completed, without timers, and is %s", describe(before))
		}
		t.happens(added{[]string{"a"}, []string{"late"}}, opened{"a", "anew"}, called{"a", "late"}, tick())
		t.run()
		after := t.one("a")
		if after.Status != process.Completed || after.Steps != before.Steps+3 || len(after.Taken) != len(before.Taken)+3 || after.Incarnation != 1 {
			t.Fatalf("three late inputs should be recorded, and it is\n%s and was\n%s", describe(after), describe(before))
		}
		t.same("the outcome", t.outcome("a"), t.wanted("a"))
		t.keeps(1)
	}},
	{"steps/begin and end in one batch", func(t *trial) {
		t.happens(added{[]string{"a"}, []string{"early"}}, opened{"a", "one"}, closed{"a"}, added{[]string{"a"}, []string{"late"}}, tick())
		t.run()
		t.keeps(1)
		t.same("the outcome", t.outcome("a"), t.wanted("a"))
	}},
	{"steps/fire timeouts after a restart", func(t *trial) {
		t.happens(opened{"a", "one"})
		t.run()
		t.happens(tick(), tick(), tick(), tick(), tick(), tick(), tick())
		t.run()
		if n := t.one("a").State.(story).Counts["remind soon"]; n != 3 {
			t.Fatalf("three reminders were due, and %d fired", n)
		}
		t.same("the outcome", t.outcome("a"), t.wanted("a"))
	}},
	{"steps/do once what is done once, after a restart", func(t *trial) {
		for range 4 {
			t.happens(opened{"a", "one"}, added{[]string{"a"}, []string{"two", "two"}})
			t.run()
		}
		n := 0
		for _, c := range t.receiver.handled {
			if strings.Contains(string(c.Data), `"once"`) {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("it was done %d times", n)
		}
	}},
}

var onceCases = []Case{
	{"once/when cursors are lost (G8)", func(t *trial) {
		t.happens(life()...)
		t.run()
		outcome, events := t.outcome("a", "b", "c"), t.events()
		for range 2 {
			t.loseCursors()
			if stats := t.run(); stats.Duplicates == 0 {
				t.Fatalf("nothing was recognised as a duplicate: %+v", stats)
			}
			t.same("the outcome", t.outcome("a", "b", "c"), outcome)
			if n := t.events(); n != events {
				t.Fatalf("the home log has %d events, and had %d", n, events)
			}
		}
		t.keeps(2)
	}},
	{"once/when a log was exported and imported (G8)", func(t *trial) {
		t.happens(life()...)
		t.run()
		a, b := decided(t.one("a")), decided(t.one("b"))
		sent, events := len(t.receiver.order), t.events()
		t.field = t.newField() // another history, with the same events
		t.record("field", t.field, fieldTypes, t.script)
		t.loseCursors()
		t.run()
		t.same("a", decided(t.one("a")), a)
		t.same("b", decided(t.one("b")), b)
		if now := len(t.receiver.order); now != sent {
			t.Fatalf("%d commands were sent, and before it %d", now, sent)
		}
		if n := t.events(); n != events {
			t.Fatalf("the home log has %d events, and had %d", n, events)
		}
	}},
}

var holdCases = []Case{
	{"holds/the instance alone whose step the log refuses (G9)", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, tick(), added{[]string{"b"}, []string{"x"}}, swollen{"a"})
		refused := len(t.script) - 1
		t.happens(added{[]string{"a", "b"}, []string{"emit y"}}, closed{"b"}, tick())
		for _, allowed := range []string{standsAside, ""} { // and once more: restarted, it is held still
			if stats := t.run(allowed); allowed != "" && stats.Held != 1 {
				t.Fatalf("%d instances are held, and should be 1", stats.Held)
			}
			t.sameAsMachine("a", refused)
			t.sameAsMachine("b", len(t.script))
			if n := len(t.emitted("a")); n != 1 {
				t.Fatalf("a emitted %d events, and should have emitted 1", n)
			}
		}
	}},
	{"holds/the instance alone whose state the store cannot keep (G9)", func(t *trial) {
		t.happens(opened{"a", "one"}, opened{"b", "two"}, tick(), added{[]string{"b"}, []string{"x"}}, spoilt{"a"})
		refused := len(t.script) - 1
		t.happens(added{[]string{"a", "b"}, []string{"emit y"}}, closed{"b"}, tick())
		stats := t.run(standsAside)
		switch ratio := t.one("a").State.(story).Ratio; {
		case stats.Held == 1:
			t.sameAsMachine("a", refused)
		case !math.IsNaN(ratio):
			t.Fatalf("the state is not held, and not kept either: %s", describe(t.one("a")))
		}
		t.sameAsMachine("b", len(t.script))
	}},
}

// standsAside is what an engine reports of an instance that it holds.
const standsAside = "an instance stands aside"

// sameAsMachine fails unless the store has the instance as a machine has it before it takes the n-th event of the script.
func (t *trial) sameAsMachine(key string, n int) {
	t.Helper()
	m := t.machine()
	t.decide(m, t.script[:n], func(process.Decision, process.Effect) {})
	if n < len(t.script) {
		_, err := m.Advance(t.script[n].at)
		t.ok("let a machine decide", err)
	}
	i, _ := m.Instance(key)
	t.same(key, decided(t.one(key)), decided(&i))
}

var listCases = []Case{
	{"list/every instance once, in an order that stays", func(t *trial) {
		keys := oddKeys()
		for _, key := range keys {
			t.happens(opened{key, "one"})
		}
		t.happens(tick())
		t.run()
		got := t.listed("")
		t.same("the list", strings.Join(t.listed(""), "\n"), strings.Join(got, "\n"))
		slices.Sort(got)
		slices.Sort(keys)
		t.same("the sorted list", strings.Join(got, "\n"), strings.Join(keys, "\n"))
	}},
	{"list/continues behind any key", func(t *trial) {
		for _, key := range append(oddKeys(), "k1", "k10", "k2") {
			t.happens(opened{key, "one"})
		}
		t.happens(tick())
		t.run()
		all := t.listed("")
		if len(all) == 0 {
			t.Fatalf("nothing is listed")
		}
		for n, key := range all {
			t.same(fmt.Sprintf("the list behind %q", key), strings.Join(t.listed(key), "\n"), strings.Join(all[n+1:], "\n"))
		}
	}},
	{"list/plain keys by their bytes", func(t *trial) {
		keys := []string{"b", "a2", "a10", "a", "Z", "c", "a1", "0"}
		for _, key := range keys {
			t.happens(opened{key, "one"})
		}
		t.happens(tick())
		t.run()
		slices.Sort(keys)
		t.same("the list", strings.Join(t.listed(""), " "), strings.Join(keys, " "))
		t.same("the list behind what is not there", strings.Join(t.listed("a11"), " "), "a2 b c")
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
