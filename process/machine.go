package process

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
)

// Machine runs a definition in memory, over inputs that are given as Go values: no log, no store, no clock but the
// instants of the inputs, no goroutine. It decides with the same steps as an Engine, so it says what an engine would
// have done; package processtest is made of it. A Machine is for one goroutine.
//
// Time is virtual: before an input of instant t, every timeout due up to t fires (G11), and Advance lets time pass
// without one. Events that the process emits and handles itself come back to it, as they do from its home log.
type Machine struct {
	def       *Definition
	router    *router
	options   MachineOptions
	now       time.Time
	still     int // inputs of its own making since the clock moved
	most      int // of these
	modules   map[string]*machineModule
	instances map[string]*machineInstance
	made      uint64 // ids made up
	soon      dues
	claims    map[ClaimedKey]*machineClaim
	back      []machineInput // emitted, and handled by the process itself
	sent      []sentCommand
	decisions []Decision
	effects   []Effect       // of the step that is being computed
	undos     map[string]any // commands that undo others, by type and payload
	about     any            // the command whose outcome was given last
}

// MachineOptions change how a machine runs. The zero value is useful.
type MachineOptions struct {
	Start   time.Time // where the clock stands at first; default MachineStart
	Home    string    // the module that the process lives in; needed only where On.Module names it
	Carried []string  // headers that go from input to command to event
	Replay  bool      // an event's instant is when it occurred, as by the replay clock
	Verify  bool      // evolve everything a second time, as reading history does, and fail where that leads to another state
}

// MachineStart is where a machine's clock stands at first, unless it is told otherwise.
var MachineStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// machineInstance is an instance with what an engine keeps beside it.
type machineInstance struct {
	Instance
	again   *Instance      // evolved a second time
	waiting []machineInput // deferred until it starts, or until it claimed a key; it is to take them next
	failed  bool           // it stands aside
}

// machineInput is an event with what handles it.
type machineInput struct {
	taken     Taken
	handlings []handling
}

// sentCommand is a command whose outcome the definition handles and that has none yet.
type sentCommand struct {
	instance string
	value    any
	sent     Sent
}

// NewMachine returns a machine without instances. The mistakes of the definition are those of Definition.Check.
func NewMachine(def Definition, o MachineOptions) (*Machine, error) {
	def, err := def.ready()
	if err != nil {
		return nil, err
	}
	if o.Start.IsZero() {
		o.Start = MachineStart
	}
	r, err := newRouter(&def, nil, func(t reflect.Type) ([]string, error) { return []string{t.String()}, nil })
	if err != nil {
		return nil, err
	}
	return newMachine(&def, r, o), nil
}

func newMachine(def *Definition, r *router, o MachineOptions) *Machine {
	return &Machine{def: def, router: r, options: o, now: event.Micro(o.Start), most: restless, modules: map[string]*machineModule{}, instances: map[string]*machineInstance{}, undos: map[string]any{}, claims: map[ClaimedKey]*machineClaim{}}
}

// Now returns where the clock stands.
func (m *Machine) Now() time.Time { return m.now }

// Keys returns the keys of all instances that were started, sorted.
func (m *Machine) Keys() []string {
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(m.instances)), func(key string) bool { return m.instances[key].Status == New })
	slices.Sort(keys)
	return keys
}

// Instance returns an instance as it is now; false where none was started. It must not be changed.
func (m *Machine) Instance(key string) (Instance, bool) {
	x := m.instances[key]
	if x == nil || x.Status == New {
		return Instance{Process: m.def.name, Key: key, State: m.def.state.zero()}, false
	}
	return x.Instance, true
}

// Waiting returns how many inputs are deferred until an instance with the key starts.
func (m *Machine) Waiting(key string) int {
	if x := m.instances[key]; x != nil {
		return len(x.waiting)
	}
	return 0
}

// Give lets an event happen and returns what was decided, in order. Of the errors, an *UnhandledError changes nothing.
// After a *StepError its instance stands aside and the others go on.
func (m *Machine) Give(f Fact) ([]Decision, error) {
	in, err := m.input(f)
	if err != nil {
		return nil, err
	}
	at := in.taken.Time
	if at.Before(m.now) {
		at = m.now
	}
	err = m.pass(at)
	m.place(&in.taken)
	err = errors.Join(err, m.event(&in))
	return m.decided(errors.Join(err, m.pass(at)))
}

// Advance lets time pass and returns what was decided by the timeouts that fired. Back in time is no change.
func (m *Machine) Advance(to time.Time) ([]Decision, error) {
	return m.decided(m.pass(event.Micro(to)))
}

