// Package ensue opens the modules of an application and runs what it consists of: commands, domain-event handlers and
// process managers.
//
// The smallest useful program names a module's events, commands and processes, and runs them on one SQLite file:
//
//	app, err := ensue.Open(ctx, "catering.db", ensue.Module{
//		Name:      "orders",
//		Events:    []event.Type{event.Named[OrderConfirmed]("order-confirmed")},
//		Commands:  []command.Handler{command.Handle("confirm-order", confirmOrder)},
//		Processes: []process.Definition{CateringMatch},
//	})
//	// …
//	defer app.Close()
//	err = app.Run(ctx)
package ensue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/tick"
)

// Part is what Open is given: any number of Module, and at most one Options.
type Part interface{ part() }

// Module declares a bounded context. It owns exactly one log.
type Module struct {
	Name      string               // 1 to 100 letters, digits or "-_"; stable: it names the log
	Address   string               // where its log is, if not where Open says
	Events    []event.Type         // every event of its log
	Commands  []command.Handler    // what it handles
	Handlers  []aggregate.Handler  // what happens with its events, inside the transaction or afterwards
	Processes []process.Definition // processes whose instances its log keeps
	Ticks     []tick.Definition    // its recurring time events; by the replay clock none are made, since the recorded ones are in its log
}

func (Module) part() {}

// Options change how an application runs. The zero value is useful.
type Options struct {
	Carried   []string                  // names of headers that go from input to command to event
	Replay    bool                      // run every process by the replay clock: inputs in the order and at the time that they occurred
	Processes map[string]ProcessOptions // by process name
	Lease     time.Duration             // how long a process waits for a worker that vanished without a word, at most; default 15 s
	Poll      time.Duration             // how often a log looks for what other programs wrote; default 40 ms
	Now       func() time.Time          // the clock; default time.Now, and for timeouts that of the store, if it has one of its own
	Logger    *slog.Logger              // default slog.Default()
	MustExist bool                      // fail where a log does not exist, instead of making it
	Worker    event.ID                  // identity of this program among those that share a process, for one that goes on at once where it stopped; never give it to two at a time. Default: a new one

	// Logs, if set, returns the log of each module, which the caller has opened and closes: addresses are not looked at then.
	Logs func(module string) eventlog.Log
	// Commands, if set, wraps what takes the commands of processes to their modules: to measure, or to crash in a test.
	Commands func(process.Commands) process.Commands
}

func (Options) part() {}

// ProcessOptions change how one process runs. The zero value is useful.
type ProcessOptions struct {
	Store      process.Store // where its instances are kept; default process.Streams
	Partitions int           // fixed when it first runs; default 16
	Batch      int           // inputs in one transaction at most; default 512
	Workers    int           // commands dispatched at once at most; default 128
	Cache      int           // so many instances, of those used last, are kept in memory, and at most twice as many; default 100,000
	Retry      process.Retry // of steps and commands that fail; process.OnError in the definition comes before it
}

// App is an application whose modules are open.
type App struct {
	options Options
	clock   func() time.Time // of timeouts; nil for that of the store
	modules []*OpenModule
	engines []*process.Engine
	names   map[string]*process.Engine
	stores  stores
}

// OpenModule is a module of an open application.
type OpenModule struct {
	declared Module
	log      eventlog.Log
	types    *event.Registry
	module   *aggregate.Module
	bus      *command.Bus
	ticks    *tick.Runner // nil where none are made
}

// Open opens the logs of all modules and checks every definition; all mistakes are returned at once, joined, and nothing
// runs before Run.
//
// The address says where the logs are: the name of a SQLite file, which then holds all modules; the name of a folder
// (one that exists, or ends in "/") with a file for each; "postgres://…" for a PostgreSQL database, whose schema "ensue", or
// the one named by ?schema=, then holds all modules; or "memory:" for logs that end with the program. A module may name an
// address of its own.
func Open(ctx context.Context, address string, parts ...Part) (*App, error) {
	return open(ctx, address, false, parts...)
}

