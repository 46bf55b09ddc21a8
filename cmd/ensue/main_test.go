package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/cli"
	"github.com/ensue-io/ensue/process"
)

// Every command, on the same story, as a person and as a program sees it.
func TestGolden(t *testing.T) {
	t.Parallel()
	address := aShop(t)
	for _, tt := range []struct {
		name string
		args string
	}{
		{"log-tail", "log tail ADDRESS"},
		{"log-cat", "log cat ADDRESS --module orders --system --from 4 --to 9"},
		{"log-cat-tag", "log cat ADDRESS --tag order=47-2 --type payment-received"},
		{"log-stats", "log stats ADDRESS"},
		{"log-verify", "log verify ADDRESS"},
		{"stream-ls", "stream ls ADDRESS --prefix order"},
		{"stream-show", "stream show ADDRESS order-process/47-2"},
		{"stream-show-brief", "stream show ADDRESS order-process/47-2 --brief --backward --limit 2"},
		{"stream-show-text", "stream show ADDRESS note/1"},
		{"stream-show-header", "stream show ADDRESS payment/5"},
		{"process-ls", "process ls ADDRESS"},
		{"process-ls-name", "process ls ADDRESS order-process"},
		{"process-ls-running", "process ls ADDRESS order-process --status running"},
		{"process-ls-aside", "process ls ADDRESS --held --waiting"},
		{"workers", "workers ADDRESS"},
		{"process-show", "process show ADDRESS order-process 47-2"},
		{"process-explain-running", "process explain ADDRESS order-process 47-1"},
		{"process-explain-completed", "process explain ADDRESS order-process 47-2"},
		{"process-explain-rejected", "process explain ADDRESS order-process 47-3"},
		{"process-explain-held", "process explain ADDRESS order-process 47-4"},
		{"process-explain-waiting", "process explain ADDRESS order-process 48-1"},
	} {
		args := strings.Fields(strings.ReplaceAll(tt.args, "ADDRESS", address))
		c := call(t, nil, args...)
		if c.code != exitDone {
			t.Errorf("%s: exit code %d", tt.args, c.code)
		}
		golden(t, tt.name+".txt", "$ ensue "+tt.args+"\n"+steady(c.out+c.err, address))
		c = call(t, nil, append(args, "--json")...)
		if !json.Valid([]byte(c.out)) || c.code != exitDone {
			t.Errorf("%s --json: exit code %d, %s", tt.args, c.code, c.out)
		}
		golden(t, tt.name+".json", steady(c.out, address))
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "shop.db")
	story(t, address, ensue.Options{Processes: map[string]ensue.ProcessOptions{"order-process": {Store: process.Documents{}}}})
	golden(t, "documents.txt", steady(call(t, nil, "process", "show", address, "order-process", "47-1").out+
		call(t, nil, "process", "explain", address, "order-process", "47-1").out+
		call(t, nil, "process", "ls", address, "order-process").out+call(t, nil, "log", "verify", address).out, address))
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	address := aShop(t)
	dir := filepath.Dir(address)
	text := filepath.Join(dir, "notes.txt")
	foreign := filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	change(t, foreign, "CREATE TABLE theirs (n INTEGER)")
	empty := filepath.Join(dir, "empty") + string(filepath.Separator)
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"log tail", exitUsage, "no address"},
		{"log tail " + filepath.Join(dir, "gone.db"), exitProblem, "there is no file or folder"},
		{"log tail " + foreign, exitProblem, "another program"},
		{"log tail " + text, exitProblem, text},
		{"log tail " + empty, exitProblem, "holds no log of ours"},
		{"log tail memory:", exitProblem, "end with their program"},
		{"log tail mysql://x", exitProblem, "no log for addresses of the form mysql://…"},
		{"log tail ADDRESS --module ordres", exitProblem, `no module "ordres"`},
		{"log tail ADDRESS --module ordres", exitProblem, "it has orders, payments and seats"},
		{"log tail ADDRESS more", exitUsage, "not 1 arguments"},
		{"log tail ADDRESS -n -1", exitUsage, "-n takes a number"},
		{"log tail ADDRESS --tag x", exitUsage, "key=value"},
		{"log cat ADDRESS --from 3", exitUsage, "positions are those of one module"},
		{"log cat ADDRESS --from 3 --to 2", exitUsage, "before --from"},
		{"log cat ADDRESS --colour", exitUsage, "unknown flag"},
		{"log cta ADDRESS", exitUsage, `did you mean "ensue log cat"?`},
		{"lgo cat ADDRESS", exitUsage, "unknown command"},
		{"version 1", exitUsage, "takes no arguments"},
		{"stream show ADDRESS order/47", exitProblem, "there is order/47-1, order/47-2 and order/47-3"},
		{"stream show ADDRESS nothing", exitProblem, "ensue stream ls"},
		{"stream ls ADDRESS -c order --prefix payment/1", exitUsage, "no stream of category"},
		{"process ls ADDRESS order-prozess", exitProblem, "it has order-process"},
		{"process ls ADDRESS order-process --status new", exitUsage, "running or completed"},
		{"process ls ADDRESS --status running", exitUsage, "name it"},
		{"process explain ADDRESS order-process", exitUsage, "ADDRESS NAME INSTANCE"},
		{"process explain ADDRESS order-process 47-9", exitProblem, "it has 47-1, 47-2, 47-3 and 47-4"},
		{"process explain ADDRESS other 47-1", exitProblem, `no process "other"`},
		{"process show ADDRESS order-process 48-1", exitProblem, "has not started"},
	} {
		c := call(t, nil, strings.Fields(strings.ReplaceAll(tt.args, "ADDRESS", address))...)
		if c.code != tt.code || !strings.Contains(c.err, tt.says) || c.out != "" {
			t.Errorf("%s: exit code %d, out %q, err %q; want %d and %q", tt.args, c.code, c.out, c.err, tt.code, tt.says)
		}
	}
}

