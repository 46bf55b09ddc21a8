package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// load reads an instance as an engine would: out of what the log has.
func (s *story) load(key string) (*process.Instance, process.Home) {
	e, err := s.reader()
	if err != nil {
		panic(err)
	}
	var store process.Store = process.Streams{}
	if s.config.Store != nil {
		store = s.config.Store
	}
	loaded, err := store.Load(context.Background(), e.Home(), []string{key})
	if err != nil {
		panic(err)
	}
	return loaded[0], e.Home()
}

// showInstance shows everything about an instance.
func (s *story) showInstance(w words) string {
	key := w.need(0, "an instance")
	ctx, log := context.Background(), s.homeLog()
	var b strings.Builder
	i, _ := s.load(key)
	if i == nil {
		fmt.Fprintf(&b, "%s has not started\n", key)
	} else {
		fmt.Fprintf(&b, "%s is %v after %s: %s\n", key, i.Status, counted(i.Steps, "input"), must(json.Marshal(i.State)))
		slices.SortFunc(i.Timers, func(a, b process.Timer) int { return strings.Compare(a.Name, b.Name) })
		for _, timer := range i.Timers {
			if !strings.HasPrefix(timer.Name, event.SystemPrefix) {
				fmt.Fprintf(&b, "it has set timeout %s for %s\n", timer.Name, s.clock(timer.Due))
			}
		}
		for n := range i.Deferred {
			fmt.Fprintf(&b, "it has deferred %s\n", inputText(key, &i.Deferred[n]))
		}
		for _, u := range i.Undos {
			fmt.Fprintf(&b, "it has sent %s %s%s, which %s\n", u.Command, u.Name, payload(key, u.Data), undoTexts[u.State])
		}
	}
	for _, sent := range must(process.PendingCommands(ctx, log, s.name, key)) {
		fmt.Fprintf(&b, "it has sent %s %s to %s, and the outcome is open\n", sent.ID, sent.Type, sent.Module)
	}
	for h, err := range process.Holdings(ctx, log, s.name) {
		if err != nil {
			panic(err)
		}
		if h.Instance == key {
			s.showHold(&b, &h)
		}
	}
	return b.String()
}

// undoTexts say how far a command that can be undone has come.
var undoTexts = map[process.UndoState]string{
	process.UndoOpen: "has no outcome yet", process.UndoReady: "can be undone", process.UndoVoid: "was not accepted: there is nothing to undo",
	process.UndoSent: "is being undone", process.UndoDone: "was undone", process.UndoSkipped: "was not undone, and is left at that",
}

func (s *story) showHold(b *strings.Builder, h *process.Holding) {
	switch {
	case h.Condition == process.Waiting:
		fmt.Fprintf(b, "inputs wait for %s, which has not started\n", h.Instance)
	case h.InputID.IsZero() && h.Condition == process.Held:
		fmt.Fprintf(b, "%s is held by %s: %s\n", h.Instance, h.By, h.Reason)
	case h.Attempts == 0:
		fmt.Fprintf(b, "%s stands aside: %s\n", h.Instance, cause(h))
	default:
		fmt.Fprintf(b, "%s is %s after %s: %s\n", h.Instance, h.Condition, counted(h.Attempts, "attempt"), cause(h))
	}
	for _, in := range must(process.Queue(context.Background(), s.homeLog(), s.name, h.Instance, 0)) {
		fmt.Fprintf(b, "  in its queue: %s\n", inputText(h.Instance, &in))
	}
}

func (s *story) showHolds(words) string {
	var b strings.Builder
	for h, err := range process.Holdings(context.Background(), s.homeLog(), s.name) {
		if err != nil {
			panic(err)
		}
		s.showHold(&b, &h)
	}
	if b.Len() == 0 {
		return "no instance stands aside, and no input waits"
	}
	return b.String()
}

// showStream shows what stands in an instance's stream, record by record.
func (s *story) showStream(w words) string {
	key := w.need(0, "an instance")
	var b strings.Builder
	for rec, err := range s.homeLog().ReadStream(context.Background(), process.Stream(s.name, key), eventlog.StreamQuery{System: true}) {
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%2d  %s\n", rec.Version, s.recordText(key, rec))
	}
	if b.Len() == 0 {
		return "the stream does not exist"
	}
	return b.String()
}

