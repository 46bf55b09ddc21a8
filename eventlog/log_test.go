package eventlog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
)

func TestWhatAnExpectationAllows(t *testing.T) {
	for _, c := range []struct {
		expect        eventlog.Expected
		at0, at1, at7 bool
		says          string
	}{
		{eventlog.Any, true, true, true, "any version"},
		{eventlog.Exists, false, true, true, "an existing stream"},
		{eventlog.NoStream, true, false, false, "no stream"},
		{eventlog.Exactly(0), true, false, false, "no stream"},
		{eventlog.Exactly(1), false, true, false, "version 1"},
		{eventlog.Exactly(7), false, false, true, "version 7"},
		{eventlog.Exactly(8), false, false, false, "version 8"},
		{-3, false, false, false, "version -3"},
	} {
		for v, want := range map[eventlog.Version]bool{0: c.at0, 1: c.at1, 7: c.at7} {
			if got := c.expect.Allows(v); got != want {
				t.Errorf("%v allows version %d: %v", c.expect, v, got)
			}
		}
		if c.expect.String() != c.says {
			t.Errorf("%d is called %q", int64(c.expect), c.expect)
		}
	}
	if (eventlog.ToStream{}).Expect != eventlog.Any || (eventlog.Put{}).Expect != eventlog.AnyRevision {
		t.Error("the zero values expect something")
	}
}

// The kinds' numbers are in users' stores.
func TestKindsAreForEver(t *testing.T) {
	want := []string{"cursor", "receipt", "timeout", "claim", "lease", "queued", "hold", "snapshot", "document", "pending", "setting", "request"}
	kinds := eventlog.Kinds()
	if len(kinds) < len(want) {
		t.Fatalf("there are the kinds %v", kinds)
	}
	for i, name := range want {
		if k := eventlog.Kind(i + 1); kinds[i] != k || k.String() != name || !k.Valid() {
			t.Errorf("kind %d is %v, and was %s", i+1, k, name)
		}
	}
	for _, k := range []eventlog.Kind{0, eventlog.Kind(len(kinds) + 1), 255} {
		if k.Valid() || k.String() != fmt.Sprintf("Kind(%d)", uint8(k)) {
			t.Errorf("kind %d is %v", uint8(k), k)
		}
	}
}

func TestErrorsSayWhatWasExpectedAndFound(t *testing.T) {
	for _, c := range []struct {
		err      error
		conflict bool
		says     []string
	}{
		{&eventlog.ConflictError{Stream: "order/42", Expected: eventlog.Exactly(3), Actual: 5}, true, []string{`"order/42"`, "expected version 3", "found version 5", "load it again"}},
		{&eventlog.ConflictError{Stream: "s", Expected: eventlog.NoStream, Actual: 1}, true, []string{"expected no stream"}},
		{&eventlog.EntryConflictError{Kind: eventlog.Lease, Key: "k", Expected: 7, Actual: 0}, true, []string{`lease "k"`, "expected revision 7", "found no entry"}},
		{&eventlog.EntryConflictError{Kind: eventlog.Claim, Key: "k", Expected: eventlog.NoEntry, Actual: 9}, true, []string{"expected no entry", "found revision 9"}},
		{&eventlog.IDError{Stream: "s", Reason: "it is there"}, false, []string{`"s"`, "it is there"}},
		{&eventlog.StreamClosedError{Stream: "s"}, false, []string{`"s" is closed`}},
		{&eventlog.NoEventError{Stream: "s", Position: 9}, false, []string{"position 9", `"s"`}},
		{&eventlog.LimitError{What: "payload", Size: 5, Limit: 4}, false, []string{"payload", "5", "at most 4"}},
		{&eventlog.NameError{What: "stream", Name: "a\n", Reason: "is bad"}, false, []string{`stream "a\n" is bad`}},
		{&eventlog.CorruptError{Address: "x.db", Reason: "is torn"}, false, []string{"x.db: is torn"}},
	} {
		if got := errors.Is(fmt.Errorf("while it was wrapped: %w", c.err), eventlog.ErrConflict); got != c.conflict {
			t.Errorf("%v is a conflict: %v", c.err, got)
		}
		for _, says := range c.says {
			if !strings.Contains(c.err.Error(), says) {
				t.Errorf("%T does not say %q: %v", c.err, says, c.err)
			}
		}
	}
}
