package process

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
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
	events    map[string][]simEvent
	seen      map[string]eventlog.Position // by module: events are known up to it
	byID      map[event.ID]*simEvent
	cursors   map[string][]eventlog.Position // by module and partition
	instances map[string]*simInstance
	sent      map[event.ID]*simSent
	appends   int
	steps     int
}

// simEvent is an event that concerns the process.
type simEvent struct {
	module   string
	position eventlog.Position
	id       event.ID
	name     string
	keys     []string
	policy   Policy
	starts   bool
	at       time.Time
}

// simInstance is what the oracle knows of an instance.
type simInstance struct {
	status   Status
	born     int // the append in which it was
	birth    *simEvent
	steps    []Record
	taken    map[event.ID]bool // events, those included that came too late
	ignored  map[event.ID]bool // events that were passed when there was no instance
	deferred map[event.ID]bool
	high     map[string]eventlog.Position // by module
	late     map[string]eventlog.Position // the same of what was deferred
	timers   map[string]Timer
	once     map[string]bool
	sent     int
	effected int // number of the last command that took effect
	pending  map[int]event.ID
	queue    map[int]Taken
}

// simSent is a command that was decided and committed.
type simSent struct {
	Sent
	instance string
	effects  int
	queued   bool // its outcome stands in a queue
	recorded bool // its outcome was taken
}

func newOracle(s *simulation) *oracle {
	o := &oracle{s: s, members: map[event.ID]bool{}, owners: make([]event.ID, s.cfg.Partitions), events: map[string][]simEvent{}, seen: map[string]eventlog.Position{},
		byID: map[event.ID]*simEvent{}, cursors: map[string][]eventlog.Position{}, instances: map[string]*simInstance{}, sent: map[event.ID]*simSent{}}
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
			late: map[string]eventlog.Position{}, timers: map[string]Timer{}, once: map[string]bool{}, pending: map[int]event.ID{}, queue: map[int]Taken{}}
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
		e := simEvent{module: module, position: rec.Position, id: rec.ID, name: rec.Type, keys: keys, policy: policy, starts: starts, at: rec.Recorded}
		o.events[module] = append(o.events[module], e)
		o.byID[rec.ID] = &e
		switch fact := facts[0].(type) {
		case simEnded:
			emitted++
		case simReserved:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		case simShipped:
			o.effect(rec, func(c simReserve) bool { return c.ID == fact.ID && c.N == fact.N })
		}
	}
	o.seen[module] = head
	return emitted
}

// effect checks that a command takes effect once, as it was decided, and in its turn (G7).
func (o *oracle) effect(rec event.Recorded, same func(simReserve) bool) {
	sent := o.sent[rec.Metadata.Causation]
	var c simReserve // a simShip has the same members
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
	case sent.Module != module || sent.Type != e.Type || string(sent.Data) != string(e.Data):
		o.fail("G7: %s %d of %s was %s and leaves as %s", sent.Type, sent.Number, sent.instance, sent.Data, e.Data)
	}
}

// appended is told of every append to the home log that succeeded; no worker stands for what an operator does.
func (o *oracle) appended(w *simWorker, writes []eventlog.Write) {
	o.appends++
	o.scan("left") // what is taken has its event
	o.scan("right")
	emitted := o.scan("home")
	touched := map[string]bool{}
	if w != nil {
		o.fenced(w, writes)
	}
	wanted := 0
	if w != nil && w.turning {
		for _, c := range w.t.batch.changes {
			touched[c.Instance.Key] = true
			if p := consumer.Partition(c.Instance.Key, len(o.owners)); o.owners[p] != w.id {
				o.fail("G12: %s wrote a step of %s, and partition %d is not its own", w.name, c.Instance.Key, p)
			}
			for n := range c.Steps {
				wanted += len(c.Steps[n].Emitted)
				o.step(c.Instance.Key, &c.Steps[n])
			}
		}
	}
	if emitted != wanted {
		o.fail("G6: the steps of an append emitted %d events, and %d came with it", wanted, emitted)
	}
	o.entries(writes, touched)
	for _, key := range slices.Sorted(maps.Keys(touched)) {
		o.beside(key)
	}
}

