package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// trace tells what happens in a story. It looks at the home log after each append of a worker and tells what is new
// there: it sees what a worker committed, not what a worker says.
type trace struct {
	s    *story
	lock sync.Mutex // held while a worker appends and while what it led to is looked at

	mu      sync.Mutex
	lines   []line
	steps   map[string]int // told of each instance
	holds   map[string]process.Holding
	waits   map[process.ClaimedKey]int // beside keys
	ignored map[string]int64
}

// line is one thing that happened.
type line struct {
	at       time.Time
	part     int    // lines of different instances keep their order only between what happens to workers
	instance string // or "" for a worker
	worker   string
	text     string
	more     []string
}

func newTrace(s *story) *trace {
	return &trace{s: s, steps: map[string]int{}, holds: map[string]process.Holding{}, waits: map[process.ClaimedKey]int{}, ignored: map[string]int64{}}
}

func (t *trace) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lines)
}

// add is called with mu held.
func (t *trace) add(l line) {
	l.at = time.Now()
	if n := len(t.lines); n > 0 {
		l.part = t.lines[n-1].part
		if (l.instance == "") != (t.lines[n-1].instance == "") || l.instance == "" {
			l.part++
		}
	}
	t.lines = append(t.lines, l)
}

// worker tells what happened to a worker.
func (t *trace) worker(name, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(line{worker: name, text: fmt.Sprintf(format, args...)})
}

// take returns what was told and not taken yet. What happens to different instances in the same minute has no order, and is
// shown instance by instance.
func (t *trace) take(names bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b line) int {
		if a.part != b.part {
			return a.part - b.part
		}
		if c := strings.Compare(t.minute(a), t.minute(b)); c != 0 {
			return c
		}
		return strings.Compare(a.instance, b.instance)
	})
	var b strings.Builder
	for _, l := range t.lines {
		who := ""
		if names && l.instance != "" && l.worker != "" {
			who = l.worker + ": "
		}
		fmt.Fprintf(&b, "%s  %s%s\n", t.s.clock(l.at), who, l.text)
		for _, m := range l.more {
			fmt.Fprintf(&b, "         %s\n", m)
		}
	}
	t.lines = nil
	return b.String()
}

func (t *trace) minute(l line) string { return fmt.Sprintf("%012d", l.at.Sub(t.s.began)/time.Minute) }

// dispatched tells what became of a command at its module.
func (t *trace) dispatched(worker, module string, c command.Envelope, o command.Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.mu.Lock()
	instance := t.s.sent[c.ID]
	what := fmt.Sprintf("%s %s of %s", c.ID, c.Type, instance)
	var text string
	switch {
	case err != nil:
		text = fmt.Sprintf("%s fails at %s: %s", module, what, lastPart(err.Error()))
	case o.Status == command.Expired && !o.Repeat:
		text = fmt.Sprintf("%s refuses %s, which was to begin before %s, and will never handle it", module, what, t.s.clock(c.Before))
	case o.Repeat:
		text = fmt.Sprintf("%s has handled %s before, and answers from the receipt: %s", module, what, o.Status)
	case o.Rejection != nil:
		text = fmt.Sprintf("%s handles %s: rejected, %s", module, what, o.Rejection.Code)
	default:
		text = fmt.Sprintf("%s handles %s: %s", module, what, o.Status)
	}
	t.s.mu.Unlock()
	t.add(line{instance: instance, worker: worker, text: text})
}

// givenUp tells what became of giving a command up at its module.
func (t *trace) givenUp(worker, module string, c command.Envelope, o command.Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.mu.Lock()
	instance := t.s.sent[c.ID]
	t.s.mu.Unlock()
	text := fmt.Sprintf("%s is told that %s %s of %s is given up, and will never handle it: %s", module, c.ID, c.Type, instance, o.Reason)
	switch {
	case err != nil:
		text = fmt.Sprintf("%s cannot be told that %s %s of %s is given up: %v", module, c.ID, c.Type, instance, err)
	case o.Repeat:
		text = fmt.Sprintf("%s is told that %s %s of %s is given up, and answers from the receipt: %s", module, c.ID, c.Type, instance, o.Status)
	}
	t.add(line{instance: instance, worker: worker, text: text})
}

