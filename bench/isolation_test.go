package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/internal/tally"
	"github.com/ensue-io/ensue/process"
)

// A parcel is sent and scanned twice, whereupon its receiver is told. One parcel's process fails.
type (
	ParcelSent    struct{ Parcel string }
	ParcelScanned struct {
		Parcel string
		Scan   int
	}
	TellReceiver struct{ Parcel string }
	ReceiverTold struct{ Parcel string }
	Delivery     struct{ Scans int }
)

// lost is the key of the instance that fails.
const lost = "lost"

var errLost = errors.New("nobody knows where it is")

// delivery is a process that fails on everything that concerns the lost parcel or, if it starts, on all but its start.
func delivery(starts bool) process.Definition {
	return process.Define("delivery",
		process.On[Delivery, ParcelSent]{
			Starts: true,
			Locate: process.Key(func(e ParcelSent) string { return e.Parcel }),
			React: func(_ Delivery, in process.Input[ParcelSent], do *process.Step) {
				if in.Event.Parcel == lost && !starts {
					do.Fail(errLost)
				}
			},
		},
		process.On[Delivery, ParcelScanned]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e ParcelScanned) string { return e.Parcel }),
			Evolve:     func(d Delivery, _ process.Input[ParcelScanned]) Delivery { d.Scans++; return d },
			React: func(d Delivery, in process.Input[ParcelScanned], do *process.Step) {
				switch {
				case in.Event.Parcel == lost:
					do.Fail(errLost)
				case d.Scans == 2:
					do.Send(TellReceiver{in.Event.Parcel})
				}
			},
		},
		process.OnAccepted[Delivery, TellReceiver, int]{
			React: func(_ Delivery, _ process.Input[process.Accepted[TellReceiver, int]], do *process.Step) {
				do.Complete()
			},
		},
	).Otherwise(process.Ignore)
}

// parcels is an application whose process lives in the module that it reads and sends commands to another one.
func parcels(starts bool) []ensue.Part {
	return []ensue.Part{
		ensue.Module{Name: "parcels", Processes: []process.Definition{delivery(starts)},
			Events: []event.Type{event.Named[ParcelSent]("parcel-sent"), event.Named[ParcelScanned]("parcel-scanned")}},
		ensue.Module{Name: "mail", Events: []event.Type{event.Named[ReceiverTold]("receiver-told")},
			Commands: []command.Handler{does("tell-receiver", "letter", func(c TellReceiver) string { return c.Parcel },
				func(c TellReceiver) ReceiverTold { return ReceiverTold(c) })}},
	}
}

// place is where a round has its logs: nothing was in it before.
type place struct {
	logs    func(module string) eventlog.Log
	commits func() int64 // transactions that wrote, of everyone; nil where there are none
	close   func() error
}

var places = []struct {
	name  string
	ready func(b *testing.B) (open func(round int) place)
}{
	{"memory", func(*testing.B) func(int) place {
		return func(int) place {
			logs := map[string]eventlog.Log{"parcels": memlog.New(), "mail": memlog.New()}
			return place{logs: func(module string) eventlog.Log { return logs[module] }, close: func() error { return nil }}
		}
	}},
	{"file", func(b *testing.B) func(int) place {
		return func(round int) place {
			file, err := sqlitelog.Open(context.Background(), filepath.Join(b.TempDir(), fmt.Sprintf("%d.db", round)), sqlitelog.Options{Logger: quiet})
			if err != nil {
				b.Fatal(err)
			}
			return place{logsOf(b, file.Log), func() int64 { return file.Stats().Commits }, file.Close}
		}
	}},
	{"postgres", func(b *testing.B) func(int) place {
		server := pgtest.New(b, pgtest.Options{Durable: true})
		return func(round int) place {
			db, err := pglog.Open(context.Background(), server.URL("postgres"), pglog.Options{Schema: fmt.Sprint("round", round), Logger: quiet})
			if err != nil {
				b.Fatal(err)
			}
			return place{logsOf(b, db.Log), func() int64 { return db.Stats().Commits }, db.Close}
		}
	}},
}

func logsOf[L eventlog.Log](b *testing.B, open func(context.Context, string) (L, error)) func(string) eventlog.Log {
	return func(module string) eventlog.Log {
		log, err := open(context.Background(), module)
		if err != nil {
			b.Fatal(err)
		}
		return log
	}
}

// healthy is how many instances do not fail.
const healthy = 10_000

