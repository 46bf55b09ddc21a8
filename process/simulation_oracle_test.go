package process

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// oracle watches what a simulation writes, and says what of it breaks a guarantee. It knows the logs, what is appended to
// the home log and by whom, and the records of the steps; it has its own idea of everything else.
type oracle struct {
	s     *simulation
	wrong error // the first thing that it found
	home  Home  // on the log itself
	world world // of the plain fold

	joining   *simWorker
	members   map[event.ID]bool
	owners    []event.ID // by partition
	events    map[string][]*simEvent
	seen      map[string]eventlog.Position // by module: events are known up to it
	byID      map[event.ID]*simEvent
	cursors   map[string][]eventlog.Position // by module and partition
	instances map[string]*simInstance
	sent      map[event.ID]*simSent
	tries     map[event.ID]int // attempts without an answer, by command
	ignored   int              // inputs that were ignored where there was no instance
	appends   int
	since     int                // how many there were when what is appended now was decided
	kinds     map[string]int     // how often what happened
	keys      map[string]*simKey // documents
	requests  map[event.ID]*simRequest
	done      map[string][]*simRequest // those that this append carries out, by instance
	holds     map[string]Holding       // what stands aside
	replaced  map[refused]string       // payloads that operators corrected, by instance and input
	moved     map[string]bool          // documents that changed hands in this append
	now       map[string][]Taking      // the steps of this append, by instance
	steps     int
}

// simEvent is an event that concerns the process.
type simEvent struct {
	module   string
	position eventlog.Position
	id       event.ID
	name     string
	keys     []string
	doc      string // the document that it names
	takenBy  string // who was given it, of those that have had the document
	handed   bool   // it waited before the document was claimed
	beside   int    // the append in which it began to wait for somebody to claim it
	ignored  bool   // nobody has
	policy   Policy
	data     []byte
	starts   bool
	at       time.Time
	known    int // how many appends there were when it came
}

// simInstance is what the oracle knows of an instance.
type simInstance struct {
	status       Status
	born         int // the append in which it was
	birth        *simEvent
	steps        []Record
	taken        map[event.ID]bool // events, those included that came too late
	ignored      map[event.ID]bool // events that were passed when there was no instance
	deferred     map[event.ID]bool
	high         map[string]eventlog.Position // by module
	late         map[string]eventlog.Position // the same of what was deferred
	timers       map[string]Timer
	once         map[string]bool
	sent         int
	effected     int // number of the last command that took effect
	pending      map[int]event.ID
	queue        map[int]Taken
	place        int                                     // its phase
	kept         []Taken                                 // deferred until another phase
	commands     []*simSent                              // that it sent, by number
	claims       map[string]bool                         // documents that it has
	gave         map[string]int                          // the append in which it gave one back
	from         map[string]map[string]eventlog.Position // by document and module: where the process stood at its claim
	handed       map[string]eventlog.Position            // by document and module: of what waited before it was claimed
	refused      map[event.ID]bool                       // claims, of whose refusal it was not told yet
	cancelled    bool                                    // by an operator
	dropTo       int                                     // number of the last input that an operator had left out with its key
	compensating bool                                    // it was given up
	full         bool                                    // as many wait for the instance as may
	wasFull      int                                     // the last append before which that was so
}

// simSent is a command that was decided and committed.
type simSent struct {
	Sent
	instance  string
	effects   int
	queued    bool     // its outcome stands in a queue
	recorded  bool     // its outcome was taken
	outcome   Kind     // what became of it; 0 while that was not taken
	undo      *simSent // that was sent last to undo it
	undone    int      // effects of undos
	leftAlone bool     // its undo was not accepted, and an operator left it at that
}

func newOracle(s *simulation) *oracle {
	o := &oracle{s: s, members: map[event.ID]bool{}, owners: make([]event.ID, s.cfg.Partitions), events: map[string][]*simEvent{}, seen: map[string]eventlog.Position{},
		byID: map[event.ID]*simEvent{}, cursors: map[string][]eventlog.Position{}, instances: map[string]*simInstance{}, sent: map[event.ID]*simSent{}, tries: map[event.ID]int{}, kinds: map[string]int{}, keys: map[string]*simKey{}, moved: map[string]bool{}, requests: map[event.ID]*simRequest{}, holds: map[string]Holding{}, replaced: map[refused]string{}}
	for _, m := range simModules {
		o.cursors[m] = make([]eventlog.Position, s.cfg.Partitions)
	}
	cfg := s.cfg
	for _, m := range simModules {
		cfg.Modules = append(cfg.Modules, Module{Name: m, Log: s.logs[m], Types: s.types[m]})
	}
	e, err := NewEngine(cfg)
	if err != nil {
		panic(err)
	}
	o.home, o.world = e.Home(), e
	return o
}

