package process

import (
	"maps"
	"slices"
	"testing"
)

// simKinds are what happens at least once in the seeds that the suite runs: a simulation in which something no longer happens
// proves nothing about it.
var simKinds = []string{
	"given up by itself", "compensated", "undo sent", "undo sent again", "undo rejected", "undo failed",
}

// happens counts what a simulation looks at.
func (o *oracle) happens(what string) { o.kinds[what]++ }

// wantKinds checks that everything happened.
func wantKinds(t *testing.T, kinds map[string]int) {
	t.Helper()
	for _, what := range simKinds {
		if kinds[what] == 0 {
			t.Errorf("it never happened in any seed: %s", what)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%6d %s", kinds[what], what)
	}
}
