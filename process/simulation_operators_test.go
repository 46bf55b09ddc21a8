package process

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ask writes requests of an operator, as Operate does. Nobody waits for the answers but the oracle.
func (s *simulation) ask(requests ...request) {
	var writes []eventlog.Write
	for n := range requests {
		r := &requests[n]
		s.asked++
		r.id = event.DeriveID("request", fmt.Sprint(s.options.seed), fmt.Sprint(s.asked))
		r.At, r.By = event.Micro(s.clock), "operator"
		w, err := r.put("sim")
		if err != nil {
			panic(err)
		}
		writes = append(writes, w)
	}
	if _, err := s.logs["home"].Append(context.Background(), writes...); err != nil {
		panic(err)
	}
	s.oracle.appended(nil, writes)
}

// holdings returns what stands aside and what waits.
func (s *simulation) holdings() (all []Holding) {
	for h, err := range Holdings(context.Background(), s.logs["home"], "sim") {
		if err != nil {
			s.oracle.fail("entries: %v", err)
		}
		all = append(all, h)
	}
	return all
}

func aboutHold(h *Holding) *about { return &about{Since: h.Since, Input: h.InputID} }

// operate has an operator decide on some instance: mostly on one that stands aside.
func (s *simulation) operate() string {
	r := request{Action: actions[s.rng.IntN(len(actions))], Reason: fmt.Sprint("reason ", s.asked)}
	holds := slices.DeleteFunc(s.holdings(), func(h Holding) bool { return h.Condition != Held && h.Condition != Retrying && s.rng.IntN(4) > 0 })
	if len(holds) > 0 && s.rng.IntN(4) > 0 {
		h := &holds[s.rng.IntN(len(holds))]
		r.Instance, r.About = h.Instance, aboutHold(h)
	} else {
		r.Instance = s.key()
		if r.Action != ActHold && s.rng.IntN(4) > 0 {
			return ""
		}
	}
	if r.Action == ActReplace {
		if r.Data = s.corrected(r.Instance, r.About); r.Data == nil {
			return ""
		}
	}
	s.ask(r)
	return fmt.Sprintf("an operator wants %s of %s, %s", r.Action, r.Instance, r.Data)
}

// corrected returns another payload for the input that an instance stands aside with; nil where there is none.
func (s *simulation) corrected(instance string, a *about) json.RawMessage {
	if a == nil {
		return nil
	}
	i := s.oracle.instance(instance)
	for _, in := range slices.Concat(slices.Collect(maps.Values(i.queue)), i.kept) {
		if in.ID != a.Input {
			continue
		}
		switch {
		case s.rng.IntN(6) == 0:
			return json.RawMessage(`{"N": "no number", "code": 5}`)
		case in.Kind == AcceptedInput:
			return json.RawMessage(fmt.Sprintf("%q", fmt.Sprint("corrected ", s.asked)))
		case in.Kind == RejectedInput:
			return json.RawMessage(fmt.Sprintf(`{"code":"corrected %d"}`, s.asked))
		}
		return simOther(in.Data, s.asked)
	}
	for _, t := range i.timers {
		if t.ID == a.Input && t.Type != deferredTimeout {
			return simOther(t.Data, s.asked)
		}
	}
	return nil
}

// simOther returns a payload with another number.
func simOther(data []byte, n int) json.RawMessage {
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil
	}
	if _, has := fields["N"]; has {
		fields["N"] = 1000 + n
	}
	other, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return other
}

// simRequest is what the oracle knows of a request.
type simRequest struct {
	request
	answered bool
	input    event.ID // what had failed
}

// answers takes note of what an append asks for, or answers. Each request is answered once, by what it finds.
func (o *oracle) answers(writes []eventlog.Write) {
	o.done = map[string][]*simRequest{}
	gone, answered := 0, 0
	for _, write := range writes {
		switch x := write.(type) {
		case eventlog.Put:
			parts := eventlog.SplitKey(x.Entry.Key)
			if x.Entry.Kind != eventlog.Request {
				continue
			}
			id, _ := event.ParseID(parts[len(parts)-1])
			if parts[1] == "asked" {
				r := &simRequest{}
				if err := json.Unmarshal(x.Entry.Value, &r.request); err != nil {
					o.fail("request: %v", err)
				}
				r.id, o.requests[id] = id, r
				continue
			}
			answered++
			var a answer
			if err := json.Unmarshal(x.Entry.Value, &a); err != nil || o.requests[id] == nil {
				o.fail("answer: %v", err)
				return
			}
			o.answer(o.requests[id], &a)
		case eventlog.Delete:
			if x.Kind == eventlog.Request && eventlog.SplitKey(x.Key)[1] == "asked" {
				gone++
			}
		}
	}
	if gone != answered {
		o.fail("G9: %d requests went, and %d were answered", gone, answered)
	}
}

