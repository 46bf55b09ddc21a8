package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Module is a module of the application as a process sees it: a log to read, and the types in it.
type Module struct {
	Name  string
	Log   eventlog.Log
	Types *event.Registry
}

// Commands takes the commands of processes to the modules that handle them.
type Commands interface {
	// Resolve returns the module that handles commands of a Go type, and their stable name. An empty module asks for the only one.
	Resolve(module string, goType reflect.Type) (target, name string, err error)
	// Encode is Resolve with the command's payload.
	Encode(module string, cmd any) (target, name string, data []byte, err error)
	// Dispatch has the command handled (G7). An error means that it has no outcome yet. First says that it was never dispatched
	// before, so that no receipt need be looked for.
	Dispatch(ctx context.Context, module string, c command.Envelope, first bool) (command.Outcome, error)
	// Fail has the command given up at its receiver: its outcome is failed from now on, and an attempt that is still under way
	// comes to nothing (G7). If it has another outcome by then, that is returned. An error means that it is not given up.
	Fail(ctx context.Context, module string, c command.Envelope, reason string) (command.Outcome, error)
}

// Retry is the policy for steps and dispatches that fail. OnError of a definition comes before it.
type Retry struct {
	Attempts int              // of a step, before its instance is held; default 5
	Dispatch int              // of a command, before it is given up at its receiver and becomes an OnFailed input; 0 for as often as it takes
	Backoff  consumer.Backoff // between attempts
}

// Config is what an engine runs. Definition, Home, Modules and Commands are needed, the rest has useful defaults.
type Config struct {
	Definition Definition
	Home       string   // the module whose log keeps the instances
	Modules    []Module // all modules of the application; their order decides between inputs of the same instant
	Commands   Commands

	Stored     string   // the name under which the process is kept, as StoredName tells; default the oldest of its names
	Store      Store    // default Streams
	Replay     bool     // run by the replay clock: inputs in the order and at the time that they occurred
	Written    []string // modules whose logs the run itself writes: they don't hold the replay clock back. The home always counts as one
	Carried    []string // headers that go from input to command to event
	Partitions int      // fixed when the process first runs; default 16
	Batch      int      // inputs in one transaction at most; default 512
	Workers    int      // commands dispatched at once at most; default 128
	Cache      int      // so many instances, of those used last, are kept in memory, and at most twice as many; default 100,000
	Retry      Retry
	Lease      consumer.LeaseOptions // of this worker; Worker is its identity among those that share the process
	Now        func() time.Time      // default time.Now
	Logger     *slog.Logger          // default slog.Default()
}

// Engine runs one process, or, where several workers share it, the partitions that are this one's.
type Engine struct {
	cfg    Config
	home   Home
	router *router
	reads  []string            // sources, in the order of the modules
	names  map[string][]string // event types to read, by source
	single int                 // inputs still to be taken one by one, since the batch that they were in failed
	refuse map[refused]error   // steps that the store refused
	read   atOnce

	correlates bool // instances claim keys
	clashes    int  // races for claimed keys that were lost one after the other

	byStore bool                             // timeouts run by the store's clock
	store   atomic.Pointer[func() time.Time] // as it was last asked

	notice chan struct{} // somebody asked for something

	mu    sync.Mutex
	stats Stats
	idle  idleness
}

// atOnce is how much is read from a store in one go.
type atOnce struct {
	events int // of a source
	timers int
}

// Stats counts what an engine did since it was made.
type Stats struct {
	Inputs       int64             // taken by an instance
	Duplicates   int64             // recognised and left alone
	Ignored      int64             // by a declared rule; an event that concerns several instances counts once for each that ignores it or is missing
	Timeouts     int64             // fired
	Commands     int64             // that got an outcome
	Transactions int64             // that the engine itself committed in the home log
	Owned        int               // partitions that it owns now; the next two are of these
	Held         int               // instances that are held now
	Waiting      int               // keys for which inputs are deferred now
	Clock        time.Time         // where the replay clock stands; zero without one
	Blocked      map[string]string // sources that cannot be read on, and why
}

