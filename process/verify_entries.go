package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// leftOver counts the entries of a kind, and where there are more than the instances know of, looks for those.
func (c *check) leftOver(ctx context.Context, k eventlog.Kind, known int64, find func(context.Context) error) error {
	n := int64(0)
	err := c.entries(ctx, c.Module, c.entriesOf(k), fmt.Sprintf("%v entries of %s", k, c.d.Process), func(eventlog.Entry) error {
		n++
		return nil
	})
	if err != nil || n == known {
		return err
	}
	return find(ctx)
}

// listedOnly looks for instances that are listed and have no stream.
func (c *check) listedOnly(ctx context.Context) error {
	lister := c.Log.(eventlog.StreamLister)
	return c.entries(ctx, c.Module, c.entriesOf(eventlog.Document), "list of "+c.d.Process, func(e eventlog.Entry) error {
		key := c.instanceOf(e.Key)
		info, err := lister.Stream(ctx, c.home.Stream(key))
		if err != nil || info.Version > 0 {
			return err
		}
		return c.report(c.problem(ListProblem, key, where(e), "the instance is listed, but has no stream"))
	})
}

// strayTimeouts looks for timeouts that no instance waits for.
func (c *check) strayTimeouts(ctx context.Context) error {
	var last *history
	return c.entries(ctx, c.Module, c.entriesOf(eventlog.Timeout), "timeouts of "+c.d.Process, func(e eventlog.Entry) error {
		parts := eventlog.SplitKey(e.Key)
		if len(parts) != 3 || len(e.Value) != len(event.ID{}) {
			return c.report(c.problem(TimeoutProblem, "", where(e), "it is no timeout of ours, and stops the process"))
		}
		stray := func(h *history) bool { _, set := h.timer(parts[2]); return !set && h.sure() }
		if last == nil || last.Key != parts[1] {
			h, err := c.known(ctx, parts[1])
			if err != nil {
				return err
			}
			last = h
		}
		if !stray(last) {
			return nil
		}
		if here, err := c.stillThere(ctx, e); err != nil || !here {
			return err
		}
		h, err := c.known(ctx, parts[1]) // it may have been set in the meantime
		if err != nil || !stray(h) {
			return err
		}
		return c.report(c.problem(TimeoutProblem, parts[1], where(e), "the instance does not wait for it: it was never set, has fired, or was cancelled"))
	})
}

// strayPending looks for commands that no instance sent.
func (c *check) strayPending(ctx context.Context) error {
	var last *history
	return c.entries(ctx, c.Module, c.entriesOf(eventlog.Pending), "pending commands of "+c.d.Process, func(e eventlog.Entry) error {
		parts := eventlog.SplitKey(e.Key)
		if len(parts) != 3 {
			return c.report(c.problem(CommandProblem, "", where(e), "it is no command of ours"))
		}
		var number int
		if _, err := fmt.Sscanf(parts[2], "%d", &number); err != nil {
			return c.report(c.problem(CommandProblem, parts[1], where(e), "it is no command of ours"))
		}
		if last == nil || last.Key != parts[1] {
			h, err := c.known(ctx, parts[1])
			if err != nil {
				return err
			}
			last = h
		}
		if number <= last.Sent || !last.sure() {
			return nil
		}
		if here, err := c.stillThere(ctx, e); err != nil || !here {
			return err
		}
		h, err := c.known(ctx, parts[1])
		if err != nil || number <= h.Sent || !h.sure() {
			return err
		}
		return c.report(c.problem(CommandProblem, parts[1], where(e), "the instance did not send it: its history has %d commands", h.Sent))
	})
}

// known returns what the store knows of an instance, as far as it can be read.
func (c *check) known(ctx context.Context, key string) (*history, error) {
	if c.d.Store == "streams" {
		var info eventlog.StreamInfo
		if lister, ok := c.Log.(eventlog.StreamLister); ok {
			var err error
			if info, err = lister.Stream(ctx, c.home.Stream(key)); err != nil {
				return nil, err
			}
		}
		h, err := foldHistory(ctx, c.home, candidate{key: key, truncated: info.Truncated})
		if err == nil {
			h.broken = h.broken || h.last < info.Version
		}
		return h, err
	}
	h := &history{Instance: Instance{Process: c.d.Process, Key: key}}
	found, err := documents(ctx, c.home, []string{key})
	if err != nil {
		return nil, err
	}
	if e, ok := found[key]; ok {
		i, err := outline(c.d.Process, key, e)
		if h.broken = err != nil || i == nil; !h.broken { // what cannot be read is reported elsewhere
			h.Instance = *i
		}
	}
	return h, nil
}