// BenchmarkIsolation has 10,000 healthy instances take three inputs each, which stand in the log before the time begins,
// send a command and complete on its outcome: in turns with and without one instance among them that fails. It is held
// after the default number of attempts, or retried, with the default back-off, as long as the round takes; it fails on its
// first input, or on those behind it, which are in the same batch. Each iteration is a round of both: nine with -benchtime=9x.
func BenchmarkIsolation(b *testing.B) {
	for _, p := range places {
		for _, v := range []struct {
			name   string
			starts bool
			retry  process.Retry
		}{
			{"held", false, process.Retry{}},
			{"retried", false, process.Retry{Attempts: math.MaxInt}},
			{"retried-behind-start", true, process.Retry{Attempts: math.MaxInt}},
		} {
			b.Run(p.name+"/"+v.name, func(b *testing.B) {
				open, n := p.ready(b), fewer(healthy, 500)
				var sides [2][]round // without and with the failing one
				for b.Loop() {
					r := len(sides[0])
					for turn := range 2 {
						side := (turn + r) % 2 // without, with; with, without; …
						sides[side] = append(sides[side], isolated(b, open(2*r+turn), n, side == 1, parcels(v.starts), v.retry))
					}
				}
				without, with := sides[0], sides[1]
				rate := func(r round) float64 { return float64(n) / r.took.Seconds() }
				before, after := medianOf(without, rate), medianOf(with, rate)
				b.ReportMetric(before, "without/s")
				b.ReportMetric(after, "with/s")
				b.ReportMetric(100*(before-after)/before, "drop-%")
				for _, of := range []struct {
					name  string
					count func(round) float64
				}{
					{"tx", func(r round) float64 { return float64(r.others.Transactions) }},
					{"engine-tx", func(r round) float64 { return float64(r.turns) }},
					{"statements", func(r round) float64 { return float64(r.others.Writes) }},
					{"reads", func(r round) float64 { return float64(r.others.Reads) }},
					{"commits", func(r round) float64 { return float64(r.commits) }},
				} {
					b.ReportMetric(medianOf(without, of.count), of.name+"-without")
					b.ReportMetric(medianOf(with, of.count), of.name+"-with")
				}
				b.ReportMetric(medianOf(with, func(r round) float64 { return float64(r.one.Transactions) }), "own-tx")
				b.ReportMetric(medianOf(with, func(r round) float64 { return float64(r.one.Writes) }), "own-statements")
				b.ReportMetric(0, "ns/op")
				for _, r := range slices.Concat(without, with) {
					if want := without[0].others.Writes; r.others.Writes != want {
						b.Errorf("the healthy instances took %d statements in a round and %d in another", r.others.Writes, want)
					}
				}
			})
		}
	}
}

func medianOf(rounds []round, figure func(round) float64) float64 {
	all := make([]float64, len(rounds))
	for n := range rounds {
		all[n] = figure(rounds[n])
	}
	return median(all)
}

// round is what came of one.
type round struct {
	took        time.Duration // until the last healthy instance was completed
	one, others tally.Count   // of the failing instance and of the healthy ones
	turns       int           // transactions of the process itself that were of healthy ones
	commits     int64         // of the file or database, of both
}

// isolated runs a round, and looks only at the healthy ones to know its end.
func isolated(b *testing.B, at place, n int, fails bool, parts []ensue.Part, retry process.Retry) (r round) {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	count, completed := tally.New(lost), make(chan struct{})
	opened := map[string]eventlog.Log{"parcels": at.logs("parcels"), "mail": at.logs("mail")}
	facts := open(b, "", ensue.Options{Logs: func(module string) eventlog.Log { return opened[module] }}, parts...)
	record(b, facts, "parcels", "scans/1", scans(n, fails)) // which nobody counts
	closeApp(b, facts)
	outcomes := 0
	count.Wrote(func(w eventlog.Write, _ tally.Count) {
		if gone, ok := w.(eventlog.Delete); ok && gone.Kind == eventlog.Pending {
			if outcomes++; outcomes == n {
				close(completed)
			}
		}
	})
	app := open(b, "", ensue.Options{Logs: func(module string) eventlog.Log { return count.Log(opened[module]) },
		Processes: map[string]ensue.ProcessOptions{"delivery": {Retry: retry}}}, parts...)
	commits := func() int64 {
		if at.commits == nil {
			return 0
		}
		return at.commits()
	}
	runtime.GC() // what the round before left is not this one's
	late := time.NewTimer(5 * time.Minute)
	defer late.Stop()
	before, began := commits(), time.Now()
	b.StartTimer()
	stop := running(b, app)
	select {
	case <-completed:
	case <-late.C:
		b.Error("after five minutes, not all healthy instances are completed")
	}
	b.StopTimer()
	r.took = time.Since(began)
	stop()
	r.commits = commits() - before
	r.one, r.others = count.Counts()
	r.turns = r.others.Transactions - n // one of the others is that of its command
	wantCompleted(b, app, "parcels", "delivery", n)
	if fails && r.one.Writes == 0 {
		b.Error("nothing failed")
	}
	closeApp(b, app)
	if err := at.close(); err != nil {
		b.Error(err)
	}
	return r
}

// scans returns what happens to n parcels, one after the other, and to the lost one, which is among the first.
func scans(n int, fails bool) []any {
	facts := make([]any, 0, 3*n+3)
	for k, parcel := range keys(0, n) {
		if k == 100 && fails {
			facts = append(facts, ParcelSent{lost}, ParcelScanned{lost, 1}, ParcelScanned{lost, 2})
		}
		facts = append(facts, ParcelSent{parcel}, ParcelScanned{parcel, 1}, ParcelScanned{parcel, 2})
	}
	return facts
}
