package process

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// due is a timeout of some instance, in the order in which timeouts fire: by due time, then by the key of the entry.
type due struct {
	at       time.Time
	instance string
	name     string
	id       event.ID
}

func (a due) before(b due) bool {
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return a.keyBefore(b)
}

// keyBefore compares as the store does: by the entries' keys, in which odd characters are escaped.
func (a due) keyBefore(b due) bool {
	n := 0
	for n < len(a.instance) && n < len(b.instance) && a.instance[n] == b.instance[n] {
		n++
	}
	if n < len(a.instance) && n < len(b.instance) && plain(a.instance[n]) && plain(b.instance[n]) {
		return a.instance[n] < b.instance[n] // by far the most
	}
	return timeoutKey("", a.instance, a.name) < timeoutKey("", b.instance, b.name)
}

// plain tells whether a byte stands for itself in a key.
func plain(c byte) bool { return c != '%' && c != '/' && c != 0 }

// dues is a heap of timeouts.
type dues []due

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].before(d[j]) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)        { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

const (
	timerMost = 64 * 1024 // timeouts kept in memory at most
)

// timers knows the timeouts that fire next: a window over the store's index, so that a million pending ones cost
// nothing. Every timeout due up to the window's end is in the heap; later ones are in the store alone. What was
// cancelled or replaced stays in the heap and is recognised when it comes up, by its instance.
type timers struct {
	process string
	log     eventlog.Log
	mine    mine // of their instances alone
	page    int  // timeouts read from the store at once
	soon    dues
	end     time.Time // of the window
	endKey  string    // the last entry read of those due at end
}

// forever is the end of a window that holds all there is.
var forever = time.UnixMicro(math.MaxInt64 / 2).UTC()

func (t *timers) prefix() string { return eventlog.Key(t.process) + "/" }

// load moves the window on: it reads the next page of the store's index. What was set must have been committed.
func (t *timers) load(ctx context.Context) error {
	q := eventlog.EntryQuery{Kind: eventlog.Timeout, Prefix: t.prefix(), ByDue: true, AfterDue: t.end, After: t.endKey, Limit: t.page}
	n := 0
	for e, err := range t.log.Entries(ctx, q) {
		if err != nil {
			return fmt.Errorf("process: read timeouts: %w", err)
		}
		parts := eventlog.SplitKey(e.Key)
		if len(parts) != 3 || len(e.Value) != len(event.ID{}) {
			return &eventlog.CorruptError{Address: "timeout " + e.Key, Reason: "is no timeout of ours"}
		}
		n++
		if t.mine.has(parts[1]) {
			heap.Push(&t.soon, due{at: e.Due, instance: parts[1], name: parts[2], id: event.ID(e.Value)})
		}
		t.end, t.endKey = e.Due, e.Key
	}
	if n < t.page {
		t.end, t.endKey = forever, ""
	}
	return nil
}

// exhausted tells whether the next timeout might be one that only the store knows.
func (t *timers) exhausted() bool { return len(t.soon) == 0 && t.end.Before(forever) }

// inWindow tells whether the window holds a timeout of that due time and key.
func (t *timers) inWindow(at time.Time, key string) bool {
	c := at.Compare(t.end)
	return c < 0 || c == 0 && strings.Compare(key, t.endKey) <= 0
}

// set takes note of a timeout that was set.
func (t *timers) set(instance string, timer Timer) {
	if !t.inWindow(timer.Due, timeoutKey(t.process, instance, timer.Name)) {
		return
	}
	heap.Push(&t.soon, due{at: timer.Due, instance: instance, name: timer.Name, id: timer.ID})
}

// trim drops the later half of a heap that grew too large. Everything in it must have been committed.
func (t *timers) trim() {
	if len(t.soon) <= timerMost {
		return
	}
	slices.SortFunc(t.soon, func(a, b due) int {
		if a.before(b) {
			return -1
		}
		return 1
	}) // a sorted slice is a heap
	t.soon = slices.Clip(slices.Clone(t.soon[:timerMost/2]))
	last := t.soon[len(t.soon)-1]
	t.end, t.endKey = last.at, timeoutKey(t.process, last.instance, last.name)
}

// next returns the timeout that fires first, if any.
func (t *timers) next() (due, bool) {
	if len(t.soon) == 0 {
		return due{}, false
	}
	return t.soon[0], true
}

func (t *timers) pop() { heap.Pop(&t.soon) }

func timeoutKey(process, instance, name string) string { return eventlog.Key(process, instance, name) }
