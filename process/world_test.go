package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// The little world of these tests: sales, the home of the process "order"; payments, which it reads; and stock, which
// handles its commands.
type (
	OrderPlaced struct {
		ID  string
		Qty int
	}
	OrderClosed struct{ ID, How string }
	Paid        struct {
		ID    string
		Cents int
	}
	Noted   struct{ ID string }
	Reserve struct {
		ID  string
		Qty int
	}
	Release  struct{ ID string }
	Ship     struct{ ID string }
	Stocked  struct{ ID, What string }
	PayDue   struct{}
	OrderRun struct {
		Reserved     bool
		Cents, Notes int
		Inputs       []string
		Trouble      map[string]int
	}
)

// orderProcess handles everything that the engine offers. Trouble, if set, is asked in every Evolve.
func orderProcess(trouble func(id string, input any)) process.Definition {
	ask := func(id string, input any) {
		if trouble != nil {
			trouble(id, input)
		}
	}
	saw := func(s OrderRun, what string) OrderRun { s.Inputs = append(s.Inputs, what); return s }
	return process.Define("order",
		process.On[OrderRun, OrderPlaced]{
			Starts: true,
			Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[OrderPlaced]) OrderRun {
				s = saw(s, "placed")
				ask(in.Event.ID, in.Event)
				return s
			},
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty})
				do.After(time.Hour, PayDue{})
			},
		},
		process.On[OrderRun, Paid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e Paid) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Paid]) OrderRun {
				s.Cents += in.Event.Cents
				s = saw(s, fmt.Sprintf("paid %d", in.Event.Cents))
				if s.Trouble == nil {
					s.Trouble = map[string]int{}
				}
				s.Trouble["changed in place"]++
				ask(in.Event.ID, in.Event)
				return s
			},
			React: func(_ OrderRun, _ process.Input[Paid], do *process.Step) { do.Cancel(PayDue{}) },
		},
		process.On[OrderRun, Noted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e Noted) string { return e.ID }),
			Evolve: func(s OrderRun, in process.Input[Noted]) OrderRun {
				s.Notes++
				s = saw(s, "noted")
				ask(in.Event.ID, in.Event)
				return s
			},
		},
		process.OnTimeout[OrderRun, PayDue]{
			Name:   "pay-due",
			Evolve: func(s OrderRun, _ process.Input[PayDue]) OrderRun { return saw(s, "pay-due") },
			React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) {
				do.Send(Release{ID: do.Instance()})
				do.Emit(OrderClosed{ID: do.Instance(), How: "expired"})
				do.Complete()
			},
		},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]]) OrderRun {
				s.Reserved = true
				return s
			},
		},
		process.OnRejected[OrderRun, Reserve]{
			React: func(_ OrderRun, in process.Input[process.Rejected[Reserve]], do *process.Step) {
				do.Emit(OrderClosed{ID: do.Instance(), How: "rejected: " + in.Event.Rejection.Code})
				do.Complete()
			},
		},
		process.React(func(s OrderRun, do *process.Step) {
			if s.Reserved && s.Cents > 0 && do.Once("ship") {
				do.Send(Ship{ID: do.Instance()})
				do.Emit(OrderClosed{ID: do.Instance(), How: "shipped"})
				do.Complete()
			}
		}),
	).Otherwise(process.Ignore)
}

// world holds the logs, which outlive the engines that run on them.
type world struct {
	t      testing.TB
	logs   map[string]eventlog.Log
	types  map[string]*event.Registry
	config process.Config // what a test changes
	order  []string       // of the modules
	log    func(module string, l eventlog.Log) eventlog.Log
	bus    func(module string, next dispatch) dispatch
	names  func(process.Commands) process.Commands
	fail   func(ctx context.Context, c command.Envelope, reason string, bus *command.Bus) (command.Outcome, error)
	clock  func() time.Time // of stock
	calls  struct {
		sync.Mutex
		handled []string // commands whose handler ran
	}
}

type dispatch func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error)

