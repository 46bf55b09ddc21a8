package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Member is one of the workers that share the partitions of a consumer.
//
// Its membership is a lease of its own, an entry of the home log, and each partition has an entry that names its owner.
// Whoever does something for its partitions puts the lease's Write into the same append, first: one write, however many
// partitions. A partition changes hands in two ways. Its owner releases it, under its lease. Or its owner has vanished:
// then whoever takes it deletes the vanished one's membership in the same append, so that a worker that was only stopped,
// and is continued, cannot write from then on (G12). What nobody owns, anyone may take whose share it is.
//
// A Member is used by one goroutine at a time.
type Member struct {
	lease *Lease
	log   eventlog.Log
	name  string
	told  *slog.Logger
	own   func() time.Time // the clock of a log that has none
	owned []Stake          // by partition, as this member has put it since it joined; those of others are zero
}

// NewMember prepares a worker that will share the partitions 0 to n-1 of the consumer of that name, a key (eventlog.Key).
func NewMember(log eventlog.Log, name string, n int, o LeaseOptions) *Member {
	m := &Member{log: log, name: name, owned: make([]Stake, n)}
	m.lease = newLease(log, "", &o)
	m.lease.key = memberKey(name, o.Worker)
	m.own, m.told = o.Now, o.Logger
	return m
}

// Lease returns the lease that is the membership. It is renewed by whoever writes under it, and lost with all partitions.
func (m *Member) Lease() *Lease { return m.lease }

// Poll returns how often a member looks how the work is divided: fifteen times in the time that a lease lasts.
func (m *Member) Poll() time.Duration { return m.lease.ttl / 15 }

// Clock returns the clock that the membership runs by, as it was set when the worker last joined.
func (m *Member) Clock() func() time.Time { return m.lease.clock.now }

// Join makes the worker a member without partitions. One that is a member already, and doesn't know what became of its
// last append, joins again.
func (m *Member) Join(ctx context.Context) error {
	l := m.lease
	var err error
	if l.clock, err = askClock(ctx, m.log, m.own); err != nil {
		return err
	}
	clear(m.owned)
	for {
		current, rev, err := readLease(ctx, m.log, l.key)
		if err != nil {
			return err
		}
		l.holder.Epoch, l.holder.Since, l.rev = max(l.holder.Epoch, current.Epoch)+1, event.Micro(l.clock.now()), rev
		if rev == 0 {
			l.rev = eventlog.NoEntry
		}
		if err := l.Renew(ctx); !errors.Is(err, ErrLeaseLost) {
			return err
		}
	}
}

// Look reads how the work is divided. The error matches ErrLeaseLost when this worker is no longer a member.
func (m *Member) Look(ctx context.Context) (*Division, error) {
	d, err := ReadDivision(ctx, m.log, m.name, len(m.owned))
	if err != nil {
		return nil, err
	}
	if at, is := d.find(m.lease.holder.Worker); !is || d.revs[at] != m.lease.rev {
		return nil, m.lost(nil)
	}
	now := m.lease.clock.now()
	d.gone = make([]bool, len(d.Members))
	for at, h := range d.Members {
		d.gone[at] = h.Worker != m.lease.holder.Worker && m.lease.dead(h, now)
	}
	return d, nil
}

func (m *Member) lost(err error) error {
	text := fmt.Errorf("%w: others took worker %s for gone, which joined at %s, and do its work", ErrLeaseLost, m.lease.holder.Worker, m.lease.holder.Since.Format(time.RFC3339))
	if err == nil {
		return text
	}
	return fmt.Errorf("%w: %w", text, err)
}

// Owned returns the partitions that this member owns.
func (m *Member) Owned() []int {
	var owned []int
	for p := range m.owned {
		if m.owned[p].Epoch > 0 {
			owned = append(owned, p)
		}
	}
	return owned
}

// part is what of a division this member is to have.
type part struct {
	first   bool  // of the members, who tidies up
	share   int   // so many partitions
	take    []int // partitions that nobody has, and this member is short of
	release []int // partitions above the share
	gone    []int // members that have vanished
}

// part compares what the member owns with its fair share: those of the members that live, by their ids.
func (m *Member) part(d *Division) (c part) {
	me := m.lease.holder.Worker
	living, rank := map[event.ID]bool{}, 0
	for at, h := range d.Members {
		if d.gone[at] {
			c.gone = append(c.gone, at)
			continue
		}
		if h.Worker == me {
			rank = len(living)
		}
		living[h.Worker] = true
	}
	c.first, c.share = rank == 0, fairShare(rank, len(living), len(m.owned))
	var again, free []int // those that it had when it joined again come first
	have := 0
	for p, s := range d.Partitions {
		switch {
		case m.owned[p].Epoch > 0:
			if have++; have > c.share {
				c.release = append(c.release, p)
			}
		case s.Worker == me:
			again = append(again, p)
		case !living[s.Worker]:
			free = append(free, p)
		}
	}
	short := max(c.share-have, 0)
	kept := min(short, len(again))
	c.take = slices.Concat(again[:kept], free[:min(short-kept, len(free))])
	c.release = append(c.release, again[kept:]...)
	return c
}