// late tells of a call of a handler that nobody waited for.
func (t *trace) late(worker, module string, c command.Envelope, o command.Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.mu.Lock()
	instance := t.s.sent[c.ID]
	t.s.mu.Unlock()
	text := fmt.Sprintf("the slow call at %s commits %s %s of %s: %s", module, c.ID, c.Type, instance, o.Status)
	switch {
	case err != nil:
		text = fmt.Sprintf("the slow call at %s ends, and changes nothing: %v", module, err)
	case o.Repeat:
		text = fmt.Sprintf("the slow call at %s wants to commit %s %s of %s, finds the receipt (%s), and changes nothing", module, c.ID, c.Type, instance, o.Status)
	}
	t.add(line{instance: instance, worker: worker, text: text})
}

// lastPart returns the innermost of errors that were wrapped.
func lastPart(text string) string {
	return text[strings.LastIndex(text, ": ")+1:]
}

// observe tells what is new in the home log after an append of a worker.
func (t *trace) observe(worker string) {
	ctx := context.Background()
	log := t.s.homeLog()
	home, err := process.OpenHome(ctx, log, t.s.name)
	if err != nil {
		return // it has not described itself yet
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, err := range process.ListInstances(ctx, log, t.s.name, "") {
		if err != nil {
			panic(err)
		}
		if t.s.config.Store != nil {
			t.summary(ctx, worker, i)
			continue
		}
		n := 0
		for step, err := range process.History(ctx, home, i.Key) {
			if err != nil {
				t.add(line{instance: i.Key, worker: worker, text: fmt.Sprintf("the history of %s cannot be read: %v", i.Key, err)})
				break
			}
			if n++; n > t.steps[i.Key] {
				t.step(ctx, worker, home, i.Key, &step)
			}
		}
		t.steps[i.Key] = n
	}
	t.queues(ctx, worker)
	t.beside(ctx, worker)
	now := must(process.Ignored(ctx, log, t.s.name))
	for _, rule := range slices.Sorted(maps.Keys(now)) {
		if d := now[rule] - t.ignored[rule]; d > 0 {
			why, what, _ := strings.Cut(rule, ": ")
			t.add(line{instance: "~", worker: worker, text: fmt.Sprintf("%s is ignored and counted: %s (%d so far)", what, why, now[rule])})
		}
	}
	t.ignored = now
}

// summary tells of an instance that is kept as a document, which has no history.
func (t *trace) summary(ctx context.Context, worker string, i process.Summary) {
	if i.Steps == t.steps[i.Key] {
		return
	}
	t.steps[i.Key] = i.Steps
	l := line{instance: i.Key, worker: worker, text: fmt.Sprintf("%s has decided on %s: %v", i.Key, counted(i.Steps, "input"), i.Status)}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for _, sent := range must(process.PendingCommands(ctx, t.s.homeLog(), t.s.name, i.Key)) {
		if t.s.sent[sent.ID] == "" {
			t.s.sent[sent.ID] = i.Key
			l.more = append(l.more, fmt.Sprintf("sends %s %s%s to %s", sent.ID, sent.Type, payload(i.Key, sent.Data), sent.Module))
		}
	}
	t.add(l)
}

// step tells of a step.
func (t *trace) step(ctx context.Context, worker string, home process.Home, key string, step *process.RecordedStep) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for _, sent := range step.Sent {
		t.s.sent[sent.ID] = key
	}
	text, more := t.s.tell(ctx, home, key, step)
	t.add(line{instance: key, worker: worker, text: text, more: more})
}

