package processtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/process"
)

// MaxOrders is how many orders Permutations tries at most: those of eight inputs.
const MaxOrders = 40_320

// Ending is how a process may end; made by EndsWith.
type Ending struct{ wants []any }

// EndsWith lists what must have been decided at the end, as Then does, but in any order.
func EndsWith(wants ...any) Ending { return Ending{wants} }

// Permutations gives the inputs to a process in every order, each time to a new one, and fails t unless all orders end
// the same: with the same commands and events of each instance, in whatever order, the same pending timeouts, status and
// state. If endings are given, each order has to end in one of them instead, and each of them has to be reached.
//
// The inputs are the items of When, with Options in front of them where they are needed. Items that InOrder holds keep
// their order. Instants belong to places: the first item with At that is given in an order has the earliest of all the
// instants, and so on. An order in which an outcome (Reject, Accept, Fail, Expire) comes before its command was sent is left out. There
// may be at most MaxOrders orders.
func Permutations(t T, def process.Definition, inputs []any, endings ...Ending) {
	t.Helper()
	p := permutations{def: def}
	for len(inputs) > 0 {
		o, ok := inputs[0].(Options)
		if !ok {
			break
		}
		p.options, inputs = o, inputs[1:]
	}
	p.options.Verify = true
	message := p.prepare(inputs, endings)
	if message == "" {
		message = p.try()
	}
	if message != "" {
		t.Errorf("process %q: %s", def.Name(), message)
	}
}

type permutations struct {
	def      process.Definition
	options  process.MachineOptions
	groups   [][]Item // whose items keep their order
	instants []time.Time
	endings  [][]want
	reached  []bool
	first    *ended // how the first order ends
}

// ended is how one order ends.
type ended struct {
	order []Item
	got   []got
	err   error
}

func (p *permutations) prepare(inputs []any, endings []Ending) string {
	for _, v := range inputs {
		it := itemOf(v)
		group := it.group
		if group == nil {
			group = []Item{it}
		}
		for _, it := range group {
			if it.group != nil {
				return "InOrder inside InOrder"
			}
			if !it.at.IsZero() {
				p.instants = append(p.instants, it.at)
			}
		}
		p.groups = append(p.groups, group)
	}
	slices.SortFunc(p.instants, time.Time.Compare)
	if n := p.orders(); n > MaxOrders {
		return fmt.Sprintf("these inputs have more than %d orders; give at most eight, or keep some InOrder", MaxOrders)
	}
	for _, e := range endings {
		all := []want{}
		for _, it := range e.wants {
			w, err := wantsOf(it)
			if err != nil {
				return err.Error()
			}
			all = append(all, w...)
		}
		p.endings = append(p.endings, all)
	}
	p.reached = make([]bool, len(p.endings))
	return ""
}

// orders counts the orders, up to a little more than MaxOrders.
func (p *permutations) orders() int {
	orders, placed := 1, 0
	for _, g := range p.groups {
		for n := range g {
			placed++
			if orders = orders * placed / (n + 1); orders > MaxOrders {
				return orders
			}
		}
	}
	return orders
}

func (p *permutations) try() string {
	tried := 0
	message := p.each(make([]Item, 0, 8), make([]int, len(p.groups)), func(order []Item) string {
		e := p.run(order)
		var early *process.NotSentError
		if errors.As(e.err, &early) {
			return ""
		}
		tried++
		if e.err != nil {
			return fmt.Sprintf("%v\nin the order\n%s", e.err, tellOrder(e.order))
		}
		return p.judge(e)
	})
	if message != "" {
		return message
	}
	if tried == 0 && len(p.groups) > 0 {
		return "there is no order in which each outcome comes after its command was sent"
	}
	if k := slices.Index(p.reached, false); k >= 0 {
		text := "nothing at all"
		if len(p.endings[k]) > 0 {
			var wants []string
			for n := range p.endings[k] {
				wants = append(wants, p.endings[k][n].text(show))
			}
			text = strings.Join(wants, ", ")
		}
		return fmt.Sprintf("none of the %d orders ends with %s", tried, text)
	}
	return ""
}

