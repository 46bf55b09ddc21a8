// Package deps holds no code, but a test: our packages import only packages below them.
package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/ensue-io/ensue"
	root   = "../.."
)

// layers has all packages, from top to bottom. A package may import those in lower layers, and none in its own. A
// name that ends with /... stands for everything under that folder; packages under one such name may import each other.
// A new package gets its place here, in the same change.
var layers = [][]string{
	{"cmd/ensue/...", "bench/..."},
	{"examples/..."},
	{"."}, // package ensue
	{"internal/cli"},
	{"internal/crashes"},
	{"console"},
	{"process/processtest", "process/storetest"},
	{"process"},
	{"projection"},
	{"integration"},
	{"command", "tick"},
	{"aggregate"},
	{"consumer"},
	{"eventlog/logtest", "eventlog/faultlog", "internal/tally"},
	{"eventlog/sqlitelog", "eventlog/pglog", "eventlog/memlog"},
	{"eventlog"},
	{"event", "calendar"},
}

// mayUseSQL has the packages that may know database/sql: the log's contract, which names a caller's transaction; the
// logs that are kept in SQL, and what wraps them; the front door. To all others a store is an interface. Examples and benchmarks are users,
// and use what they like.
var mayUseSQL = []string{".", "eventlog", "eventlog/logtest", "eventlog/faultlog", "eventlog/sqlitelog", "eventlog/pglog", "examples/...", "bench/..."}

// mayUsePgx has the packages that may know pgx: the log that is kept in PostgreSQL, the servers that tests start, and users.
var mayUsePgx = []string{"eventlog/pglog", testServer, "cmd/ensue/...", "internal/cli", "examples/...", "bench/..."}

// tools are programs and tests about the repository. They have to work when the code doesn't.
var tools = []string{"internal/ci/...", "internal/mutants/...", "internal/deps/..."}

// testServer has what no rule below allows, another's package: pgx, to speak with the PostgreSQL servers that it starts. In
// return it is for tests alone, and no program text imports it.
const (
	testServer = "internal/pgtest"
	pgx        = "github.com/jackc/pgx/v5"
)

// A pkg is what the go command says about a package. Imports are those of its program text, without its tests: a test
// may import anything.
type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDownwards(t *testing.T) {
	readFolders(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	n := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; n++ {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, fault := range check(p) {
			t.Error(fault)
		}
	}
	if n == 0 {
		t.Error("go list found no package of ours")
	}
}

// readFolders opens every folder of the repository. The go command remembers that a test passed until a file or folder
// changes that the test itself opened; it doesn't see what `go list` opens.
func readFolders(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody else's file may go while we look
		t.Fatal(err)
	}
}

// check returns what is wrong with a package's imports.
func check(p pkg) []string {
	name := relative(p.ImportPath)
	allowed, err := mayImport(name)
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, imported := range p.Imports {
		if why := allowed(imported); why != "" {
			faults = append(faults, fmt.Sprintf("%s imports %s: %s", name, relative(imported), why))
		} else if matches(pgx+"/...", imported) && !matchesAny(mayUsePgx, name) {
			faults = append(faults, fmt.Sprintf("%s imports %s: only the packages in mayUsePgx do", name, imported))
		}
		if isSQL(imported) && !matchesAny(mayUseSQL, name) {
			faults = append(faults, fmt.Sprintf("%s imports %s: only the packages in mayUseSQL do", name, imported))
		}
		if relative(imported) == testServer {
			faults = append(faults, fmt.Sprintf("%s imports %s: only tests do", name, testServer))
		}
	}
	return faults
}

// mayImport returns what holds for a package of ours: a function that says why it may not import another one, or
// nothing if it may.
func mayImport(name string) (func(imported string) string, error) {
	switch {
	case matchesAny(tools, name):
		return func(imported string) string {
			if isOurs(imported) && !sameFolder(tools, name, relative(imported)) {
				return "a tool imports nothing of ours"
			}
			return ""
		}, nil
	case name == testServer:
		return func(imported string) string {
			if isStd(imported) || matches(pgx+"/...", imported) {
				return ""
			}
			return "this package imports only pgx and the standard library"
		}, nil
	case strings.HasPrefix(name, "internal/") && layerOf(name) < 0:
		return func(imported string) string {
			if r := relative(imported); isStd(imported) || r == "event" || r == "eventlog" {
				return ""
			}
			return "a package in internal imports only event, eventlog and the standard library"
		}, nil
	case isExampleDomain(name):
		return func(imported string) string {
			if isStd(imported) {
				return ""
			}
			return "the domain of an example imports only the standard library"
		}, nil
	}
	layer := layerOf(name)
	if layer < 0 {
		return nil, fmt.Errorf("package %s has no place: put it in layers, in internal/deps/deps_test.go, above all that it imports", name)
	}
	return func(imported string) string {
		r := relative(imported)
		switch to := layerOf(r); {
		case !isOurs(imported), strings.HasPrefix(r, "internal/") && to < 0 && !matchesAny(tools, r):
			return ""
		case matchesAny(tools, r):
			return "nothing imports a tool"
		case to < 0:
			return "that package has no place in layers"
		case to <= layer && !sameFolder(layers[layer], name, r):
			return "a package imports only packages below it"
		}
		return ""
	}, nil
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return matchesAny(layer, name) })
}

