package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/process"
)

// verbs are the words of the transcripts that change something, or ask; testdata/README.md explains each. A new word is a
// function here and a line there.
var verbs = map[string]func(s *story, w words) string{
	"process": (*story).chooseProcess,
	"check":   (*story).check,
	"event":   (*story).event,
	"events":  (*story).someEvents,
	"advance": (*story).advance,
	"seal":    (*story).seal,

	"worker":      (*story).startWorker,
	"leave":       (*story).leave,
	"crash":       (*story).crash,
	"lose-answer": (*story).loseAnswer,
	"pause":       (*story).pause,
	"continue":    (*story).goOn,

	"break":   (*story).breakDefinition,
	"mend":    (*story).mend,
	"handler": (*story).handler,

	"operator": (*story).operator,
	"upgrade":  (*story).upgrade,
	"permute":  (*story).permute,
	"explore":  (*story).explore,

	"forget-cursors": (*story).forgetCursors,
	"rewind":         (*story).rewind,
	"reimport":       (*story).reimport,

	"instance": (*story).showInstance,
	"stream":   (*story).showStream,
	"log":      (*story).showLog,
	"effects":  (*story).showEffects,
	"holds":    (*story).showHolds,
	"timeouts": (*story).showTimeouts,
	"claims":   (*story).showClaims,
	"explain":  (*story).explain,
	"workers":  (*story).showWorkers,
	"stats":    (*story).showStats,
	"describe": (*story).describe,
	"rebuild":  (*story).rebuild,
	"verify":   (*story).verify,
}

// chooseProcess begins the scenario.
func (s *story) chooseProcess(w words) string {
	s.name = w.need(0, "the name of a process")
	sample, ok := samples[s.name]
	if !ok {
		panic(fmt.Errorf("there is no process %q", s.name))
	}
	s.home = sample.home
	s.config = process.Config{Definition: sample.define(s).Deferring(bounds(w)), Home: s.home, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Replay: w.HasArg("replay"), Partitions: max(1, w.number("partitions")), Batch: w.number("batch"), Cache: w.number("cache"),
		Written: []string{"stock", "travel", "mail"},
		Retry:   process.Retry{Attempts: max(3, w.number("attempts")), Dispatch: w.number("dispatch"), Backoff: consumer.Backoff{First: time.Second, Most: time.Second}}}
	if w.HasArg("documents") {
		s.config.Store = process.Documents{}
	}
	e, err := s.reader()
	if err != nil {
		panic(err)
	}
	d := e.Describe()
	return fmt.Sprintf("home %s, reads %s; instances are kept as %s; %s clock", d.Home, strings.Join(d.Sources, " and "), d.Store, d.Clock)
}

// check shows what is wrong with a definition.
func (s *story) check(w words) string {
	d, ok := careless[w.need(0, "the name of a careless definition")]
	if !ok {
		panic(fmt.Errorf("there is no careless definition %q", w.at(0)))
	}
	if w.value("otherwise") != "" {
		d = d.Otherwise(w.policy("otherwise"))
	}
	if err := d.Check(); err != nil {
		return err.Error()
	}
	return "nothing is wrong with it\n" + d.Table().String()
}

// bounds reads how much a process defers, and what becomes of more.
func bounds(w words) (b process.Deferral) {
	b.Most, b.Then = w.number("most"), w.policy("then")
	if within := w.value("within"); within != "" {
		b.Within = must(time.ParseDuration(within))
	}
	return b
}

// event appends an event to the module that has its type.
func (s *story) event(w words) string {
	return s.append(w)
}

func (s *story) append(w words) string {
	module, e := s.draft(w)
	key := w.at(1)
	done, err := s.logs[module].Append(context.Background(), eventlog.ToStream{Stream: "fact/" + key, Events: []event.Event{e}})
	var other *eventlog.IDError
	switch {
	case errors.As(err, &other):
		return fmt.Sprintf("%s refuses it: an event of that id is there, and says something else\n", module) + s.settle()
	case err != nil:
		panic(err)
	case done.Repeat:
		return fmt.Sprintf("%s has it already: nothing is appended\n", module) + s.settle()
	}
	return s.settle()
}

// draft makes the event that a line tells of, and names the module that has its type.
func (s *story) draft(w words) (module string, e event.Event) {
	kind, key := w.need(0, "a type"), w.need(1, "an id")
	for _, m := range s.order {
		if s.types[m].Knows(kind) {
			module = m
		}
	}
	if module == "" {
		panic(fmt.Errorf("no module has events of type %q", kind))
	}
	s.events++
	label := w.value("as")
	if label == "" {
		label = strconv.Itoa(s.events)
	}
	e = event.Event{ID: event.DeriveID("scenario", label), Type: kind, Schema: w.number("schema")}
	e.Metadata.Correlation = e.ID
	if at := w.value("at"); at != "" {
		e.Occurred = s.began.Add(must(time.ParseDuration(at)))
	}
	e.Data = must(json.Marshal(w.fields(key, kind, key, "as", "at", "schema")))
	return module, e
}

// fields is a payload: what name=value says, without some, for an id.
func (w words) fields(id string, without ...string) map[string]any {
	fields := map[string]any{"id": id}
	for _, a := range w.CmdArgs {
		switch {
		case slices.Contains(without, a.Key):
		case a.Key == "guests" || a.Key == "parts":
			fields[a.Key] = a.Vals
		default:
			fields[a.Key] = a.Vals[0]
			if n, err := strconv.Atoi(a.Vals[0]); err == nil && a.Key != "invoice" {
				fields[a.Key] = n
			}
		}
	}
	return fields
}

