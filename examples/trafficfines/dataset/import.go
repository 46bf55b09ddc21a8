package dataset

import (
	"context"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// perAppend is how many events are appended in one call: enough for the wait for the medium not to matter.
const perAppend = 1000

// Import appends a module's events to its log, in the order of the file, and seals the log. Of several programs one at a
// time does it, under a lease. An import that was interrupted goes on where it stopped: before the seal nobody else writes
// to the log, so its head is the number of events that are there. Progress, if not nil, is told how many that are.
func Import(ctx context.Context, folder string, m *ensue.OpenModule, progress func(events int)) error {
	if progress == nil {
		progress = func(int) {}
	}
	seal, sealed, err := process.ReadSeal(ctx, m.Log())
	if err != nil {
		return fmt.Errorf("import %s: %w", m.Name(), err)
	}
	if !sealed {
		if err := importUnderLease(ctx, folder, m, progress); err != nil {
			return fmt.Errorf("import %s: %w", m.Name(), err)
		}
		return nil
	}
	progress(int(seal.Position)) // #nosec G115 -- counts events
	return compareFirst(ctx, folder, m)
}

func importUnderLease(ctx context.Context, folder string, m *ensue.OpenModule, progress func(int)) (err error) {
	lease, err := consumer.Acquire(ctx, m.Log(), "import", consumer.LeaseOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
	// Whoever had the lease before may have come to the end.
	if seal, sealed, err := process.ReadSeal(ctx, m.Log()); err != nil || sealed {
		progress(int(seal.Position)) // #nosec G115 -- counts events
		return err
	}
	if err := resume(ctx, folder, m, lease, progress); err != nil {
		return err
	}
	return m.Seal(ctx)
}

// compareFirst tells whether a log that is complete is of other data, as far as its first event shows.
func compareFirst(ctx context.Context, folder string, m *ensue.OpenModule) error {
	if folder == "" {
		return nil
	}
	for row, err := range Read(folder, m.Name()) {
		if err != nil {
			return err
		}
		for rec, err := range m.Log().Read(ctx, eventlog.Query{Limit: 1}) {
			if err != nil {
				return fmt.Errorf("import %s: %w", m.Name(), err)
			}
			if rec.ID != EventID(row) {
				return fmt.Errorf("import %s: %w", m.Name(), otherData(folder, m, 1))
			}
		}
		break
	}
	return nil
}

func resume(ctx context.Context, folder string, m *ensue.OpenModule, lease *consumer.Lease, progress func(int)) error {
	head, last, err := imported(ctx, m.Log())
	if err != nil {
		return err
	}
	progress(head)
	if folder == "" {
		return errors.New("it is not complete yet; name the folder with the recorded fines by -data")
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan batch, 2) // parsed while the one before is on its way to the medium
	go func() {
		defer close(batches)
		parse(ctx, folder, m, head, last, batches)
	}()
	for b := range batches {
		if b.err != nil {
			return b.err
		}
		done, err := m.Log().Append(ctx, append([]eventlog.Write{lease.Write()}, b.writes...)...)
		if err != nil {
			return err
		}
		lease.Renewed(done.Results[0].Revision)
		progress(b.position)
	}
	return ctx.Err()
}

// imported returns how many events a log holds, and the id of the last one.
func imported(ctx context.Context, log eventlog.Log) (int, event.ID, error) {
	head, err := log.Head(ctx)
	if err != nil || head == 0 {
		return 0, event.ID{}, err
	}
	var last event.ID
	for rec, err := range log.Read(ctx, eventlog.Query{After: head - 1}) {
		if err != nil {
			return 0, last, err
		}
		last = rec.ID
	}
	return int(head), last, nil
}

// batch is what one append writes.
type batch struct {
	writes   []eventlog.Write
	position int // of its last row
	err      error
}

// parse makes batches of the rows behind those that are there already.
func parse(ctx context.Context, folder string, m *ensue.OpenModule, there int, last event.ID, batches chan<- batch) {
	send := func(b batch) bool {
		select {
		case batches <- b:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var b batch
	rows := 0
	for row, err := range Read(folder, m.Name()) {
		if err != nil {
			send(batch{err: err})
			return
		}
		rows = row.Position
		if rows <= there {
			if rows == there && EventID(row) != last {
				send(batch{err: otherData(folder, m, there)})
				return
			}
			continue
		}
		e, err := m.Types().Encode(event.New(row.Fact).WithID(EventID(row)).At(row.At))
		if err != nil {
			send(batch{err: fmt.Errorf("row %d of %s: %w", row.Position, File(folder, m.Name()), err)})
			return
		}
		b.writes = append(b.writes, eventlog.ToStream{Stream: "fine/" + row.Fine, Events: []event.Event{e}})
		b.position = rows
		if len(b.writes) == perAppend {
			if !send(b) {
				return
			}
			b = batch{}
		}
	}
	if rows < there {
		b = batch{err: otherData(folder, m, there)}
	}
	if len(b.writes) > 0 || b.err != nil {
		send(b)
	}
}

func otherData(folder string, m *ensue.OpenModule, position int) error {
	return fmt.Errorf("event %d of the log is not row %d of %s: it is of other data; use another folder", position, position, File(folder, m.Name()))
}

// EventID returns the identity of a row's event: the same whenever it is imported, so that importing it again is a repeat.
func EventID(r Row) event.ID { return event.DeriveID("trafficfines", r.EventID) }
