package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
	"github.com/ensue-io/ensue/process"
)

// workerArgument, first on the command line, makes the program the one that is killed.
const workerArgument = "worker"

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
	flags.StringVar(&c.Dir, "dir", "", "")
	flags.IntVar(&batch, "batch", 0, "")
	kill := flags.Bool("kill", false, "")
	flags.Int64Var(&m.events, "events", 0, "")
	flags.Int64Var(&m.inputs, "inputs", 0, "")
	flags.DurationVar(&m.delay, "delay", 0, "")
	if err := flags.Parse(args); err != nil {
		return 2
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
	c.Options = func(o *ensue.Options) {
		if p := o.Processes[authority.Collection]; batch > 0 {
			p.Batch = batch
			o.Processes[authority.Collection] = p
		}
	}
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
