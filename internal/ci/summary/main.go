// Summary reads what `go test -json` prints and retells it for a person: a line for each package, the output of what
// failed, what was skipped, and at the end, on a line alone,
//
//	123 passed, 0 failed, 0 skipped
//
// It fails when a test failed, when nothing ran, and when a test was skipped that the list of allowed skips doesn't
// name: a test that silently stopped running looks exactly like one that passes.
//
//	go test -json ./... | go run ./internal/ci/summary -skips .ci/allowed-skips
//
// A test, a subtest, an example and a fuzz test's seed count as one each. A package that fails without a failing test
// (it didn't build, its TestMain gave up, it never ended) counts as one that failed.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	skips := flag.String("skips", "", "file that lists the tests that may be skipped: package, test and reason on each line")
	flag.Parse()

	var allowed allowedSkips
	if *skips != "" {
		f, err := os.Open(*skips)
		if err != nil {
			fmt.Fprintln(os.Stderr, "summary:", err)
			os.Exit(2)
		}
		allowed, err = readAllowedSkips(f)
		_ = f.Close() // only read
		if err != nil {
			fmt.Fprintf(os.Stderr, "summary: %s: %v\n", *skips, err)
			os.Exit(2)
		}
	}

	r := newReport(os.Stdout, allowed)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stdout, "summary: reading the tests' output:", err)
		r.broken = true
	}
	if !r.finish() {
		os.Exit(1)
	}
}