// NewEngine checks the configuration and prepares an engine. All mistakes are returned, joined.
func NewEngine(cfg Config) (*Engine, error) {
	var errs []error
	def, err := cfg.Definition.ready()
	if err != nil {
		errs = append(errs, err)
	}
	cfg.Definition = def
	if cfg.Store == nil {
		cfg.Store = Streams{}
	}
	e := &Engine{refuse: map[refused]error{}, notice: make(chan struct{}, 1), read: atOnce{events: 512, timers: 4096}}
	if cfg.Now == nil {
		cfg.Now, e.byStore = e.storeTime, true
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Logger = cfg.Logger.With("process", def.name)
	if cfg.Lease.Logger == nil {
		cfg.Lease.Logger = cfg.Logger
	}
	if cfg.Lease.Worker.IsZero() {
		cfg.Lease.Worker = event.NewID()
	}
	cfg.Partitions = orDefault(cfg.Partitions, consumer.DefaultPartitions)
	cfg.Batch = orDefault(cfg.Batch, 512)
	cfg.Workers = orDefault(cfg.Workers, 128)
	cfg.Cache = orDefault(cfg.Cache, 100_000)
	cfg.Retry.Attempts = orDefault(cfg.Retry.Attempts, 5)

	types := make(map[string]*event.Registry, len(cfg.Modules))
	var home *Module
	for i := range cfg.Modules {
		m := &cfg.Modules[i]
		types[m.Name] = m.Types
		if m.Name == cfg.Home {
			home = m
		}
	}
	if home == nil {
		return nil, errors.Join(append(errs, fmt.Errorf("process %q: its home module %q is none of the application's", def.name, cfg.Home))...)
	}
	if cfg.Stored == "" {
		cfg.Stored = def.Names()[0]
	}
	def = def.kept(cfg.Stored)
	cfg.Definition = def
	r, err := newRouter(&def, types, commandNames(cfg.Commands))
	if err != nil {
		errs = append(errs, err)
	}
	if err := def.checkSends(cfg.Modules, cfg.Commands); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	e.cfg, e.router = cfg, r
	e.correlates = len(def.claimNames()) > 0
	var reads []string
	reads, e.names = r.sources()
	for _, m := range cfg.Modules { // ties go by the declared order of the modules
		if slices.Contains(reads, m.Name) {
			e.reads = append(e.reads, m.Name)
		}
	}
	linker, ok := home.Log.(eventlog.Linker)
	e.home = Home{Log: home.Log, name: def.name, module: home.Name, links: ok && linker.Links(), replay: cfg.Replay, def: &e.cfg.Definition, router: r}
	r.def = &e.cfg.Definition
	e.idle.changed = make(chan struct{})
	return e, nil
}

// storeTime is the time by the store's clock, once a worker has asked for it.
func (e *Engine) storeTime() time.Time {
	if now := e.store.Load(); now != nil {
		return (*now)()
	}
	return time.Now()
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// Home returns where the process keeps its instances.
func (e *Engine) Home() Home { return e.home }

// load loads instances, ready to take inputs. One that is not is a *StepError.
func (e *Engine) load(ctx context.Context, keys []string) ([]*Instance, error) {
	loaded, err := e.cfg.Store.Load(ctx, e.home, keys)
	if err != nil {
		return nil, err
	}
	for _, i := range loaded {
		if i == nil {
			continue
		}
		if err := e.home.settle(i); err != nil {
			return nil, err
		}
	}
	return loaded, nil
}

// Instance reads an instance as it is kept, with its state; the engine need not run. ErrNoInstance where there is none.
func (e *Engine) Instance(ctx context.Context, key string) (*Instance, error) {
	loaded, err := e.load(ctx, []string{key})
	if err != nil {
		return nil, err
	}
	if len(loaded) != 1 || loaded[0] == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoInstance, e.home.Stream(key))
	}
	return loaded[0], nil
}

// Stats returns what the engine did so far.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Blocked = nil
	for module, why := range e.stats.Blocked {
		if s.Blocked == nil {
			s.Blocked = map[string]string{}
		}
		s.Blocked[module] = why
	}
	return s
}

func (e *Engine) count(f func(*Stats)) {
	e.mu.Lock()
	f(&e.stats)
	e.mu.Unlock()
}

