package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Two workers care for an input that names a claimed key: the owner of the instance that has the key, and the owner of the
// key's own partition. Each reads the source at its own pace. What comes behind the claim (claimRow.From) is the
// instance's owner's, who takes it where it stands in the log. The rest is for the key's owner: it lets inputs wait beside
// the key, ignores them, or hands them over if the claim came meanwhile. Where it is ahead of the instance's owner it lets
// the input wait as well, since the claim may end before that one comes there. Both write the row under the revision that
// they read, so that neither decides on what the other has just changed.

// claims is what a term knows of claimed keys. Rows are as they were read in the running turn, with what the turn did.
type claims struct {
	rows  map[ClaimedKey]*claim
	look  bool // rows that are due must be looked at
	turn  func(...ClaimedKey) error
	items func(*claim) ([]queued, error)
	inst  func(key string) (*Instance, error)
	ours  func() error // fails where this worker has lost its lease
}

// begin is called at the beginning of a turn.
func (c *claims) begin(ctx context.Context, t *term) {
	c.rows = map[ClaimedKey]*claim{}
	c.turn = func(keys ...ClaimedKey) error { return t.readClaims(ctx, keys) }
	c.items = func(x *claim) ([]queued, error) { return readWaiting(ctx, t.home.Log, t.timers.process, x.ClaimedKey) }
	c.inst = func(key string) (*Instance, error) { return t.instance(ctx, key) }
	c.ours = func() error {
		if err := t.written(); err != nil {
			return err
		}
		return t.lease.Renew(context.WithoutCancel(ctx))
	}
}

// readClaims reads rows that the turn does not know yet: first how far the partitions are, then the rows, so that an
// instance that has a key by the row had it when its partition came to where it is.
func (t *term) readClaims(ctx context.Context, keys []ClaimedKey) error {
	var q []string
	for _, k := range keys {
		if t.claims.rows[k] == nil {
			q = append(q, k.entry(t.timers.process))
		}
	}
	if len(q) == 0 {
		return nil
	}
	reached, err := t.reached(ctx)
	if err != nil {
		return err
	}
	for ; len(q) > 0; q = q[min(len(q), 1000):] {
		for e, err := range t.home.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Claim, Keys: q[:min(len(q), 1000)]}) {
			if err != nil {
				return fmt.Errorf("process: read claimed keys: %w", err)
			}
			c, _, err := readClaim(e)
			if err != nil {
				return err
			}
			c.reached = reached
			t.claims.rows[c.ClaimedKey] = &c
		}
	}
	for _, k := range keys {
		if t.claims.rows[k] == nil {
			t.claims.rows[k] = &claim{ClaimedKey: k, rev: eventlog.NoEntry, reached: reached}
		}
	}
	return nil
}