// fenced checks that who writes is a member (G12), and takes note of who owns what.
func (o *oracle) fenced(w *simWorker, writes []eventlog.Write) {
	if o.joining == w {
		o.members[w.id] = true
	}
	if !o.members[w.id] {
		o.fail("G12: %s lost its lease, and wrote", w.name)
	}
	for _, write := range writes {
		switch x := write.(type) {
		case eventlog.Put:
			if x.Entry.Kind != eventlog.Lease || !consumer.IsStake(x.Entry.Key) {
				continue
			}
			var stake consumer.Stake
			var p int
			parts := eventlog.SplitKey(x.Entry.Key)
			if _, err := fmt.Sscanf(parts[len(parts)-1], "%d", &p); err != nil || json.Unmarshal(x.Entry.Value, &stake) != nil {
				o.fail("lease %s: %s", x.Entry.Key, x.Entry.Value)
				continue
			}
			if owner := o.owners[p]; owner != w.id && o.members[owner] {
				o.fail("G12: %s took partition %d of a member", w.name, p)
			}
			o.owners[p] = stake.Worker
		case eventlog.Delete:
			if x.Kind == eventlog.Lease {
				parts := eventlog.SplitKey(x.Key)
				for id := range o.members {
					if id.String() == parts[len(parts)-1] {
						o.members[id] = false
					}
				}
			}
		}
	}
}

// step checks a step that was committed, and takes note of it.
func (o *oracle) step(key string, s *Taking) {
	o.steps++
	i, r := o.instance(key), &s.Record
	in := &r.Input
	o.s.log("      %s takes %s", key, r.told())
	what := fmt.Sprintf("%s: %s", key, in.describe())
	switch {
	case i.status == Completed && r.Ignored != "completed":
		o.fail("G10: %s, and it had completed", what)
	case i.status != New && r.Birth != nil, i.status == New && r.Birth == nil:
		o.fail("G10: %s: %v, birth %v", what, i.status, r.Birth)
	case r.Emitted != len(s.Emitted):
		o.fail("G6: %s: %d emitted, the record says %d", what, len(s.Emitted), r.Emitted)
	}
	switch in.Kind {
	case EventInput:
		o.takeEvent(key, i, in)
	case TimeoutInput:
		t, set := i.timers[in.Name]
		switch {
		case !set || t.ID != in.ID:
			o.fail("G11: %s fired, and it was cancelled, replaced, or fired before", what)
		case !t.Due.Equal(in.Time) || o.s.clock.Before(t.Due):
			o.fail("G11: %s fired at %s, due %s", what, o.s.clock, t.Due)
		}
		delete(i.timers, in.Name)
	default:
		o.takeOutcome(i, in, what)
	}
	if r.Ignored == "" {
		o.timersFirst(i, in, what)
	}
	if r.Birth != nil {
		i.status, i.born, i.birth = Running, o.appends, o.byID[in.ID]
	}
	for _, name := range r.Cancelled {
		delete(i.timers, name)
	}
	for _, t := range r.Set {
		i.timers[t.Name] = t
	}
	for _, once := range r.Once {
		if i.once[once] {
			o.fail("%s: Once(%q) a second time", what, once)
		}
		i.once[once] = true
	}
	for _, sent := range r.Sent {
		i.sent++
		if o.sent[sent.ID] != nil || sent.Number != i.sent {
			o.fail("G7: %s: command %d has id or number of another", what, sent.Number)
		}
		o.sent[sent.ID] = &simSent{Sent: sent, instance: key}
		i.pending[sent.Number] = sent.ID
	}
	if r.Completed {
		i.status = Completed
		clear(i.timers)
	}
	i.steps = append(i.steps, *r)
}

// told is describe without what differs from run to run.
func (t *Taken) told() string {
	switch t.Kind {
	case EventInput:
		return fmt.Sprintf("%s %d of %s", t.Type, t.Position, t.Module)
	case TimeoutInput:
		return fmt.Sprintf("timeout %s due %v", t.Name, t.Time.Sub(simStart))
	default:
		return fmt.Sprintf("%v %s %s", t.Kind, t.Type, t.Data)
	}
}