// change changes a SQLite file behind everybody's back.
func change(t testing.TB, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func TestAddressesAndNothingChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	story(t, dir, ensue.Options{})
	change(t, filepath.Join(dir, "foreign.db"), "CREATE TABLE theirs (n INTEGER)")
	before := contents(t, dir)
	env := map[string]string{"ENSUE_URL": dir}
	want := call(t, nil, "process", "explain", dir, "order-process", "47-1")
	for _, c := range []called{
		call(t, env, "process", "explain", "order-process", "47-1"),
		call(t, env, "process", "explain", dir, "order-process", "47-1"),
		call(t, map[string]string{"ENSUE_URL": "elsewhere"}, "process", "explain", "-a", dir, "order-process", "47-1"),
	} {
		if c != want || c.code != exitDone {
			t.Errorf("%+v\nwant %+v", c, want)
		}
	}
	want = call(t, nil, "process", "ls", dir, "order-process")
	for _, args := range [][]string{{"process", "ls", "order-process"}, {"process", "ls", dir, "order-process"}} {
		if c := call(t, env, args...); c != want || c.code != exitDone {
			t.Errorf("%v: %+v\nwant %+v", args, c, want)
		}
	}
	if c := call(t, env, "process", "ls", dir); c.code != exitDone || !strings.HasPrefix(c.out, "order-process  at home") {
		t.Errorf("%+v", c)
	}
	for _, args := range []string{"log tail", "log cat", "log stats", "log verify", "stream ls", "process ls"} {
		if c := call(t, env, strings.Fields(args)...); c.code != exitDone {
			t.Errorf("%s: %+v", args, c)
		}
	}
	after := contents(t, dir)
	for name, data := range before {
		if !bytes.Equal(after[name], data) {
			t.Errorf("%s was changed", name)
		}
	}
}

// contents reads the databases in a folder.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if all[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// With an application at work on the same file, everything can be looked at, and is in order.
func TestWhileTheApplicationRuns(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "shop.db")
	application(t, address, ensue.Options{}, func(app *ensue.App) {
		recorded := make(chan error, 1)
		go func() {
			var err error
			for n := 0; n < 60 && err == nil; n++ {
				id := fmt.Sprint(n)
				if _, err = app.Module("orders").Record(t.Context(), "order/"+id, OrderPlaced{id, n % 12}); err == nil {
					_, err = app.Module("payments").Record(t.Context(), "payment/"+id, PaymentReceived{id, n + 1})
				}
			}
			recorded <- err
		}()
		for working := true; working; {
			for _, args := range []string{"log tail", "log stats", "process ls", "process ls --held", "log verify"} {
				c := call(t, map[string]string{"ENSUE_URL": address}, strings.Fields(args)...)
				if c.code != exitDone {
					t.Errorf("%s: exit code %d: %s%s", args, c.code, c.out, c.err)
				}
			}
			select {
			case err := <-recorded:
				if err != nil {
					t.Error(err)
				}
				working = false
			default:
			}
		}
	})
}

// watched is a writer that can be waited for.
type watched struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until a text was written.
func (w *watched) await(t testing.TB, text string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.changed:
		case <-limit:
			t.Fatalf("%q was not written, but %q", text, w.String())
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "shop.db")
	application(t, address, ensue.Options{}, func(app *ensue.App) {
		record := func(id string) {
			if _, err := app.Module("payments").Record(t.Context(), "payment/"+id, PaymentReceived{id, 1}); err != nil {
				t.Error(err)
			}
		}
		record("first")
		for _, more := range []string{"--json=false", "--json"} {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			out := watched{changed: make(chan struct{}, 1)}
			done := make(chan called, 1)
			go func() { done <- callWith(t, ctx, &out, false, nil, "log", "tail", address, "-f", more) }()
			out.await(t, "payment/first")
			record("next" + more)
			out.await(t, "payment/next"+more)
			interrupt()
			if c := <-done; c.code != exitDone || c.err != "" {
				t.Errorf("%+v", c)
			}
			if more != "--json" {
				continue
			}
			for line := range strings.Lines(out.String()) {
				var v struct{ Position int }
				if err := json.Unmarshal([]byte(line), &v); err != nil || v.Position == 0 {
					t.Errorf("%s: %v", line, err)
				}
			}
		}
	})
}

