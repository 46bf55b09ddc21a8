package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A testRun is what one `go test` did.
type testRun struct {
	builds       bool
	failed       bool
	tests        int // that ran, subtests included
	firstFailure string
	output       string
}

// buildGrace is what a build may take on top of the test's own time: on a new machine it compiles all dependencies,
// with the race detector perhaps.
const buildGrace = 15 * time.Minute

// goTest runs `go test` in a folder. A test that fails is not an error; a go command that can't do its work is.
func goTest(ctx context.Context, dir string, timeout time.Duration, args []string) (testRun, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+buildGrace)
	defer cancel()
	// Vet is off, since what a mutant leaves behind (`if false`, an unused result) is for vet to dislike and no proof.
	args = append([]string{"test", "-json", "-vet=off", "-count=1", "-timeout", timeout.String()}, args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PWD="+dir)
	if slices.Contains(args, "-race") {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1") // the race detector needs it
	}
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()

	run := parseTestRun(stdout.Bytes())
	run.output += stderr.String()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return run, fmt.Errorf("go test was stopped: %w", ctx.Err())
	case err != nil && !errors.As(err, &exit):
		return run, fmt.Errorf("running go test: %w", err)
	case err != nil && !run.failed && run.builds:
		return run, fmt.Errorf("go test ended with %w, but no package failed", err)
	}
	return run, nil
}

// parseTestRun reads the output of `go test -json`; see `go doc test2json`.
func parseTestRun(out []byte) testRun {
	run := testRun{builds: true}
	var text strings.Builder
	for line := range bytes.Lines(out) {
		var e struct{ Action, Package, Test, Output, FailedBuild string }
		if json.Unmarshal(line, &e) != nil {
			text.Write(line)
			continue
		}
		text.WriteString(e.Output)
		switch {
		case e.Action == "build-fail", e.FailedBuild != "":
			run.builds = false
		case e.Action == "run":
			run.tests++
		case e.Action == "output" && e.Test == "" && strings.Contains(e.Output, "[setup failed]"):
			run.builds = false // an import that can't be found, a file that doesn't parse
		case e.Action == "fail":
			run.failed = true
			if run.firstFailure == "" {
				run.firstFailure = e.Test
			}
			if run.firstFailure == "" {
				run.firstFailure = e.Package // panicked, timed out, or gave up outside of a test
			}
		}
	}
	run.output = text.String()
	return run
}
