package pglog

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestLog runs the definition of a log, each case in a schema of its own of one database.
func TestLog(t *testing.T) { testLog(t, pgtest.Database(t), Options{}, true) }

// TestLogBySimpleProtocol is TestLog without prepared statements, as behind a pooler.
func TestLogBySimpleProtocol(t *testing.T) {
	testLog(t, pgtest.Database(t)+"&default_query_exec_mode=simple_protocol", Options{NoListen: true}, false)
}

// TestLogWhereSerializableIsTheDefault is TestLog on a database whose transactions are SERIALIZABLE unless they say otherwise.
func TestLogWhereSerializableIsTheDefault(t *testing.T) {
	testLog(t, pgtest.Database(t)+"&default_transaction_isolation=serializable", Options{}, false)
}

// testLog leaves out the cases that take long unless whole is asked for.
func testLog(t *testing.T, address string, o Options, whole bool) {
	var mu sync.Mutex
	schemas := 0
	open := func(t logtest.T, o Options) eventlog.Log {
		db, err := Open(context.Background(), address+"&search_path="+url.PathEscape(`"`+o.Schema+`"`), o) // for tables of a case's own
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		})
		l, err := db.Log(context.Background(), "orders")
		if err != nil {
			t.Fatalf("log: %v", err)
		}
		return l
	}
	store := logtest.Store{
		Open: func(t logtest.T, _ func() time.Time) eventlog.Log {
			mu.Lock()
			schemas++
			own := o
			own.Schema = fmt.Sprint("log ", schemas)
			mu.Unlock()
			return open(t, own)
		},
		Reopen: func(t logtest.T, log eventlog.Log) eventlog.Log {
			db := log.(*Log).db
			if err := db.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			return open(t, db.options)
		},
		OwnClock: true,
	}
	if whole {
		logtest.Run(t, store)
		return
	}
	for _, c := range logtest.Cases() {
		if !c.Large {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				c.Run(t, store)
			})
		}
	}
}
