package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Stake says whose a partition is.
type Stake struct {
	Worker event.ID  `json:"worker,omitzero"` // its owner, for as long as that worker is a member; zero if it was released
	Epoch  int64     `json:"epoch"`           // grows with each change of owner
	Since  time.Time `json:"since,omitzero"`

	// Finished is set when the owner has nothing left to do: by source, the heads up to which everything was handled.
	Finished map[string]eventlog.Position `json:"finished,omitempty"`

	rev eventlog.Revision
}

// Division says how the partitions of a consumer are divided among its workers, as its home log has it.
type Division struct {
	Members    []Holder // the workers, by id; some may have vanished, and not be known to have yet
	Partitions []Stake  // by number

	revs []eventlog.Revision // of the members' entries
	gone []bool              // of the members: whoever looked found that they have vanished
}

const (
	memberPart    = "worker"
	partitionPart = "partition"
)

func memberKey(name string, worker event.ID) string {
	return name + "/" + eventlog.Key(memberPart, worker.String())
}

func partitionKey(name string, p int) string {
	return name + "/" + eventlog.Key(partitionPart, fmt.Sprintf("%03d", p))
}

// IsStake tells whether the key of a lease entry is that of a partition, so that the entry is a Stake and not a Holder.
func IsStake(key string) bool {
	parts := eventlog.SplitKey(key)
	return len(parts) > 2 && parts[len(parts)-2] == partitionPart
}

// ReadDivision reads how the partitions 0 to n-1 of a consumer are divided. The name is a key (eventlog.Key).
//
// Partitions are read before members, as their keys are ordered. So when a partition's owner is missing among the
// members, its membership ended after it took the partition, and whoever finds the partition's entry unchanged may have it.
func ReadDivision(ctx context.Context, log eventlog.Log, name string, n int) (*Division, error) {
	d := &Division{Partitions: make([]Stake, n)}
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Lease, Prefix: name + "/"}) {
		if err != nil {
			return nil, fmt.Errorf("consumer: read who shares %q: %w", name, err)
		}
		switch parts := eventlog.SplitKey(e.Key); parts[len(parts)-2] {
		case partitionPart:
			var p int
			if _, err := fmt.Sscanf(parts[len(parts)-1], "%d", &p); err != nil || p < 0 || p >= n {
				return nil, fmt.Errorf("consumer: lease %q: there are %d partitions", e.Key, n)
			}
			s := &d.Partitions[p]
			if err := json.Unmarshal(e.Value, s); err != nil {
				return nil, fmt.Errorf("consumer: lease %q: %w", e.Key, err)
			}
			s.rev = e.Revision
		case memberPart:
			var h Holder
			if err := json.Unmarshal(e.Value, &h); err != nil {
				return nil, fmt.Errorf("consumer: lease %q: %w", e.Key, err)
			}
			at, _ := d.find(h.Worker)
			d.Members = slices.Insert(d.Members, at, h)
			d.revs = slices.Insert(d.revs, at, e.Revision)
		}
	}
	return d, nil
}

func (d *Division) find(worker event.ID) (int, bool) {
	return slices.BinarySearchFunc(d.Members, worker, func(h Holder, w event.ID) int { return cmp.Compare(h.Worker.String(), w.String()) })
}

// Owner returns who owns a partition; nobody owns one whose owner is no member.
func (d *Division) Owner(partition int) (Holder, bool) {
	if worker := d.Partitions[partition].Worker; !worker.IsZero() {
		if at, is := d.find(worker); is {
			return d.Members[at], true
		}
	}
	return Holder{}, false
}

// fairShare returns how many of n partitions are for the member of that rank: as many as for any other, or one more.
func fairShare(rank, members, n int) int {
	share := n / members
	if rank < n%members {
		share++
	}
	return share
}
