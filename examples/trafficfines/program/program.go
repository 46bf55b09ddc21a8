// Package program is the program of the example: it imports the recorded fines, runs the process over them and reports
// what it led to.
//
//	os.Exit(program.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
package program

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/process"
)

// Config says what is run. Address is needed, and Data unless everything was imported before.
type Config struct {
	Data    string // folder with the four .csv.gz files
	Address string // of the five logs, as for ensue.Open; they must outlive the program

	Order   []string             // of the modules, which decides between events of one instant; default authority.Names
	Options func(*ensue.Options) // may change the engine's options
	Tick    time.Duration        // how often Tell is called; default 250 ms
	Logger  *slog.Logger         // default slog.Default()

	// What is called on the way, where it is not nil.
	Tell     func(Progress)                   // at every tick
	Imported func(events int)                 // after every append of the import, with how many events are there
	Watch    func(domain.Fine, *process.Step) // at the end of every step
}

// Progress is how far a run is.
type Progress struct {
	Phase  Phase
	Events int           // imported
	Engine process.Stats // of this run alone
}

// Phase is what a run does at the moment.
type Phase string

// The phases, in order.
const (
	Importing  Phase = "import"
	Collecting Phase = "run"
	Reporting  Phase = "read back"
)

// Stats is what a run took.
type Stats struct {
	Import, Run, Report time.Duration
	Engine              process.Stats // of this run alone
	Memory              [3]int64      // bytes resident at most, up to the end of each; 0 where the system doesn't tell
}

// Run imports, runs and reports. Whatever was done by a run before this one, finished or interrupted, is not done again.
func Run(ctx context.Context, c Config) (*report.Report, Stats, error) {
	var stats Stats
	began := time.Now()
	lap := func() time.Duration {
		took := time.Since(began)
		began = began.Add(took)
		return took
	}
	app, err := Open(ctx, c)
	if err != nil {
		return nil, stats, err
	}
	err = Import(ctx, app, c)
	stats.Import, stats.Memory[0] = lap(), mostMemory()
	if err == nil {
		err = Collect(ctx, app, c)
		stats.Engine = app.Process(authority.Collection).Stats()
	}
	if err = errors.Join(err, app.Close()); err != nil {
		return nil, stats, err
	}
	stats.Run, stats.Memory[1] = lap(), mostMemory()
	if c.Tell != nil {
		c.Tell(Progress{Phase: Reporting})
	}
	r, err := report.Read(ctx, c.Address)
	stats.Report, stats.Memory[2] = lap(), mostMemory()
	return r, stats, err
}

// Open opens the application.
func Open(ctx context.Context, c Config) (*ensue.App, error) {
	options := ensue.Options{Replay: true, Logger: c.Logger, Processes: map[string]ensue.ProcessOptions{
		authority.Collection: {Batch: 2048, Cache: 200_000},
	}}
	if c.Options != nil {
		c.Options(&options)
	}
	parts, err := authority.InOrder(authority.Modules(authority.FineCollection(c.Watch)), c.Order)
	if err != nil {
		return nil, err
	}
	return ensue.Open(ctx, c.Address, append(parts, options)...)
}

// Import imports all sources, each beside the others.
func Import(ctx context.Context, app *ensue.App, c Config) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	errs := make([]error, len(authority.Sources))
	var there atomic.Int64
	end := c.every(ctx, func() Progress { return Progress{Phase: Importing, Events: int(there.Load())} })
	defer end()
	for n, module := range authority.Sources {
		all.Go(func() {
			before := 0
			errs[n] = dataset.Import(ctx, c.Data, app.Module(module), func(events int) {
				sum := there.Add(int64(events - before))
				if before = events; c.Imported != nil {
					c.Imported(int(sum))
				}
			})
			if errs[n] != nil {
				stop() // nothing can be run without it
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// Collect runs the process until it has finished.
func Collect(ctx context.Context, app *ensue.App, c Config) error {
	engine := app.Process(authority.Collection)
	end := c.every(ctx, func() Progress { return Progress{Phase: Collecting, Engine: engine.Stats()} })
	defer end()
	return errors.Join(app.Run(ctx), ctx.Err()) // Run returns nil when the context ends
}

// every tells about progress until the function that it returns is called.
func (c Config) every(ctx context.Context, progress func() Progress) (end func()) {
	if c.Tell == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(cmp.Or(c.Tick, 250*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				c.Tell(progress())
				return
			case <-tick.C:
				c.Tell(progress())
			}
		}
	})
	return func() { stop(); telling.Wait() }
}