// answer checks that a request was carried out where that is possible, and else not.
func (o *oracle) answer(r *simRequest, a *answer) {
	want := o.answerTo(r)
	o.s.log("      %s of %s: %q %s", r.Action, r.Instance, a.Reason, a.Detail)
	switch {
	case r.answered:
		o.fail("G9: %s of %s was answered twice", r.Action, r.Instance)
	case a.Reason != want && (want != "" || r.Action != ActSkip && r.Action != ActReplace):
		o.fail("G9: %s of %s: %q, want %q", r.Action, r.Instance, a.Reason, want)
	}
	r.answered, r.input = true, o.holds[r.Instance].InputID
	what := "operator: " + string(r.Action)
	if a.Reason == "" {
		o.done[r.Instance] = append(o.done[r.Instance], r)
	} else {
		what += ", and " + a.Reason
	}
	o.happens(what)
}

// answerTo returns why a request cannot be carried out: what an append finds is what there was before it.
func (o *oracle) answerTo(r *simRequest) string {
	h, held := o.holds[r.Instance]
	i := o.instance(r.Instance)
	aside := held && h.Condition != Waiting
	switch {
	case r.About != nil && (!held || !h.Since.Equal(r.About.Since) || h.InputID != r.About.Input):
		return "stale"
	case r.Action == ActHold && aside:
		return ""
	case r.Action == ActHold && i.status == New, r.Action == ActCancel && i.status == New && !held:
		return "no instance"
	case (r.Action == ActHold || r.Action == ActCancel) && i.status == Completed:
		return "completed"
	case r.Action == ActCancel && i.compensating:
		return "impossible"
	case r.Action == ActHold, r.Action == ActCancel:
		return ""
	case !aside:
		return "not held"
	case r.Action != ActResume && h.InputID.IsZero():
		return "nothing failed"
	}
	return ""
}

// asked returns the request of an action that an append carries out for an instance; nil where there is none.
func (o *oracle) asked(key string, a Action) *simRequest {
	for _, r := range o.done[key] {
		if r.Action == a {
			return r
		}
	}
	return nil
}

// operated checks what only an operator can have wanted. It tells whether that is all there is to a record (G9).
func (o *oracle) operated(key string, i *simInstance, r *Record, what string) (all bool) {
	in := &r.Input
	skip, cancel, replace := o.asked(key, ActSkip), o.asked(key, ActCancel), o.asked(key, ActReplace)
	if h, held := o.holds[key]; held && h.Condition == Held && len(o.done[key]) == 0 {
		o.fail("G9: %s, and it is held", what)
	}
	switch {
	case r.Corrected:
		if replace == nil || in.ID != replace.input {
			o.fail("G9: %s was corrected, and nobody wanted that", what)
			return true
		}
		o.replaced[refused{key, in.ID}] = string(replace.Data)
		o.happens("a timeout or a deferred input replaced")
		if t, set := i.timers[in.Name]; set && t.ID == in.ID {
			t.Data = in.Data
			i.timers[in.Name] = t
		}
		if k := slices.IndexFunc(i.kept, func(kept Taken) bool { return kept.ID == in.ID }); k >= 0 {
			i.kept[k] = *in
		}
		return true
	case in.Kind == OperatorInput:
		if cancel == nil || cancel.id != in.ID {
			o.fail("G9: %s, and nobody wanted that", what)
		}
		i.cancelled = true
	case strings.HasPrefix(r.Ignored, "skipped: "):
		if skip == nil || r.Ignored != "skipped: "+skip.Reason || r.Why != skip.Reason || r.Operator != skip.By || in.ID != skip.input && !r.Resumed {
			o.fail("G9: %s was ignored: %q, and nobody wanted that", what, r.Ignored)
		}
		o.happens(fmt.Sprintf("%v skipped", in.Kind))
		if sent := o.sent[in.Command]; in.isOutcome() && sent != nil && sent.Undoes > 0 {
			i.commands[sent.Undoes-1].leftAlone = true
			o.happens("undo skipped")
		}
	case r.Ignored == "cancelled":
		if !i.cancelled {
			o.fail("G9: %s was ignored, and nobody cancelled it", what)
		}
	default:
		return false
	}
	if r.Resumed {
		k := slices.IndexFunc(i.kept, func(kept Taken) bool { return kept.ID == in.ID })
		if k < 0 {
			o.fail("G8: %s was taken up, and had not been deferred", what)
			return false
		}
		i.kept = slices.Delete(i.kept, k, k+1)
	}
	return false
}