func newWorld(t testing.TB) *world {
	w := &world{t: t, logs: map[string]eventlog.Log{}, types: map[string]*event.Registry{}, order: []string{"sales", "payments", "stock"}}
	for _, m := range w.order {
		w.logs[m] = memlog.New()
	}
	w.types["sales"] = must(event.NewRegistry(event.Named[OrderPlaced]("order-placed"), event.Named[OrderClosed]("order-closed")))
	w.types["payments"] = must(event.NewRegistry(event.Named[Paid]("paid"), event.Named[Noted]("noted")))
	w.types["stock"] = must(event.NewRegistry(event.Named[Stocked]("stocked")))
	w.config = process.Config{Definition: orderProcess(nil), Home: "sales", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Retry: process.Retry{Attempts: 3, Backoff: consumer.Backoff{First: time.Millisecond, Most: 2 * time.Millisecond}}}
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// record appends facts to a module, to the stream of their own kind.
func (w *world) record(module string, facts ...any) {
	w.t.Helper()
	m := &aggregate.Module{Name: module, Log: w.logs[module], Types: w.types[module]}
	for _, f := range facts {
		if _, err := aggregate.Record(context.Background(), m, "fact/"+module, f); err != nil {
			w.t.Fatal(err)
		}
	}
}

// wrapped is a log as the engine sees it, with a test's own Append.
type wrapped struct {
	eventlog.Log
	append func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error)
}

func (l wrapped) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	return l.append(ctx, writes...)
}
func (l wrapped) Links() bool { return true }

// engine makes an engine on the logs as they are.
func (w *world) engine() *process.Engine {
	w.t.Helper()
	cfg := w.config
	cfg.Modules = nil
	logs := map[string]eventlog.Log{}
	for _, m := range w.order {
		logs[m] = w.logs[m]
		if w.log != nil {
			logs[m] = w.log(m, logs[m])
		}
		cfg.Modules = append(cfg.Modules, process.Module{Name: m, Log: logs[m], Types: w.types[m]})
	}
	handle := func(what string) {
		w.calls.Lock()
		w.calls.handled = append(w.calls.handled, what)
		w.calls.Unlock()
	}
	stock := &aggregate.Module{Name: "stock", Log: logs["stock"], Types: w.types["stock"], Now: w.clock}
	bus := must(command.NewBus(command.Config{Module: stock, Handlers: []command.Handler{
		command.Handle("reserve", func(_ context.Context, work *aggregate.Work, c Reserve) (struct{}, error) {
			handle("reserve " + c.ID)
			if c.Qty > 10 {
				return struct{}{}, command.Reject("too-many", "at most 10")
			}
			return struct{}{}, work.Append("stock/"+c.ID, eventlog.Any, Stocked{c.ID, "reserved"})
		}),
		command.Handle("release", func(_ context.Context, work *aggregate.Work, c Release) (struct{}, error) {
			handle("release " + c.ID)
			return struct{}{}, work.Append("stock/"+c.ID, eventlog.Any, Stocked{c.ID, "released"})
		}),
		command.Handle("ship", func(_ context.Context, work *aggregate.Work, c Ship) (struct{}, error) {
			handle("ship " + c.ID)
			return struct{}{}, work.Append("stock/"+c.ID, eventlog.Any, Stocked{c.ID, "shipped"})
		}),
	}}))
	send := dispatch(func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
		return bus.Dispatch(ctx, c, command.Hint{First: first})
	})
	if w.bus != nil {
		send = w.bus("stock", send)
	}
	cfg.Commands = oneBus{bus, send, w}
	if w.names != nil {
		cfg.Commands = w.names(cfg.Commands)
	}
	e, err := process.NewEngine(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// oneBus is an application in which one module handles all commands.
type oneBus struct {
	bus  *command.Bus
	send dispatch
	w    *world
}

func (b oneBus) Resolve(_ string, t reflect.Type) (string, string, error) {
	name, ok := b.bus.Handles(t)
	if !ok {
		return "", "", fmt.Errorf("nobody handles %v", t)
	}
	return "stock", name, nil
}

func (b oneBus) Encode(_ string, cmd any) (string, string, []byte, error) {
	e, err := b.bus.Encode(cmd)
	return "stock", e.Type, e.Data, err
}

func (b oneBus) Dispatch(ctx context.Context, _ string, c command.Envelope, first bool) (command.Outcome, error) {
	return b.send(ctx, c, first)
}

func (b oneBus) Fail(ctx context.Context, _ string, c command.Envelope, reason string) (command.Outcome, error) {
	if b.w.fail != nil {
		return b.w.fail(ctx, c, reason, b.bus)
	}
	return b.bus.Fail(ctx, c, reason)
}

// run runs an engine until it is idle.
func (w *world) run() process.Stats {
	w.t.Helper()
	e := w.engine()
	w.with(e, func(ctx context.Context) {
		if err := e.WaitIdle(ctx); err != nil {
			w.t.Fatalf("not idle: %v; %+v", err, e.Stats())
		}
	})
	return e.Stats()
}

// with runs an engine while do runs.
func (w *world) with(e *process.Engine, do func(ctx context.Context)) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	run, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = e.Run(run) })
	do(ctx)
	end()
	running.Wait()
	if err != nil {
		w.t.Fatal(err)
	}
}

