package main

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/internal/raced"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		main()
	}
	os.Exit(pgtest.Main(m))
}

// Killed again and again, in the import and behind it, the program comes to the same end (G5, G6, G7, G8).
// ENSUE_FINES_CRASH names a folder with fines to take instead of made-up ones, ENSUE_FINES_KILLS how often to kill.
func TestKilledAtRandomMoments(t *testing.T) {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("ENSUE_FINES_KILLS"), "6"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("sqlite", func(t *testing.T) { killedAtRandomMoments(t, "", 3000, kills) })
	t.Run("postgres", func(t *testing.T) { killedAtRandomMoments(t, pgtest.Database(t), 800, max(4, kills/2)) })
}

func killedAtRandomMoments(t *testing.T, address string, cases, kills int) {
	t.Helper()
	x := torture{data: os.Getenv("ENSUE_FINES_CRASH"), dir: t.TempDir(), address: address, kills: kills, imports: max(2, kills/5), seed: 1, out: t.Output()}
	if x.data == "" {
		x.data, x.batch, x.verify = madeUp(t, cases), 64, true
	}
	if err := x.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func madeUp(t *testing.T, cases int) string {
	t.Helper()
	folder := t.TempDir()
	if raced.On {
		cases = min(cases, 1000)
	}
	if err := dataset.Generate(folder, cases, 77); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Three workers share the process. A random one is killed again and again and replaced, and one is stopped for longer than
// its lease: then it has lost it, writes nothing, and joins again. Everything comes to the same end (G8, G12).
func TestWorkersAreKilledAndStopped(t *testing.T) {
	const kills = 3
	x := torture{data: madeUp(t, 800), dir: t.TempDir(), address: pgtest.Database(t), kills: kills, batch: 16, seed: 1, out: t.Output(),
		workers: 3, every: 400 * time.Millisecond, lease: 1500 * time.Millisecond, pace: 10 * time.Millisecond}
	err := x.run(t.Context())
	if x.killed < kills {
		t.Errorf("%d workers were killed before the end, not %d", x.killed, kills)
	}
	if err != nil || t.Failed() {
		text, _ := os.ReadFile(filepath.Join(x.dir, "workers.log")) // it helps if it is there
		t.Fatalf("%v\n%s", err, text)
	}
}
