package processtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// End is the end of a run: what its logs hold, as lines that are the same whenever the end is. Positions and times are
// not in them, and ids only where they are given by the story or follow from those: an event that a command's handler
// appends gets a new one, so events are told apart by what they say.
type End struct {
	lines []string
	ids   map[string]event.ID // of commands and timeouts, by their lines
	wrong []string            // what cannot be in any run

	settled bool // ids is of those that are the same in every run

	receipts map[event.ID]map[string]command.Receipt // of commands, by module
	sent     map[event.ID]string                     // commands that instances sent, and who did
}

// observer makes an observation.
type observer struct {
	End
	orderFree bool
	events    map[event.ID]string // what they say
}

func (w *stage) observe(ctx context.Context, p *Program) (*End, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	end, err := readEnd(ctx, w.logs, w.story.OrderFree, p.engines)
	if err != nil {
		return nil, err
	}
	end.lines = append(end.lines, p.notes...)
	slices.Sort(end.lines)
	return end, nil
}

// ReadEnd reads the end of a run out of its logs, by module, and the states of the instances of those processes whose
// engines are given. It is what CrashEverywhere compares, for tests that stop programs in other ways.
func ReadEnd(ctx context.Context, logs map[string]eventlog.Log, engines ...*process.Engine) (*End, error) {
	return readEnd(ctx, logs, false, engines)
}

func readEnd(ctx context.Context, logs map[string]eventlog.Log, orderFree bool, engines []*process.Engine) (*End, error) {
	o := observer{End: End{ids: map[string]event.ID{}, receipts: map[event.ID]map[string]command.Receipt{}, sent: map[event.ID]string{}},
		orderFree: orderFree, events: map[event.ID]string{}}
	modules := slices.Sorted(maps.Keys(logs))
	var verified []process.Module
	for _, m := range modules {
		verified = append(verified, process.Module{Name: m, Log: logs[m]})
		if err := o.module(ctx, m, logs[m]); err != nil {
			return nil, fmt.Errorf("processtest: read module %q: %w", m, err)
		}
	}
	for _, m := range modules {
		descriptions, err := process.Descriptions(ctx, logs[m])
		if err != nil {
			return nil, err
		}
		for _, d := range descriptions {
			if err := o.process(ctx, logs[m], d.Process); err != nil {
				return nil, fmt.Errorf("processtest: read process %q: %w", d.Process, err)
			}
		}
	}
	for _, e := range engines {
		if err := o.states(ctx, e); err != nil {
			return nil, err
		}
	}
	o.others()
	for problem, err := range process.VerifyWith(ctx, verified, engines, nil) {
		if err != nil {
			return nil, err
		}
		if problem.Kind != process.NotChecked {
			o.wrong = append(o.wrong, problem.String())
		}
	}
	slices.Sort(o.lines)
	slices.Sort(o.wrong)
	return &o.End, nil
}

// early tells which commands had an effect at a crash, while no step that sent them was committed: nothing leaves before
// that (G6).
func (o *End) early(atCrash *End) {
	for id := range atCrash.receipts {
		if who := o.sent[id]; who != "" && atCrash.sent[id] == "" {
			o.wrong = append(o.wrong, fmt.Sprintf("at the crash there was an effect before its step was committed: %s", who))
		}
	}
}

func (o *observer) line(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	o.lines = append(o.lines, text)
	return text
}

// named is line for something with an id.
func (o *observer) named(id event.ID, format string, args ...any) {
	o.ids[o.line(format, args...)] = id
}

// module observes the events, the receipts and what is left over in a module.
func (o *observer) module(ctx context.Context, name string, log eventlog.Log) error {
	count, version := map[string]int{}, map[string]int{}
	for rec, err := range log.Read(ctx, eventlog.Query{}) {
		if err != nil {
			return err
		}
		text := strings.TrimSpace(fmt.Sprintf("%s %s %s", rec.Type, rec.Data, headers(rec.Metadata)))
		whole := fmt.Sprintf("%s of %s %s", text, name, rec.Stream)
		count[whole]++
		version[rec.Stream]++
		o.events[rec.ID] = whole
		if n := count[whole]; n > 1 {
			o.events[rec.ID] += fmt.Sprintf(" (%d)", n)
		}
		if o.orderFree {
			o.line("event %d of %s %s: %s", version[rec.Stream], name, rec.Stream, text)
		} else {
			o.line("event of %s %s: %s", name, rec.Stream, text)
		}
	}
	for r, err := range command.Receipts(ctx, log) {
		if err != nil {
			return err
		}
		if o.receipts[r.ID] == nil {
			o.receipts[r.ID] = map[string]command.Receipt{}
		}
		o.receipts[r.ID][name] = r
	}
	for _, kind := range []eventlog.Kind{eventlog.Timeout, eventlog.Pending, eventlog.Queued, eventlog.Hold} {
		for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: kind}) {
			if err != nil {
				return err
			}
			o.line("entry of %s: %v %s", name, kind, e.Key)
		}
	}
	return nil
}