// Reject tells the process that a command was refused that it sent: the oldest one that is equal to cmd and has no
// outcome yet. Where there is none, the error is a *NotSentError.
func (m *Machine) Reject(cmd any, r *command.Rejection) ([]Decision, error) {
	return m.outcome(Taken{Kind: RejectedInput, Rejection: r}, cmd, nil)
}

// Accept tells the process that a command took effect that it sent: the oldest one that is equal to cmd and has no
// outcome yet. A nil result is the zero one. Where there is no such command, the error is a *NotSentError.
func (m *Machine) Accept(cmd, result any) ([]Decision, error) {
	return m.outcome(Taken{Kind: AcceptedInput}, cmd, result)
}

// Fail tells the process that a command was given up that it sent: the oldest one that is equal to cmd and has no outcome
// yet. Where there is none, the error is a *NotSentError.
func (m *Machine) Fail(cmd any, reason string) ([]Decision, error) {
	return m.outcome(Taken{Kind: FailedInput, Reason: reason}, cmd, nil)
}

// Expire tells the process that a command came past its deadline, as Fail does. The clock need not have passed the
// deadline, nor the command have one: what the receiver's clock shows is not known here.
func (m *Machine) Expire(cmd any) ([]Decision, error) {
	return m.outcome(Taken{Kind: FailedInput, Reason: "it came past its deadline", Expired: true}, cmd, nil)
}

func (m *Machine) decided(err error) ([]Decision, error) {
	all := m.decisions
	m.decisions = nil
	return all, err
}

// pass moves the clock to an instant. On the way, timeouts fire and emitted events come back, in the order of their
// instants; of the same instant, timeouts go first.
func (m *Machine) pass(to time.Time) error {
	var errs []error
	for {
		next := to
		if len(m.back) > 0 {
			next = m.back[0].taken.Time
		}
		switch {
		case len(m.soon) > 0 && !m.soon[0].at.After(next):
			errs = append(errs, m.fire(heap.Pop(&m.soon).(due)))
		case len(m.back) > 0:
			in := m.back[0]
			m.back = m.back[1:]
			errs = append(errs, m.event(&in))
		default:
			m.moveTo(to)
			return errors.Join(errs...)
		}
		if m.still++; m.still > m.most {
			return errors.Join(append(errs, fmt.Errorf("process %q does not come to rest: %d inputs of its own making at %s", m.def.name, m.still, m.now.Format(time.RFC3339Nano)))...)
		}
	}
}

// restless is how many inputs of its own making a process may take at one instant, more by ten for each instance.
const restless = 10_000

func (m *Machine) moveTo(at time.Time) {
	if at.After(m.now) {
		m.now, m.still, m.most = at, 0, restless+10*len(m.instances)
	}
}

// event gives an event to the instances that it concerns.
func (m *Machine) event(in *machineInput) error {
	m.moveTo(in.taken.Time)
	keys, err := m.router.locate(&in.taken, in.handlings)
	if err != nil {
		return err
	}
	claims, err := m.router.claims(&in.taken, in.handlings)
	if err != nil {
		return err
	}
	if len(keys) == 0 && len(claims) == 0 {
		m.decide("", in, VerdictNoKey)
		return nil
	}
	var errs []error
	for _, key := range keys {
		errs = append(errs, m.give(key, in))
	}
	for _, k := range claims {
		errs = append(errs, m.giveClaimed(k, in))
	}
	return errors.Join(errs...)
}

func (m *Machine) instance(key string) *machineInstance {
	x := m.instances[key]
	if x == nil {
		x = &machineInstance{Instance: Instance{Process: m.def.name, Key: key, State: m.def.state.zero()}}
		if m.options.Verify {
			x.again = &Instance{Process: m.def.name, Key: key, State: m.def.state.zero()}
		}
		m.instances[key] = x
	}
	return x
}

// give lets one instance take an event, by where it is in its life.
func (m *Machine) give(key string, in *machineInput) error {
	x := m.instance(key)
	switch {
	case x.failed:
		m.decide(key, in, VerdictQueued)
		return nil
	case x.Status != New && x.Duplicate(&in.taken), slices.ContainsFunc(x.waiting, func(w machineInput) bool { return w.taken.ID == in.taken.ID }):
		m.decide(key, in, VerdictDuplicate)
		return nil
	}
	err := m.offer(x, in)
	return errors.Join(err, m.drain(x)) // what was deferred follows
}

