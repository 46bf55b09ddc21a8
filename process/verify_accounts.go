package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// With the definition it can be said which instances an event concerns, and so whether each has accounted for it (G9). The
// events of the sources are read in their order and compared with the histories of some instances at a time: those that
// follow one another by key until they have taken bookedMost events. So memory is bounded, and a source is read once for
// every bookedMost events that were taken.

// bookedMost is how many events of histories are kept at a time: some 20 bytes for each.
const bookedMost = 2_000_000

// namedMost is how many events of a process are named that are not accounted for.
const namedMost = 1000

// ledger is the account of the inputs of one process.
type ledger struct {
	*check
	engine  *Engine
	router  *router
	most    int                            // bookedMost
	cursors map[string][]eventlog.Position // by module and partition, as they were before anything else was read
	counted map[string]int64               // ignored inputs by rule, before anything else was read
	waiting map[string]map[event.ID]bool   // what queues, by instance
	aside   map[event.ID]bool              // events that are held by themselves, or were skipped as such
	place   func(key string) string        // by which instances are ordered
	books   map[string]*book
	booked  int
	from    string // place behind which the books begin
	tallies map[string]*tally
	lost    int
}

// book is what an instance says of the events that it took.
type book struct {
	ids    []event.ID // in order
	bornAt []Mark     // what came before is not in its history
	since  bool       // what came behind that is
	other  bool       // another version of the definition began it
	broken bool       // its history cannot be read, or not all of it
}

