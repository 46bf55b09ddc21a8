package process

import (
	"maps"
	"slices"
	"testing"
)

// simKinds are what happens at least once in the seeds that the suite runs: a simulation in which something no longer happens
// proves nothing about it.
var simKinds = []string{
	"a command given up", "told that a command failed, expired: false", "told that a command failed, expired: true",
	"given up by itself", "compensated", "undo sent", "undo rejected", "undo sent again", "undo skipped",
	"claim", "claim refused", "claim given back", "found by a claimed key", "waits beside its key", "handed over", "waited beside its key for too long",
	"operator: hold", "operator: resume", "operator: skip", "operator: replace", "operator: cancel", "operator: skip, and stale",
	"event skipped", "timeout skipped", "rejected skipped", "a birth skipped", "event replaced", "a replaced input taken", "cancelled",
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
	if early := kinds["steps before the end"]; early < 2000 {
		t.Errorf("only %d steps were taken while something could go wrong", early)
	}
	for _, what := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%6d %s", kinds[what], what)
	}
}