// offer follows the declared choice for an input, and takes up what was deferred when its phase has come.
func (m *Machine) offer(x *machineInstance, in *machineInput) error {
	policy, phase, err := m.def.fate(&x.Instance, &in.taken, in.handlings)
	if err != nil {
		return m.stand(x, in, err)
	}
	none, why := phase == PhaseNone, &UnexpectedError{Phase: phase}
	if none {
		policy, _, why = m.def.untaken(policy, len(x.waiting), thisKey)
	}
	switch {
	case policy == Handle:
		var birth *Birth
		if none {
			birth = m.birth(x, in)
		}
		if err := m.step(x, &in.taken, birth, in.handlings); err != nil {
			return err
		}
		return m.settle(x)
	case policy == Hold:
		return m.stand(x, in, why)
	case policy == Defer && none:
		x.waiting = append(x.waiting, *in)
		m.decide(x.Key, in, VerdictDeferred)
	case policy == Defer:
		return m.postpone(x, in)
	case none:
		m.decide(x.Key, in, VerdictNoInstance)
	default:
		m.ignore(x, &Record{Input: in.taken, Ignored: ignoredRule(&x.Instance, phase, in.handlings)}, in, phase)
	}
	return nil
}

// stand lets an instance stand aside with an input.
func (m *Machine) stand(x *machineInstance, in *machineInput, err error) error {
	x.failed = true
	m.decide(x.Key, in, VerdictFailed)
	return itsStep(m.def.name, x.Key, &in.taken, err)
}

// postpone keeps an input for a later phase.
func (m *Machine) postpone(x *machineInstance, in *machineInput) error {
	rec, err := m.def.postpone(&x.Instance, &in.taken)
	if err != nil {
		return m.stand(x, in, err)
	}
	if !rec.Deferred {
		m.ignore(x, rec, in, "")
		return nil
	}
	m.note(x, rec)
	m.router.known[in.taken.ID] = in.handlings
	heap.Push(&m.soon, due{at: rec.Set[0].Due, instance: x.Key, name: rec.Set[0].Name, id: rec.Set[0].ID})
	m.decide(x.Key, in, VerdictDeferred)
	return nil
}

// settle takes up what was deferred and whose phase has come, in order.
func (m *Machine) settle(x *machineInstance) error {
	for len(x.Deferred) > 0 {
		found, facts, policy, phase, err := m.router.settling(&x.Instance)
		if found == nil && err == nil {
			return nil
		}
		in := machineInput{*found, facts}
		switch {
		case err != nil:
			return m.stand(x, &in, err)
		case policy == Hold:
			return m.stand(x, &in, &UnexpectedError{Phase: phase})
		case policy == Handle:
			if err := m.compute(x, &in.taken, &Record{Input: in.taken, Resumed: true, Cancelled: []string{deferredName(&in.taken)}}, facts); err != nil {
				return err
			}
		default:
			m.ignore(x, ignoring(&in.taken, ignoredRule(&x.Instance, phase, facts)), &in, phase)
		}
	}
	return nil
}

// expire is what becomes of an input that was deferred for too long.
func (m *Machine) expire(x *machineInstance, fired *Taken) error {
	k := slices.IndexFunc(x.Deferred, func(in Taken) bool { return deferredName(&in) == fired.Name })
	if k < 0 {
		return nil
	}
	in := machineInput{taken: x.Deferred[k]}
	var err error
	if in.handlings, err = m.router.decode(&in.taken); err != nil {
		return err
	}
	if m.def.deferral.Then != Ignore {
		return m.stand(x, &in, m.def.errDeferred(&in.taken, "its phase has not come in "+m.def.deferral.Within.String()))
	}
	m.ignore(x, ignoring(&in.taken, "deferred too long"), &in, "")
	return nil
}

// birth returns what a starting step notes.
func (m *Machine) birth(x *machineInstance, in *machineInput) *Birth {
	birth := &Birth{Incarnation: x.Incarnation + 1}
	for _, name := range slices.Sorted(maps.Keys(m.modules)) {
		if log := m.modules[name]; name != in.taken.Module && log.head > 0 {
			birth.Marks = append(birth.Marks, Mark{Module: name, Log: log.log, Position: log.head})
		}
	}
	return birth
}

// takeDeferred lets an instance take what waited for it, and before it the timeouts that were due by then.
func (m *Machine) takeDeferred(x *machineInstance, in *machineInput) error {
	for !x.failed && x.Status == Running {
		timer, ok := firstTimer(&x.Instance, in.taken.Time)
		if !ok {
			break
		}
		if err := m.fireTimer(x, timer); err != nil {
			return err
		}
	}
	if x.failed {
		m.decide(x.Key, in, VerdictQueued)
		return nil
	}
	return m.offer(x, in)
}

