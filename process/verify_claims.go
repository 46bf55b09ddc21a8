package process

import (
	"context"
	"fmt"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// checkClaims checks that every key that an instance has claimed leads to it.
func (c *check) checkClaims(ctx context.Context, folds []*history, found [][]Problem) (n int64, err error) {
	var keys []string
	for _, h := range folds {
		if h != nil && h.sure() {
			for _, k := range h.Claims {
				keys = append(keys, k.entry(c.d.Process))
			}
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	entries, err := c.entriesByKey(ctx, c.Log, eventlog.Claim, keys)
	if err != nil {
		return 0, err
	}
	for i, h := range folds {
		if h == nil || !h.sure() {
			continue
		}
		for _, k := range h.Claims {
			e, ok := entries[k.entry(c.d.Process)]
			bad := func(format string, args ...any) {
				found[i] = append(found[i], c.problem(ClaimProblem, h.Key, where(eventlog.Entry{Kind: eventlog.Claim, Key: k.entry(c.d.Process)}), format, args...))
			}
			x, _, err := readClaim(e)
			switch {
			case !ok:
				bad("the instance has claimed the key, but there is no entry, so inputs that name it do not find it")
			case err != nil: // reported with the entries
			case x.Instance != h.Key:
				bad("the instance has claimed the key, by the entry %q has", x.Instance)
			default:
				n++
			}
		}
	}
	return n, nil
}

// claimEntries checks the entries of claimed keys, and what waits beside them.
func (c *check) claimEntries(ctx context.Context, known int64) error {
	held, waiting, items := int64(0), 0, 0
	rows := map[string]*claim{}
	err := c.entries(ctx, c.Module, c.entriesOf(eventlog.Claim), "claimed keys of "+c.d.Process, func(e eventlog.Entry) error {
		x, row, err := readClaim(e)
		switch {
		case err != nil:
			return c.report(c.problem(ClaimProblem, "", where(e), "it cannot be read: %v", err))
		case !row:
			items++
			return nil
		}
		if x.Instance != "" {
			held++
			rows[e.Key] = &x
		}
		waiting += x.Queued
		if x.Queued == 0 {
			return nil
		}
		return c.claimQueue(ctx, &x)
	})
	if err != nil {
		return err
	}
	if items != waiting {
		if err := c.strayWaiting(ctx); err != nil {
			return err
		}
	}
	if held == known {
		return nil
	}
	for _, key := range sortedKeys(rows) { // some instance does not know of its claim
		x := rows[key]
		unknown := func() (bool, error) {
			h, err := c.known(ctx, x.Instance)
			return err == nil && h.sure() && !slices.Contains(h.Claims, x.ClaimedKey), err
		}
		if not, err := unknown(); err != nil || !not {
			if err != nil {
				return err
			}
			continue
		}
		e := eventlog.Entry{Kind: eventlog.Claim, Key: key, Revision: x.rev}
		if here, err := c.stillThere(ctx, e); err != nil || !here {
			return err
		}
		if not, err := unknown(); err != nil || !not { // it may have claimed it in the meantime
			return err
		}
		if err := c.report(c.problem(ClaimProblem, x.Instance, where(e), "by the entry the instance has claimed the key, by its history it has not")); err != nil {
			return err
		}
	}
	return nil
}

// claimQueue checks what waits beside a key.
func (c *check) claimQueue(ctx context.Context, x *claim) error {
	e := eventlog.Entry{Kind: eventlog.Claim, Key: x.entry(c.d.Process), Revision: x.rev}
	items, err := readWaiting(ctx, c.Log, c.d.Process, x.ClaimedKey)
	if err != nil {
		return c.report(c.problem(ClaimProblem, x.Instance, where(e), "what waits beside the key cannot be read: %v", err))
	}
	seen, found := map[event.ID]bool{}, ""
	if len(items) != x.Queued {
		found = fmt.Sprintf("it counts %d inputs that wait beside the key, there are %d", x.Queued, len(items))
	}
	for n := range items {
		if in := &items[n].taken; seen[in.ID] {
			found = in.describe() + " waits beside the key twice"
		}
		seen[items[n].taken.ID] = true
	}
	if found == "" {
		return nil
	}
	if here, err := c.stillThere(ctx, e); err != nil || !here {
		return err
	}
	return c.report(c.problem(ClaimProblem, x.Instance, where(e), "%s", found))
}

// strayWaiting looks for inputs that wait beside a key of which nothing is known.
func (c *check) strayWaiting(ctx context.Context) error {
	return c.entries(ctx, c.Module, c.entriesOf(eventlog.Claim), "claimed keys of "+c.d.Process, func(e eventlog.Entry) error {
		parts := eventlog.SplitKey(e.Key)
		if len(parts) < 4 {
			return nil
		}
		row := ClaimedKey{parts[1], parts[2]}.entry(c.d.Process)
		for range 2 { // it may have been taken meanwhile
			rows, err := c.entriesByKey(ctx, c.Log, eventlog.Claim, []string{row})
			if err != nil {
				return err
			}
			if x, _, err := readClaim(rows[row]); err == nil && x.Queued > 0 {
				return nil
			}
			if here, err := c.stillThere(ctx, e); err != nil || !here {
				return err
			}
		}
		return c.report(c.problem(ClaimProblem, "", where(e), "the input waits beside a key that knows nothing of it: it is never taken"))
	})
}