// recordText says what a record of a log is.
func (s *story) recordText(key string, rec event.Recorded) string {
	switch {
	case rec.IsLink():
		return fmt.Sprintf("link to %s%s in %s", rec.Type, payload(key, rec.Data), rec.Origin.Stream)
	case rec.Type != process.RecordType:
		return fmt.Sprintf("event %s%s", rec.Type, payload(key, rec.Data))
	}
	var r process.Record
	if err := json.Unmarshal(rec.Data, &r); err != nil {
		panic(err)
	}
	what := "of what the linked event led to"
	if !r.Linked {
		what = "with a copy of " + inputText(key, &r.Input)
		if r.Input.Module != "" {
			what += " from " + r.Input.Module
		}
	}
	var decided []string
	say := func(is bool, format string, args ...any) {
		if is {
			decided = append(decided, fmt.Sprintf(format, args...))
		}
	}
	say(r.Deferred, "deferred")
	say(r.Resumed, "taken up, having been deferred")
	say(r.Ignored != "", "ignored by the rule: %s", r.Ignored)
	say(r.Birth != nil, "start")
	say(r.Emitted > 0, "%s emitted", counted(r.Emitted, "event"))
	say(len(r.Sent) > 0, "%s sent", counted(len(r.Sent), "command"))
	say(r.Phase != "", "phase %s", r.Phase)
	say(r.Compensating, "compensation")
	say(len(r.Set) > 0, "%s set", counted(len(r.Set), "timeout"))
	say(len(r.Cancelled) > 0, "%s cancelled", counted(len(r.Cancelled), "timeout"))
	say(len(r.Once) > 0, "once: %s", strings.Join(r.Once, ", "))
	say(r.Completed, "completion")
	if len(decided) > 0 {
		what += ": " + strings.Join(decided, ", ")
	}
	return "system record " + what
}

// showLog shows the events of a module, as its readers see them; with "system" also what the engine wrote.
func (s *story) showLog(w words) string {
	module := w.need(0, "a module")
	var b strings.Builder
	for rec, err := range s.logs[module].Read(context.Background(), eventlog.Query{System: w.HasArg("system")}) {
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%2d  %-20s  %s\n", rec.Position, rec.Stream, s.recordText("", rec))
	}
	if b.Len() == 0 {
		return "the log is empty"
	}
	return b.String()
}

// showEffects shows what the commands of the process led to, in the modules that handled them.
func (s *story) showEffects(words) string {
	streams := map[string][]string{}
	for _, m := range s.order {
		for rec, err := range s.logs[m].Read(context.Background(), eventlog.Query{Categories: []string{"stock", "travel", "order", "mail"}}) {
			if err != nil {
				panic(err)
			}
			_, key, _ := strings.Cut(rec.Stream, "/")
			streams[rec.Stream] = append(streams[rec.Stream], rec.Type+payload(key, rec.Data))
		}
	}
	var b strings.Builder
	for _, stream := range slices.Sorted(maps.Keys(streams)) {
		fmt.Fprintf(&b, "%s: %s\n", stream, strings.Join(streams[stream], ", "))
	}
	if b.Len() == 0 {
		return "no command has had an effect"
	}
	return b.String()
}

func (s *story) showTimeouts(words) string {
	var b strings.Builder
	for e, err := range s.homeLog().Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Timeout, ByDue: true}) {
		if err != nil {
			panic(err)
		}
		parts := eventlog.SplitKey(e.Key)
		if strings.HasPrefix(parts[2], event.SystemPrefix) {
			fmt.Fprintf(&b, "%s  the time limit of what %s deferred\n", s.clock(e.Due), parts[1])
			continue
		}
		fmt.Fprintf(&b, "%s  %s of %s\n", s.clock(e.Due), parts[2], parts[1])
	}
	if b.Len() == 0 {
		return "no timeout is set"
	}
	return b.String()
}

