package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
)

// trial is one instance on two ways: as it is recorded, and as the candidate takes it.
type trial struct {
	*backtest
	was     *Instance // as it is recorded; with its state only where that is compared
	is      *Instance // as the candidate has it
	open    []Sent    // what the candidate sent and no outcome came for
	waiting []Taken   // deferred by the candidate until the instance starts
	steps   int
	failed  bool                // the candidate's instance stands aside
	blind   bool                // the recorded state cannot be known
	diff    *InstanceDifference // from the first step that differs
	notes   []string
	refused map[ClaimedKey]string // claims that were refused as it is recorded, and who had the key
	tried   map[ClaimedKey]bool   // those of them that the candidate tried
}

func (b *backtest) newTrial(key string) *trial {
	return &trial{backtest: b, refused: map[ClaimedKey]string{}, tried: map[ClaimedKey]bool{}, was: b.e.home.NewInstance(key),
		is: &Instance{Process: b.e.home.name, Key: key, State: b.def.state.zero()}}
}

// decided is what a step decided, in what can be compared.
type decided struct {
	sent      []Sent
	set       []Timer
	cancelled []string
	emitted   []event.Event
	completed bool
	failed    error
	left      string // why the input was not taken
}

// step takes one recorded step: first the timeouts that only the candidate has, then its input.
func (t *trial) step(s *RecordedStep) {
	t.steps++
	for n := range s.Refused {
		t.refused[s.Refused[n].key()] = s.Refused[n].By
	}
	for _, k := range s.Claimed {
		delete(t.refused, k)
	}
	if !t.failed {
		t.fireVirtual(s.Input.Time)
	}
	for !t.failed && !s.Resumed { // what the recorded instance had not deferred, or takes up later
		in, got, ok := t.settle(event.ID{})
		if !ok {
			break
		}
		t.compare(&in, &decided{}, &got)
	}
	if !t.failed {
		in := s.Input
		got := t.given(s, &in)
		was := decided{sent: s.Sent, set: s.Set, cancelled: s.Cancelled, emitted: s.emitted, completed: s.Completed}
		t.compare(&in, &was, &got)
	}
	if !t.compares || t.blind {
		t.was.note(&s.Record)
	} else if err := t.e.home.Replay(t.was, &s.Record); err != nil {
		t.blind = true
		t.note("the recorded state cannot be read: %v", err)
	}
}

// given gives the candidate the input of a recorded step.
func (t *trial) given(s *RecordedStep, in *Taken) decided {
	if !s.Resumed {
		return t.take(in, s.Birth)
	}
	if _, got, ok := t.settle(in.ID); ok {
		return got
	}
	return decided{left: "the candidate had not deferred it up to there"}
}

// fireVirtual lets the candidate's timeouts fire that were due by an instant and that the recorded instance did not have.
func (t *trial) fireVirtual(upTo time.Time) {
	for n := 0; !t.failed; n++ {
		timer, ok := t.virtual(upTo)
		if !ok {
			return
		}
		in := timer.input()
		if n == restless {
			t.fail(&in, fmt.Errorf("the candidate does not come to rest: %d timeouts that are not recorded, up to %s", n, upTo.Format(time.RFC3339Nano)))
			return
		}
		t.note("timeout %q, due %s, is not recorded; it fires virtually", timer.Name, timer.Due.Format(time.RFC3339Nano))
		got := t.take(&in, nil)
		t.compare(&in, &decided{}, &got)
	}
}

func (t *trial) virtual(upTo time.Time) (first Timer, ok bool) {
	for _, timer := range t.is.Timers {
		if timer.Type == deferredTimeout || timer.Due.After(upTo) || ok && !timer.Due.Before(first.Due) {
			continue
		}
		if slices.ContainsFunc(t.was.Timers, func(same Timer) bool { return t.timeout(same.Name) == timer.Name && same.Due.Equal(timer.Due) }) {
			continue // the recorded one was still to come: its firing is recorded, or is to come
		}
		first, ok = timer, true
	}
	return first, ok
}

