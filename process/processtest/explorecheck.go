package processtest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/process"
)

// report explores, and says what was found.
func (x *inquiry) report(t T) Report {
	r := Report{Process: x.def.Name(), Reached: map[process.Phase][]string{}}
	if err := x.explore(); err != nil {
		r.Findings = []Finding{{Kind: BadDefinition, Text: err.Error()}}
		return r
	}
	x.again(t)
	for _, n := range x.nodes {
		for _, phase := range n.at {
			if _, known := r.Reached[phase]; !known {
				r.Reached[phase] = n.path()
			}
		}
	}
	if !x.broken() {
		x.unreached(r.Reached)
		x.endless(r.Reached)
		x.unhandled()
		x.unsent()
	}
	for _, row := range x.table.Rows {
		out := ReportRow{Input: row.Input}
		for n, phase := range x.table.Phases {
			switch {
			case x.handled[spot{row.Input, phase}]:
				out.Handled = append(out.Handled, phase)
			case row.Choices[n] == process.Handle:
				out.Missing = append(out.Missing, phase)
			}
		}
		r.Rows = append(r.Rows, out)
	}
	r.States, r.Steps, r.Bounded, r.Held, r.Findings = len(x.nodes), x.steps, x.bounded, x.held, x.findings
	return r
}

// broken tells whether a step fails, or does something else each time: then nobody knows what would be reached without that.
func (x *inquiry) broken() bool {
	return slices.ContainsFunc(x.findings, func(f Finding) bool { return f.Kind == StepFails || f.Kind == NotPure })
}

// find takes note of a finding; the first of several that are the same but for digits is the one with the shortest path.
func (x *inquiry) find(kind FindingKind, text string, path []string, same ...string) {
	key := string(kind) + strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
	if len(same) > 0 {
		key = string(kind) + strings.Join(same, " ")
	}
	if !x.seen[key] {
		x.seen[key] = true
		x.findings = append(x.findings, Finding{kind, text, path})
	}
}

// failed judges an error: what the definition declares, and what is meant to fail, is none.
func (x *inquiry) failed(n *node, err error, decisions []process.Decision) {
	var unexpected *process.UnexpectedError
	if errors.As(err, &unexpected) || slices.ContainsFunc(x.MayFail, func(text string) bool { return strings.Contains(err.Error(), text) }) {
		x.held++
		return
	}
	why := err
	var step *process.StepError
	if errors.As(err, &step) && step.Err != nil {
		why = step.Err
	}
	where := n.act.String()
	if k := len(decisions) - 1; k >= 0 {
		where = fmt.Sprintf("%s in phase %s", decisions[k].Row, decisions[k].Phase)
	}
	x.find(StepFails, where+": "+why.Error(), n.path())
}

// sends checks a command that was sent.
func (x *inquiry) sends(n *node, cmd any) {
	t := reflect.TypeOf(cmd)
	name := t.String()
	if x.sent[name] == nil {
		x.sent[name] = n
	}
	if x.Commands != nil && !slices.ContainsFunc(x.Commands, func(h command.Handler) bool { return h.GoType() == t }) {
		x.find(NoHandler, name+"; add command.Handle or command.Act for it to a module's Commands", n.path())
	}
}

// deadEnd finds instances that wait for nothing.
func (x *inquiry) deadEnd(m *process.Machine, n *node) {
	for _, key := range slices.Sorted(maps.Keys(n.at)) {
		phase := n.at[key]
		i, _ := m.Instance(key)
		if phase == process.PhaseCompleted || slices.Contains(x.Endless, phase) || slices.ContainsFunc(i.Timers, isOwn) {
			continue
		}
		column := slices.Index(x.table.Phases, phase)
		if column >= 0 && slices.ContainsFunc(x.table.Rows, func(r process.TableRow) bool {
			return r.Choices[column] == process.Handle && strings.HasPrefix(r.Input, process.EventInput.String()+" ")
		}) || slices.ContainsFunc(m.Open(), func(c process.OpenCommand) bool { return c.Instance == key }) {
			continue
		}
		x.find(DeadEnd, fmt.Sprintf("in phase %s no event is handled, no timeout is set, and no command is on its way whose outcome is handled", phase), n.path())
	}
}

// unreached finds phases that no instance came to.
func (x *inquiry) unreached(reached map[process.Phase][]string) {
	for _, phase := range x.table.Phases {
		if _, ok := reached[phase]; ok || phase == process.PhaseNone || phase == process.PhaseCompleted {
			continue // whether it completes is another question
		}
		if phase == process.PhaseActive && len(reached) > 0 {
			continue // it completed in its first step
		}
		x.find(NeverReached, string(phase), nil)
	}
}