// Describe returns the description that Run writes into the home log.
func (e *Engine) Describe() Description {
	d := Description{Process: e.cfg.Definition.name, Name: e.cfg.Definition.declared, Version: e.cfg.Definition.Version(), Home: e.cfg.Home, Sources: e.reads, Partitions: e.cfg.Partitions, Clock: "wall"}
	if e.cfg.Replay {
		d.Clock = "replay"
	}
	switch e.cfg.Store.(type) {
	case Streams:
		d.Store = "streams"
	case Documents:
		d.Store = "documents"
	default:
		d.Store = fmt.Sprintf("%T", e.cfg.Store)
	}
	own := e.describe(e.router)
	d.Phases, d.Inputs, d.Deferral = own.Phases, own.Inputs, own.Deferral
	return d
}

// describe returns what a description says of the choices of a version of the definition.
func (e *Engine) describe(r *router) (d Description) {
	if r.def.phaseOf != nil {
		d.Phases = r.def.places()
	}
	for _, declared := range r.def.inputs {
		in := InputDescription{Kind: declared.kind, Name: declared.name, Starts: declared.starts(), Claim: declared.locator().claim}
		if in.Kind == EventInput && !in.Starts {
			in.NoInstance = declared.choices[PhaseNone].policy
		}
		for _, phase := range r.def.places() {
			in.Choices = append(in.Choices, declared.choices[phase].policy)
		}
		switch declared.kind {
		case EventInput:
			in.Module, _ = r.source(declared)
			in.Name, _ = r.types[in.Module].NameOf(declared.goType)
		case TimeoutInput:
			in.Former = declared.names()[1:]
		case RejectedInput, AcceptedInput, FailedInput:
			in.Module, in.Name, _ = e.cfg.Commands.Resolve("", declared.goType)
			if f, ok := e.cfg.Commands.(FormerNames); ok {
				in.Former = f.FormerNames(declared.goType)
			}
		}
		if slices.Contains(in.Choices, Defer) {
			d.Deferral = &r.def.deferral
		}
		d.Inputs = append(d.Inputs, in)
	}
	return d
}

// FormerNames is what Commands implements that knows the names that commands had before. Outcomes of commands that were
// sent under such a name are those of the command.
type FormerNames interface {
	// FormerNames returns the names that commands of a Go type had before, in the one module that handles them.
	FormerNames(goType reflect.Type) []string
}

// commandNames returns the function that tells all names of a command's type, the present one first.
func commandNames(c Commands) func(reflect.Type) ([]string, error) {
	return func(t reflect.Type) ([]string, error) {
		_, name, err := c.Resolve("", t)
		if err != nil {
			return nil, err
		}
		names := []string{name}
		if f, ok := c.(FormerNames); ok {
			names = append(names, f.FormerNames(t)...)
		}
		return names, nil
	}
}

// What cannot change once a process has run.
var (
	ErrPartitions = errors.New("process: the number of partitions cannot change")
	ErrStore      = errors.New("process: the store of a process that has instances cannot change")
)

// idleness lets others wait until a process has nothing left to do.
type idleness struct {
	is      bool
	heads   map[string]eventlog.Position // of the sources, when it became idle
	until   time.Time                    // when the next timeout is due by the wall clock; zero for none
	changed chan struct{}
}

func (e *Engine) setBusy() {
	e.mu.Lock()
	e.idle.is = false
	e.mu.Unlock()
}

func (e *Engine) setIdle(heads map[string]eventlog.Position, until time.Time) {
	e.mu.Lock()
	e.idle.is, e.idle.heads, e.idle.until = true, heads, until
	close(e.idle.changed)
	e.idle.changed = make(chan struct{})
	e.mu.Unlock()
}

// WaitIdle waits until the process has handled what its sources held when WaitIdle was called, its commands have their
// outcomes, and nothing is due. Held instances and inputs that wait for an instance don't count. Run must be running.
// Where several workers share the process, that is said of the partitions of this one, once it has its share of them.
func (e *Engine) WaitIdle(ctx context.Context) error {
	want := map[string]eventlog.Position{}
	for _, m := range e.cfg.Modules {
		if slices.Contains(e.reads, m.Name) {
			head, err := m.Log.Head(ctx)
			if err != nil {
				return err
			}
			want[m.Name] = head
		}
	}
	for {
		e.mu.Lock()
		reached := e.idle.is && (e.idle.until.IsZero() || e.cfg.Now().Before(e.idle.until))
		for module, head := range want {
			reached = reached && e.idle.heads[module] >= head
		}
		changed := e.idle.changed
		e.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
