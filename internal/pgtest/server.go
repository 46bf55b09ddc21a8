package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	userName    = "ensue" // a superuser
	defaultPort = 5432    // only a part of the socket's name
)

// Options say how a server differs from the usual one.
type Options struct {
	Settings map[string]string // of postgresql.conf; they win over those of this package
	Durable  bool              // what is committed survives the machine's crash; without it fsync and full_page_writes are off
	Standby  *Server           // the server is a hot standby that follows this one, asynchronously
	TCP      bool              // the server listens on a port of 127.0.0.1 as well; see Addr
}

// A Server is a PostgreSQL server of one test. Its methods may be called at the same time, but Kill, Start, Stop and
// Promote wait for each other.
//
// It listens on a socket in a folder that only its user can enter. It takes 200 connections and 20 prepared
// transactions, and 4 standbys or backups can follow it.
type Server struct {
	dir    string // its folder: the data, the log and the socket are in it
	home   *home
	port   int
	tcp    bool
	shared bool // it is everybody's, and outlives us

	mu      sync.Mutex
	running *child // nil after Kill and Stop, and for a shared server that another binary started
}

// New starts a server. When the test ends it is stopped, and its folder removed; if the test failed, the end of the
// server's log is shown. A server doesn't outlive the test binary, even if that is killed: on Linux at once, elsewhere
// until the next binary begins.
//
// A failure is the test's failure; without PostgreSQL's programs the test is skipped.
func New(tb testing.TB, o Options) *Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	s, err := ours.newServer(ctx)
	if err != nil {
		skipOrFail(tb, err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the log of the PostgreSQL server in %s:\n%s", s.dir, s.logTail())
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout) // the test's own context has ended
		defer cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := removeServer(ctx, s.dir); err != nil {
			tb.Error("pgtest: removing a server:", err)
		}
		s.running = nil
	})
	if o.TCP {
		s.tcp = true
		if s.port, err = freePort(tb.Context()); err != nil {
			tb.Fatal("pgtest:", err)
		}
	}
	if err := s.make(ctx, o); err != nil {
		tb.Fatal("pgtest: making a server:", err)
	}
	s.Start(tb)
	return s
}

// freePort finds a port for a server. It is below those that the system hands out to whoever connects somewhere: a
// server that was killed needs the same one again.
func freePort(ctx context.Context) (int, error) {
	var err error
	for range 100 {
		port := 15000 + rand.IntN(15000)
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("looking for a free port: %w", err)
}

// make makes the server's folder and the data in it: as of the template, or of the server that it follows.
func (s *Server) make(ctx context.Context, o Options) error {
	if err := s.home.makeOwned(s.dir); err != nil {
		return err
	}
	var err error
	if o.Standby == nil {
		err = runAs(ctx, s.home.who, s.dir, "/bin/cp", "-R", filepath.Join(s.home.dir, templateName, "data"), s.Dir())
	} else {
		err = runAs(ctx, s.home.who, s.dir, program(s.home.bin, "pg_basebackup"), "-D", s.Dir(), "-R", "-X", "stream", "-c", "fast", "--no-sync",
			"-h", o.Standby.dir, "-p", strconv.Itoa(o.Standby.port), "-U", userName)
	}
	if err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(s.Dir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(s.settings(o)) // what comes last wins, also over the settings of a server that is followed
	return errors.Join(err, conf.Close())
}

// settings are the lines of postgresql.conf.
func (s *Server) settings(o Options) string {
	onOff := map[bool]string{true: "on", false: "off"}
	all := map[string]string{
		"unix_socket_directories":     s.dir,
		"port":                        strconv.Itoa(s.port),
		"listen_addresses":            "",
		"fsync":                       onOff[o.Durable],
		"full_page_writes":            onOff[o.Durable],
		"max_connections":             "200",
		"shared_buffers":              "128MB",
		"max_prepared_transactions":   "20",
		"wal_level":                   "replica",
		"max_wal_senders":             "4",
		"hot_standby":                 "on",
		"wal_retrieve_retry_interval": "100ms", // a standby is back soon after the server that it follows
		"dynamic_shared_memory_type":  "mmap",  // in the server's folder: else what a killed one has would stay in memory
		"logging_collector":           "off",
		"log_line_prefix":             "%m [%p] %d ",
	}
	if s.tcp {
		all["listen_addresses"] = "127.0.0.1"
	}
	maps.Copy(all, o.Settings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(all[name]))
	}
	return b.String()
}

// URL is the address of a database, by the server's socket. The database postgres is always there.
func (s *Server) URL(database string) string {
	// A plus sign is a space to some that read URLs, and to others not.
	dir := strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(s.dir))
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", userName, url.PathEscape(database), dir, s.port)
}

