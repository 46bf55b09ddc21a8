package process_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// terms are what two versions of the process of these tests may differ in.
type terms struct {
	name    string        // of the process; order, if it has none
	wait    time.Duration // until it is released
	extra   int           // more to reserve
	notedBy func(Noted) string
	noted   func(do *process.Step)
	paid    func(do *process.Step)
	due     func(do *process.Step)
	cents   int // counted for each cent
	no      bool
}

func (v terms) definition() process.Definition {
	if v.notedBy == nil {
		v.notedBy = func(e Noted) string { return e.ID }
	}
	do := func(f func(*process.Step), s *process.Step) {
		if f != nil {
			f(s)
		}
	}
	parts := []process.Part[OrderRun]{
		process.On[OrderRun, OrderPlaced]{
			Starts: true,
			Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) {
				do.Send(Reserve{ID: in.Event.ID, Qty: in.Event.Qty + v.extra})
				do.After(v.wait, PayDue{})
			},
		},
		process.On[OrderRun, Paid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e Paid) string { return e.ID }),
			Evolve:     func(s OrderRun, in process.Input[Paid]) OrderRun { s.Cents += in.Event.Cents * (1 + v.cents); return s },
			React: func(_ OrderRun, _ process.Input[Paid], s *process.Step) {
				s.Cancel(PayDue{})
				do(v.paid, s)
			},
		},
		process.OnTimeout[OrderRun, PayDue]{Name: "pay-due", React: func(_ OrderRun, _ process.Input[PayDue], s *process.Step) {
			s.Send(Release{ID: s.Instance()})
			s.Emit(OrderClosed{ID: s.Instance(), How: "expired"})
			do(v.due, s)
			s.Complete()
		}},
		process.OnAccepted[OrderRun, Reserve, struct{}]{
			Evolve: func(s OrderRun, _ process.Input[process.Accepted[Reserve, struct{}]]) OrderRun {
				s.Reserved = true
				return s
			},
		},
	}
	if !v.no {
		parts = append(parts, process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(v.notedBy),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s },
			React:  func(_ OrderRun, _ process.Input[Noted], s *process.Step) { do(v.noted, s) }})
	}
	return process.Define(cmp.Or(v.name, "order"), parts...).Otherwise(process.Ignore)
}

// recorded is a world in which three orders ran by the terms: a was paid after half an hour and noted after three, b was
// noted after half an hour and expired, c was placed last and still runs.
func recorded(t *testing.T, v terms) *world {
	t.Helper()
	w := newWorld(t)
	clock := &handClock{now: time.Date(2031, 1, 1, 10, 0, 0, 0, time.UTC)}
	for m := range w.logs {
		w.logs[m] = memlog.Options{Now: clock.Now}.New()
	}
	w.config.Now, w.config.Definition = clock.Now, v.definition()
	at := func(minutes int, module string, fact any) {
		clock.set(time.Date(2031, 1, 1, 10, minutes, 0, 0, time.UTC))
		w.record(module, fact)
		w.run()
	}
	at(0, "sales", OrderPlaced{"a", 1})
	at(0, "sales", OrderPlaced{"b", 2})
	at(30, "payments", Paid{"a", 100})
	at(30, "payments", Noted{"b"})
	at(180, "payments", Noted{"a"})
	at(181, "sales", OrderPlaced{"c", 3})
	return w
}

