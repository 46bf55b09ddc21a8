package main

import (
	"cmp"
	"os"
	"strconv"
	"testing"

	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		main()
	}
	os.Exit(m.Run())
}

// Killed again and again, in the import and behind it, the program comes to the same end (G5, G6, G7, G8).
// ENSUE_FINES_CRASH names a folder with fines to take instead of made-up ones, ENSUE_FINES_KILLS how often to kill.
func TestKilledAtRandomMoments(t *testing.T) {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("ENSUE_FINES_KILLS"), "6"))
	if err != nil {
		t.Fatal(err)
	}
	x := torture{data: os.Getenv("ENSUE_FINES_CRASH"), dir: t.TempDir(), kills: kills, imports: max(2, kills/5), seed: 1, out: t.Output()}
	if x.data == "" {
		x.data, x.batch, x.verify = t.TempDir(), 64, true
		cases := 3000
		if raced {
			cases = 1000
		}
		if err := dataset.Generate(x.data, cases, 77); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
