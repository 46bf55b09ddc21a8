// Package bench measures the paths that users run: a saga from end to end, a process that takes inputs, the loading of
// instances, and appends. README.md says how to read the figures.
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// instances is how many are under way at once.
const instances = 2000

// quiet hears of nothing but what a benchmark would fail at.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// stores are where the modules of an application are kept.
var stores = []struct {
	name    string
	address func(b *testing.B) string
}{
	{"memory", func(*testing.B) string { return "memory:" }},
	{"file", func(b *testing.B) string { return filepath.Join(b.TempDir(), "all.db") }}, // one for all modules
	{"files", func(b *testing.B) string { return b.TempDir() + "/" }},                   // one for each
	{"postgres", func(b *testing.B) string { // a server of its own, that syncs: so the schema is new as well
		return pgtest.New(b, pgtest.Options{Durable: true}).URL("postgres")
	}},
}

// fewer is how many there are of something where -short only asks whether a benchmark works.
func fewer(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// open opens an application; the benchmark closes it.
func open(b *testing.B, address string, options ensue.Options, modules ...ensue.Part) *ensue.App {
	b.Helper()
	options.Logger = quiet
	app, err := ensue.Open(context.Background(), address, append(modules, options)...)
	if err != nil {
		b.Fatal(err)
	}
	return app
}

func closeApp(b *testing.B, app *ensue.App) {
	b.Helper()
	if err := app.Close(); err != nil {
		b.Error(err)
	}
}

// running runs an application until stop is called.
func running(b *testing.B, app *ensue.App) (stop func()) {
	ctx, end := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := app.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	return func() { end(); run.Wait() }
}

func idle(b *testing.B, app *ensue.App) {
	b.Helper()
	if err := app.WaitIdle(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// record records facts in a module, at most 1,000 in one append.
func record(b *testing.B, app *ensue.App, module, stream string, facts []any) {
	b.Helper()
	for len(facts) > 0 {
		n := min(len(facts), 1000)
		if _, err := app.Module(module).Record(context.Background(), stream, facts[:n]...); err != nil {
			b.Fatal(err)
		}
		facts = facts[n:]
	}
}

// keys returns n keys, which those of another round don't repeat.
func keys(round, n int) []string {
	all := make([]string, n)
	for k := range all {
		all[k] = fmt.Sprintf("%d-%d", round, k)
	}
	return all
}
