package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// prospects returns what an instance's next inputs would meet: by what the log keeps of the definition, and by the
// definition, which must say the same and more.
func (w *world) prospects(key string) (kept, known []process.Prospect) {
	w.t.Helper()
	ctx, log := context.Background(), w.logs["sales"]
	e := w.engine()
	i, err := process.Look(ctx, e.Home(), key)
	loaded := i
	if errors.Is(err, process.ErrNoInstance) {
		i, loaded = &process.Instance{}, e.Home().NewInstance(key)
	} else if err == nil {
		loaded, err = e.Instance(ctx, key)
	}
	if err != nil && !errors.Is(err, process.ErrNoInstance) {
		w.t.Fatal(err)
	}
	open := must(process.PendingCommands(ctx, log, "order", key))
	description := must(process.Descriptions(ctx, log))[0]
	kept, known = description.Prospects(i, w.holding(key), open), e.Prospects(loaded, w.holding(key), open)
	if len(kept) != len(known) {
		w.t.Fatalf("%s: the log says\n%+v\nthe definition says\n%+v", key, kept, known)
	}
	for n := range kept {
		same := known[n]
		same.Handling = nil
		if !reflect.DeepEqual(kept[n], same) {
			w.t.Errorf("%s: the log says\n%+v\nthe definition says\n%+v", key, kept[n], same)
		}
	}
	return kept, known
}

// untilPending runs the engine until a command of the instance waits to be dispatched.
func (w *world) untilPending(key string) {
	w.t.Helper()
	w.with(w.engine(), func(ctx context.Context) {
		for log := w.logs["sales"]; ; {
			head := must(log.Head(ctx))
			if len(must(process.PendingCommands(ctx, log, "order", key))) > 0 {
				return
			}
			if err := log.Wait(ctx, head); err != nil {
				w.t.Fatal(err)
			}
		}
	})
}

