package pgtest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// packaged is where packages put PostgreSQL's programs when they don't put them on PATH.
var packaged = []string{
	"/usr/lib/postgresql/*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
}

// binFolder is the folder that has the programs, in the version that all servers here run.
var binFolder = sync.OnceValues(func() (string, error) {
	if !haveServers {
		return "", fmt.Errorf("%w (on this system only the last is possible)", errMissing)
	}
	return findPrograms(os.Getenv(binVariable), filepath.SplitList(os.Getenv("PATH")), packaged)
})

// findPrograms returns the first folder with a server's programs: the given one, which must have them; one of path; one
// that a pattern of packages matches.
func findPrograms(given string, path, packages []string) (string, error) {
	if given != "" {
		if !hasServer(given) {
			return "", fmt.Errorf("%s is %s, and there are no programs initdb and postgres in that folder", binVariable, given)
		}
		return filepath.Abs(given)
	}
	for _, folder := range path {
		// What is on PATH may be a link to one program of many, or a wrapper that chooses a version: the folder where
		// postgres really is has them all.
		real, err := filepath.EvalSymlinks(filepath.Join(folder, "postgres"))
		if err == nil && filepath.IsAbs(real) && hasServer(filepath.Dir(real)) {
			return filepath.Dir(real), nil
		}
	}
	for _, pattern := range packages {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(versionIn(b), versionIn(a)) })
		if i := slices.IndexFunc(found, hasServer); i >= 0 {
			return found[i], nil
		}
	}
	return "", errMissing
}

func hasServer(folder string) bool {
	return program(folder, "initdb") != "" && program(folder, "postgres") != ""
}

func program(folder, name string) string {
	path := filepath.Join(folder, name)
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return ""
	}
	return path
}

var versionInPath = regexp.MustCompile(`postgresql[@/](\d+)`)

// versionIn is the major version in a package's path; a path without one (Homebrew's own choice) comes last.
func versionIn(path string) int {
	m := versionInPath.FindStringSubmatch(path)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // only digits; one too long for an int is no version
	return n
}

// runAs runs a program as the servers' user, in a folder that this user may enter, and returns what it printed in its
// error.
func runAs(ctx context.Context, who *account, folder, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = folder
	cmd.Env = environment()
	belongTo(cmd, who)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s%s: %w\n%s", filepath.Base(path), who, err, out)
	}
	return nil
}

// environment is ours, without what would tell PostgreSQL's programs of some other server.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") })
	return append(env, more...)
}

// An account is the user that the servers run as, if that isn't the test's own; nil otherwise.
type account struct {
	name     string
	uid, gid int
}

// String continues the name of a program in an error.
func (a *account) String() string {
	if a == nil {
		return ""
	}
	return " as user " + a.name
}

// own gives a folder to the servers' user, and to nobody else.
func (a *account) own(folder string) error {
	if a == nil {
		return nil
	}
	return os.Chown(folder, a.uid, a.gid)
}
