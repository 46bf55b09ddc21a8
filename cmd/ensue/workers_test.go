package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// Who has which partition, who has none yet, and what nobody has.
func TestWorkersWhoShare(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	address := filepath.Join(t.TempDir(), "shop.db")
	story(t, address, ensue.Options{})
	file, err := sqlitelog.Open(ctx, address, sqlitelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	home, err := file.Log(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	join := func(take bool) *consumer.Member {
		t.Helper()
		m := consumer.NewMember(home, eventlog.Key("process", "order-process"), 16, consumer.LeaseOptions{TTL: 24 * time.Hour * 365 * 20})
		if err := m.Join(ctx); err != nil {
			t.Fatal(err)
		}
		if take {
			d, err := m.Look(ctx)
			if err == nil {
				_, err = m.Take(ctx, d)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	first, second := join(false), join(true)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	c := call(t, nil, "workers", address, "order-process")
	for _, want := range []string{"order-process", "0-7", "none", "nobody has partitions 8-15", "orders, up to date; payments, up to date"} {
		if c.code != exitDone || !strings.Contains(c.out, want) {
			t.Errorf("exit code %d, and %q is missing in\n%s%s", c.code, want, c.out, c.err)
		}
	}
	var views []struct {
		Workers []struct {
			Worker     event.ID
			Vanished   bool
			Partitions []int
		}
		Unowned []int
	}
	if c = call(t, nil, "workers", address, "--json"); json.Unmarshal([]byte(c.out), &views) != nil || len(views) != 1 || len(views[0].Workers) != 2 || len(views[0].Unowned) != 8 {
		t.Fatalf("as JSON:\n%s", c.out)
	}
	for _, w := range views[0].Workers {
		if has := len(w.Partitions); w.Vanished || w.Worker == second.Lease().Holder().Worker && has != 8 || w.Worker == first.Lease().Holder().Worker && has != 0 {
			t.Errorf("a worker is shown as %+v", w)
		}
	}
	if c = call(t, nil, "workers", address, "nobody"); c.code != exitProblem || !strings.Contains(c.err, "nobody") {
		t.Errorf("of a process that there isn't: exit code %d, %s", c.code, c.err)
	}
}
