package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/process"
)

// defined is what only a program that has the definition knows of an instance.
type defined struct {
	state    json.RawMessage
	possible []process.Prospect
}

// defined asks the definition about an instance; nil where the program has it not, or cannot read the instance.
func (p *program) defined(ctx context.Context, address string, i *known, name, key string) (_ *defined, err error) {
	if p.app == nil {
		return nil, nil
	}
	app, err := p.app.Open(ctx, address, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	engine := app.Process(name)
	if engine == nil {
		return nil, nil
	}
	n, err := engine.Instance(ctx, key)
	var unreadable *process.StepError
	switch {
	case errors.Is(err, process.ErrNoInstance):
		n = engine.Home().NewInstance(key)
		return &defined{possible: engine.Prospects(n, i.hold, i.open)}, nil
	case errors.As(err, &unreadable):
		return nil, nil
	case err != nil:
		return nil, err
	}
	d := &defined{possible: engine.Prospects(n, i.hold, i.open)}
	d.state, err = json.Marshal(n.State)
	return d, err
}

// possibleView is an input that may come next, and what it would do.
type possibleView struct {
	process.Prospect
	Kind string `json:"kind"` // in words
	Says string `json:"says"` // what it would do, for people
}

// possible returns the inputs that may come next, by the definition or, where the program has it not, by what is kept of it.
func (i *known) possible(d *defined, status process.Status) []possibleView {
	var all []process.Prospect
	if d != nil {
		all = d.possible
	} else if n := i.instance; n != nil {
		all = i.process.Prospects(n, i.hold, i.open)
	} else {
		all = i.process.Prospects(&process.Instance{}, i.hold, i.open)
	}
	views := []possibleView{}
	for _, x := range all {
		v := possibleView{Prospect: x, Kind: x.Kind.String()}
		if c := i.command(x.Number); c != nil && c.Handled != nil { // it has its outcome, which was not taken yet
			if outcome := map[string]process.Kind{"accepted": process.AcceptedInput, "rejected": process.RejectedInput}[c.Status]; outcome != x.Kind && (outcome != 0 || x.Kind != process.FailedInput) {
				continue
			}
		}
		v.Says = i.says(&x, status)
		views = append(views, v)
	}
	return views
}

// says writes what an input would do.
func (i *known) says(x *process.Prospect, status process.Status) string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch {
	case x.Starts && i.hold != nil && i.hold.Queued > 0 && !x.Queues:
		say("starts the instance; %s it", count(i.hold.Queued, "input that waits follows", "inputs that wait follow"))
	case x.Starts:
		say("starts the instance")
	case x.Policy == process.Handle && x.Handling == nil && x.Why == "":
		say("the definition decides what ensues")
	case x.Policy == process.Ignore && status == process.New:
		say("counted, and never applied")
	case x.Policy == process.Ignore && x.Kind == process.EventInput:
		say("recorded, and never applied")
	case x.Policy == process.Defer:
		say("%s", deferral(x, status))
	case x.Policy == process.Hold && x.Why == "":
		say("holds the instance, for an operator to decide")
	case x.Policy == 0 && x.Why == "":
		say("the log does not say; run the application once, or ask its own binary")
	}
	if x.Why != "" {
		say("%s", x.Why)
	}
	if h := x.Handling; h != nil {
		switch {
		case h.Evolves && h.Decides:
			say("changes the state, and decides")
		case h.Evolves:
			say("changes the state; nothing else ensues")
		case h.Decides:
			say("decides; the state stays")
		}
		if h.MaySend != nil {
			say("may send %s", strings.Join(h.MaySend, ", "))
		}
	}
	return strings.Join(words, "; ")
}

// deferral writes for how long an input is kept, and what is kept already.
func deferral(x *process.Prospect, status process.Status) string {
	until := "kept until a phase comes in which it is handled or ignored"
	if status == process.New {
		until = "kept until the instance starts"
	}
	if b := x.Bounds; b != nil {
		then := map[process.Policy]string{process.Hold: "held", process.Ignore: "ignored"}[b.Then]
		return fmt.Sprintf("%s: at most %s and %d inputs, %d by now; what is more is %s", until, span(b.Within), b.Most, x.Deferred, then)
	}
	return until
}

// waitsFor returns the inputs that would be taken if they came; of those of which nothing is known, all that may come.
func waitsFor(possible []possibleView) []waitView {
	list := []waitView{}
	for n := range possible {
		x := &possible[n]
		w := waitView{Kind: x.Kind, Name: x.Name, Module: x.Module}
		if x.Prospect.Kind != process.TimeoutInput && (x.Policy == process.Handle || x.Policy == 0) && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// showPossible writes the inputs that may come next.
func (p *program) showPossible(v *explainView, newer string) {
	if len(v.Possible) == 0 {
		return
	}
	where := ""
	switch {
	case v.Phase != "":
		where = "in phase " + string(v.Phase)
	case v.Compensating:
		where = "while it compensates"
	case v.Status == process.New:
		where = "before it starts"
	case v.Status == process.Completed:
		where = "now that it is completed"
	}
	p.heading("Possible next inputs", where != "", where)
	if newer != "" {
		fmt.Fprintf(p.out, "  %s\n", newer)
	}
	if v.Possible[0].Queues {
		fmt.Fprintf(p.out, "  it stands aside: whatever comes queues behind %s; this is what it meets if the phase is still the same then\n",
			count(v.Aside.Queued, "input", "inputs"))
	}
	t := p.table(left(""), left(""), left(""), left(""), left(""))
	t.headed, t.indent = true, "  "
	for n := range v.Possible {
		x := &v.Possible[n]
		where := "of " + x.Module
		switch {
		case x.Prospect.Kind == process.TimeoutInput:
			where = p.until(x.Due)
		case x.Number > 0:
			where = fmt.Sprintf("command %d, by %s", x.Number, x.Module)
		case x.Claim != "":
			where += ", by its " + x.Claim
		}
		t.row(text("%s", x.Kind), cyan.of("%s", x.Name), dim.of("%s", where), would(x.Policy), text("%s", x.Says))
	}
	t.end()
}

// would names what becomes of an input.
func would(policy process.Policy) cell {
	look := map[process.Policy]style{process.Handle: green, process.Defer: yellow, process.Hold: red}[policy]
	if policy == 0 {
		return dim.of("unknown")
	}
	return look.of("%v", policy)
}