// take gives the candidate an input, as the engine would.
func (t *trial) take(in *Taken, birth *Birth) decided {
	switch in.Kind {
	case EventInput:
		return t.takeEvent(in, birth)
	case TimeoutInput:
		timer, set := t.is.timer(t.timeout(in.Name))
		if in.Type == deferredTimeout {
			return decided{left: "it bounds how long an input is deferred"}
		}
		if !set || !timer.Due.Equal(in.Time) {
			return decided{left: "the candidate had not set it for that instant"}
		}
		*in = timer.input() // with what the candidate put into it
		return t.decode(in)
	case ClaimInput:
		return t.takeRefusal(in)
	default:
		k := slices.IndexFunc(t.open, func(s Sent) bool { return s.Type == t.command(in.Type) && samePayload(s.Data, in.Data) })
		if k < 0 {
			return decided{left: "the candidate had not sent the command"}
		}
		in.Command = t.open[k].ID
		t.open = slices.Delete(t.open, k, k+1)
		if in.Kind != FailedInput && !t.is.awaits(in) && t.router.outcomes[outcomeKey{in.Kind, in.Type}] == nil {
			return decided{left: "the candidate does not handle it"}
		}
		return t.decode(in)
	}
}

func (t *trial) decode(in *Taken) decided {
	handlings, err := t.router.decodeFor(t.is, in)
	if err != nil {
		return decided{failed: err}
	}
	return t.offer(in, nil, handlings)
}

func (t *trial) takeEvent(in *Taken, birth *Birth) decided {
	handlings, err := t.router.decode(in)
	var keys []string
	if err == nil && len(handlings) > 0 {
		keys, err = t.router.locate(in, handlings)
	}
	var claims []ClaimedKey
	if err == nil {
		claims, err = t.router.claims(in, handlings)
	}
	found := slices.Contains(keys, t.is.Key) || slices.ContainsFunc(claims, func(k ClaimedKey) bool { return slices.Contains(t.is.Claims, k) })
	if err == nil && found {
		handlings, err = t.router.concerning(t.is, in, handlings)
	}
	switch {
	case err != nil:
		return decided{failed: err}
	case len(handlings) == 0:
		return decided{left: "the candidate does not handle it"}
	case !found && len(claims) > 0:
		return decided{left: fmt.Sprintf("the candidate has not claimed %v", claims)}
	case !found:
		return decided{left: fmt.Sprintf("the candidate locates %q by it", keys)}
	}
	return t.offer(in, birth, handlings)
}

// takeRefusal gives the candidate the refusal of a claim, if it tried to claim the key as well.
func (t *trial) takeRefusal(in *Taken) decided {
	var c ClaimTaken
	if err := json.Unmarshal(in.Data, &c); err != nil {
		return decided{failed: err}
	}
	switch {
	case !t.tried[ClaimedKey{c.Name, c.Key}]:
		return decided{left: "the candidate had not claimed the key"}
	case t.router.refused[in.Type] == nil:
		return decided{left: "the candidate does not handle it"}
	}
	return t.decode(in)
}

// trialWorld is the world of a candidate's step: a key is taken where it was for the recorded instance.
type trialWorld struct {
	*Engine
	trial *trial
}

func (w trialWorld) holder(k ClaimedKey) (string, error) {
	by := w.trial.refused[k]
	w.trial.tried[k] = w.trial.tried[k] || by != ""
	return by, nil
}

// offer follows the candidate's choice for an input, as the engine does.
func (t *trial) offer(in *Taken, recorded *Birth, handlings []handling) decided {
	policy, phase, err := t.def.fate(t.is, in, handlings)
	switch {
	case err != nil:
		return decided{failed: err}
	case policy == Handle && phase == PhaseNone:
		return t.start(in, recorded, handlings)
	case policy == Handle:
		return t.decide(in, nil, handlings)
	case policy == Hold:
		return decided{failed: &UnexpectedError{Phase: phase}}
	case policy == Defer && phase == PhaseNone:
		t.waiting = append(t.waiting, *in)
		return decided{left: "the candidate defers it: its instance has not started"}
	case policy == Defer:
		rec, err := t.def.postpone(t.is, in)
		if err != nil {
			return decided{failed: err}
		}
		t.is.note(rec)
		return decided{left: fmt.Sprintf("the candidate defers it in phase %q", phase)}
	case phase == PhaseNone:
		return decided{left: "the candidate ignores it: its instance has not started"}
	case phase == PhaseCompleted:
		return decided{left: "the candidate's instance is completed"}
	default:
		return decided{left: fmt.Sprintf("the candidate ignores it in phase %q", phase)}
	}
}

// settle takes up what the candidate deferred and whose phase has come; only the input of that id, unless it is zero.
func (t *trial) settle(id event.ID) (in Taken, got decided, ok bool) {
	first, facts, policy, phase, err := t.router.settling(t.is)
	switch {
	case err != nil && first != nil:
		return *first, decided{failed: err}, true
	case first == nil || !id.IsZero() && first.ID != id:
		return in, got, false
	}
	in = *first
	switch policy {
	case Handle:
		rec, s, err := t.def.resume(trialWorld{t.e, t}, t.is, &in, facts)
		if err != nil {
			return in, decided{failed: err}, true
		}
		return in, t.took(rec, s), true
	case Hold:
		return in, decided{failed: &UnexpectedError{Phase: phase}}, true
	default:
		t.is.note(ignoring(&in, ignoredRule(t.is, phase, facts)))
		return in, decided{left: fmt.Sprintf("the candidate ignores it in phase %q", phase)}, true
	}
}