// has tells whether the instance took the event.
func (b *book) has(id event.ID) bool {
	_, found := slices.BinarySearchFunc(b.ids, id, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// tally is how many events of a type found no instance, and so must have been counted.
type tally struct {
	least, most int64
	loose       bool // it cannot be said exactly
}

// account begins the account of a process whose definition is at hand; nil where it is not.
func (c *check) account(ctx context.Context) (*ledger, error) {
	k := slices.IndexFunc(c.engines, func(e *Engine) bool { return e.home.name == c.d.Process && e.home.module == c.Name })
	if k < 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	l := &ledger{check: c, engine: c.engines[k], router: c.engines[k].router, most: c.booked, place: eventlogPlace(c), waiting: map[string]map[event.ID]bool{},
		aside: map[event.ID]bool{}, cursors: map[string][]eventlog.Position{}, books: map[string]*book{}, tallies: map[string]*tally{}}
	if why := l.stranger(); why != "" {
		return nil, c.report(Problem{Kind: NotChecked, Module: c.Name, Process: c.d.Process, What: fmt.Sprintf("whether process %q has accounted for every input: %s", c.d.Process, why)})
	}
	var err error
	if l.counted, err = Ignored(ctx, c.Log, c.d.Process); err != nil {
		return nil, err
	}
	for _, name := range l.engine.reads {
		at := make([]eventlog.Position, c.d.Partitions)
		l.cursors[name] = at
		err := eachCursor(ctx, c.Log, c.d.Process, name, c.d.Partitions, func(p int, cursor consumer.Cursor) error { at[p] = cursor.Position; return nil })
		if err != nil {
			return nil, nil //nolint:nilerr,nilnil // it is reported with the cursors
		}
	}
	// From an event that is held by itself a request leads to the queue, and from there the way leads to the history:
	// whatever is on its way is met in one of them.
	for _, read := range []func(context.Context) error{l.readQueues, l.readGiven, l.readQueues, l.readSkipped} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// eventlogPlace returns by what the instances are listed.
func eventlogPlace(c *check) func(key string) string {
	if _, lists := c.Log.(eventlog.StreamLister); lists && c.d.Store == "streams" {
		return c.home.Stream
	}
	return func(key string) string { return eventlog.Key(c.d.Process, key) }
}

// stranger tells why the definition at hand is not the one by which the process ran.
func (l *ledger) stranger() string {
	ran, own := *l.d, l.engine.Describe()
	switch {
	case ran.Version != own.Version:
		return fmt.Sprintf("it ran as version %d, this program has version %d", ran.Version, own.Version)
	case ran.Partitions != own.Partitions:
		return fmt.Sprintf("it runs with %d partitions, this program has %d", ran.Partitions, own.Partitions)
	}
	was, err := json.Marshal([]any{ran.Sources, ran.Inputs, ran.Phases})
	is, err2 := json.Marshal([]any{own.Sources, own.Inputs, own.Phases})
	if err != nil || err2 != nil || !bytes.Equal(was, is) {
		return "it ran with other inputs, phases or choices than this program has"
	}
	return ""
}

// handles tells whether an outcome must have been an input of an instance. What another version handled is not known.
func (l *ledger) handles(h *history, k Kind, name string) bool {
	return l.router.awaits(k, name) && len(l.router.former) == 0 && h.bornBy == l.router.def.Version()
}

// readQueues notes what queues.
func (l *ledger) readQueues(ctx context.Context) error {
	return l.entries(ctx, l.Module, l.entriesOf(eventlog.Queued), "queues of "+l.d.Process, func(e eventlog.Entry) error {
		var in Taken
		if json.Unmarshal(e.Value, &in) == nil { // else it is reported with the holds
			l.waits(l.instanceOf(e.Key), in.ID)
		}
		return nil
	})
}

func (l *ledger) waits(key string, id event.ID) {
	if isAside(key) {
		l.aside[id] = true
		return
	}
	if l.waiting[key] == nil {
		l.waiting[key] = map[event.ID]bool{}
	}
	l.waiting[key][id] = true
}

// readGiven notes the events that are about to be given to instances which they could not find before.
func (l *ledger) readGiven(ctx context.Context) error {
	q := eventlog.EntryQuery{Kind: eventlog.Request, Prefix: eventlog.Key(l.d.Process, "asked") + "/"}
	return l.entries(ctx, l.Module, q, "requests of "+l.d.Process, func(e eventlog.Entry) error {
		var r request
		if json.Unmarshal(e.Value, &r) == nil && r.Action == actGive && r.Input != nil {
			l.waits(r.Instance, r.Input.ID)
		}
		return nil
	})
}

// readSkipped notes the events that an operator skipped, or corrected, since nobody knew whom they concern.
func (l *ledger) readSkipped(ctx context.Context) error {
	return l.entries(ctx, l.Module, l.entriesOf(eventlog.Hold), "holds of "+l.d.Process, func(e eventlog.Entry) error {
		if id := skippedEvent(l.instanceOf(e.Key)); !id.IsZero() {
			l.aside[id] = true
		}
		return nil
	})
}

// add enters the histories of a page, which follow those before by their places; those of documents are their ids alone.
func (l *ledger) add(ctx context.Context, page []candidate, folds []*history) error {
	for n, h := range folds {
		if h == nil { // it is not known what it took
			l.books[page[n].key] = &book{broken: true}
			continue
		}
		b := &book{bornAt: h.bornAt, since: l.d.Store == "streams", broken: h.broken}
		b.other = b.since && h.bornBy != l.engine.cfg.Definition.Version()
		for i := range h.took {
			b.ids = append(b.ids, h.took[i].id)
		}
		if !b.since {
			b.ids = slices.Clone(h.Taken)
		}
		slices.SortFunc(b.ids, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
		l.books[page[n].key] = b
		l.booked += len(b.ids) + 1
	}
	if l.booked < l.most {
		return nil
	}
	return l.settle(ctx, l.place(page[len(page)-1].key), false)
}

// settle compares the books with the sources, for instances up to a place, or for all that are left.
func (l *ledger) settle(ctx context.Context, upTo string, last bool) error {
	for _, name := range l.engine.reads {
		m, here := l.module(name)
		if !here {
			continue // that was said with the cursors
		}
		if err := l.source(ctx, m, upTo, last); err != nil {
			return err
		}
	}
	l.books, l.booked, l.from = map[string]*book{}, 0, upTo
	return nil
}

// source reads a source and looks for every instance of the books that an event concerns.
func (l *ledger) source(ctx context.Context, m Module, upTo string, last bool) error {
	head, err := m.Log.Head(ctx)
	if err != nil || head == 0 {
		return err
	}
	n := 0
	for rec, err := range m.Log.Read(ctx, eventlog.Query{To: head, Types: l.engine.names[m.Name]}) {
		if err != nil {
			return fmt.Errorf("process: module %q: read the inputs of %q: %w", m.Name, l.d.Process, err)
		}
		if n++; n%1000 == 0 {
			l.progress(Progress{Module: m.Name, What: "inputs of " + l.d.Process, Done: int64(rec.Position), Total: int64(head)}) // #nosec G115 -- positions count up from 0
		}
		in := takenEvent(m.Name, m.Log.ID(), rec, l.home.replay)
		if err := l.event(ctx, &in, upTo, last); err != nil {
			return err
		}
	}
	return nil
}

// event looks for the instances of the books that an event concerns. Who finds its instance by a claimed key alone is left
// out: which instance had the key at the time is not kept.
func (l *ledger) event(ctx context.Context, in *Taken, upTo string, last bool) error {
	handlings, err := l.router.decodeAll(in)
	if err == nil && len(handlings) == 0 {
		return nil
	}
	var keys []string
	if err == nil {
		keys, err = l.router.locate(in, handlings)
	}
	t := l.tallies[in.Type]
	if t == nil {
		t = &tally{}
		l.tallies[in.Type] = t
	}
	if t.loose = t.loose || l.aside[in.ID]; err != nil || l.aside[in.ID] {
		return l.undecoded(in, err, last)
	}
	claims, err := l.router.claims(in, handlings)
	if err != nil {
		return l.undecoded(in, err, last)
	}
	t.loose = t.loose || len(claims) > 0
	if len(keys) == 0 {
		if last && len(claims) == 0 {
			t.add(1, l.passed(in, ""))
		}
		return nil
	}
	for _, key := range keys {
		if at := l.place(key); at <= l.from || !last && at > upTo {
			continue
		}
		none, err := l.concerned(ctx, in, handlings, key, t)
		if err != nil {
			return err
		}
		if none {
			t.add(1, l.passed(in, key))
		}
	}
	return nil
}

func (t *tally) add(n int64, passed bool) {
	t.most += n
	if passed {
		t.least += n
	}
}

// passed tells whether the process has moved past an event, for the instances of a key's partition.
func (l *ledger) passed(in *Taken, key string) bool {
	return in.Position <= l.cursors[in.Module][consumer.Partition(key, l.d.Partitions)]
}

// undecoded tells of an event that nobody can decode or locate, and that is not held for it. Another program may have.
func (l *ledger) undecoded(in *Taken, err error, last bool) error {
	if l.aside[in.ID] || !last || !l.passed(in, undecodable+in.Module+"/"+in.ID.String()) || l.absent["undecoded "+in.Type] {
		return nil
	}
	l.absent["undecoded "+in.Type] = true
	return l.report(Problem{Kind: NotChecked, Module: l.Name, Process: l.d.Process, What: fmt.Sprintf("events of type %q are not held, and this program cannot tell whom they concern: %v", in.Type, err)})
}

// concerned looks whether an instance has accounted for an event. It tells whether there was none, so that it must have been
// counted.
func (l *ledger) concerned(ctx context.Context, in *Taken, handlings []handling, key string, t *tally) (none bool, err error) {
	b := l.books[key]
	switch {
	case l.waiting[key][in.ID], b != nil && b.has(in.ID):
		return false, nil
	case b != nil && b.broken:
		t.loose = true
		return false, nil
	case b != nil && b.since && in.Position > position(b.bornAt, in): // it had started by then
		own := l.router.own(&Instance{Version: l.router.def.Version()}, handlings)
		if b.other || len(own) == 0 || !l.passed(in, key) {
			t.loose = true
			return false, nil
		}
		return false, l.lacks(ctx, in, key)
	}
	own, err := l.router.concerning(&Instance{Key: key}, in, handlings)
	if err != nil {
		return false, nil //nolint:nilerr // it is held, or was by a program that could do no better
	}
	policy, _, err := l.router.def.fate(&Instance{}, in, own)
	if err != nil || policy != Handle || !l.passed(in, key) || l.router.def.Version() > 1 || l.untyped(l.counted) > 0 {
		return err == nil, err
	}
	return false, l.lacks(ctx, in, key) // it would have started the instance
}

// lacks reports an event that an instance has not accounted for, if it still has not.
func (l *ledger) lacks(ctx context.Context, in *Taken, key string) error {
	if l.lost++; l.lost > namedMost {
		return nil
	}
	h, err := l.known(ctx, key)
	if err != nil {
		return err
	}
	items, err := readQueue(ctx, l.Log, l.d.Process, key, 0, 0)
	if err != nil {
		return err
	}
	took := func(t took) bool { return t.id == in.ID }
	waits := func(q queued) bool { return q.taken.ID == in.ID }
	if slices.ContainsFunc(h.took, took) || slices.Contains(h.Taken, in.ID) || slices.ContainsFunc(items, waits) {
		return nil
	}
	return l.report(l.problem(InputProblem, key, fmt.Sprintf("module %q position %d", in.Module, in.Position),
		"event %q %s concerns instance %q; the process has moved past it, and the instance neither took nor ignored it, nor does it wait", in.Type, in.ID, key))
}

// Rules by which inputs are counted, in front of their type.
var typedRules = []string{"no key: ", "no instance: ", "no instance, and too many deferred: ", "no instance, deferred too long: ", "another version: "}

// typed returns how many events of a type were counted.
func typed(counted map[string]int64, name string) (n int64) {
	for _, rule := range typedRules {
		n += counted[rule+name]
	}
	return n
}

// untyped returns how many inputs were counted by rules that do not say of which type they were: an operator's.
func (l *ledger) untyped(counted map[string]int64) (n int64) {
	for rule, count := range counted {
		isTyped := func(prefix string) bool { return strings.HasPrefix(rule, prefix) }
		if strings.HasPrefix(rule, "no instance, ") && !slices.ContainsFunc(typedRules, isTyped) {
			n += count
		}
	}
	return n
}

// close settles what is left, and compares what found no instance with what was counted.
func (l *ledger) close(ctx context.Context) error {
	if err := l.settle(ctx, "", true); err != nil {
		return err
	}
	if l.lost > namedMost {
		if err := l.report(l.problem(InputProblem, "", "", "%d events are not accounted for, of which %d are listed", l.lost, namedMost)); err != nil {
			return err
		}
	}
	if v := l.router.def.Version(); v > 1 {
		return l.report(Problem{Kind: NotChecked, Module: l.Name, Process: l.d.Process, What: fmt.Sprintf("how many inputs process %q ignored without an instance, and what instances of earlier versions took: it is version %d, and counts are of all", l.d.Process, v)})
	}
	after, err := Ignored(ctx, l.Log, l.d.Process)
	if err != nil {
		return err
	}
	spare := l.untyped(after)
	for _, name := range sortedKeys(l.tallies) {
		t := l.tallies[name]
		if t.loose {
			continue
		}
		if short := t.least - typed(after, name); short > spare {
			if err := l.report(l.problem(InputProblem, "", fmt.Sprintf("events %q", name),
				"%d of those that the process moved past found no instance, and %d were counted as ignored: %d are not accounted for", t.least, typed(after, name), short-spare)); err != nil {
				return err
			}
			spare = 0
		} else if short > 0 {
			spare -= short
		}
		if many := typed(l.counted, name) - t.most; many > 0 {
			if err := l.report(l.problem(InputProblem, "", fmt.Sprintf("events %q", name),
				"%d were counted as ignored, and only %d found no instance", typed(l.counted, name), t.most)); err != nil {
				return err
			}
		}
	}
	return nil
}
