package logtest_test

import (
	"context"
	"database/sql"
	"iter"
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
func (nothing) Entries(context.Context, eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return none[eventlog.Entry]()
}
func (nothing) Head(context.Context) (eventlog.Position, error)                  { return 0, nil }
func (nothing) Wait(context.Context, eventlog.Position) error                    { return nil }
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

func TestEveryCaseFailsOnALogThatDoesNothing(t *testing.T) {
	store := logtest.Store{
		Open:     func(logtest.T, func() time.Time) eventlog.Log { return nothing{} },
		Reopen:   func(logtest.T, eventlog.Log) eventlog.Log { return nothing{} },
		Patience: 300 * time.Millisecond,
	}
	for _, c := range logtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if failed, skipped := try(t, c, store); failed == "" {
				t.Errorf("the case passes (skipped: %q)", skipped)
			}
		})
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
