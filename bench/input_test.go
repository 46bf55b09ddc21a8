package bench

import (
	"context"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// A meter is read, and its process adds up. It sends nothing, so that what is measured is the taking of inputs.
type (
	MeterRead struct {
		Meter string
		KWh   int
	}
	Consumption struct{ Readings, KWh int }
)

var consumption = process.Define("consumption",
	process.On[Consumption, MeterRead]{
		Starts: true,
		Locate: process.Key(func(e MeterRead) string { return e.Meter }),
		Evolve: func(c Consumption, in process.Input[MeterRead]) Consumption {
			return Consumption{c.Readings + 1, c.KWh + in.Event.KWh}
		},
	},
).Otherwise(process.Ignore)

// power is an application whose process lives in the module that it reads, or in another one.
func power(home string) []ensue.Part {
	meters := ensue.Module{Name: "meters", Events: []event.Type{event.Named[MeterRead]("meter-read")}}
	if home == "meters" {
		meters.Processes = []process.Definition{consumption}
		return []ensue.Part{meters}
	}
	return []ensue.Part{meters, ensue.Module{Name: home, Processes: []process.Definition{consumption}}}
}

// readings returns so many readings of each meter, all meters in turn.
func readings(meters []string, each int) []any {
	facts := make([]any, 0, each*len(meters))
	for n := range each {
		for _, m := range meters {
			facts = append(facts, MeterRead{m, n})
		}
	}
	return facts
}

// BenchmarkInput lets a process take what stands in a log: 10 inputs of each of 2,000 instances.
func BenchmarkInput(b *testing.B) {
	type variant struct {
		name, home string
		store      process.Store
		batch      int
		each       int // inputs of an instance
	}
	variants := []variant{
		{"", "billing", process.Streams{}, 512, 10},
		{"/home", "meters", process.Streams{}, 512, 10}, // linked instead of copied
		{"/documents", "billing", process.Documents{}, 512, 10},
		{"/batch=32", "billing", process.Streams{}, 32, 5},
		{"/batch=1", "billing", process.Streams{}, 1, 1},
	}
	for _, s := range stores[:2] {
		for _, v := range variants {
			b.Run(s.name+v.name, func(b *testing.B) {
				var inputs, transactions int64
				for b.Loop() {
					b.StopTimer()
					app := open(b, s.address(b), ensue.Options{Processes: map[string]ensue.ProcessOptions{"consumption": {Store: v.store, Batch: v.batch}}}, power(v.home)...)
					record(b, app, "meters", "readings/1", readings(keys(0, instances), v.each))
					b.StartTimer()
					stop := running(b, app)
					idle(b, app)
					b.StopTimer()
					stop()
					stats := app.Process("consumption").Stats()
					if want := int64(v.each * instances); stats.Inputs != want {
						b.Fatalf("%d inputs were taken, want %d", stats.Inputs, want)
					}
					inputs += stats.Inputs
					transactions += stats.Transactions
					closeApp(b, app)
					b.StartTimer()
				}
				b.ReportMetric(float64(inputs)/b.Elapsed().Seconds(), "inputs/s")
				b.ReportMetric(1000*float64(transactions)/float64(inputs), "tx/1k-inputs")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkColdLoad loads 1,000 instances of 10 steps from a file that was just opened.
func BenchmarkColdLoad(b *testing.B) {
	const loaded, steps = 1000, 10
	for _, v := range []struct {
		name, home string
		store      process.Store
	}{
		{"streams", "billing", process.Streams{}},
		{"streams/home", "meters", process.Streams{}}, // linked instead of copied
		{"documents", "billing", process.Documents{}},
	} {
		b.Run(v.name, func(b *testing.B) {
			options := ensue.Options{Processes: map[string]ensue.ProcessOptions{"consumption": {Store: v.store}}}
			address, all := stores[1].address(b), keys(0, instances)
			app := open(b, address, options, power(v.home)...)
			stop := running(b, app)
			record(b, app, "meters", "readings/1", readings(all, steps))
			idle(b, app)
			stop()
			closeApp(b, app)
			rounds := 0
			for b.Loop() {
				b.StopTimer()
				app := open(b, address, options, power(v.home)...)
				b.StartTimer()
				found, err := v.store.Load(context.Background(), app.Process("consumption").Home(), all[:loaded])
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				for _, i := range found {
					if i == nil || i.Steps != steps {
						b.Fatalf("loaded %+v", i)
					}
				}
				closeApp(b, app)
				rounds++
				b.StartTimer()
			}
			b.ReportMetric(float64(rounds*loaded)/b.Elapsed().Seconds(), "instances/s")
		})
	}
}