// each calls f with every order, until one of the calls returns a message.
func (p *permutations) each(order []Item, used []int, f func([]Item) string) string {
	complete := true
	for k, g := range p.groups {
		if used[k] == len(g) {
			continue
		}
		complete = false
		used[k]++
		message := p.each(append(order, g[used[k]-1]), used, f)
		used[k]--
		if message != "" {
			return message
		}
	}
	if complete {
		return f(order)
	}
	return ""
}

// run gives the items in an order, each one's instant by its place.
func (p *permutations) run(order []Item) *ended {
	e := &ended{order: slices.Clone(order)}
	n := 0
	for k := range e.order {
		if !e.order[k].at.IsZero() {
			e.order[k].at = p.instants[n]
			n++
		}
	}
	s := &Scenario{def: p.def, options: p.options}
	if s.machine, e.err = process.NewMachine(p.def, p.options); e.err != nil {
		return e
	}
	for _, it := range e.order {
		decisions, err := it.give(s.machine)
		s.now = append(s.now, decisions...)
		s.story = s.now
		var step *process.StepError
		if errors.As(err, &step) {
			s.failed = err
			break
		}
		if err != nil {
			e.err = err
			return e
		}
	}
	e.got = s.got()
	for _, key := range s.machine.Keys() {
		i, _ := s.machine.Instance(key)
		e.got = append(e.got, got{class: state, instance: key, value: i.State})
	}
	return e
}

// judge compares an order with the first one, or with the endings.
func (p *permutations) judge(e *ended) string {
	if len(p.endings) > 0 {
		return p.judgeEnding(e)
	}
	for _, g := range e.got {
		if g.class == failure {
			return fmt.Sprintf("%v\nin the order\n%s", g.value, tellOrder(e.order))
		}
	}
	if p.first == nil {
		p.first = e
		return ""
	}
	wants := make([]want, len(p.first.got))
	for n, g := range p.first.got {
		wants[n] = want{got: g, anyAfter: true}
		wants[n].headers = nil
	}
	rows, same := compare(e.got, wants, false)
	if same {
		return ""
	}
	for n := range rows { // the first order stands on the left
		r := &rows[n]
		var left *got
		var right *want
		if r.want != nil {
			left = &r.want.got
		}
		if r.got != nil {
			right = &want{got: *r.got, anyAfter: r.got.class == timeout}
		}
		r.got, r.want = left, right
	}
	return "the order of the inputs decides how it ends\n  one\n" + tellOrder(p.first.order) + "  two\n" + tellOrder(e.order) + table(rows, "one", "two", true)
}

func (p *permutations) judgeEnding(e *ended) string {
	var closest []row
	for k, wants := range p.endings {
		have := slices.DeleteFunc(slices.Clone(e.got), func(g got) bool { return g.class == state && !wantsState(wants, g.instance) })
		rows, same := compare(have, wants, false)
		if same {
			p.reached[k] = true
			return ""
		}
		if closest == nil || differences(rows) < differences(closest) {
			closest = rows
		}
	}
	return "an order ends in none of the ways listed\n" + tellOrder(e.order) + table(closest, "got", "closest", true)
}

func wantsState(wants []want, instance string) bool {
	return slices.ContainsFunc(wants, func(w want) bool { return w.class == state && (w.instance == "" || w.instance == instance) })
}

func differences(rows []row) int {
	n := 0
	for _, r := range rows {
		if !r.ok {
			n++
		}
	}
	return n
}

func tellOrder(order []Item) string {
	var b strings.Builder
	for n, it := range order {
		fmt.Fprintf(&b, "     %d. %s\n", n+1, it)
	}
	return b.String()
}
