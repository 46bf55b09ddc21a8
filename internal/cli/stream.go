package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func (p *program) streamCommand() *cobra.Command {
	return p.group("stream", "List streams, and show one", "  ensue stream ls orders.db --category order\n  ensue stream show orders.db order/4711",
		p.streamList(), p.streamShow())
}

// streamView is a stream as it is listed.
type streamView struct {
	Module    string        `json:"module"`
	Stream    string        `json:"stream"`
	Version   event.Version `json:"version"`
	Truncated event.Version `json:"truncated,omitempty"`
	Closed    bool          `json:"closed,omitempty"`
}

func (p *program) streamList() *cobra.Command {
	var module, category, prefix string
	var limit int
	cmd := &cobra.Command{
		Use:     "ls ADDRESS",
		Short:   "List streams by name",
		Example: "  ensue stream ls orders.db\n  ensue stream ls orders.db --category order --limit 20\n  ensue stream ls orders.db --prefix order/47",
		RunE: func(cmd *cobra.Command, args []string) error {
			address, _, err := p.arguments(cmd, args, 0, 0)
			if err != nil {
				return err
			}
			if wanted, _, found := strings.Cut(prefix, "/"); found {
				if category != "" && category != wanted {
					return usage(cmd, "no stream of category %q begins with %q", category, prefix)
				}
				category = wanted
			}
			o, err := p.open(cmd.Context(), address)
			if err != nil {
				return err
			}
			defer o.close()
			modules, err := o.chosen(module)
			if err != nil {
				return err
			}
			return p.listStreams(cmd.Context(), modules, category, prefix, limit)
		},
		ValidArgsFunction: p.completion(0),
	}
	p.moduleFlag(cmd, &module)
	cmd.Flags().StringVarP(&category, "category", "c", "", "only streams of this `category`")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only streams whose name begins so")
	limitFlag(cmd, &limit, 100, "of each module")
	return cmd
}

func (p *program) listStreams(ctx context.Context, modules []source, category, prefix string, limit int) error {
	var list []streamView
	more := false
	for _, m := range modules {
		n := 0
		add := func(info eventlog.StreamInfo) bool {
			if limit > 0 && n == limit {
				more = true
				return false
			}
			n++
			list = append(list, streamView{Module: m.name, Stream: info.Stream, Version: info.Version, Truncated: info.Truncated, Closed: info.Closed})
			return true
		}
		if prefix != "" && eventlog.CheckStream(prefix) == nil { // what follows is listed from behind it
			info, err := m.log.Stream(ctx, prefix)
			if err != nil {
				return err
			}
			if info.Version > 0 && (category == "" || eventlog.Category(prefix) == category) {
				add(info)
			}
		}
		for info, err := range m.log.Streams(ctx, category, prefix, 0) {
			if err != nil {
				return err
			}
			if !strings.HasPrefix(info.Stream, prefix) || !add(info) {
				break
			}
		}
	}
	if p.json {
		return p.document(orEmpty(list))
	}
	if len(list) == 0 {
		fmt.Fprintln(p.err, "no such streams")
		return nil
	}
	columns := []column{left("STREAM"), right("VERSION"), left("")}
	if len(modules) > 1 {
		columns = slices.Insert(columns, 0, left("MODULE"))
	}
	t := p.table(columns...)
	for _, s := range list {
		var notes []string
		if s.Truncated > 0 {
			notes = append(notes, fmt.Sprintf("truncated up to %d", s.Truncated))
		}
		if s.Closed {
			notes = append(notes, "closed")
		}
		cells := []cell{text("%s", shorten(s.Stream, 100)), number(s.Version), yellow.of("%s", strings.Join(notes, ", "))}
		if len(modules) > 1 {
			cells = slices.Insert(cells, 0, text("%s", s.Module))
		}
		t.row(cells...)
	}
	t.end()
	if more {
		fmt.Fprintf(p.err, "there are more; see them with --limit 0, or choose by --prefix\n")
	}
	return nil
}

func (p *program) streamShow() *cobra.Command {
	var module string
	var after uint64
	var limit int
	var backward, brief bool
	cmd := &cobra.Command{
		Use:   "show ADDRESS STREAM",
		Short: "Show the events of a stream with their payloads",
		Long: `Show the events of a stream with their payloads, links with where they lead, and the records that a process leaves
in the stream of an instance: what was taken and decided.`,
		Example: "  ensue stream show orders.db order/4711\n  ensue stream show orders.db order-process/4711 --brief\n  ensue stream show orders.db order/4711 --backward --limit 3",
		RunE: p.reads(1, 1, func(cmd *cobra.Command, o *opened, rest []string) error {
			m, err := o.holder(cmd.Context(), module, rest[0])
			if err != nil {
				return err
			}
			return p.showStream(cmd.Context(), m, rest[0], eventlog.StreamQuery{After: event.Version(after), Limit: limit, Backward: backward, System: true}, brief)
		}),
		ValidArgsFunction: p.completeStreams,
	}
	p.moduleFlag(cmd, &module)
	cmd.Flags().Uint64Var(&after, "after", 0, "only versions above this `version` (backwards: below)")
	limitFlag(cmd, &limit, 0, "events")
	cmd.Flags().BoolVarP(&backward, "backward", "b", false, "from the last to the first")
	cmd.Flags().BoolVar(&brief, "brief", false, "one line for each event")
	return cmd
}

