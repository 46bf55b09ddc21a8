package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// accounted is a world in which inputs of every fate were met: taken, ignored with and without an instance, deferred, and
// queued behind one that failed.
func accounted(t *testing.T, s process.Store) *world {
	w := newWorld(t)
	w.config.Store, w.config.Retry.Attempts = s, 1
	w.config.Definition = orderProcess(func(id string, input any) {
		if _, is := input.(Paid); is && id == "bad" {
			panic("no such account")
		}
	})
	w.record("sales", OrderPlaced{"a", 1}, OrderPlaced{"bad", 1}, OrderPlaced{"full", 99})
	w.run()
	w.record("payments", Noted{"a"}, Paid{"bad", 1}, Paid{"bad", 2}, Noted{"nobody"}, Noted{"nobody"}, Paid{"later", 1}, Noted{""}, Paid{"full", 1})
	w.run()
	return w
}

// pass moves the cursors on a module to its end, as if the process had met everything in it.
func (w *world) pass(module string) {
	w.t.Helper()
	log := w.logs[module]
	c := consumer.Cursor{Log: log.ID()}
	for rec, err := range log.Read(context.Background(), eventlog.Query{System: true}) {
		if err != nil {
			w.t.Fatal(err)
		}
		c.Position, c.At, c.Event, c.Time = rec.Position, rec.Position, rec.ID, rec.Recorded
	}
	for p := range 16 {
		w.put(eventlog.Entry{Kind: eventlog.Cursor, Key: eventlog.Key("order", module, fmt.Sprintf("%03d", p)), Value: must(json.Marshal(c))})
	}
}

func (w *world) put(e eventlog.Entry) {
	w.t.Helper()
	if _, err := w.logs["sales"].Append(context.Background(), eventlog.Put{Entry: e}); err != nil {
		w.t.Fatal(err)
	}
}

// remove deletes the home's first entry of a kind whose key begins so.
func (w *world) remove(k eventlog.Kind, prefix string) {
	w.t.Helper()
	for _, key := range w.entries(k) {
		if strings.HasPrefix(key, prefix) {
			if _, err := w.logs["sales"].Append(context.Background(), eventlog.Delete{Kind: k, Key: key}); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("there is no %v %q", k, prefix)
}

// setIgnored makes another number of what a rule ignored.
func (w *world) setIgnored(rule string, change func(n int64) int64) {
	w.t.Helper()
	for e, err := range w.logs["sales"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Setting, Prefix: eventlog.Key("ignored", "order", rule) + "/"}) {
		if err != nil {
			w.t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(e.Value, &v); err != nil {
			w.t.Fatal(err)
		}
		v["count"] = change(int64(v["count"].(float64)))
		e.Value = must(json.Marshal(v))
		w.put(e)
		return
	}
	w.t.Fatalf("nothing was ignored by the rule %q", rule)
}

// problems verifies the world's logs, with so few events of histories at a time, and returns what it finds in the order of its text.
func (w *world) problems(booked int, engines ...*process.Engine) (found []process.Problem) {
	w.t.Helper()
	var modules []process.Module
	for _, m := range w.order {
		modules = append(modules, process.Module{Name: m, Log: w.logs[m]})
	}
	for p, err := range process.VerifyBooked(context.Background(), modules, engines, booked, nil) {
		if err != nil {
			w.t.Fatal(err)
		}
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b process.Problem) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// Whatever a process has moved past is accounted for, or it is a problem that says which input it is.
func TestG9_VerifyAccountsForEveryInput(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		damage    func(w *world)
		streams   []string // problems
		documents []string
	}{
		"nothing": {damage: func(*world) {}},
		"inputs that are to come": {damage: func(w *world) {
			w.record("payments", Paid{"a", 1}, Noted{"nobody"})
			w.record("sales", OrderPlaced{"new", 1})
		}},
		"cursors are lost": {damage: func(w *world) { w.loseCursors() }},
		"an input of an instance": {func(w *world) { w.record("payments", Paid{"a", 7}); w.pass("payments") },
			[]string{`input|module "payments" position 9|event "paid"|concerns instance "a"|neither took nor ignored it`},
			[]string{`input|events "paid"|1 of those|0 were counted as ignored: 1 are not accounted for`}}, // a document does not say since when it takes inputs
		"an input of a completed instance": {func(w *world) { w.record("payments", Noted{"full"}); w.pass("payments") },
			[]string{`input|module "payments" position 9|concerns instance "full"`},
			[]string{`input|events "noted"|4 of those|3 were counted as ignored: 1 are not accounted for`}},
		"an input that starts an instance": {func(w *world) { w.record("sales", OrderPlaced{"new", 1}); w.pass("sales") },
			[]string{`input|module "sales"|event "order-placed"|concerns instance "new"`}, []string{`input|module "sales"|event "order-placed"|concerns instance "new"`}},
		"an input without an instance": {func(w *world) { w.record("payments", Noted{"nobody"}); w.pass("payments") },
			[]string{`input|events "noted"|4 of those|3 were counted as ignored: 1 are not`}, []string{`input|events "noted"|4 of those|3 were counted as ignored: 1 are not`}},
		"a count that is lost": {func(w *world) { w.remove(eventlog.Setting, "ignored/order/no instance") },
			[]string{`input|events "noted"|1 were counted as ignored: 2 are not`}, []string{`input|events "noted"|1 were counted as ignored: 2 are not`}},
		"a count that is too low": {func(w *world) { w.setIgnored("no key: noted", func(n int64) int64 { return n - 1 }) },
			[]string{`input|events "noted"|3 of those|2 were counted`}, []string{`input|events "noted"|3 of those|2 were counted`}},
		"a count that is too high": {func(w *world) { w.setIgnored("no key: noted", func(n int64) int64 { return n + 2 }) },
			[]string{`input|events "noted"|5 were counted as ignored, and only 3 found no instance`}, []string{`input|events "noted"|5 were counted as ignored, and only 3 found no instance`}},
		"what an operator skipped": {damage: func(w *world) { // of a key without an instance: its count does not say of which type it was
			w.setIgnored("no key: noted", func(n int64) int64 { return n - 1 })
			w.put(eventlog.Entry{Kind: eventlog.Setting, Key: eventlog.Key("ignored", "order", "no instance, skipped: a test", "000"), Value: []byte(`{"count": 1}`)})
		}},
		"a queue's input": {func(w *world) { w.remove(eventlog.Queued, "order/bad/") },
			[]string{`hold|counts 2 inputs in the queue, there are 1`, `input|position 2|concerns instance "bad"`},
			[]string{`hold|counts 2 inputs in the queue, there are 1`, `input|events "paid"|1 are not accounted for`}},
		"what was deferred": {func(w *world) { w.remove(eventlog.Queued, "order/later/") },
			[]string{`hold|counts 1 inputs in the queue, there are 0`, `input|events "paid"|1 are not accounted for`},
			[]string{`hold|counts 1 inputs in the queue, there are 0`, `input|events "paid"|1 are not accounted for`}},
	} {
		for store, s := range map[string]process.Store{"streams": process.Streams{}, "documents": process.Documents{}} {
			t.Run(name+"/"+store, func(t *testing.T) {
				t.Parallel()
				w := accounted(t, s)
				tt.damage(w)
				want := tt.streams
				if store == "documents" {
					want = tt.documents
				}
				expect(t, w.problems(1_000_000, w.engine()), want)
				expect(t, w.problems(1, w.engine()), want) // a few instances at a time
			})
		}
	}
}

// What follows from a definition is said only by the one by which the process ran.
func TestVerifyWithAnotherDefinition(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		definition process.Definition
		want       string
	}{
		"another version": {orderProcess(nil).WithVersion(2), `unchecked|it ran as version 1, this program has version 2`},
		"other inputs":    {undoing(), `unchecked|it ran with other inputs, phases or choices than this program has`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := accounted(t, process.Streams{})
			w.record("payments", Paid{"a", 7})
			w.pass("payments")
			w.config.Definition = tt.definition
			expect(t, w.problems(1_000_000, w.engine()), []string{tt.want})
		})
	}
	w := accounted(t, process.Streams{})
	w.config.Definition = orderProcess(nil).WithVersion(2)
	w.record("sales", OrderPlaced{"b", 1})
	w.run()
	w.record("payments", Noted{"a"}, Noted{"b"}) // of instances that version 1 and version 2 started
	w.pass("payments")
	expect(t, w.problems(1_000_000, w.engine()), []string{`input|position 10|concerns instance "b"`, `unchecked|what instances of earlier versions took: it is version 2`})
}

