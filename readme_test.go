package ensue_test

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/eventlog/logtest"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fenced returns the code that stands behind a marker such as <!-- file: main.go -->.
func fenced(t *testing.T, text, marker string) string {
	t.Helper()
	code := regexp.MustCompile("(?s)<!-- " + regexp.QuoteMeta(marker) + " -->\n```[a-z]*\n(.*?)```\n").FindStringSubmatch(text)
	if code == nil {
		t.Fatalf("README has no code marked %q", marker)
	}
	return code[1]
}

// The program in README is copied into an empty folder, as a reader would, and does there what README says, from the
// module cache alone.
func TestReadmeProgram(t *testing.T) {
	text := readme(t)
	checkout, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := fenced(t, text, "file: main.go")
	if n := strings.Count(program, "\n"); n >= 80 {
		t.Errorf("the program has %d lines, and is to have fewer than 80", n)
	}
	files := guide(t)
	files["main.go"] = program
	files["main_test.go"] = inPackage(fenced(t, text, "file: main_test.go"))
	files["intime.go"] = inPackage(fenced(t, text, "file: intime.go"))
	for name, code := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
		}
		return stdout.String()
	}
	run("mod", "init", "example.com/catering")
	run("mod", "edit", "-replace", "github.com/ensue-io/ensue="+checkout)
	for _, marker := range []string{"output: first run", "output: second run"} {
		if got, want := run("run", "-mod=mod", "."), fenced(t, text, marker); got != want {
			t.Errorf("%s:\n%s\nREADME says:\n%s", marker, got, want)
		}
	}
	run("test", ".")
}

// inPackage makes a file of package main out of declarations.
func inPackage(declarations string) string {
	var b strings.Builder
	b.WriteString("package main\n")
	for _, path := range []string{"context", "errors", "sync", "testing", "time", "github.com/ensue-io/ensue", "github.com/ensue-io/ensue/command", "github.com/ensue-io/ensue/event",
		"github.com/ensue-io/ensue/eventlog", "github.com/ensue-io/ensue/process", "github.com/ensue-io/ensue/process/processtest", "github.com/ensue-io/ensue/calendar", "github.com/ensue-io/ensue/tick"} {
		if regexp.MustCompile(`\b` + filepath.Base(path) + `\.[A-Z]`).MatchString(declarations) {
			fmt.Fprintf(&b, "import %q\n", path)
		}
	}
	return b.String() + declarations
}

// guide returns the code of the guide's pages, which continues README's program: declarations, tests, and what stands
// inside of a function.
func guide(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("docs/guide/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("the guide has no pages", err)
	}
	files := map[string]string{}
	block := regexp.MustCompile("(?s)(?:<!-- ([a-z]+) -->\n)?```go\n(.*?)```\n")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, b := range block.FindAllStringSubmatch(string(text), -1) {
			kind, code := b[1], b[2]
			name := fmt.Sprintf("%s_%d", strings.TrimSuffix(filepath.Base(page), ".md"), n)
			switch kind {
			case "package":
				files[name+".go"] = inPackage(code)
			case "test":
				files[name+"_test.go"] = inPackage(code)
			case "body":
				if !strings.HasPrefix(code[strings.LastIndex(strings.TrimSpace(code), "\n")+1:], "return") {
					code += "_ = app\nreturn err\n"
				}
				files[name+".go"] = inPackage("var _ = func(ctx context.Context) error {\n" + code + "}\n")
			default:
				t.Errorf("%s: say of each block of Go whether it is a package's, a test's or a function's body", page)
			}
		}
	}
	return files
}

// What README and the guide show is formatted as gofmt does it.
func TestReadmeIsFormatted(t *testing.T) {
	text := readme(t)
	pages, err := filepath.Glob("docs/guide/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		more, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text += string(more)
	}
	for _, code := range regexp.MustCompile("(?s)```go\n(.*?)```\n").FindAllStringSubmatch(text, -1) {
		formatted, err := format.Source([]byte(code[1]))
		if err != nil {
			t.Errorf("%v in:\n%s", err, code[1])
			continue
		}
		if string(formatted) != code[1] {
			t.Errorf("gofmt would write:\n%s", formatted)
		}
	}
}

// Every guarantee has its row, and every test that a row names exists where the row says.
func TestReadmeGuarantees(t *testing.T) {
	_, table, _ := strings.Cut(readme(t), "<!-- guarantees -->")
	table, _, ok := strings.Cut(table, "<!-- /guarantees -->")
	if !ok {
		t.Fatal("README has no table of guarantees")
	}
	var cases []string
	for _, c := range logtest.Cases() {
		cases = append(cases, c.Name)
	}
	rows := regexp.MustCompile(`(?m)^\| (G\d+) \|.*\| (.*) \|$`).FindAllStringSubmatch(table, -1)
	if len(rows) != 13 {
		t.Errorf("the table has %d guarantees, and there are 13", len(rows))
	}
	link := regexp.MustCompile("\\[`([^`]*)`\\]\\(([^)]*)\\)")
	for _, row := range rows {
		guarantee, cell := row[1], row[2]
		links := link.FindAllStringSubmatch(cell, -1)
		if len(links) == 0 && !strings.Contains(cell, "*not yet*") {
			t.Errorf("%s names no test and doesn't say *not yet*", guarantee)
		}
		for _, l := range links {
			name, path := l[1], l[2]
			file, err := os.ReadFile(filepath.FromSlash(path))
			if err != nil {
				t.Errorf("%s: %v", guarantee, err)
				continue
			}
			switch {
			case !strings.HasPrefix(name, "Test"):
				_, inGroup, _ := strings.Cut(name, "/")
				if !slices.Contains(cases, name) || !bytes.Contains(file, []byte(inGroup)) {
					t.Errorf("%s: %s has no case %q", guarantee, path, name)
				}
			case !bytes.Contains(file, []byte("func "+name+"(")):
				t.Errorf("%s: %s has no %s", guarantee, path, name)
			case !strings.Contains(name, guarantee+"_"):
				t.Errorf("%s: %s is named for another guarantee", guarantee, name)
			}
		}
	}
}

// Every window of the comparison is shown by a transcript, under its own name.
func TestReadmeWindows(t *testing.T) {
	_, table, _ := strings.Cut(readme(t), "<!-- windows -->")
	table, _, ok := strings.Cut(table, "<!-- /windows -->")
	rows := regexp.MustCompile(`(?m)^\| \*\*.*\| (.*) \|$`).FindAllStringSubmatch(table, -1)
	if !ok || len(rows) < 8 {
		t.Fatalf("README compares %d windows", len(rows))
	}
	link := regexp.MustCompile("\\[`([^`]*)`\\]\\(process/testdata/([^)]*)\\.txt\\)")
	for _, row := range rows {
		links := link.FindAllStringSubmatch(row[1], -1)
		if len(links) == 0 {
			t.Errorf("no transcript shows %q", row[0])
		}
		for _, l := range links {
			if l[1] != l[2] {
				t.Errorf("a link says %s and leads to %s", l[1], l[2])
			}
		}
	}
}

// Every file that README and the guide link to is there.
func TestReadmeLinks(t *testing.T) {
	pages, err := filepath.Glob("docs/guide/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?s)```.*?```").ReplaceAll(text, nil)
		for _, l := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(prose), -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(l[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
