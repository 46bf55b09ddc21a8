package sqlitelog

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
)

// TestLog runs the definition of a log on one file each, with a pool of one connection that reads.
func TestLog(t *testing.T) {
	open := func(t logtest.T, path string, now func() time.Time) eventlog.Log {
		f, err := Open(context.Background(), path, Options{Now: now, Readers: 1})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		})
		l, err := f.Log(context.Background(), "orders")
		if err != nil {
			t.Fatalf("log: %v", err)
		}
		return l
	}
	logtest.Run(t, logtest.Store{
		Open: func(t logtest.T, now func() time.Time) eventlog.Log {
			return open(t, filepath.Join(t.TempDir(), "log.db"), now)
		},
		Reopen: func(t logtest.T, log eventlog.Log) eventlog.Log {
			f := log.(*Log).file
			if err := f.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			return open(t, f.path, f.options.Now)
		},
	})
}