// told says in a line what was taken and decided.
func (r *Record) told() string {
	what := r.Input.told()
	if r.Ignored != "" {
		return what + ", ignored: " + r.Ignored
	}
	if r.Birth != nil {
		what += ", is born"
	}
	for _, c := range r.Cancelled {
		what += ", cancels " + c
	}
	for _, t := range r.Set {
		what += fmt.Sprintf(", sets %s for %v", t.Name, t.Due.Sub(simStart))
	}
	for _, sent := range r.Sent {
		what += fmt.Sprintf(", sends %s %d", sent.Type, sent.Number)
	}
	if r.Emitted > 0 {
		what += fmt.Sprintf(", emits %d", r.Emitted)
	}
	if r.Completed {
		what += ", completes"
	}
	return what
}

// takeEvent checks that an event is taken once, by whom it concerns, in the order of its log (G8).
func (o *oracle) takeEvent(key string, i *simInstance, in *Taken) {
	e := o.byID[in.ID]
	switch {
	case e == nil || e.module != in.Module || e.position != in.Position || !slices.Contains(e.keys, key):
		o.fail("G8: %s took %s, which does not concern it", key, in.describe())
		return
	case i.taken[e.id]:
		o.fail("G8: %s took %s twice", key, in.describe())
	case i.ignored[e.id]:
		o.fail("G8: %s took %s, which was passed before it was born", key, in.describe())
	}
	i.taken[e.id] = true
	high := i.high
	if i.deferred[e.id] {
		high = i.late
	}
	if e.position <= high[e.module] {
		o.fail("G8: %s took %s behind position %d", key, in.describe(), high[e.module])
	}
	high[e.module] = e.position
}

func (o *oracle) takeOutcome(i *simInstance, in *Taken, what string) {
	sent := o.sent[in.Command]
	switch {
	case sent == nil || o.instances[sent.instance] != i:
		o.fail("G7: %s: it sent no such command", what)
		return
	case sent.recorded:
		o.fail("G7: %s: the outcome was taken before", what)
	}
	sent.recorded, sent.queued = true, false
	for r, err := range command.Receipts(context.Background(), o.s.logs[sent.Module], sent.ID) {
		if err == nil && (r.Status == command.Accepted) == (in.Kind == AcceptedInput) {
			return
		}
	}
	o.fail("G7: %s: there is no receipt that says so", what)
}

// timersFirst checks that what is due by the instant of an input has fired before it (G11).
func (o *oracle) timersFirst(i *simInstance, in *Taken, what string) {
	for _, t := range i.timers {
		if t.Due.Before(in.Time) || in.Kind != TimeoutInput && t.Due.Equal(in.Time) {
			o.fail("G11: %s was taken before timeout %q due %s", what, t.Name, t.Due.Format(time.RFC3339Nano))
		}
	}
}

// entries checks the entries that an append wrote beside the steps, and takes note of them.
func (o *oracle) entries(writes []eventlog.Write, touched map[string]bool) {
	removed := map[string][]Taken{} // from queues
	for _, write := range writes {
		switch x := write.(type) {
		case eventlog.Put:
			if x.Entry.Kind == eventlog.Queued {
				parts := eventlog.SplitKey(x.Entry.Key)
				touched[parts[1]] = true
				o.enqueued(parts[1], parts[2], x.Entry.Value)
			}
		case eventlog.Delete:
			if x.Kind == eventlog.Queued {
				parts := eventlog.SplitKey(x.Key)
				touched[parts[1]] = true
				i, n := o.instance(parts[1]), number(parts[2])
				if t, there := i.queue[n]; there {
					removed[parts[1]] = append(removed[parts[1]], t)
				} else {
					o.fail("G9: %s is removed and was not there", x.Key)
				}
				delete(i.queue, n)
			}
		}
	}
	for key, taken := range removed {
		for n := range taken {
			o.dequeued(key, &taken[n])
		}
	}
	for _, write := range writes { // what follows looks at all of the above
		switch x := write.(type) {
		case eventlog.Put:
			if x.Entry.Kind == eventlog.Cursor {
				var c consumer.Cursor
				if err := json.Unmarshal(x.Entry.Value, &c); err != nil {
					o.fail("cursor %s: %v", x.Entry.Key, err)
				}
				parts := eventlog.SplitKey(x.Entry.Key)
				o.passed(parts[1], number(parts[2]), c.Position)
			}
		case eventlog.Delete:
			parts := eventlog.SplitKey(x.Key)
			switch x.Kind {
			case eventlog.Cursor:
				o.cursors[parts[1]][number(parts[2])] = 0
			case eventlog.Pending:
				touched[parts[1]] = true
				o.settled(parts[1], number(parts[2]))
			}
		}
	}
}

