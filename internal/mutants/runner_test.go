package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shop makes a repository out of testdata/shop and returns its folder and its mutants.
func shop(t *testing.T) (dir string, mutants []mutant) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "shop"))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	mutants, err := readMutants(filepath.Join(dir, "mutants"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, mutants
}

func TestEachMutantGetsItsVerdict(t *testing.T) {
	dir, mutants := shop(t)
	before, err := os.ReadFile(filepath.Join(dir, "till", "till.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	ok, err := runner{root: dir, out: &out, parallel: 2, timeout: 3 * time.Second}.run(t.Context(), mutants)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		t.Error("the run is good, although not all were killed")
	}
	for name, want := range map[string]verdict{
		"killed":          killed,
		"killed-by-panic": killed,
		"killed-by-time":  killed,
		"survived":        survived,
		"not-there":       doesNotApply,
		"twice":           doesNotApply,
		"not-go":          doesNotBuild,
		"no-such-test":    noBaseline,
		"red-already":     noBaseline,
	} {
		line := regexp.MustCompile(`(?m)^` + string(want) + ` +\d+\.\ds +G1 +` + name + `( |$)`)
		if !line.MatchString(out.String()) {
			t.Errorf("%s is not %q", name, want)
		}
	}
	const count = "9 mutants: 3 killed, 1 survived, 2 does not apply, 1 does not build, 2 no baseline\n"
	if !strings.HasSuffix(out.String(), count) {
		t.Errorf("doesn't end with %q", count)
	}
	if t.Failed() {
		t.Logf("it said:\n%s", &out)
	}
	after, err := os.ReadFile(filepath.Join(dir, "till", "till.go"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the repository itself was edited (%v)", err)
	}
}

func TestRunIsGoodWhenAllAreKilled(t *testing.T) {
	dir, mutants := shop(t)
	mutants, err := matching(mutants, "^killed$")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	ok, err := runner{root: dir, out: &out, parallel: 2, timeout: time.Minute}.run(t.Context(), mutants)
	if err != nil || !ok {
		t.Errorf("run = %v, %v:\n%s", ok, err, &out)
	}
}

func TestCopyIsWhatGitWouldCommit(t *testing.T) {
	dir, _ := shop(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".gitignore", "*.db\n")
	write("ignored.db", "x")
	write("new ü.go", "package shop\n")
	files, err := repositoryFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "till", "till_test.go")); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := copyFiles(to, dir, files); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"go.mod": true, "till/till.go": true, "new ü.go": true,
		"ignored.db": false, "till/till_test.go": false, ".git/config": false,
	} {
		if _, err := os.Stat(filepath.Join(to, filepath.FromSlash(name))); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}