func headers(m event.Metadata) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		all = append(all, name+"="+m.Headers[name])
	}
	return strings.Join(all, " ")
}

// process observes the instances of a process.
func (o *observer) process(ctx context.Context, log eventlog.Log, name string) error {
	home, err := process.OpenHome(ctx, log, name)
	if err != nil {
		return err
	}
	ignored, err := process.Ignored(ctx, log, name)
	if err != nil {
		return err
	}
	for rule, n := range ignored {
		o.line("%s: %d ignored by the rule %s", name, n, rule)
	}
	for s, err := range process.ListInstances(ctx, log, name, "") {
		if err != nil {
			return err
		}
		if err := o.instance(ctx, home, s.Key); err != nil {
			return err
		}
	}
	return nil
}

// instance observes an instance: its history, where its store keeps one, and what is known of it at the end.
func (o *observer) instance(ctx context.Context, home process.Home, key string) error {
	i, err := process.Look(ctx, home, key)
	if err != nil {
		return err
	}
	h := history{observer: o, who: home.Stream(key), sources: map[string]int{}, pending: map[string]event.ID{}, done: map[event.ID]bool{}}
	for step, err := range process.History(ctx, home, key) {
		if err != nil {
			return err
		}
		h.step(&step.Record)
	}
	o.line("%s is %v %s after %d inputs and %d commands", h.who, i.Status, i.Phase, i.Steps, i.Sent)
	for _, t := range i.Timers {
		o.line("%s has the timeout %s to come", h.who, t.Name)
	}
	if state, ok := i.State.(json.RawMessage); ok {
		o.line("%s has the state %s", h.who, state)
	}
	if h.steps > 0 {
		return nil
	}
	of := map[string]int{}
	for _, id := range i.Taken {
		_, module, _ := strings.Cut(o.events[id], " of ")
		module, _, _ = strings.Cut(module, " ")
		of[module]++
		o.line("%s, input %d from %s: %s", h.who, of[module], module, o.events[id])
	}
	return nil
}

// states observes the states of a process's instances.
func (o *observer) states(ctx context.Context, e *process.Engine) error {
	home := e.Home()
	for s, err := range process.ListInstances(ctx, home.Log, home.Process(), "") {
		if err != nil {
			return err
		}
		i, err := e.Instance(ctx, s.Key)
		if err != nil {
			return err
		}
		state, err := json.Marshal(i.State)
		if err != nil {
			return err
		}
		o.line("%s has the state %s", home.Stream(s.Key), state)
	}
	return nil
}

// others observes the receipts of commands that no history has: those from outside, and those of documents.
func (o *observer) others() {
	for id, receipts := range o.receipts {
		if o.sent[id] == "" {
			for module, r := range receipts {
				o.line("a command at %s: %s", module, outcome(r.Outcome))
			}
		}
	}
}

func outcome(r command.Outcome) string {
	text := fmt.Sprintf("%s %s %s", r.Type, r.Status, r.Result)
	if r.Rejection != nil {
		text += r.Rejection.Code + " " + r.Rejection.Reason
	}
	if r.Status != command.Expired { // whose reason is made of times
		text += r.Reason
	}
	return strings.TrimSpace(text)
}

// history goes through the steps of one instance.
type history struct {
	*observer
	who     string
	steps   int
	sources map[string]int      // inputs taken, by source
	pending map[string]event.ID // timeouts, by name
	done    map[event.ID]bool   // inputs taken
}