// holder returns the module that has the stream.
func (o *opened) holder(ctx context.Context, module, stream string) (source, error) {
	modules, err := o.chosen(module)
	if err != nil {
		return source{}, err
	}
	var found []source
	var names []string
	for _, m := range modules {
		info, err := m.log.Stream(ctx, stream)
		if err != nil {
			return source{}, err
		}
		if info.Version > 0 {
			found = append(found, m)
			names = append(names, m.name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return source{}, o.noStream(ctx, modules, stream)
	default:
		return source{}, fmt.Errorf("modules %s all have a stream %q; choose one by --module", enumerate(names), stream)
	}
}

// noStream says that there is no such stream, and which there are that look like it.
func (o *opened) noStream(ctx context.Context, modules []source, stream string) error {
	var similar []string
	for prefix := stream; len(similar) == 0 && strings.Contains(prefix, "/"); prefix = prefix[:len(prefix)-1] {
		for _, m := range modules {
			names, err := streamsLike(ctx, m, prefix, 3)
			if err != nil {
				return err
			}
			similar = append(similar, names...)
		}
	}
	if len(similar) == 0 {
		return fmt.Errorf("there is no stream %q at %s; see ensue stream ls %s", stream, o.address, o.address)
	}
	return fmt.Errorf("there is no stream %q at %s; there is %s", stream, o.address, enumerate(similar))
}

// streamsLike returns the names of streams that begin so.
func streamsLike(ctx context.Context, m source, prefix string, limit int) (names []string, err error) {
	category, _, found := strings.Cut(prefix, "/")
	if !found {
		category = ""
	}
	for info, err := range m.log.Streams(ctx, category, prefix, limit) {
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(info.Stream, prefix) {
			break
		}
		names = append(names, info.Stream)
	}
	return names, nil
}

func (p *program) completeStreams(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 && p.address == "" {
		return nil, cobra.ShellCompDirectiveDefault
	}
	address := p.address
	if address == "" {
		address = args[0]
	}
	o, err := p.open(cmd.Context(), address)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer o.close()
	var all []string
	for _, m := range o.modules {
		names, err := streamsLike(cmd.Context(), m, begun, 100)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all = append(all, names...)
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) showStream(ctx context.Context, m source, stream string, q eventlog.StreamQuery, brief bool) error {
	list := array{p: p}
	lines := p.eventLines(false)
	first := true
	for rec, err := range m.log.ReadStream(ctx, stream, q) {
		if err != nil {
			return err
		}
		v := viewOf(m.name, rec)
		switch {
		case p.json:
			if err := list.add(&v); err != nil {
				return err
			}
		case brief:
			lines.add(&v)
		default:
			if !first {
				fmt.Fprintln(p.out)
			}
			first = false
			p.showEvent(&v)
		}
	}
	if p.json {
		return list.end()
	}
	lines.table.end()
	return nil
}

// showEvent writes all that is known of an event.
func (p *program) showEvent(v *eventView) {
	look := cyan
	if v.System {
		look = dim
	}
	fmt.Fprintf(p.out, "%s  %s  %s\n", p.paint(bold, fmt.Sprintf("%s version %d", clean(v.Stream), v.Version)), p.paint(look, v.Type),
		p.paint(dim, fmt.Sprintf("%s at %d", v.Module, v.Position)))
	recorded := at(v.Recorded)
	if !v.Occurred.Equal(v.Recorded) {
		recorded += ", occurred " + at(v.Occurred)
	}
	facts := [][2]string{{"recorded", recorded}, {"id", v.ID.String()}}
	if v.Origin != nil {
		facts = append(facts, [2]string{"links to", fmt.Sprintf("%s version %d", clean(v.Origin.Stream), v.Origin.Version)})
	}
	if !v.Meta.Correlation.IsZero() {
		facts = append(facts, [2]string{"correlation", v.Meta.Correlation.String()})
	}
	if !v.Meta.Causation.IsZero() {
		facts = append(facts, [2]string{"causation", v.Meta.Causation.String()})
	}
	for _, name := range sortedNames(v.Meta.Headers) {
		facts = append(facts, [2]string{"header", clean(name + ": " + v.Meta.Headers[name])})
	}
	for _, t := range v.Tags {
		facts = append(facts, [2]string{"tag", t.Key + "=" + t.Value})
	}
	if v.Schema > 1 {
		facts = append(facts, [2]string{"schema", fmt.Sprint(v.Schema)})
	}
	if v.Step != nil {
		if !v.Step.Linked {
			facts = append(facts, [2]string{"takes", clean(v.Step.Input.String())})
		}
		for _, e := range v.Step.effects() {
			facts = append(facts, [2]string{"", clean(e)})
		}
		p.facts(facts)
		for i := range v.Step.Sent {
			p.showPayload(fmt.Sprintf("command %d", v.Step.Sent[i].Number), v.Step.Sent[i].payload)
		}
		p.showPayload("input", v.Step.Input.payload)
		return
	}
	p.facts(facts)
	p.showPayload("", v.payload)
}

func (p *program) showPayload(name string, d payload) {
	if d.Data == nil && d.Data64 == nil {
		return
	}
	if name != "" {
		fmt.Fprintf(p.out, "  %s\n", p.paint(dim, name))
	}
	fmt.Fprintln(p.out, d.lines("  "))
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