// open is Open; only to look, nothing is made or written, and the application cannot be run.
func open(ctx context.Context, address string, look bool, parts ...Part) (_ *App, err error) {
	app := &App{names: map[string]*process.Engine{}, stores: stores{open: map[string]store{}, look: look}}
	defer func() {
		if err != nil {
			err = errors.Join(err, app.Close())
		}
	}()
	options := 0
	var declared []Module
	for _, p := range parts {
		switch p := p.(type) {
		case Module:
			declared = append(declared, p)
		case Options:
			app.options = p
			options++
		default:
			return nil, fmt.Errorf("ensue: Open takes Module and Options, not %T", p)
		}
	}
	o := &app.options
	app.clock = o.Now
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := check(declared, options); err != nil {
		return nil, err
	}
	for _, m := range declared {
		opened, err := app.openModule(ctx, address, m)
		if err != nil {
			return nil, fmt.Errorf("ensue: module %q: %w", m.Name, err)
		}
		app.modules = append(app.modules, opened)
	}
	if err := app.openProcesses(ctx); err != nil {
		return nil, fmt.Errorf("ensue: %w", err)
	}
	if look {
		return app, nil
	}
	for _, m := range app.modules {
		if err := m.module.Begin(ctx); err != nil {
			return nil, fmt.Errorf("ensue: module %q: %w", m.declared.Name, err)
		}
	}
	return app, nil
}

