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
	"path/filepath"
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

// Config says what is run. Data and Dir are needed.
type Config struct {
	Data string // folder with the four .csv.gz files; not needed once they are imported
	Dir  string // folder of the five logs; it is made if it does not exist

	Order    []string                         // of the modules, which decides between events of one instant; default authority.Names
	Watch    func(domain.Fine, *process.Step) // called at the end of every step, if not nil
	Imported func(events int)                 // called after every append of the import with how many events are there, if not nil
	Options  func(*ensue.Options)             // may change the engine's options
	Tell     func(Progress)                   // told of progress at every tick, if not nil
	Tick     time.Duration                    // default 250 ms
	Logger   *slog.Logger                     // default slog.Default()

	Collected func() error // called when the process has finished, while everything is still open, if not nil
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
	stats.Import = lap()
	if err == nil {
		err = Collect(ctx, app, c)
		stats.Engine = app.Process(authority.Collection).Stats()
	}
	if err == nil && c.Collected != nil {
		err = c.Collected()
	}
	if err = errors.Join(err, app.Close()); err != nil {
		return nil, stats, err
	}
	stats.Run = lap()
	if c.Tell != nil {
		c.Tell(Progress{Phase: Reporting})
	}
	r, err := report.Read(ctx, c.Dir)
	stats.Report = lap()
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
	return ensue.Open(ctx, c.Dir+string(filepath.Separator), append(parts, options)...)
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