func TestBacktestG13(t *testing.T) {
	hour := terms{wait: time.Hour}
	for name, c := range map[string]struct {
		recorded  terms
		candidate terms
		only      process.Status
		want      string
	}{
		"the same": {hour, hour, 0, "0 of 3"},
		"a command's payload": {hour, terms{wait: time.Hour, extra: 1}, process.Completed, `
1 of 1
b, step 1, 10:00 order-placed
  - command reserve to stock {"ID":"b","Qty":2}
  + command reserve to stock {"ID":"b","Qty":3}
  note: the outcome is left out: the candidate had not sent the command
  - state {"Reserved":true,"Cents":0,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":false,"Cents":0,"Notes":1,"Inputs":null,"Trouble":null}`},
		"a command, an event and a timeout more": {hour, terms{wait: time.Hour, noted: func(do *process.Step) {
			do.Send(Ship{ID: do.Instance()})
			do.Emit(OrderClosed{ID: do.Instance(), How: "noted"})
			do.Complete()
		}}, process.Completed, `
1 of 1
b, step 3, 10:30 noted
  + command ship to stock {"ID":"b"}
  + event order-closed {"ID":"b","How":"noted"}
  + completion
  note: the timeout is left out: the candidate had not set it for that instant`},
		"an error": {hour, terms{wait: time.Hour, noted: func(do *process.Step) { panic("oh dear") }}, process.Completed, `
1 of 1
b, step 3, 10:30 noted
  + error panic: oh dear
  it is completed, and would be running`},
		"a longer timeout, whose firing is virtual": {hour, terms{wait: 2 * time.Hour, paid: func(do *process.Step) { do.After(time.Hour, PayDue{}) }}, process.Running, `
2 of 2
a, step 1, 10:00 order-placed
  - timeout pay-due due 11:00 {}
  + timeout pay-due due 12:00 {}
  it is running, and would be completed
  note: timeout "pay-due", due 11:30, is not recorded; it fires virtually
  note: the noted is left out: the candidate's instance is completed
  - state {"Reserved":true,"Cents":100,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":100,"Notes":0,"Inputs":null,"Trouble":null}
c, step 1, 13:01 order-placed
  - timeout pay-due due 14:01 {}
  + timeout pay-due due 15:01 {}`},
		"an event that goes to another": {hour, terms{wait: time.Hour, notedBy: func(Noted) string { return "z" }}, process.Completed, `
1 of 1
b
  - state {"Reserved":true,"Cents":0,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":0,"Notes":0,"Inputs":null,"Trouble":null}`},
		"an event that led to something and is not handled": {terms{wait: time.Hour, noted: func(do *process.Step) { do.Send(Ship{ID: do.Instance()}) }}, terms{wait: time.Hour, no: true}, process.Completed, `
1 of 1
b, step 3, 10:30 noted
  not taken: the candidate does not handle it
  - command ship to stock {"ID":"b"}
  - state {"Reserved":true,"Cents":0,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":0,"Notes":0,"Inputs":null,"Trouble":null}`},
		"a longer timeout, whose recorded firing is left out": {hour, terms{wait: 2 * time.Hour}, process.Completed, `
1 of 1
b, step 1, 10:00 order-placed
  - timeout pay-due due 11:00 {}
  + timeout pay-due due 12:00 {}
  it is completed, and would be running
  note: the timeout is left out: the candidate had not set it for that instant`},
		"a shorter timeout, while the recorded one was still to come": {hour, terms{wait: 20 * time.Minute}, process.Completed, `
1 of 1
b, step 1, 10:00 order-placed
  - timeout pay-due due 11:00 {}
  + timeout pay-due due 10:20 {}
  note: timeout "pay-due", due 10:20, is not recorded; it fires virtually
  note: the noted is left out: the candidate's instance is completed
  note: the timeout is left out: the candidate had not set it for that instant
  - state {"Reserved":true,"Cents":0,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":0,"Notes":0,"Inputs":null,"Trouble":null}`},
		"only the state": {hour, terms{wait: time.Hour, cents: 1}, 0, `
1 of 3
a
  - state {"Reserved":true,"Cents":100,"Notes":1,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":200,"Notes":1,"Inputs":null,"Trouble":null}`},
		"a timeout that is not cancelled": {terms{wait: time.Hour, paid: func(do *process.Step) { do.After(time.Minute, PayDue{}) }},
			terms{wait: time.Hour}, process.Completed, `
1 of 2
a, step 3, 10:30 paid
  - timeout pay-due due 10:31 {}
  + cancel pay-due
  it is completed, and would be running
  note: the timeout is left out: the candidate had not set it for that instant
  - state {"Reserved":true,"Cents":100,"Notes":0,"Inputs":null,"Trouble":null}
  + state {"Reserved":true,"Cents":100,"Notes":1,"Inputs":null,"Trouble":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := recorded(t, c.recorded)
			before := w.everything()
			e := w.engine()
			report, err := process.Backtest(t.Context(), process.BacktestOptions{Engine: e, Candidate: c.candidate.definition(), Only: c.only})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := plain(report), strings.TrimSpace(c.want); got != want {
				t.Errorf("it says\n%s\n\nand not\n%s", got, want)
			}
			if after := w.everything(); after != before {
				t.Errorf("something was written:\n%s", after)
			}
		})
	}
}

// plain writes a report without what is the same in every one.
func plain(r process.Report) string {
	var b strings.Builder
	for n, line := range strings.Split(r.String(), "\n") {
		line = strings.ReplaceAll(line, "2031-01-01T", "")
		line = strings.NewReplacer(":00Z", "", "order: ", "").Replace(line)
		switch {
		case n == 0:
			line, _, _ = strings.Cut(line, " instances")
		case strings.Contains(line, ", step "):
			head, tail, _ := strings.Cut(line, ", event \"")
			name, _, _ := strings.Cut(tail, "\"")
			line = head + " " + name
		case strings.Contains(line, "is left out"):
			_, why, _ := strings.Cut(line, " is left out")
			what := "outcome"
			for _, kind := range []string{"timeout", "noted"} {
				if strings.Contains(line, kind) {
					what = kind
				}
			}
			line = "  note: the " + what + " is left out" + why
		}
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	return strings.TrimSpace(b.String())
}

// everything returns all that the logs hold, as text.
func (w *world) everything() string {
	var b strings.Builder
	for _, m := range w.order {
		for rec, err := range w.logs[m].Read(context.Background(), eventlog.Query{System: true}) {
			fmt.Fprintln(&b, m, rec.Position, rec.Type, string(rec.Data), err)
		}
		for _, kind := range []eventlog.Kind{eventlog.Cursor, eventlog.Receipt, eventlog.Timeout, eventlog.Claim, eventlog.Lease, eventlog.Queued, eventlog.Hold, eventlog.Document, eventlog.Pending, eventlog.Setting} {
			for e, err := range w.logs[m].Entries(context.Background(), eventlog.EntryQuery{Kind: kind}) {
				fmt.Fprintln(&b, m, e.Kind, e.Key, e.Revision, string(e.Value), err)
			}
		}
	}
	return b.String()
}

func TestBacktestOfTheEnginesOwnDefinition(t *testing.T) {
	w := recorded(t, terms{wait: time.Hour})
	w.config.Definition = terms{wait: time.Hour, extra: 2}.definition()
	var seen []int
	report, err := process.Backtest(t.Context(), process.BacktestOptions{Engine: w.engine(), Most: 1, Progress: func(r process.Report) { seen = append(seen, r.Instances, r.Differing, len(r.Differences)) }})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(seen, []int{1, 1, 0, 2, 2, 0, 3, 3, 0}) || report.Steps != 10 || report.Differing != 3 || len(report.Differences) != 1 {
		t.Errorf("it reported %v and at last %+v", seen, report)
	}
	if d := report.Differences[0]; d.State != nil || d.Instance != "a" {
		t.Errorf("nobody knows the state that it was: %+v", d)
	}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Differences []struct {
			Differences []struct {
				What      string
				Candidate struct{ Data struct{ Qty int } }
			}
		}
	}
	if err := json.Unmarshal(data, &read); err != nil || read.Differences[0].Differences[0].What != "command" || read.Differences[0].Differences[0].Candidate.Data.Qty != 3 {
		t.Errorf("as JSON it is %s, %v", data, err)
	}
	if !strings.Contains(report.String(), "and 2 more") {
		t.Error(report)
	}
}

func TestBacktestWithoutHistory(t *testing.T) {
	w := newWorld(t)
	w.config.Store = process.Documents{}
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	if _, err := process.Backtest(t.Context(), process.BacktestOptions{Engine: w.engine()}); !errors.Is(err, process.ErrNoHistory) {
		t.Error(err)
	}
}

func TestBacktestEndsWithItsContext(t *testing.T) {
	w := recorded(t, terms{wait: time.Hour})
	ctx, stop := context.WithCancel(t.Context())
	report, err := process.Backtest(ctx, process.BacktestOptions{Engine: w.engine(), Progress: func(process.Report) { stop() }})
	if !errors.Is(err, context.Canceled) || report.Instances != 1 {
		t.Error(report, err)
	}
}

// handClock is a clock that a test sets.
type handClock struct {
	sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.Lock()
	defer c.Unlock()
	return c.now
}

func (c *handClock) set(now time.Time) {
	c.Lock()
	defer c.Unlock()
	c.now = now
}
