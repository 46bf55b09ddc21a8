package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
	"github.com/ensue-io/ensue/process"
)

// workerArgument, first on the command line, makes the program the one that is killed.
const workerArgument = "worker"

// addressVariable tells a worker where the logs are.
const addressVariable = "ENSUE_FINES_WORKER_ADDRESS"

// moment is when a worker is killed: a while after it imported so many events, or took so many inputs, or began.
type moment struct {
	events, inputs int64
	delay          time.Duration
}

// perLine is how many inputs a worker takes before it says so: that many may be missing from what it said when it was killed.
const perLine = 64

// worker runs the program until its moment comes. It tells what it did line by line: "steps" and how many it computed,
// those that were never committed included; "duplicates" and how many inputs it recognised; at the end "figures".
func worker(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c program.Config
	var m moment
	var batch int
	flags := flag.NewFlagSet(workerArgument, flag.ContinueOnError)
	flags.StringVar(&c.Data, "data", "", "")
	c.Address = os.Getenv(addressVariable)
	flags.IntVar(&batch, "batch", 0, "")
	kill := flags.Bool("kill", false, "")
	flags.Int64Var(&m.events, "events", 0, "")
	flags.Int64Var(&m.inputs, "inputs", 0, "")
	flags.DurationVar(&m.delay, "delay", 0, "")
	share := flags.Bool("share", false, "")
	lease := flags.Duration("lease", 0, "")
	pace := flags.Duration("pace", 0, "")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	c.Options = func(o *ensue.Options) {
		o.Lease = *lease
		if p := o.Processes[authority.Collection]; batch > 0 {
			p.Batch = batch
			o.Processes[authority.Collection] = p
		}
	}
	if *share {
		if err := shareWork(ctx, c, *lease, *pace, stdout, stderr); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	doom := make(chan struct{})
	var once sync.Once
	come := func() {
		if *kill {
			once.Do(func() { close(doom) })
		}
	}
	go func() {
		<-doom
		<-time.After(m.delay)
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill() // SIGKILL: nothing in this program hears of it
		}
	}()
	if m.events == 0 && m.inputs == 0 {
		come()
	}

	steps := atomic.Int64{}
	c.Watch = func(domain.Fine, *process.Step) {
		n := steps.Add(1)
		if n%perLine == 0 {
			fmt.Fprintf(stdout, "steps %d\n", n)
		}
		if n == m.inputs {
			come()
		}
	}
	c.Imported = func(events int) {
		if m.events > 0 && int64(events) >= m.events {
			come()
		}
	}
	c.Tick = 5 * time.Millisecond
	c.Tell = func(p program.Progress) {
		if p.Phase == program.Collecting {
			fmt.Fprintf(stdout, "duplicates %d\n", p.Engine.Duplicates)
		}
	}
	c.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	r, _, err := program.Run(ctx, c)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	text, err := r.Figures.Line()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintf(stdout, "steps %d\nfigures %s\n", steps.Load(), text)
	return 0
}

// shareWork runs the program as one of several workers, without a report at the end. It says "woke" when it goes on after it
// was stopped for longer than its lease, and "lost" when its log says that the lease is lost, each with the transactions
// that it had made.
func shareWork(ctx context.Context, c program.Config, lease, pace time.Duration, stdout, stderr io.Writer) (err error) {
	var transactions atomic.Pointer[func() int64]
	say := func(what string) {
		if n := transactions.Load(); n != nil {
			fmt.Fprintf(stdout, "%s %d\n", what, (*n)())
		}
	}
	c.Logger = slog.New(loser{slog.NewTextHandler(stderr, nil).WithAttrs([]slog.Attr{slog.Int("pid", os.Getpid())}), func() { say("lost") }})
	c.Watch = func(domain.Fine, *process.Step) {
		if pace > 0 {
			<-time.After(pace)
		}
	}
	app, err := program.Open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	count := func() int64 { return app.Process(authority.Collection).Stats().Transactions }
	transactions.Store(&count)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for last := time.Now(); consumer.Sleep(watching, lease/20) == nil; last = time.Now() {
			if time.Since(last) > lease {
				say("woke")
			}
		}
	}()
	if err := program.Import(ctx, app, c); err != nil {
		return err
	}
	return program.Collect(ctx, app, c)
}

// loser is a log handler that notices when a lease is lost.
type loser struct {
	slog.Handler
	lost func()
}

// Handle implements slog.Handler.
func (l loser) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "lost its lease") {
		l.lost()
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l loser) WithAttrs(attrs []slog.Attr) slog.Handler {
	return loser{l.Handler.WithAttrs(attrs), l.lost}
}

// WithGroup implements slog.Handler.
func (l loser) WithGroup(name string) slog.Handler { return loser{l.Handler.WithGroup(name), l.lost} }
