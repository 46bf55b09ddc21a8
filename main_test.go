package ensue_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// mainVersion makes this test program an application, with the version of catering-match that it names.
const mainVersion = "ENSUE_TEST_MAIN"

// menus is an application. Its second version is content with the caterer's confirmation.
func menus(version string) []ensue.Part {
	def := match
	if version == "2" {
		def = process.Define("catering-match", process.On[Match, CatererConfirmedMenu]{
			Starts: true,
			Locate: process.Key(func(e CatererConfirmedMenu) string { return e.OrderID }),
			React: func(_ Match, in process.Input[CatererConfirmedMenu], do *process.Step) {
				do.Send(ConfirmOrder(in.Event))
				do.Complete()
			},
		}).Otherwise(process.Ignore)
	}
	return []ensue.Part{ensue.Options{Logger: quiet()}, ensue.Module{Name: "orders",
		Events: []event.Type{event.Named[OrderConfirmed]("order-confirmed"), event.Named[CustomerConfirmedMenu]("customer-confirmed-menu"),
			event.Named[CatererConfirmedMenu]("caterer-confirmed-menu")},
		Commands:  []command.Handler{command.Handle("confirm-order", confirmOrder)},
		Processes: []process.Definition{def}}}
}

// mainCommand is a run of this test program as that application.
func mainCommand(t *testing.T, version string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...) // #nosec G204 -- itself
	cmd.Env = append(os.Environ(), mainVersion+"="+version, "ENSUE_URL=")
	return cmd
}

// A binary of one's own runs the application, looks into its logs, and says what its definition would have decided.
func TestMainIsTheApplicationsCommandLine(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "orders.db")
	app, err := ensue.Open(t.Context(), address, menus("1")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, facts := range [][]any{{CatererConfirmedMenu{"1"}, CustomerConfirmedMenu{"1"}}, {CatererConfirmedMenu{"2"}}} {
		if _, err := app.Module("orders").Record(t.Context(), "menu/1", facts...); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}

	run := mainCommand(t, "1", "run", address)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	tail := mainCommand(t, "1", "log", "tail", address, "-f") // until the order is confirmed
	lines, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(lines); s.Scan() && !strings.Contains(s.Text(), "order-confirmed"); {
	}
	if err := errors.Join(tail.Process.Kill(), run.Process.Signal(os.Interrupt), run.Wait()); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, lines)
	_ = tail.Wait() // it was killed

	before := digest(t, address)
	for _, tt := range []struct {
		version, args string
		code          int
		says          string
	}{
		{"1", "process diff ADDRESS catering-match", 0, "2 instances in 3 steps\nit would decide the same\n"},
		{"2", "process diff ADDRESS catering-match", 1, `+ command confirm-order to orders {"OrderID":"1"}`},
		{"2", "process diff ADDRESS catering-match --live", 1, "1 instance in 1 step"},
		{"2", "process diff ADDRESS catering-match 1 --json", 1, `"instances": 1`},
		{"2", "process diff ADDRESS catering", 1, "has catering-match"},
		{"2", "process diff ADDRESS", 2, "--help"},
		{"1", "process explain ADDRESS catering-match 2", 0, `State  {"Customer":false,"Caterer":true}`},
		{"1", "process explain ADDRESS catering-match 2", 0, "of orders  handle  changes the state, and decides"},
		{"1", "process explain ADDRESS catering-match 2 --json", 0, `"evolves": true`},
		{"1", "log verify ADDRESS", 0, "no problem found"},
		{"2", "log verify ADDRESS", 0, `unchecked`},
		{"1", "process ls ADDRESS", 0, "1 running, 1 completed"},
		{"1", "version", 0, "ensue"},
	} {
		var out bytes.Buffer
		cmd := mainCommand(t, tt.version, strings.Fields(strings.ReplaceAll(tt.args, "ADDRESS", address))...)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("version %s, %s: exit code %d, %v:\n%s", tt.version, tt.args, code, err, &out)
		}
		if strings.Contains(tt.args, "--json") && !json.Valid(out.Bytes()) {
			t.Errorf("it is no JSON:\n%s", &out)
		}
	}
	if digest(t, address) != before {
		t.Error("looking changed the file")
	}
}

func digest(t *testing.T, path string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