func number(part string) (n int) {
	_, _ = fmt.Sscanf(part, "%d", &n)
	return n
}

// enqueued takes note of an input that stands in a queue.
func (o *oracle) enqueued(key, part string, value []byte) {
	var in Taken
	if err := json.Unmarshal(value, &in); err != nil {
		o.fail("queue of %s: %v", key, err)
		return
	}
	i := o.instance(key)
	switch {
	case in.Kind == EventInput && (i.taken[in.ID] || i.ignored[in.ID]):
		o.fail("G8: %s stands in the queue of %s, and was decided before", in.describe(), key)
	case in.Kind == EventInput && o.byID[in.ID] != nil && o.byID[in.ID].policy == Defer && i.status == New:
		i.deferred[in.ID] = true
	case in.Kind == AcceptedInput || in.Kind == RejectedInput:
		sent := o.sent[in.Command]
		if sent == nil || sent.recorded || sent.queued {
			o.fail("G7: %s stands in the queue of %s, and was recorded before", in.describe(), key)
			return
		}
		sent.queued = true
	}
	i.queue[number(part)] = in
	o.s.log("      %s has %s in its queue", key, in.told())
}

// dequeued checks that what leaves a queue was decided (G9).
func (o *oracle) dequeued(key string, in *Taken) {
	i := o.instance(key)
	switch in.Kind {
	case EventInput:
		if !i.taken[in.ID] && !i.stands(in.ID) {
			o.fail("G9: %s left the queue of %s and was not taken", in.describe(), key)
		}
	case TimeoutInput:
		if t, set := i.timers[in.Name]; set && t.ID == in.ID {
			o.fail("G9: %s left the queue of %s and did not fire", in.describe(), key)
		}
	default:
		if sent := o.sent[in.Command]; sent == nil || !sent.recorded {
			o.fail("G9: %s left the queue of %s and was not taken", in.describe(), key)
		}
	}
}

// stands tells whether an input stands in the queue.
func (i *simInstance) stands(id event.ID) bool {
	for _, t := range i.queue {
		if t.ID == id {
			return true
		}
	}
	return false
}

// settled checks that a command that is no longer pending has its outcome, and that who wants to know it knows it.
func (o *oracle) settled(key string, n int) {
	i := o.instance(key)
	sent := o.sent[i.pending[n]]
	delete(i.pending, n)
	if sent == nil {
		o.fail("G7: command %d of %s is no longer pending, and wasn't", n, key)
		return
	}
	if sent.Type == "reserve" && !sent.queued && !sent.recorded {
		o.fail("G7: command %d of %s is no longer pending, and its outcome was not recorded", n, key)
	}
	for _, err := range command.Receipts(context.Background(), o.s.logs[sent.Module], sent.ID) {
		if err == nil {
			return
		}
	}
	o.fail("G7: command %d of %s is no longer pending, and has no receipt", n, key)
}

// passed checks that everything that a cursor moves past was decided (G9).
func (o *oracle) passed(module string, partition int, to eventlog.Position) {
	from := o.cursors[module][partition]
	o.cursors[module][partition] = to
	events := o.events[module]
	at, _ := slices.BinarySearchFunc(events, from+1, func(e simEvent, p eventlog.Position) int { return int(e.position) - int(p) })
	for n := at; n < len(events) && events[n].position <= to; n++ {
		e := &events[n]
		for _, key := range e.keys {
			if consumer.Partition(key, len(o.owners)) == partition {
				o.decided(key, e)
			}
		}
	}
}

