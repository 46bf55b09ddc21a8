package process_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// notedTogether is a process in which a note concerns several orders, and is ignored where there is none.
func notedTogether() process.Definition {
	return process.Define("order",
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID })},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Keys(func(e Noted) []string { return strings.Fields(e.ID) }),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s }},
	).Otherwise(process.Ignore)
}

// An event that concerns several counts once for each that is missing, however the work is divided, and whatever happens
// in between.
func TestG9_AnEventIsCountedForEachThatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		partitions, batch int
		crash             int // at this append that counts, from 1; 0 for none
	}{
		"one partition":                    {1, 512, 0},
		"many partitions":                  {16, 512, 0},
		"one by one":                       {1, 1, 0},
		"many partitions, one by one":      {4, 1, 0},
		"with a crash":                     {1, 1, 4},
		"many partitions, with a crash":    {4, 1, 3},
		"the crash comes when all had it":  {2, 1, 5},
		"several at once, and crash again": {2, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.config.Partitions, w.config.Batch, w.config.Definition = c.partitions, c.batch, notedTogether()
			w.record("sales", OrderPlaced{"c", 1})
			w.run()
			w.record("payments", Noted{"a b c d e f"}, Noted{""}, Noted{"e c a"})
			if c.crash > 0 {
				counts, crashed := 0, make(chan struct{})
				w.log = func(m string, l eventlog.Log) eventlog.Log {
					return wrapped{l, func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
						if m == "sales" && hasCounts(writes) {
							if counts++; counts >= c.crash {
								if counts == c.crash {
									close(crashed)
								}
								return eventlog.Appended{}, errCrash
							}
						}
						return l.Append(ctx, writes...)
					}}
				}
				w.with(w.engine(), func(context.Context) { <-crashed })
				w.log = nil
			}
			stats := w.run()
			if c.crash == 0 && (stats.Ignored != 8 || stats.Duplicates != 0) {
				t.Errorf("ignored %d, with %d duplicates", stats.Ignored, stats.Duplicates)
			}
			for _, again := range []string{"", "after a loss of cursors"} {
				got := must(process.Ignored(t.Context(), w.logs["sales"], "order"))
				if fmt.Sprint(got) != "map[no instance: noted:7 no key: noted:1]" {
					t.Errorf("%s %v; want 5 and 2 without an instance, 1 without a key", again, got)
				}
				if s, _ := w.state("c"); s.Notes != 2 {
					t.Errorf("%s c took %d notes", again, s.Notes)
				}
				w.verify()
				w.loseCursors()
				w.run()
			}
		})
	}
}

// hasCounts tells whether writes have counts of ignored inputs.
func hasCounts(writes []eventlog.Write) bool {
	return slices.ContainsFunc(writes, func(w eventlog.Write) bool {
		put, is := w.(eventlog.Put)
		return is && put.Entry.Kind == eventlog.Setting && strings.HasPrefix(put.Entry.Key, "ignored/")
	})
}

// listened is a log that tells how far whoever follows it has come.
type listened struct {
	wrapped
	mu    *sync.Mutex
	moved *sync.Cond
	waits eventlog.Position
}

func (l *listened) Wait(ctx context.Context, above eventlog.Position) error {
	l.mu.Lock()
	l.waits = above
	l.moved.Broadcast()
	l.mu.Unlock()
	return l.wrapped.Wait(ctx, above)
}

// An event is given to several in batches of their own. One that ignored it, since it was not born yet, does not take it
// when it is born before the others have it, also when cursors are lost.
func TestG8_WhatWasIgnoredIsNotTakenByWhoIsBornBeforeAllHaveIt(t *testing.T) {
	eachStore(t, func(t *testing.T, store process.Store) {
		w := newWorld(t)
		w.config.Store, w.config.Batch, w.config.Definition = store, 1, notedTogether()
		w.logs["sales"] = memlog.Options{Now: func() time.Time { return time.Now().Add(-time.Minute) }}.New()
		w.record("payments", Noted{"a b c"})
		sales := &listened{mu: &sync.Mutex{}}
		sales.moved = sync.NewCond(sales.mu)
		first := true
		sales.wrapped = wrapped{w.logs["sales"], func(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
			done, err := w.logs["sales"].Append(ctx, writes...)
			if first && err == nil && hasCounts(writes) {
				first = false
				w.record("sales", OrderPlaced{"a", 1}) // it is read before the next batch is taken
				head := must(w.logs["sales"].Head(ctx))
				sales.mu.Lock()
				for sales.waits < head {
					sales.moved.Wait()
				}
				sales.mu.Unlock()
			}
			return done, err
		}}
		w.log = func(m string, l eventlog.Log) eventlog.Log {
			if m == "sales" {
				return sales
			}
			return l
		}
		w.run()
		w.log = nil
		w.loseCursors()
		w.run()
		if s, status := w.state("a"); s.Notes != 0 || status != process.Running {
			t.Errorf("a, which is %v, took %d notes; it had ignored the one that there was", status, s.Notes)
		}
		if n := must(process.Ignored(t.Context(), w.logs["sales"], "order"))["no instance: noted"]; n != 3 {
			t.Errorf("the note was counted %d times", n)
		}
		w.verify()
	})
}
