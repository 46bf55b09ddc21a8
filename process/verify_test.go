package process_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

// The application whose file is damaged: rentals, the home of a process that handles all kinds of inputs; garage, which
// handles its commands; bank, which it reads.
type (
	vRented   struct{ ID string }
	vOver     struct{ ID string }
	vPaid     struct{ ID string }
	vParked   struct{ ID string }
	vPark     struct{ ID string }
	vPayDue   struct{}
	vRenting  struct{ Paid, Parked bool }
	vParking  struct{}
	verified  struct{ path string }
	vFault    func(context.Context, *damaged)
	vRejected = process.Rejected[vPark]
)

var vPlaces = aggregate.Define("place", func(p vParking, _ any) vParking { return p })

func vDefinition() process.Definition {
	return process.Define("renting",
		process.On[vRenting, vRented]{Starts: true, Locate: process.Key(func(e vRented) string { return e.ID }),
			React: func(_ vRenting, in process.Input[vRented], do *process.Step) {
				do.Send(vPark{in.Event.ID})
				do.After(time.Hour, vPayDue{})
			}},
		process.On[vRenting, vPaid]{NoInstance: process.Defer, Locate: process.Key(func(e vPaid) string { return e.ID }),
			React: func(_ vRenting, in process.Input[vPaid], do *process.Step) {
				if strings.HasPrefix(in.Event.ID, "bad") {
					do.Fail(errors.New("no such account"))
				}
				do.Emit(vOver(in.Event))
				do.Complete()
			}},
		process.OnTimeout[vRenting, vPayDue]{Name: "pay-due", React: func(_ vRenting, _ process.Input[vPayDue], do *process.Step) { do.Complete() }},
		process.OnRejected[vRenting, vPark]{React: func(_ vRenting, _ process.Input[vRejected], do *process.Step) { do.Complete() }},
	).Otherwise(process.Ignore)
}

// open runs the application on the file for as long as there is something to do.
func (v verified) run(t testing.TB, o ensue.Options, facts func(*ensue.App)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	p := o.Processes["renting"]
	p.Retry = process.Retry{Attempts: 1}
	o.Processes = map[string]ensue.ProcessOptions{"renting": p}
	app, err := ensue.Open(ctx, v.path, o,
		ensue.Module{Name: "rentals", Events: []event.Type{event.Named[vRented]("rented"), event.Named[vOver]("over")}, Processes: []process.Definition{vDefinition()}},
		ensue.Module{Name: "bank", Events: []event.Type{event.Named[vPaid]("paid")}},
		ensue.Module{Name: "garage", Events: []event.Type{event.Named[vParked]("parked")}, Commands: []command.Handler{
			command.Handle("park", func(ctx context.Context, w *aggregate.Work, c vPark) (struct{}, error) {
				if c.ID == "full" {
					return struct{}{}, command.Reject("full", "no place for %s", c.ID)
				}
				return struct{}{}, aggregate.Change(ctx, w, vPlaces, c.ID, func(vParking) ([]any, error) { return []any{vParked(c)}, nil })
			})}})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- app.Run(run) }()
	facts(app)
	if err := app.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(<-done, app.Close()); err != nil {
		t.Fatal(err)
	}
}

func vFacts(t testing.TB) func(*ensue.App) {
	return func(app *ensue.App) {
		rent := func(id string) {
			vMust(app.Module("rentals").Record(t.Context(), "car/"+id, vRented{id}))
		}
		for _, id := range []string{"open", "paid", "full", "bad"} {
			rent(id)
		}
		if err := app.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"paid", "bad", "bad", "nobody"} {
			vMust(app.Module("bank").Record(t.Context(), "account/"+id, vPaid{id}))
		}
		if err := app.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		vMust(app.Module("bank").Record(t.Context(), "account/paid", vPaid{"paid"})) // late: ignored
	}
}

