package logtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ensue-io/ensue/eventlog"
)

var concurrentEntryCases = []Case{
	{Name: "concurrent/of many that put what is not there exactly one does", Concurrent: true, run: func(t *trial) {
		const rounds = 60
		var won [rounds][writers]eventlog.Revision
		t.together(writers, func(ctx context.Context, w int) error {
			for round := range rounds {
				p := put(eventlog.Claim, fmt.Sprint(round), fmt.Sprint(w))
				p.Expect = eventlog.NoEntry
				done, err := t.retry(ctx, p)
				if err != nil {
					if !errors.Is(err, eventlog.ErrConflict) {
						return err
					}
					continue
				}
				if len(done.Results) != 1 {
					return fmt.Errorf("an append of one entry returned %+v", done)
				}
				won[round][w] = done.Results[0].Revision
			}
			return nil
		})
		for round := range rounds {
			e, ok := t.entry(eventlog.Claim, fmt.Sprint(round))
			t.same("that somebody won", ok, true)
			for w, revision := range won[round] {
				want := eventlog.Revision(0)
				if string(e.Value) == fmt.Sprint(w) {
					want = e.Revision
				}
				t.same(fmt.Sprintf("the revision of writer %d in round %d", w, round), revision, want)
			}
		}
	}},
	{Name: "concurrent/a count kept under expected revisions misses none", Concurrent: true, run: func(t *trial) {
		const rounds = 25
		t.append(put(eventlog.Cursor, "count", "0"))
		for range rounds {
			seen, ok := t.entry(eventlog.Cursor, "count")
			t.same("that the count is there", ok, true)
			t.together(writers, func(ctx context.Context, _ int) error { return counted(ctx, t, seen) })
		}
		e, _ := t.entry(eventlog.Cursor, "count")
		t.same("the count", string(e.Value), fmt.Sprint(writers*rounds))
		t.same("what was counted", payloads(t.stream("counted", eventlog.StreamQuery{})), numbers(1, writers*rounds))
	}},
	{Name: "concurrent/who sees an event sees the entries of its append", Concurrent: true, run: func(t *trial) {
		const each = 100
		done, stop := context.WithCancel(t.ctx)
		defer stop()
		t.together(5, func(ctx context.Context, i int) error {
			if i > 0 {
				return entriesFollow(ctx, done, t.log)
			}
			defer stop()
			for n := range each {
				key := fmt.Sprint(n)
				_, err := t.retry(ctx, to("s/"+key, eventlog.Any, fact(key)), put(eventlog.Receipt, key, "1"), eventlog.Delete{Kind: eventlog.Receipt, Key: fmt.Sprint(n - 2)}, to("last", eventlog.Any, fact(key)))
				if err != nil {
					return err
				}
			}
			return nil
		})
		t.same("the entries", keys(t.entries(eventlog.EntryQuery{Kind: eventlog.Receipt})), []string{fmt.Sprint(each - 2), fmt.Sprint(each - 1)})
		t.same("the number of events", len(t.stream("last", eventlog.StreamQuery{})), each)
	}},
}

// counted adds one to a count that was seen, or to what it has become.
func counted(ctx context.Context, t *trial, seen eventlog.Entry) error {
	for {
		n, err := strconv.Atoi(string(seen.Value))
		if err != nil {
			return err
		}
		p := put(eventlog.Cursor, "count", strconv.Itoa(n+1))
		p.Expect = seen.Revision
		if _, err = t.retry(ctx, p, to("counted", eventlog.Any, fact(string(p.Entry.Value)))); !errors.Is(err, eventlog.ErrConflict) {
			return err
		}
		found, err := gather(t.log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Keys: []string{"count"}}))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("the count is %v", found)
		}
		seen = found[0]
	}
}

// entriesFollow reads the last event again and again, and then the entries, of which the event's or a later one's have
// to be there.
func entriesFollow(ctx, done context.Context, log eventlog.Log) error {
	for done.Err() == nil {
		events, err := gather(log.ReadStream(ctx, "last", eventlog.StreamQuery{Backward: true, Limit: 1}))
		if err != nil {
			return err
		}
		entries, err := gather(log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Receipt}))
		if err != nil {
			return err
		}
		if len(events) == 0 {
			continue // nothing was appended yet
		}
		seen, err := strconv.Atoi(string(events[0].Data))
		if err != nil {
			return err
		}
		highest := -1
		for _, e := range entries {
			n, err := strconv.Atoi(e.Key)
			if err != nil {
				return err
			}
			highest = max(highest, n)
		}
		if highest < seen {
			return fmt.Errorf("event %d was seen, and then %v as the entries", seen, keys(entries))
		}
	}
	return nil
}
