package process

import (
	"context"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Sharing says who runs a process: its workers, and which of them owns each partition.
type Sharing struct {
	Workers    []consumer.Holder // by id, also those that own nothing; one whose Until has passed has vanished
	Partitions []PartitionInfo   // by number
}

// PartitionInfo is a partition of a process: whose it is, and how far it came.
type PartitionInfo struct {
	Partition int
	Worker    event.ID  // its owner; zero while nobody owns it
	Host      string    // of the owner
	PID       int       // of the owner
	Epoch     int64     // grows with each change of owner
	Since     time.Time // when the owner took it
	Until     time.Time // when the owner's lease runs out if it isn't renewed
	Cursors   []CursorInfo
}

// CursorInfo is how far a partition has handled a source, at least: the cursor of one that nothing concerns may lag.
type CursorInfo struct {
	Module   string
	Position eventlog.Position // everything up to it was handled
	Time     time.Time         // the greatest time of an event up to there
}

// Workers tells who runs a process, and how far each of its partitions came. It needs no definition, only the home log.
// ErrNoProcess where the log has none of that name.
func Workers(ctx context.Context, home eventlog.Log, process string) (Sharing, error) {
	known, rev, err := readDescription(ctx, home, process)
	if err != nil {
		return Sharing{}, err
	}
	if rev == eventlog.NoEntry {
		return Sharing{}, fmt.Errorf("%w: %q", ErrNoProcess, process)
	}
	d, err := consumer.ReadDivision(ctx, home, shareKey(process), known.Partitions)
	if err != nil {
		return Sharing{}, err
	}
	s := Sharing{Workers: d.Members, Partitions: make([]PartitionInfo, known.Partitions)}
	for p := range s.Partitions {
		i := PartitionInfo{Partition: p, Epoch: d.Partitions[p].Epoch}
		if h, owned := d.Owner(p); owned {
			i.Worker, i.Host, i.PID, i.Since, i.Until = h.Worker, h.Host, h.PID, d.Partitions[p].Since, h.Until
		}
		s.Partitions[p] = i
	}
	for _, module := range known.Sources {
		cursors := make([]CursorInfo, known.Partitions)
		err := eachCursor(ctx, home, process, module, known.Partitions, func(p int, c consumer.Cursor) error {
			cursors[p] = CursorInfo{Position: c.Position, Time: c.Time}
			return nil
		})
		if err != nil {
			return Sharing{}, err
		}
		for p := range cursors {
			cursors[p].Module = module
			s.Partitions[p].Cursors = append(s.Partitions[p].Cursors, cursors[p])
		}
	}
	return s, nil
}
