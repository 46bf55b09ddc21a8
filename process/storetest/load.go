package storetest

import (
	"context"
	"fmt"
	"strings"

	"github.com/ensue-io/ensue/event"
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
		for n := range 60 {
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
		for n := range 250 {
			many = append(many, opened{fmt.Sprintf("many/%d", n), fmt.Sprint(n)})
		}
		t.happens(append(many, tick())...)
		t.run()
		t.keeps(250)
	}},
	{"load/keys of any characters", func(t *trial) {
		keys := oddKeys()
		var all []any
		for n, key := range keys {
			all = append(all, opened{key, fmt.Sprint(n)}, added{[]string{key}, []string{"emit " + fmt.Sprint(n)}})
		}
		t.happens(append(all, tick())...)
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
