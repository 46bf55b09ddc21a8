package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

func (p *program) logCommand() *cobra.Command {
	return p.group("log", "Look at logs, and verify them", "  ensue log tail orders.db -f\n  ensue log stats orders.db\n  ensue log verify orders.db",
		p.logTail(), p.logCat(), p.logStats(), p.logVerify())
}

// filter selects events by flags.
type filter struct {
	module     string
	types      []string
	categories []string
	tags       []string
	system     bool
}

func (p *program) filterFlags(cmd *cobra.Command, f *filter) {
	p.moduleFlag(cmd, &f.module)
	cmd.Flags().StringSliceVarP(&f.types, "type", "t", nil, "only events of these `types`")
	cmd.Flags().StringSliceVarP(&f.categories, "category", "c", nil, "only events of streams of these `categories`")
	cmd.Flags().StringArrayVar(&f.tags, "tag", nil, "only events with this tag, given as `key=value`; with several, only those with all")
	cmd.Flags().BoolVar(&f.system, "system", false, "also system records, which the engine writes")
}

func (f *filter) query(cmd *cobra.Command) (eventlog.Query, error) {
	q := eventlog.Query{Types: f.types, Categories: f.categories, System: f.system}
	for _, t := range f.tags {
		key, value, ok := strings.Cut(t, "=")
		if !ok {
			return q, usage(cmd, "--tag takes key=value, not %q", t)
		}
		q.Tags = append(q.Tags, event.Tag{Key: key, Value: value})
	}
	return q, nil
}

// eventLines writes events, one a line.
type eventLines struct {
	p       *program
	modules bool // more than one, so each line says which
	table   *table
}

func (p *program) eventLines(several bool) *eventLines {
	columns := []column{right("POSITION"), left("RECORDED")}
	if several {
		columns = append(columns, left("MODULE"))
	}
	l := &eventLines{p: p, modules: several, table: p.table(append(columns, left("STREAM"), right("VERSION"), left("TYPE"), left("DATA"))...)}
	return l
}

func (l *eventLines) add(v *eventView) {
	look := normal
	if v.System {
		look = dim
	}
	cells := []cell{number(v.Position), dim.of("%s", at(v.Recorded))}
	if l.modules {
		cells = append(cells, text("%s", v.Module))
	}
	kind := cyan.of("%s", shorten(v.Type, 40))
	if v.System {
		kind.style = dim
	}
	l.table.row(append(cells, text("%s", shorten(v.Stream, 48)), number(v.Version), kind, look.of("%s", cut(v.summary(), 120)))...)
}

func (p *program) logTail() *cobra.Command {
	var f filter
	var n int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail ADDRESS",
		Short: "Show the last events, and go on with --follow",
		Long: `Show the last events, those of all modules in the order in which they were recorded.

With --follow it goes on with what is appended, until it is interrupted. With --json it then writes one JSON object a
line; without --follow, one array.`,
		Example: "  ensue log tail orders.db\n  ensue log tail orders.db -n 50 --category order\n  ensue log tail data/ -m payments -f --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			address, _, err := p.arguments(cmd, args, 0, 0)
			if err != nil {
				return err
			}
			q, err := f.query(cmd)
			if err != nil {
				return err
			}
			if n < 0 {
				return usage(cmd, "-n takes a number of events, not %d", n)
			}
			o, err := p.open(cmd.Context(), address)
			if err != nil {
				return err
			}
			defer o.close()
			modules, err := o.chosen(f.module)
			if err != nil {
				return err
			}
			return p.tail(cmd.Context(), modules, q, n, follow)
		},
		ValidArgsFunction: p.completion(0),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 10, "how many events")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is appended, until interrupted")
	p.filterFlags(cmd, &f)
	return cmd
}

func (p *program) tail(ctx context.Context, modules []source, q eventlog.Query, n int, follow bool) error {
	var last []eventView
	heads := make([]eventlog.Position, len(modules))
	for i, m := range modules {
		head, err := m.log.Head(ctx)
		if err != nil {
			return err
		}
		found, err := lastOf(ctx, m, q, n, head)
		if err != nil {
			return err
		}
		heads[i] = head
		last = append(last, found...)
	}
	slices.SortStableFunc(last, func(a, b eventView) int { return a.Recorded.Compare(b.Recorded) })
	last = last[max(0, len(last)-n):]
	if p.json && !follow {
		return p.document(orEmpty(last))
	}
	lines := p.eventLines(len(modules) > 1)
	show := func(v *eventView) error {
		if p.json {
			return p.line(v)
		}
		lines.add(v)
		return nil
	}
	for i := range last {
		if err := show(&last[i]); err != nil {
			return err
		}
	}
	lines.table.end()
	if !follow {
		return nil
	}
	lines.table.flows = true
	return followAll(ctx, modules, q, heads, show)
}

