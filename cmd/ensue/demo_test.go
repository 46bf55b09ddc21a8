package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/examples/conference/domain/orders"
	"github.com/ensue-io/ensue/examples/conference/domain/payments"
	"github.com/ensue-io/ensue/examples/conference/domain/seats"
	"github.com/ensue-io/ensue/examples/conference/shop"
	"github.com/ensue-io/ensue/internal/pgtest"
)

const demoArguments = "ENSUE_TEST_DEMO_ARGUMENTS"

// TestMain lets this test program be the worker of a demonstration in one of its tests.
func TestMain(m *testing.M) {
	arguments := os.Getenv(demoArguments)
	if arguments == "" {
		os.Exit(pgtest.Main(m))
	}
	var args []string
	err := json.Unmarshal([]byte(arguments), &args)
	if err == nil {
		err = execute(context.Background(), os.Stdout, args...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// execute runs the demo command.
func execute(ctx context.Context, out interface{ Write([]byte) (int, error) }, args ...string) error {
	cmd := demoCommand()
	cmd.SetArgs(args[1:])
	cmd.SetOut(out)
	cmd.SetErr(os.Stderr)
	cmd.SilenceErrors = true
	return cmd.ExecuteContext(ctx)
}

// runDemo runs a demonstration whose worker is this test program.
func runDemo(t *testing.T, at place, kills int) (table, progressed string) {
	t.Helper()
	var out, errs bytes.Buffer
	d := demo{place: at, buyers: 60, seed: 7, payment: 3 * time.Second, kills: kills, out: &out, show: newProgress(&errs)}
	d.program = func(ctx context.Context, args ...string) *exec.Cmd {
		arguments, err := json.Marshal(args)
		if err != nil {
			t.Error(err)
		}
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), demoArguments+"="+string(arguments))
		return cmd
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if err := d.run(ctx); err != nil {
		log, _ := os.ReadFile(d.workerLog()) // it helps if it is there
		t.Fatalf("%v\n%s\n%s\n%s", err, &out, &errs, log)
	}
	return out.String(), errs.String()
}

func checkDemo(t *testing.T, at place) (*shop.Audit, error) {
	t.Helper()
	var out bytes.Buffer
	args := []string{"demo", "check", at.dir, "--json"}
	if at.address != "" {
		args = append(args, "-a", at.address)
	}
	err := execute(t.Context(), &out, args...)
	var a shop.Audit
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return &a, err
}

// demos runs a test of a demonstration on files, and of one in PostgreSQL.
func demos(t *testing.T, test func(t *testing.T, at place)) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Run("files", func(t *testing.T) {
		t.Parallel()
		test(t, place{dir: t.TempDir()})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, place{dir: t.TempDir(), address: pgtest.Database(t)})
	})
}

func TestDemo(t *testing.T) {
	demos(t, func(t *testing.T, at place) {
		table, _ := runDemo(t, at, 0)
		a, err := checkDemo(t, at)
		if err != nil {
			t.Fatal(err)
		}
		if a.Orders != 60 || a.Confirmed == 0 || a.Rejected == 0 || a.TimedOut == 0 || a.Compensated == 0 || a.Changed == 0 || a.Open != 0 {
			t.Errorf("the outcomes are %v", a)
		}
		for _, want := range []string{"60 buyers, 0 kills", "demo check " + at.dir, " registration " + a.Example, "log verify", "ok     every order", at.shown()} {
			if !strings.Contains(table, want) {
				t.Errorf("the output lacks %q:\n%s", want, table)
			}
		}

		// The same crowd does the same again: it comes to nothing.
		runDemo(t, at, 0)
		again, err := checkDemo(t, at)
		if err != nil || again.String() != a.String() {
			t.Errorf("the second time: %v\n%v\nthe first time\n%v", err, again, a)
		}
	})
}

func TestDemoKillsItsWorker(t *testing.T) {
	demos(t, func(t *testing.T, at place) {
		_, progressed := runDemo(t, at, 3)
		if n := strings.Count(progressed, "worker killed"); n != 3 {
			t.Errorf("%d kills, want 3:\n%s", n, progressed)
		}
		if a, err := checkDemo(t, at); err != nil || a.Orders != 60 || a.Open != 0 {
			t.Errorf("%v: %v", err, a)
		}
	})
}

func TestDemoOnNoDatabase(t *testing.T) {
	err := execute(t.Context(), &bytes.Buffer{}, "demo", "-a", "shop.db")
	if err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("the error is %v", err)
	}
}

// Where the logs are: what a flag says goes before the variable.
func TestDemoPlace(t *testing.T) {
	env := func(string) string { return "postgres://shop:secret@db/shop" }
	for _, tt := range []struct {
		at       place
		inFolder bool
		logs     string
	}{
		{place{dir: "demo"}, false, "postgres://shop:secret@db/shop"},
		{place{dir: "demo"}, true, "demo" + string(filepath.Separator)},
		{place{dir: "demo", address: "postgres://other/shop"}, true, "postgres://other/shop"},
	} {
		at := tt.at
		if err := at.fromVariable(env, tt.inFolder); err != nil {
			t.Error(err)
		}
		if at.logs() != tt.logs || strings.Contains(at.shown(), "secret") {
			t.Errorf("%+v: %s, shown as %s, want %s", tt.at, at.logs(), at.shown(), tt.logs)
		}
	}
}

