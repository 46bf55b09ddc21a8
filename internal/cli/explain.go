package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/process"
)

func (p *program) processExplain() *cobra.Command {
	var last int
	cmd := &cobra.Command{
		Use:   "explain ADDRESS NAME INSTANCE",
		Short: "Say what an instance waits for, what it did, and what happens next",
		Long: `Say what an instance waits for and since when, what it sent and with which outcome, why it stands aside if it does,
what each input would do that can come next, and what happens next and when.

What inputs would do is what the definition declares for the phase that the instance is in; the log keeps that. A binary
of the application's own, which has the definition, also says what changes the state and what may be sent.`,
		Example: "  ensue process explain orders.db order-process 4711\n  ensue process explain orders.db order-process 4711 --json",
		RunE: p.reads(2, 2, func(cmd *cobra.Command, o *opened, rest []string) error {
			i, err := p.find(cmd.Context(), o, rest[0], rest[1])
			if err != nil {
				return err
			}
			d, err := p.defined(cmd.Context(), o.given, i, rest[0], rest[1])
			if err != nil {
				return err
			}
			v, err := p.explain(cmd.Context(), o, i, d, rest[1], last)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(v)
			}
			p.showExplained(v)
			return nil
		}),
		ValidArgsFunction: p.completion(2),
	}
	cmd.Flags().IntVar(&last, "last", 5, "so many of the last inputs")
	return cmd
}

// explainView is what there is to say of an instance.
type explainView struct {
	Process  string               `json:"process"`
	Instance string               `json:"instance"`
	Status   process.Status       `json:"status"`
	Ending   process.Ending       `json:"ending,omitempty"` // of one that is completed
	Phase    process.Phase        `json:"phase,omitempty"`  // of a process that declares phases
	Since    *time.Time           `json:"since,omitempty"`  // when it took its last input
	Started  *time.Time           `json:"started,omitempty"`
	Inputs   int                  `json:"inputs"`
	State    json.RawMessage      `json:"state,omitempty"` // where the program has the definition
	WaitsFor []waitView           `json:"waitsFor"`
	Timeouts []timeoutView        `json:"timeouts"`
	Commands []commandView        `json:"commands"`
	Aside    *asideView           `json:"aside,omitempty"`
	Queue    []inputView          `json:"queue"`
	Deferred []deferredView       `json:"deferred"`
	Claims   []process.ClaimedKey `json:"claims,omitempty"`
	Last     []stepView           `json:"last"`
	Possible []possibleView       `json:"possible"` // what each input would do that can come next
	Next     []nextView           `json:"next"`

	Compensating bool `json:"compensating,omitempty"`
	ByVersion    int  `json:"byVersion,omitempty"` // Possible is what this version declares, and another one decided on the instance last
}

// deferredView is an input that an instance keeps for a later phase.
type deferredView struct {
	inputView
	Until *time.Time `json:"until,omitempty"` // when it has waited for too long
}

// waitView is an input that an instance would take.
type waitView struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Module string `json:"module,omitempty"`
}

// nextView is what happens next.
type nextView struct {
	What string     `json:"what"`
	At   *time.Time `json:"at,omitempty"`
}

func (p *program) explain(ctx context.Context, o *opened, i *known, d *defined, key string, last int) (*explainView, error) {
	v := &explainView{Process: i.process.Process, Instance: key, Timeouts: []timeoutView{}, Commands: orEmpty(i.commands),
		Queue: []inputView{}, Deferred: []deferredView{}, Last: []stepView{}, Next: []nextView{}}
	if n := i.instance; n != nil {
		v.Status, v.Ending, v.Since, v.Started, v.Inputs, v.Claims = n.Status, n.Ending, &n.Changed, &n.Started, n.Steps, n.Claims
		v.Compensating = n.Compensating && n.Status == process.Running
		if n.Status == process.Running && !v.Compensating {
			v.Phase = n.Phase
		}
		for k := range n.Deferred {
			v.Deferred = append(v.Deferred, deferredView{inputOf(&n.Deferred[k]), n.DeferredUntil(&n.Deferred[k])})
		}
		if d == nil && n.Version != i.process.Version {
			v.ByVersion = i.process.Version
		}
		for _, t := range n.Timers {
			v.Timeouts = append(v.Timeouts, timeoutOf(t))
		}
		slices.SortStableFunc(v.Timeouts, func(a, b timeoutView) int { return a.Due.Compare(b.Due) })
	}
	if i.hold != nil {
		aside := asideOf(v.Process, i.hold)
		v.Aside = &aside
	}
	for n := range i.queue {
		v.Queue = append(v.Queue, inputOf(&i.queue[n]))
	}
	for n := max(0, len(i.steps)-max(0, last)); n < len(i.steps); n++ {
		v.Last = append(v.Last, i.step(&i.steps[n]))
	}
	if d != nil {
		v.State = d.state
	}
	v.Possible = i.possible(d, v.Status)
	if v.WaitsFor = []waitView{}; v.Status != process.Completed {
		v.WaitsFor = waitsFor(v.Possible)
	}
	worker, err := p.worker(ctx, i.process)
	if err != nil {
		return nil, err
	}
	behind := false
	for _, name := range i.process.Sources {
		s, err := o.sourceView(ctx, i.process, name)
		if err != nil {
			return nil, err
		}
		behind = behind || s.Behind > 0
	}
	v.Next = p.next(v, worker != nil, behind)
	return v, nil
}

