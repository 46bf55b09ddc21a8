package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

// trial is one run of a case: two modules with their logs, a process in one of them, and a receiver of its commands.
type trial struct {
	T
	setting     Setting
	ctx         context.Context //nolint:containedctx // the length of the case
	desk, field eventlog.Log
	newField    func() eventlog.Log
	receiver    *receiver
	script      []happening // what was recorded, in the order of its instants
	batch       int         // of the engines that are run; 0 for their default

	mu   sync.Mutex
	kept map[string]string // by key, how the engine has each instance that it committed
}

// happening is an event that was recorded.
type happening struct {
	module string
	fact   any
	id     event.ID
	at     time.Time
}

func (t *trial) openLogs() {
	t.Helper()
	if t.setting.Logs != SQLite {
		t.desk, t.newField = memlog.New(), func() eventlog.Log { return memlog.New() }
	} else {
		file, err := sqlitelog.Open(t.ctx, filepath.Join(t.TempDir(), "logs.db"), sqlitelog.Options{Normal: true})
		t.ok("open", err)
		t.Cleanup(func() { _ = file.Close() })
		fields := 0
		module := func(name string) eventlog.Log {
			log, err := file.Log(t.ctx, name)
			t.ok("log", err)
			return log
		}
		t.desk = module("desk")
		t.newField = func() eventlog.Log {
			fields++
			return module(fmt.Sprintf("field%d", fields))
		}
	}
	t.field = t.newField()
}

func (t *trial) ok(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// same fails unless got is what is wanted, and shows the first lines that differ.
func (t *trial) same(what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for n := range max(len(g), len(w)) {
		var a, b string
		if n < len(g) {
			a = g[n]
		}
		if n < len(w) {
			b = w[n]
		}
		if a != b {
			t.Fatalf("%s: line %d is\n\t%s\nand should be\n\t%s\nin all\n%s\n\nwhich should be\n%s", what, n+1, a, b, got, want)
		}
	}
}

// happens records events, each a minute after the one before it.
func (t *trial) happens(facts ...any) {
	t.Helper()
	first := len(t.script)
	for _, fact := range facts {
		n := len(t.script)
		h := happening{module: "field", fact: fact, at: process.MachineStart.Add(time.Duration(n) * time.Minute), id: event.DeriveID("happening", fmt.Sprint(n))}
		switch fact.(type) {
		case called, noted:
			h.module = "desk"
		}
		t.script = append(t.script, h)
	}
	t.record("desk", t.desk, deskTypes, t.script[first:])
	t.record("field", t.field, fieldTypes, t.script[first:])
}

// record records the events of one module.
func (t *trial) record(module string, log eventlog.Log, types *event.Registry, script []happening) {
	t.Helper()
	var writes []eventlog.Write
	for _, h := range script {
		if h.module != module {
			continue
		}
		e, err := types.Encode(event.New(h.fact).WithID(h.id).At(h.at))
		t.ok("encode", err)
		writes = append(writes, eventlog.ToStream{Stream: "happening/" + h.id.String(), Events: []event.Event{e}})
	}
	_, err := log.Append(t.ctx, writes...)
	t.ok("record", err)
}

// store makes the store under test.
func (t *trial) store() process.Store { return t.setting.Store(t.T) }

func (t *trial) config(s process.Store) process.Config {
	return process.Config{Definition: telling, Home: "desk", Store: s, Replay: true, Partitions: 4, Batch: t.batch, Commands: t.receiver,
		Modules: []process.Module{{Name: "desk", Log: t.desk, Types: deskTypes}, {Name: "field", Log: t.field, Types: fieldTypes}},
		Retry:   process.Retry{Attempts: 1, Backoff: consumer.Backoff{First: time.Millisecond, Most: time.Millisecond}},
		Logger:  slog.New(slog.DiscardHandler)}
}

// home returns the home of the process, as a store is given it.
func (t *trial) home() process.Home {
	t.Helper()
	e, err := process.NewEngine(t.config(process.Streams{}))
	t.ok("make an engine", err)
	return e.Home()
}

// run runs a new engine with a new store until it has nothing left to do. Trouble that it reports fails the case, unless
// it is among the allowed messages.
func (t *trial) run(allowed ...string) process.Stats {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.ctx)
	defer stop(nil)
	config := t.config(&spy{Store: t.store(), trial: t})
	config.Logger = slog.New(&watch{allowed: allowed, trouble: stop})
	e, err := process.NewEngine(config)
	t.ok("make an engine", err)
	done := make(chan error, 1)
	go func() {
		err := e.Run(ctx)
		stop(errors.Join(errors.New("the engine ended"), err))
		done <- err
	}()
	err = e.WaitIdle(ctx)
	if err != nil {
		err = context.Cause(ctx)
	}
	stop(nil)
	if ended := <-done; err == nil {
		err = ended
	}
	t.ok("run the engine", err)
	if t.receiver.conflict != "" {
		t.Fatalf("%s", t.receiver.conflict)
	}
	return e.Stats()
}