// byOperator tells whether an operator decided on the input of a record, and no declared choice.
func (r *Record) byOperator() bool {
	return r.Input.Kind == OperatorInput || strings.HasPrefix(r.Ignored, "skipped: ") || r.Ignored == "cancelled"
}

// payloadIs checks that an input holds what its log does, or what an operator put there.
func (o *oracle) payloadIs(key string, in *Taken, data []byte) {
	other, replaced := o.replaced[refused{key, in.ID}]
	if (in.Replaced != nil) != replaced || !replaced && string(in.Data) != string(data) || replaced && string(in.Data) != other {
		o.fail("G9: %s: %s holds %s; it was %s, replaced: %v %s", key, in.told(), in.Data, data, replaced, other)
	}
	if replaced {
		o.happens("a replaced input taken")
	}
}

// rewritten checks that an input in a queue is only changed as an operator wants it.
func (o *oracle) rewritten(key string, was, in *Taken) {
	resume, replace := o.asked(key, ActResume), o.asked(key, ActReplace)
	switch {
	case in.ID != was.ID || in.Kind != was.Kind || in.Position != was.Position:
		o.fail("G9: %s in the queue of %s became %s", was.told(), key, in.told())
	case in.Again && !was.Again && resume != nil && in.told() == was.told():
	case in.Replaced != nil && replace != nil && replace.input == in.ID:
		o.replaced[refused{key, in.ID}] = string(replace.Data)
		o.happens(fmt.Sprintf("%v replaced", in.Kind))
	default:
		o.fail("G9: %s in the queue of %s became %s, and nobody wanted that", was.told(), key, in.told())
	}
}

// leftOut tells whether an input that waited for an instance was left out since an operator wants it.
func (o *oracle) leftOut(key string, i *simInstance, number int, in *Taken) bool {
	if skip := o.asked(key, ActSkip); skip != nil && skip.input == in.ID {
		o.happens("a birth skipped")
		return true
	}
	// The birth that it queued behind was left out.
	unborn := i.status == New || i.born == o.appends
	return unborn && (number <= i.dropTo || o.byID[in.ID] != nil && o.byID[in.ID].policy == Ignore)
}

// aside takes note of what stands aside behind an append.
func (o *oracle) aside(writes []eventlog.Write) {
	for _, write := range writes {
		switch x := write.(type) {
		case eventlog.Put:
			if x.Entry.Kind == eventlog.Hold {
				var h Holding
				if err := json.Unmarshal(x.Entry.Value, &h); err != nil {
					o.fail("hold: %v", err)
				}
				o.holds[eventlog.SplitKey(x.Entry.Key)[1]] = h
			}
		case eventlog.Delete:
			if x.Kind == eventlog.Hold {
				delete(o.holds, eventlog.SplitKey(x.Key)[1])
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.done)) {
		for _, r := range o.done[key] {
			switch h, held := o.holds[key]; {
			case r.Action == ActHold && (!held || h.Condition != Held || h.Reason != r.Reason):
				o.fail("G9: an operator holds %s, and it is %+v", key, h)
			case r.Action != ActHold && held && h.Condition == Held:
				o.fail("G9: an operator wants %s of %s, and it is held", r.Action, key)
			}
		}
	}
}

// allAnswered checks, in the end, that every request was answered.
func (o *oracle) allAnswered() {
	for _, r := range o.requests {
		if !r.answered {
			o.fail("G9: %s of %s was not answered", r.Action, r.Instance)
		}
	}
}
