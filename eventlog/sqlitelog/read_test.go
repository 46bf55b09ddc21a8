package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// longLog has n events; every hundredth has tag "rare" and type "rare".
func longLog(t *testing.T, n int) *Log {
	t.Helper()
	l := newLog(t, Options{Readers: 1})
	for from := 0; from < n; from += 10_000 {
		var events []event.Event
		for i := from; i < min(from+10_000, n); i++ {
			e := event.Event{Type: "common", Data: fmt.Append(nil, i+1)}
			if (i+1)%100 == 0 {
				e.Type, e.Tags = "rare", []event.Tag{{Key: "rare", Value: "yes"}}
			}
			events = append(events, e)
		}
		mustAppend(t, l, to("s", eventlog.Any, events...))
	}
	return l
}

// TestReadsOfManyPages return each event once, in order, whatever filters them.
func TestReadsOfManyPages(t *testing.T) {
	const n = 20_000
	l := longLog(t, n)
	rare := []event.Tag{{Key: "rare", Value: "yes"}}
	positions := func(from, to, step int) (p []eventlog.Position) {
		for i := from; i <= to; i += step {
			p = append(p, eventlog.Position(i)) // #nosec G115 -- small numbers
		}
		return p
	}
	for name, c := range map[string]struct {
		q    eventlog.Query
		want []eventlog.Position
	}{
		"all":             {eventlog.Query{}, positions(1, n, 1)},
		"after":           {eventlog.Query{After: 12_345}, positions(12_346, n, 1)},
		"to":              {eventlog.Query{To: 12_345}, positions(1, 12_345, 1)},
		"limit":           {eventlog.Query{After: 5, Limit: 1000}, positions(6, 1005, 1)},
		"type":            {eventlog.Query{Types: []string{"rare"}}, positions(100, n, 100)},
		"types":           {eventlog.Query{Types: []string{"rare", "common", "never"}}, positions(1, n, 1)},
		"never":           {eventlog.Query{Types: []string{"never"}}, nil},
		"tag":             {eventlog.Query{Tags: rare}, positions(100, n, 100)},
		"tag and type":    {eventlog.Query{Tags: rare, Types: []string{"common"}}, nil},
		"tags, limit":     {eventlog.Query{Tags: append(rare, rare...), After: 100, To: 19_900, Limit: 150}, positions(200, 15_100, 100)},
		"category":        {eventlog.Query{Categories: []string{"t", "s"}}, positions(1, n, 1)},
		"other category":  {eventlog.Query{Categories: []string{"t"}}, nil},
		"beyond the head": {eventlog.Query{After: 1 << 60, To: 1 << 61}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []eventlog.Position
			for r, err := range l.Read(t.Context(), c.q) {
				if err != nil {
					t.Fatal(err)
				}
				if string(r.Data) != fmt.Sprint(r.Position) {
					t.Fatalf("position %d holds %q", r.Position, r.Data)
				}
				got = append(got, r.Position)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%d events, want %d", len(got), len(c.want))
			}
		})
	}
}

// TestReadByManyIDs, in the order of positions, of those that are there.
func TestReadByManyIDs(t *testing.T) {
	l := newLog(t, Options{})
	var ids []event.ID
	var want []string
	var writes []eventlog.Write
	for i := range 2000 {
		e := fact(fmt.Sprint(i))
		writes = append(writes, to(fmt.Sprint("s/", i%7), eventlog.Any, e))
		ids = append(ids, event.NewID())
		if i%2 == 0 {
			ids, want = append(ids, e.ID), append(want, fmt.Sprint(i))
		}
	}
	mustAppend(t, l, writes...)
	slices.Reverse(ids)
	var got []string
	for r, err := range l.Read(t.Context(), eventlog.Query{IDs: ids}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(r.Data))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
}