// next says what happens next, as far as it can be told.
func (p *program) next(v *explainView, worked, behind bool) []nextView {
	next := []nextView{}
	say := func(at *time.Time, format string, args ...any) {
		next = append(next, nextView{What: fmt.Sprintf(format, args...), At: at})
	}
	dispatches := v.Aside == nil || v.Aside.Command.IsZero() || v.Aside.Condition != string(process.Held)
	for n := range v.Commands {
		switch c := &v.Commands[n]; {
		case c.Status == "pending" && !dispatches:
			say(nil, "command %d, %s, is taken to module %s when the instance is released", c.Number, c.Type, c.Module)
		case c.Status == "pending":
			say(nil, "command %d, %s, is taken to module %s until it has an outcome", c.Number, c.Type, c.Module)
		case c.Status == "lost":
			say(nil, "command %d, %s, neither waits to be dispatched nor has a receipt: verify the log", c.Number, c.Type)
		}
	}
	aside := v.Aside != nil && v.Aside.Condition != string(process.Waiting)
	switch {
	case aside && v.Aside.RetryAt != nil:
		say(v.Aside.RetryAt, "the input that failed is tried again, for the %d. time; those behind it follow in order", v.Aside.Attempts+1)
	case aside && v.Aside.Condition == string(process.Awaiting):
		say(nil, "by the replay clock a command of it is waited for; what queues follows its outcome, in order")
	case aside && !dispatches:
		say(nil, "nothing happens by itself: its commands wait, and its inputs queue, until it is released")
	case aside && v.Aside.Error == "":
		say(nil, "nothing happens by itself: its inputs queue until somebody decides: ensue process resume or cancel")
	case aside:
		say(nil, "nothing happens by itself: its inputs queue until somebody decides: ensue process resume, skip, replace or cancel")
	case v.Status == process.Completed && slices.ContainsFunc(v.Possible, func(x possibleView) bool { return x.Policy == process.Hold }):
		say(nil, "nothing more by itself: it is completed, and stays so; what comes late holds it, or is recorded as ignored, as said above")
	case v.Status == process.Completed:
		say(nil, "nothing more: it is completed, and what comes late is recorded as ignored")
	case v.Aside != nil && v.Aside.Queued == 0:
		say(nil, "an input that starts the instance comes")
	case v.Aside != nil:
		say(nil, "an input that starts the instance comes; what waits follows it, in order")
		if v.Aside.RetryAt != nil {
			say(v.Aside.RetryAt, "what waits has waited for too long; the definition says what becomes of it")
		}
	}
	if !aside {
		for n := range v.Timeouts {
			t := &v.Timeouts[n]
			if n == 0 || !t.Due.After(p.now()) {
				say(&t.Due, "timeout %s fires, unless an input that comes before cancels it", t.Name)
			}
		}
		if v.Status == process.Running && len(v.Timeouts) == 0 && len(next) == 0 {
			say(nil, "it takes the next input that concerns it; no timeout is set, so until then nothing happens")
		}
	}
	if behind && v.Status != process.Completed {
		say(nil, "the process has inputs in its sources that it has not taken yet; some may be for this instance")
	}
	if !worked && (v.Status != process.Completed || len(next) > 1) {
		say(nil, "nobody runs the process now: all this waits for the application to be started")
	}
	return next
}