// Settled tells whether the member owns its share, no less and no more.
func (m *Member) Settled(d *Division) bool {
	return len(m.Owned()) == m.part(d).share
}

// Above returns how many partitions the member must release, to have its share.
func (m *Member) Above(d *Division) int { return len(m.part(d).release) }

// Take takes what the member is short of and nobody has: what is free, or belongs to a worker that has vanished, whose
// membership ends with that. It tells whether it got anything. Where somebody was faster, it looks again.
func (m *Member) Take(ctx context.Context, d *Division) (took bool, err error) {
	for {
		c := m.part(d)
		if len(c.take) == 0 && (len(c.gone) == 0 || !c.first) {
			return false, nil
		}
		writes := make([]eventlog.Write, 0, len(c.gone)+len(c.take))
		for _, at := range c.gone {
			writes = append(writes, eventlog.Delete{Kind: eventlog.Lease, Key: memberKey(m.name, d.Members[at].Worker), Expect: d.revs[at]})
		}
		taken := make(map[int]Stake, len(c.take))
		for _, p := range c.take {
			s := d.Partitions[p]
			if s.Worker != m.lease.holder.Worker {
				s.Epoch, s.Since = s.Epoch+1, event.Micro(m.lease.clock.now())
			}
			s.Worker, s.Finished = m.lease.holder.Worker, nil
			taken[p] = s
		}
		err := m.put(ctx, taken, writes...)
		var faster *eventlog.EntryConflictError
		switch {
		case err == nil:
			for _, at := range c.gone {
				h := d.Members[at]
				m.told.Warn("a worker has vanished, and its partitions are taken over", "consumer", m.name, "worker", h.Worker, "holder", h, "since", h.Since, "until", h.Until)
			}
			return len(taken) > 0, nil
		case errors.Is(err, ErrLeaseLost) || !errors.As(err, &faster) || faster.Kind != eventlog.Lease:
			return false, err
		}
		if d, err = m.Look(ctx); err != nil {
			return false, err
		}
	}
}

// Release gives up what is above the member's share. Other writes go into the same append, which is not made for nothing.
func (m *Member) Release(ctx context.Context, d *Division, also ...eventlog.Write) error {
	released := map[int]Stake{}
	for _, p := range m.part(d).release {
		s := m.owned[p]
		if s.Epoch == 0 {
			s = d.Partitions[p]
		}
		s.Worker, s.Since = event.ID{}, time.Time{}
		released[p] = s
	}
	if len(released) == 0 && len(also) == 0 {
		return nil
	}
	return m.put(ctx, released, also...)
}

// Finish says of all partitions of the member that nothing is left to do, up to those heads of its sources.
func (m *Member) Finish(ctx context.Context, heads map[string]eventlog.Position, also ...eventlog.Write) error {
	finished := map[int]Stake{}
	for _, p := range m.Owned() {
		s := m.owned[p]
		s.Finished = heads
		finished[p] = s
	}
	return m.put(ctx, finished, also...)
}

// put writes stakes under the lease.
func (m *Member) put(ctx context.Context, stakes map[int]Stake, also ...eventlog.Write) error {
	writes := append([]eventlog.Write{m.lease.Write()}, also...)
	partitions := slices.Sorted(maps.Keys(stakes))
	for _, p := range partitions {
		s := stakes[p]
		value, err := json.Marshal(s)
		if err != nil {
			return err
		}
		expect := s.rev
		if expect == 0 {
			expect = eventlog.NoEntry
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Lease, Key: partitionKey(m.name, p), Value: value}, Expect: expect})
	}
	done, err := m.log.Append(context.WithoutCancel(ctx), writes...) // cut short, nobody would know the revisions
	if err != nil {
		if m.lease.Lost(err) {
			return m.lost(err)
		}
		return fmt.Errorf("consumer: divide %q: %w", m.name, err)
	}
	m.lease.Renewed(done.Results[0].Revision)
	for n, p := range partitions {
		s := stakes[p]
		s.rev = done.Results[1+len(also)+n].Revision
		if s.Worker.IsZero() {
			s = Stake{}
		}
		m.owned[p] = s
	}
	return nil
}

// Leave ends the membership, and so gives all partitions up at once. Other writes are made in the same append, unless the
// membership was lost, or what became of its last renewal is unknown.
func (m *Member) Leave(ctx context.Context, also ...eventlog.Write) error {
	clear(m.owned)
	rev := m.lease.rev
	m.lease.rev = 0
	for rev != 0 {
		_, err := m.log.Append(ctx, append([]eventlog.Write{eventlog.Delete{Kind: eventlog.Lease, Key: m.lease.key, Expect: rev}}, also...)...)
		if err == nil {
			return nil
		}
		if !m.lease.Lost(err) {
			return fmt.Errorf("consumer: leave %q: %w", m.name, err)
		}
		if _, rev, err = readLease(ctx, m.log, m.lease.key); err != nil {
			return err
		}
		also = nil
	}
	return nil
}
