package pglog

import (
	"errors"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// TestG5_TheFirstRefusedWriteIsTheReason: in a group, entries that shall not be there are not looked for. What an append is
// told is nevertheless what it would be told alone, so that a command that was handled before fails on its receipt, and
// not on what it did (G7); and nothing of it is written.
func TestG5_TheFirstRefusedWriteIsTheReason(t *testing.T) {
	t.Parallel()
	l := logOf(t, opened(t, pgtest.Database(t), Options{}))
	receipt := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: "c", Value: []byte(`{}`)}, Expect: eventlog.NoEntry}
	other := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "p", Value: []byte(`{}`)}, Expect: eventlog.NoEntry}
	to := func(e eventlog.Expected) eventlog.ToStream {
		return eventlog.ToStream{Stream: "s", Expect: e, Events: []event.Event{{Type: "happened", Data: []byte(`{}`)}}}
	}
	if _, err := l.Append(t.Context(), receipt, to(eventlog.NoStream)); err != nil {
		t.Fatal(err)
	}
	var entry *eventlog.EntryConflictError
	var stream *eventlog.ConflictError
	if _, err := l.Append(t.Context(), receipt, to(eventlog.NoStream)); !errors.As(err, &entry) || entry.Key != "c" {
		t.Errorf("the receipt comes first, and the error is %v", err)
	}
	if _, err := l.Append(t.Context(), to(eventlog.NoStream), receipt); !errors.As(err, &stream) || stream.Actual != 1 {
		t.Errorf("the stream comes first, and the error is %v", err)
	}
	if _, err := l.Append(t.Context(), other, to(eventlog.NoStream)); !errors.As(err, &stream) {
		t.Errorf("the stream alone is refused, and the error is %v", err)
	}
	if _, err := l.Append(t.Context(), other, receipt, to(eventlog.Exactly(1))); !errors.As(err, &entry) || entry.Key != "c" {
		t.Errorf("the receipt alone is refused, and the error is %v", err)
	}
	for e, err := range l.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Pending}) {
		t.Errorf("entry %s of an append that was refused (%v)", e.Key, err)
	}
	if head, err := l.Head(t.Context()); head != 1 || err != nil {
		t.Errorf("head %d, %v", head, err)
	}
}
