package process_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// A process that uses everything crashes before and after everything that it does, and comes to the same end: in memory
// at every operation; on SQLite and PostgreSQL at some, and where ENSUE_FULL is set at every one.
func TestG6_G7_G8_G9_G11_CrashEverywhere(t *testing.T) {
	sample := func(n int) int {
		if os.Getenv("ENSUE_FULL") != "" {
			return 0
		}
		return raced.Fewer(n)
	}
	for name, store := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
		story := processtest.Story{Run: everythingRun(store)}
		t.Run("memory, "+name, func(t *testing.T) {
			s := story
			if s.Twice = sample(50); raced.On {
				s.Sample = sample(500)
			}
			processtest.CrashEverywhere(t, s)
		})
		t.Run("sqlite, "+name, func(t *testing.T) {
			s := story
			s.Logs, s.Sample, s.Twice = inFile, sample(100), sample(20)
			processtest.CrashEverywhere(t, s)
		})
		t.Run("postgres, "+name, func(t *testing.T) {
			s := story
			s.Logs, s.Sample, s.Twice, s.RealTime = inSchema(pgtest.Database(t)), sample(10), 2, true
			processtest.CrashEverywhere(t, s)
		})
	}
}

// inFile keeps the logs of a run in a new file, whose writes don't wait for the medium.
func inFile(t *testing.T) func(string) eventlog.Log {
	t.Helper()
	file, err := sqlitelog.Open(t.Context(), t.TempDir()+"/logs.db", sqlitelog.Options{Normal: true, Poll: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(module string) eventlog.Log { return must[eventlog.Log](file.Log(t.Context(), module)) }
}

// inSchema keeps the logs of each run in a schema of its own.
func inSchema(address string) func(t *testing.T) func(string) eventlog.Log {
	var runs atomic.Int64
	return func(t *testing.T) func(string) eventlog.Log {
		t.Helper()
		database, err := pglog.Open(t.Context(), address, pglog.Options{Schema: fmt.Sprint("run", runs.Add(1)), Poll: 10 * time.Millisecond,
			Connections: 6, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := database.Close(); err != nil {
				t.Error(err)
			}
		})
		return func(module string) eventlog.Log { return must[eventlog.Log](database.Log(t.Context(), module)) }
	}
}
