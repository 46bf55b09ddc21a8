package process

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// took is what is remembered of an event that an instance took: enough to find it in its source.
type took struct {
	id       event.ID
	module   string
	log      event.ID
	position eventlog.Position
	name     string
	digest   [sha256.Size]byte
	whole    bool // digest is that of the payload that it came with
	linked   bool
	at       event.Version // of the step
	what     string
}

// tookOf remembers an event.
func tookOf(in *Taken, linked bool, at event.Version) took {
	t := took{id: in.ID, module: in.Module, log: in.Log, position: in.Position, name: in.Type, linked: linked, at: at, what: in.describe()}
	data := in.Data
	if in.Replaced != nil {
		data = in.Replaced.Data
	}
	if t.whole = len(data) > 0; t.whole { // an input that was too large to be kept has none
		t.digest = sha256.Sum256(data)
	}
	return t
}

// concluded is how many commands an instance sent on an input, and what their ids are made of.
type concluded struct {
	id          event.ID
	incarnation int
	sent        int
	at          event.Version
	what        string
}

// next returns the id that one more command of the step would have had.
func (s *concluded) next(process, instance string) event.ID {
	return event.DeriveID("command", process, instance, strconv.Itoa(s.incarnation), string(s.id[:]), strconv.Itoa(s.sent))
}

// conclude notes what a step sent, and checks that each command names the step's input as its cause. An input that was
// deferred is one with the step that took it up.
func (f *folding) conclude(r *Record, at event.Version) {
	for n := range r.Sent {
		if s := &r.Sent[n]; s.Metadata.Causation != r.Input.ID {
			f.bad(at, "command %d, %q, names %s as its cause, and not %s, on which it was sent", s.Number, s.Type, s.Metadata.Causation, r.Input.describe())
		}
	}
	if r.Input.isOutcome() {
		f.settled[r.Input.Command] = true
	}
	if r.Input.Kind == EventInput && !r.Resumed {
		f.took = append(f.took, tookOf(&r.Input, r.Linked, at))
	}
	if r.Resumed {
		for n := range f.concluded {
			if f.concluded[n].id == r.Input.ID {
				f.concluded[n].sent = max(f.concluded[n].sent, len(r.Sent))
				return
			}
		}
	}
	f.concluded = append(f.concluded, concluded{r.Input.ID, f.Incarnation, len(r.Sent), at, r.Input.describe()})
}

func (c *check) stepProblem(h *history, at event.Version, format string, args ...any) Problem {
	return c.problem(StepProblem, h.Key, fmt.Sprintf("stream %q version %d", c.home.Stream(h.Key), at), format, args...)
}

// checkSources checks that every event that an instance took is in its source's log: at the position, and with the content,
// with which it was taken. A linked one is read from there already.
func (c *check) checkSources(ctx context.Context, folds []*history, found [][]Problem) error {
	asked := map[string][]event.ID{}
	for _, h := range folds {
		if h == nil {
			continue
		}
		for n := range h.took {
			if t := &h.took[n]; !t.linked {
				asked[t.module] = append(asked[t.module], t.id)
			}
		}
	}
	sources := map[string]map[event.ID]event.Recorded{}
	for _, name := range sortedKeys(asked) {
		m, here := c.module(name)
		if !here {
			if !c.absent[name+"cursors on it"] { // then it was said
				if err := c.missing(c.Module, name, "the events that instances took from it"); err != nil {
					return err
				}
			}
			continue
		}
		sources[name] = map[event.ID]event.Recorded{}
		for ids := asked[name]; len(ids) > 0; ids = ids[min(len(ids), 500):] {
			for rec, err := range m.Log.Read(ctx, eventlog.Query{IDs: ids[:min(len(ids), 500)], System: true}) {
				if err != nil {
					return fmt.Errorf("process: module %q: read the inputs of %q: %w", name, c.d.Process, err)
				}
				sources[name][rec.ID] = rec
			}
		}
	}
	for i, h := range folds {
		if h == nil {
			continue
		}
		for n := range h.took {
			t := &h.took[n]
			source, here := sources[t.module]
			if t.linked || !here {
				continue
			}
			if what := c.compare(t, source); what != "" {
				found[i] = append(found[i], c.stepProblem(h, t.at, "it takes %s, %s", t.what, what))
			}
		}
	}
	return nil
}

// compare tells how an event that was taken differs from the source's.
func (c *check) compare(t *took, source map[event.ID]event.Recorded) string {
	m, _ := c.module(t.module)
	switch rec, ok := source[t.id]; {
	case !ok:
		return "which is not in that log"
	case m.Log.ID() == t.log && rec.Position != t.position:
		return fmt.Sprintf("which stands at position %d there", rec.Position)
	case rec.Type != t.name:
		return fmt.Sprintf("which is a %q there", rec.Type)
	case t.whole && sha256.Sum256(rec.Data) != t.digest:
		return "which has another payload there"
	}
	return ""
}

// checkBeyond looks for receipts of commands that an instance would have sent on an input that it took, and did not: a
// command's id is made of its instance, its input, and its number in the step.
func (c *check) checkBeyond(ctx context.Context, folds []*history, found [][]Problem) error {
	type origin struct{ fold, step int }
	origins := map[string]origin{}
	var ids []string
	for i, h := range folds {
		if h == nil || !h.sure() {
			continue
		}
		for n := range h.concluded {
			id := h.concluded[n].next(c.d.Process, h.Key).String()
			origins[id] = origin{i, n}
			ids = append(ids, id)
		}
	}
	for _, m := range c.modules {
		if !c.receives[m.Name] {
			continue
		}
		receipts, err := c.entriesByKey(ctx, m.Log, eventlog.Receipt, ids)
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(receipts) {
			o := origins[id]
			h := folds[o.fold]
			s := &h.concluded[o.step]
			p := c.stepProblem(h, s.at, "module %q has a receipt of command %s, which would be number %d of those that the instance sent on %s; by its history it sent %d", m.Name, id, s.sent+1, s.what, s.sent)
			p.Kind = CommandProblem
			found[o.fold] = append(found[o.fold], p)
		}
	}
	return nil
}

// lostOutcome tells of a command whose outcome is an input of the instance, which neither took it nor has it in its queue:
// that of one that failed is for sure, that of one that can be undone, and what the definition handles, if it is at hand.
func (c *check) lostOutcome(ctx context.Context, h *history, s issued, e eventlog.Entry) (*Problem, error) {
	r, err := command.ReadReceipt(e)
	if err != nil || h.settled[s.id] || !h.sure() {
		return nil, nil //nolint:nilerr,nilnil // it is reported with the receipts
	}
	kind := outcomeKinds[r.Status]
	handled := c.ledger != nil && c.ledger.handles(h, kind, s.name)
	if kind != FailedInput && !s.awaited && !handled {
		return nil, nil //nolint:nilnil // nobody has to know
	}
	items, err := readQueue(ctx, c.Log, c.d.Process, h.Key, 0, 0)
	if err != nil {
		return nil, err
	}
	for n := range items {
		if items[n].taken.Command == s.id {
			return nil, nil //nolint:nilnil // it waits
		}
	}
	p := c.problem(InputProblem, h.Key, where(e), "%v was %s, and the instance neither took that nor ignored it, nor does it wait", s, r.Status)
	return &p, nil
}
