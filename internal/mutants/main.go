// Mutants breaks the code on purpose and sees that its tests notice.
//
//	go run ./internal/mutants            run all
//	go run ./internal/mutants -list      say what there is
//	go run ./internal/mutants -part 2/3  run every third one, beginning with the second
//
// README.md describes the file that holds a mutant. The repository itself is never edited: the runner works in
// copies of the files that git tracks or would track.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "run the mutants whose name matches this regular expression")
	part := flag.String("part", "1/1", "run one of so many parts of them")
	list := flag.Bool("list", false, "list the mutants and stop")
	r := runner{out: os.Stdout}
	flag.BoolVar(&r.verbose, "v", false, "print what go test printed for each mutant")
	flag.IntVar(&r.parallel, "p", 2, "how many mutants to run at a time, each in its own copy")
	flag.DurationVar(&r.timeout, "timeout", 2*time.Minute, "how long one go test may run, not counting its build")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, r, *only, *part, *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, r runner, only, part string, list bool) (ok bool, err error) {
	root, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return false, fmt.Errorf("finding the repository's root: %w", withStderr(err))
	}
	r.root = strings.TrimSpace(string(root))
	mutants, err := readMutants(filepath.Join(r.root, "internal", "mutants", "testdata", "mutants"))
	if err != nil {
		return false, err
	}
	if mutants, err = matching(mutants, only); err != nil {
		return false, err
	}
	if mutants, err = partOf(mutants, part); err != nil {
		return false, err
	}
	if list {
		for _, m := range mutants {
			fmt.Fprintf(r.out, "%-12s %s: %s\n", m.guarantee, m.name, m.story)
		}
		return true, nil
	}
	return r.run(ctx, mutants)
}

func matching(mutants []mutant, only string) ([]mutant, error) {
	re, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	var some []mutant
	for _, m := range mutants {
		if re.MatchString(m.name) {
			some = append(some, m)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("no mutant's name matches %q; -list shows the names", only)
	}
	return some, nil
}

// partOf returns one of n parts, which together are all: "k/n" is the k-th, the n-th from it, and so on.
func partOf(mutants []mutant, part string) (some []mutant, err error) {
	var k, n int
	if _, err := fmt.Sscanf(part, "%d/%d", &k, &n); err != nil || k < 1 || k > n {
		return nil, fmt.Errorf("-part: %q is not k/n, with k from 1 to n", part)
	}
	for i := k - 1; i < len(mutants); i += n {
		some = append(some, mutants[i])
	}
	return some, nil
}

// withStderr adds what a command said to the error that it ended with.
func withStderr(err error) error {
	if exit, ok := err.(*exec.ExitError); ok && len(exit.Stderr) > 0 { //nolint:errorlint // straight from os/exec, never wrapped
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}
