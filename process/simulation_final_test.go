package process

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/command"
)

// turned compares an instance in a worker's memory, of those that took a step, with what is read again (G13).
func (o *oracle) turned(changes []Change) {
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
	both := 0 // what an instance took that claimed its key just then may have been ignored by the key's owner (Policy)
	for _, m := range simModules {
		for n := range o.events[m] {
			e := o.events[m][n]
			if e.doc != "" {
				if e.takenBy != "" && !e.ignored && e.policy == Ignore {
					both++
				}
				o.decidedBeside(e)
				continue
			}
			for _, key := range e.keys {
				o.decided(key, e)
			}
			if len(e.keys) == 0 && e.policy != 0 {
				o.ignored++
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.instances)) {
		o.finally(key)
	}
	o.nothingWaits()
	o.allAnswered()
	counts, err := Ignored(context.Background(), o.s.logs["home"], "sim")
	if err != nil {
		o.fail("ignored: %v", err)
	}
	counted := 0
	for _, n := range counts {
		counted += int(n)
	}
	if counted < o.ignored || counted > o.ignored+both {
		o.fail("G9: %d inputs were ignored without an instance, and %d were counted: %v", o.ignored, counted, counts)
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
	if len(i.kept) > 0 {
		o.fail("G9: %s still defers %v at the end", key, simKept(i.kept))
	}
	if len(i.pending) > 0 || len(i.timers) > 0 {
		o.fail("%s has %d commands without outcome and %d timeouts at the end", key, len(i.pending), len(i.timers))
	}
	loaded := o.load(key)
	if loaded == nil {
		return
	}
	o.undoneAll(key, i)
	plain := o.home.NewInstance(key)
	var seen []string
	for n := range i.steps {
		rec := &i.steps[n]
		if rec.Ignored != "" || rec.Deferred || rec.Corrected || rec.Input.Kind == OperatorInput {
			plain.note(rec)
			continue
		}
		in := rec.Input
		evolves := !plain.Compensating
		handlings, err := o.home.router.decodeFor(plain, &in)
		if err != nil {
			o.fail("%s: %v", key, err)
			return
		}
		var again *Record
		if rec.Resumed {
			again, _, err = o.home.def.resume(simAsRecorded{o.world, rec}, plain, &in, handlings)
		} else {
			again, _, err = o.home.def.step(simAsRecorded{o.world, rec}, plain, &in, rec.Birth, handlings)
		}
		if err != nil || toJSON(again) != toJSON(rec) {
			o.fail("%s decided %s, and decides %s again (%v)", key, toJSON(rec), toJSON(again), err)
			return
		}
		if evolves {
			seen = append(seen, in.Type)
		}
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