func (p *program) showExplained(v *explainView) {
	fmt.Fprint(p.out, p.paint(bold, clean(v.Process+"/"+v.Instance)))
	switch {
	case v.Status == process.New && v.Aside != nil && v.Aside.Condition != string(process.Waiting):
		fmt.Fprintf(p.out, " has not started: its first input failed\n")
	case v.Status == process.New && v.Aside.Queued == 0:
		fmt.Fprintf(p.out, " has not started, and nothing waits for it\n")
	case v.Status == process.New:
		fmt.Fprintf(p.out, " has not started; %s for it since %s\n", count(v.Aside.Queued, "input waits", "inputs wait"), p.since(v.Aside.Since))
	case v.Status == process.Completed:
		ending := ""
		if v.Ending != process.Ended {
			ending = ": " + string(v.Ending)
		}
		fmt.Fprintf(p.out, " is completed%s, since %s, with %s\n", ending, p.since(*v.Since), count(v.Inputs, "input", "inputs"))
	default:
		doing := "is running"
		switch {
		case v.Compensating:
			doing = "is compensating"
		case v.Phase != "":
			doing += " in phase " + clean(string(v.Phase))
		}
		fmt.Fprintf(p.out, " %s, %s so far, the last %s\n", doing, count(v.Inputs, "input", "inputs"), p.since(*v.Since))
	}
	if len(v.State) > 0 {
		fmt.Fprintf(p.out, "\n%s  %s\n", p.paint(bold, "State"), clean(string(v.State)))
	}
	switch a := v.Aside; {
	case a == nil:
	case a.Error == "" && a.Reason != "":
		fmt.Fprintf(p.out, "\n%s since %s\n  by     %s: %s\n", p.paint(red, "Stands aside, "+a.Condition+","), p.since(a.Since), clean(a.By), clean(a.Reason))
	case a.Error != "":
		fmt.Fprintf(p.out, "\n%s since %s, after %s\n", p.paint(red, "Stands aside, "+a.Condition+","), p.since(a.Since), count(a.Attempts, "attempt", "attempts"))
		fmt.Fprintf(p.out, "  at     %s\n  error  %s\n", clean(a.Input), p.paint(red, clean(firstLine(a.reason()))))
	}
	if len(v.Queue) > 0 {
		p.heading("Inputs that queue", v.Aside.Queued > len(v.Queue), fmt.Sprintf("the first %d of %d", len(v.Queue), v.Aside.Queued))
		for n := range v.Queue {
			fmt.Fprintf(p.out, "  %s  %s\n", p.paint(dim, at(v.Queue[n].Time)), clean(v.Queue[n].String()))
		}
	}
	if len(v.Deferred) > 0 {
		p.heading("Deferred, for a later phase", false, "")
		for n := range v.Deferred {
			until := ""
			if at := v.Deferred[n].Until; at != nil {
				until = ", until " + p.until(*at)
			}
			fmt.Fprintf(p.out, "  %s  %s%s\n", p.paint(dim, at(v.Deferred[n].Time)), clean(v.Deferred[n].String()), until)
		}
	}
	if len(v.WaitsFor)+len(v.Timeouts) > 0 {
		p.heading("Waits for", false, "")
		t := p.table(left(""), left(""), left(""))
		t.headed, t.indent = true, "  "
		for _, w := range v.WaitsFor {
			t.row(text("%s", w.Kind), cyan.of("%s", w.Name), dim.of("of %s", w.Module))
		}
		for _, w := range v.Timeouts {
			t.row(text("timeout"), cyan.of("%s", w.Name), text("%s", p.until(w.Due)))
		}
		t.end()
	}
	if len(v.Claims) > 0 {
		p.heading("Has claimed", false, "")
		for _, k := range v.Claims {
			fmt.Fprintf(p.out, "  %s\n", clean(k.String()))
		}
	}
	if len(v.Commands) > 0 {
		p.heading("Commands", false, "")
		t := p.table(right(""), left(""), left(""), left(""), left(""), left(""))
		t.headed, t.indent = true, "  "
		for n := range v.Commands {
			c := &v.Commands[n]
			t.row(number(c.Number), cyan.of("%s", c.Type), dim.of("to %s", c.Module), dim.of("%s", at(c.Sent)), c.paint(), text("%s", c.why()))
		}
		t.end()
	}
	if len(v.Last) > 0 {
		p.heading("Last inputs", len(v.Last) < v.Inputs, fmt.Sprintf("%d of %d", len(v.Last), v.Inputs))
		for n := range v.Last {
			s := &v.Last[n]
			fmt.Fprintf(p.out, "  %s  %s\n", p.paint(dim, at(s.Input.Time)), p.paint(cyan, clean(s.Input.String())))
			for c := range s.Sent {
				s.Sent[c].Status, s.Sent[c].Rejection, s.Sent[c].Reason = "", nil, "" // said above
			}
			for _, e := range s.effects() {
				fmt.Fprintf(p.out, "    → %s\n", clean(e))
			}
		}
	}
	newer := ""
	if v.ByVersion > 0 {
		newer = fmt.Sprintf("as version %d declares it; another version decided on the instance last, and may decide here: ask the application's own binary", v.ByVersion)
	}
	p.showPossible(v, newer)
	p.heading("Next", false, "")
	for _, n := range v.Next {
		if n.At != nil {
			fmt.Fprintf(p.out, "  %s: %s\n", p.until(*n.At), clean(n.What))
		} else {
			fmt.Fprintf(p.out, "  %s\n", clean(n.What))
		}
	}
}

func (p *program) heading(name string, more bool, note string) {
	if more {
		fmt.Fprintf(p.out, "\n%s %s\n", p.paint(bold, name), p.paint(dim, "("+note+")"))
	} else {
		fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, name))
	}
}

// paint returns the command's status.
func (v *commandView) paint() cell {
	look := map[string]style{"accepted": green, "rejected": yellow, "pending": cyan}[v.Status]
	if look == normal {
		look = red
	}
	return look.of("%s", v.Status)
}

// why says more of a command's outcome.
func (v *commandView) why() string {
	switch {
	case v.Rejection != nil && v.Rejection.Reason != "":
		return v.Rejection.Code + ": " + v.Rejection.Reason
	case v.Rejection != nil:
		return v.Rejection.Code
	case v.Reason != "":
		return v.Reason
	case v.Result != nil:
		return cut(v.Result.String(), 80)
	default:
		return ""
	}
}