func check(modules []Module, options int) error {
	var errs []error
	if options > 1 {
		errs = append(errs, errors.New("ensue: Open was given more than one Options"))
	}
	if len(modules) == 0 {
		errs = append(errs, errors.New("ensue: Open was given no Module"))
	}
	seen := map[string]bool{}
	for _, m := range modules {
		if err := checkModuleName(m.Name); err != nil {
			errs = append(errs, err)
		}
		if seen[m.Name] {
			errs = append(errs, fmt.Errorf("ensue: two modules are named %q", m.Name))
		}
		seen[m.Name] = true
		if _, err := event.NewRegistry(m.Events...); err != nil {
			errs = append(errs, fmt.Errorf("ensue: module %q: %w", m.Name, err))
		}
		for _, d := range m.Processes {
			if err := d.Check(); err != nil {
				errs = append(errs, fmt.Errorf("ensue: module %q: %w", m.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func checkModuleName(name string) error {
	bad := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	if name == "" || len(name) > 100 || slices.ContainsFunc([]rune(name), bad) {
		return fmt.Errorf("ensue: a module's name is 1 to 100 letters, digits, - or _, not %q", name)
	}
	return nil
}

func (a *App) openModule(ctx context.Context, address string, m Module) (*OpenModule, error) {
	if m.Address != "" {
		address = m.Address
	}
	types, err := event.NewRegistry(m.Events...)
	if err != nil {
		return nil, err
	}
	log, err := a.openLog(ctx, address, m.Name)
	if err != nil {
		return nil, err
	}
	module := &aggregate.Module{Name: m.Name, Log: log, Types: types, Handlers: m.Handlers, Carried: a.options.Carried, Now: a.options.Now, Logger: a.options.Logger}
	bus, err := command.NewBus(command.Config{Module: module, Handlers: m.Commands})
	if err != nil {
		return nil, err
	}
	ticks, err := tick.New(tick.Config{Module: module, Ticks: m.Ticks, Now: a.clock, Logger: a.options.Logger})
	if err != nil {
		return nil, err
	}
	if a.options.Replay {
		ticks = nil
	}
	return &OpenModule{declared: m, log: log, types: types, module: module, bus: bus, ticks: ticks}, nil
}

func (a *App) openLog(ctx context.Context, address, module string) (eventlog.Log, error) {
	if a.options.Logs == nil {
		return a.stores.log(ctx, address, module, &a.options)
	}
	log := a.options.Logs(module)
	if log == nil {
		return nil, errors.New("Options.Logs has no log for it")
	}
	return log, nil
}

func (a *App) openProcesses(ctx context.Context) error {
	commands := process.Commands((*receivers)(a))
	if a.options.Commands != nil {
		commands = a.options.Commands(commands)
	}
	modules := make([]process.Module, len(a.modules))
	var written []string
	for n, m := range a.modules {
		modules[n] = process.Module{Name: m.declared.Name, Log: m.log, Types: m.types}
		if len(m.declared.Commands) > 0 {
			written = append(written, m.declared.Name)
		}
	}
	var errs []error
	for _, m := range a.modules {
		for _, d := range m.declared.Processes {
			stored, err := process.StoredName(ctx, m.log, d)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if a.names[d.Name()] != nil {
				errs = append(errs, fmt.Errorf("two processes are named %q", d.Name()))
				continue
			}
			o := a.options.Processes[d.Name()]
			engine, err := process.NewEngine(process.Config{Definition: d, Home: m.declared.Name, Modules: modules, Commands: commands,
				Stored: stored, Store: o.Store, Replay: a.options.Replay, Written: written, Carried: a.options.Carried, Partitions: o.Partitions, Batch: o.Batch,
				Workers: o.Workers, Cache: o.Cache, Retry: o.Retry, Lease: consumer.LeaseOptions{TTL: a.options.Lease, Logger: a.options.Logger, Worker: a.options.Worker},
				Now: a.clock, Logger: a.options.Logger})
			if err != nil {
				errs = append(errs, err)
				continue
			}
			a.names[d.Name()] = engine
			a.engines = append(a.engines, engine)
		}
	}
	for name := range a.options.Processes {
		if a.names[name] == nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("Options.Processes names %q, which no module has", name))
		}
	}
	return errors.Join(errs...)
}

// Close closes the logs. Call it when Run has returned.
func (a *App) Close() error { return a.stores.close() }

// Module returns an open module. A name that the application does not have gives nil.
func (a *App) Module(name string) *OpenModule {
	for _, m := range a.modules {
		if m.declared.Name == name {
			return m
		}
	}
	return nil
}

// Process returns the engine of a process, by its name or one that it had; nil where the application has none of that name.
func (a *App) Process(name string) *process.Engine {
	if e := a.names[name]; e != nil {
		return e
	}
	for _, m := range a.modules {
		for _, d := range m.declared.Processes {
			if slices.Contains(d.Names(), name) {
				return a.names[d.Name()]
			}
		}
	}
	return nil
}

// Name returns the module's name.
func (m *OpenModule) Name() string { return m.declared.Name }

// Log returns the module's log.
func (m *OpenModule) Log() eventlog.Log { return m.log }

// Types returns the registry of the module's events.
func (m *OpenModule) Types() *event.Registry { return m.types }

// Bus returns what handles the module's commands.
func (m *OpenModule) Bus() *command.Bus { return m.bus }

// Record appends facts that need no decision to a stream, without a command; see aggregate.Record.
func (m *OpenModule) Record(ctx context.Context, stream string, facts ...any) (eventlog.Appended, error) {
	return aggregate.Record(ctx, m.module, stream, facts...)
}

// Seal says that the module's log is complete: a run by the replay clock may pass its end. Call it behind an import.
func (m *OpenModule) Seal(ctx context.Context) error {
	head, err := m.log.Head(ctx)
	if err != nil {
		return err
	}
	seal, err := process.PutSeal(process.Seal{Position: head})
	if err != nil {
		return err
	}
	_, err = m.log.Append(ctx, seal)
	return err
}

// Do has a command handled by the one module that handles its type, and returns the result. A rejection is a
// *command.Rejection.
func Do[R any](ctx context.Context, a *App, cmd any, settings ...command.Setting) (R, error) {
	m, err := a.receiver("", reflect.TypeOf(cmd))
	if err != nil {
		var none R
		return none, err
	}
	return command.Do[R](ctx, m.bus, cmd, settings...)
}

// Submit puts a command durably into the queue of the module that handles its type, and returns its id, by which
// Status tells what became of it. Run handles it.
func (a *App) Submit(ctx context.Context, cmd any, settings ...command.Setting) (command.ID, error) {
	m, err := a.receiver("", reflect.TypeOf(cmd))
	if err != nil {
		return command.ID{}, err
	}
	return m.bus.Submit(ctx, cmd, settings...)
}

// Status tells what became of a command, in whichever module.
func (a *App) Status(ctx context.Context, id command.ID) (command.Outcome, error) {
	for _, m := range a.modules {
		o, err := m.bus.Status(ctx, id)
		if err != nil || o.Status != command.Unknown {
			return o, err
		}
	}
	return command.Outcome{ID: id}, nil
}

// ReceiverError reports a command that not exactly one module handles.
type ReceiverError struct {
	GoType  reflect.Type
	Modules []string // that handle it
	Module  string   // that was asked for, if any
}

func (e *ReceiverError) Error() string {
	switch {
	case e.Module != "":
		return fmt.Sprintf("ensue: module %q does not handle %v; add command.Handle(\"…\", …) to its Commands", e.Module, e.GoType)
	case len(e.Modules) == 0:
		return fmt.Sprintf("ensue: no module handles %v; add command.Handle(\"…\", …) to the Commands of one", e.GoType)
	default:
		return fmt.Sprintf("ensue: modules %q all handle %v; name one by SendTo", e.Modules, e.GoType)
	}
}

func (a *App) receiver(module string, goType reflect.Type) (*OpenModule, error) {
	var found []*OpenModule
	var names []string
	for _, m := range a.modules {
		if module != "" && m.declared.Name != module {
			continue
		}
		if _, ok := m.bus.Handles(goType); ok {
			found = append(found, m)
			names = append(names, m.declared.Name)
		}
	}
	if len(found) != 1 {
		return nil, &ReceiverError{GoType: goType, Modules: names, Module: module}
	}
	return found[0], nil
}

// receivers is the application as the processes' receiver of commands.
type receivers App

func (r *receivers) Resolve(module string, goType reflect.Type) (target, name string, err error) {
	m, err := (*App)(r).receiver(module, goType)
	if err != nil {
		return "", "", err
	}
	name, _ = m.bus.Handles(goType)
	return m.declared.Name, name, nil
}

func (r *receivers) Encode(module string, cmd any) (target, name string, data []byte, err error) {
	m, err := (*App)(r).receiver(module, reflect.TypeOf(cmd))
	if err != nil {
		return "", "", nil, err
	}
	e, err := m.bus.Encode(cmd)
	return m.declared.Name, e.Type, e.Data, err
}

// FormerNames implements process.FormerNames.
func (r *receivers) FormerNames(goType reflect.Type) []string {
	m, err := (*App)(r).receiver("", goType)
	if err != nil {
		return nil
	}
	return m.bus.FormerNames(goType)
}

func (r *receivers) Dispatch(ctx context.Context, module string, c command.Envelope, first bool) (command.Outcome, error) {
	m := (*App)(r).Module(module)
	if m == nil {
		return command.Outcome{}, fmt.Errorf("ensue: command %q is for module %q, which this application does not have", c.Type, module)
	}
	return m.bus.Dispatch(ctx, c, command.Hint{First: first})
}

func (r *receivers) Fail(ctx context.Context, module string, c command.Envelope, reason string) (command.Outcome, error) {
	m := (*App)(r).Module(module)
	if m == nil {
		return command.Outcome{}, fmt.Errorf("ensue: command %q is for module %q, which this application does not have", c.Type, module)
	}
	return m.bus.Fail(ctx, c, reason)
}