func vMust[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// damaged is a file that is about to be damaged.
type damaged struct {
	t    *testing.T
	path string
	file *sqlitelog.File
}

func (d *damaged) log(module string) *sqlitelog.Log {
	return vMust(d.file.Log(d.t.Context(), module))
}

func (d *damaged) append(module string, writes ...eventlog.Write) {
	vMust(d.log(module).Append(d.t.Context(), writes...))
}

// sql changes the file behind the log's back.
func (d *damaged) sql(text string, args ...any) {
	db := vMust(sql.Open("sqlite", d.path))
	defer db.Close()
	r := vMust(db.ExecContext(d.t.Context(), text, args...))
	if n := vMust(r.RowsAffected()); n == 0 {
		d.t.Fatalf("%s changed nothing", text)
	}
}

// entry returns the first entry of a kind whose key begins so.
func (d *damaged) entry(module string, k eventlog.Kind, prefix string) eventlog.Entry {
	d.t.Helper()
	for e, err := range d.log(module).Entries(d.t.Context(), eventlog.EntryQuery{Kind: k, Prefix: prefix, Limit: 1}) {
		if err != nil {
			d.t.Fatal(err)
		}
		return e
	}
	d.t.Fatalf("there is no %v %q in %q", k, prefix, module)
	return eventlog.Entry{}
}

// edit changes the members of a JSON entry.
func (d *damaged) edit(module string, k eventlog.Kind, prefix string, change map[string]any) {
	d.t.Helper()
	e := d.entry(module, k, prefix)
	var v map[string]any
	if err := json.Unmarshal(e.Value, &v); err != nil {
		d.t.Fatal(err)
	}
	for name, value := range change {
		v[name] = value
	}
	e.Value = vMust(json.Marshal(v))
	d.append(module, eventlog.Put{Entry: e})
}

func (d *damaged) remove(module string, k eventlog.Kind, prefix string) {
	d.t.Helper()
	d.append(module, eventlog.Delete{Kind: k, Key: d.entry(module, k, prefix).Key})
}

// step appends a step to the history of an instance.
func (d *damaged) step(instance string, r process.Record, before ...event.Event) {
	data := vMust(json.Marshal(r))
	d.append("rentals", eventlog.ToStream{Stream: "renting/" + instance, Events: append(before, event.Event{Type: process.RecordType, Data: data})})
}

// steps returns the history of an instance.
func (d *damaged) steps(instance string) (all []process.RecordedStep) {
	home := vMust(process.OpenHome(d.t.Context(), d.log("rentals"), "renting"))
	for r, err := range process.History(d.t.Context(), home, instance) {
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// input appends an event to the bank, which nobody takes, and returns it as an input.
func (d *damaged) input() process.Taken {
	d.t.Helper()
	e := event.Event{ID: event.NewID(), Type: "paid", Data: []byte(`{"ID":""}`)}
	d.append("bank", eventlog.ToStream{Stream: "account/none", Events: []event.Event{e}})
	bank := d.log("bank")
	return process.Taken{Kind: process.EventInput, ID: e.ID, Module: "bank", Log: bank.ID(), Position: vMust(bank.Head(d.t.Context())), Type: "paid", Data: e.Data, Time: time.Now()}
}

// sends appends a step to the history of an instance that sends a command. It returns the command.
func (d *damaged) sends(instance string, sent process.Sent) process.Sent {
	d.t.Helper()
	in := d.input()
	sent.Metadata.Causation = in.ID
	d.step(instance, process.Record{Input: in, Sent: []process.Sent{sent}})
	return sent
}

func TestVerify(t *testing.T) {
	t.Parallel()
	healthy := verified{filepath.Join(t.TempDir(), "healthy.db")}
	healthy.run(t, ensue.Options{}, vFacts(t))
	original := vMust(os.ReadFile(healthy.path))
	for name, tt := range map[string]struct {
		damage vFault
		want   []string // one for each problem: kind, then parts of its text
	}{
		"nothing": {func(context.Context, *damaged) {}, nil},

		"an event is gone": {func(_ context.Context, d *damaged) {
			d.sql(`DELETE FROM events WHERE stream = (SELECT stream FROM streams WHERE name = 'account/bad') AND version = 1`)
		}, []string{`log|position 2 is missing`, `stream|"account/bad"|version 2 follows 0`}},
		"the last event is gone": {func(_ context.Context, d *damaged) {
			d.sql(`DELETE FROM events WHERE stream = (SELECT stream FROM streams WHERE name = 'account/paid') AND version = 2`)
		}, []string{`cursor|stands at position 5, the log ends at 4`, `step|renting/paid|position 5 of module "bank", which is not in that log`, `stream|"account/paid"|its last version is 2`}},
		"a clock that went back": {func(_ context.Context, d *damaged) {
			d.sql(`UPDATE events SET recorded = 5 WHERE stream = (SELECT stream FROM streams WHERE name = 'account/nobody')`)
		}, []string{`log|position 4|before the event in front of it`}},

		"a receipt that cannot be read": {func(_ context.Context, d *damaged) {
			e := d.entry("garage", eventlog.Receipt, "")
			e.Value = []byte("oops")
			d.append("garage", eventlog.Put{Entry: e})
		}, []string{`receipt|unreadable`}},
		"a receipt's status": {edit("garage", eventlog.Receipt, "", map[string]any{"status": "queued"}), []string{`receipt|its status is "queued"`}},
		"a receipt's digest": {edit("garage", eventlog.Receipt, "", map[string]any{"digest": "abcd"}), []string{`receipt|its digest "abcd"`}},
		"another command's receipt": {edit("garage", eventlog.Receipt, "", map[string]any{"digest": strings.Repeat("A", 43)}),
			[]string{`receipt|keeps it for another "park" than command 1`}},
		"a receipt is gone": {func(_ context.Context, d *damaged) {
			id := d.steps("open")[0].Sent[0].ID
			d.remove("garage", eventlog.Receipt, id.String())
		}, []string{`command|command 1, "park"|neither waits to be dispatched nor has a receipt`, `receipt|position|event "parked" was caused by command`}},
		"an outcome that was not": {func(_ context.Context, d *damaged) {
			id := d.steps("full")[0].Sent[0].ID
			d.edit("garage", eventlog.Receipt, id.String(), map[string]any{"status": "accepted"})
		}, []string{`step|was accepted, the instance took it as rejected`}},

		"a cursor on another log": {edit("rentals", eventlog.Cursor, "renting/bank/", map[string]any{"log": event.NewID()}), []string{`cursor|on module "bank"|the log was rewound`}},
		"a cursor on another event": {edit("rentals", eventlog.Cursor, "renting/bank/", map[string]any{"event": event.NewID()}),
			[]string{`cursor|renting/bank/|held event`}},
		"a cursor behind the end": {edit("rentals", eventlog.Cursor, "renting/bank/", map[string]any{"position": 1000}), []string{`cursor|stands at position 1000`}},
		"a cursor before its event": {edit("rentals", eventlog.Cursor, "renting/bank/", map[string]any{"position": 1, "at": 2}),
			[]string{`cursor|stands at position 1, behind which`}},
		"a cursor that cannot be read": {edit("rentals", eventlog.Cursor, "renting/bank/", map[string]any{"position": "x"}), []string{`cursor|cannot be read`}},
		"a partition that is not": {func(_ context.Context, d *damaged) {
			e := d.entry("rentals", eventlog.Cursor, "renting/bank/")
			e.Key = "renting/bank/016"
			d.append("rentals", eventlog.Put{Entry: e})
		}, []string{`cursor|partitions 0 to 15, not 016`}},

		"a step that cannot be read": {func(_ context.Context, d *damaged) {
			d.append("rentals", eventlog.ToStream{Stream: "renting/open", Events: []event.Event{{Type: process.RecordType, Data: []byte("oops")}}})
		}, []string{`step|renting/open|cannot be read`}},
		"a step that does not start": {func(_ context.Context, d *damaged) { d.step("other", process.Record{Input: d.input()}) },
			[]string{`step|renting/other|does not start`, `listing|renting/other|not in the list`}},
		"a step that starts again": {func(_ context.Context, d *damaged) {
			d.step("open", process.Record{Input: d.input(), Birth: &process.Birth{Incarnation: 2}})
		}, []string{`step|starts an instance that is running`, `listing|started at`}},
		"a step behind the completion": {func(_ context.Context, d *damaged) { d.step("paid", process.Record{Input: d.input()}) }, []string{`step|renting/paid|was completed`}},
		"an input taken twice": {func(_ context.Context, d *damaged) {
			in := d.input()
			d.step("open", process.Record{Input: in})
			d.step("open", process.Record{Input: in})
		}, []string{`step|renting/open|it takes event|took already`}},
		"an input that never was": {func(_ context.Context, d *damaged) {
			in := d.input()
			in.ID = event.NewID()
			d.step("open", process.Record{Input: in})
		}, []string{`step|renting/open" version 3|of module "bank", which is not in that log`}},
		"an input from elsewhere": {func(_ context.Context, d *damaged) {
			in := d.input()
			in.Position--
			d.step("open", process.Record{Input: in})
		}, []string{`step|renting/open" version 3|position 5 of module "bank", which stands at position 6 there`}},
		"an input of another type": {func(_ context.Context, d *damaged) {
			in := d.input()
			in.Type = "parked"
			d.step("open", process.Record{Input: in})
		}, []string{`step|renting/open" version 3|which is a "paid" there`}},
		"an input with another payload": {func(_ context.Context, d *damaged) {
			in := d.input()
			in.Data = []byte(`{"ID":"open"}`)
			d.step("open", process.Record{Input: in})
		}, []string{`step|renting/open" version 3|which has another payload there`}},
		"a corrected input": {func(_ context.Context, d *damaged) { // it keeps what it was before
			in := d.input()
			in.Data, in.Replaced = []byte(`{"ID":"open"}`), &process.Correction{Data: in.Data, Reason: "the till was wrong"}
			d.step("open", process.Record{Input: in})
		}, nil},
		"a command without its cause": {func(_ context.Context, d *damaged) {
			sent := process.Sent{ID: event.NewID(), Number: 2, Module: "garage", Type: "park", Data: []byte("{}"), Metadata: event.Metadata{Causation: event.NewID()}}
			d.step("open", process.Record{Input: d.input(), Sent: []process.Sent{sent}})
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/open/000000000002", Value: vMust(json.Marshal(sent))}})
		}, []string{`step|renting/open" version 3|command 2, "park", names|as its cause, and not event "paid"`}},
		"a receipt of more than was sent": {func(_ context.Context, d *damaged) {
			in := d.input()
			d.step("open", process.Record{Input: in})
			e := d.entry("garage", eventlog.Receipt, d.steps("open")[0].Sent[0].ID.String())
			e.Key = event.DeriveID("command", "renting", "open", "1", string(in.ID[:]), "0").String()
			d.append("garage", eventlog.Put{Entry: e})
		}, []string{`command|renting/open" version 3|module "garage" has a receipt of command|by its history it sent 0`}},
		"a link that is gone": {func(_ context.Context, d *damaged) {
			d.step("open", process.Record{Input: d.input(), Linked: true})
		}, []string{`step|not before it`}},
		"emitted events": {func(_ context.Context, d *damaged) {
			d.step("open", process.Record{Input: d.input(), Emitted: 2}, event.Event{Type: "over", Data: []byte("{}")})
		}, []string{`step|emitted 2 events, before it stand 1`}},
		"emitted events without a step": {func(_ context.Context, d *damaged) {
			d.append("rentals", eventlog.ToStream{Stream: "renting/open", Events: []event.Event{{Type: "over", Data: []byte("{}")}}})
		}, []string{`step|1 emitted events at the end`}},
		"a timeout that was not set": {func(_ context.Context, d *damaged) {
			d.step("open", process.Record{Input: process.Taken{Kind: process.TimeoutInput, ID: event.NewID(), Name: "pay-due", Type: "pay-due"}})
		}, []string{`step|timeout "pay-due"|was not set`}},
		"an outcome of nothing": {func(_ context.Context, d *damaged) {
			d.step("open", process.Record{Input: process.Taken{Kind: process.RejectedInput, ID: event.NewID(), Command: event.NewID(), Type: "park"}})
		}, []string{`step|which the instance did not send`}},
		"a step is gone": {func(_ context.Context, d *damaged) {
			d.sql(`DELETE FROM events WHERE stream = (SELECT stream FROM streams WHERE name = 'renting/open')`)
		}, []string{`step|renting/open|does not start`, `stream|renting/open|its last version is 2`, `log|missing`}},

		"a command that was never sent": {func(_ context.Context, d *damaged) {
			d.sends("open", process.Sent{ID: event.NewID(), Number: 2, Module: "garage", Type: "park", Data: []byte("{}")})
		}, []string{`command|command 2, "park"|neither`}},
		"a command's number": {func(_ context.Context, d *damaged) {
			sent := process.Sent{ID: event.NewID(), Number: 7, Module: "garage", Type: "park", Data: []byte("{}")}
			sent = d.sends("open", sent)
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/open/000000000007", Value: vMust(json.Marshal(sent))}})
		}, []string{`step|command 2, but bears number 7`}},
		"another command waits": {func(_ context.Context, d *damaged) {
			sent := process.Sent{ID: event.NewID(), Number: 2, Module: "garage", Type: "park", Data: []byte("{}")}
			sent = d.sends("open", sent)
			sent.Data = []byte(`{"ID":"other"}`)
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/open/000000000002", Value: vMust(json.Marshal(sent))}})
		}, []string{`command|renting/open/000000000002|it is not the command 2`}},
		"an outcome was taken, and the command waits": {func(_ context.Context, d *damaged) {
			sent := d.steps("full")[0].Sent[0]
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/full/000000000001", Value: vMust(json.Marshal(sent))}})
		}, []string{`command|though the instance took its outcome`}},
		"a command that nobody sent": {func(_ context.Context, d *damaged) {
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/open/000000000009", Value: []byte("{}")}})
		}, []string{`command|renting/open/000000000009|did not send it`}},
		"an effect before its receipt": {func(_ context.Context, d *damaged) {
			sent := process.Sent{ID: event.NewID(), Number: 2, Module: "garage", Type: "park", Data: []byte("{}")}
			sent = d.sends("open", sent)
			d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Pending, Key: "renting/open/000000000002", Value: vMust(json.Marshal(sent))}})
			d.append("garage", eventlog.ToStream{Stream: "place/x", Events: []event.Event{{Type: "parked", Data: []byte("{}"), Metadata: event.Metadata{Causation: sent.ID}}}})
		}, []string{`receipt|position|event "parked" was caused by command`}},

		"a timeout without an entry": {remove("rentals", eventlog.Timeout, "renting/open/"), []string{`timeout|renting/open/pay-due|never fires`}},
		"another timeout":            {value(eventlog.Timeout, "renting/open/pay-due", "0123456789abcdef"), []string{`timeout|another timeout of that name`}},
		"a timeout's time": {func(_ context.Context, d *damaged) {
			e := d.entry("rentals", eventlog.Timeout, "renting/open/")
			e.Due = e.Due.Add(time.Second)
			d.append("rentals", eventlog.Put{Entry: e})
		}, []string{`timeout|it is due at`}},
		"a timeout that nobody set": {value(eventlog.Timeout, "renting/open/other", "0123456789abcdef"), []string{`timeout|renting/open/other|does not wait for it`}},
		"a timeout of nobody":       {value(eventlog.Timeout, "renting/zzz/pay-due", "0123456789abcdef"), []string{`timeout|renting/zzz/pay-due|does not wait for it`}},
		"no timeout of ours":        {value(eventlog.Timeout, "renting/zzz/pay-due", "short"), []string{`timeout|no timeout of ours`}},

		"an instance that is not listed": {remove("rentals", eventlog.Document, "renting/open"), []string{`listing|renting/open|not in the list`}},
		"a status that is another":       {edit("rentals", eventlog.Document, "renting/open", map[string]any{"status": "completed"}), []string{`listing|is completed, by its history it is running`}},
		"more steps than there are":      {edit("rentals", eventlog.Document, "renting/open", map[string]any{"steps": 9}), []string{`listing|took 9 inputs, its history has 1`}},
		"another start":                  {edit("rentals", eventlog.Document, "renting/open", map[string]any{"started": time.Unix(0, 0)}), []string{`listing|started at`}},
		"a list that cannot be read":     {value(eventlog.Document, "renting/open", "oops"), []string{`listing|cannot be read`}},
		"an instance without a stream":   {value(eventlog.Document, "renting/zzz", "{}"), []string{`listing|renting/zzz|has no stream`}},

		"a queue that is longer":     {edit("rentals", eventlog.Hold, "renting/bad", map[string]any{"queued": 1}), []string{`hold|counts 1 inputs in the queue, there are 2`}},
		"an input that is gone":      {remove("rentals", eventlog.Queued, "renting/bad/"), []string{`hold|counts 2 inputs in the queue, there are 1`}},
		"a queue without a hold":     {remove("rentals", eventlog.Hold, "renting/bad"), []string{`hold|renting/bad/|never taken`, `hold|renting/bad/|never taken`}},
		"a condition":                {edit("rentals", eventlog.Hold, "renting/bad", map[string]any{"condition": "tired"}), []string{`hold|"tired" is no condition`}},
		"waiting for what is":        {edit("rentals", eventlog.Hold, "renting/bad", map[string]any{"condition": "waiting"}), []string{`hold|wait for an instance, which there is`}},
		"a hold that cannot be read": {value(eventlog.Hold, "renting/bad", "oops"), []string{`hold|cannot be read`}},
		"an input that cannot be read": {func(_ context.Context, d *damaged) {
			e := d.entry("rentals", eventlog.Queued, "renting/bad/")
			e.Value = []byte("oops")
			d.append("rentals", eventlog.Put{Entry: e})
		}, []string{`hold|the input cannot be read`}},

		"a description that cannot be read": {value(eventlog.Setting, "process/renting", "oops"), []string{`setting|process/renting|cannot be read`}},
		"a seal behind the end":             {value(eventlog.Setting, "sealed", `{"position": 1000}`), []string{`setting|sealed at position 1000`}},
		"a lease that cannot be read":       {value(eventlog.Lease, "process/renting", "oops"), []string{`setting|lease "process/renting"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &damaged{t: t, path: filepath.Join(t.TempDir(), "x.db")}
			if err := os.WriteFile(d.path, original, 0o600); err != nil {
				t.Fatal(err)
			}
			d.file = vMust(sqlitelog.Open(t.Context(), d.path, sqlitelog.Options{Poll: -1}))
			defer d.file.Close()
			tt.damage(t.Context(), d)
			expect(t, verify(t, d.file), tt.want)
		})
	}
}

func edit(module string, k eventlog.Kind, prefix string, change map[string]any) vFault {
	return func(_ context.Context, d *damaged) { d.t.Helper(); d.edit(module, k, prefix, change) }
}

func remove(module string, k eventlog.Kind, prefix string) vFault {
	return func(_ context.Context, d *damaged) { d.t.Helper(); d.remove(module, k, prefix) }
}

func value(k eventlog.Kind, key, value string) vFault {
	return func(_ context.Context, d *damaged) {
		d.append("rentals", eventlog.Put{Entry: eventlog.Entry{Kind: k, Key: key, Value: []byte(value), Due: time.Unix(1<<33, 0)}})
	}
}

func verify(t testing.TB, file *sqlitelog.File, only ...string) (found []process.Problem) {
	t.Helper()
	if only == nil {
		only = vMust(file.Modules(t.Context()))
	}
	var modules []process.Module
	for _, name := range only {
		modules = append(modules, process.Module{Name: name, Log: vMust(file.Log(t.Context(), name))})
	}
	for p, err := range process.Verify(t.Context(), modules, nil) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
	return found
}

// expect checks that exactly these problems were found; each is given by its kind and parts of its text.
func expect(t testing.TB, found []process.Problem, want []string) {
	t.Helper()
	if len(found) != len(want) {
		t.Errorf("%d problems, want %d", len(found), len(want))
	}
	for n, p := range found {
		if n >= len(want) {
			t.Errorf("unexpected: %v", p)
			continue
		}
		for i, part := range strings.Split(want[n], "|") {
			if i == 0 && string(p.Kind) != part || !strings.Contains(p.String(), part) {
				t.Errorf("problem %d is\n%v\nwithout %q", n+1, p, part)
			}
		}
	}
}

func TestVerifyDocuments(t *testing.T) {
	t.Parallel()
	v := verified{filepath.Join(t.TempDir(), "x.db")}
	v.run(t, ensue.Options{Processes: map[string]ensue.ProcessOptions{"renting": {Store: process.Documents{}}}}, vFacts(t))
	d := &damaged{t: t, path: v.path, file: vMust(sqlitelog.Open(t.Context(), v.path, sqlitelog.Options{Poll: -1}))}
	defer d.file.Close()
	expect(t, verify(t, d.file), nil)
	taken := event.NewID()
	d.edit("rentals", eventlog.Document, "renting/open", map[string]any{"taken": []event.ID{taken, taken}})
	d.remove("rentals", eventlog.Timeout, "renting/open/")
	value(eventlog.Timeout, "renting/paid/pay-due", "0123456789abcdef")(t.Context(), d)
	value(eventlog.Document, "renting/other", "{}")(t.Context(), d)
	value(eventlog.Pending, "renting/open/000000000002", "{}")(t.Context(), d)
	expect(t, verify(t, d.file), []string{`listing|twice`, `timeout|renting/open/pay-due|never fires`, `listing|renting/other|holds no instance`,
		`timeout|renting/paid/pay-due|does not wait`, `command|renting/open|did not send`})
}

func TestVerifySaysWhatItCannotSee(t *testing.T) {
	t.Parallel()
	v := verified{filepath.Join(t.TempDir(), "x.db")}
	v.run(t, ensue.Options{}, vFacts(t))
	file := vMust(sqlitelog.Open(t.Context(), v.path, sqlitelog.Options{ReadOnly: true}))
	defer file.Close()
	expect(t, verify(t, file, "rentals"), []string{`unchecked|"bank"|cursors`, `unchecked|"garage"|outcomes of commands`})
	for _, err := range process.Verify(t.Context(), []process.Module{{Name: "rentals", Log: vMust(file.Log(t.Context(), "rentals"))}}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		break // a caller may stop at the first
	}
}

// While the application works, nothing that it is about to finish is taken for damage.
func TestVerifyWhileTheApplicationWorks(t *testing.T) {
	t.Parallel()
	v := verified{filepath.Join(t.TempDir(), "x.db")}
	v.run(t, ensue.Options{}, func(app *ensue.App) {
		file := vMust(sqlitelog.Open(t.Context(), v.path, sqlitelog.Options{ReadOnly: true}))
		defer file.Close()
		recorded := make(chan struct{})
		go func() {
			defer close(recorded)
			for range 60 {
				id := event.NewID().String()
				vMust(app.Module("rentals").Record(t.Context(), "car/"+id, vRented{id}))
				vMust(app.Module("bank").Record(t.Context(), "account/"+id, vPaid{id}))
			}
		}()
		for n, working := 0, true; working; n++ {
			expect(t, verify(t, file), nil)
			select {
			case <-recorded:
				working = false
			default:
			}
		}
	})
}