func (o *oracle) fail(format string, args ...any) {
	if o.wrong == nil {
		o.wrong = fmt.Errorf(format, args...)
		o.s.log("WRONG: %v", o.wrong)
	}
}

func (o *oracle) instance(key string) *simInstance {
	i := o.instances[key]
	if i == nil {
		i = &simInstance{taken: map[event.ID]bool{}, ignored: map[event.ID]bool{}, deferred: map[event.ID]bool{}, high: map[string]eventlog.Position{},
			late: map[string]eventlog.Position{}, timers: map[string]Timer{}, once: map[string]bool{}, pending: map[int]event.ID{}, queue: map[int]Taken{},
			claims: map[string]bool{}, gave: map[string]int{}, from: map[string]map[string]eventlog.Position{}, handed: map[string]eventlog.Position{}, refused: map[event.ID]bool{}}
		o.instances[key] = i
	}
	return i
}

// gone is told of a worker that ended without a word: it may still be a member, and owner, for the others.
func (o *oracle) gone(*simWorker) {}

// look takes note of new events, and checks those that are effects of commands.
func (o *oracle) look() {
	for _, m := range simModules {
		o.scan(m)
	}
}

// happened counts what was appended.
func (o *oracle) happened() (n int) {
	for _, m := range simModules {
		n += len(o.events[m])
	}
	return n + o.appends
}

func (o *oracle) head(module string) eventlog.Position {
	head, err := o.s.logs[module].Head(context.Background())
	if err != nil {
		o.fail("%s: %v", module, err)
	}
	return head
}

// scan takes note of a module's new events, and tells how many of them the process emitted.
func (o *oracle) scan(module string) (emitted int) {
	head := o.head(module)
	if head == o.seen[module] {
		return 0
	}
	for rec, err := range o.s.logs[module].Read(context.Background(), eventlog.Query{After: o.seen[module], To: head}) {
		if err != nil {
			o.fail("read %s: %v", module, err)
			return 0
		}
		facts, err := o.s.types[module].Decode(rec.Event)
		if err != nil || len(facts) != 1 {
			o.fail("decode %s: %v", rec.Type, err)
			return 0
		}
		keys, policy, starts := simKeys(facts[0])
		keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == "" })
		e := &simEvent{module: module, data: rec.Data, doc: simDocument(facts[0]), position: rec.Position, id: rec.ID, name: rec.Type, keys: keys, policy: policy, starts: starts, at: rec.Recorded, known: o.appends}
		o.events[module] = append(o.events[module], e)
		o.byID[rec.ID] = e
		switch fact := facts[0].(type) {
		case simEnded:
			emitted++
		case simReserved:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		case simShipped:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		case simFreed:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		case simRecalled:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		}
	}
	o.seen[module] = head
	return emitted
}

// effect checks that a command takes effect once, as it was decided, and in its turn (G7).
func (o *oracle) effect(rec event.Recorded, same func(simReserve) bool) {
	sent := o.sent[rec.Metadata.Causation]
	var c simReserve // the others have the same members
	switch {
	case sent == nil:
		o.fail("G7: %s at %d is the effect of a command that no committed step sent", rec.Type, rec.Position)
		return
	case json.Unmarshal(sent.Data, &c) != nil || !same(c):
		o.fail("G7: %s at %d is not what %s said", rec.Type, rec.Position, sent.Data)
	}
	if sent.effects++; sent.effects > 1 {
		o.fail("G7: %s %d of %s took effect twice", sent.Type, sent.Number, sent.instance)
	}
	o.inTime(rec, sent)
	o.undone(rec, sent)
	i := o.instance(sent.instance)
	if sent.Number <= i.effected {
		o.fail("G7: %s %d of %s took effect behind %d", sent.Type, sent.Number, sent.instance, i.effected)
	}
	i.effected = sent.Number
}

// dispatched checks that nothing leaves before it is committed (G6), and that it is what was committed (G7).
func (o *oracle) dispatched(module string, e command.Envelope) {
	sent := o.sent[e.ID]
	switch {
	case sent == nil:
		o.fail("G6: %s %s leaves, and no step that was committed sent it", e.Type, e.Data)
	case sent.Module != module || sent.Type != e.Type || string(sent.Data) != string(e.Data) || !sent.Before.Equal(e.Before):
		o.fail("G7: %s %d of %s was %s and leaves as %s", sent.Type, sent.Number, sent.instance, sent.Data, e.Data)
	}
}
