package process

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Instances of the simulated process claim documents, which others may have, and give some of them back. Two kinds of
// events name a document alone.

const simDoc = "doc"

type (
	simIssued struct { // in left; the instance claims the document, or gives it back
		ID  string
		N   int
		Doc string
	}
	simPosted struct { // in right; concerns who has the document, deferred
		Doc string
		N   int
	}
	simGlanced struct { // in left; the same, ignored
		Doc string
		N   int
	}
)

// simClaiming are the parts that matter for claims.
func simClaiming() []Part[simState] {
	return []Part[simState]{
		On[simState, simIssued]{
			NoInstance: Defer,
			Locate:     Key(func(e simIssued) string { return e.ID }),
			Evolve:     func(s simState, in Input[simIssued]) simState { return s.see("issued %d", in.Event.N) },
			React: func(_ simState, in Input[simIssued], do *Step) {
				if in.Event.N%4 == 0 {
					do.Release(simDoc, in.Event.Doc)
				} else {
					do.Correlate(simDoc, in.Event.Doc)
				}
			},
		},
		On[simState, simPosted]{
			NoInstance: Defer,
			Locate:     Claimed(simDoc, func(e simPosted) string { return e.Doc }),
			Evolve:     func(s simState, in Input[simPosted]) simState { return s.see("posted %d", in.Event.N) },
		},
		On[simState, simGlanced]{
			NoInstance: Ignore,
			Locate:     Claimed(simDoc, func(e simGlanced) string { return e.Doc }),
			Evolve:     func(s simState, in Input[simGlanced]) simState { return s.see("glanced %d", in.Event.N) },
		},
		OnTaken[simState]{
			Name: simDoc,
			Evolve: func(s simState, in Input[ClaimTaken]) simState {
				return s.see("taken %s by %s", in.Event.Key, in.Event.By)
			},
		},
	}
}

// doc returns some document: there are fewer than instances.
func (s *simulation) doc() string {
	generation := max(s.did/100-s.rng.IntN(2), 0)
	return fmt.Sprintf("d%d.%d", generation, s.rng.IntN(1+s.many/2))
}

// simDocument returns the document that an event names, whose instance it is for.
func simDocument(fact any) string {
	switch e := fact.(type) {
	case simPosted:
		return e.Doc
	case simGlanced:
		return e.Doc
	default:
		return ""
	}
}

// simKey is what the oracle knows of a document.
type simKey struct {
	holder  string
	from    map[string]eventlog.Position // by module: what comes behind it is the holder's
	beside  map[int]Taken                // what waits for somebody to claim it
	since   int                          // the append in which it changed hands last
	full    bool
	wasFull int
}

func (o *oracle) key(doc string) *simKey {
	k := o.keys[doc]
	if k == nil {
		k = &simKey{since: -1, beside: map[int]Taken{}, from: map[string]eventlog.Position{}}
		o.keys[doc] = k
	}
	return k
}

// waits tells whether an event waits beside the document.
func (k *simKey) waits(id event.ID) bool {
	for _, in := range k.beside {
		if in.ID == id {
			return true
		}
	}
	return false
}

// crowded tells whether an event may have found too many waiting beside its document.
func (o *oracle) crowdedBeside(e *simEvent) bool {
	k := o.key(e.doc)
	return e.policy == Defer && (k.full || k.wasFull > e.known)
}

// behindClaim tells whether who has an event's document has it since before the event: it may find what the owner of the
// key's partition, which was ahead, has ignored (Policy).
func (o *oracle) behindClaim(e *simEvent) bool {
	k := o.key(e.doc)
	return k.holder != "" && e.position > k.from[e.module]
}

// had tells whether an instance has the document, or had it when what is appended now was decided.
func (o *oracle) had(i *simInstance, doc string) bool {
	return i.claims[doc] || i.gave[doc] > o.since
}