// showWorkers shows who owns the partitions.
func (s *story) showWorkers(words) string {
	sharing := must(process.Workers(context.Background(), s.homeLog(), s.name))
	names := map[event.ID]string{}
	for _, name := range s.names {
		names[event.DeriveID("worker", name)] = "worker " + name
	}
	var b strings.Builder
	for _, p := range sharing.Partitions {
		who := "nobody"
		if name, ok := names[p.Worker]; ok {
			who = name + ", whose lease runs"
			if !p.Until.After(time.Now()) {
				who = name + ", whose lease has run out"
			}
		}
		fmt.Fprintf(&b, "partition %d: %s\n", p.Partition, who)
	}
	return b.String()
}

// showStats shows what a worker says about itself.
func (s *story) showStats(w words) string {
	st := s.hireling(w).Stats()
	var b strings.Builder
	fmt.Fprintf(&b, "taken: %d; met again: %d; ignored: %d; timeouts fired: %d; outcomes of commands: %d; held now: %d; not started, and waited for: %d\n",
		st.Inputs, st.Duplicates, st.Ignored, st.Timeouts, st.Commands, st.Held, st.Waiting)
	if !st.Clock.IsZero() {
		fmt.Fprintf(&b, "the replay clock stands at %s\n", s.clock(st.Clock))
	}
	for _, module := range slices.Sorted(maps.Keys(st.Blocked)) {
		fmt.Fprintf(&b, "%s cannot be read on: %s\n", module, st.Blocked[module])
	}
	return b.String()
}

// describe shows what the home log says about the process, without its program.
func (s *story) describe(words) string {
	var b strings.Builder
	for _, d := range must(process.Descriptions(context.Background(), s.homeLog())) {
		fmt.Fprintf(&b, "%s: home %s, reads %s, %s, %s clock, kept as %s\n", d.Process, d.Home, strings.Join(d.Sources, " and "), counted(d.Partitions, "partition"), d.Clock, d.Store)
		for _, in := range d.Inputs {
			fmt.Fprintf(&b, "  %-8v %s", in.Kind, in.Name)
			if in.Module != "" {
				fmt.Fprintf(&b, " of %s", in.Module)
			}
			if in.Starts {
				b.WriteString(": starts an instance")
			}
			if in.NoInstance != 0 {
				fmt.Fprintf(&b, ": without an instance %v", in.NoInstance)
			}
			b.WriteString("\n")
		}
	}
	if b.Len() == 0 {
		return "the log describes no process"
	}
	return b.String()
}

// rebuild folds an instance out of its history, as often as one likes, and tells whether that changed any log.
func (s *story) rebuild(w words) string {
	key := w.need(0, "an instance")
	heads := func() (all []eventlog.Position) {
		for _, m := range s.order {
			all = append(all, must(s.logs[m].Head(context.Background())))
		}
		return all
	}
	before, decided := heads(), s.decided.Load()
	i, _ := s.load(key)
	again, _ := s.load(key)
	if i == nil || again == nil {
		panic(fmt.Errorf("%s has not started", key))
	}
	state, second := must(json.Marshal(i.State)), must(json.Marshal(again.State))
	same := "twice the same"
	if string(state) != string(second) {
		same = "each time another"
	}
	asked := "the definition was not asked to decide anything"
	if n := s.decided.Load() - decided; n > 0 {
		asked = fmt.Sprintf("the definition was asked to decide %s", counted(int(n), "time"))
	}
	s.pass(time.Minute)
	logs := "no log has changed"
	if !slices.Equal(before, heads()) {
		logs = "logs have changed"
	}
	return fmt.Sprintf("%s after %s, %s: %s\n%s; %s\n", key, counted(i.Steps, "input"), same, state, asked, logs)
}

// verify looks for what contradicts itself in all logs.
func (s *story) verify(words) string {
	modules := make([]process.Module, 0, len(s.order))
	for _, m := range s.order {
		modules = append(modules, process.Module{Name: m, Log: s.logs[m]})
	}
	var b strings.Builder
	for p, err := range process.Verify(context.Background(), modules, nil) {
		if err != nil && !errors.Is(err, context.Canceled) {
			panic(err)
		}
		fmt.Fprintf(&b, "%v\n", p)
	}
	if b.Len() == 0 {
		return "nothing contradicts itself in any log"
	}
	return b.String()
}
