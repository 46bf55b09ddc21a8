package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/process"
)

// durable is what the logs of a killed program hold.
type durable struct {
	Imported int64 // events, in the four source modules
	Complete bool  // all four are sealed
	Inputs   int64 // taken by instances, timeouts included
	Timeouts int64 // that fired
	Commands int64 // that collections has a receipt of
}

func (d durable) String() string {
	return fmt.Sprintf("%7d events imported, %7d inputs taken, %6d timeouts fired, %6d commands received", d.Imported, d.Inputs, d.Timeouts, d.Commands)
}

// fellFrom tells what there was before and is no more.
func (d durable) fellFrom(before durable) error {
	if d.Imported < before.Imported || d.Inputs < before.Inputs || d.Timeouts < before.Timeouts || d.Commands < before.Commands || before.Complete && !d.Complete {
		return fmt.Errorf("something durable is gone: there were %v, there are %v", before, d)
	}
	return nil
}

// readDurable reads the logs at an address, which nobody has open. Verify is to look for contradictions in them, too.
func readDurable(ctx context.Context, address string, verify bool) (d durable, err error) {
	f, err := report.Open(ctx, address)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if verify {
		if err := f.Verify(ctx); err != nil {
			return d, err
		}
	}
	d.Complete = true
	for _, module := range authority.Sources {
		events, sealed, err := imported(ctx, f.Log(module))
		if err != nil {
			return d, err
		}
		d.Imported += events
		d.Complete = d.Complete && sealed
	}
	if err := d.readSteps(ctx, f.Log(authority.Registry)); err != nil {
		return d, err
	}
	for _, err := range f.Log(authority.Collections).Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Receipt}) {
		if err != nil {
			return d, err
		}
		d.Commands++
	}
	if d.Commands > d.Timeouts {
		return d, fmt.Errorf("%v: a command was received that no committed step sent", d)
	}
	return d, nil
}

func imported(ctx context.Context, log eventlog.Log) (events int64, sealed bool, err error) {
	seal, sealed, err := process.ReadSeal(ctx, log)
	if err != nil || sealed {
		return int64(seal.Position), sealed, err // #nosec G115 -- counts events
	}
	head, err := log.Head(ctx)
	return int64(head), false, err // #nosec G115 -- counts events
}

// readSteps counts what instances took. Each input is in its instance's stream once: as a link to an event of the same
// log, as a record that holds a copy of it, or as a link with a record behind it that says what it led to.
func (d *durable) readSteps(ctx context.Context, home eventlog.Log) error {
	streams, ok := home.(eventlog.StreamLister)
	if !ok {
		return errors.New("the home log cannot list its streams")
	}
	for s, err := range streams.Streams(ctx, authority.Collection, "", 0) {
		if err != nil {
			return err
		}
		d.Inputs += int64(s.Version) // #nosec G115 -- counts events
	}
	for rec, err := range home.Read(ctx, eventlog.Query{Types: []string{process.RecordType}, System: true}) {
		if err != nil {
			return err
		}
		var step struct {
			In struct {
				Kind process.Kind `json:"kind"`
			} `json:"in"`
			Linked bool `json:"linked"`
		}
		if err := json.Unmarshal(rec.Data, &step); err != nil {
			return fmt.Errorf("position %d: %w", rec.Position, err)
		}
		if step.Linked {
			d.Inputs--
		}
		if step.In.Kind == process.TimeoutInput {
			d.Timeouts++
		}
	}
	return nil
}