func TestVerifyNamesDamage(t *testing.T) {
	t.Parallel()
	address := aShop(t)
	file, err := sqlitelog.Open(t.Context(), address, sqlitelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	orders, err := file.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orders.Append(t.Context(), eventlog.Delete{Kind: eventlog.Timeout, Key: eventlog.Key("order-process", "47-1", "payment-due")}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, address, "DELETE FROM events WHERE stream = (SELECT stream FROM streams WHERE name = 'payment/3')")
	c := call(t, nil, "log", "verify", address)
	if c.code != exitProblem || c.err != "" {
		t.Errorf("%+v", c)
	}
	golden(t, "damaged.txt", steady(c.out, address))
	c = call(t, nil, "log", "verify", address, "--json", "--most", "1")
	golden(t, "damaged.json", steady(c.out, address))
}

func TestColours(t *testing.T) {
	t.Parallel()
	address := aShop(t)
	for _, tt := range []struct {
		env      map[string]string
		terminal bool
		colours  bool
	}{
		{nil, true, true},
		{nil, false, false},
		{map[string]string{"NO_COLOR": "1"}, true, false},
		{map[string]string{"TERM": "dumb"}, true, false},
	} {
		for _, args := range []string{"log tail", "process ls", "process explain ADDRESS order-process 47-4", "stream show ADDRESS note/1"} {
			var out bytes.Buffer
			if !strings.Contains(args, "ADDRESS") {
				args += " ADDRESS"
			}
			c := callWith(t, t.Context(), &out, tt.terminal, tt.env, strings.Fields(strings.ReplaceAll(args, "ADDRESS", address))...)
			if has := strings.Contains(c.out, "\x1b["); has != tt.colours {
				t.Errorf("%s with %v, terminal %v: colours %v", args, tt.env, tt.terminal, has)
			}
			if strings.Contains(c.out, "JSON \x1b") {
				t.Errorf("%s lets what was recorded move the cursor: %q", args, c.out)
			}
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	address := aShop(t)
	for _, tt := range []struct {
		args []string
		want string // the first lines
	}{
		{[]string{"process", "explain", address, ""}, "order-process\n:4\n"},
		{[]string{"process", "explain", address, "order-process", "47-"}, "47-1\n47-2\n47-3\n47-4\n:4\n"},
		{[]string{"process", "show", "-a", address, "order-process", "48"}, ":4\n"},
		{[]string{"process", "ls", address, "o"}, "order-process\n:4\n"},
		{[]string{"log", "tail", ""}, ":0\n"},
		{[]string{"log", "tail", address, "--module", "p"}, "payments\n:4\n"},
		{[]string{"stream", "show", address, "order/"}, "order/47-1\norder/47-2\norder/47-3\norder/47-4\n:4\n"},
	} {
		c := call(t, nil, append([]string{"__complete"}, tt.args...)...)
		if !strings.HasPrefix(c.out, tt.want) {
			t.Errorf("%v: %q, want %q", tt.args, c.out, tt.want)
		}
	}
}

// Every command says what it is for, with examples.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands(cli.Command{Name: "ensue", Out: io.Discard, Err: io.Discard}) {
		if c.short == "" || c.example == "" {
			t.Errorf("%s lacks a description or examples", c.path)
		}
	}
	if c := call(t, nil, "log"); c.code != exitDone || !strings.Contains(c.out, "verify") {
		t.Errorf("%+v", c)
	}
	c := call(t, nil, "version", "--json")
	var v struct{ Go, Version string }
	if err := json.Unmarshal([]byte(c.out), &v); err != nil || v.Go == "" || v.Version == "" {
		t.Errorf("%q: %v", c.out, err)
	}
	if c := call(t, nil, "version"); !strings.HasPrefix(c.out, "ensue ") {
		t.Errorf("%+v", c)
	}
}

type helped struct{ path, short, example string }

func commands(c cli.Command) (all []helped) {
	for _, group := range c.Root().Commands() {
		if group.Name() == "demo" {
			continue // has tests of its own
		}
		all = append(all, helped{group.CommandPath(), group.Short, group.Example})
		for _, c := range group.Commands() {
			all = append(all, helped{c.CommandPath(), c.Short, c.Example})
		}
	}
	return all
}
