package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// sharingView is who runs a process.
type sharingView struct {
	Process    string      `json:"process"`
	Home       string      `json:"home"`
	Partitions int         `json:"partitions"`
	Workers    []shareView `json:"workers"`
	Unowned    []int       `json:"unowned"` // partitions that nobody has
}

// shareView is a worker's share of a process.
type shareView struct {
	Worker     event.ID     `json:"worker"`
	Host       string       `json:"host"`
	PID        int          `json:"pid"`
	Since      time.Time    `json:"since"` // it joined
	Until      time.Time    `json:"until"` // its lease runs, if it isn't renewed
	Vanished   bool         `json:"vanished,omitempty"`
	Partitions []int        `json:"partitions"`
	Took       *time.Time   `json:"took,omitempty"` // the last of its partitions
	Sources    []sourceView `json:"sources"`
}

func (p *program) workersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "workers ADDRESS [NAME]",
		Short: "List who runs the processes",
		Long: `List the workers of each process, or of the one of that NAME: which partitions each has, since when, how long its lease
runs, and how far behind it is in each source.`,
		Example: "  ensue workers orders.db\n  ensue workers postgres://ensue@db.example.com/shop order-process --json",
		RunE: p.reads(0, 1, func(cmd *cobra.Command, o *opened, rest []string) error {
			all, err := o.processes(cmd.Context())
			if len(rest) > 0 {
				var one kept
				one, err = o.process(cmd.Context(), rest[0])
				all = []kept{one}
			}
			if err != nil {
				return err
			}
			return p.listWorkers(cmd.Context(), o, all)
		}),
		ValidArgsFunction: p.completion(1),
	}
}

func (p *program) listWorkers(ctx context.Context, o *opened, all []kept) error {
	views := make([]sharingView, len(all))
	for i, k := range all {
		var err error
		if views[i], err = p.sharingView(ctx, o, k); err != nil {
			return err
		}
	}
	return showAll(p, views, p.showSharing)
}

func (p *program) sharingView(ctx context.Context, o *opened, k kept) (sharingView, error) {
	v := sharingView{Process: k.Process, Home: k.Home, Workers: []shareView{}, Unowned: []int{}}
	sharing, err := process.Workers(ctx, k.home.log, k.Process)
	if err != nil {
		return v, err
	}
	v.Partitions = len(sharing.Partitions)
	of := map[event.ID]int{}
	for _, h := range sharing.Workers {
		of[h.Worker] = len(v.Workers)
		v.Workers = append(v.Workers, shareView{Worker: h.Worker, Host: h.Host, PID: h.PID, Since: h.Since, Until: h.Until,
			Vanished: !h.Until.After(p.now()), Partitions: []int{}, Sources: []sourceView{}})
	}
	reached := make([]map[string]eventlog.Position, len(v.Workers))
	for _, part := range sharing.Partitions {
		n, owned := of[part.Worker]
		if !owned {
			v.Unowned = append(v.Unowned, part.Partition)
			continue
		}
		w := &v.Workers[n]
		w.Partitions = append(w.Partitions, part.Partition)
		if w.Took == nil || part.Since.After(*w.Took) {
			w.Took = &part.Since
		}
		if reached[n] == nil {
			reached[n] = map[string]eventlog.Position{}
		}
		for _, c := range part.Cursors {
			reached[n][c.Module] = max(reached[n][c.Module], c.Position)
		}
	}
	for n := range v.Workers {
		if len(v.Workers[n].Partitions) == 0 {
			continue
		}
		for _, name := range k.Sources {
			s, err := o.behind(ctx, k, name, reached[n][name])
			if err != nil {
				return v, err
			}
			v.Workers[n].Sources = append(v.Workers[n].Sources, s)
		}
	}
	return v, nil
}

func (p *program) showSharing(v *sharingView) {
	fmt.Fprintf(p.out, "%s  %s\n", p.paint(bold, v.Process), p.paint(dim, fmt.Sprintf("at home in %s, %d partitions", v.Home, v.Partitions)))
	if len(v.Workers) == 0 {
		fmt.Fprintln(p.out, "nobody runs it now")
		return
	}
	t := p.table(left("WORKER"), left("PROCESS"), left("PARTITIONS"), left("SINCE"), left("LEASE"), left("READS"))
	for i := range v.Workers {
		w := &v.Workers[i]
		host, _, _ := strings.Cut(w.Host, " ")
		lease := text("%s", p.until(w.Until))
		if w.Vanished {
			lease = red.of("ran out %s", p.since(w.Until))
		}
		since := w.Since
		if w.Took != nil {
			since = *w.Took
		}
		var reads []string
		for n := range w.Sources {
			reads = append(reads, w.Sources[n].String())
		}
		t.row(text("%s", shorten(w.Worker.String(), 13)), text("%d on %s", w.PID, clean(host)), text("%s", ranges(w.Partitions)), text("%s", p.since(since)), lease, text("%s", strings.Join(reads, "; ")))
	}
	t.end()
	if len(v.Unowned) > 0 {
		fmt.Fprintln(p.out, p.paint(red, "nobody has partitions "+ranges(v.Unowned)))
	}
}

// ranges writes numbers, in their order, as "0-5, 8".
func ranges(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if j > i {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		} else {
			parts = append(parts, strconv.Itoa(numbers[i]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