// watch ends a run when the engine reports trouble.
type watch struct {
	allowed []string
	trouble context.CancelCauseFunc
}

func (*watch) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w *watch) WithAttrs([]slog.Attr) slog.Handler         { return w }
func (w *watch) WithGroup(string) slog.Handler              { return w }

// Handle implements slog.Handler.
func (w *watch) Handle(_ context.Context, r slog.Record) error {
	if slices.Contains(w.allowed, r.Message) {
		return nil
	}
	text := "the engine reports: " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	w.trouble(errors.New(text))
	return nil
}

// spy notes how the engine has the instances that it committed.
type spy struct {
	process.Store
	trial *trial
	saved map[string]string
}

// Load implements process.Store.
func (s *spy) Load(ctx context.Context, home process.Home, keys []string) ([]*process.Instance, error) {
	loaded, err := s.Store.Load(ctx, home, keys)
	if err == nil && len(loaded) != len(keys) {
		err = fmt.Errorf("%d keys are asked for, and %d instances returned", len(keys), len(loaded))
	}
	return loaded, err
}

// Save implements process.Store.
func (s *spy) Save(home process.Home, changes []process.Change) ([]eventlog.Write, error) {
	s.saved = map[string]string{}
	for _, c := range changes {
		s.saved[c.Instance.Key] = describe(c.Instance)
	}
	return s.Store.Save(home, changes)
}

// Note implements process.Noter: the changes are committed.
func (s *spy) Note(changes []process.Change, results []eventlog.Result) {
	s.trial.mu.Lock()
	for key, is := range s.saved {
		s.trial.kept[key] = is
	}
	s.trial.mu.Unlock()
	if n, ok := s.Store.(process.Noter); ok {
		n.Note(changes, results)
	}
}

// describe tells everything about an instance but its token; nil and empty look the same.
func describe(i *process.Instance) string {
	var b strings.Builder
	b.WriteString(i.Process + " " + decided(i))
	for _, m := range i.Marks {
		fmt.Fprintf(&b, "  mark %s %s %d\n", m.Module, m.Log, m.Position)
	}
	return b.String()
}

// decided is describe without what depends on the logs: what a machine decides as well.
func decided(i *process.Instance) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %v, life %d, %d steps, %d commands, started %s, changed %s\n", i.Key, i.Status, i.Incarnation, i.Steps, i.Sent,
		i.Started.Format(time.RFC3339Nano), i.Changed.Format(time.RFC3339Nano))
	state, err := json.Marshal(i.State)
	if err != nil {
		state = []byte(err.Error())
	}
	fmt.Fprintf(&b, "  state %T %s\n", i.State, state)
	for _, id := range i.Taken {
		fmt.Fprintf(&b, "  taken %s\n", id)
	}
	for _, timer := range i.Timers {
		fmt.Fprintf(&b, "  timer %s (%s) %s %s %s %+v\n", timer.Name, timer.Type, timer.Due.Format(time.RFC3339Nano), timer.ID, timer.Data, timer.Metadata)
	}
	for _, key := range i.Once {
		fmt.Fprintf(&b, "  once %s\n", key)
	}
	return b.String()
}

