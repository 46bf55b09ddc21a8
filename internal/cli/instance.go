package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/process"
)

// known is all that is known of an instance.
type known struct {
	process  kept
	home     process.Home
	instance *process.Instance // nil where there is none yet, and inputs wait for it
	steps    []process.RecordedStep
	history  bool           // steps are all there were; a document has none
	commands []commandView  // with their outcomes; of a document, those that are pending
	open     []process.Sent // commands without an outcome that was taken
	hold     *process.Holding
	queue    []process.Taken
}

// find reads all that is known of an instance.
func (p *program) find(ctx context.Context, o *opened, name, key string) (*known, error) {
	k, err := o.process(ctx, name)
	if err != nil {
		return nil, err
	}
	name = k.Process // it may have been renamed
	i := &known{process: k, history: k.Store == "streams"}
	if i.home, err = process.OpenHome(ctx, k.home.log, name); err != nil {
		return nil, err
	}
	for h, err := range process.Holdings(ctx, k.home.log, name) {
		if err != nil {
			return nil, err
		}
		if h.Instance == key {
			i.hold = &h
		}
	}
	if i.hold != nil {
		if i.queue, err = process.Queue(ctx, k.home.log, name, key, 20); err != nil {
			return nil, err
		}
	}
	i.instance, err = process.Look(ctx, i.home, key)
	switch {
	case errors.Is(err, process.ErrNoInstance) && i.hold == nil:
		return nil, p.noInstance(ctx, o, k, key)
	case errors.Is(err, process.ErrNoInstance):
		return i, nil
	case err != nil:
		return nil, err
	}
	if i.history {
		for s, err := range process.History(ctx, i.home, key) {
			if err != nil {
				return nil, err
			}
			i.steps = append(i.steps, s)
		}
	}
	return i, i.readCommands(ctx, o, key)
}

// readCommands reads what became of the instance's commands: first which are pending, then the receipts, so that one
// that gets its outcome meanwhile is in one of them.
func (i *known) readCommands(ctx context.Context, o *opened, key string) error {
	waiting, err := process.PendingCommands(ctx, i.process.home.log, i.process.Process, key)
	if err != nil {
		return err
	}
	i.open = waiting
	pending := map[command.ID]bool{}
	for n := range waiting {
		pending[waiting[n].ID] = true
		if !i.history {
			i.commands = append(i.commands, commandOf(&waiting[n]))
		}
	}
	for n := range i.steps {
		for s := range i.steps[n].Sent {
			i.commands = append(i.commands, commandOf(&i.steps[n].Sent[s]))
		}
	}
	asked := map[string][]command.ID{}
	for _, c := range i.commands {
		asked[c.Module] = append(asked[c.Module], c.ID)
	}
	receipts := map[command.ID]command.Receipt{}
	for name, ids := range asked {
		m, ok := o.module(name)
		if !ok {
			continue
		}
		for r, err := range command.Receipts(ctx, m.log, ids...) {
			if err != nil {
				return fmt.Errorf("module %q: %w; see ensue log verify %s", name, err, o.address)
			}
			receipts[r.ID] = r
		}
	}
	for n := range i.commands {
		c := &i.commands[n]
		_, here := o.module(c.Module)
		r, answered := receipts[c.ID]
		switch {
		case answered:
			c.Status, c.Handled, c.Rejection, c.Reason = string(r.Status), &r.Handled, r.Rejection, r.Reason
			if r.Status == command.Accepted && len(r.Result) > 0 && string(r.Result) != "{}" {
				result := payloadOf(r.Result)
				c.Result = &result
			}
		case pending[c.ID]:
			c.Status = "pending"
		case here:
			c.Status = "lost"
		default:
			c.Status = "unknown"
		}
	}
	return nil
}

// command returns what is known of one of the instance's commands.
func (i *known) command(number int) *commandView {
	for n := range i.commands {
		if i.commands[n].Number == number {
			return &i.commands[n]
		}
	}
	return nil
}

// step returns a step with the outcomes of its commands.
func (i *known) step(s *process.RecordedStep) stepView {
	v := stepOf(&s.Record)
	v.Linked = false // the input is filled in
	for n := range v.Sent {
		if c := i.command(v.Sent[n].Number); c != nil {
			v.Sent[n] = *c
		}
	}
	return v
}

