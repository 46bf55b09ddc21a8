package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// BenchmarkAppend appends one event a call to a SQLite file, by one caller and by 32 at once, who share commits.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ctx := context.Background()
			file, err := sqlitelog.Open(ctx, filepath.Join(b.TempDir(), "append.db"), sqlitelog.Options{Logger: quiet})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := file.Close(); err != nil {
					b.Error(err)
				}
			})
			log, err := file.Log(ctx, "orders")
			if err != nil {
				b.Fatal(err)
			}
			payload := []byte(`{"order":"42","seats":["A1","A2","A3"],"total":{"amount":4200,"currency":"EUR"}}`)
			var n atomic.Int64
			place := func() {
				w := eventlog.ToStream{Stream: fmt.Sprintf("order/%d", n.Add(1)), Expect: eventlog.NoStream, Events: []event.Event{{Type: "order-placed", Data: payload}}}
				if _, err := log.Append(ctx, w); err != nil {
					b.Error(err)
				}
			}
			before := file.Stats().Commits
			if callers == 1 {
				for b.Loop() {
					place()
				}
			} else {
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0))) // for each processor
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						place()
					}
				})
			}
			b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(n.Load())/float64(max(1, file.Stats().Commits-before)), "appends/commit")
		})
	}
}