// decided checks that an event that is behind was taken by an instance, or stands in its queue, or was to be ignored.
func (o *oracle) decided(key string, e *simEvent) {
	i := o.instance(key)
	if i.taken[e.id] || i.ignored[e.id] || i.stands(e.id) {
		return
	}
	bornNow := i.status != New && i.born == o.appends && (i.birth.module != e.module || e.position < i.birth.position)
	if e.policy != Ignore || i.status != New && !bornNow {
		o.fail("G9: %s at %d of %s was passed, and %s neither took it nor ignored it (%v)", e.name, e.position, e.module, key, i.status)
	}
	i.ignored[e.id] = true
}

// beside compares the entries beside an instance with what its steps decided (G6).
func (o *oracle) beside(key string) {
	i := o.instance(key)
	ctx, home := context.Background(), o.s.logs["home"]
	prefix := eventlog.Key("sim", key) + "/"
	timers := 0
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout, Prefix: prefix}) {
		if err != nil {
			o.fail("entries: %v", err)
		}
		timers++
		if t, set := i.timers[eventlog.SplitKey(e.Key)[2]]; !set || !t.Due.Equal(e.Due) || string(t.ID[:]) != string(e.Value) {
			o.fail("G6: timeout %s is an entry, and no step set it so", e.Key)
		}
	}
	if timers != len(i.timers) {
		o.fail("G6: %s has %d timeouts, and %d are entries", key, len(i.timers), timers)
	}
	pending := 0
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Pending, Prefix: prefix}) {
		if err != nil {
			o.fail("entries: %v", err)
		}
		pending++
		var sent Sent
		if err := json.Unmarshal(e.Value, &sent); err != nil || i.pending[number(eventlog.SplitKey(e.Key)[2])] != sent.ID || string(o.sent[sent.ID].Data) != string(sent.Data) {
			o.fail("G6: command %s is pending, and no step sent it so", e.Key)
		}
	}
	if pending != len(i.pending) {
		o.fail("G6: %s has %d commands without outcome, and %d are entries", key, len(i.pending), pending)
	}
	queued := 0
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Hold, Keys: []string{eventlog.Key("sim", key)}}) {
		if err != nil {
			o.fail("entries: %v", err)
		}
		var h Holding
		if err := json.Unmarshal(e.Value, &h); err != nil {
			o.fail("hold of %s: %v", key, err)
		}
		queued = h.Queued
	}
	ids := map[event.ID]bool{}
	for _, t := range i.queue {
		ids[t.ID] = true
	}
	if queued != len(i.queue) || len(ids) != len(i.queue) {
		o.fail("G9: the hold of %s counts %d inputs, and %d are in its queue, %d different ones", key, queued, len(i.queue), len(ids))
	}
}

// turned compares an instance in a worker's memory, of those that took a step, with what is read again (G13).
func (o *oracle) turned(w *simWorker) {
	changes := w.t.batch.changes
	if len(changes) == 0 || o.appends%8 != 0 {
		return
	}
	live := changes[o.appends/8%len(changes)].Instance
	again := o.load(live.Key)
	if again == nil || o.wrong != nil {
		return
	}
	if !sameInstance(live, again) {
		o.fail("G13: %s is, in memory, %s; read again %s", live.Key, image0(live), image0(again))
	}
}

func sameInstance(a, b *Instance) bool { return a.Token == b.Token && image0(a) == image0(b) }