func (m *Machine) decide(key string, in *machineInput, v Verdict) {
	phase := PhaseNone
	if x := m.instances[key]; x != nil {
		phase, _ = m.def.phase(&x.Instance)
	}
	m.decisions = append(m.decisions, Decision{Instance: key, Kind: in.taken.Kind, Row: row(in.handlings), Phase: phase, Input: m.fact(in.handlings), At: in.taken.Time, Verdict: v})
}

// ignore records with the instance that an input was ignored.
func (m *Machine) ignore(x *machineInstance, rec *Record, in *machineInput, phase Phase) {
	m.note(x, rec)
	v := VerdictCompleted
	if phase != PhaseCompleted {
		v = Verdict("ignored: " + rec.Ignored)
	}
	m.decide(x.Key, in, v)
}

// note brings an instance up to date with a record that decides nothing.
func (m *Machine) note(x *machineInstance, rec *Record) {
	x.Instance.note(rec)
	if x.again != nil {
		x.again.note(rec)
	}
}

// fire lets a timeout fire, if it still stands.
func (m *Machine) fire(d due) error {
	x := m.instances[d.instance]
	if x == nil || x.failed {
		return nil
	}
	timer, set := x.timer(d.name)
	if !set || timer.ID != d.id {
		return nil
	}
	m.moveTo(d.at)
	err := m.fireTimer(x, timer)
	return errors.Join(err, m.drain(x))
}

func (m *Machine) fireTimer(x *machineInstance, timer Timer) error {
	in := timer.input()
	if in.Type == deferredTimeout {
		return m.expire(x, &in)
	}
	handlings, err := m.router.decode(&in)
	if err != nil {
		return err
	}
	return m.offer(x, &machineInput{in, handlings})
}

// outcome gives a command's outcome to the instance that sent it.
func (m *Machine) outcome(in Taken, cmd, result any) ([]Decision, error) {
	goType := reflect.TypeOf(cmd)
	k := slices.IndexFunc(m.sent, func(s sentCommand) bool { return reflect.DeepEqual(s.value, cmd) })
	awaited := k >= 0 && m.sent[k].sent.awaited()
	if goType == nil || m.router.outcomes[outcomeKey{in.Kind, goType.String()}] == nil && !awaited {
		hint := map[Kind]string{RejectedInput: "such an outcome changes nothing; add process.OnRejected[…, %v]",
			AcceptedInput: "such an outcome changes nothing; add process.OnAccepted[…, %v, …]", FailedInput: "such an outcome holds the instance; add process.OnFailed[…, %v]"}[in.Kind]
		return nil, &UnhandledError{Process: m.def.name, Kind: in.Kind, GoType: goType, Hint: fmt.Sprintf(hint, goType)}
	}
	if k < 0 {
		err := &NotSentError{Process: m.def.name, Command: cmd}
		for _, s := range m.sent {
			err.Open = append(err.Open, s.value)
		}
		return nil, err
	}
	s := m.sent[k]
	in.ID, in.Command, in.Time = event.DeriveIDNear(s.sent.ID, "outcome", string(s.sent.ID[:])), s.sent.ID, m.now
	in.Type, in.Data, in.Metadata = s.sent.Type, s.sent.Data, s.sent.Metadata
	x := m.instances[s.instance]
	handlings, err := m.router.decodeFor(&x.Instance, &in)
	if err == nil && result != nil && len(handlings) > 0 {
		handlings, err = m.result(&in, handlings[0].fact, result)
	}
	if err != nil {
		return nil, err
	}
	m.sent = slices.Delete(m.sent, k, k+1)
	m.about = cmd
	err = m.pass(m.now)
	if x.failed {
		m.decide(x.Key, &machineInput{in, handlings}, VerdictQueued)
	} else {
		err = errors.Join(err, m.offer(x, &machineInput{in, handlings}), m.drain(x))
	}
	return m.decided(errors.Join(err, m.pass(m.now)))
}

// result completes an outcome with a result of the type that the definition takes.
func (m *Machine) result(in *Taken, accepted, result any) ([]handling, error) {
	field, _ := reflect.TypeOf(accepted).FieldByName("Result")
	if have := reflect.TypeOf(result); have != field.Type {
		return nil, fmt.Errorf("process %q takes %v as the result of %s, not %v", m.def.name, field.Type, in.Type, have)
	}
	data, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("result of %s: %w", in.Type, err)
	}
	in.Result = data
	return m.router.decode(in)
}
