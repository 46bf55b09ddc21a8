package bench

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/eventlog"
)

// arrivals is how many orders arrive in a second, however the ones before them fare.
const arrivals = 50

// BenchmarkSagaLatency has 50 orders a second arrive, and times each from the instant at which it was to arrive until a
// reader of the log sees that it is confirmed. An order that is recorded late has waited all the same: the instants are
// fixed before, and nobody waits for the orders before it. A round takes 20 seconds, or as long as ENSUE_FOR says.
func BenchmarkSagaLatency(b *testing.B) {
	lasts := time.Duration(fewer(20, 2)) * time.Second
	if text := os.Getenv("ENSUE_FOR"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil || lasts < time.Second {
			b.Fatalf("ENSUE_FOR=%s: it is a time of at least 1s, such as 60s", text)
		}
	}
	for _, s := range stores {
		if s.name != "file" && s.name != "postgres" {
			continue
		}
		b.Run(s.name, func(b *testing.B) {
			app := open(b, s.address(b), ensue.Options{}, shop()...)
			defer closeApp(b, app)
			defer running(b, app)()
			record(b, app, "orders", "placed/0", []any{OrderPlaced{"warm"}, OrderPlaced{"up"}}) // connections, plans
			idle(b, app)
			var times []time.Duration
			for b.Loop() {
				times = append(times, arrive(b, app, len(times), int(lasts.Seconds()*arrivals))...)
			}
			slices.Sort(times)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(ms(times[len(times)/2]), "p50-ms")
			b.ReportMetric(ms(times[(99*len(times)-1)/100]), "p99-ms")
			b.ReportMetric(ms(times[len(times)-1]), "max-ms")
			b.ReportMetric(0, "ns/op")
			idle(b, app) // a confirmation is seen before the process has taken it
			wantCompleted(b, app, "orders", "sale", 2+len(times))
		})
	}
}

// arrive has n orders arrive, whose numbers begin at first, and returns how long each took to be seen confirmed.
func arrive(b *testing.B, app *ensue.App, first, n int) []time.Duration {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders := app.Module("orders")
	begin := time.Now().Add(100 * time.Millisecond)
	due := make(map[string]time.Time, n)
	for k := range n {
		due[fmt.Sprintf("order/%d", first+k)] = begin.Add(time.Duration(k) * time.Second / arrivals)
	}
	from, err := orders.Log().Head(ctx)
	if err != nil {
		b.Fatal(err)
	}
	times := make([]time.Duration, 0, n)
	confirmed := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for stream, err := range confirmations(ctx, orders.Log(), from) {
			if err != nil {
				b.Error(err)
				cancel()
				return
			}
			if times = append(times, time.Since(due[stream])); len(times) == n {
				close(confirmed)
				return
			}
		}
	})
	for k := range n {
		order := fmt.Sprint(first + k)
		if consumer.Sleep(ctx, time.Until(due["order/"+order])) != nil {
			break
		}
		work.Go(func() {
			if _, err := orders.Record(ctx, "placed/"+order, OrderPlaced{order}); err != nil {
				b.Error(err)
				cancel()
			}
		})
	}
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case <-confirmed:
	case <-ctx.Done():
	case <-late.C:
		b.Errorf("a minute after the last order had arrived, not all of them were confirmed")
		cancel()
	}
	work.Wait()
	if len(times) != n {
		b.Fatalf("%d of %d orders were confirmed", len(times), n)
	}
	return times
}

// confirmations follows a log from a position and yields the streams of the orders that are confirmed, as it sees them.
// It ends with the context.
func confirmations(ctx context.Context, log eventlog.Log, after eventlog.Position) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for log.Wait(ctx, after) == nil {
			head, err := log.Head(ctx) // also system records move it
			if err == nil {
				for e, readErr := range log.Read(ctx, eventlog.Query{After: after, To: head, Types: []string{"order-confirmed"}}) {
					if err = readErr; err != nil {
						break
					}
					if strings.HasPrefix(e.Stream, "order/") && !yield(e.Stream, nil) {
						return
					}
				}
				after = head
			}
			if err != nil {
				if ctx.Err() == nil {
					yield("", err)
				}
				return
			}
		}
	}
}