// historyView is an instance with its history, as process show writes it.
type historyView struct {
	Process  string          `json:"process"`
	Instance string          `json:"instance"`
	Module   string          `json:"module"`
	Stream   string          `json:"stream"`
	Status   process.Status  `json:"status"`
	Started  time.Time       `json:"started"`
	Changed  time.Time       `json:"changed"`
	Inputs   int             `json:"inputs"`
	Steps    []stepView      `json:"steps"`
	State    json.RawMessage `json:"state,omitempty"` // kept as a document, which has no history
	Commands []commandView   `json:"pending,omitempty"`
	Timeouts []timeoutView   `json:"timeouts"`
}

func (p *program) processShow() *cobra.Command {
	var brief bool
	cmd := &cobra.Command{
		Use:   "show ADDRESS NAME INSTANCE",
		Short: "Show the history of an instance",
		Long: `Show the history of an instance: each input that it took, and what it decided on it, with the outcome of each command.

Instances that are kept as documents have no history; of these it shows the state.`,
		Example: "  ensue process show orders.db order-process 4711\n  ensue process show orders.db order-process 4711 --brief\n  ensue process show orders.db order-process 4711 --json",
		RunE: p.reads(2, 2, func(cmd *cobra.Command, o *opened, rest []string) error {
			i, err := p.find(cmd.Context(), o, rest[0], rest[1])
			if err != nil {
				return err
			}
			if i.instance == nil {
				return fmt.Errorf("instance %q of process %s has not started; see ensue process explain %s %s %s", rest[1], rest[0], o.address, rest[0], rest[1])
			}
			return p.showHistory(i, brief)
		}),
		ValidArgsFunction: p.completion(2),
	}
	cmd.Flags().BoolVar(&brief, "brief", false, "without payloads")
	return cmd
}

func (p *program) showHistory(i *known, brief bool) error {
	n := i.instance
	v := historyView{Process: n.Process, Instance: n.Key, Module: i.process.Home, Stream: i.home.Stream(n.Key), Status: n.Status, Started: n.Started,
		Changed: n.Changed, Inputs: n.Steps, Steps: []stepView{}, Timeouts: []timeoutView{}}
	for _, t := range n.Timers {
		v.Timeouts = append(v.Timeouts, timeoutOf(t))
	}
	for s := range i.steps {
		v.Steps = append(v.Steps, i.step(&i.steps[s]))
	}
	if state, ok := n.State.(json.RawMessage); ok {
		v.State, v.Commands = state, i.commands
	}
	if p.json {
		return p.document(v)
	}
	fmt.Fprintf(p.out, "%s  %s\n", p.paint(bold, clean(v.Stream)), p.paint(dim, fmt.Sprintf("%v, %s, started %s", v.Status, count(v.Inputs, "input", "inputs"), at(v.Started))))
	if v.State != nil {
		fmt.Fprintf(p.out, "\n%s\n", p.paint(dim, "It is kept as a document, without a history. Its state:"))
		fmt.Fprintln(p.out, payload{Data: v.State}.lines("  "))
	}
	for k := range v.Steps {
		s := &v.Steps[k]
		fmt.Fprintf(p.out, "\n%3d  %s  %s\n", k+1, p.paint(dim, at(s.Input.Time)), p.paint(cyan, clean(s.Input.String())))
		if s.Input.Rejection != nil {
			fmt.Fprintf(p.out, "     %s\n", clean(s.Input.Rejection.Error()))
		} else if s.Input.Reason != "" {
			fmt.Fprintf(p.out, "     %s\n", clean(s.Input.Reason))
		} else if !brief && (s.Input.Data != nil || s.Input.Data64 != nil) {
			fmt.Fprintf(p.out, "     %s\n", clean(s.Input.payload.String()))
		}
		for _, e := range s.effects() {
			fmt.Fprintf(p.out, "     → %s\n", clean(e))
		}
		for c := range s.Sent {
			if !brief && s.Sent[c].Data != nil {
				fmt.Fprintf(p.out, "       %s\n", p.paint(dim, clean(fmt.Sprintf("command %d: %s", s.Sent[c].Number, s.Sent[c].payload))))
			}
		}
	}
	return nil
}
