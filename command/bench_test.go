package command_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// BenchmarkDispatch handles commands for aggregates that are new: the receipt looked up or known to be absent, one load, one
// append of an event with the receipt.
func BenchmarkDispatch(b *testing.B) {
	stores := map[string]func(b *testing.B) *house{
		"memlog": func(b *testing.B) *house { return open(b, memlog.New()) },
		"sqlitelog": func(b *testing.B) *house {
			h, closeFile := openFile(b, filepath.Join(b.TempDir(), "house.db"))
			b.Cleanup(closeFile)
			return h
		},
	}
	for _, store := range []string{"memlog", "sqlitelog"} {
		for _, first := range []bool{true, false} {
			for _, parallel := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/first=%v/parallel=%d", store, first, parallel), func(b *testing.B) {
					h := stores[store](b)
					var n atomic.Int64
					dispatch := func() {
						e, err := h.bus.Encode(ReserveSeats{fmt.Sprint(n.Add(1)), 1})
						if err != nil {
							b.Error(err)
						}
						e.ID = event.NewID()
						if out, err := h.bus.Dispatch(b.Context(), e, command.Hint{First: first}); err != nil || out.Status != command.Accepted {
							b.Error(out, err)
						}
					}
					b.ReportAllocs()
					if parallel == 1 {
						for b.Loop() {
							dispatch()
						}
						return
					}
					b.SetParallelism(parallel)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							dispatch()
						}
					})
				})
			}
		}
	}
}

// BenchmarkRepeat answers a command from its receipt.
func BenchmarkRepeat(b *testing.B) {
	h := open(b, memlog.New())
	e := h.envelope(b, ReserveSeats{"a", 1})
	h.dispatch(b, e)
	b.ReportAllocs()
	for b.Loop() {
		h.dispatch(b, e)
	}
}
