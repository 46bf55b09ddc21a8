package process

import (
	"fmt"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// Of very many timeouts that are due at one instant, none is passed when the later half of them is forgotten and read
// again, whatever characters their keys have.
func TestG11_TiesAmongMoreTimeoutsThanFitInMemory(t *testing.T) {
	log := memlog.New()
	all := timers{process: "p", log: log, mine: mine{all: true}, end: forever}
	at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
	var writes []eventlog.Write
	for n := range timerMost / 4 {
		for _, form := range []string{"%05d", "%05d-b", "%05d/b", "%05d%%", "%05d b"} {
			instance, timer := fmt.Sprintf(form, n), Timer{Name: "due", Due: at, ID: event.NewID()}
			all.set(instance, timer)
			writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Timeout, Key: timeoutKey("p", instance, timer.Name), Value: timer.ID[:], Due: at}})
		}
	}
	if _, err := log.Append(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	seen, last := map[string]bool{}, ""
	for {
		if all.exhausted() {
			if err := all.load(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		all.trim()
		d, ok := all.next()
		if !ok {
			break
		}
		all.pop()
		seen[d.instance] = true
		if key := timeoutKey("p", d.instance, d.name); key <= last {
			t.Fatalf("%q comes behind %q", key, last)
		} else {
			last = key
		}
	}
	if len(seen) != len(writes) {
		t.Errorf("%d timeouts came up, of %d", len(seen), len(writes))
	}
}
