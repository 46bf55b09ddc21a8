package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func (p *program) processCommand() *cobra.Command {
	return p.group("process", "Look at processes, explain what their instances do, and decide on those that are held",
		"  ensue process ls orders.db\n  ensue process ls orders.db --held\n  ensue process explain orders.db order-process 4711\n  ensue process resume orders.db order-process --all",
		slices.Concat([]*cobra.Command{p.processList(), p.processShow(), p.processExplain()}, p.operators(), p.appProcessCommands())...)
}

// processView is a process as it is listed.
type processView struct {
	Process    string           `json:"process"`        // the name under which it is kept
	Name       string           `json:"name,omitempty"` // its name of today, where that is another
	Version    int              `json:"version"`
	Home       string           `json:"home"`
	Store      string           `json:"store"`
	Clock      string           `json:"clock"`
	Partitions int              `json:"partitions"`
	Inputs     []handledView    `json:"inputs"`
	Sources    []sourceView     `json:"sources"`
	Running    int64            `json:"running"`
	Completed  int64            `json:"completed"`
	Held       int              `json:"held"`
	Retrying   int              `json:"retrying"`
	Waiting    int              `json:"waiting"` // keys without an instance for which inputs were deferred
	Pending    int64            `json:"pendingCommands"`
	Timeouts   int64            `json:"timeouts"`
	Next       *time.Time       `json:"nextTimeout,omitempty"`
	Ignored    map[string]int64 `json:"ignored"` // inputs for which there was no instance, by rule
	Worker     *workerView      `json:"worker,omitempty"`
}

// handledView is an input that a definition handles.
type handledView struct {
	waitView
	Starts     bool   `json:"starts,omitempty"`
	NoInstance string `json:"noInstance,omitempty"`
}

// sourceView is how far a process has read a source.
type sourceView struct {
	Module   string            `json:"module"`
	Here     bool              `json:"here"` // its log is at this address
	Position eventlog.Position `json:"position"`
	Head     eventlog.Position `json:"head"`
	Behind   int               `json:"behind"`               // inputs that were not taken yet
	More     bool              `json:"behindMore,omitempty"` // there are even more
}

// workerView is who runs a process.
type workerView struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Epoch int64     `json:"epoch"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// behindMost is how many inputs behind are counted.
const behindMost = 1000

func (p *program) processList() *cobra.Command {
	var held, waiting bool
	var status string
	var limit int
	cmd := &cobra.Command{
		Use:   "ls ADDRESS [NAME]",
		Short: "List processes, or the instances of one",
		Long: `List the processes that are kept at the address, with how far each has come; with a NAME, its instances.