// Addr is where the server listens as well, 127.0.0.1 and a port, or empty without Options.TCP. No password is asked for.
func (s *Server) Addr() string {
	if !s.tcp {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", s.port)
}

// Database makes an empty database on this server, as the function Database does on the shared one. It is dropped when
// the test ends, if the server runs then.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	return newDatabase(tb, s.URL("postgres"), "the test's server", func() bool { return s.PID() != 0 })
}

// Dir is the folder of the server's data. It belongs to the user that the server runs as.
func (s *Server) Dir() string { return filepath.Join(s.dir, "data") }

// PID is the id of the server's first process, or 0 when it doesn't run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.running.hasEnded() {
		return 0
	}
	return s.running.pid()
}

// Start starts the server again, after Kill or Stop, and waits until it accepts connections: after a Kill, until it has
// recovered. It fails the test if the server runs, or doesn't get that far in two minutes.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if s.running != nil && !s.running.hasEnded() {
		tb.Fatal("pgtest: the server runs already")
	}
	if err := s.start(ctx); err != nil {
		tb.Fatal("pgtest:", err)
	}
}

func (s *Server) start(ctx context.Context) error {
	out, err := os.OpenFile(s.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	// Not CommandContext: the server is to outlive this call.
	cmd := exec.Command(program(s.home.bin, "postgres"), "-D", s.Dir())
	cmd.Dir = s.dir
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = out, out // never the test's own: go test waits until nobody has those open
	belongTo(cmd, s.home.who)
	if s.shared {
		outliveUs(cmd)
	} else {
		dieWithUs(cmd)
	}
	c, err := startChild(cmd)
	if err != nil {
		return fmt.Errorf("starting postgres%s: %w", s.home.who, err)
	}
	var last error
	err = await(ctx, func() (bool, error) {
		if last = s.ping(ctx); last != nil && c.hasEnded() {
			return false, errors.New("it ended")
		}
		return last == nil, nil
	})
	if err != nil {
		c.signal(os.Kill)
		<-c.ended
		return fmt.Errorf("the server doesn't accept connections: %w\nlast answer: %w\nits log:\n%s", err, last, s.logTail())
	}
	s.running = c
	return nil
}

// Stop shuts the server down, which ends its connections, and waits until it is gone. One that doesn't run stays so.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	s.running.signal(os.Interrupt) // what PostgreSQL calls a fast shutdown
	select {
	case <-s.running.ended:
		s.running = nil
	case <-timeout.C:
		tb.Fatalf("pgtest: the server didn't stop in %v; its log:\n%s", startTimeout, s.logTail())
	}
}

// Kill ends all processes of the server where they are, and waits until they are gone. One that doesn't run stays so.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startTimeout) // a test may kill at its very end
	defer cancel()
	if !s.running.hasEnded() {
		if err := killFamily(ctx, s.running.pid()); err != nil {
			tb.Fatal("pgtest: killing the server:", err)
		}
	}
	<-s.running.ended
	s.running = nil
}

// Promote makes a standby a server that follows nobody, and waits until it takes writes.
func (s *Server) Promote(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if err := s.promote(ctx); err != nil {
		tb.Fatal("pgtest: promoting a standby:", err)
	}
}

func (s *Server) promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var done bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, $1)", int(startTimeout/time.Second)).Scan(&done); err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("not done in %v; its log:\n%s", startTimeout, s.logTail())
	}
	return nil
}

// Program runs one of PostgreSQL's programs (psql, pg_dump, pg_restore, pgbench) and returns what it printed. It
// connects to this server, to the database postgres unless told otherwise, and runs in the test's folder as the test's
// user. If it fails, so does the test, with what the program had to say; where it isn't installed, the test is skipped.
func (s *Server) Program(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	path := Bin(name)
	if path == "" {
		tb.Skipf("needs PostgreSQL's program %s, which is not in %s: install it", name, s.home.bin)
	}
	cmd := exec.CommandContext(tb.Context(), path, args...)
	cmd.Env = environment("PGHOST="+s.dir, "PGPORT="+strconv.Itoa(s.port), "PGUSER="+userName, "PGDATABASE=postgres")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		tb.Fatalf("pgtest: %s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return stdout.String()
}

// healthy says if the server is there and answers.
func (s *Server) healthy(ctx context.Context) bool {
	if _, err := os.Stat(s.Dir()); err != nil {
		return false
	}
	return s.ping(ctx) == nil
}

// pingTimeout is for a server that accepts a connection and then says nothing, as one that was stopped half-way does.
const pingTimeout = 5 * time.Second

func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return execute(ctx, s.URL("postgres"), "SELECT count(*) FROM pg_database") // which reads a table
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// logTail is the end of the server's log.
func (s *Server) logTail() string {
	const limit = 8 << 10
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	if len(log) > limit {
		log = log[len(log)-limit:]
		_, log, _ = bytes.Cut(log, []byte("\n"))
	}
	return string(log)
}

func socketName(port int) string { return fmt.Sprintf(".s.PGSQL.%d.lock", port) }