// orEmpty makes nothing an empty list, which JSON tells from null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// lastOf returns the last n events of a log up to its head. It looks at more and more of the log's end.
func lastOf(ctx context.Context, m source, q eventlog.Query, n int, head eventlog.Position) ([]eventView, error) {
	for reach := eventlog.Position(4*n + 64); n > 0; reach *= 8 { // #nosec G115 -- n is positive
		q.After, q.To = 0, head
		if reach < head {
			q.After = head - reach
		}
		var found []eventView
		if head > 0 {
			for rec, err := range m.log.Read(ctx, q) {
				if err != nil {
					return nil, err
				}
				if len(found) >= 2*n {
					found = append(found[:0], found[len(found)-n:]...)
				}
				found = append(found, viewOf(m.name, rec))
			}
		}
		if len(found) >= n || q.After == 0 {
			return found[max(0, len(found)-n):], nil
		}
	}
	return nil, nil
}

// followAll shows what is appended, until the context ends.
func followAll(ctx context.Context, modules []source, q eventlog.Query, heads []eventlog.Position, show func(*eventView) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	events := make(chan eventView)
	done := make(chan struct{})
	for i, m := range modules {
		go func() {
			defer func() { done <- struct{}{} }()
			if err := follow(ctx, m, q, heads[i], events); err != nil {
				stop(err)
			}
		}()
	}
	var failed error
	for running := len(modules); running > 0; {
		select {
		case v := <-events:
			if err := show(&v); err != nil && failed == nil {
				failed = err
				stop(err)
			}
		case <-done:
			running--
		}
	}
	stop(nil)
	if failed != nil {
		return failed
	}
	return context.Cause(ctx)
}

func follow(ctx context.Context, m source, q eventlog.Query, after eventlog.Position, events chan<- eventView) error {
	for {
		if err := m.log.Wait(ctx, after); err != nil {
			return err
		}
		head, err := m.log.Head(ctx)
		if err != nil {
			return err
		}
		if head <= after {
			continue
		}
		q.After, q.To = after, head
		for rec, err := range m.log.Read(ctx, q) {
			if err != nil {
				return err
			}
			select {
			case events <- viewOf(m.name, rec):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		after = head
	}
}

func (p *program) logCat() *cobra.Command {
	var f filter
	var from, to uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "cat ADDRESS",
		Short: "Show the events of a log, or a part of them",
		Long: `Show the events of a log by position, or those of all modules, one module after the other.

With --json it writes one array.`,
		Example: "  ensue log cat orders.db --from 1000 --to 1100 -m orders\n  ensue log cat orders.db --type order-placed,order-cancelled\n  ensue log cat orders.db --tag customer=4711 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			address, _, err := p.arguments(cmd, args, 0, 0)
			if err != nil {
				return err
			}
			q, err := f.query(cmd)
			if err != nil {
				return err
			}
			if to > 0 && to < from {
				return usage(cmd, "--to %d is before --from %d", to, from)
			}
			o, err := p.open(cmd.Context(), address)
			if err != nil {
				return err
			}
			defer o.close()
			modules, err := o.chosen(f.module)
			if err != nil {
				return err
			}
			if len(modules) > 1 && (from > 0 || to > 0) {
				return usage(cmd, "positions are those of one module; choose by --module one of %s", enumerate(o.names()))
			}
			q.To, q.Limit = event.Position(to), limit
			if from > 0 {
				q.After = event.Position(from - 1)
			}
			return p.cat(cmd.Context(), modules, q)
		},
		ValidArgsFunction: p.completion(0),
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first `position`")
	cmd.Flags().Uint64Var(&to, "to", 0, "last `position`")
	limitFlag(cmd, &limit, 0, "events of each module")
	p.filterFlags(cmd, &f)
	return cmd
}

func (p *program) cat(ctx context.Context, modules []source, q eventlog.Query) error {
	list := array{p: p}
	lines := p.eventLines(len(modules) > 1)
	for _, m := range modules {
		n := 0
		for rec, err := range m.log.Read(ctx, q) {
			if err != nil {
				return err
			}
			v := viewOf(m.name, rec)
			if p.json {
				if err := list.add(&v); err != nil {
					return err
				}
				continue
			}
			lines.add(&v)
			if n++; n == 200 { // enough to know how wide the columns are
				lines.table.end()
				lines.table.flows = true
			}
		}
	}
	if p.json {
		return list.end()
	}
	lines.table.end()
	return nil
}

func (p *program) logStats() *cobra.Command {
	var module string
	cmd := &cobra.Command{
		Use:     "stats ADDRESS",
		Short:   "Count what is in logs",
		Long:    "Count what is in the log of each module: events by type and by category, system records, streams, and entries by kind.",
		Example: "  ensue log stats orders.db\n  ensue log stats data/ -m payments --json",
		RunE: p.reads(0, 0, func(cmd *cobra.Command, o *opened, _ []string) error {
			modules, err := o.chosen(module)
			if err != nil {
				return err
			}
			all := make([]statsView, len(modules))
			for i, m := range modules {
				if all[i], err = p.stats(cmd.Context(), m); err != nil {
					return err
				}
			}
			if p.json {
				return p.document(all)
			}
			for i := range all {
				if i > 0 {
					fmt.Fprintln(p.out)
				}
				p.showStats(&all[i])
			}
			return nil
		}),
		ValidArgsFunction: p.completion(0),
	}
	p.moduleFlag(cmd, &module)
	return cmd
}

// statsView is what is counted of a log.
type statsView struct {
	Module     string            `json:"module"`
	Log        event.ID          `json:"log"`
	File       string            `json:"file,omitempty"`
	FileBytes  int64             `json:"fileBytes,omitempty"` // with its write-ahead log, and all modules in it
	Database   string            `json:"database,omitempty"`  // instead of a file
	Head       eventlog.Position `json:"head"`
	Events     int64             `json:"events"`
	System     int64             `json:"system"`
	Streams    int64             `json:"streams"`
	First      *time.Time        `json:"first,omitempty"`
	Last       *time.Time        `json:"last,omitempty"`
	Types      map[string]int64  `json:"types"`
	Categories map[string]int64  `json:"categories"`
	Entries    map[string]int64  `json:"entries"`
	Sealed     eventlog.Position `json:"sealed,omitempty"`
}

func (p *program) stats(ctx context.Context, m source) (statsView, error) {
	s := statsView{Module: m.name, Log: m.log.ID(), Types: map[string]int64{}, Categories: map[string]int64{}, Entries: map[string]int64{}}
	if _, ok := m.store.(fileStore); ok {
		s.File = m.store.name()
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(s.File + suffix); err == nil {
				s.FileBytes += info.Size()
			}
		}
	} else {
		s.Database = m.store.name()
	}
	g := meter{p: p}
	defer g.done()
	var err error
	if s.Head, err = m.log.Head(ctx); err != nil {
		return s, err
	}
	for rec, err := range m.log.Read(ctx, eventlog.Query{To: s.Head, System: true}) {
		if err != nil {
			return s, err
		}
		if s.First == nil {
			s.First = &rec.Recorded
		}
		s.Last = &rec.Recorded
		s.Types[rec.Type]++
		if rec.IsSystem() {
			s.System++
		} else {
			s.Events++
			s.Categories[eventlog.Category(rec.Stream)]++
		}
		g.show("%s: %d of %d events", m.name, rec.Position, s.Head)
	}
	for _, err := range m.log.Streams(ctx, "", "", 0) {
		if err != nil {
			return s, err
		}
		s.Streams++
		g.show("%s: %d streams", m.name, s.Streams)
	}
	for _, kind := range eventlog.Kinds() {
		for _, err := range m.log.Entries(ctx, eventlog.EntryQuery{Kind: kind}) {
			if err != nil {
				return s, err
			}
			s.Entries[kind.String()]++
			g.show("%s: %d %v entries", m.name, s.Entries[kind.String()], kind)
		}
	}
	seal, _, err := process.ReadSeal(ctx, m.log)
	s.Sealed = seal.Position
	return s, err
}