func image0(i *Instance) string {
	data, err := i.Image()
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// load reads an instance anew; what that appends or sends would be seen elsewhere.
func (o *oracle) load(key string) *Instance {
	store := o.s.cfg.Store
	if store == nil {
		store = Streams{}
	}
	before := o.appends
	loaded, err := store.Load(context.Background(), o.home, []string{key})
	if err != nil {
		o.fail("G13: load %s: %v", key, err)
		return nil
	}
	if o.appends != before {
		o.fail("G13: loading %s appended", key)
	}
	if loaded[0] == nil && o.instance(key).status != New {
		o.fail("G6: %s is gone", key)
	}
	return loaded[0]
}

// final checks what must hold when everything has come to rest.
func (o *oracle) final() {
	ignored := 0
	for _, m := range simModules {
		for n := range o.events[m] {
			e := &o.events[m][n]
			for _, key := range e.keys {
				o.decided(key, e)
			}
			if len(e.keys) == 0 && e.policy != 0 {
				ignored++
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.instances)) {
		ignored += len(o.instances[key].ignored)
		o.finally(key)
	}
	counts, err := Ignored(context.Background(), o.s.logs["home"], "sim")
	if err != nil {
		o.fail("ignored: %v", err)
	}
	counted := 0
	for _, n := range counts {
		counted += int(n)
	}
	if counted != ignored {
		o.fail("G9: %d inputs were ignored without an instance, and %d were counted", ignored, counted)
	}
	for id, sent := range o.sent {
		receipts := 0
		for r, err := range command.Receipts(context.Background(), o.s.logs[sent.Module], id) {
			if receipts++; err != nil || (r.Status == command.Accepted) != (sent.effects == 1) {
				o.fail("G7: %s %d of %s: %v, %d effects", sent.Type, sent.Number, sent.instance, r.Status, sent.effects)
			}
		}
		if receipts != 1 {
			o.fail("G7: %s %d of %s has %d receipts", sent.Type, sent.Number, sent.instance, receipts)
		}
	}
	var modules []Module
	for _, m := range simModules {
		modules = append(modules, Module{Name: m, Log: o.s.logs[m], Types: o.s.types[m]})
	}
	for p, err := range Verify(context.Background(), modules, nil) {
		if err != nil || p.Kind != NotChecked {
			o.fail("verify: %v %v", p, err)
		}
	}
}

// finally checks one instance: nothing is left over, and a fold of its inputs, one after the other and without any of the
// machinery around it, decides the same and leads to the same state.
func (o *oracle) finally(key string) {
	i := o.instance(key)
	o.beside(key)
	if i.status != New && len(i.queue) > 0 {
		o.fail("G9: %s has %d inputs in its queue at the end", key, len(i.queue))
	}
	if len(i.pending) > 0 || len(i.timers) > 0 {
		o.fail("%s has %d commands without outcome and %d timeouts at the end", key, len(i.pending), len(i.timers))
	}
	loaded := o.load(key)
	if loaded == nil {
		return
	}
	plain := o.home.NewInstance(key)
	var seen []string
	for n := range i.steps {
		rec := &i.steps[n]
		if rec.Ignored != "" {
			plain.note(rec)
			continue
		}
		in := rec.Input
		handlings, err := o.home.router.decode(&in)
		if err != nil {
			o.fail("%s: %v", key, err)
			return
		}
		again, _, err := o.home.def.step(o.world, plain, &in, rec.Birth, handlings)
		if err != nil || toJSON(again) != toJSON(rec) {
			o.fail("%s decided %s, and decides %s again (%v)", key, toJSON(rec), toJSON(again), err)
			return
		}
		seen = append(seen, in.Type)
	}
	plain.Token = loaded.Token
	if !sameInstance(plain, loaded) || len(plain.State.(simState).Seen) != len(seen) {
		o.fail("G13: %s is %s, and would be %s after %s", key, image0(loaded), image0(plain), strings.Join(seen, ", "))
	}
	if _, streams := o.s.cfg.Store.(Documents); !streams {
		o.history(key, i)
	}
}

// history compares the records in an instance's stream with those that were committed.
func (o *oracle) history(key string, i *simInstance) {
	n := 0
	for step, err := range History(context.Background(), o.home, key) {
		if err != nil || n >= len(i.steps) {
			o.fail("G6: history of %s, step %d of %d: %v", key, n, len(i.steps), err)
			return
		}
		have, want := step.Record, i.steps[n]
		have.Linked, want.Linked = false, false
		if toJSON(&have) != toJSON(&want) {
			o.fail("G6: step %d of %s is %s, and was %s", n, key, toJSON(&have), toJSON(&want))
		}
		n++
	}
	if n != len(i.steps) {
		o.fail("G6: %s has %d steps in its history, and took %d", key, n, len(i.steps))
	}
}

func toJSON(r *Record) string {
	if r == nil || reflect.ValueOf(r).IsNil() {
		return "nothing"
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