// The outcome of a command is an input as well: where it failed or can be undone always, else where the definition handles it.
func TestG9_VerifyAccountsForOutcomes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status   command.Status
		known    bool // the definition is at hand
		undoable bool
		want     []string
	}{
		"it failed":                       {command.Failed, false, false, []string{`input|receipt|command 2, "reserve"|was failed, and the instance neither took that`}},
		"it was accepted":                 {command.Accepted, false, false, nil},
		"it was accepted, and is handled": {command.Accepted, true, false, []string{`input|command 2, "reserve"|was accepted`}},
		"it was accepted, and is awaited": {command.Accepted, false, true, []string{`input|command 2, "reserve"|was accepted`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.record("sales", OrderPlaced{"a", 1})
			w.run()
			w.record("payments", Noted{"a"})
			var in process.Taken
			for rec, err := range w.logs["payments"].Read(t.Context(), eventlog.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				in = process.Taken{Kind: process.EventInput, ID: rec.ID, Module: "payments", Log: w.logs["payments"].ID(), Position: rec.Position, Type: rec.Type, Data: rec.Data, Time: rec.Recorded}
			}
			sent := process.Sent{ID: event.DeriveID("command", "order", "a", "1", string(in.ID[:]), "0"), Number: 2, Module: "stock", Type: "reserve", Data: []byte(`{"ID":"a"}`),
				Metadata: event.Metadata{Causation: in.ID}}
			if tt.undoable {
				sent.Undo = &process.Undoing{Type: "release", Data: []byte("{}")}
			}
			record := event.Event{Type: process.RecordType, Data: must(json.Marshal(process.Record{Input: in, Sent: []process.Sent{sent}}))}
			if _, err := w.logs["sales"].Append(t.Context(), eventlog.ToStream{Stream: "order/a", Events: []event.Event{record}}); err != nil {
				t.Fatal(err)
			}
			w.receipt(command.Envelope{ID: sent.ID, Type: sent.Type, Data: sent.Data}, map[string]any{"status": tt.status, "reason": "down"})
			var engines []*process.Engine
			if tt.known {
				engines = append(engines, w.engine())
			}
			expect(t, w.problems(1_000_000, engines...), tt.want)
		})
	}
}

// receipt puts a receipt into stock, made of another one.
func (w *world) receipt(c command.Envelope, change map[string]any) {
	w.t.Helper()
	for e, err := range w.logs["stock"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Receipt, Limit: 1}) {
		if err != nil {
			w.t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(e.Value, &v); err != nil {
			w.t.Fatal(err)
		}
		digest := c.Digest()
		v["digest"] = digest.String()
		for name, value := range change {
			v[name] = value
		}
		e.Key, e.Value = c.ID.String(), must(json.Marshal(v))
		if _, err := w.logs["stock"].Append(context.Background(), eventlog.Put{Entry: e}); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.t.Fatal("there is no receipt")
}
