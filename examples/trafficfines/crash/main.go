// Command crash kills the example's program again and again, at random moments of its import and its run, starts it
// anew on the same folder each time, and checks that the end is that of a run that nobody disturbed.
//
//	go run ./examples/trafficfines/crash -data DATA -kills 20
//	go run ./examples/trafficfines/crash -data DATA -address postgres://user@host/database -workers 3
//
// With several workers, which share the process in a database, a random one is killed every few seconds and replaced, and
// one is stopped for longer than its lease.
//
// A program that is killed has no time to tidy up: what it had not committed is gone, and nothing else may be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/examples/internal/where"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		os.Exit(worker(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	t := torture{out: os.Stdout}
	flag.StringVar(&t.data, "data", "", "`folder` with the recorded fines")
	logs := where.Add(flag.CommandLine, "`folder` for the modules' files of all runs; without any, a temporary one that is removed at the end")
	flag.IntVar(&t.kills, "kills", 20, "how often a worker is killed in all, 2 or more")
	flag.IntVar(&t.imports, "imports", 0, "how many of the kills fall into the import; default a quarter")
	flag.IntVar(&t.batch, "batch", 0, "inputs in one transaction at most; default that of the program")
	flag.Uint64Var(&t.seed, "seed", 1, "what the moments depend on")
	flag.BoolVar(&t.verify, "verify", false, "look for contradictions in the files after every kill, not only at the end")
	flag.IntVar(&t.workers, "workers", 1, "how many workers share the process; more than one need the address of a database")
	flag.DurationVar(&t.every, "every", 3*time.Second, "with several workers, how long it is between kills, on average")
	flag.DurationVar(&t.lease, "lease", consumer.DefaultTTL, "with several workers, how long their leases last")
	flag.DurationVar(&t.pace, "pace", 0, "with several workers, how long each waits at every step, so that little data lasts")
	flag.Parse()
	var err error
	if t.address, err = logs.Address(os.Getenv); err == nil {
		err = t.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}
