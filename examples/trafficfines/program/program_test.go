package program_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
)

// generated makes up a folder of fines.
func generated(t *testing.T, cases int, seed uint64) string {
	t.Helper()
	folder := t.TempDir()
	if err := dataset.Generate(folder, cases, seed); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// places runs a test with logs in a folder, and with logs in PostgreSQL.
func places(t *testing.T, test func(t *testing.T, newAddress func(t *testing.T) string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, func(t *testing.T) string { return t.TempDir() }) })
	t.Run("postgres", func(t *testing.T) { test(t, func(t *testing.T) string { return pgtest.Database(t) }) })
}

// run runs the program on a folder of fines, in a folder of its own unless the configuration names an address.
func run(t *testing.T, c program.Config) (*report.Report, program.Stats) {
	t.Helper()
	if c.Address == "" {
		c.Address = t.TempDir()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, stats, err := program.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := report.Open(ctx, c.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if err := logs.Verify(ctx); err != nil {
		t.Fatal("the logs contradict themselves: ", err)
	}
	return r, stats
}

// fewer returns how many fines a test makes up: a quarter of n where the race detector is on.
func fewer(n int) int {
	if raced.On {
		return n / 4
	}
	return n
}

func mustEqual(t *testing.T, have, want report.Figures) {
	t.Helper()
	if diffs := have.Differences(want); len(diffs) > 0 {
		t.Fatalf("not as expected:\n\t%s", strings.Join(diffs, "\n\t"))
	}
}

func TestGeneratedFinesEndAsTheOracleSays(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			endsAsTheOracleSays(t, t.TempDir(), seed)
		})
	}
	for seed := range uint64(2) {
		t.Run(fmt.Sprintf("postgres, seed %d", seed), func(t *testing.T) {
			t.Parallel()
			endsAsTheOracleSays(t, pgtest.Database(t), seed)
		})
	}
}

func endsAsTheOracleSays(t *testing.T, address string, seed uint64) {
	t.Helper()
	data := generated(t, fewer(300), seed)
	expected := oracle(t, data)
	r, stats := run(t, program.Config{Data: data, Address: address})
	mustEqual(t, r.Figures, expected)
	if r.Figures.PenaltiesSHA256 != r.Figures.RecordedSHA256 {
		t.Error("the process's penalties are not those that were recorded")
	}
	if want := int64(expected.Events + expected.Penalties); stats.Engine.Inputs != want || stats.Engine.Duplicates != 0 {
		t.Errorf("%d inputs were taken, %d of them again; expected %d", stats.Engine.Inputs, stats.Engine.Duplicates, want)
	}
}

// The order of events of one instant in different modules is not defined: whichever module is declared first, the
// figures are the same.
func TestEveryOrderOfTheModules(t *testing.T) {
	data := generated(t, fewer(120), 24)
	expected := oracle(t, data)
	orders := permutations(authority.Sources)
	if len(orders) != 24 {
		t.Fatalf("%d orders", len(orders))
	}
	for n, order := range orders {
		test := func(t *testing.T, address string) {
			t.Parallel()
			r, _ := run(t, program.Config{Data: data, Address: address, Order: append(slices.Clone(order), authority.Collections)})
			mustEqual(t, r.Figures, expected)
		}
		t.Run(strings.Join(order, ","), func(t *testing.T) { test(t, t.TempDir()) })
		if n%12 == 11 {
			t.Run("postgres, "+strings.Join(order, ","), func(t *testing.T) { test(t, pgtest.Database(t)) })
		}
	}
}

func permutations(of []string) (all [][]string) {
	if len(of) == 0 {
		return [][]string{nil}
	}
	for n := range of {
		rest := append(append([]string(nil), of[:n]...), of[n+1:]...)
		for _, p := range permutations(rest) {
			all = append(all, append([]string{of[n]}, p...))
		}
	}
	return all
}

func TestRunningAgainChangesNothing(t *testing.T) { places(t, runningAgainChangesNothing) }

func runningAgainChangesNothing(t *testing.T, newAddress func(t *testing.T) string) {
	t.Parallel()
	data, address := generated(t, fewer(200), 3), newAddress(t)
	first, _ := run(t, program.Config{Data: data, Address: address})
	heads := readHeads(t, address)
	again, stats := run(t, program.Config{Address: address}) // all is imported: it needs no data
	mustEqual(t, again.Figures, first.Figures)
	if e := stats.Engine; e.Inputs+e.Duplicates+e.Commands != 0 {
		t.Errorf("there was something left to do: %+v", e)
	}
	if now := readHeads(t, address); now != heads {
		t.Errorf("the logs grew from %v to %v", heads, now)
	}
}

// Cursors only save work: an instance's own record tells what it has taken (G8), and a command's receipt that it was
// handled (G7).
func TestLostCursors(t *testing.T) { places(t, lostCursors) }

func lostCursors(t *testing.T, newAddress func(t *testing.T) string) {
	t.Parallel()
	data, address := generated(t, fewer(200), 4), newAddress(t)
	first, before := run(t, program.Config{Data: data, Address: address})
	heads := readHeads(t, address)
	deleteCursors(t, address)
	again, stats := run(t, program.Config{Address: address})
	mustEqual(t, again.Figures, first.Figures)
	if events := before.Engine.Inputs - before.Engine.Timeouts; stats.Engine.Duplicates != events || stats.Engine.Inputs+stats.Engine.Commands != 0 {
		t.Errorf("%d events were recognised, expected %d; %d inputs and %d commands were not", stats.Engine.Duplicates, events, stats.Engine.Inputs, stats.Engine.Commands)
	}
	if now := readHeads(t, address); now != heads {
		t.Errorf("the logs grew from %v to %v", heads, now)
	}
}