// tell says what a step took and decided.
func (s *story) tell(ctx context.Context, home process.Home, key string, step *process.RecordedStep) (text string, more []string) {
	say := func(format string, args ...any) { more = append(more, fmt.Sprintf(format, args...)) }
	text = fmt.Sprintf("%s takes %s", key, inputText(key, &step.Input))
	switch {
	case step.Ignored != "" && step.Resumed:
		text = fmt.Sprintf("%s ignores %s, which it had deferred, by the rule: %s", key, inputText(key, &step.Input), step.Ignored)
	case step.Ignored != "":
		text = fmt.Sprintf("%s ignores %s, by the rule: %s", key, inputText(key, &step.Input), step.Ignored)
	case step.Deferred:
		return fmt.Sprintf("%s defers %s, until %s at most", key, inputText(key, &step.Input), s.clock(step.Set[0].Due)), nil
	case step.Corrected:
		text = fmt.Sprintf("%s keeps %s with another payload", key, inputText(key, &step.Input))
	case step.Resumed:
		text = fmt.Sprintf("%s takes up %s, which it had deferred", key, inputText(key, &step.Input))
	}
	if was := step.Input.Replaced; was != nil {
		say("as %s corrected it (%s); it came as%s", was.By, was.Reason, payload(key, was.Data))
	}
	switch {
	case step.Operator != "" && step.Ignored != "":
		say("so decided %s", step.Operator)
	case step.Operator != "":
		say("so decided %s: %s", step.Operator, step.Why)
	}
	if len(step.Migrated) > 0 {
		say("its state is turned before that: %s", step.Migrated)
	}
	if step.Birth != nil {
		say("starts")
	}
	if step.Compensating {
		say("gives up: what it did is to be undone, and its timeouts are cancelled")
	}
	if step.Emitted > 0 {
		q := eventlog.StreamQuery{After: step.Version - event.Version(step.Emitted) - 1, Limit: step.Emitted, System: true}
		for rec, err := range home.Log.ReadStream(ctx, home.Stream(key), q) {
			if err != nil {
				panic(err)
			}
			say("emits %s%s", rec.Type, payload(key, rec.Data))
		}
	}
	for _, sent := range step.Sent {
		more := ""
		if !sent.Before.IsZero() {
			more = ", which must begin with it before " + s.clock(sent.Before)
		}
		if sent.Undo != nil {
			more += "; to be undone by " + sent.Undo.Type
		}
		say("sends %s %s%s to %s%s", sent.ID, sent.Type, payload(key, sent.Data), sent.Module, more)
	}
	for _, set := range step.Set {
		say("sets timeout %s for %s", set.Name, s.clock(set.Due))
	}
	for _, name := range step.Cancelled {
		if step.Resumed && strings.HasPrefix(name, event.SystemPrefix) {
			continue // it bounded the wait
		}
		say("cancels timeout %s", name)
	}
	for _, k := range step.Claimed {
		say("claims %s %s", k.Name, k.Key)
	}
	for _, k := range step.Refused {
		say("cannot claim %s %s: %s has it", k.Name, k.Key, k.By)
	}
	for _, k := range step.Released {
		say("releases %s %s", k.Name, k.Key)
	}
	for _, once := range step.Once {
		say("notes that %q was done, once and for all", once)
	}
	if step.Phase != "" && step.Phase != process.PhaseCompleted {
		say("is in phase %s now", step.Phase)
	}
	switch {
	case step.Completed && step.Ending != "":
		say("completes: %s", step.Ending)
	case step.Completed:
		say("completes")
	}
	return text, more
}

