package process_test

import (
	"testing"

	"github.com/ensue-io/ensue/internal/crashes"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// Programs that use everything crash before and after everything that they do, and come to the same end: in memory, with
// streams, at every operation; elsewhere at some, and where ENSUE_FULL is set at every one.
func TestG6_G7_G8_G9_G11_CrashEverywhere(t *testing.T) {
	for name, tale := range tales {
		t.Run(name+", streams", func(t *testing.T) {
			crashes.Everywhere(t, processtest.Story{Run: tale.run(process.Streams{})}, crashes.Samples{Memory: 700, SQLite: 32, Postgres: 4}, pgtest.Database)
		})
		t.Run(name+", documents", func(t *testing.T) {
			crashes.Everywhere(t, processtest.Story{Run: tale.run(process.Documents{})}, crashes.Samples{Memory: 160, SQLite: 32, Postgres: 4}, pgtest.Database)
		})
	}
}
