package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
)

// An entry is one line of `go test -json`; see `go doc test2json`.
type entry struct {
	Action      string
	Package     string
	ImportPath  string // of build output, which belongs to no package's test
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// A test is named by its package and its own name; a package as such has no name.
type test struct{ pkg, name string }

func (t test) String() string {
	if t.name == "" {
		return t.pkg
	}
	return t.pkg + " " + t.name
}

// A report follows a test run and counts.
type report struct {
	out     io.Writer
	allowed allowedSkips

	output  map[test][]string // kept until its test ends: it is shown only for a failure or a skip
	build   map[string][]string
	running map[string]*tally // packages that started and have not ended
	skips   []skip

	passed, failed int
	broken         bool // the input itself was no good
}

type tally struct{ passed, failed, skipped int }

type skip struct {
	test   test
	said   string // what the test said about it
	reason string // from the list; empty when the list doesn't have it
}

func newReport(out io.Writer, allowed allowedSkips) *report {
	return &report{
		out:     out,
		allowed: allowed,
		output:  map[test][]string{},
		build:   map[string][]string{},
		running: map[string]*tally{},
	}
}

// read takes in a whole run. A line that isn't an entry is passed on as it is: it comes from the go command.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e entry
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				fmt.Fprintln(r.out, strings.TrimRight(string(line), "\r\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e entry) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "start":
		r.running[e.Package] = &tally{}
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		r.build[e.ImportPath] = append(r.build[e.ImportPath], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(t, e.Action)
		}
	}
}

func (r *report) endTest(t test, action string) {
	n := r.running[t.pkg]
	if n == nil {
		n = &tally{}
		r.running[t.pkg] = n
	}
	switch action {
	case "pass":
		r.passed++
		n.passed++
	case "fail":
		r.failed++
		n.failed++
		r.show("FAIL", t)
	case "skip":
		n.skipped++
		r.skips = append(r.skips, skip{t, said(r.output[t]), r.allowed[t]})
	}
	delete(r.output, t)
}

func (r *report) endPackage(e entry) {
	n := r.running[e.Package]
	if n == nil {
		n = &tally{}
	}
	delete(r.running, e.Package)
	t := test{pkg: e.Package}
	defer delete(r.output, t)

	switch {
	case e.Action == "fail":
		if n.failed == 0 {
			r.failed++
			fmt.Fprint(r.out, strings.Join(r.build[e.FailedBuild], ""))
			delete(r.build, e.FailedBuild) // one broken package can fail many; its errors are shown once
			r.show("FAIL", t)
		}
		fmt.Fprintf(r.out, "FAIL  %7.2fs  %s  (%d passed, %d failed)\n", e.Elapsed, e.Package, n.passed, max(n.failed, 1))
	case *n == tally{}:
		fmt.Fprintf(r.out, "-               %s  (no tests)\n", e.Package)
	default:
		fmt.Fprintf(r.out, "ok    %7.2fs  %s  (%s)\n", e.Elapsed, e.Package, n)
	}
}

func (n *tally) String() string {
	if n.skipped == 0 {
		return fmt.Sprintf("%d passed", n.passed)
	}
	return fmt.Sprintf("%d passed, %d skipped", n.passed, n.skipped)
}

// finish prints what is left to say and the summary, and says if the run was good.
func (r *report) finish() bool {
	r.endUnfinished()
	unlisted := r.listSkips()
	if r.passed+r.failed == 0 {
		fmt.Fprintln(r.out, "No test ran.")
		r.broken = true
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skips))
	return r.failed == 0 && unlisted == 0 && !r.broken
}

// endUnfinished fails the packages that were still running when the input ended: somebody killed `go test`.
func (r *report) endUnfinished() {
	var left []string
	for pkg := range r.running {
		left = append(left, pkg)
	}
	sort.Strings(left)
	for _, pkg := range left {
		r.failed++
		for _, t := range r.unfinishedTests(pkg) {
			r.show("UNFINISHED", t)
		}
		fmt.Fprintf(r.out, "FAIL            %s  (did not end)\n", pkg)
	}
}

func (r *report) unfinishedTests(pkg string) []test {
	var ts []test
	for t := range r.output {
		if t.pkg == pkg {
			ts = append(ts, t)
		}
	}
	sort.Slice(ts, func(i, j int) bool { return ts[i].name < ts[j].name })
	return ts
}

// listSkips says which tests were skipped, and returns how many of them had no permission.
func (r *report) listSkips() int {
	unlisted := 0
	for _, s := range r.skips {
		if s.reason != "" {
			fmt.Fprintf(r.out, "skipped, as allowed: %s: %s\n", s.test, s.reason)
			continue
		}
		unlisted++
		fmt.Fprintf(r.out, "SKIPPED: %s\n%s", s.test, s.said)
	}
	if unlisted > 0 {
		fmt.Fprintln(r.out, "A skipped test fails this run. Make it run here, or add it with a reason to the list of allowed skips.")
	}
	return unlisted
}

func (r *report) show(what string, t test) {
	fmt.Fprintf(r.out, "--- %s: %s\n%s", what, t, said(r.output[t]))
}

// said is what a test printed, without the lines that only say that it began, paused or went on.
func said(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if strings.HasPrefix(l, "=== ") {
			continue
		}
		b.WriteString("    " + strings.TrimRight(l, "\n") + "\n")
	}
	return b.String()
}
