package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// verifyPage is how many instances are looked at together.
const verifyPage = 512

// check is the verification of one process. Everything that is found is counted, so that at the end the entries that
// belong to nothing are those that are left over, without keeping any of them in memory.
type check struct {
	*verifier
	Module
	d        *Description
	home     Home
	ledger   *ledger // where the definition is at hand
	listed   int64   // of the instances looked at, those in the list
	timeouts int64   // entries that an instance knows of
	pending  int64
	claims   int64
	looked   int64
}

// candidate is an instance to look at.
type candidate struct {
	key       string
	truncated event.Version
	version   event.Version // of its stream; 0 where it is not known
}

// process checks what a process keeps.
func (v *verifier) process(ctx context.Context, m Module, d *Description) error {
	c := &check{verifier: v, Module: m, d: d, home: Home{Log: m.Log, name: d.Process, module: m.Name, replay: d.Clock == "replay"}}
	_, lists := m.Log.(eventlog.StreamLister)
	var err error
	if c.ledger, err = c.account(ctx); err != nil {
		return err
	}
	switch {
	case d.Store == "streams" && lists:
		if err := c.byStream(ctx); err != nil {
			return err
		}
		if err := c.leftOver(ctx, eventlog.Document, c.listed, c.listedOnly); err != nil {
			return err
		}
	case d.Store == "streams" || d.Store == "documents":
		if err := c.byList(ctx, ""); err != nil {
			return err
		}
	default:
		return v.report(Problem{Kind: NotChecked, Module: m.Name, Process: d.Process, What: fmt.Sprintf("its instances are kept by %s, which only the program can read", d.Store)})
	}
	if err := c.leftOver(ctx, eventlog.Timeout, c.timeouts, c.strayTimeouts); err != nil {
		return err
	}
	if err := c.leftOver(ctx, eventlog.Pending, c.pending, c.strayPending); err != nil {
		return err
	}
	if err := c.claimEntries(ctx, c.claims); err != nil {
		return err
	}
	if err := c.holds(ctx); err != nil || c.ledger == nil {
		return err
	}
	return c.ledger.close(ctx)
}

func (c *check) what() string { return fmt.Sprintf("instances of %s", c.d.Process) }