// claimed takes note of what a step claims and gives back.
func (o *oracle) claimed(key string, i *simInstance, r *Record, what string) {
	for _, k := range r.Released {
		if !i.claims[k.Key] {
			o.fail("G8: %s gives %v back, and does not have it", what, k)
		}
		delete(i.claims, k.Key)
		i.gave[k.Key] = o.appends
		o.moved[k.Key] = true
		o.happens("claim given back")
	}
	if r.Completed && len(i.claims) > 0 {
		o.fail("G8: %s completes and keeps %v", what, i.claims)
	}
	for _, k := range r.Claimed {
		if i.claims[k.Key] {
			o.fail("G8: %s claims %v, which it has", what, k)
		}
		i.claims[k.Key] = true
		o.moved[k.Key] = true
		i.from[k.Key] = map[string]eventlog.Position{}
		stood := slices.Clone(r.Marks)
		for _, s := range append(i.steps[:len(i.steps):len(i.steps)], *r) {
			if s.Birth != nil { // what had been passed then is behind it, also when cursors were lost
				stood = append(stood, s.Birth.Marks...)
			}
		}
		for _, m := range stood {
			i.from[k.Key][m.Module] = max(i.from[k.Key][m.Module], m.Position)
		}
		for m, at := range i.high { // what it took is behind it, also when cursors were lost
			i.from[k.Key][m] = max(i.from[k.Key][m], at)
		}
		o.happens("claim")
	}
	for _, refused := range r.Refused {
		by := o.instances[refused.By]
		if by == nil || !o.had(by, refused.Key) && !o.claimsNow(refused.By, refused.Key) {
			o.fail("G8: %s may not claim %q, since %q has it, which hasn't", what, refused.Key, refused.By)
		}
		i.refused[refused.ID] = true
		o.happens("claim refused")
	}
}

// claimsNow tells whether a step in the same append claims a document.
func (o *oracle) claimsNow(key, doc string) bool {
	for _, s := range o.now[key] {
		if slices.Contains(s.Record.Claimed, ClaimedKey{simDoc, doc}) {
			return true
		}
	}
	return false
}

// oneEach checks that each document that changed hands in an append is one instance's at most, and that its entry says whose.
func (o *oracle) oneEach() {
	for _, doc := range slices.Sorted(maps.Keys(o.moved)) {
		k := o.key(doc)
		k.holder, k.since = "", o.appends
		for _, key := range slices.Sorted(maps.Keys(o.instances)) {
			if !o.instances[key].claims[doc] {
				continue
			}
			if k.holder != "" {
				o.fail("G8: both %s and %s have claimed %s", k.holder, key, doc)
			}
			k.holder, k.from = key, o.instances[key].from[doc]
		}
	}
	clear(o.moved)
}

// besides takes note of what an append does with what waits beside documents; it comes behind the queues.
func (o *oracle) besides(writes []eventlog.Write) {
	o.oneEach()
	docs := map[string]bool{}
	gone := map[string]map[event.ID]Taken{}
	for _, write := range writes {
		switch x := write.(type) {
		case eventlog.Put:
			parts := eventlog.SplitKey(x.Entry.Key)
			if x.Entry.Kind != eventlog.Claim {
				continue
			}
			docs[parts[2]] = true
			if len(parts) == 3 {
				o.row(parts[2], x.Entry.Value)
				continue
			}
			var in Taken
			if err := json.Unmarshal(x.Entry.Value, &in); err != nil {
				o.fail("beside %s: %v", parts[2], err)
			}
			if e := o.byID[in.ID]; e == nil || e.doc != parts[2] || e.takenBy != "" && e.takenBy != o.key(parts[2]).holder || e.beside > 0 || e.ignored && e.takenBy == "" && !o.behindClaim(e) {
				o.fail("G8: %s waits beside %s, and was decided before, or names another", in.told(), parts[2])
				return
			}
			o.byID[in.ID].beside = o.appends
			o.key(parts[2]).beside[number(parts[3])] = in
			o.s.log("      %s waits beside %s", in.told(), parts[2])
			o.happens("waits beside its key")
		case eventlog.Delete:
			parts := eventlog.SplitKey(x.Key)
			if x.Kind != eventlog.Claim {
				continue
			}
			docs[parts[2]] = true
			in, there := o.key(parts[2]).beside[number(parts[3])]
			if !there {
				o.fail("G9: %s is removed and was not there", x.Key)
			}
			delete(o.key(parts[2]).beside, number(parts[3]))
			if gone[parts[2]] == nil {
				gone[parts[2]] = map[event.ID]Taken{}
			}
			gone[parts[2]][in.ID] = in
		}
	}
	for _, doc := range slices.Sorted(maps.Keys(docs)) {
		k := o.key(doc)
		for _, in := range gone[doc] {
			o.left(doc, k, &in)
		}
		full := len(k.beside)+len(gone[doc]) >= o.s.bounds.Most
		if full || k.full {
			k.wasFull = o.appends
		}
		k.full = len(k.beside) >= o.s.bounds.Most
	}
}

// left checks that what waits no longer beside a document was taken, or handed over, or has waited for too long (G9).
func (o *oracle) left(doc string, k *simKey, in *Taken) {
	e := o.byID[in.ID]
	switch {
	case e.takenBy != "":
	case !o.s.clock.Before(in.Time.Add(o.s.bounds.Within)) && (k.holder == "" || k.since == o.appends):
		o.happens("waited beside its key for too long")
		e.ignored = true
		o.ignored++
	case e.policy == Ignore && (k.holder == "" || k.since == o.appends): // it came behind a claim that has ended before the instance came there
		e.ignored = true
		o.ignored++
	default:
		o.fail("G9: %s waits beside %s no more, and nobody took it", in.told(), doc)
	}
}

