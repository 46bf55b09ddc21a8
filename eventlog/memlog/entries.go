package memlog

import (
	"bytes"
	"context"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// table holds the entries of one kind.
type table struct {
	byKey map[string]eventlog.Entry
	keys  ordered[string]
	due   ordered[moment] // of those that have one
}

// moment is where an entry stands in the order of due times.
type moment struct {
	due int64 // microseconds since 1970
	key string
}

func newTable() *table {
	return &table{
		byKey: map[string]eventlog.Entry{},
		keys:  ordered[string]{before: func(a, b string) bool { return a < b }},
		due: ordered[moment]{before: func(a, b moment) bool {
			return a.due < b.due || a.due == b.due && a.key < b.key
		}},
	}
}

// set makes e the entry of its key, or takes the entry away if e has no revision.
func (t *table) set(key string, e eventlog.Entry) {
	old, had := t.byKey[key]
	if had && !old.Due.IsZero() {
		t.due.remove(moment{old.Due.UnixMicro(), key})
	}
	if e.Revision == 0 {
		if had {
			delete(t.byKey, key)
			t.keys.remove(key)
		}
		return
	}
	if !had {
		t.keys.insert(key)
	}
	t.byKey[key] = e
	if !e.Due.IsZero() {
		t.due.insert(moment{e.Due.UnixMicro(), key})
	}
}

func (c *change) put(w eventlog.Put) (eventlog.Result, error) {
	e := w.Entry
	if err := c.expect(e.Kind, e.Key, w.Expect); err != nil {
		return eventlog.Result{}, err
	}
	e.Value = bytes.Clone(e.Value)
	e.Due = event.Micro(e.Due)
	c.revision++ // never taken back: a revision that no one uses hurts no one
	e.Revision = c.revision
	c.replace(e.Kind, e.Key, e)
	return eventlog.Result{Revision: e.Revision}, nil
}

func (c *change) remove(w eventlog.Delete) error {
	if err := c.expect(w.Kind, w.Key, w.Expect); err != nil {
		return err
	}
	c.replace(w.Kind, w.Key, eventlog.Entry{})
	return nil
}

func (c *change) expect(k eventlog.Kind, key string, want eventlog.Revision) error {
	actual := c.entries[k].byKey[key].Revision // 0 where there is none
	if want == eventlog.AnyRevision || want == actual || want == eventlog.NoEntry && actual == 0 {
		return nil
	}
	return &eventlog.EntryConflictError{Kind: k, Key: key, Expected: want, Actual: actual}
}

func (c *change) replace(k eventlog.Kind, key string, e eventlog.Entry) {
	t := c.entries[k]
	old := t.byKey[key]
	t.set(key, e)
	c.back = append(c.back, func() { t.set(key, old) })
}

// Entries implements eventlog.Log.
func (l *Log) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		q := q // of this ranging alone: paging moves it on
		paged(ctx, l, q.Limit, func(most int) ([]eventlog.Entry, bool) {
			t, ok := l.entries[q.Kind]
			switch {
			case !ok:
				return nil, true
			case q.ByDue && len(q.Keys) == 0:
				return t.pageByDue(&q, most)
			case len(q.Keys) > 0:
				return t.some(q), true
			default:
				return t.pageByKey(&q, most)
			}
		})(yield)
	}
}

// some returns the entries of the keys that the query names, at a cost by their number and not by the table's.
func (t *table) some(q eventlog.EntryQuery) (rows []eventlog.Entry) {
	for _, key := range slices.Compact(slices.Sorted(slices.Values(q.Keys))) {
		if e, ok := t.byKey[key]; ok && selects(q, e) {
			rows = append(rows, read(e))
		}
	}
	if q.ByDue {
		slices.SortStableFunc(rows, func(a, b eventlog.Entry) int { return a.Due.Compare(b.Due) })
	}
	return rows
}

func (t *table) pageByKey(q *eventlog.EntryQuery, most int) (rows []eventlog.Entry, last bool) {
	last = true
	from := max(q.After, q.Prefix) // a key equal to the prefix begins with it
	for key := range t.keys.from(from) {
		if !strings.HasPrefix(key, q.Prefix) {
			break
		}
		if key <= q.After {
			continue
		}
		if len(rows) == most {
			last = false
			break
		}
		rows = append(rows, read(t.byKey[key]))
		q.After = key
	}
	return rows, last
}

func (t *table) pageByDue(q *eventlog.EntryQuery, most int) (rows []eventlog.Entry, last bool) {
	first := moment{due: math.MinInt64}
	if !q.AfterDue.IsZero() {
		first = moment{q.AfterDue.UnixMicro(), q.After}
	}
	looked := 0
	for m := range t.due.from(first) {
		e := t.byKey[m.key]
		if !q.DueBy.IsZero() && e.Due.After(q.DueBy) {
			break
		}
		if looked++; looked > scan || len(rows) == most {
			return rows, false
		}
		if selects(*q, e) {
			rows = append(rows, read(e))
		}
		q.AfterDue, q.After = e.Due, e.Key
	}
	return rows, true
}

// selects tells whether the query selects the entry, its kind and keys aside.
func selects(q eventlog.EntryQuery, e eventlog.Entry) bool {
	if !strings.HasPrefix(e.Key, q.Prefix) {
		return false
	}
	if !q.ByDue {
		return e.Key > q.After
	}
	if e.Due.IsZero() || !q.DueBy.IsZero() && e.Due.After(q.DueBy) {
		return false
	}
	if q.AfterDue.IsZero() {
		return true
	}
	after := event.Micro(q.AfterDue)
	return e.Due.After(after) || e.Due.Equal(after) && e.Key > q.After
}

func read(e eventlog.Entry) eventlog.Entry {
	e.Value = bytes.Clone(e.Value)
	return e
}
