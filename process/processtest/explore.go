package processtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/process"
)

// Exploration is given among the first samples of Explore, where it needs to know more. The zero value is useful.
type Exploration struct {
	Machine  Options           // how the process runs
	Commands []command.Handler // of all modules: a command that is sent has one of them; nil to leave that open
	Endless  []process.Phase   // phases in which an instance may stay for good (process.PhaseActive, where none are declared)
	MayFail  []string          // texts of errors with which a step is meant to fail
	States   int               // that are looked at, at most; default 1000
	Depth    int               // inputs in a row, at most; default 50
}

// Explore tries what can happen to an instance, and fails t with everything that is wrong with the definition:
//
//   - a step that fails: a panic, an error, a timeout that is set and not handled, a pointer that is sent;
//   - a phase that is never reached, or from which the process never completes;
//   - an instance that waits for nothing: no event is handled in its phase, and neither a timeout nor an outcome is to come;
//   - an input of the definition that is never handled;
//   - a command that no handler handles (see Exploration.Commands), or that process.Sends declares and nothing sends;
//   - a step that is not a function of its input and the instance: it is computed several times, with the clock moved by
//     years (in a *testing.T's own bubble), and must decide the same.
//
// The samples are what may come from outside, in any order: the same items as When has, mostly events of one instance. Each
// comes at most once in a row of inputs: list twice what may come twice. The rest comes by itself: timeouts fire when they
// are the next that is due, and of every command that was sent each outcome is tried that the definition handles. A result
// or a code that matters is a sample too: Accept(cmd, result), Reject(cmd, code). Such an item comes where it can.
//
// States that differ in nothing but the clock, or the order of what is deferred, are taken for the same. Where a bound was reached, Report.Bounded is true,
// and what was not found may be there nevertheless. An input that meets process.Hold is no failure. While a step fails, or is
// no function of its input, nothing is said of what is never reached, completed, handled or sent: that may be why.
func Explore(t T, def process.Definition, samples ...any) Report {
	t.Helper()
	r := newInquiry(def, samples).report(t)
	if len(r.Findings) > 0 {
		t.Errorf("%v", r)
	} else if l, ok := t.(interface{ Logf(string, ...any) }); ok && r.Bounded {
		l.Logf("%v", r)
	}
	return r
}

func newInquiry(def process.Definition, samples []any) *inquiry {
	x := &inquiry{def: def, table: def.Table(), states: map[string][]*node{}, handled: map[spot]bool{}, seen: map[string]bool{}, bad: map[int]bool{}}
options:
	for len(samples) > 0 {
		switch o := samples[0].(type) {
		case Exploration:
			x.Exploration = o
		case Options:
			x.Machine = o
		default:
			break options
		}
		samples = samples[1:]
	}
	x.Machine.Verify = true
	x.States, x.Depth = orElse(x.States, 1000), orElse(x.Depth, 50)
	for _, v := range samples {
		x.samples = append(x.samples, itemOf(v))
	}
	return x
}