// endless finds phases from which no instance comes to its end.
func (x *inquiry) endless(reached map[process.Phase][]string) {
	ends := map[process.Phase]bool{}
	before := map[*node][]*node{}
	keys := map[string]bool{}
	for _, n := range x.nodes {
		for _, next := range n.next {
			before[next] = append(before[next], n)
		}
		for key := range n.at {
			keys[key] = true
		}
	}
	for key := range keys {
		known := map[*node]bool{}
		var todo []*node
		for _, n := range x.nodes {
			if n.at[key] == process.PhaseCompleted || n.open { // who knows what comes behind the bound
				todo = append(todo, n)
			}
		}
		for len(todo) > 0 {
			n := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !known[n] {
				known[n] = true
				ends[n.at[key]] = true
				todo = append(todo, before[n]...)
			}
		}
	}
	for _, phase := range append(slices.Clone(x.table.Phases), undoing) {
		if path, ok := reached[phase]; ok && !ends[phase] && !slices.Contains(x.Endless, phase) {
			x.find(NeverCompletes, fmt.Sprintf("no inputs lead from phase %s to completion; give the samples that do, or list it in Exploration.Endless if an instance may stay there", phase), path)
		}
	}
}

// unhandled finds rows of the table without any use.
func (x *inquiry) unhandled() {
	for _, row := range x.table.Rows {
		if !slices.Contains(row.Choices, process.Handle) || slices.ContainsFunc(x.table.Phases, func(p process.Phase) bool { return x.handled[spot{row.Input, p}] }) {
			continue
		}
		why := "no inputs lead to a phase in which it comes and is handled"
		kind, name, _ := strings.Cut(row.Input, " ")
		switch {
		case kind == process.EventInput.String() && !x.sampled(name):
			why = "no sample of it was given"
		case kind == process.TimeoutInput.String():
			why = "it is never set, or never fires"
		case kind == process.ClaimInput.String():
			why = "no claim is refused; give samples of two instances that want one key"
		case kind != process.EventInput.String() && x.sent[name] == nil:
			why = "the command is never sent"
		}
		x.find(NeverHandled, row.Input+": "+why, nil)
	}
}

// sampled tells whether there is a sample of an event.
func (x *inquiry) sampled(row string) bool {
	return slices.ContainsFunc(x.samples, func(it Item) bool {
		name := fmt.Sprintf("%T", factOf(it.what))
		return it.act == nil && (row == name || strings.HasPrefix(row, name+" of module"))
	})
}

// unsent finds commands that are declared and that nothing sends.
func (x *inquiry) unsent() {
	for _, t := range x.def.Sends() {
		if x.sent[t.String()] == nil {
			x.find(NeverSent, t.String()+": process.Sends declares it", nil)
		}
	}
}

// Rounds of computing everything again, as long as it takes few steps.
const (
	rounds     = 20
	roundSteps = 3_000
)

// again computes every step again: as React and Evolve see it, years have passed, and maps have another order.
func (x *inquiry) again(t T) {
	all := func() {
		for round, begin := 0, x.steps; round == 0 || round < rounds && x.steps-begin < roundSteps; round++ {
			for _, e := range x.edges {
				if m, ok := x.replay(e.from); ok {
					x.same(m, e)
				}
			}
		}
	}
	if test, ok := t.(*testing.T); !ok || !inBubble(test, all) {
		all()
	}
}

// inBubble runs a function in a bubble, where it is the first of January 2000. A test that is in one already cannot have
// another: then it does nothing and returns false.
func inBubble(t *testing.T, f func()) (done bool) {
	defer func() {
		if p := recover(); p != nil && done {
			panic(p)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		done = true
		f()
	})
	return done
}

// impure takes note of a step that decided something else the second time.
func (x *inquiry) impure(e edge, lines []string, decisions []process.Decision) {
	row := e.act.String()
	if len(decisions) > 0 {
		row = fmt.Sprintf("%s in phase %s", decisions[0].Row, decisions[0].Phase)
	}
	to := &node{from: e.from, act: e.act}
	x.find(NotPure, row+": the same inputs led to something else when they came again\n"+besideEachOther(e.lines, lines), to.path(), row)
}

// besideEachOther shows lines under two headings.
func besideEachOther(one, two []string) string {
	width := len("one time")
	for _, line := range one {
		width = max(width, len([]rune(line)))
	}
	var b strings.Builder
	if width > sideBySide {
		fmt.Fprintf(&b, "one time\n  %s\nanother time\n  %s", strings.Join(one, "\n  "), strings.Join(two, "\n  "))
		return b.String()
	}
	fmt.Fprintf(&b, "   %s   another time", pad("one time", width))
	for n := range max(len(one), len(two)) {
		left, right := "—", "—"
		if n < len(one) {
			left = one[n]
		}
		if n < len(two) {
			right = two[n]
		}
		fmt.Fprintf(&b, "\n%s  %s   %s", sign(left == right), pad(left, width), right)
	}
	return b.String()
}