func isExampleDomain(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) >= 3 && parts[0] == "examples" && parts[2] == "domain"
}

// sameFolder says if one of the patterns is a folder that both are in.
func sameFolder(patterns []string, a, b string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return strings.HasSuffix(p, "/...") && matches(p, a) && matches(p, b)
	})
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	folder, ok := strings.CutSuffix(pattern, "/...")
	return name == folder || ok && strings.HasPrefix(name, folder+"/")
}

// relative is a package of ours by its folder ("." for the root); other packages keep their import path.
func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// isStd: the first element of any other import path has a dot in it.
func isStd(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func isSQL(path string) bool {
	return path == "database/sql" || strings.HasPrefix(path, "database/sql/")
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, imports string
		fault         string // part of it; empty: none
	}{
		{"eventlog", "event", ""},
		{"event", "eventlog", "only packages below"},
		{"eventlog/memlog", "eventlog", ""},
		{"eventlog/memlog", "eventlog/sqlitelog", "only packages below"},
		{"eventlog", "eventlog/memlog", "only packages below"},
		{"eventlog/logtest", "eventlog/memlog", ""},
		{"aggregate", "command", "only packages below"},
		{"command", "aggregate", ""},
		{"process", "command", ""},
		{"process", "process/storetest", "only packages below"},
		{"process/processtest", "process/storetest", "only packages below"},
		{"process", ".", "only packages below"},
		{".", "process", ""},
		{".", "examples/catering", "only packages below"},
		{"cmd/ensue", "examples/conference", ""},
		{"cmd/ensue", "cmd/ensue/internal/table", ""},
		{"examples/conference", "cmd/ensue", "only packages below"},
		{"examples/conference", "examples/conference/domain", ""},
		{"examples/conference", "github.com/other/thing", ""},
		{"examples/conference/domain", "time", ""},
		{"examples/conference/domain", "event", "only the standard library"},
		{"examples/conference/domain/seats", "github.com/google/uuid", "only the standard library"},

		{"somewhere", "time", "has no place"},
		{"process/somewhere", "time", "has no place"},
		{"process", "somewhere", "has no place"},

		{".", "internal/cli", ""},
		{"internal/cli", "process", ""},
		{"internal/cli", ".", "only packages below"},
		{"process", "internal/cli", "only packages below"},
		{"event", "internal/clock", ""},
		{"internal/clock", "eventlog", ""},
		{"internal/clock", "time", ""},
		{"internal/clock", "command", "only event, eventlog"},
		{"internal/clock", "github.com/google/uuid", "only event, eventlog"},
		{"internal/clock", "github.com/jackc/pgx/v5", "only event, eventlog"},
		{"internal/pgtest", "time", ""},
		{"internal/pgtest", "github.com/jackc/pgx/v5/pgconn", ""},
		{"internal/pgtest", "github.com/google/uuid", "only pgx"},
		{"internal/pgtest", "event", "only pgx"},
		{"eventlog/logtest", "internal/pgtest", "only tests"},
		{"internal/mutants", "event", "a tool imports nothing of ours"},
		{"internal/ci/summary", "internal/ci/format", ""},
		{"event", "internal/mutants", "nothing imports a tool"},

		{"eventlog/pglog", "eventlog", ""},
		{"eventlog/pglog", "eventlog/sqlitelog", "only packages below"},
		{"eventlog/pglog", "internal/pgtest", "only tests"},
		{"eventlog/pglog", "github.com/jackc/pgx/v5/pgxpool", ""},
		{"cmd/ensue", "github.com/jackc/pgx/v5", ""},
		{"examples/conference", "github.com/jackc/pgx/v5", ""},
		{"examples/conference/domain", "github.com/jackc/pgx/v5", "only the standard library"},
		{"process", "github.com/jackc/pgx/v5", "mayUsePgx"},
		{".", "github.com/jackc/pgx/v5/pgxpool", "mayUsePgx"},

		{"eventlog/pglog", "database/sql", ""},
		{"eventlog/sqlitelog", "database/sql", ""},
		{".", "database/sql", ""},
		{"eventlog", "database/sql", ""},
		{"eventlog/memlog", "database/sql", "mayUseSQL"},
		{"command", "database/sql", "mayUseSQL"},
		{"process", "database/sql/driver", "mayUseSQL"},
		{"cmd/ensue", "database/sql", "mayUseSQL"},
	} {
		full := func(name string) string {
			if name == "." {
				return module
			}
			if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") || slices.Contains([]string{"time", "database"}, first) {
				return name
			}
			return module + "/" + name
		}
		faults := check(pkg{ImportPath: full(tt.name), Imports: []string{full(tt.imports)}})
		switch {
		case tt.fault == "" && len(faults) > 0:
			t.Errorf("%s may import %s, found %q", tt.name, tt.imports, faults)
		case tt.fault != "" && (len(faults) != 1 || !strings.Contains(faults[0], tt.fault)):
			t.Errorf("%s imports %s: want a fault that says %q, found %q", tt.name, tt.imports, tt.fault, faults)
		}
	}
}