func (p *program) showStats(s *statsView) {
	fmt.Fprintf(p.out, "%s  %s\n", p.paint(bold, s.Module), p.paint(dim, "log "+s.Log.String()))
	kept := [2]string{"database", clean(s.Database)}
	if s.File != "" {
		kept = [2]string{"file", fmt.Sprintf("%s, %s", clean(s.File), bytesOf(s.FileBytes))}
	}
	facts := [][2]string{
		kept,
		{"events", fmt.Sprintf("%d in %s, and %d system records", s.Events, count(s.Streams, "stream", "streams"), s.System)},
	}
	if s.First != nil {
		facts = append(facts, [2]string{"recorded", fmt.Sprintf("%s to %s", at(*s.First), at(*s.Last))})
	}
	if s.Sealed > 0 {
		facts = append(facts, [2]string{"sealed", fmt.Sprintf("at position %d of %d", s.Sealed, s.Head)})
	}
	p.facts(facts)
	for _, group := range []struct {
		name   string
		counts map[string]int64
	}{{"TYPE", s.Types}, {"CATEGORY", s.Categories}, {"ENTRIES", s.Entries}} {
		if len(group.counts) == 0 {
			continue
		}
		t := p.table(left(group.name), right("COUNT"))
		t.indent = "  "
		names := slices.SortedFunc(maps.Keys(group.counts), func(a, b string) int {
			if c := group.counts[b] - group.counts[a]; c != 0 {
				return int(c)
			}
			return strings.Compare(a, b)
		})
		for _, name := range names {
			t.row(text("%s", shorten(name, 60)), number(group.counts[name]))
		}
		fmt.Fprintln(p.out)
		t.end()
	}
}

// facts writes names with what is said of them.
func (p *program) facts(facts [][2]string) {
	wide := 0
	for _, f := range facts {
		wide = max(wide, len(f[0]))
	}
	for _, f := range facts {
		fmt.Fprintf(p.out, "  %s  %s\n", p.paint(dim, fmt.Sprintf("%-*s", wide, f[0])), f[1])
	}
}