// someEvents appends an event for each line, one after the other, and then lets the workers come to rest.
func (s *story) someEvents(w words) string {
	var b strings.Builder
	for l := range strings.Lines(w.Input) {
		cmd, args, err := datadriven.ParseLine("event " + strings.TrimSpace(l))
		if err != nil {
			panic(err)
		}
		said := s.append(words{&datadriven.TestData{Cmd: cmd, CmdArgs: args}})
		if !strings.HasPrefix(said, idle) {
			b.WriteString(said)
		}
	}
	if b.Len() == 0 {
		return s.told()
	}
	return b.String()
}

// advance lets time pass.
func (s *story) advance(w words) string {
	s.pass(must(time.ParseDuration(w.need(0, "how long, such as 15m"))))
	return s.settle()
}

// seal says that nothing more will be imported into these modules.
func (s *story) seal(w words) string {
	for n := range w.CmdArgs {
		log := s.logs[w.at(n)]
		head := must(log.Head(context.Background()))
		must(log.Append(context.Background(), must(process.PutSeal(process.Seal{Position: head}))))
	}
	s.pass(time.Second) // a seal is no event, and is looked for now and then
	return s.settle()
}

func (s *story) startWorker(w words) string {
	name := w.need(0, "a name")
	if h := s.workers[name]; h != nil && h.runs() {
		panic(fmt.Errorf("worker %s runs already", name))
	}
	cfg := s.config
	if n := w.number("partitions"); n > 0 {
		cfg.Partitions = n
	}
	if w.HasArg("documents") {
		cfg.Store = process.Documents{}
	}
	if err := s.hire(name, cfg, w.value("dies")); err != nil {
		panic(err)
	}
	if said := s.settle(); said != idle {
		return said
	}
	return fmt.Sprintf("worker %s runs, and finds nothing to do", name)
}

func (s *story) hireling(w words) *hireling {
	h := s.workers[w.need(0, "the name of a worker")]
	if h == nil {
		panic(fmt.Errorf("there is no worker %q", w.at(0)))
	}
	return h
}

func (s *story) leave(w words) string {
	h := s.hireling(w)
	h.leave()
	s.trace.worker(h.name, "worker %s leaves in good order", h.name)
	return s.settle()
}

func (s *story) crash(w words) string {
	h := s.hireling(w)
	if w.at(1) == "" {
		h.die("now")
		return s.settle()
	}
	h.at(w.at(1), dies)
	return fmt.Sprintf("worker %s will die %s", h.name, places[h.next].when)
}

func (s *story) loseAnswer(w words) string {
	h := s.hireling(w)
	h.at(w.need(1, "a place"), losesAnswer)
	return places[h.next].loses
}

// at arranges what happens to the worker the next time that it comes to a place.
func (h *hireling) at(place string, f fate) {
	if what, ok := places[place]; !ok || f == losesAnswer && what.loses == "" {
		panic(fmt.Errorf("%q is no place for that; these are known: %s", place, strings.Join(slices.Sorted(maps.Keys(places)), ", ")))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next, h.fate = place, f
}

func (s *story) pause(w words) string {
	h := s.hireling(w)
	if w.at(1) != "" {
		h.at(w.at(1), stops)
		return fmt.Sprintf("worker %s will stop %s", h.name, places[h.next].when)
	}
	h.pause()
	return fmt.Sprintf("worker %s will stop before the next thing that it reads, writes or sends", h.name)
}

func (s *story) goOn(w words) string {
	s.hireling(w).resume()
	s.pass(3 * time.Second) // what was stopped goes on one after the other
	return s.settle()
}

func (s *story) breakDefinition(w words) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[[2]string{w.need(0, "an instance"), w.need(1, "an input")}] = true
	return fmt.Sprintf("the definition has a bug now: it panics when %s takes %s", w.at(0), w.at(1))
}

func (s *story) mend(w words) string {
	s.mu.Lock()
	delete(s.broken, [2]string{w.need(0, "an instance"), w.need(1, "an input")})
	s.mu.Unlock()
	return "the bug is gone"
}

// forgetCursors deletes what the process knows of how far it has read.
func (s *story) forgetCursors(words) string {
	n := 0
	for e, err := range s.homeLog().Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Cursor}) {
		if err != nil {
			panic(err)
		}
		must(s.homeLog().Append(context.Background(), eventlog.Delete{Kind: eventlog.Cursor, Key: e.Key}))
		n++
	}
	return fmt.Sprintf("lost: %s; everything will be read again", counted(n, "cursor"))
}

// rewind replaces a module's log by an older copy of itself, as a restored backup is one.
func (s *story) rewind(w words) string {
	module := w.need(0, "a module")
	s.logs[module] = memlog.New()
	return fmt.Sprintf("%s has another log now, which is empty", module)
}

// reimport moves a module's events to a new log: their ids stay, their positions mean nothing.
func (s *story) reimport(w words) string {
	module := w.need(0, "a module")
	old := s.logs[module]
	s.logs[module] = memlog.New()
	n := 0
	for rec, err := range old.Read(context.Background(), eventlog.Query{}) {
		if err != nil {
			panic(err)
		}
		must(s.logs[module].Append(context.Background(), eventlog.ToStream{Stream: rec.Stream, Events: []event.Event{rec.Event}}))
		n++
	}
	return fmt.Sprintf("%s has a new log with the same %s", module, counted(n, "event"))
}