// row checks that a document's entry says who has it, and how many wait.
func (o *oracle) row(doc string, value []byte) {
	var row claimRow
	if err := json.Unmarshal(value, &row); err != nil {
		o.fail("claim %s: %v", doc, err)
	}
	if k := o.key(doc); row.Instance != k.holder {
		o.fail("G8: by its entry %q has %s, by the steps %q", row.Instance, doc, k.holder)
	}
}

// finds checks that an event that names a document is given to who has it, once, as the first of those that wait where it
// has waited (G8).
func (o *oracle) finds(key string, i *simInstance, e *simEvent) {
	switch {
	case e.takenBy != "" && e.takenBy != key:
		o.fail("G8: %s at %d of %s is given to %s, and %s has it", e.name, e.position, e.module, key, e.takenBy)
	case e.takenBy == "" && !o.had(i, e.doc):
		o.fail("G8: %s at %d of %s is given to %s, which does not have %s", e.name, e.position, e.module, key, e.doc)
	case e.ignored && e.position <= i.from[e.doc][e.module]:
		o.fail("G8: %s at %d of %s is given to %s, and was ignored", e.name, e.position, e.module, key)
	case e.ignored && e.takenBy == "":
		// The owner of the key's partition was ahead of the instance's: it ignored what comes behind the claim, for the instance.
		o.happens("ignored, and found by a later claim")
	}
	if e.takenBy == "" {
		o.happens("found by a claimed key")
	}
	e.takenBy = key
}

// decidedBeside checks that an event that names a document, and is behind, was given to somebody, waits, or was to be ignored.
func (o *oracle) decidedBeside(e *simEvent) {
	k := o.key(e.doc)
	if e.takenBy != "" || e.ignored || k.waits(e.id) {
		return
	}
	owed := k.holder != "" && e.position > k.from[e.module] && k.since <= o.since // it was claimed when that was decided
	if owed || e.policy != Ignore && !o.crowdedBeside(e) {
		o.fail("G9: %s at %d of %s was passed, and nobody took it; %q has %s", e.name, e.position, e.module, k.holder, e.doc)
	}
	o.s.log("      %s %d of %s is ignored: nobody has %s", e.name, e.position, e.module, e.doc)
	e.ignored = true
	o.ignored++
}

// owed checks that who has a document was given everything that names it, behind the claim and up to where its partition is.
func (o *oracle) owed(module string, partition int, from, to eventlog.Position) {
	for n := range o.events[module] {
		e := o.events[module][n]
		if e.doc == "" || e.position <= from || e.position > to {
			continue
		}
		k := o.key(e.doc)
		if k.holder != "" && consumer.Partition(k.holder, len(o.owners)) == partition && e.position > k.from[module] && e.takenBy == "" && !e.ignored {
			o.fail("G9: %s at %d of %s was passed by %s, which has %s, and not taken; %q has it", e.name, e.position, e.module, k.holder, e.doc, e.takenBy)
		}
	}
}

// nothingWaits checks, in the end, that nothing waits beside a document, and that every refusal was taken.
func (o *oracle) nothingWaits() {
	for _, doc := range slices.Sorted(maps.Keys(o.keys)) {
		if k := o.keys[doc]; len(k.beside) > 0 {
			o.fail("G9: %d inputs wait beside %s at the end, and %q has it", len(k.beside), doc, k.holder)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.instances)) {
		if n := len(o.instances[key].refused); n > 0 {
			o.fail("G9: %s was not told of %d claims that were refused", key, n)
		}
	}
	for e, err := range o.s.logs["home"].Entries(context.Background(), eventlog.EntryQuery{Kind: eventlog.Claim}) {
		if err != nil {
			o.fail("entries: %v", err)
		}
		if parts := eventlog.SplitKey(e.Key); len(parts) == 3 {
			o.row(parts[2], e.Value)
		}
	}
}

// waitsUntil returns when what waits beside documents that nobody has has waited for too long.
func (o *oracle) waitsUntil(do func(time.Time)) {
	for _, k := range o.keys {
		for _, in := range k.beside {
			do(in.Time.Add(o.s.bounds.Within))
		}
	}
}

// simAsRecorded is the world of a step that is decided again: keys are had, and the process stands, as its record says.
type simAsRecorded struct {
	world
	rec *Record
}

func (w simAsRecorded) holder(k ClaimedKey) (string, error) {
	for _, r := range w.rec.Refused {
		if r.key() == k {
			return r.By, nil
		}
	}
	return "", nil
}

func (w simAsRecorded) stands(string) []Mark { return w.rec.Marks }
