package process_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// A run by the replay clock ends the same however many workers there are, and for all of them.
func TestReplayIsSharedByWorkers(t *testing.T) {
	run := func(t *testing.T, w *world, workers int, disturb bool) string {
		w.config.Replay = true
		w.config.Definition = process.Define("order",
			process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
				React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
					do.After(time.Hour, PayDue{})
					do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty})
				}},
			process.On[OrderRun, Paid]{NoInstance: process.Ignore, Locate: process.Key(func(e Paid) string { return e.ID }),
				React: func(_ OrderRun, _ process.Input[Paid], do *process.Step) { do.Cancel(PayDue{}) }},
			process.OnTimeout[OrderRun, PayDue]{Name: "pay-due",
				React: func(_ OrderRun, _ process.Input[PayDue], do *process.Step) {
					do.Send(Release{ID: do.Instance()})
					do.Complete()
				}}).Otherwise(process.Ignore)
		var hands []*hand
		for range workers {
			hands = append(hands, w.hire(t))
		}
		pass(t, 5*sharePoll)
		var p *pause
		if disturb {
			p = hands[1].pauseNext()
		}
		at := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
		var placed, paid []event.Event
		add := func(all *[]event.Event, module, id string, f any, at time.Time) {
			*all = append(*all, must(w.types[module].Encode(event.New(f).WithID(event.DeriveID("replay", module, id)).At(at))))
		}
		for n := range 300 {
			id, at := fmt.Sprint(n), at.Add(time.Duration(n)*time.Minute)
			add(&placed, "sales", id, OrderPlaced{id, 1}, at)
			if n%3 > 0 { // in time, or not
				add(&paid, "payments", id, Paid{id, 1}, at.Add(time.Hour+time.Duration(n%3*2-3)*time.Microsecond))
			}
		}
		must(w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "fact/sales", Events: placed}))
		pass(t, sharePoll) // sales is the home, and holds nothing back: it is read before payments has anything
		must(w.logs["payments"].Append(t.Context(), eventlog.ToStream{Stream: "fact/payments", Events: paid}))
		w.seal("sales", "payments")
		if disturb { // the others take over, from where it stood, and end only when that is done as well
			<-p.stopped
			pass(t, 2*shareTTL)
			close(p.resume)
		}
		began := time.Now()
		for _, h := range hands {
			h.running.Wait()
			if h.err != nil {
				t.Error(h.err)
			}
		}
		if took := time.Since(began); took > 5*sharePoll {
			t.Errorf("%d workers ended after %v", workers, took)
		}
		w.verify()
		return w.history(w.engine())
	}
	eachLog(t, func(t *testing.T, w *world) {
		want := run(t, newWorld(t), 1, false)
		if strings.Count(want, "→ release") < 150 {
			t.Fatalf("too few timeouts:\n%s", want)
		}
		if got := run(t, newWorld(t), 3, false); got != want {
			t.Errorf("three workers: %s", firstDifference(got, want))
		}
		w.config.Batch = 2
		if got := run(t, w, 3, true); got != want {
			t.Errorf("three workers, of which one was stopped for long: %s", firstDifference(got, want))
		}
	})
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for n := range min(len(g), len(w)) {
		if g[n] != w[n] {
			return fmt.Sprintf("got\n%s\nwant\n%s", g[n], w[n])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}