func orElse(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// inquiry is what Explore knows of one definition.
type inquiry struct {
	Exploration
	def      process.Definition
	table    process.Table
	samples  []Item
	fresh    *process.Machine // to which nothing happens
	nodes    []*node          // in the order in which they were found
	queue    []*node          // those that were not looked at
	states   map[string][]*node
	edges    []edge
	steps    int // that were computed
	bounded  bool
	handled  map[spot]bool
	sent     map[string]*node // the first that sent a command of a type
	seen     map[string]bool  // findings
	bad      map[int]bool     // samples that cannot be given
	findings []Finding
	held     int // inputs that met Hold
}

// spot is a row of the table in one phase.
type spot struct {
	row   string
	phase process.Phase
}

// node is a state, with the shortest row of inputs that leads to it.
type node struct {
	from     *node
	act      action
	lines    []string // what was decided on the act, and what came of it
	depth    int
	used     uint64   // samples that have come, by bit
	deferred []string // inputs that wait
	at       map[string]process.Phase
	open     bool // some of what can happen next was left out
	next     []*node
}

// edge is something that was tried in a state.
type edge struct {
	from  *node
	act   action
	lines []string
}

// action is one thing that can happen next.
type action struct {
	item   Item
	sample int  // its number; -1 for none
	late   bool // just before the next timeout is due
}

func (a action) String() string {
	if a.late {
		return a.item.String() + ", just before the next timeout"
	}
	return a.item.String()
}

// path tells how a state is reached.
func (n *node) path() []string {
	var all []string
	for ; n.from != nil; n = n.from {
		all = append(all, n.act.String())
	}
	slices.Reverse(all)
	return all
}

// explore goes through the states, those that take fewer inputs first.
func (x *inquiry) explore() error {
	if len(x.samples) > 64 {
		return fmt.Errorf("%d samples are too many, 64 are possible", len(x.samples))
	}
	var err error
	if x.fresh, err = process.NewMachine(x.def, x.Machine); err != nil {
		return err
	}
	x.sent = map[string]*node{}
	x.place(&node{}, situation(x.fresh, nil))
	for looked := 0; len(x.queue) > 0; looked++ {
		n := x.queue[0]
		x.queue = x.queue[1:]
		switch {
		case n.done():
		case looked >= x.States || n.depth >= x.Depth:
			n.open, x.bounded = true, true
		default:
			x.expand(n)
		}
	}
	return nil
}

// done tells whether everything that was started has been completed.
func (n *node) done() bool {
	for _, phase := range n.at {
		if phase != process.PhaseCompleted {
			return false
		}
	}
	return len(n.at) > 0
}

// expand tries everything that can happen next.
func (x *inquiry) expand(n *node) {
	m, ok := x.replay(n)
	if !ok {
		return
	}
	x.deadEnd(m, n)
	for _, a := range x.actions(m, n) {
		set := x.try(n, a)
		if due, waits := nextDue(m); set && waits && due.Add(-2*time.Microsecond).After(m.Now()) {
			a.late = true // a timeout that is set later is due later
			x.try(n, a)
		}
	}
}

// actions returns what can happen next.
func (x *inquiry) actions(m *process.Machine, n *node) []action {
	var all []action
	for k, it := range x.samples {
		if n.used&(1<<k) == 0 && !x.bad[k] {
			all = append(all, action{item: it, sample: k})
		}
	}
	for _, c := range m.Open() {
		for _, kind := range c.Outcomes {
			switch kind {
			case process.AcceptedInput:
				all = append(all, action{item: Accept(c.Command, nil), sample: -1})
			case process.RejectedInput:
				all = append(all, action{item: Reject(c.Command, "rejected"), sample: -1})
			case process.FailedInput:
				all = append(all, action{item: Fail(c.Command, "failed"), sample: -1})
				if c.Deadline {
					all = append(all, action{item: Expire(c.Command), sample: -1})
				}
			}
		}
	}
	if due, waits := nextDue(m); waits {
		it := AdvanceTo(due)
		it.name = "timeout " + timersAt(m, due)
		all = append(all, action{item: it, sample: -1})
	}
	return all
}

// try lets something happen in a state. It tells whether a timeout was set.
func (x *inquiry) try(n *node, a action) (set bool) {
	m, ok := x.replay(n)
	if !ok {
		return false
	}
	decisions, err := x.give(m, a)
	var unsent *process.NotSentError
	var unhandled *process.UnhandledError
	switch {
	case errors.As(err, &unsent):
		return false
	case errors.As(err, &unhandled) && a.sample >= 0:
		x.bad[a.sample] = true
		x.find(BadSample, err.Error(), nil)
		return false
	}
	to := &node{from: n, act: a, depth: n.depth + 1, used: n.used}
	if a.sample >= 0 {
		to.used |= 1 << a.sample
	}
	x.notice(to, decisions)
	if err != nil {
		x.failed(to, err, decisions)
		return false
	}
	to.lines = account(m, decisions)
	to.deferred = waiting(n.deferred, decisions)
	to.at = phases(m)
	x.edges = append(x.edges, edge{n, a, to.lines})
	n.next = append(n.next, x.place(to, situation(m, to.deferred)))
	return slices.ContainsFunc(decisions, func(d process.Decision) bool {
		return slices.ContainsFunc(d.Effects, func(e process.Effect) bool { return e.Kind == process.EffectSet })
	})
}

// place returns the node of a state: one that is known, if it leaves at least the same samples, or this one.
func (x *inquiry) place(n *node, state string) *node {
	for _, known := range x.states[state] {
		if known.used&n.used == known.used {
			return known
		}
	}
	x.states[state] = append(x.states[state], n)
	x.nodes, x.queue = append(x.nodes, n), append(x.queue, n)
	return n
}

// give lets something happen at a machine. A panic outside of a step is an error too.
func (x *inquiry) give(m *process.Machine, a action) (decisions []process.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	x.steps++
	if due, waits := nextDue(m); a.late && waits {
		if decisions, err = m.Advance(due.Add(-time.Microsecond)); err != nil {
			return decisions, err
		}
	}
	more, err := a.item.give(m)
	return append(decisions, more...), err
}

// replay brings a machine into a state: false where the same inputs lead elsewhere this time.
func (x *inquiry) replay(n *node) (*process.Machine, bool) {
	if n.from == nil {
		return x.fresh.Fresh(), true
	}
	m, ok := x.replay(n.from)
	return m, ok && x.same(m, edge{n.from, n.act, n.lines})
}

// same lets something happen that has been tried, and compares what was decided.
func (x *inquiry) same(m *process.Machine, e edge) bool {
	decisions, err := x.give(m, e.act)
	lines := account(m, decisions)
	if err != nil {
		lines = append(lines, err.Error())
	}
	if slices.Equal(lines, e.lines) {
		return true
	}
	x.impure(e, lines, decisions)
	return false
}

// notice takes note of what was met on the way.
func (x *inquiry) notice(n *node, decisions []process.Decision) {
	for _, d := range decisions {
		switch d.Verdict {
		case process.VerdictHandled:
			x.handled[spot{d.Row, d.Phase}] = true
		case process.VerdictFailed:
			if x.choice(d.Row, d.Phase) == process.Handle { // it was, badly
				x.handled[spot{d.Row, d.Phase}] = true
			}
		case process.VerdictNoKey:
			if dump(d.Input) != dump(factOf(n.act.item.what)) {
				continue // it came back, emitted
			}
			x.find(BadSample, fmt.Sprintf("%s concerns no instance: its Locate finds no key; give it the header, if it is located by one", n.act), nil)
		}
		for _, e := range d.Effects {
			if e.Kind == process.EffectSent {
				x.sends(n, e.Value)
			}
		}
	}
}

// choice returns what the definition says of a row in a phase.
func (x *inquiry) choice(row string, phase process.Phase) process.Policy {
	for _, r := range x.table.Rows {
		if k := slices.Index(x.table.Phases, phase); r.Input == row && k >= 0 {
			return r.Choices[k]
		}
	}
	return 0
}