// queues tells what changed among the instances that stand aside and the keys that inputs wait for.
func (t *trace) queues(ctx context.Context, worker string) {
	log, now := t.s.homeLog(), map[string]process.Holding{}
	for h, err := range process.Holdings(ctx, log, t.s.name) {
		if err != nil {
			panic(err)
		}
		now[h.Instance] = h
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		h, old := now[key], t.holds[key]
		say := func(format string, args ...any) {
			t.add(line{instance: key, worker: worker, text: fmt.Sprintf(format, args...)})
		}
		queue := must(process.Queue(ctx, log, t.s.name, key, 0))
		for _, in := range queue[max(0, len(queue)-(h.Next-old.Next)):] {
			switch {
			case h.Condition == process.Waiting:
				say("%s waits: %s has not started", inputText(key, &in), key)
			case h.Condition == process.Awaiting:
				say("%s queues: a command of %s has no outcome yet", inputText(key, &in), key)
			case h.InputID.IsZero():
				say("%s queues for %s", inputText(key, &in), key)
			case in.ID != h.InputID:
				say("%s queues behind what %s failed at", inputText(key, &in), key)
			}
		}
		if h.Condition == process.Held && h.InputID.IsZero() && old.Condition != process.Held {
			say("%s is held by %s, until somebody resumes it: %s", key, h.By, h.Reason)
			continue
		}
		if h.Condition == process.Waiting || h.InputID.IsZero() || h.InputID == old.InputID && h.Attempts == old.Attempts {
			continue
		}
		what := h.Input
		home := must(process.OpenHome(ctx, log, t.s.name))
		if i, err := process.Look(ctx, home, key); err == nil { // one that has not started keeps nothing
			queue = append(queue, i.Deferred...)
		}
		if k := slices.IndexFunc(queue, func(in process.Taken) bool { return in.ID == h.InputID }); k >= 0 {
			what = inputText(key, &queue[k])
		}
		if h.Attempts == 0 {
			say("%s leaves %s alone, and stands aside", key, what)
			t.lines[len(t.lines)-1].more = []string{"because: " + cause(&h)}
			continue
		}
		next := "it stands aside and will be tried again"
		if h.Condition == process.Held {
			next = "it is held until somebody helps"
		}
		say("%s fails at %s (attempt %d), so %s", key, what, h.Attempts, next)
		t.lines[len(t.lines)-1].more = []string{"because: " + cause(&h)}
	}
	for _, key := range slices.Sorted(maps.Keys(t.holds)) {
		if _, still := now[key]; !still && t.holds[key].Condition == process.Held || !still && t.holds[key].Attempts > 0 {
			t.add(line{instance: key, worker: worker, text: fmt.Sprintf("%s has caught up, and goes on as if nothing had been", key)})
		}
	}
	t.holds = now
}

// beside tells which inputs wait for a key that nobody has claimed.
func (t *trace) beside(ctx context.Context, worker string) {
	now := map[process.ClaimedKey]int{}
	for c, err := range process.Claims(ctx, t.s.homeLog(), t.s.name) {
		if err != nil {
			panic(err)
		}
		now[c.ClaimedKey] = c.Waiting
		if d := c.Waiting - t.waits[c.ClaimedKey]; d > 0 && c.Instance == "" {
			t.add(line{instance: "~", worker: worker, text: fmt.Sprintf("what names %s %s waits, since nobody has claimed that (%s so far)", c.Name, c.Key, counted(c.Waiting, "input"))})
		}
	}
	t.waits = now
}

// cause is a hold's error without what the reader knows already.
func cause(h *process.Holding) string {
	if _, rest, ok := strings.Cut(h.Error, h.Input+": "); ok {
		return rest
	}
	return h.Error
}

// inputText names an input.
func inputText(key string, in *process.Taken) string {
	switch in.Kind {
	case process.EventInput:
		return in.Type + payload(key, in.Data)
	case process.TimeoutInput:
		if strings.HasPrefix(in.Name, event.SystemPrefix) {
			return "the time limit of what it deferred"
		}
		return "timeout " + in.Name
	case process.RejectedInput:
		code := ""
		if in.Rejection != nil {
			code = " (" + in.Rejection.Code + ")"
		}
		return fmt.Sprintf("the rejection%s of %s %s", code, in.Command, in.Type)
	case process.AcceptedInput:
		return fmt.Sprintf("the acceptance of %s %s", in.Command, in.Type)
	case process.FailedInput:
		return fmt.Sprintf("the failure of %s %s", in.Command, in.Type)
	case process.ClaimInput:
		var c process.ClaimTaken
		_ = json.Unmarshal(in.Data, &c) // it then says nothing of the key
		return fmt.Sprintf("the refusal of its claim of %s %s (%s has it)", c.Name, c.Key, c.By)
	case process.OperatorInput:
		return fmt.Sprintf("an operator's decision: %s", in.Type)
	default:
		return fmt.Sprintf("%v %s", in.Kind, in.Type)
	}
}

// payload shows what a payload says beside the instance's key.
func payload(key string, data []byte) string {
	var fields map[string]any
	numbers := json.NewDecoder(bytes.NewReader(data))
	numbers.UseNumber()
	if err := numbers.Decode(&fields); err != nil {
		return " (not readable)"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		if name == "id" && v == key {
			continue
		}
		text := fmt.Sprint(v)
		if len(text) > 40 {
			text = fmt.Sprintf("%s… of %d bytes", text[:10], len(text))
		}
		parts = append(parts, name+"="+text)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// counted says how many there are.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