// deleteCursors sets all cursors of the process back to the beginning.
func deleteCursors(t *testing.T, address string) {
	t.Helper()
	app := open(t, address)
	log := app.Module(authority.Registry).Log()
	var writes []eventlog.Write
	for e, err := range log.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Cursor, Prefix: eventlog.Key(authority.Collection) + "/"}) {
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, eventlog.Delete{Kind: eventlog.Cursor, Key: e.Key})
	}
	if len(writes) == 0 {
		t.Fatal("there are no cursors")
	}
	if _, err := log.Append(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
}

// open opens the application, without running it.
func open(t *testing.T, address string) *ensue.App {
	t.Helper()
	app, err := program.Open(t.Context(), program.Config{Address: address, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	return app
}

// readHeads returns the heads of the logs.
func readHeads(t *testing.T, address string) (heads [5]eventlog.Position) {
	t.Helper()
	logs, err := report.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	for n, module := range authority.Names {
		if heads[n], err = logs.Log(module).Head(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return heads
}

// An instance whose handler panics stands aside, at whatever step that is, and is named; no other notices (G9).
func TestPanicHoldsOneFine(t *testing.T) { places(t, panicHoldsOneFine) }

func panicHoldsOneFine(t *testing.T, newAddress func(t *testing.T) string) {
	data := generated(t, fewer(200), 5)
	whole, _ := run(t, program.Config{Data: data})
	fine := whole.Penalty[len(whole.Penalty)/2].Fine
	due, err := time.ParseInLocation(time.DateOnly, whole.Penalty[len(whole.Penalty)/2].Date, domain.Rome)
	if err != nil {
		t.Fatal(err)
	}
	expected := oracle(t, data, fine)
	for name, faulty := range map[string]func(at time.Time) bool{
		"at its creation":   func(time.Time) bool { return true },
		"when it falls due": func(at time.Time) bool { return !at.Before(due) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := newAddress(t)
			r, _ := run(t, program.Config{Data: data, Address: address,
				Watch: func(_ domain.Fine, do *process.Step) {
					if do.Instance() == fine && faulty(do.Now()) {
						panic("a fault of this fine's handler")
					}
				},
				Options: func(o *ensue.Options) {
					p := o.Processes[authority.Collection]
					p.Retry = process.Retry{Attempts: 2}
					o.Processes[authority.Collection] = p
				},
			})
			for n, f := range r.Fates { // its state is that before the fault, which no oracle knows
				if f.Fine == fine {
					r.Fates = append(r.Fates[:n], r.Fates[n+1:]...)
					break
				}
			}
			r.Compute()
			mustEqual(t, r.Figures, expected)
			if len(r.Held) != 1 || !strings.HasPrefix(r.Held[0], fine+" is held") || !strings.Contains(r.Held[0], "a fault of this fine's handler") {
				t.Errorf("held: %q", r.Held)
			}
			logs, err := report.Open(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			defer logs.Close()
			for h, err := range process.Holdings(t.Context(), logs.Log(authority.Registry), authority.Collection) {
				if err != nil || h.Instance != fine || h.Condition != process.Held || h.Queued == 0 {
					t.Errorf("%+v, %v", h, err)
				}
			}
		})
	}
}

func TestInterruptedImportGoesOn(t *testing.T) { places(t, interruptedImportGoesOn) }

func interruptedImportGoesOn(t *testing.T, newAddress func(t *testing.T) string) {
	t.Parallel()
	data, other, address := generated(t, 1500, 6), generated(t, 1500, 7), newAddress(t)
	app := open(t, address)
	registry := app.Module(authority.Registry)
	ctx, stop := context.WithCancel(t.Context())
	there := 0
	interrupt := func(events int) {
		if there = events; events > 0 {
			stop()
		}
	}
	if err := dataset.Import(ctx, data, registry, interrupt); !errors.Is(err, context.Canceled) {
		t.Fatalf("the import was not interrupted: %v", err)
	}
	if head, err := registry.Log().Head(t.Context()); err != nil || int(head) != there || there == 0 {
		t.Fatalf("%d events are there, %d were told: %v", head, there, err)
	}
	if _, sealed, err := process.ReadSeal(t.Context(), registry.Log()); sealed || err != nil {
		t.Fatalf("half an import is sealed, %v", err)
	}
	if err := dataset.Import(t.Context(), other, registry, nil); err == nil || !strings.Contains(err.Error(), "other data") {
		t.Fatalf("other data were imported behind them: %v", err)
	}
	if err := dataset.Import(t.Context(), "", registry, nil); err == nil || !strings.Contains(err.Error(), "-data") {
		t.Fatalf("half an import is enough: %v", err)
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ := run(t, program.Config{Data: data, Address: address})
	mustEqual(t, r.Figures, oracle(t, data))
	if _, _, err := program.Run(t.Context(), program.Config{Data: other, Address: address}); err == nil || !strings.Contains(err.Error(), "other data") {
		t.Fatalf("other data gave the same figures: %v", err)
	}
}
