package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// Cursors are stored by partition: a key that went to another one would be taken twice, or never. These values are of
// FNV-1a with 32 bits, by hand, and must never change.
func TestPartitionNeverChanges(t *testing.T) {
	golden := []struct {
		key             string
		of4, of16, of64 int
	}{
		{"", 1, 5, 5},
		{"1", 0, 12, 28},
		{"2", 1, 5, 21},
		{"3", 2, 2, 2},
		{"42", 3, 3, 3},
		{"A", 0, 12, 12},
		{"order/42", 2, 2, 18},
		{"2026-03-29", 3, 7, 55},
		{"émile", 0, 12, 12},
		{"名前", 0, 0, 16},
		{strings.Repeat("a", 200), 1, 13, 45},
		{"undecodable/orders/00000000-0000-7000-8000-000000000000", 3, 7, 39},
	}
	for _, g := range golden {
		for n, want := range map[int]int{1: 0, 4: g.of4, 16: g.of16, 64: g.of64} {
			if got := consumer.Partition(g.key, n); got != want {
				t.Errorf("key %q of %d partitions: %d, want %d", g.key, n, got, want)
			}
		}
	}
	if consumer.DefaultPartitions != 16 {
		t.Errorf("a process that never said otherwise has %d partitions now, and had 16 when it first ran", consumer.DefaultPartitions)
	}
}

func TestPartitionsShareTheKeys(t *testing.T) {
	const keys, n = 16_000, 16
	var count [n]int
	for k := range keys {
		count[consumer.Partition(fmt.Sprintf("order-%d", k), n)]++
	}
	for p, c := range count {
		if c < keys/n/2 || c > 2*keys/n {
			t.Errorf("partition %d has %d of %d keys", p, c, keys)
		}
	}
}

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	for _, c := range []struct {
		backoff     consumer.Backoff
		retry       int
		least, most time.Duration
	}{
		{consumer.Backoff{}, 1, 50 * time.Millisecond, 100 * time.Millisecond},
		{consumer.Backoff{}, 4, 400 * time.Millisecond, 800 * time.Millisecond},
		{consumer.Backoff{}, 10, 15 * time.Second, 30 * time.Second},
		{consumer.Backoff{}, math.MaxInt, 15 * time.Second, 30 * time.Second},
		{consumer.Backoff{}, 0, 50 * time.Millisecond, 100 * time.Millisecond},
		{consumer.Backoff{First: time.Second, Most: 3 * time.Second}, 2, time.Second, 2 * time.Second},
		{consumer.Backoff{First: time.Second, Most: 3 * time.Second}, 3, 1500 * time.Millisecond, 3 * time.Second},
		{consumer.Backoff{First: time.Minute, Most: time.Second}, 1, 500 * time.Millisecond, time.Second},
		{consumer.Backoff{First: 1, Most: 1}, 7, 0, 1},
		{consumer.Backoff{First: -1, Most: -1}, 1, 50 * time.Millisecond, 100 * time.Millisecond},
	} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			d := c.backoff.After(c.retry)
			if d < c.least || d > c.most {
				t.Fatalf("%+v before retry %d: %v, want %v to %v", c.backoff, c.retry, d, c.least, c.most)
			}
			seen[d] = true
		}
		if len(seen) < 100 && c.most > time.Microsecond {
			t.Errorf("%+v before retry %d: %d different waits of 1000, so those who failed together come again together", c.backoff, c.retry, len(seen))
		}
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := consumer.Sleep(t.Context(), time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("slept %v: %v", time.Since(began), err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began = time.Now()
		if err := consumer.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("slept %v: %v", time.Since(began), err)
		}
		if err := consumer.Sleep(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no wait, after the end: %v", err)
		}
		if err := consumer.Sleep(t.Context(), -time.Second); err != nil {
			t.Error(err)
		}
	})
}