// load loads instances with a new store.
func (t *trial) load(keys ...string) []*process.Instance {
	t.Helper()
	loaded, err := t.store().Load(t.ctx, t.home(), keys)
	t.ok("load", err)
	if len(loaded) != len(keys) {
		t.Fatalf("%d keys are asked for, and %d instances returned", len(keys), len(loaded))
	}
	return loaded
}

// one loads an instance that has to be there.
func (t *trial) one(key string) *process.Instance {
	t.Helper()
	i := t.load(key)[0]
	if i == nil {
		t.Fatalf("instance %q is not there", key)
	}
	return i
}

// keeps fails unless the store has every instance as the engine had it when it was committed.
func (t *trial) keeps(atLeast int) {
	t.Helper()
	if len(t.kept) < atLeast {
		t.Fatalf("%d instances were saved, and should be %d", len(t.kept), atLeast)
	}
	var keys []string
	for key := range t.kept {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var got, want strings.Builder
	for n, i := range t.load(keys...) {
		want.WriteString(t.kept[keys[n]])
		if i == nil {
			fmt.Fprintf(&got, "%q is not there\n", keys[n])
			continue
		}
		got.WriteString(describe(i))
	}
	t.same("what is loaded", got.String(), want.String())
}

// outcome tells all that was decided about the keys: the instances, their commands in the order in which they were handled,
// and the events in their streams.
func (t *trial) outcome(keys ...string) string {
	t.Helper()
	var b strings.Builder
	for _, i := range t.load(keys...) {
		if i != nil {
			b.WriteString(decided(i))
		}
	}
	for _, key := range keys {
		for _, e := range t.emitted(key) {
			fmt.Fprintf(&b, "  emitted %s %s\n", e.ID, e.Data)
		}
	}
	var sent []string
	for _, id := range t.receiver.order {
		sent = append(sent, fmt.Sprintf("  sent %s %s\n", id, t.receiver.handled[id].Data))
	}
	slices.Sort(sent) // commands of different instances have no order
	return b.String() + strings.Join(sent, "")
}

// wanted tells the same of what a machine decides on the script.
func (t *trial) wanted(keys ...string) string {
	t.Helper()
	m := t.machine()
	emitted := map[string]string{}
	var sent []string
	t.decide(m, t.script, func(d process.Decision, e process.Effect) {
		data, err := json.Marshal(e.Value)
		t.ok("encode", err)
		switch e.Kind {
		case process.EffectEmitted:
			emitted[d.Instance] += fmt.Sprintf("  emitted %s %s\n", e.ID, data)
		case process.EffectSent:
			sent = append(sent, fmt.Sprintf("  sent %s %s\n", e.ID, data))
		}
	})
	var b strings.Builder
	for _, key := range keys {
		if i, ok := m.Instance(key); ok {
			b.WriteString(decided(&i))
		}
	}
	for _, key := range keys {
		b.WriteString(emitted[key])
	}
	slices.Sort(sent)
	return b.String() + strings.Join(sent, "")
}

func (t *trial) machine() *process.Machine {
	t.Helper()
	m, err := process.NewMachine(telling, process.MachineOptions{Home: "desk", Replay: true})
	t.ok("make a machine", err)
	return m
}

// decide gives a script to a machine and each of the effects to f.
func (t *trial) decide(m *process.Machine, script []happening, f func(process.Decision, process.Effect)) {
	t.Helper()
	for _, h := range script {
		decisions, err := m.Give(process.Fact{Event: event.New(h.fact).At(h.at), ID: h.id, Module: h.module, At: h.at})
		t.ok("let a machine decide", err)
		for _, d := range decisions {
			for _, e := range d.Effects {
				f(d, e)
			}
		}
	}
}

// emitted returns the domain events that stand in an instance's stream as its own.
func (t *trial) emitted(key string) []event.Recorded {
	t.Helper()
	var own []event.Recorded
	for _, e := range collect(t, t.desk.ReadStream(t.ctx, process.Stream("telling", key), eventlog.StreamQuery{})) {
		if !e.IsLink() {
			own = append(own, e)
		}
	}
	return own
}

// events counts the domain events of the home log.
func (t *trial) events() int { return len(collect(t, t.desk.Read(t.ctx, eventlog.Query{}))) }

// dump tells everything that the home log holds.
func (t *trial) dump() string {
	t.Helper()
	var b strings.Builder
	for _, e := range collect(t, t.desk.Read(t.ctx, eventlog.Query{System: true})) {
		fmt.Fprintf(&b, "%d %s %d %s %s\n", e.Position, e.Stream, e.Place.Version, e.ID, e.Type)
	}
	for _, kind := range eventlog.Kinds() {
		for _, e := range collect(t, t.desk.Entries(t.ctx, eventlog.EntryQuery{Kind: kind})) {
			fmt.Fprintf(&b, "%v %s %d %s\n", kind, e.Key, e.Revision, e.Value)
		}
	}
	return b.String()
}

// loseCursors lets the process forget how far it has read.
func (t *trial) loseCursors() {
	t.Helper()
	var writes []eventlog.Write
	for _, e := range collect(t, t.desk.Entries(t.ctx, eventlog.EntryQuery{Kind: eventlog.Cursor})) {
		writes = append(writes, eventlog.Delete{Kind: eventlog.Cursor, Key: e.Key})
	}
	if len(writes) == 0 {
		t.Fatalf("there are no cursors")
	}
	_, err := t.desk.Append(t.ctx, writes...)
	t.ok("lose the cursors", err)
}

// change lets an instance take an event of the script, as a step that only evolves it.
func (t *trial) change(home process.Home, i *process.Instance, n int, emitted ...event.Event) process.Change {
	t.Helper()
	h := t.script[n]
	log := t.field
	if h.module == "desk" {
		log = t.desk
	}
	found := collect(t, log.Read(t.ctx, eventlog.Query{IDs: []event.ID{h.id}}))
	if len(found) != 1 {
		t.Fatalf("event %d of the script is there %d times", n, len(found))
	}
	e := found[0]
	r := process.Record{Input: process.Taken{Kind: process.EventInput, ID: e.ID, Module: h.module, Log: log.ID(), Position: e.Position, Stream: e.Stream,
		Type: e.Type, Schema: e.Schema, Data: e.Data, Metadata: e.Metadata, Time: e.Occurred, Occurred: e.Occurred, Recorded: e.Recorded}, Emitted: len(emitted)}
	if i.Status == process.New {
		r.Birth = &process.Birth{Incarnation: 1}
	}
	t.ok("take an event", home.Replay(i, &r))
	return process.Change{Instance: i, Steps: []process.Taking{{Record: r, Emitted: emitted, Home: h.module == "desk"}}}
}

// commit saves changes as the engine does.
func (t *trial) commit(s process.Store, home process.Home, changes ...process.Change) error {
	t.Helper()
	writes, err := s.Save(home, changes)
	t.ok("save", err)
	done, err := t.desk.Append(t.ctx, writes...)
	if err != nil {
		return err
	}
	if n, ok := s.(process.Noter); ok {
		n.Note(changes, done.Results)
	}
	return nil
}

// collect reads a sequence to its end.
func collect[E any](t *trial, sequence iter.Seq2[E, error]) []E {
	t.Helper()
	var all []E
	for e, err := range sequence {
		t.ok("read", err)
		all = append(all, e)
	}
	return all
}
