package faultlog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// streamsLog is what a log can do with its streams.
type streamsLog interface {
	eventlog.StreamLister
	eventlog.StreamsReader
	eventlog.StreamKeeper
}

type streams struct {
	f    *faulty
	next streamsLog
}

// Streams implements eventlog.StreamLister.
func (s streams) Streams(ctx context.Context, category, after string, limit int) iter.Seq2[eventlog.StreamInfo, error] {
	return ranged(s.f, "list streams", category, s.next.Streams(ctx, category, after, limit))
}

// Stream implements eventlog.StreamLister.
func (s streams) Stream(ctx context.Context, stream string) (info eventlog.StreamInfo, err error) {
	err = s.f.ask("describe stream", stream, func() (err error) { info, err = s.next.Stream(ctx, stream); return err })
	return info, err
}

// ReadStreams implements eventlog.StreamsReader.
func (s streams) ReadStreams(ctx context.Context, names []string) iter.Seq2[event.Recorded, error] {
	return ranged(s.f, "read streams", fmt.Sprint(names), s.next.ReadStreams(ctx, names))
}

// CloseStream implements eventlog.StreamKeeper.
func (s streams) CloseStream(ctx context.Context, stream string, expect eventlog.Expected) error {
	return s.f.write("close stream", stream, func() error { return s.next.CloseStream(ctx, stream, expect) })
}

// TruncateStream implements eventlog.StreamKeeper.
func (s streams) TruncateStream(ctx context.Context, stream string, upTo eventlog.Version) error {
	return s.f.write("truncate stream", stream, func() error { return s.next.TruncateStream(ctx, stream, upTo) })
}

type transactions struct {
	f    *faulty
	next eventlog.SQLTransactor
}

// InTx implements eventlog.SQLTransactor.
func (t transactions) InTx(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	return t.f.write("transaction", "", func() error {
		return t.next.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			if err := do(ctx, tx); err != nil {
				return err
			}
			return t.f.life.dead() // who is dead doesn't commit
		})
	})
}

// AppendTx implements eventlog.SQLTransactor.
func (t transactions) AppendTx(ctx context.Context, tx *sql.Tx, writes ...eventlog.Write) (done eventlog.Appended, err error) {
	err = t.f.write("append in transaction", describe(writes), func() (err error) {
		done, err = t.next.AppendTx(ctx, tx, writes...)
		return err
	})
	if err != nil {
		done = eventlog.Appended{}
	}
	return done, err
}

type clocked struct {
	f    *faulty
	next eventlog.Clock
}

// Now implements eventlog.Clock.
func (c clocked) Now(ctx context.Context) (now time.Time, err error) {
	err = c.f.ask("clock", "", func() (err error) { now, err = c.next.Now(ctx); return err })
	return now, err
}
