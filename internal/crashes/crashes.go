// Package crashes lets a story crash everywhere, on logs of every kind. It is for tests.
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

// Samples says at how many operations a story crashes, on each kind of log; at every one where it has fewer. A tenth more
// runs crash a second time while they recover.
type Samples struct{ Memory, SQLite, Postgres int }

// Everywhere runs the story in memory, on SQLite and on PostgreSQL, for which database makes a database. Under the race
// detector it crashes at an eighth of the samples, and at 16 at most; where ENSUE_FULL is set, at every operation everywhere.
func Everywhere(t *testing.T, s processtest.Story, of Samples, database func(testing.TB) string) {
	t.Helper()
	crash := func(t *testing.T, sample int, logs func(*testing.T) func(string) eventlog.Log, realTime bool) {
		t.Helper()
		s := s
		s.Logs, s.RealTime = logs, realTime
		if s.Sample = raced.Fewer(sample); raced.On {
			s.Sample = min(s.Sample, 16)
		}
		s.Twice = (s.Sample + 9) / 10
		if os.Getenv("ENSUE_FULL") != "" {
			s.Sample = 0
		}
		processtest.CrashEverywhere(t, s)
	}
	t.Run("memory", func(t *testing.T) { crash(t, of.Memory, nil, false) })
	t.Run("sqlite", func(t *testing.T) { crash(t, of.SQLite, SQLite, false) })
	t.Run("postgres", func(t *testing.T) { crash(t, of.Postgres, Postgres(database(t)), true) })
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