// reached returns how far each partition has handled the sources; nil where all are this worker's.
func (t *term) reached(ctx context.Context) (map[string][]eventlog.Position, error) {
	if t.mine.all {
		return nil, nil
	}
	all := make(map[string][]eventlog.Position, len(t.sources))
	for _, s := range t.sources {
		at := make([]eventlog.Position, t.cfg.Partitions)
		all[s.module.Name] = at
		err := eachCursor(ctx, t.home.Log, t.timers.process, s.module.Name, t.cfg.Partitions, func(p int, c consumer.Cursor) error {
			at[p] = c.Position
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// claim returns the row of a key.
func (t *term) claim(k ClaimedKey) (*claim, error) {
	if c := t.claims.rows[k]; c != nil {
		return c, nil
	}
	if err := t.claims.turn(k); err != nil {
		return nil, err
	}
	return t.claims.rows[k], nil
}

// claimsAhead reads the rows of what a source has read ahead.
func (t *term) claimsAhead(s *source) error {
	var keys []ClaimedKey
	for n := range min(len(s.buffer), s.page) {
		keys = append(keys, s.buffer[n].claims...)
	}
	if len(keys) == 0 {
		return nil
	}
	slices.SortFunc(keys, func(a, b ClaimedKey) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return t.claims.turn(slices.Compact(keys)...)
}

// holder implements world.
func (t *term) holder(k ClaimedKey) (string, error) {
	c, err := t.claim(k)
	if err != nil {
		return "", err
	}
	return c.Instance, nil
}

// stands implements world: where the process stands, for an instance, in all of its sources. What queues for it is its own,
// also when cursors were lost.
func (t *term) stands(key string) []Mark {
	known := Instance{Marks: t.passed(key, &Taken{})}
	if h := t.holds[key]; h != nil {
		for _, m := range h.Marks {
			known.mark(m)
		}
	}
	return known.Marks
}

// takeClaimed gives an event to the instance that has claimed a key, or lets it wait until one does.
func (t *term) takeClaimed(ctx context.Context, s *source, it *item, k ClaimedKey) error {
	if t.claims.rows[k] == nil {
		if err := t.claimsAhead(s); err != nil {
			return err
		}
	}
	c, err := t.claim(k)
	if err != nil {
		return err
	}
	in := &it.Taken
	if holder := c.Instance; holder != "" && c.after(in) && !c.past(in) && t.mine.has(holder) {
		p := t.mine.partition(holder)
		if s.handled(p, in.Position) {
			return nil
		}
		s.dirty[p] = true
		if err := t.giveCounted(ctx, holder, it); err != nil || c.Instance != holder || c.Queued == 0 {
			return err
		}
		return t.handOver(c) // it may have waited until it was met here
	}
	p := t.mine.partition(k.place())
	if !t.mine.owns[p] || s.handled(p, in.Position) || c.past(in) {
		return nil
	}
	if c.seen(in) {
		t.batch.stats.Duplicates++
		return nil
	}
	s.dirty[p] = true
	if c.Instance != "" && c.after(in) {
		if c.reached[in.Module][t.mine.partition(c.Instance)] >= in.Position {
			return nil // its owner took it
		}
		t.batch.inputs++
		return t.wait(c, in) // its owner takes it, unless the claim ends before
	}
	t.batch.inputs++
	policy, err := t.router.unclaimed(k, in, it.handlings)
	if err != nil {
		return err
	}
	return t.unclaimed(c, in, policy, p)
}

// unclaimed follows the declared policy for an input whose key nobody had claimed when it came. One that is ignored is
// counted in a partition of this worker: the key's may be another one's.
func (t *term) unclaimed(c *claim, in *Taken, policy Policy, partition int) error {
	declared := policy
	policy, rule, why := t.cfg.Definition.untaken(declared, c.Queued, c.ClaimedKey.noneYet())
	switch policy {
	case Defer:
		return t.wait(c, in)
	case Hold:
		return t.holdUnclaimed(c.ClaimedKey, in, why)
	default:
		if declared == Defer { // one too many: when there is room again, it is not to wait after all
			c.see(in)
			t.batch.claims[c.ClaimedKey] = c
		}
		t.countIgnored(partition, rule+in.Type, in)
		return nil
	}
}

// holdUnclaimed holds an input that is no instance's under a key of its own.
func (t *term) holdUnclaimed(k ClaimedKey, in *Taken, why *UnexpectedError) error {
	key := unclaimed + k.Name + "/" + in.Module + "/" + in.ID.String()
	if t.holds[key] != nil {
		return nil
	}
	h := t.newHold(key, Held)
	h.failed(in, t.stepError(k.String(), in, why), t.cfg.Now(), Retry{Attempts: 1})
	t.cfg.Logger.Error("an input that names a claimed key stands aside", "key", k, "error", h.Error)
	return t.enqueue(h, in)
}

// wait lets an input wait beside its key, or hands it over to the instance that claimed the key after the input came.
func (t *term) wait(c *claim, in *Taken) error {
	value, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("process: let %s wait: %w", in.describe(), err)
	}
	c.Next++
	c.Queued++
	c.see(in)
	c.waiting = append(c.waiting, queued{c.Next, *in}) // behind what is read, if it is
	t.batch.put(eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: c.item(t.timers.process, c.Next), Value: value}})
	t.batch.claims[c.ClaimedKey] = c
	switch {
	case c.Instance == "" && c.due.IsZero() && !t.cfg.Replay:
		c.due = event.Micro(in.Time.Add(t.cfg.Definition.deferral.Within))
	case c.Instance == "":
	case !c.after(in) && t.mine.has(c.Instance):
		return t.handOver(c)
	default:
		c.due = event.Micro(t.cfg.Now()) // its owner looks at what is due
	}
	return nil
}

// waiting returns what waits beside a key, as this turn has it.
func (t *term) waiting(c *claim) ([]queued, error) {
	if c.Queued > len(c.waiting) && !c.read {
		items, err := t.claims.items(c)
		if err != nil {
			return nil, err
		}
		c.waiting = append(items, c.waiting...)
	}
	c.read = true
	return c.waiting, nil
}

// keep leaves those of the waiting inputs beside their key that are wanted there.
func (t *term) keep(c *claim, wanted func(in *Taken) (bool, error)) error {
	items, err := t.waiting(c)
	if err != nil {
		return err
	}
	rest := make([]queued, 0, len(items))
	for n := range items {
		ok, err := wanted(&items[n].taken)
		if err != nil {
			return err
		}
		if ok {
			rest = append(rest, items[n])
			continue
		}
		t.batch.put(eventlog.Delete{Kind: eventlog.Claim, Key: c.item(t.timers.process, items[n].number)})
		t.batch.claims[c.ClaimedKey] = c
	}
	c.waiting, c.Queued = rest, len(rest)
	return nil
}

// patience sets when the first of the waiting inputs of a key that nobody has claimed has waited for too long.
func (t *term) patience(c *claim) {
	c.due = time.Time{}
	if len(c.waiting) > 0 && !t.cfg.Replay {
		c.due = event.Micro(c.waiting[0].taken.Time.Add(t.cfg.Definition.deferral.Within))
	}
}

// handOver moves what came before the claim into the queue of the instance that has the key, and forgets what this has met
// where it stands in the log. The rest waits for that.
func (t *term) handOver(c *claim) error {
	inst, err := t.claims.inst(c.Instance)
	if err != nil {
		return err
	}
	err = t.keep(c, func(in *Taken) (bool, error) {
		if c.after(in) {
			return in.Position > position(t.upTo(inst), in), nil
		}
		t.batch.inputs++
		return false, t.follow(c.Instance, in)
	})
	if c.Queued == 0 && !c.due.IsZero() {
		c.due = time.Time{}
		t.batch.claims[c.ClaimedKey] = c
	}
	c.settle()
	return err
}

// upTo returns up to where the inputs of an instance are decided.
func (t *term) upTo(inst *Instance) []Mark {
	known := Instance{Marks: slices.Clone(inst.Marks)}
	for _, m := range t.stands(inst.Key) {
		known.mark(m)
	}
	return known.Marks
}

// follow puts an input at the end of an instance's queue, to be taken before anything that comes later.
func (t *term) follow(key string, in *Taken) error {
	h := t.holds[key]
	if h == nil {
		inst, err := t.claims.inst(key)
		if err != nil {
			return err
		}
		h = t.newHold(key, Retrying)
		h.RetryAt = h.Since
		h.Marks = slices.Clone(inst.Marks)
		t.retrying(h)
	}
	return t.enqueue(h, in)
}

// correlate puts what a step said of keys into the batch.
func (t *term) correlate(inst *Instance, rec *Record, refused []Taken) error {
	for _, k := range rec.Released {
		if err := t.letGo(inst, k); err != nil {
			return err
		}
	}
	for _, k := range rec.Claimed {
		c, err := t.claim(k)
		if err != nil {
			return err
		}
		c.Instance, c.From = inst.Key, slices.Clone(inst.Marks)
		t.batch.claims[k] = c
		if err := t.handOver(c); err != nil {
			return err
		}
		if c.Queued > 0 {
			c.due = event.Micro(t.cfg.Now())
		}
	}
	for n := range refused {
		if err := t.follow(inst.Key, &refused[n]); err != nil {
			return err
		}
	}
	return nil
}

// letGo ends an instance's claim of a key.
func (t *term) letGo(inst *Instance, k ClaimedKey) error {
	c, err := t.claim(k)
	if err != nil {
		return err
	}
	if c.Instance != inst.Key {
		if err := t.claims.ours(); err != nil { // the instance is what it was when this worker had its partition
			return err
		}
		return &eventlog.CorruptError{Address: "claim " + k.entry(t.timers.process), Reason: fmt.Sprintf("instance %q has claimed the key, by the entry %q has", inst.Key, c.Instance)}
	}
	upTo := t.upTo(inst)
	if _, err := t.waiting(c); err != nil {
		return err
	}
	before := c.claimRow
	c.end(upTo)
	t.batch.claims[k] = c
	err = t.keep(c, func(in *Taken) (bool, error) {
		if !before.after(in) {
			return true, nil // it was to be handed over
		}
		if in.Position <= position(upTo, in) {
			return false, nil // the instance took it where it stands in the log
		}
		return t.waitsOn(c, in, t.mine.partition(inst.Key))
	})
	t.patience(c)
	return err
}

// waitsOn tells whether an input that came behind a claim, which has ended before the instance came to it, goes on
// waiting.
func (t *term) waitsOn(c *claim, in *Taken, partition int) (bool, error) {
	facts, err := t.router.decode(in)
	if err != nil {
		return true, nil //nolint:nilerr // whoever takes it is held with it
	}
	policy, err := t.router.unclaimed(c.ClaimedKey, in, facts)
	if err != nil || policy == Defer {
		return err == nil, err
	}
	return false, t.unclaimed(c, in, policy, partition)
}

// takeClaims looks at the rows that are due: what waits is handed over to this worker's instances, and what waited for too
// long waits no longer.
func (t *term) takeClaims(ctx context.Context) error {
	if !t.claims.look {
		return nil
	}
	const most = 1000
	now := t.cfg.Now()
	due, err := t.dueClaims(ctx, now, most)
	if err != nil {
		return err
	}
	t.claims.look = len(due) == most
	if len(due) == 0 {
		return nil
	}
	if err := t.busyAgain(ctx); err != nil {
		return err
	}
	if err := t.readClaims(ctx, due); err != nil {
		return err
	}
	for _, k := range due {
		c := t.claims.rows[k]
		switch {
		case c.due.IsZero() || c.due.After(now) || t.batch.inputs >= t.cfg.Batch:
		case c.Instance == "" && !t.mine.has(c.place()): // it was given back in this turn: the key's owner looks at it now
		case c.Instance == "":
			err = t.waitedBeside(c, now)
		case t.mine.has(c.Instance):
			err = t.handOver(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dueClaims returns the keys that are due and this worker's to look at.
func (t *term) dueClaims(ctx context.Context, by time.Time, most int) (keys []ClaimedKey, err error) {
	q := eventlog.EntryQuery{Kind: eventlog.Claim, Prefix: eventlog.Key(t.timers.process) + "/", ByDue: true, DueBy: by}
	for e, err := range t.home.Log.Entries(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("process: read claimed keys: %w", err)
		}
		c, row, err := readClaim(e)
		if err != nil {
			return nil, err
		}
		if row && (c.Instance != "" && t.mine.has(c.Instance) || c.Instance == "" && t.mine.has(c.place())) {
			if keys = append(keys, c.ClaimedKey); len(keys) == most {
				break
			}
		}
	}
	return keys, nil
}

// waitedBeside is what becomes of inputs whose key nobody has claimed in time.
func (t *term) waitedBeside(c *claim, now time.Time) error {
	bounds := t.cfg.Definition.deferral
	t.batch.claims[c.ClaimedKey] = c
	err := t.keep(c, func(in *Taken) (bool, error) {
		if in.Time.Add(bounds.Within).After(now) {
			return true, nil
		}
		t.batch.inputs++
		if bounds.Then == Hold {
			why := &UnexpectedError{Why: fmt.Sprintf("%s was deferred, and no instance has claimed %v in %v", in.describe(), c.ClaimedKey, bounds.Within)}
			return false, t.holdUnclaimed(c.ClaimedKey, in, why)
		}
		t.ignoreWaiting("no instance, deferred too long: "+in.Type, t.mine.partition(c.place()))
		return false, nil
	})
	t.patience(c)
	return err
}

// clash makes a turn that lost a race for a claimed key begin again; after several, with fewer inputs at once.
func (t *term) clash(err error) error {
	var faster *eventlog.EntryConflictError
	if !errors.As(err, &faster) || faster.Kind != eventlog.Claim {
		return err
	}
	if t.clashes++; t.clashes > 2 {
		t.single = max(t.single, 8)
	}
	return errAgain
}

// handing tells whether something is to be handed over to an instance, of these partitions or of any.
func (e *Engine) handing(ctx context.Context, of func(key string) bool) (bool, error) {
	if !e.correlates {
		return false, nil
	}
	for e, err := range e.home.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Claim, Prefix: eventlog.Key(e.cfg.Definition.name) + "/", ByDue: true}) {
		if err != nil {
			return false, fmt.Errorf("process: read claimed keys: %w", err)
		}
		c, row, err := readClaim(e)
		if err != nil {
			return false, err
		}
		if row && c.Instance != "" && of(c.Instance) {
			return true, nil
		}
	}
	return false, nil
}

// busyAgain takes back that this worker has finished, by the replay clock, before something was handed over to it.
func (t *term) busyAgain(ctx context.Context) error {
	if t.told == nil {
		return nil
	}
	t.told = nil
	return t.member.Finish(ctx, nil)
}