// brief writes what prospects say, one in a line.
func brief(all []process.Prospect) (lines []string) {
	for _, p := range all {
		line := fmt.Sprintf("%v %s: %v", p.Kind, p.Name, p.Policy)
		if p.Number > 0 {
			line = fmt.Sprintf("command %d %s", p.Number, line)
		}
		if p.Starts {
			line += ", starts"
		}
		if p.Queues {
			line += ", queues"
		}
		if p.Bounds != nil {
			line += fmt.Sprintf(", %d of %d for %v, then %v", p.Deferred, p.Bounds.Most, p.Bounds.Within, p.Bounds.Then)
		}
		if p.Why != "" {
			line += " (" + p.Why + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *world) wantProspects(key string, want ...string) []process.Prospect {
	w.t.Helper()
	kept, known := w.prospects(key)
	if got := brief(kept); !reflect.DeepEqual(got, want) {
		w.t.Errorf("%s:\n%s\nwant\n%s", key, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return known
}

// In every phase, what is foretold of the next input is what becomes of it.
func TestProspectsComeTrueInEveryPhase(t *testing.T) {
	eachStore(t, func(t *testing.T, s process.Store) {
		w := newWorld(t)
		w.config.Store = s
		w.config.Definition = phased(process.On[OrderRun, Paid]{NoInstance: process.Defer, Defer: process.In(placed), In: process.In(reserved),
			Hold: process.In(closing), Completed: process.Ignore}).Deferring(process.Deferral{Most: 7, Within: time.Hour})
		notes := map[string]int{"placed": 0, "reserved": 1, "closing": 2, "completed": 3}
		for key, n := range notes {
			w.record("sales", OrderPlaced{key, 1})
			for range n {
				w.record("payments", Noted{key})
			}
		}
		w.run()
		for key, want := range map[string][]string{
			"none": {"event order-placed: handle, starts", "event paid: defer, 0 of 7 for 1h0m0s, then hold", "event noted: ignore"},
			"placed": {"event order-placed: ignore", "event paid: defer, 0 of 7 for 1h0m0s, then hold",
				"event noted: handle"},
			"reserved":  {"event order-placed: ignore", "event paid: handle", "event noted: handle"},
			"closing":   {"event order-placed: ignore", "event paid: hold", "event noted: handle"},
			"completed": {"event order-placed: ignore", "event paid: ignore", "event noted: ignore"},
		} {
			for _, p := range w.wantProspects(key, want...) {
				if p.Policy == process.Handle && p.Handling == nil {
					t.Errorf("%s: the definition does not say what it has for %s", key, p.Name)
				}
			}
		}
		for _, key := range []string{"none", "placed", "reserved", "closing", "completed"} {
			w.record("payments", Paid{key, 5})
		}
		w.run()
		w.verify()
		if h := w.holding("none"); h == nil || h.Condition != process.Waiting || h.Queued != 1 {
			t.Errorf("without an instance: %+v", h)
		}
		if i := w.look("placed"); len(i.Deferred) != 1 || i.DeferredUntil(&i.Deferred[0]) == nil {
			t.Errorf("placed: %+v", i.Deferred)
		}
		if got, _ := w.state("reserved"); !reflect.DeepEqual(got.Inputs, []string{"paid 5"}) {
			t.Errorf("reserved: %+v", got)
		}
		if h := w.holding("closing"); h == nil || h.Condition != process.Held {
			t.Errorf("closing: %+v", h)
		}
		if i := w.look("completed"); i.Steps != 5 || i.Status != process.Completed {
			t.Errorf("completed: %+v", i)
		}
		// what waits, is deferred, or queues counts from now on
		w.wantProspects("none", "event order-placed: handle, starts", "event paid: defer, 1 of 7 for 1h0m0s, then hold", "event noted: ignore")
		w.wantProspects("closing", "event order-placed: ignore, queues", "event paid: hold, queues", "event noted: handle, queues")
		_, known := w.prospects("placed")
		deferred := known[len(known)-1]
		if deferred.Kind != process.TimeoutInput || deferred.Policy != process.Hold || !strings.Contains(deferred.Why, `event "paid"`) || known[1].Deferred != 1 {
			t.Errorf("what bounds the deferral: %+v; %+v", deferred, known[1])
		}
	})
}

// Each command that has no outcome yet has one prospect for each of those that it may have, and so has each timeout.
func TestProspectsOfOutcomesAndTimeouts(t *testing.T) {
	w := newWorld(t)
	w.bus = func(string, dispatch) dispatch {
		return func(context.Context, command.Envelope, bool) (command.Outcome, error) {
			return command.Outcome{}, errors.New("the receiver is down")
		}
	}

	w.record("sales", OrderPlaced{"a", 1})
	w.untilPending("a")
	known := w.wantProspects("a", "event order-placed: handle", "event paid: handle", "event noted: handle",
		"command 1 accepted reserve: handle", "command 1 rejected reserve: handle", "command 1 failed reserve: hold (the definition has no OnFailed for it)",
		"timeout pay-due: handle")
	for n, want := range map[int]process.Handling{0: {Evolves: true, Decides: true}, 4: {Decides: true}} {
		if got := known[n].Handling; got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, want %+v", known[n].Name, got, want)
		}
	}
	if known[6].Due.IsZero() || known[3].Command.IsZero() || known[3].Module != "stock" {
		t.Errorf("%+v; %+v", known[3], known[6])
	}
}

// While an instance compensates, outcomes go on with that, and an undo that is not accepted holds it.
func TestProspectsOfACompensation(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = undoing()
	w.bus = func(_ string, next dispatch) dispatch {
		return func(ctx context.Context, c command.Envelope, first bool) (command.Outcome, error) {
			if c.Type == "release" {
				return command.Outcome{}, errors.New("the receiver is down")
			}
			return next(ctx, c, first)
		}
	}
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	w.wantProspects("a", "event order-placed: handle", "event paid: handle", "timeout pay-due: handle")
	w.record("payments", Paid{"a", 0})
	w.untilPending("a")
	const undo = "it undoes command 1, and an undo that is not accepted holds the instance"
	w.wantProspects("a", "event order-placed: ignore", "event paid: ignore",
		"command 3 accepted release: handle (the compensation goes on with it)", "command 3 rejected release: hold ("+undo+")", "command 3 failed release: hold ("+undo+")")
}

// What a definition may send is known where it declares that.
func TestProspectsSayWhatMayBeSent(t *testing.T) {
	w := newWorld(t)
	w.config.Definition = process.Define("order", process.Sends[OrderRun](Reserve{}, Ship{}),
		process.On[OrderRun, OrderPlaced]{Starts: true, Locate: process.Key(func(e OrderPlaced) string { return e.ID }),
			React: func(_ OrderRun, in process.Input[OrderPlaced], do *process.Step) { do.Send(Reserve{ID: in.Event.ID}) }},
		process.On[OrderRun, Noted]{NoInstance: process.Ignore, Locate: process.Key(func(e Noted) string { return e.ID }),
			Evolve: func(s OrderRun, _ process.Input[Noted]) OrderRun { s.Notes++; return s }},
	).Otherwise(process.Ignore)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	known := w.wantProspects("a", "event order-placed: handle", "event noted: handle")
	if got, want := *known[0].Handling, (process.Handling{Decides: true, MaySend: []string{"reserve", "ship"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("order-placed: %+v, want %+v", got, want)
	}
	if got, want := *known[1].Handling, (process.Handling{Evolves: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("noted: %+v, want %+v", got, want)
	}
}

// A description that an earlier program wrote says nothing of choices, and no guess is made.
func TestProspectsOfAnOldDescriptionAreUnknown(t *testing.T) {
	w := newWorld(t)
	w.record("sales", OrderPlaced{"a", 1})
	w.run()
	d := must(process.Descriptions(t.Context(), w.logs["sales"]))[0]
	for n := range d.Inputs {
		d.Inputs[n].Choices = nil
	}
	if _, err := w.logs["sales"].Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Setting, Key: "process/order", Value: must(json.Marshal(d))}}); err != nil {
		t.Fatal(err)
	}
	d = must(process.Descriptions(t.Context(), w.logs["sales"]))[0]
	for _, p := range d.Prospects(w.look("a"), nil, nil) {
		if p.Policy != 0 {
			t.Errorf("%s: %v", p.Name, p.Policy)
		}
	}
}