func (c *check) stillThere(ctx context.Context, e eventlog.Entry) (bool, error) {
	found, err := c.entriesByKey(ctx, c.Log, e.Kind, []string{e.Key})
	now, ok := found[e.Key]
	return ok && now.Revision == e.Revision, err
}

// holds checks the instances that stand aside, and the queues behind them.
func (c *check) holds(ctx context.Context) error {
	queued := int64(0)
	err := c.entries(ctx, c.Module, c.entriesOf(eventlog.Hold), "holds of "+c.d.Process, func(e eventlog.Entry) error {
		first, n, err := c.hold(ctx, e)
		queued += n
		if err != nil || len(first) == 0 {
			return err
		}
		found, err := c.entriesByKey(ctx, c.Log, eventlog.Hold, []string{e.Key})
		if err != nil {
			return err
		}
		e, ok := found[e.Key]
		if !ok {
			return nil
		}
		again, _, err := c.hold(ctx, e)
		if err != nil {
			return err
		}
		return c.report(both(first, again)...)
	})
	if err != nil {
		return err
	}
	return c.leftOver(ctx, eventlog.Queued, queued, c.strayQueued)
}

// hold checks one hold; it returns how many entries its queue has.
func (c *check) hold(ctx context.Context, e eventlog.Entry) (found []Problem, n int64, err error) {
	key := c.instanceOf(e.Key)
	bad := func(e eventlog.Entry, format string, args ...any) {
		found = append(found, c.problem(HoldProblem, key, where(e), format, args...))
	}
	q := eventlog.EntryQuery{Kind: eventlog.Queued, Prefix: eventlog.Key(c.d.Process, key) + "/"}
	seen := map[event.ID]bool{}
	highest := 0
	for item, err := range c.Log.Entries(ctx, q) {
		if err != nil {
			return nil, n, fmt.Errorf("process: queue of %s: %w", c.home.Stream(key), err)
		}
		n++
		var in Taken
		parts := eventlog.SplitKey(item.Key)
		if err := json.Unmarshal(item.Value, &in); err != nil {
			bad(item, "the input cannot be read: %v", err)
			continue
		}
		if seen[in.ID] {
			bad(item, "%s is in the queue twice", in.describe())
		}
		seen[in.ID] = true
		if _, err := fmt.Sscanf(parts[len(parts)-1], "%d", &highest); err != nil || len(parts) != 3 {
			bad(item, "it has no place in the queue")
		}
	}
	var h Holding
	if err := json.Unmarshal(e.Value, &h); err != nil {
		bad(e, "it cannot be read: %v", err)
		return found, n, nil
	}
	if int64(h.Queued) != n {
		bad(e, "it counts %d inputs in the queue, there are %d", h.Queued, n)
	}
	if highest > h.Next {
		bad(e, "the last input that it gave a number is %d, the queue goes up to %d", h.Next, highest)
	}
	switch h.Condition {
	case Held, Retrying, Awaiting:
	case Skipped:
		if !isAside(key) || h.Queued > 0 {
			bad(e, "it says that an event was skipped that could not be decoded, and is about another")
		}
	case Waiting:
		list, err := documents(ctx, c.home, []string{key})
		if err != nil {
			return nil, n, err
		}
		if _, exists := list[key]; exists {
			bad(e, "its inputs wait for an instance, which there is")
		}
	default:
		bad(e, "%q is no condition", h.Condition)
	}
	return found, n, nil
}

// strayQueued looks for inputs that wait behind nothing.
func (c *check) strayQueued(ctx context.Context) error {
	last, held := "", false
	return c.entries(ctx, c.Module, c.entriesOf(eventlog.Queued), "queues of "+c.d.Process, func(e eventlog.Entry) error {
		isHeld := func(key string) (bool, error) {
			found, err := c.entriesByKey(ctx, c.Log, eventlog.Hold, []string{eventlog.Key(c.d.Process, key)})
			return len(found) > 0, err
		}
		key := c.instanceOf(e.Key)
		if key != last {
			var err error
			if held, err = isHeld(key); err != nil {
				return err
			}
			last = key
		}
		if held {
			return nil
		}
		if here, err := c.stillThere(ctx, e); err != nil || !here {
			return err
		}
		if now, err := isHeld(key); err != nil || now {
			return err
		}
		return c.report(c.problem(HoldProblem, key, where(e), "the input waits in the queue of an instance that does not stand aside: it is never taken"))
	})
}
