package process

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// appended is told of every append to the home log that succeeded; no worker stands for what an operator does.
func (o *oracle) appended(w *simWorker, writes []eventlog.Write) {
	o.appends++
	o.scan("left") // what is taken has its event
	o.scan("right")
	emitted := o.scan("home")
	touched := map[string]bool{}
	o.answers(writes)
	for key := range o.done {
		if i := o.instance(key); o.asked(key, ActCancel) != nil && i.status == New {
			for n := range i.queue {
				i.dropTo = max(i.dropTo, n)
			}
		}
	}
	if w != nil {
		o.fenced(w, writes)
	}
	wanted := 0
	o.since = o.appends - 1
	if w != nil && w.turning {
		o.since = w.decided
		o.now = map[string][]Taking{}
		for _, c := range w.t.writing.changes {
			o.now[c.Instance.Key] = c.Steps
		}
		for _, c := range w.t.writing.changes {
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
	o.aside(writes)
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

// entries checks the entries that an append wrote beside the steps, and takes note of them.
func (o *oracle) entries(writes []eventlog.Write, touched map[string]bool) {
	removed := map[string]map[int]Taken{} // from queues
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
					if removed[parts[1]] == nil {
						removed[parts[1]] = map[int]Taken{}
					}
					removed[parts[1]][n] = t
				} else {
					o.fail("G9: %s is removed and was not there", x.Key)
				}
				delete(i.queue, n)
			}
		}
	}
	o.besides(writes)
	for _, key := range slices.Sorted(maps.Keys(removed)) {
		for _, n := range slices.Sorted(maps.Keys(removed[key])) {
			in := removed[key][n]
			o.dequeued(key, n, &in)
		}
	}
	for key := range touched {
		i := o.instance(key)
		full := (i.status == New || i.born == o.appends) && len(i.queue) >= o.s.bounds.Most
		if full || i.full {
			i.wasFull = o.appends
		}
		i.full = full
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
	if was, there := i.queue[number(part)]; there {
		o.rewritten(key, &was, &in)
		i.queue[number(part)] = in
		return
	}
	switch {
	case in.Kind == EventInput && (i.taken[in.ID] || i.ignored[in.ID]):
		o.fail("G8: %s stands in the queue of %s, and was decided before", in.describe(), key)
	case in.Kind == EventInput && o.byID[in.ID] != nil && o.byID[in.ID].policy == Defer && (i.status == New || i.born == o.appends && (i.birth.module != in.Module || in.Position < i.birth.position)):
		i.deferred[in.ID] = true
	case in.isOutcome():
		sent := o.sent[in.Command]
		if sent == nil || sent.recorded || sent.queued {
			o.fail("G7: %s stands in the queue of %s, and was recorded before", in.describe(), key)
			return
		}
		sent.queued = true
	}
	if e := o.byID[in.ID]; in.Kind == EventInput && e.doc != "" {
		o.finds(key, i, e)
		from, has := i.from[e.doc]
		e.handed = has && e.position <= from[e.module]
		if e.handed {
			o.happens("handed over")
		}
	}
	i.queue[number(part)] = in
	o.s.log("      %s has %s in its queue", key, in.told())
}

// dequeued checks that what leaves a queue was decided (G9).
func (o *oracle) dequeued(key string, number int, in *Taken) {
	i := o.instance(key)
	switch in.Kind {
	case EventInput:
		switch {
		case i.taken[in.ID] || i.stands(in.ID):
		case o.dropped(i, number, in), o.leftOut(key, i, number, in):
			i.ignored[in.ID] = true
			o.ignored++
		default:
			o.fail("G9: %s left the queue of %s and was not taken", in.describe(), key)
		}
	case TimeoutInput:
		if t, set := i.timers[in.Name]; set && t.ID == in.ID {
			o.fail("G9: %s left the queue of %s and did not fire", in.describe(), key)
		}
	case ClaimInput:
		if i.refused[in.ID] {
			o.fail("G9: %s left the queue of %s and was not taken", in.describe(), key)
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
	is, err := o.became(sent)
	if err != nil {
		o.fail("G7: command %d of %s is no longer pending: %v", n, key, err)
	}
	if (sent.Type == "reserve" || sent.Undo != nil || sent.Undoes > 0 || is == command.Failed || is == command.Expired) && !sent.queued && !sent.recorded {
		o.fail("G7: command %d of %s is no longer pending, and its outcome was not recorded", n, key)
	}
}

// passed checks that everything that a cursor moves past was decided (G9).
func (o *oracle) passed(module string, partition int, to eventlog.Position) {
	from := o.cursors[module][partition]
	o.cursors[module][partition] = to
	o.owed(module, partition, from, to)
	events := o.events[module]
	at, _ := slices.BinarySearchFunc(events, from+1, func(e *simEvent, p eventlog.Position) int { return int(e.position) - int(p) })
	for n := at; n < len(events) && events[n].position <= to; n++ {
		e := events[n]
		for _, key := range e.keys {
			if consumer.Partition(key, len(o.owners)) == partition {
				o.decided(key, e)
			}
		}
		if e.doc != "" && consumer.Partition(ClaimedKey{simDoc, e.doc}.place(), len(o.owners)) == partition {
			o.decidedBeside(e)
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
	if (e.policy != Ignore || i.status != New && !bornNow) && !o.crowded(i, e) {
		o.fail("G9: %s at %d of %s was passed, and %s neither took it nor ignored it (%v)", e.name, e.position, e.module, key, i.status)
	}
	i.ignored[e.id] = true
	o.ignored++
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
