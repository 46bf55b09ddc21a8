package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// helperVariable makes this binary a helper: one that asks for a database in the folder of another repository.
const helperVariable = "ENSUE_PGTEST_HELPER"

func TestMain(m *testing.M) {
	if root := os.Getenv(helperVariable); root != "" {
		ours.root = root
	}
	os.Exit(Main(m))
}

// needServers skips a test of the servers themselves where there are none.
func needServers(t *testing.T) {
	t.Helper()
	if _, err := binFolder(); err != nil {
		skipOrFail(t, err)
	}
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func one[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func TestADatabaseIsTheTestsOwnAndDropped(t *testing.T) {
	var names []string
	for i := range 2 {
		t.Run("same name", func(t *testing.T) {
			conn := connect(t, Database(t))
			run(t, conn, "CREATE TABLE mine (n int)", "INSERT INTO mine VALUES (1)")
			name := one[string](t, conn, "SELECT current_database()")
			if !strings.Contains(name, "same_name") {
				t.Errorf("database %s doesn't have the test's name", name)
			}
			names = append(names, name)
			if enc := one[string](t, conn, "SHOW server_encoding"); enc != "UTF8" {
				t.Errorf("encoding is %s", enc)
			}
			if i == 1 { // what a test leaves behind is no reason to keep its database
				run(t, conn, "BEGIN", "INSERT INTO mine VALUES (2)", "PREPARE TRANSACTION 'it''s of "+name+"'")
			}
		})
	}
	conn := connect(t, Database(t))
	if left := one[int](t, conn, "SELECT count(*) FROM pg_database WHERE datname = ANY($1)", names); left != 0 || len(names) != 2 {
		t.Errorf("%d of the databases %q are still there", left, names)
	}
}

func TestKilledServerKeepsWhatWasCommitted(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%v", durable), func(t *testing.T) {
			t.Parallel()
			s := New(t, Options{Durable: durable, TCP: true, Settings: map[string]string{"work_mem": "5MB", "log_line_prefix": `it's \n `}})
			db := s.Database(t)
			conn := connect(t, db)
			run(t, conn, "CREATE TABLE kept AS SELECT generate_series(1, 1000)")
			for name, want := range map[string]string{
				"work_mem": "5MB", "log_line_prefix": `it's \n `, "synchronous_commit": "on",
				"fsync": map[bool]string{true: "on", false: "off"}[durable],
			} {
				if got := one[string](t, conn, "SELECT current_setting($1)", name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			before := s.PID()
			all, err := processes()
			if err != nil {
				t.Fatal(err)
			}
			processesOf := family(all, []int{before})
			if len(processesOf) < 3 {
				t.Errorf("the server has only the processes %v", processesOf)
			}

			s.Kill(t)
			s.Kill(t)
			all, err = processes()
			if err != nil {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(all, func(p process) bool { return !p.ended && slices.Contains(processesOf, p.pid) }); i >= 0 {
				t.Errorf("process %+v outlived Kill", all[i])
			}
			if s.PID() != 0 {
				t.Errorf("a killed server has process %d", s.PID())
			}
			if err := conn.Ping(t.Context()); err == nil {
				t.Error("a connection outlived the server")
			}

			s.Start(t)
			if s.PID() == before || s.PID() == 0 {
				t.Errorf("process %d after %d", s.PID(), before)
			}
			if n := one[int](t, connect(t, db), "SELECT count(*) FROM kept"); n != 1000 {
				t.Errorf("%d rows are left of 1000", n)
			}
			s.Stop(t)
			s.Stop(t)
			s.Start(t)
			conn = connect(t, strings.Replace(db, "@/", "@"+s.Addr()+"/", 1)+"&host=127.0.0.1")
			if n := one[int](t, conn, "SELECT count(*) FROM kept"); n != 1000 {
				t.Errorf("%d rows are left of 1000", n)
			}
			if durable {
				s.Kill(t) // the end of the test has nothing to drop then
			}
		})
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := New(t, Options{Settings: map[string]string{"log_connections": "on"}})
	if primary.Addr() != "" {
		t.Errorf("listens on %s", primary.Addr())
	}
	conn := connect(t, primary.URL("postgres"))
	run(t, conn, "CREATE TABLE followed (n int)", "INSERT INTO followed VALUES (1)")
	standby := New(t, Options{Standby: primary})
	replica := connect(t, standby.URL("postgres"))

	follow := func() {
		t.Helper()
		at := one[string](t, conn, "SELECT pg_current_wal_lsn()::text")
		err := await(t.Context(), func() (bool, error) {
			var there bool
			err := replica.QueryRow(t.Context(), "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", at).Scan(&there)
			return there, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, conn, "INSERT INTO followed VALUES (2)")
	follow()
	if n := one[int](t, replica, "SELECT count(*) FROM followed"); n != 2 {
		t.Errorf("the standby has %d rows of 2", n)
	}
	if _, err := replica.Exec(t.Context(), "INSERT INTO followed VALUES (3)"); err == nil {
		t.Error("the standby takes writes")
	}

	primary.Kill(t)
	primary.Start(t)
	conn = connect(t, primary.URL("postgres"))
	run(t, conn, "INSERT INTO followed VALUES (3)")
	follow()

	primary.Kill(t)
	standby.Promote(t)
	run(t, replica, "INSERT INTO followed VALUES (4)")
	if n := one[int](t, replica, "SELECT count(*) FROM followed"); n != 4 {
		t.Errorf("the promoted standby has %d rows of 4", n)
	}
}

func TestProgramAndGivenServer(t *testing.T) {
	t.Setenv("PGHOST", "nowhere.invalid")
	t.Setenv("PGPORT", "1")
	s := New(t, Options{})
	if Bin("psql") == "" {
		t.Skip("psql is not installed with this server")
	}
	if out := s.Program(t, "psql", "-XAtc", "SELECT current_database()"); out != "postgres\n" {
		t.Errorf("psql printed %q", out)
	}
	if out := s.Program(t, "psql", "-XAtc", "SELECT 1+1", s.Database(t)); out != "2\n" {
		t.Errorf("psql with an address printed %q", out)
	}
	t.Setenv(serverVariable, s.URL("postgres"))
	if got, want := one[string](t, connect(t, Database(t)), "SHOW data_directory"), s.Dir(); got != want {
		t.Errorf("with %s, a database is in %s instead of %s", serverVariable, got, want)
	}
	if path := Bin("no-such-program"); path != "" {
		t.Errorf("Bin found %s", path)
	}
}

// A helper is this test binary once more, as if another package's tests ran at the same time.
type helper struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	end   func() // lets it end, and waits for it
}

// startHelper starts a helper that asks for what is wanted: "database", "server" or "nothing".
func startHelper(t *testing.T, root, want string) *helper {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$", "-test.count=1")
	cmd.Env = append(os.Environ(), helperVariable+"="+root, "ENSUE_PGTEST_WANT="+want, serverVariable+"=", "TMPDIR="+filepath.Join(root, "tmp"),
		"GORACE=atexit_sleep_ms=0") // under the race detector, a program would wait a second before it ends
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helper{cmd: cmd, lines: bufio.NewScanner(stdout)}
	h.end = func() {
		t.Helper()
		_ = stdin.Close()
		var said []string
		for h.lines.Scan() { // until everybody has closed it: a server that had it open would keep us here
			said = append(said, h.lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("helper: %v\n%s", err, strings.Join(said, "\n"))
		}
	}
	return h
}

// says returns the rest of the line that begins with a word.
func (h *helper) says(t *testing.T, word string) string {
	t.Helper()
	for h.lines.Scan() {
		if rest, ok := strings.CutPrefix(h.lines.Text(), word+" "); ok {
			return rest
		}
		t.Log("helper: ", h.lines.Text())
	}
	t.Fatalf("the helper ended before it said %q", word)
	return ""
}

func (h *helper) kill(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for h.lines.Scan() {
		continue
	}
	_ = h.cmd.Wait() // it was killed
}

// TestHelper is what a helper does.
func TestHelper(t *testing.T) {
	if os.Getenv(helperVariable) == "" {
		return
	}
	switch os.Getenv("ENSUE_PGTEST_WANT") {
	case "database":
		conn := connect(t, Database(t))
		run(t, conn, "CREATE TABLE mine (n int)")
		fmt.Println("server", one[string](t, conn, "SELECT pg_postmaster_start_time()::text"))
	case "server":
		s := New(t, Options{})
		fmt.Println("server", s.PID())
	case "nothing":
		fmt.Println("server none")
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until we are to end
}

// otherRepository returns a folder to be the root of a repository that only this test's helpers know. Their temporary
// folder is in it.
func otherRepository(t *testing.T) string {
	t.Helper()
	needServers(t)
	temp := os.TempDir()
	if len(temp) > 20 {
		temp = "/tmp" // with what comes below it, a socket's path would be too long
	}
	root, err := os.MkdirTemp(temp, "pgtest") // not t.TempDir, which only we can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := removeServer(ctx, root); err != nil { // helpers that failed may have left some
			t.Error(err)
		}
	})
	for _, err := range []error{os.Chmod(root, 0o711), os.Mkdir(filepath.Join(root, "tmp"), 0o711)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// theirs lists what helpers have in their temporary folder.
func theirs(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "tmp", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

func nothingLeft(t *testing.T, root string) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("found %v, %v, with %v", left, err, theirs(t, root))
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if strings.Contains(p.command, root) && !p.ended {
			t.Errorf("process %d is left: %s", p.pid, p.command)
		}
	}
}

func TestBinariesShareOneServerUntilTheLastEnds(t *testing.T) {
	t.Parallel()
	root := otherRepository(t)
	first, second := startHelper(t, root, "database"), startHelper(t, root, "database")
	here, there := first.says(t, "server"), second.says(t, "server")
	if here != there {
		t.Errorf("there are two servers, of %s and of %s", here, there)
	}
	third := startHelper(t, root, "nothing")
	third.says(t, "server")
	first.end()
	fourth := startHelper(t, root, "database")
	if four := fourth.says(t, "server"); four != here {
		t.Errorf("when the first had ended, there was a server of %s after that of %s", four, here)
	}
	second.end()
	fourth.end()
	nothingLeft(t, root)
	third.end()
	nothingLeft(t, root)
}

func TestWhatAKilledBinaryLeavesIsUsedOrMadeAnew(t *testing.T) {
	t.Parallel()
	root := otherRepository(t)
	first := startHelper(t, root, "database")
	before := first.says(t, "server")
	first.kill(t)
	if !slices.Contains(theirs(t, root), sharedName) {
		t.Fatalf("the killed one left only %v", theirs(t, root))
	}
	second := startHelper(t, root, "database")
	if after := second.says(t, "server"); after != before {
		t.Errorf("the server of %s wasn't used again; the next one is of %s", before, after)
	}
	second.kill(t)

	socket, err := filepath.Glob(filepath.Join(root, "tmp", "*", sharedName, ".s.PGSQL.5432"))
	if err != nil || len(socket) != 1 {
		t.Fatalf("sockets: %v, %v", socket, err)
	}
	if err := os.Remove(socket[0]); err != nil { // now it runs and can't be reached
		t.Fatal(err)
	}
	third := startHelper(t, root, "database")
	if after := third.says(t, "server"); after == before {
		t.Error("a server that can't be reached was used again")
	}
	third.end()
	nothingLeft(t, root)
}

func TestAServerDoesNotOutliveItsBinary(t *testing.T) {
	t.Parallel()
	root := otherRepository(t)
	first := startHelper(t, root, "server")
	var pid int
	if _, err := fmt.Sscan(first.says(t, "server"), &pid); err != nil {
		t.Fatal(err)
	}
	first.kill(t)
	if len(theirs(t, root)) == 0 {
		t.Error("the killed one has cleaned up?")
	}
	ctx, cancel := context.WithTimeout(t.Context(), quitTimeout)
	defer cancel()
	if err := awaitEnd(ctx, []int{pid}); err != nil && runtime.GOOS == "linux" {
		t.Errorf("the server runs on: %v", err)
	}
	second := startHelper(t, root, "server")
	second.says(t, "server")
	if n := len(slices.DeleteFunc(theirs(t, root), func(name string) bool { return !strings.HasPrefix(name, "p") })); n != 1 {
		t.Errorf("there are %d servers in %v", n, theirs(t, root))
	}
	second.end()
	nothingLeft(t, root)
}

func TestNothingIsStartedForNobody(t *testing.T) {
	t.Parallel()
	root := otherRepository(t)
	h := startHelper(t, root, "nothing")
	h.says(t, "server")
	nothingLeft(t, root)
	h.end()
	nothingLeft(t, root)
}

func TestFindPrograms(t *testing.T) {
	if !haveServers {
		t.Skip("not on this system")
	}
	root := t.TempDir()
	install := func(folder string, programs ...string) string {
		t.Helper()
		folder = filepath.Join(root, folder)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range programs {
			if err := os.WriteFile(filepath.Join(folder, name), nil, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return folder
	}
	nine := install("lib/postgresql/9/bin", "initdb", "postgres", "psql")
	fifteen := install("lib/postgresql/15/bin", "initdb", "postgres", "psql")
	clients := install("lib/postgresql/17/bin", "psql")
	brew := install("opt/postgresql@16/bin", "initdb", "postgres")
	links := install("bin")
	if err := os.Symlink(filepath.Join(nine, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	packages := []string{filepath.Join(root, "lib/postgresql/*/bin"), filepath.Join(root, "opt/postgresql*/bin")}

	for name, tt := range map[string]struct {
		given          string
		path, packages []string
		want, fault    string
	}{
		"given":                      {fifteen, []string{nine}, packages, fifteen, ""},
		"given, and wrong":           {clients, []string{nine}, packages, "", "ENSUE_TEST_POSTGRES_BIN is " + clients},
		"a link on PATH":             {"", []string{root, links}, packages, nine, ""},
		"the newest package":         {"", []string{root, clients, ""}, packages, fifteen, ""},
		"a package of another maker": {"", nil, packages[1:], brew, ""},
		"none":                       {"", []string{root}, nil, "", "install one"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findPrograms(tt.given, tt.path, tt.packages)
			if got != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("found %q, %v", got, err)
			}
		})
	}
}

func TestWithDatabase(t *testing.T) {
	for server, want := range map[string]string{
		"postgres://me:secret@there:6432/postgres?sslmode=disable": "postgres://me:secret@there:6432/test_1?sslmode=disable",
		"postgresql://there":                       "postgresql://there/test_1",
		"postgres:///postgres?host=/run/pg&port=1": "postgres:///test_1?host=/run/pg&port=1",
		"postgres://there?dbname=other":            "postgres://there/test_1",
		"host=there user=me":                       "",
		"mysql://there/":                           "",
	} {
		got, err := withDatabase(server, "test_1")
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %s, %v, want %s", server, got, err, want)
		}
	}
}
