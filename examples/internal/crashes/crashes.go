// Package crashes lets a story of an example crash everywhere, on logs of every kind. It is for tests.
package crashes

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
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process/processtest"
)

// Everywhere runs the story in memory, on SQLite and on PostgreSQL, for which database makes a database. It crashes at
// some operations, in memory at all of a short story, at fewer under the race detector; where ENSUE_FULL is set, at every one everywhere.
func Everywhere(t *testing.T, s processtest.Story, database func(testing.TB) string) {
	t.Helper()
	sample := func(n int) int {
		if os.Getenv("ENSUE_FULL") != "" {
			return 0
		}
		return raced.Fewer(n)
	}
	t.Run("memory", func(t *testing.T) {
		s := s
		s.Sample, s.Twice = sample(400), sample(30)
		processtest.CrashEverywhere(t, s)
	})
	t.Run("sqlite", func(t *testing.T) {
		s := s
		s.Logs, s.Sample, s.Twice = SQLite, sample(120), sample(16)
		processtest.CrashEverywhere(t, s)
	})
	t.Run("postgres", func(t *testing.T) {
		s := s
		s.Logs, s.Sample, s.Twice, s.RealTime = Postgres(database(t)), sample(12), 2, true
		processtest.CrashEverywhere(t, s)
	})
}

// SQLite keeps the logs of a run in a new file, whose writes don't wait for the medium.
func SQLite(t *testing.T) func(string) eventlog.Log {
	t.Helper()
	file, err := sqlitelog.Open(t.Context(), t.TempDir()+"/logs.db", sqlitelog.Options{Normal: true, Poll: -1, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(module string) eventlog.Log {
		log, err := file.Log(t.Context(), module)
		if err != nil {
			t.Error(err)
		}
		return log
	}
}

// Postgres keeps the logs of each run in a schema of its own.
func Postgres(address string) func(t *testing.T) func(string) eventlog.Log {
	var runs atomic.Int64
	return func(t *testing.T) func(string) eventlog.Log {
		t.Helper()
		database, err := pglog.Open(t.Context(), address, pglog.Options{Schema: fmt.Sprint("run", runs.Add(1)), Poll: 10 * time.Millisecond, Connections: 6, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := database.Close(); err != nil {
				t.Error(err)
			}
		})
		return func(module string) eventlog.Log {
			log, err := database.Log(t.Context(), module)
			if err != nil {
				t.Error(err)
			}
			return log
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
