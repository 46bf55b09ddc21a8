package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A runner runs mutants in copies of the repository at root.
type runner struct {
	root     string
	out      io.Writer
	verbose  bool
	parallel int
	timeout  time.Duration
}

// A verdict is what became of a mutant. Only killed is good.
type verdict string

const (
	killed       verdict = "killed"
	survived     verdict = "SURVIVED"
	doesNotApply verdict = "DOES NOT APPLY"
	doesNotBuild verdict = "DOES NOT BUILD"
	noBaseline   verdict = "NO BASELINE" // the test is no good without the mutant either
	broken       verdict = "ERROR"
)

type result struct {
	verdict verdict
	why     string // for a person; may be empty
	said    string // what go test printed
	took    time.Duration
}

// run runs all, prints a line for each as it ends and the count at the end, and says if every mutant was killed.
func (r runner) run(ctx context.Context, mutants []mutant) (bool, error) {
	tmp, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // the system's temporary folder: what stays is cleaned up there

	files, err := repositoryFiles(ctx, r.root)
	if err != nil {
		return false, err
	}
	copies := make(chan string, r.parallel)
	for i := range max(1, min(r.parallel, len(mutants))) {
		dir := filepath.Join(tmp, fmt.Sprint(i))
		if err := copyFiles(dir, r.root, files); err != nil {
			return false, fmt.Errorf("copying the repository: %w", err)
		}
		copies <- dir
	}

	baselines := r.runBaselines(ctx, copies, mutants)
	count := map[verdict]int{}
	var mu sync.Mutex // count and out
	each(mutants, func(m mutant) {
		dir := <-copies
		defer func() { copies <- dir }()
		res := baselines[strings.Join(m.test, "\x00")]
		if res.verdict == "" {
			res = r.try(ctx, dir, m)
		}
		mu.Lock()
		defer mu.Unlock()
		count[res.verdict]++
		r.print(m, res)
	})
	fmt.Fprintf(r.out, "%d mutants: %d killed", len(mutants), count[killed])
	for _, v := range []verdict{survived, doesNotApply, doesNotBuild, noBaseline, broken} {
		if count[v] > 0 {
			fmt.Fprintf(r.out, ", %d %s", count[v], strings.ToLower(string(v)))
		}
	}
	fmt.Fprintln(r.out)
	return count[killed] == len(mutants), ctx.Err()
}

// runBaselines runs each distinct test once on unmutated code. The results with a verdict are of those that can't tell
// anything about a mutant: they fail already, or run no test at all.
func (r runner) runBaselines(ctx context.Context, copies chan string, mutants []mutant) map[string]result {
	distinct := map[string][]string{}
	for _, m := range mutants {
		distinct[strings.Join(m.test, "\x00")] = m.test
	}
	results := map[string]result{}
	var mu sync.Mutex
	var keys []string
	for key := range distinct {
		keys = append(keys, key)
	}
	each(keys, func(key string) {
		dir := <-copies
		defer func() { copies <- dir }()
		res := r.baseline(ctx, dir, distinct[key])
		mu.Lock()
		defer mu.Unlock()
		results[key] = res
	})
	return results
}

func (r runner) baseline(ctx context.Context, dir string, args []string) result {
	run, err := goTest(ctx, dir, r.timeout, args)
	res := result{said: run.output}
	switch {
	case err != nil:
		res.verdict, res.why = broken, err.Error()
	case !run.builds:
		res.verdict, res.why = noBaseline, "without the mutant, the test doesn't build"
	case run.failed:
		res.verdict, res.why = noBaseline, "without the mutant, the test fails"
	case run.tests == 0:
		res.verdict, res.why = noBaseline, "go test runs no test with these arguments: "+strings.Join(args, " ")
	}
	return res
}

// try applies a mutant in a copy, runs its test, and puts the file back.
func (r runner) try(ctx context.Context, dir string, m mutant) (res result) {
	path := filepath.Join(dir, filepath.FromSlash(m.file))
	original, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return result{verdict: doesNotApply, why: "there is no " + m.file}
	}
	if err != nil {
		return result{verdict: broken, why: err.Error()}
	}
	mutated, err := m.apply(string(original))
	if err != nil {
		return result{verdict: doesNotApply, why: err.Error()}
	}
	if err := os.WriteFile(path, []byte(mutated), 0o600); err != nil {
		return result{verdict: broken, why: err.Error()}
	}
	defer func() {
		if err := os.WriteFile(path, original, 0o600); err != nil {
			// The next mutant in this copy would be two.
			res = result{verdict: broken, why: "putting the file back: " + err.Error()}
		}
	}()

	start := time.Now()
	run, err := goTest(ctx, dir, r.timeout, m.test)
	res = result{verdict: survived, said: run.output, took: time.Since(start)}
	switch {
	case err != nil:
		res.verdict, res.why = broken, err.Error()
	case !run.builds:
		res.verdict = doesNotBuild
	case run.failed:
		res.verdict, res.why = killed, run.firstFailure
	}
	return res
}

func (r runner) print(m mutant, res result) {
	fmt.Fprintf(r.out, "%-14s %5.1fs  %-4s %s", res.verdict, res.took.Seconds(), m.guarantee, m.name)
	if res.verdict == killed {
		fmt.Fprintf(r.out, "  (by %s)\n", res.why)
	} else {
		fmt.Fprintf(r.out, "\n    %s\n    file %s, go test %s\n", m.story, m.file, strings.Join(m.test, " "))
		if res.why != "" {
			fmt.Fprintln(r.out, indent(res.why))
		}
	}
	if r.verbose || res.verdict == doesNotBuild || res.verdict == noBaseline || res.verdict == broken {
		if res.said != "" {
			fmt.Fprintln(r.out, indent(res.said))
		}
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// each calls f for every item at once and waits; f takes a copy of the repository before it works, so that no more of
// them work than there are copies.
func each[T any](items []T, f func(T)) {
	var wg sync.WaitGroup
	for _, item := range items {
		wg.Go(func() { f(item) })
	}
	wg.Wait()
}
