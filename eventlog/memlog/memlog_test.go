package memlog_test

import (
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

func TestIsALog(t *testing.T) {
	logtest.Run(t, logtest.Store{
		Open: func(_ logtest.T, now func() time.Time) eventlog.Log { return memlog.Options{Now: now}.New() },
	})
}