// put appends events of those ids to a log.
func put(t *testing.T, log eventlog.Log, ids ...event.ID) {
	t.Helper()
	for _, id := range ids {
		if _, err := log.Append(t.Context(), eventlog.ToStream{Stream: "order/1", Events: []event.Event{{ID: id, Type: "order-placed"}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACursorIsReadAsItWasPut(t *testing.T) {
	home := memlog.New()
	none, err := consumer.LoadCursor(t.Context(), home, "bills/orders")
	if err != nil || none != (consumer.Cursor{}) {
		t.Errorf("where there is none: %+v, %v", none, err)
	}
	want := consumer.Cursor{Log: event.NewID(), Position: 9, Event: event.NewID(), At: 7, Time: time.Date(2026, time.March, 29, 1, 0, 0, 1000, time.UTC)}
	if _, err := home.Append(t.Context(), want.Put("bills/orders"), consumer.Cursor{Position: 1}.Put("bills/others")); err != nil {
		t.Fatal(err)
	}
	if got, err := consumer.LoadCursor(t.Context(), home, "bills/orders"); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestACursorThatCannotBeReadIsAnError(t *testing.T) {
	home := memlog.New()
	if _, err := home.Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "bills", Value: []byte("{")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.LoadCursor(t.Context(), home, "bills"); err == nil || !strings.Contains(err.Error(), `"bills"`) {
		t.Errorf("%v", err)
	}
}

// G1: a log that is not the one that was read is noticed, not skipped.
func TestG1_ACursorKnowsItsLog(t *testing.T) {
	ids := []event.ID{event.NewID(), event.NewID(), event.NewID()}
	log := memlog.New()
	put(t, log, ids...)
	for _, c := range []struct {
		name    string
		cursor  consumer.Cursor
		rewound bool
	}{
		{"that read nothing yet", consumer.Cursor{}, false},
		{"at the head", consumer.Cursor{Log: log.ID(), Position: 3, Event: ids[2], At: 3}, false},
		{"inside", consumer.Cursor{Log: log.ID(), Position: 2, Event: ids[1], At: 2}, false},
		{"at the first event", consumer.Cursor{Log: log.ID(), Position: 1, Event: ids[0], At: 1}, false},
		{"behind its last event", consumer.Cursor{Log: log.ID(), Position: 3, Event: ids[0], At: 1}, false},
		{"that met no event", consumer.Cursor{Log: log.ID(), Position: 2}, false},
		{"of another history", consumer.Cursor{Log: event.NewID(), Position: 3, Event: ids[2], At: 3}, true},
		{"above the head", consumer.Cursor{Log: log.ID(), Position: 4}, true},
		{"at another event", consumer.Cursor{Log: log.ID(), Position: 3, Event: event.NewID(), At: 3}, true},
		{"at an event that stands elsewhere", consumer.Cursor{Log: log.ID(), Position: 3, Event: ids[1], At: 3}, true},
		{"at an event that is gone", consumer.Cursor{Log: log.ID(), Position: 3, Event: ids[2], At: 4}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.cursor.Check(t.Context(), log)
			if c.rewound != errors.Is(err, eventlog.ErrLogRewound) || !c.rewound && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// The event at a cursor may be a record of the engine: reads leave them out unless they ask.
func TestACursorMayStandAtASystemRecord(t *testing.T) {
	log, id := memlog.New(), event.NewID()
	if _, err := log.Append(t.Context(), eventlog.ToStream{Stream: "order/1", Events: []event.Event{{ID: id, Type: event.SystemPrefix + "step"}}}); err != nil {
		t.Fatal(err)
	}
	if err := (consumer.Cursor{Log: log.ID(), Position: 1, Event: id, At: 1}).Check(t.Context(), log); err != nil {
		t.Error(err)
	}
}

// An error of the log is not mistaken for another history.
func TestALogThatCannotBeReadIsNotRewound(t *testing.T) {
	log, id := memlog.New(), event.NewID()
	put(t, log, id)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := consumer.Cursor{Log: log.ID(), Position: 1, Event: id, At: 1}.Check(ctx, log)
	if err == nil || errors.Is(err, eventlog.ErrLogRewound) {
		t.Errorf("%v", err)
	}
}