--held lists what stands aside after a failure, with the error; --waiting lists keys for which inputs wait until an
instance starts. Both list all processes, or the one of that NAME.`,
		Example: "  ensue process ls orders.db\n  ensue process ls orders.db order-process --status running\n  ensue process ls orders.db --held --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			address, rest, err := p.arguments(cmd, args, 0, 1)
			if err != nil {
				return err
			}
			var wanted process.Status
			if status != "" {
				if err := wanted.UnmarshalText([]byte(status)); err != nil || wanted == process.New {
					return usage(cmd, "--status takes running or completed, not %q", status)
				}
				if len(rest) == 0 || held || waiting {
					return usage(cmd, "--status chooses among the instances of one process; name it")
				}
			}
			o, err := p.open(cmd.Context(), address)
			if err != nil {
				return err
			}
			defer o.close()
			all, err := o.processes(cmd.Context())
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				k, err := o.process(cmd.Context(), rest[0])
				if err != nil {
					return err
				}
				all = []kept{k}
			}
			switch {
			case held || waiting:
				return p.listAside(cmd.Context(), all, held, waiting)
			case len(rest) > 0:
				return p.listInstances(cmd.Context(), all[0], wanted, limit)
			default:
				return p.listProcesses(cmd.Context(), o, all)
			}
		},
		ValidArgsFunction: p.completion(1),
	}
	cmd.Flags().BoolVar(&held, "held", false, "what stands aside after a failure: held, or to be tried again")
	cmd.Flags().BoolVar(&waiting, "waiting", false, "keys for which inputs wait until an instance starts")
	cmd.Flags().StringVar(&status, "status", "", "only instances that are running or completed")
	limitFlag(cmd, &limit, 50, "instances")
	if err := cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"running", "completed"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}

func (p *program) listProcesses(ctx context.Context, o *opened, all []kept) error {
	views := make([]processView, len(all))
	for i, k := range all {
		var err error
		if views[i], err = p.processView(ctx, o, k); err != nil {
			return err
		}
	}
	return showAll(p, views, func(v *processView) { p.showProcess(o, v) })
}

// showAll shows what there is of each process.
func showAll[V any](p *program, views []V, show func(*V)) error {
	if p.json {
		return p.document(views)
	}
	if len(views) == 0 {
		fmt.Fprintln(p.err, "there is no process yet; one is known here once the application has run")
		return nil
	}
	for i := range views {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		show(&views[i])
	}
	return nil
}

func (p *program) processView(ctx context.Context, o *opened, k kept) (processView, error) {
	v := processView{Process: k.Process, Name: k.Name, Version: k.Version, Home: k.Home, Store: k.Store, Clock: k.Clock, Partitions: k.Partitions, Inputs: []handledView{}, Sources: []sourceView{}}
	for _, in := range k.Inputs {
		h := handledView{waitView: waitView{Kind: in.Kind.String(), Name: in.Name, Module: in.Module}, Starts: in.Starts}
		if in.NoInstance != 0 {
			h.NoInstance = in.NoInstance.String()
		}
		v.Inputs = append(v.Inputs, h)
	}
	log := k.home.log
	g := meter{p: p}
	defer g.done()
	for s, err := range process.ListInstances(ctx, log, k.Process, "") {
		if err != nil {
			return v, err
		}
		if s.Status == process.Completed {
			v.Completed++
		} else {
			v.Running++
		}
		g.show("%s: %d instances", k.Process, v.Running+v.Completed)
	}
	for h, err := range process.Holdings(ctx, log, k.Process) {
		if err != nil {
			return v, err
		}
		switch h.Condition {
		case process.Held:
			v.Held++
		case process.Retrying:
			v.Retrying++
		case process.Skipped, process.Awaiting: // for nobody to look at
		default:
			if h.Queued == 0 { // what waited was decided by an operator
				continue
			}
			v.Waiting++
		}
	}
	for _, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Prefix: eventlog.Key(k.Process) + "/"}) {
		if err != nil {
			return v, err
		}
		v.Pending++
	}
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout, Prefix: eventlog.Key(k.Process) + "/", ByDue: true}) {
		if err != nil {
			return v, err
		}
		if v.Timeouts++; v.Timeouts == 1 {
			v.Next = &e.Due
		}
		g.show("%s: %d timeouts", k.Process, v.Timeouts)
	}
	var err error
	if v.Ignored, err = process.Ignored(ctx, log, k.Process); err != nil {
		return v, err
	}
	if v.Worker, err = p.worker(ctx, k); err != nil {
		return v, err
	}
	for _, name := range k.Sources {
		s, err := o.sourceView(ctx, k, name)
		if err != nil {
			return v, err
		}
		v.Sources = append(v.Sources, s)
	}
	return v, nil
}

// worker returns who runs the process now, if anybody does: of several, the one whose id comes first.
func (p *program) worker(ctx context.Context, k kept) (*workerView, error) {
	sharing, err := process.Workers(ctx, k.home.log, k.Process)
	if err != nil {
		return nil, err
	}
	for _, h := range sharing.Workers {
		if h.Until.After(p.now()) {
			return &workerView{PID: h.PID, Host: h.Host, Epoch: h.Epoch, Since: h.Since, Until: h.Until}, nil
		}
	}
	return nil, nil
}

// sourceView tells how far a process has read one of its sources. The cursor that stands highest counts: inputs are
// taken in the order of the log, and a partition that was given none keeps its cursor.
func (o *opened) sourceView(ctx context.Context, k kept, name string) (sourceView, error) {
	var position eventlog.Position
	for e, err := range k.home.log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Prefix: eventlog.Key(k.Process, name) + "/"}) {
		if err != nil {
			return sourceView{}, err
		}
		var c consumer.Cursor
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return sourceView{}, fmt.Errorf("cursor %q cannot be read; see ensue log verify %s: %w", e.Key, o.address, err)
		}
		position = max(position, c.Position)
	}
	return o.behind(ctx, k, name, position)
}

// behind tells what a source holds for a process above a position.
func (o *opened) behind(ctx context.Context, k kept, name string, position eventlog.Position) (sourceView, error) {
	v := sourceView{Module: name, Position: position}
	m, ok := o.module(name)
	if !ok {
		return v, nil
	}
	v.Here = true
	var err error
	if v.Head, err = m.log.Head(ctx); err != nil {
		return v, err
	}
	q := eventlog.Query{After: v.Position, Limit: behindMost + 1}
	for _, in := range k.Inputs {
		if in.Kind == process.EventInput && in.Module == name {
			q.Types = append(q.Types, in.Name)
		}
	}
	if len(q.Types) == 0 {
		return v, nil
	}
	for _, err := range m.log.Read(ctx, q) {
		if err != nil {
			return v, err
		}
		v.Behind++
	}
	if v.Behind > behindMost {
		v.Behind, v.More = behindMost, true
	}
	return v, nil
}

func (v *sourceView) String() string {
	switch {
	case !v.Here:
		return fmt.Sprintf("%s, not at this address, read up to %d", v.Module, v.Position)
	case v.More:
		return fmt.Sprintf("%s, more than %d inputs behind", v.Module, v.Behind)
	case v.Behind > 0:
		return fmt.Sprintf("%s, %s behind", v.Module, count(v.Behind, "input", "inputs"))
	default:
		return fmt.Sprintf("%s, up to date", v.Module)
	}
}

func (p *program) showProcess(o *opened, v *processView) {
	name, version := v.Process, ""
	if v.Name != "" {
		name = v.Name + ", kept as " + v.Process
	}
	if v.Version > 1 {
		version = fmt.Sprintf("version %d, ", v.Version)
	}
	fmt.Fprintf(p.out, "%s  %s\n", p.paint(bold, name),
		p.paint(dim, version+fmt.Sprintf("at home in %s, kept as %s, %s clock, %d partitions", v.Home, v.Store, v.Clock, v.Partitions)))
	facts := [][2]string{{"instances", fmt.Sprintf("%d running, %d completed", v.Running, v.Completed)}}
	if v.Held+v.Retrying > 0 {
		facts = append(facts, [2]string{"aside", p.paint(red, fmt.Sprintf("%d held, %d to be tried again", v.Held, v.Retrying)) + "; see ensue process ls " + o.address + " --held"})
	}
	if v.Waiting > 0 {
		facts = append(facts, [2]string{"waiting", fmt.Sprintf("inputs for %s without an instance; see ensue process ls %s --waiting", count(v.Waiting, "key", "keys"), o.address)})
	}
	if v.Pending > 0 {
		facts = append(facts, [2]string{"commands", fmt.Sprintf("%d without an outcome", v.Pending)})
	}
	if v.Next != nil {
		facts = append(facts, [2]string{"timeouts", fmt.Sprintf("%d to come, the next %s", v.Timeouts, p.until(*v.Next))})
	}
	for i := range v.Sources {
		name := ""
		if i == 0 {
			name = "reads"
		}
		facts = append(facts, [2]string{name, v.Sources[i].String()})
	}
	for i, rule := range sortedNames(v.Ignored) {
		name := ""
		if i == 0 {
			name = "ignored"
		}
		facts = append(facts, [2]string{name, fmt.Sprintf("%d, %s", v.Ignored[rule], clean(rule))})
	}
	worker := "nobody runs it now"
	if w := v.Worker; w != nil {
		worker = fmt.Sprintf("process %d on %s, since %s", w.PID, clean(w.Host), at(w.Since))
	}
	p.facts(append(facts, [2]string{"worker", worker}))
}

// asideView is an instance that stands aside, or a key that inputs wait for.
type asideView struct {
	Process     string     `json:"process"`
	Instance    string     `json:"instance"`
	Condition   string     `json:"condition"`
	Since       time.Time  `json:"since"`
	Attempts    int        `json:"attempts,omitempty"`
	Queued      int        `json:"queued"`
	Input       string     `json:"input,omitempty"`
	Command     event.ID   `json:"command,omitzero"` // that it stands aside for: it has no outcome
	Error       string     `json:"error,omitempty"`
	Fingerprint string     `json:"fingerprint,omitempty"` // of the error: the same for all that failed alike
	Reason      string     `json:"reason,omitempty"`      // why an operator held it
	By          string     `json:"by,omitempty"`
	Stack       string     `json:"stack,omitempty"`
	RetryAt     *time.Time `json:"retryAt,omitempty"`
}

func asideOf(name string, h *process.Holding) asideView {
	v := asideView{Process: name, Instance: h.Instance, Condition: string(h.Condition), Since: h.Since, Attempts: h.Attempts, Queued: h.Queued,
		Input: h.Input, Command: h.Command, Error: h.Error, Fingerprint: h.Fingerprint, Reason: h.Reason, By: h.By, Stack: h.Stack}
	if !h.RetryAt.IsZero() {
		v.RetryAt = &h.RetryAt
	}
	return v
}

// reason returns the error without what is said beside it anyway.
func (v *asideView) reason() string {
	said := fmt.Sprintf("process %q, instance %q, %s: ", v.Process, v.Instance, v.Input)
	return strings.TrimPrefix(v.Error, said)
}

func (p *program) listAside(ctx context.Context, all []kept, held, waiting bool) error {
	list := []asideView{}
	for _, k := range all {
		for h, err := range process.Holdings(ctx, k.home.log, k.Process) {
			if err != nil {
				return err
			}
			if h.Condition == process.Waiting && h.Queued > 0 && waiting || (h.Condition == process.Held || h.Condition == process.Retrying) && held {
				list = append(list, asideOf(k.Process, &h))
			}
		}
	}
	if p.json {
		return p.document(list)
	}
	if len(list) == 0 {
		what := "nothing is held, and nothing is to be tried again"
		if waiting && !held {
			what = "no inputs wait for an instance"
		}
		fmt.Fprintln(p.err, what)
		return nil
	}
	t := p.table(left("PROCESS"), left("INSTANCE"), left("CONDITION"), left("SINCE"), right("QUEUED"), left("ALIKE"), left("ERROR"))
	for i := range list {
		v := &list[i]
		condition := red.of("%s", v.Condition)
		why := firstLine(v.reason())
		if v.Error == "" && v.Reason != "" {
			why = fmt.Sprintf("by %s: %s", v.By, v.Reason)
		}
		switch {
		case v.Condition == string(process.Waiting):
			condition.style = normal
			if v.RetryAt != nil {
				why = "until " + p.until(*v.RetryAt)
			}
		case v.RetryAt != nil:
			condition.style = yellow
			why = fmt.Sprintf("attempt %d %s: %s", v.Attempts+1, p.until(*v.RetryAt), why)
		}
		t.row(text("%s", v.Process), text("%s", shorten(v.Instance, 60)), condition, dim.of("%s", at(v.Since)), number(v.Queued), dim.of("%s", v.Fingerprint), text("%s", cut(why, 160)))
	}
	t.end()
	return nil
}

// instanceView is an instance as it is listed.
type instanceView struct {
	Instance  string         `json:"instance"`
	Status    process.Status `json:"status"`
	Condition string         `json:"condition,omitempty"`
	Steps     int            `json:"steps"`
	Started   time.Time      `json:"started"`
	Changed   time.Time      `json:"changed"`
	Timeouts  int            `json:"timeouts"`
}

func (p *program) listInstances(ctx context.Context, k kept, wanted process.Status, limit int) error {
	home, err := process.OpenHome(ctx, k.home.log, k.Process)
	if err != nil {
		return err
	}
	conditions := map[string]string{}
	for h, err := range process.Holdings(ctx, k.home.log, k.Process) {
		if err != nil {
			return err
		}
		conditions[h.Instance] = string(h.Condition)
	}
	list, more := []instanceView{}, false
	g := meter{p: p}
	defer g.done()
	for s, err := range process.ListInstances(ctx, k.home.log, k.Process, "") {
		if err != nil {
			return err
		}
		if wanted != process.New && s.Status != wanted {
			continue
		}
		if limit > 0 && len(list) == limit {
			more = true
			break
		}
		v := instanceView{Instance: s.Key, Status: s.Status, Steps: s.Steps, Started: s.Started, Changed: s.Changed, Condition: conditions[s.Key]}
		if s.Status == process.Running { // what the list says of it may be from its start
			i, err := process.Look(ctx, home, s.Key)
			if err != nil && !errors.Is(err, process.ErrNoInstance) {
				return err
			}
			if err == nil {
				v.Status, v.Steps, v.Changed, v.Timeouts = i.Status, i.Steps, i.Changed, len(i.Timers)
			}
		}
		list = append(list, v)
		g.show("%d instances", len(list))
	}
	g.done()
	if p.json {
		return p.document(list)
	}
	if len(list) == 0 {
		fmt.Fprintf(p.err, "process %s has no such instance\n", k.Process)
		return nil
	}
	t := p.table(left("INSTANCE"), left("STATUS"), right("INPUTS"), left("STARTED"), left("LAST INPUT"), left(""))
	for _, v := range list {
		status := green.of("%v", v.Status)
		if v.Status == process.Completed {
			status.style = dim
		}
		note := text("%s", "")
		switch {
		case v.Condition != "":
			note = red.of("%s", v.Condition)
		case v.Timeouts > 0:
			note = dim.of("%s", count(v.Timeouts, "timeout to come", "timeouts to come"))
		}
		t.row(text("%s", shorten(v.Instance, 80)), status, number(v.Steps), dim.of("%s", at(v.Started)), dim.of("%s", at(v.Changed)), note)
	}
	t.end()
	if more {
		fmt.Fprintln(p.err, "there are more; see them with --limit 0")
	}
	return nil
}

// noInstance says that there is no such instance, and which there are that look like it.
func (p *program) noInstance(ctx context.Context, o *opened, k kept, key string) error {
	prefix := key
	for {
		similar, err := k.instances(ctx, prefix, 5)
		if err != nil {
			return err
		}
		if len(similar) > 0 {
			return fmt.Errorf("process %s has no instance %q; it has %s, see ensue process ls %s %s", k.Process, key, enumerate(similar), o.address, k.Process)
		}
		if prefix == "" {
			return fmt.Errorf("process %s has no instance %q, nor any other yet", k.Process, key)
		}
		runes := []rune(prefix)
		prefix = string(runes[:len(runes)-1])
	}
}