// TestReadThatFindsNothingCanBeCancelled: it looks at a bounded number of events between two looks at the context.
func TestReadThatFindsNothingCanBeCancelled(t *testing.T) {
	l := longLog(t, 3*firstWindow)
	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	s := scan{log: l, query: eventlog.Query{Types: []string{"rare"}, Tags: nil, Categories: []string{"none"}}, size: newPageSize(0), window: firstWindow}
	for _, err := range pages(ctx, l, func() func(*conn) ([]event.Recorded, bool, error) {
		return func(c *conn) ([]event.Recorded, bool, error) {
			steps++
			cancel()
			return s.next(c)
		}
	}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if steps != 1 || s.after != firstWindow {
		t.Errorf("%d steps, up to position %d", steps, s.after)
	}
}

// TestLargePayloadsComeInSmallPages: a page is bounded by what it holds.
func TestLargePayloadsComeInSmallPages(t *testing.T) {
	l := newLog(t, Options{})
	large := strings.Repeat("x", eventlog.MaxPayload)
	for range 8 {
		mustAppend(t, l, to("s", eventlog.Any, fact(large), fact("small")),
			eventlog.LinkTo{Stream: "view", Positions: []eventlog.Position{1}},
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: event.NewID().String(), Value: []byte(large)}})
	}
	reads := map[string]func() int{
		"log": func() (n int) {
			for r, err := range l.Read(t.Context(), eventlog.Query{}) {
				if err != nil || n%2 == 0 && len(r.Data) != len(large) {
					t.Fatal(n, err)
				}
				n++
			}
			return n
		},
		"stream": func() (n int) {
			for r, err := range l.ReadStream(t.Context(), "s", eventlog.StreamQuery{Backward: true}) {
				if err != nil || n%2 == 1 && len(r.Data) != len(large) {
					t.Fatal(n, err)
				}
				n++
			}
			return n
		},
		"entries": func() (n int) {
			for e, err := range l.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Document}) {
				if err != nil || len(e.Value) != len(large) {
					t.Fatal(n, err)
				}
				n++
			}
			return 2 * n
		},
	}
	for name, read := range reads {
		if n := read(); n != 16 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// TestReadInsideRead uses one connection for loops inside each other that also write.
func TestReadInsideRead(t *testing.T) {
	l := newLog(t, Options{Readers: 1})
	fill(t, l, "s", 5)
	n := 0
	for r, err := range l.Read(t.Context(), eventlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range l.ReadStream(t.Context(), r.Stream, eventlog.StreamQuery{Backward: true, Limit: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, to("copy", eventlog.Any, fact("")), eventlog.LinkTo{Stream: "view", Positions: []eventlog.Position{r.Position}})
			n++
		}
	}
	if n != 10 {
		t.Errorf("the inner loop ran %d times", n)
	}
	sound(t, l.file)
}

// TestPlans: what is read by an index stays so; a sort or a scan of a whole table would not show in small tests.
func TestPlans(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 3)
	texts := map[string]string{}
	for shape, text := range streamTexts {
		texts[fmt.Sprintf("stream %+v", shape)] = text
	}
	for name, q := range map[string]eventlog.Query{
		"log": {}, "types": {Types: []string{"fact"}}, "categories": {Categories: []string{"s", "t"}},
		"tags": {Tags: []event.Tag{{Key: "a", Value: "b"}, {Key: "c", Value: "d"}}},
	} {
		s := scan{log: l, query: q, size: newPageSize(0), window: firstWindow}
		if err := l.file.read(t.Context(), s.begin); err != nil {
			t.Fatal(err)
		}
		texts[name] = s.text
	}
	for name, q := range map[string]eventlog.EntryQuery{"entries": {}, "prefix": {Prefix: "a"}, "keys": {Keys: []string{"a", "b"}}, "due": {ByDue: true}} {
		s := entryScan{log: l, query: q}
		s.begin()
		texts[name] = s.text
	}
	for name, text := range texts {
		plan := explainPlan(t, l.file.path, text)
		if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN ") && !strings.Contains(plan, "json_each") {
			t.Errorf("%s is read by\n%s", name, plan)
		}
	}
}

func explainPlan(t *testing.T, path, text string) string {
	t.Helper()
	db := ownDB(t, path)
	args := make([]any, strings.Count(text, "?")) // a numbered one may stand several times; too many do no harm
	for i := range args {
		args[i] = 1
	}
	rows, err := db.Query(`EXPLAIN QUERY PLAN `+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
