package consumer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

const partitions = 16

// joined returns a new member of those that share "bills".
func joined(t *testing.T, log eventlog.Log, worker event.ID) *consumer.Member {
	t.Helper()
	o := quietly()
	o.Worker = worker
	m := consumer.NewMember(log, "bills", partitions, o)
	if err := m.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// balance lets members release and take until nothing changes.
func balance(t *testing.T, members ...*consumer.Member) {
	t.Helper()
	for again := true; again; {
		again = false
		for _, m := range members {
			d, err := m.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			again = again || m.Above(d) > 0
			if err := m.Release(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			took, err := m.Take(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			again = again || took
		}
	}
}

func shares(members ...*consumer.Member) (n []int) {
	for _, m := range members {
		n = append(n, len(m.Owned()))
	}
	return n
}

// writeAs appends an event under a membership, as its worker does.
func writeAs(t *testing.T, log eventlog.Log, m *consumer.Member) error {
	t.Helper()
	return write(t, log, m.Lease())
}

func TestMembersShareEvenly(t *testing.T) {
	log := memlog.New()
	var members []*consumer.Member
	for n, want := range [][]int{{16}, {8, 8}, {6, 5, 5}, {4, 4, 4, 4}, {4, 3, 3, 3, 3}} {
		members = append(members, joined(t, log, event.ID{byte(n + 1)}))
		balance(t, members...)
		if got := shares(members...); !slices.Equal(got, want) {
			t.Errorf("%d members own %v, want %v", n+1, got, want)
		}
	}
	seen := map[int]bool{}
	for _, m := range members {
		for _, p := range m.Owned() {
			if seen[p] {
				t.Errorf("partition %d is owned twice", p)
			}
			seen[p] = true
		}
		if d, err := m.Look(t.Context()); err != nil || !m.Settled(d) {
			t.Errorf("is not settled, %v", err)
		}
	}
	if err := members[0].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	balance(t, members[1:]...)
	if got := shares(members...); !slices.Equal(got, []int{0, 4, 4, 4, 4}) {
		t.Errorf("when one has left, they own %v", got)
	}
	if all, err := consumer.Leases(t.Context(), log); err != nil || len(all) != 4 {
		t.Errorf("leases are %v, %v", all, err)
	}
}

func TestEpochsGrowWithEachOwner(t *testing.T) {
	log := memlog.New()
	a := joined(t, log, event.ID{1})
	balance(t, a)
	b := joined(t, log, event.ID{2})
	balance(t, a, b)
	d, err := consumer.ReadDivision(t.Context(), log, "bills", partitions)
	if err != nil {
		t.Fatal(err)
	}
	for p, s := range d.Partitions {
		h, owned := d.Owner(p)
		if want := (map[event.ID]int64{{1}: 1, {2}: 2})[h.Worker]; !owned || s.Epoch != want || s.Worker != h.Worker {
			t.Errorf("partition %d: %+v of %+v", p, s, h)
		}
	}
}

// G12: a worker that was taken for gone cannot write, whatever it knows, and whoever took its partitions can.
func TestG12_WhoWasTakenForGoneCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		a, b := joined(t, log, event.ID{1}), joined(t, log, event.ID{2})
		balance(t, a, b)
		if err := consumer.Sleep(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		if err := writeAs(t, log, b); err != nil { // nobody has taken anything from it yet
			t.Fatal(err)
		}
		balance(t, b)
		if got := shares(b); got[0] != partitions {
			t.Errorf("it owns %v", got)
		}
		if err := writeAs(t, log, a); !a.Lease().Lost(err) {
			t.Errorf("%v", err)
		}
		if _, err := a.Look(t.Context()); !errors.Is(err, consumer.ErrLeaseLost) {
			t.Errorf("%v", err)
		}
		if err := a.Finish(t.Context(), nil); !errors.Is(err, consumer.ErrLeaseLost) || !strings.Contains(err.Error(), event.ID{1}.String()) {
			t.Errorf("%v", err)
		}
		if err := a.Leave(t.Context(), eventlog.ToStream{Stream: "bills", Events: []event.Event{{Type: "billed"}}}); err != nil {
			t.Error(err)
		}
		if err := writeAs(t, log, b); err != nil {
			t.Error(err)
		}
		if head, err := log.Head(t.Context()); err != nil || head != 2 {
			t.Errorf("%d events were written, %v", head, err)
		}
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		balance(t, a, b)
		if got := shares(a, b); !slices.Equal(got, []int{8, 8}) || a.Lease().Holder().Epoch != 2 {
			t.Errorf("when it joined again they own %v; %+v", got, a.Lease().Holder())
		}
	})
}

// What somebody saw before a partition was taken is no reason to take it: also where the owner had joined under its old
// name, which the partition's entry still had.
func TestG12_WhatWasSeenTooEarlyIsNotTaken(t *testing.T) {
	log := memlog.New()
	a, b := joined(t, log, event.ID{1}), joined(t, log, event.ID{2})
	balance(t, a)
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, err := b.Look(t.Context()) // all is free
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := shares(a); got[0] != 0 {
		t.Errorf("who joins again owns %d partitions, before taking any", got[0])
	}
	balance(t, a)
	if _, err := b.Take(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if got := shares(a, b); !slices.Equal(got, []int{8, 8}) {
		t.Errorf("they own %v", got)
	}
	for _, p := range a.Owned() {
		if slices.Contains(b.Owned(), p) {
			t.Errorf("both own partition %d", p)
		}
	}
}

// A worker that doesn't know what became of its last append goes on with what it has.
func TestAMemberThatJoinsAgainKeepsItsPartitions(t *testing.T) {
	log := memlog.New()
	a := joined(t, log, event.ID{1})
	b := joined(t, log, event.ID{2})
	balance(t, a, b)
	before := a.Owned()
	again := joined(t, log, event.ID{1})
	if _, err := a.Look(t.Context()); !errors.Is(err, consumer.ErrLeaseLost) {
		t.Errorf("there are two of it: %v", err)
	}
	balance(t, again, b)
	if got := again.Owned(); !slices.Equal(got, before) {
		t.Errorf("it owns %v, and owned %v", got, before)
	}
	if err := a.Leave(t.Context()); err != nil { // it has the same name
		t.Error(err)
	}
	if _, err := again.Look(t.Context()); !errors.Is(err, consumer.ErrLeaseLost) {
		t.Errorf("%v", err)
	}
}

func TestAPartitionThatThereIsNotIsAnError(t *testing.T) {
	log := memlog.New()
	balance(t, joined(t, log, event.ID{1}))
	if _, err := consumer.ReadDivision(t.Context(), log, "bills", 4); err == nil || !strings.Contains(err.Error(), "there are 4 partitions") {
		t.Errorf("%v", err)
	}
}

// clocked is a log whose store has a clock of its own.
type clocked struct {
	*memlog.Log
	now   func() time.Time
	asked int
}

func (c *clocked) Now(context.Context) (time.Time, error) {
	c.asked++
	return c.now(), nil
}

// Leases run by the store's clock, which is asked once; this machine's may say what it likes.
func TestLeasesRunByTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := 100 * 24 * time.Hour
		log := &clocked{Log: memlog.New(), now: func() time.Time { return time.Now().Add(ahead) }}
		o := quietly()
		wrong := time.Unix(0, 0)
		o.Now = func() time.Time { wrong = wrong.Add(time.Hour); return wrong }
		l := acquire(t, log, o)
		if h := l.Holder(); !h.Since.Equal(time.Now().Add(ahead)) || !h.Until.Equal(h.Since.Add(ttl)) {
			t.Errorf("%+v", h)
		}
		for range 3 {
			if err := errors.Join(consumer.Sleep(t.Context(), time.Second), l.Renew(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		if h := l.Holder(); !h.Until.Equal(time.Now().Add(ahead + ttl)) {
			t.Errorf("%+v", h)
		}
		began := time.Now()
		acquire(t, log, o)
		if waited := time.Since(began); waited < ttl || waited > ttl+ttl/10 {
			t.Errorf("waited %v", waited)
		}
		if log.asked != 2 {
			t.Errorf("the store was asked %d times", log.asked)
		}
		m := consumer.NewMember(log, "others", partitions, o)
		if err := m.Join(t.Context()); err != nil || !m.Lease().Holder().Since.Equal(time.Now().Add(ahead)) {
			t.Errorf("%+v, %v", m.Lease().Holder(), err)
		}
	})
}
