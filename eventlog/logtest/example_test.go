package logtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// The test of a store. A file would be opened in t.TempDir() and closed by t.Cleanup; Reopen would close it and open it
// again.
func ExampleRun() {
	test := func(t *testing.T) {
		logtest.Run(t, logtest.Store{
			Open: func(_ logtest.T, now func() time.Time) eventlog.Log { return memlog.Options{Now: now}.New() },
		})
	}
	fmt.Printf("%T\n", test)
	// Output: func(*testing.T)
}

// Cases are named for what they ask of a log.
func ExampleCases() {
	for _, c := range logtest.Cases() {
		if strings.HasPrefix(c.Name, "due/") {
			fmt.Println(c.Name)
		}
	}
	// Output:
	// due/ordered by due time, then key as bytes; without one left out
	// due/by a time, that time included
	// due/after a due time and key, through equal due times
	// due/page after page returns each once
	// due/cleared, moved and deleted
	// due/with a prefix, and by keys
	// due/a refused append changes no due time
}

// A case can be run by whatever is a logtest.T; here is what one says of a log that swallows conflicts.
func ExampleCase_Run() {
	store := logtest.Store{Open: func(_ logtest.T, now func() time.Time) eventlog.Log {
		return expectsNothing{memlog.Options{Now: now}.New()}
	}}
	for _, c := range logtest.Cases() {
		if c.Name == "expect/a conflict is matched by ErrConflict" {
			r := &recorder{}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c.Run(r, store)
			}()
			<-ended
			fmt.Println(r.failed)
		}
	}
	// Output: a conflict is the error <nil>
}