// stock returns what happened in stock, by order.
func (w *world) stock() map[string][]string {
	all := map[string][]string{}
	for _, f := range w.facts("stock") {
		s := f.(Stocked)
		all[s.ID] = append(all[s.ID], s.What)
	}
	return all
}

// closed returns how orders were closed.
func (w *world) closed() map[string][]string {
	all := map[string][]string{}
	for _, f := range w.facts("sales") {
		if c, ok := f.(OrderClosed); ok {
			all[c.ID] = append(all[c.ID], c.How)
		}
	}
	return all
}

func (w *world) facts(module string) []any {
	w.t.Helper()
	var facts []any
	for rec, err := range w.logs[module].Read(context.Background(), eventlog.Query{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		facts = append(facts, must(w.types[module].Decode(rec.Event))...)
	}
	return facts
}

// history tells, of every instance, the inputs that it took, in order, and what it decided.
func (w *world) history(e *process.Engine) string {
	w.t.Helper()
	var b strings.Builder
	ctx := context.Background()
	for s, err := range process.ListInstances(ctx, w.logs["sales"], "order", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		var inputs []string
		for step, err := range process.History(ctx, e.Home(), s.Key) {
			if err != nil {
				w.t.Fatal(err)
			}
			what := step.Input.Type
			if step.Ignored != "" {
				what += " ignored (" + step.Ignored + ")"
			}
			for _, sent := range step.Sent {
				what += " → " + sent.Type + " " + sent.ID.String()[:8]
			}
			for _, set := range step.Set {
				what += " ⏲" + set.Name
			}
			for _, c := range step.Cancelled {
				what += " ✗" + c
			}
			inputs = append(inputs, what)
		}
		fmt.Fprintf(&b, "%s (%v): %s\n", s.Key, s.Status, strings.Join(inputs, ", "))
	}
	return b.String()
}

// entries returns the keys of the home log's entries of a kind.
func (w *world) entries(kind eventlog.Kind) (keys []string) {
	for e, err := range w.logs["sales"].Entries(context.Background(), eventlog.EntryQuery{Kind: kind}) {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

// loseCursors sets every cursor of the process back to 0.
func (w *world) loseCursors() {
	w.t.Helper()
	keys := w.entries(eventlog.Cursor)
	if len(keys) == 0 {
		w.t.Fatal("there were no cursors to lose")
	}
	for _, key := range keys {
		if _, err := w.logs["sales"].Append(context.Background(), eventlog.Delete{Kind: eventlog.Cursor, Key: key}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// state returns an instance's state, read anew.
func (w *world) state(key string) (OrderRun, process.Status) {
	w.t.Helper()
	e := w.engine()
	store := w.config.Store
	if store == nil {
		store = process.Streams{}
	}
	loaded, err := store.Load(context.Background(), e.Home(), []string{key})
	if err != nil {
		w.t.Fatal(err)
	}
	if loaded[0] == nil {
		return OrderRun{}, process.New
	}
	return loaded[0].State.(OrderRun), loaded[0].Status
}

func (w *world) wantStock(want map[string][]string) {
	w.t.Helper()
	got := w.stock()
	for _, what := range got {
		slices.Sort(what)
	}
	for _, what := range want {
		slices.Sort(what)
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("stock: got %v, want %v", got, want)
	}
}

var errCrash = errors.New("crash")