// byStream looks at every instance that has a stream.
func (c *check) byStream(ctx context.Context) error {
	var page []candidate
	for info, err := range c.Log.(eventlog.StreamLister).Streams(ctx, c.d.Process, "", 0) {
		if err != nil {
			return fmt.Errorf("process: list the streams of %q: %w", c.d.Process, err)
		}
		page = append(page, candidate{key: instanceKey(info.Stream), truncated: info.Truncated, version: info.Version})
		if len(page) == verifyPage {
			if err := c.page(ctx, page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	return c.page(ctx, page)
}

// byList looks at every instance in the list.
func (c *check) byList(ctx context.Context, after string) error {
	var page []candidate
	for e, err := range c.Log.Entries(ctx, c.entriesOf(eventlog.Document)) {
		if err != nil {
			return fmt.Errorf("process: list the instances of %q: %w", c.d.Process, err)
		}
		if key := c.instanceOf(e.Key); key > after {
			page = append(page, candidate{key: key})
		}
		if len(page) == verifyPage {
			if err := c.page(ctx, page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	return c.page(ctx, page)
}

func (c *check) entriesOf(k eventlog.Kind) eventlog.EntryQuery {
	return eventlog.EntryQuery{Kind: k, Prefix: eventlog.Key(c.d.Process) + "/"}
}

func (c *check) instanceOf(entryKey string) string { return eventlog.SplitKey(entryKey)[1] }

// page looks at some instances, and again at those where something is wrong: the application may be at work.
func (c *check) page(ctx context.Context, page []candidate) error {
	if len(page) == 0 {
		return nil
	}
	folds, found, count, err := c.look(ctx, page)
	if err != nil {
		return err
	}
	if c.ledger != nil {
		if err := c.ledger.add(ctx, page, folds); err != nil {
			return err
		}
	}
	c.listed += count.listed
	c.timeouts += count.timeouts
	c.pending += count.pending
	c.claims += count.claims
	for n := range page {
		if len(found[n]) == 0 {
			continue
		}
		again, err := c.again(ctx, page[n])
		if err != nil {
			return err
		}
		if err := c.report(both(found[n], again)...); err != nil {
			return err
		}
	}
	c.looked += int64(len(page))
	c.progress(Progress{Module: c.Name, What: c.what(), Done: c.looked})
	return nil
}

func (c *check) again(ctx context.Context, one candidate) ([]Problem, error) {
	if lister, ok := c.Log.(eventlog.StreamLister); ok && c.d.Store == "streams" {
		info, err := lister.Stream(ctx, c.home.Stream(one.key))
		if err != nil {
			return nil, err
		}
		one.truncated, one.version = info.Truncated, info.Version
	}
	_, found, _, err := c.look(ctx, []candidate{one})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// both returns the problems that were found both times.
func both(first, again []Problem) []Problem {
	return slices.DeleteFunc(again, func(p Problem) bool { return !slices.Contains(first, p) })
}

// counted is how many entries the instances of a page account for.
type counted struct{ listed, timeouts, pending, claims int64 }

// look checks the instances of a page and returns what is known of each, and its problems. Histories are read before entries, and pending
// commands before receipts: a command is always in one of the places that are still to be looked at.
func (c *check) look(ctx context.Context, page []candidate) (folds []*history, found [][]Problem, count counted, err error) {
	if folds, err = c.fold(ctx, page); err != nil {
		return nil, nil, count, err
	}
	found = make([][]Problem, len(page))
	keys := make([]string, len(page))
	for n := range page {
		keys[n] = page[n].key
	}
	lists, err := documents(ctx, c.home, keys)
	if err != nil {
		return nil, nil, count, err
	}
	for n, p := range page {
		e, listed := lists[p.key]
		if listed {
			count.listed++
		}
		var problems []Problem
		if folds[n], problems = c.checkListing(folds[n], p, e, listed); folds[n] != nil {
			problems = append(folds[n].problems, problems...)
		}
		found[n] = problems
	}
	if count.timeouts, err = c.checkTimeouts(ctx, folds, found); err != nil {
		return nil, nil, count, err
	}
	if count.claims, err = c.checkClaims(ctx, folds, found); err != nil {
		return nil, nil, count, err
	}
	if err := c.checkSources(ctx, folds, found); err != nil {
		return nil, nil, count, err
	}
	if count.pending, err = c.checkCommands(ctx, folds, found); err != nil {
		return nil, nil, count, err
	}
	return folds, found, count, c.checkBeyond(ctx, folds, found)
}

// fold reads the histories of a page, several at a time; those of instances kept as documents are nil.
func (c *check) fold(ctx context.Context, page []candidate) ([]*history, error) {
	folds := make([]*history, len(page))
	if c.d.Store != "streams" {
		return folds, nil
	}
	const share = verifyPage / 8
	errs := make([]error, (len(page)+share-1)/share)
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(errs)) {
		running.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(errs); n = int(next.Add(1)) - 1 {
				from, to := n*share, min((n+1)*share, len(page))
				errs[n] = foldHistories(ctx, c.home, page[from:to], folds[from:to])
			}
		})
	}
	running.Wait()
	return folds, errors.Join(errs...)
}

func (c *check) problem(kind ProblemKind, instance, where, format string, args ...any) Problem {
	return Problem{Kind: kind, Module: c.Name, Process: c.d.Process, Instance: instance, Where: where, What: fmt.Sprintf(format, args...)}
}

// checkListing compares an instance with what the list says. An instance that is a document is what its document says.
func (c *check) checkListing(h *history, p candidate, e eventlog.Entry, listed bool) (*history, []Problem) {
	bad := func(format string, args ...any) []Problem {
		return []Problem{c.problem(ListProblem, p.key, where(eventlog.Entry{Kind: eventlog.Document, Key: eventlog.Key(c.d.Process, p.key)}), format, args...)}
	}
	if h != nil && h.last < p.version {
		h.broken = true
		return h, []Problem{c.problem(StreamProblem, p.key, fmt.Sprintf("stream %q", c.home.Stream(p.key)), "its last version is %d, but the last that can be read is %d", p.version, h.last)}
	}
	if !listed {
		if h == nil || h.steps == 0 {
			return nil, nil
		}
		return h, bad("the instance has a history of %d steps, but is not in the list of instances, so its next input would start it anew", h.steps)
	}
	if h == nil {
		i, err := outline(c.d.Process, p.key, e)
		switch {
		case err != nil:
			return nil, bad("it cannot be read: %v", err)
		case i == nil:
			return nil, bad("it holds no instance")
		}
		h = &history{Instance: *i}
		if twice := duplicate(i.Taken); !twice.IsZero() {
			return h, bad("it took event %s twice", twice)
		}
		return h, nil
	}
	var s Summary
	if err := json.Unmarshal(e.Value, &s); err != nil {
		return h, bad("it cannot be read: %v", err)
	}
	switch {
	case h.broken:
		return h, nil
	case s.Status != h.Status:
		return h, bad("the list says that the instance is %v, by its history it is %v", s.Status, h.Status)
	case !s.Started.Equal(h.Started):
		return h, bad("the list says that the instance started at %s, by its history it was at %s", s.Started.Format(time.RFC3339Nano), h.Started.Format(time.RFC3339Nano))
	case s.Steps > h.Steps:
		return h, bad("the list says that the instance took %d inputs, its history has %d", s.Steps, h.Steps)
	}
	return h, nil
}

func duplicate(ids []event.ID) event.ID {
	seen := make(map[event.ID]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			return id
		}
		seen[id] = true
	}
	return event.ID{}
}

// entriesByKey reads entries by their keys.
func (c *check) entriesByKey(ctx context.Context, log eventlog.Log, kind eventlog.Kind, keys []string) (map[string]eventlog.Entry, error) {
	found := make(map[string]eventlog.Entry, len(keys))
	for len(keys) > 0 {
		n := min(len(keys), 1000)
		for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: kind, Keys: keys[:n]}) {
			if err != nil {
				return nil, fmt.Errorf("process: read %v entries: %w", kind, err)
			}
			found[e.Key] = e
		}
		keys = keys[n:]
	}
	return found, nil
}

// checkTimeouts checks that every timeout that an instance waits for has an entry that makes it fire.
func (c *check) checkTimeouts(ctx context.Context, folds []*history, found [][]Problem) (int64, error) {
	var keys []string
	for _, h := range folds {
		if h == nil || !h.sure() {
			continue
		}
		for _, t := range h.Timers {
			keys = append(keys, timeoutKey(c.d.Process, h.Key, t.Name))
		}
	}
	entries, err := c.entriesByKey(ctx, c.Log, eventlog.Timeout, keys)
	if err != nil {
		return 0, err
	}
	for n, h := range folds {
		if h == nil || !h.sure() {
			continue
		}
		for _, t := range h.Timers {
			key := timeoutKey(c.d.Process, h.Key, t.Name)
			e, ok := entries[key]
			bad := func(format string, args ...any) {
				found[n] = append(found[n], c.problem(TimeoutProblem, h.Key, where(eventlog.Entry{Kind: eventlog.Timeout, Key: key}), format, args...))
			}
			switch {
			case !ok:
				bad("the instance waits for it until %s, but there is no entry, so it never fires", t.Due.Format(time.RFC3339Nano))
			case !bytes.Equal(e.Value, t.ID[:]):
				bad("the entry is of another timeout of that name than the instance waits for")
			case !e.Due.Equal(t.Due):
				bad("it is due at %s, by the instance's history at %s", e.Due.Format(time.RFC3339Nano), t.Due.Format(time.RFC3339Nano))
			}
		}
	}
	return int64(len(entries)), nil
}

// checkCommands checks that every command that was decided waits to be dispatched or has its receipt (G7).
func (c *check) checkCommands(ctx context.Context, folds []*history, found [][]Problem) (int64, error) {
	var keys []string
	for _, h := range folds {
		if h != nil {
			for _, s := range h.sent {
				keys = append(keys, pendingKey(c.d.Process, h.Key, s.number))
			}
		}
	}
	pending, err := c.entriesByKey(ctx, c.Log, eventlog.Pending, keys)
	if err != nil {
		return 0, err
	}
	asked := map[string][]string{}
	for n, h := range folds {
		if h == nil {
			continue
		}
		for _, s := range h.sent {
			e, ok := pending[pendingKey(c.d.Process, h.Key, s.number)]
			if !ok {
				asked[s.module] = append(asked[s.module], s.id.String())
				continue
			}
			if p := c.checkPending(h, s, e); p != nil {
				found[n] = append(found[n], *p)
			}
		}
	}
	receipts := map[string]map[string]eventlog.Entry{}
	for module, ids := range asked {
		m, ok := c.module(module)
		if !ok {
			if err := c.missing(c.Module, module, "the outcomes of commands"); err != nil {
				return 0, err
			}
			continue
		}
		if receipts[module], err = c.entriesByKey(ctx, m.Log, eventlog.Receipt, ids); err != nil {
			return 0, err
		}
	}
	for n, h := range folds {
		if h == nil {
			continue
		}
		for _, s := range h.sent {
			if _, waits := pending[pendingKey(c.d.Process, h.Key, s.number)]; waits || receipts[s.module] == nil {
				continue
			}
			p := c.checkReceipt(h, s, receipts[s.module])
			if e, answered := receipts[s.module][s.id.String()]; p == nil && answered {
				if p, err = c.lostOutcome(ctx, h, s, e); err != nil {
					return 0, err
				}
			}
			if p != nil {
				found[n] = append(found[n], *p)
			}
		}
	}
	return int64(len(pending)), nil
}

// unanswered remembers a command that had no receipt, so that what it led to nevertheless is noticed.
func (c *check) unanswered(h *history, s issued) {
	if c.open[s.module] == nil {
		c.open[s.module] = map[event.ID]Problem{}
	}
	c.open[s.module][s.id] = Problem{Process: c.d.Process, Instance: h.Key}
}

func (c *check) checkPending(h *history, s issued, e eventlog.Entry) *Problem {
	c.unanswered(h, s)
	var sent Sent
	var p Problem
	switch err := json.Unmarshal(e.Value, &sent); {
	case err != nil:
		p = c.problem(CommandProblem, h.Key, where(e), "it cannot be read: %v", err)
	case sent.ID != s.id || sent.envelope().Digest() != s.digest || sent.Module != s.module:
		p = c.problem(CommandProblem, h.Key, where(e), "it is not the %v, that the instance's history has under this number", s)
	case h.outcomes[s.id] != 0:
		p = c.problem(CommandProblem, h.Key, where(e), "%v still waits to be dispatched, though the instance took its outcome", s)
	default:
		return nil
	}
	return &p
}

// outcomeKinds are the inputs that outcomes are.
var outcomeKinds = map[command.Status]Kind{command.Accepted: AcceptedInput, command.Rejected: RejectedInput, command.Failed: FailedInput, command.Expired: FailedInput}

func (c *check) checkReceipt(h *history, s issued, receipts map[string]eventlog.Entry) *Problem {
	e, ok := receipts[s.id.String()]
	if !ok {
		c.unanswered(h, s)
		p := c.problem(CommandProblem, h.Key, "", "%v for module %q neither waits to be dispatched nor has a receipt there: it never takes effect", s, s.module)
		return &p
	}
	r, err := command.ReadReceipt(e)
	if err != nil {
		return nil // reported with the receipts
	}
	wanted := outcomeKinds[r.Status]
	var p Problem
	switch took := h.outcomes[s.id]; {
	case r.Digest != s.digest:
		p = c.problem(ReceiptProblem, h.Key, where(e), "module %q keeps it for another %q than %v was", s.module, r.Type, s)
	case took != 0 && took != wanted:
		p = c.problem(StepProblem, h.Key, where(e), "the receipt in module %q says that %v was %s, the instance took it as %v", s.module, s, r.Status, took)
	default:
		return nil
	}
	return &p
}