// start begins the candidate's instance, and gives it what it deferred.
func (t *trial) start(in *Taken, recorded *Birth, handlings []handling) decided {
	birth := &Birth{Incarnation: t.is.Incarnation + 1}
	if recorded != nil {
		birth.Marks = recorded.Marks
	}
	got := t.decide(in, birth, handlings)
	waiting := t.waiting
	t.waiting = nil
	for n := range waiting {
		if got.failed != nil || t.is.Status != Running {
			break
		}
		more := t.takeEvent(&waiting[n], nil)
		got.sent, got.set, got.cancelled = append(got.sent, more.sent...), append(got.set, more.set...), append(got.cancelled, more.cancelled...)
		got.emitted, got.completed, got.failed = append(got.emitted, more.emitted...), more.completed, more.failed
	}
	return got
}

// decide computes a step of the candidate.
func (t *trial) decide(in *Taken, birth *Birth, handlings []handling) decided {
	rec, s, err := t.def.step(trialWorld{t.e, t}, t.is, in, birth, handlings)
	if err != nil {
		return decided{failed: err}
	}
	return t.took(rec, s)
}

// took returns what a step of the candidate decided.
func (t *trial) took(rec *Record, s *Step) decided {
	t.open = append(t.open, rec.Sent...)
	return decided{sent: rec.Sent, set: rec.Set, cancelled: rec.Cancelled, emitted: s.emitted, completed: rec.Completed}
}

// compare notes where a step differs. The first one that does is described.
func (t *trial) compare(in *Taken, was, got *decided) {
	if got.failed != nil {
		t.fail(in, got.failed)
		return
	}
	list := differences(t.today(was), got)
	if got.left != "" && t.diff != nil {
		t.note("%s is left out: %s", in.describe(), got.left)
	}
	if len(list) == 0 {
		return
	}
	for n := range list {
		if d := &list[n]; d.What == DifferentCommand && d.Recorded == nil && t.awaits(d.Name) {
			t.note("the outcome of command %q is not known: it was never sent", d.Name)
		}
	}
	t.differs(in, list, got.left)
}

// awaits tells whether the candidate handles outcomes of commands of that name.
func (t *trial) awaits(name string) bool {
	return t.router.outcomes[outcomeKey{RejectedInput, name}] != nil || t.router.outcomes[outcomeKey{AcceptedInput, name}] != nil
}

// fail notes that the candidate's instance stands aside.
func (t *trial) fail(in *Taken, err error) {
	t.failed = true
	var step *StepError
	if errors.As(err, &step) {
		err = step.Err
	}
	t.differs(in, []Difference{{What: DifferentError, Error: err.Error()}}, "")
	if t.diff.Step != t.steps {
		t.note("%s fails: %v", in.describe(), err)
	}
}

func (t *trial) differs(in *Taken, list []Difference, left string) {
	if t.diff != nil {
		return
	}
	t.diff = &InstanceDifference{Instance: t.is.Key, Step: t.steps, Input: in.describe(), Time: in.Time, Left: left, Differences: list}
}

// noteMost is how many notes an instance has at most.
const noteMost = 20

func (t *trial) note(format string, args ...any) {
	if len(t.notes) < noteMost {
		t.notes = append(t.notes, fmt.Sprintf(format, args...))
	}
}

// end returns how the instance differs, if it does.
func (t *trial) end() *InstanceDifference {
	state := t.states()
	if t.diff == nil {
		if state == nil {
			return nil
		}
		t.diff = &InstanceDifference{Instance: t.is.Key}
	}
	t.diff.Recorded, t.diff.Candidate, t.diff.State, t.diff.Notes = t.was.Status, t.is.Status, state, t.notes
	return t.diff
}

// states returns the last state on both ways, where they can be compared and are different.
func (t *trial) states() *StateDifference {
	if !t.compares || t.blind || t.failed {
		return nil
	}
	was, err := json.Marshal(t.was.State)
	is, other := json.Marshal(t.is.State)
	if err = errors.Join(err, other); err != nil {
		t.note("states are not compared: %v", err)
		return nil
	}
	if samePayload(was, is) {
		return nil
	}
	return &StateDifference{Recorded: was, Candidate: is}
}
