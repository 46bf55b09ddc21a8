package logtest_test

import (
	"context"
	"database/sql"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
)

// nothing declares everything, and returns empty and nil for everything.
type nothing struct{}

func none[E any]() iter.Seq2[E, error] { return func(func(E, error) bool) {} }

func (nothing) ID() event.ID { return event.ID{} }
func (nothing) Append(context.Context, ...eventlog.Write) (eventlog.Appended, error) {
	return eventlog.Appended{}, nil
}
func (nothing) ReadStream(context.Context, string, eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return none[event.Recorded]()
}
func (nothing) Read(context.Context, eventlog.Query) iter.Seq2[event.Recorded, error] {
	return none[event.Recorded]()
}
func (nothing) ReadStreams(context.Context, []string) iter.Seq2[event.Recorded, error] {
	return none[event.Recorded]()
}
func (nothing) Entries(context.Context, eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return none[eventlog.Entry]()
}
func (nothing) Head(context.Context) (eventlog.Position, error)                  { return 0, nil }
func (nothing) Wait(context.Context, eventlog.Position) error                    { return nil }
func (nothing) Seen() eventlog.Position                                          { return 0 }
func (nothing) Links() bool                                                      { return true }
func (nothing) CloseStream(context.Context, string, eventlog.Expected) error     { return nil }
func (nothing) TruncateStream(context.Context, string, eventlog.Version) error   { return nil }
func (nothing) InTx(context.Context, func(context.Context, *sql.Tx) error) error { return nil }
func (nothing) Close() error                                                     { return nil }
func (nothing) Stream(context.Context, string) (eventlog.StreamInfo, error) {
	return eventlog.StreamInfo{}, nil
}
func (nothing) AppendTx(context.Context, *sql.Tx, ...eventlog.Write) (eventlog.Appended, error) {
	return eventlog.Appended{}, nil
}
func (nothing) Streams(context.Context, string, string, int) iter.Seq2[eventlog.StreamInfo, error] {
	return none[eventlog.StreamInfo]()
}

// forgetful is nothing that answers an append as if it had taken it.
type forgetful struct {
	nothing
	last atomic.Int64
}

func (f *forgetful) Append(_ context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	results := make([]eventlog.Result, len(writes))
	for i, w := range writes {
		switch w := w.(type) {
		case eventlog.ToStream:
			n := int64(len(w.Events))
			results[i].Last = eventlog.Version(f.last.Add(n))
			results[i].First = results[i].Last + 1 - eventlog.Version(n)
		case eventlog.LinkTo:
			results[i] = eventlog.Result{First: 1, Last: eventlog.Version(len(w.Positions))}
		case eventlog.Put:
			results[i].Revision = eventlog.Revision(f.last.Add(1))
		}
	}
	return eventlog.Appended{Results: results}, nil
}

func TestEveryCaseFailsOnALogThatDoesNothing(t *testing.T) {
	for name, log := range map[string]eventlog.Log{"nothing": nothing{}, "forgetful": &forgetful{}} {
		store := logtest.Store{
			Open:     func(logtest.T, func() time.Time) eventlog.Log { return log },
			Reopen:   func(logtest.T, eventlog.Log) eventlog.Log { return log },
			Patience: 300 * time.Millisecond,
		}
		for _, c := range logtest.Cases() {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				if failed, skipped := try(t, c, store); failed == "" {
					t.Errorf("the case passes (skipped: %q)", skipped)
				}
			})
		}
	}
}

func TestCasesHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range logtest.Cases() {
		if seen[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		seen[c.Name] = true
	}
}
