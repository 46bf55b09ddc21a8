package sqlitelog

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func benchLog(b *testing.B) *Log {
	b.Helper()
	f, err := Open(context.Background(), filepath.Join(b.TempDir(), "log.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	l, err := f.Log(context.Background(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

var benchPayload = []byte(`{"order":"42","seats":["A1","A2","A3"],"total":{"amount":4200,"currency":"EUR"}}`)

func benchEvent(typ string) event.Event {
	return event.Event{Type: typ, Data: benchPayload, Metadata: event.Metadata{Correlation: event.NewID(), Causation: event.NewID()}}
}

func mustAppend(tb testing.TB, l *Log, writes ...eventlog.Write) eventlog.Appended {
	tb.Helper()
	done, err := l.Append(context.Background(), writes...)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

// BenchmarkAppendBulk appends thousands of events in one call, one to a stream, as an import does.
func BenchmarkAppendBulk(b *testing.B) {
	const many = 2000
	for _, kind := range []string{"new", "existing"} {
		b.Run(kind, func(b *testing.B) {
			l := benchLog(b)
			n := 0
			for b.Loop() {
				writes := make([]eventlog.Write, many)
				for i := range writes {
					name := fmt.Sprintf("order/%d", i)
					if kind == "new" {
						name = fmt.Sprintf("order/%d-%d", n, i)
					}
					writes[i] = eventlog.ToStream{Stream: name, Events: []event.Event{benchEvent("order-placed")}}
				}
				mustAppend(b, l, writes...)
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*many), "µs/event")
		})
	}
}

// BenchmarkAppendStep appends what a batch of process steps does: for each input a link, a system record and entries.
func BenchmarkAppendStep(b *testing.B) {
	const many = 1000
	l := benchLog(b)
	var source []event.Event
	for range many {
		source = append(source, benchEvent("order-placed"))
	}
	mustAppend(b, l, eventlog.ToStream{Stream: "source", Events: source})
	n := 0
	for b.Loop() {
		writes := make([]eventlog.Write, 0, 4*many+1)
		for i := range many {
			name := fmt.Sprintf("booking/%d-%d", n, i)
			writes = append(writes,
				eventlog.LinkTo{Stream: name, Expect: eventlog.NoStream, Positions: []eventlog.Position{eventlog.Position(i + 1)}},
				eventlog.ToStream{Stream: name, Expect: eventlog.Exactly(1), Events: []event.Event{benchEvent("ensue.decided")}},
				eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: eventlog.Key("booking", name), Value: benchPayload}},
			)
		}
		writes = append(writes, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "booking", Value: benchPayload}})
		mustAppend(b, l, writes...)
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*many), "µs/step")
}

// BenchmarkAppendConcurrent appends one event a call, by many callers at once.
func BenchmarkAppendConcurrent(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l := benchLog(b)
			var n atomic.Int64
			b.SetParallelism((callers + 1) / 2)
			run := func() {
				mustAppend(b, l, eventlog.ToStream{Stream: fmt.Sprintf("order/%d", n.Add(1)%5000), Events: []event.Event{benchEvent("order-placed")}})
			}
			if callers == 1 {
				for b.Loop() {
					run()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						run()
					}
				})
			}
			b.ReportMetric(float64(n.Load())/float64(max(l.file.Stats().Commits, 1)), "appends/commit")
		})
	}
}

func benchFill(b *testing.B, streams, each int) *Log {
	b.Helper()
	l := benchLog(b)
	for from := 0; from < streams; from += 1000 {
		var writes []eventlog.Write
		for i := from; i < from+1000; i++ {
			events := make([]event.Event, each)
			for k := range events {
				events[k] = benchEvent("order-placed")
			}
			writes = append(writes, eventlog.ToStream{Stream: fmt.Sprintf("order/%d", i), Events: events})
		}
		mustAppend(b, l, writes...)
	}
	return l
}

// BenchmarkReadByPosition reads a whole log.
func BenchmarkReadByPosition(b *testing.B) {
	l := benchFill(b, 10_000, 3)
	for name, q := range map[string]eventlog.Query{"all": {}, "none-of-type": {Types: []string{"order-placed-not"}}, "category": {Categories: []string{"order"}}} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				for _, err := range l.Read(context.Background(), q) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(max(n, 1)), "µs/event")
		})
	}
}

// BenchmarkLoadStream reads a stream of three events.
func BenchmarkLoadStream(b *testing.B) {
	l := benchFill(b, 10_000, 3)
	i := 0
	for b.Loop() {
		i++
		n := 0
		for _, err := range l.ReadStream(context.Background(), fmt.Sprintf("order/%d", i%10_000), eventlog.StreamQuery{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 3 {
			b.Fatalf("%d events", n)
		}
	}
}
