package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/process"
)

func (p *program) processDiff() *cobra.Command {
	var live bool
	var limit int
	cmd := &cobra.Command{
		Use:   "diff ADDRESS NAME [INSTANCE...]",
		Short: "Say what this program would have decided differently",
		Long: `Give the recorded inputs of a process to its definition in this program, in memory, and say for each instance the first
step in which it decides otherwise than what is recorded: commands, timeouts, events and completion. "-" is what was
decided, "+" what would be. Nothing is written and nothing is sent.

Exit codes: 0 there are no differences; 1 there are, or it could not be done; 2 the command was not understood.`,
		Example: "  ensue process diff orders.db order-process\n  ensue process diff orders.db order-process --live --json\n  ensue process diff orders.db order-process 4711",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			address, rest, err := p.arguments(cmd, args, 1, 1+len(args))
			if err != nil {
				return err
			}
			app, err := p.app.Open(cmd.Context(), address, true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, app.Close()) }()
			engine := app.Process(rest[0])
			if engine == nil {
				return fmt.Errorf("this program has no process %q; it has %s", rest[0], enumerate(app.Processes()))
			}
			g := meter{p: p}
			o := process.BacktestOptions{Engine: engine, Most: limit, Progress: func(r process.Report) {
				g.show("%s: %d instances, %d steps, %d differ", r.Process, r.Instances, r.Steps, r.Differing)
			}}
			if len(rest) > 1 {
				o.Instances = rest[1:]
			}
			if live {
				o.Only = process.Running
			}
			report, err := process.Backtest(cmd.Context(), o)
			g.done()
			if err != nil {
				return err
			}
			if p.json {
				err = p.document(report)
			} else {
				p.showReport(&report)
			}
			if err == nil && report.Differing > 0 {
				err = errProblems
			}
			return err
		},
		ValidArgsFunction: p.completion(2),
	}
	cmd.Flags().BoolVar(&live, "live", false, "only instances that are running")
	cmd.Flags().IntVarP(&limit, "limit", "l", 20, "describe at most so many instances")
	return cmd
}

func (p *program) showReport(r *process.Report) {
	fmt.Fprintf(p.out, "%s  %s in %s\n", p.paint(bold, r.Process), count(r.Instances, "instance", "instances"), count(r.Steps, "step", "steps"))
	if r.Pinned > 0 {
		fmt.Fprintf(p.out, "%s pinned to an older version, and not tried\n", count(r.Pinned, "instance is", "instances are"))
	}
	for n := range r.Differences {
		first, rest, _ := strings.Cut(r.Differences[n].String(), "\n")
		fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, clean(first)))
		for line := range strings.Lines(rest) {
			line = clean(strings.TrimSuffix(line, "\n"))
			look := dim
			switch {
			case strings.HasPrefix(line, "  + "):
				look = green
			case strings.HasPrefix(line, "  - "):
				look = red
			}
			fmt.Fprintln(p.out, p.paint(look, line))
		}
	}
	switch more := r.Differing - len(r.Differences); {
	case r.Differing == 0:
		fmt.Fprintln(p.out, p.paint(green, "it would decide the same"))
	case more > 0:
		fmt.Fprintf(p.out, "\n%s, %s\n", p.paint(red, fmt.Sprintf("%d differ", r.Differing)), fmt.Sprintf("%d more than shown; see --limit", more))
	default:
		fmt.Fprintf(p.out, "\n%s\n", p.paint(red, fmt.Sprintf("%d differ", r.Differing)))
	}
}