func (h *history) step(r *process.Record) {
	h.steps++
	if h.done[r.Input.ID] {
		h.wrong = append(h.wrong, fmt.Sprintf("%s takes %s %s twice", h.who, r.Input.Type, r.Input.ID))
	}
	h.done[r.Input.ID] = !r.Deferred
	input, source := h.input(&r.Input)
	switch {
	case r.Deferred:
		input += ", deferred"
	case r.Resumed: // it has had its place in the source's order
		source = "what was deferred of " + source
	}
	h.sources[source]++
	place := fmt.Sprintf("input %d from %s", h.sources[source], source)
	if h.orderFree {
		place = fmt.Sprintf("input %d", h.steps)
	}
	if r.Ignored != "" {
		input += ", ignored: " + r.Ignored
	}
	h.line("%s, %s: %s", h.who, place, input)
	h.timers(r, input)
	for n, s := range r.Sent {
		h.sent[s.ID] = fmt.Sprintf("%s sends %s %s", h.who, s.Type, s.Data)
		got := "no outcome"
		for module, receipt := range h.receipts[s.ID] {
			if module != s.Module {
				h.wrong = append(h.wrong, fmt.Sprintf("%s: command %s to %s has a receipt of %s", h.who, s.Type, s.Module, module))
			}
			got = outcome(receipt.Outcome)
		}
		h.named(s.ID, "%s sends command %d on %s: %s %s to %s: %s", h.who, n+1, input, s.Type, s.Data, s.Module, got)
	}
	for _, key := range r.Once {
		h.line("%s does %q once", h.who, key)
	}
	if r.Completed {
		h.line("%s completes", h.who)
	}
}

// input tells what was taken, and from which source.
func (h *history) input(t *process.Taken) (text, source string) {
	switch t.Kind {
	case process.EventInput:
		return cmp.Or(h.events[t.ID], t.Type+" "+string(t.Data)), t.Module
	case process.TimeoutInput:
		return fmt.Sprintf("timeout %s %s", t.Name, t.Data), "its timeouts"
	case process.ClaimInput:
		return fmt.Sprintf("%v %s %s", t.Kind, t.Type, t.Data), "its claims"
	default:
		text := fmt.Sprintf("%v %s %s %s", t.Kind, t.Type, t.Data, t.Result)
		if t.Rejection != nil {
			text += t.Rejection.Code
		}
		return strings.TrimSpace(text), "its commands"
	}
}

// timers follows what is set, cancelled and fired: each timeout once, and none that was cancelled or replaced (G11).
func (h *history) timers(r *process.Record, input string) {
	if in := &r.Input; in.Kind == process.TimeoutInput {
		if h.pending[in.Name] != in.ID && r.Ignored == "" {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: timeout %s %s fires, and is not to come", h.who, in.Name, in.ID))
		}
		delete(h.pending, in.Name)
	}
	for _, name := range r.Cancelled {
		h.line("%s cancels %s on %s", h.who, name, input)
		delete(h.pending, name)
	}
	for _, t := range r.Set {
		h.named(t.ID, "%s sets %s %s on %s", h.who, t.Name, t.Data, input)
		h.pending[t.Name] = t.ID
	}
	if r.Completed {
		clear(h.pending)
	}
}

// Agree makes of two ends without a crash what every run must have: ids that differ between them are not determined, and
// forgotten; the others are compared from then on.
func (o *End) Agree(other *End) {
	o.settled = true
	maps.DeleteFunc(o.ids, func(line string, id event.ID) bool { return other.ids[line] != id })
}

// Differences tells in what another end differs from this one, and what is wrong with it by itself, a line for each;
// nothing if there is nothing.
func (o *End) Differences(other *End) string {
	var b strings.Builder
	count := map[string]int{}
	for _, line := range o.lines {
		count[line]++
	}
	var more []string
	for _, line := range other.lines {
		if count[line]--; count[line] < 0 {
			more = append(more, line)
		}
	}
	for _, line := range o.lines {
		if count[line] > 0 {
			count[line]--
			fmt.Fprintf(&b, "\tmissing   %s\n", line)
		}
	}
	for _, line := range more {
		fmt.Fprintf(&b, "\ttoo much  %s\n", line)
	}
	if o.settled {
		for _, line := range slices.Sorted(maps.Keys(o.ids)) {
			if id, there := other.ids[line]; there && id != o.ids[line] {
				fmt.Fprintf(&b, "\tother id  %s: %s, not %s\n", line, id, o.ids[line])
			}
		}
	}
	for _, problem := range other.wrong {
		fmt.Fprintf(&b, "\twrong     %s\n", problem)
	}
	return b.String()
}
