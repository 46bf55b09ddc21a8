// Command crash kills the example's program again and again, at random moments of its import and its run, starts it
// anew on the same folder each time, and checks that the end is that of a run that nobody disturbed.
//
//	go run ./examples/trafficfines/crash -data DATA -kills 20
//
// A program that is killed has no time to tidy up: what it had not committed is gone, and nothing else may be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		os.Exit(worker(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	t := torture{out: os.Stdout}
	flag.StringVar(&t.data, "data", "", "`folder` with the recorded fines")
	flag.StringVar(&t.dir, "dir", "", "`folder` for the modules' files of all runs; a temporary one, removed at the end, if it is not given")
	flag.IntVar(&t.kills, "kills", 20, "how often the program is killed in all, 2 or more")
	flag.IntVar(&t.imports, "imports", 0, "how many of the kills fall into the import; default a quarter")
	flag.IntVar(&t.batch, "batch", 0, "inputs in one transaction at most; default that of the program")
	flag.Uint64Var(&t.seed, "seed", 1, "what the moments depend on")
	flag.BoolVar(&t.verify, "verify", false, "look for contradictions in the files after every kill, not only at the end")
	flag.Parse()
	if err := t.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}