func TestDemoCheckFindsFaults(t *testing.T) {
	placed := orders.Placed{Order: "0001", Conference: "saga-01", Buyer: "Ada", Seats: 2}
	confirmed := orders.OrderConfirmed{Order: "0001", Conference: "saga-01", Buyer: "Ada", Revision: 1, Seats: 2, Payment: "0001.1", Cents: 2 * orders.Price}
	closed := orders.Closed{Order: "0001", Outcome: orders.Confirmed, Seats: 2}
	opened := seats.SaleOpened{Conference: "saga-01", Capacity: 10}
	sold := seats.Sold{Conference: "saga-01", Reservation: "0001", Seats: 2}
	asked := event.New(payments.Requested{Payment: "0001.1", Cents: 2 * orders.Price}).WithHeader(shop.OrderHeader, "0001")
	received := payments.Received{Payment: "0001.1", Cents: 2 * orders.Price}
	for _, tt := range []struct {
		name                    string
		orders, seats, payments []any
		letters                 int
		wrong                   []string
	}{
		{"nothing", []any{placed, confirmed, closed}, []any{opened, sold}, []any{asked, received}, 1, nil},
		{"an order without an end", []any{placed}, nil, nil, 0, []string{"every order ended"}},
		{"two ends", []any{placed, confirmed, closed, orders.Closed{Order: "0001", Outcome: orders.Expired}}, []any{opened}, nil, 0, []string{"every order ended", "confirmed once"}},
		{"seats for nothing", []any{placed, orders.Closed{Order: "0001", Outcome: orders.Rejected}}, []any{opened, sold}, nil, 0, []string{"seats sold"}},
		{"seats sold twice", []any{placed, confirmed, closed}, []any{opened, sold, sold}, []any{asked, received}, 1, []string{"seats sold"}},
		{"more seats than there are", []any{placed, confirmed, closed}, []any{seats.SaleOpened{Conference: "saga-01", Capacity: 1}, sold}, []any{asked, received}, 1, []string{"oversold"}},
		{"a lost payment", []any{placed, confirmed, closed}, []any{opened, sold}, nil, 1, []string{"payments received", "cents received"}},
		{"two payments", []any{placed, confirmed, closed}, []any{opened, sold}, []any{asked, received, received}, 1, []string{"payments received", "cents received"}},
		{"two letters", []any{placed, confirmed, closed}, []any{opened, sold}, []any{asked, received}, 2, []string{"confirmations sent"}},
		{"no letter", []any{placed, confirmed, closed}, []any{opened, sold}, []any{asked, received}, 0, []string{"confirmations sent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			app, err := ensue.Open(t.Context(), (&place{dir: dir}).logs(), shop.Parts(shopConfig(dir, time.Hour))...)
			if err != nil {
				t.Fatal(err)
			}
			for module, facts := range map[string][]any{"orders": tt.orders, "seats": tt.seats, "payments": tt.payments} {
				if len(facts) == 0 {
					continue
				}
				if _, err := app.Module(module).Record(t.Context(), "made/up", facts...); err != nil {
					t.Fatal(err)
				}
			}
			for n := range tt.letters {
				if err := outboxOf(dir).Send(t.Context(), strings.Repeat("x", n+1), shop.SendConfirmation{Order: "0001"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := app.Close(); err != nil {
				t.Fatal(err)
			}
			a, err := checkDemo(t, place{dir: dir})
			if want := len(tt.wrong) > 0; errors.Is(err, errWrong) != want {
				t.Errorf("check said %v, wrong should be %t", err, want)
			}
			var wrong []string
			for _, c := range a.Checks {
				if !c.OK() {
					wrong = append(wrong, c.What)
				}
			}
			if len(wrong) != len(tt.wrong) {
				t.Fatalf("found wrong: %q, want those with %q", wrong, tt.wrong)
			}
			for n, w := range tt.wrong {
				if !strings.Contains(wrong[n], w) {
					t.Errorf("found wrong: %q, want those with %q", wrong, tt.wrong)
				}
			}
		})
	}
}

func TestDemoCheckOfNoDemonstration(t *testing.T) {
	t.Setenv(addressVariable, "")
	err := execute(t.Context(), &bytes.Buffer{}, "demo", "check", filepath.Join(t.TempDir(), "nowhere"))
	if err == nil || !strings.Contains(err.Error(), "should be the folder of a demonstration") {
		t.Errorf("the error is %v", err)
	}
}

func TestLongFlags(t *testing.T) {
	got := longFlags([]string{"demo", "-kill", "-h", "--dir", "x", "-seed=7", "-1", "-", "--", "-kill"})
	if want := "demo --kill -h --dir x --seed=7 -1 - -- -kill"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
