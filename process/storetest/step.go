package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/process"
)

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
