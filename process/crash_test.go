package process_test

import (
	"testing"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// A process that uses everything crashes before and after everything that it does, and comes to the same end.
func TestG6_G7_G8_G9_G11_CrashEverywhere(t *testing.T) {
	for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
		t.Run("memory, "+name, func(t *testing.T) {
			processtest.CrashEverywhere(t, processtest.Story{Run: everythingRun(store), Twice: 100})
		})
	}
}
