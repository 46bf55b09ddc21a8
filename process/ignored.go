package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

// ignoredCount counts the inputs that a rule ignored because there was no instance.
type ignoredCount struct {
	Count  int64          `json:"count"`
	Marks  []Mark         `json:"marks"`            // what was counted, so that it isn't counted again when cursors are lost
	Nth    map[string]int `json:"nth,omitempty"`    // by module, of the event at its mark: how many of the partition had it before the last that it was counted for
	Passed []Mark         `json:"passed,omitempty"` // as Marks, of what was then given to all that it concerns: the partition is behind it
	dirty  bool
}

const ignoredPrefix = "ignored"

// ignoredKey names a count: of one rule, for one partition, so that workers don't count over each other.
type ignoredKey struct {
	rule      string
	partition int
}

func (k ignoredKey) entry(process string) string {
	return eventlog.Key(ignoredPrefix, process, k.rule, fmt.Sprintf("%03d", k.partition))
}

// Ignored returns how many inputs each rule of a process ignored because there was no instance for them. An event that
// concerns several instances counts once for each that is missing, as it is an input of each that is there; one without a
// key counts once.
func Ignored(ctx context.Context, log eventlog.Log, process string) (map[string]int64, error) {
	all := map[string]int64{}
	err := eachIgnored(ctx, log, process, func(k ignoredKey, c *ignoredCount) { all[k.rule] += c.Count })
	if err != nil {
		return nil, err
	}
	return all, nil
}

func eachIgnored(ctx context.Context, log eventlog.Log, process string, do func(ignoredKey, *ignoredCount)) error {
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Prefix: eventlog.Key(ignoredPrefix, process) + "/"}) {
		var c ignoredCount
		var k ignoredKey
		if err == nil {
			err = json.Unmarshal(e.Value, &c)
		}
		if err == nil {
			parts := eventlog.SplitKey(e.Key)                       // the prefix is of two, so there is a third
			if k.rule, k.partition = parts[2], -1; len(parts) > 3 { // before workers shared partitions there was one count
				_, err = fmt.Sscanf(parts[3], "%d", &k.partition)
			}
		}
		if err != nil {
			return fmt.Errorf("process: ignored inputs of %q: %w", process, err)
		}
		do(k, &c)
	}
	return nil
}

func readIgnored(ctx context.Context, log eventlog.Log, process string, m mine) (map[ignoredKey]*ignoredCount, error) {
	counts := map[ignoredKey]*ignoredCount{}
	err := eachIgnored(ctx, log, process, func(k ignoredKey, c *ignoredCount) {
		if k.partition >= 0 && k.partition < len(m.owns) && m.owns[k.partition] {
			counts[k] = c
		}
	})
	return counts, err
}

// countIgnored counts an input that there was no instance for: an event that concerns several once for each.
func (t *term) countIgnored(partition int, rule string, in *Taken) {
	it := t.giving
	if it == nil || it.ID != in.ID { // it comes late, or out of a queue: it was marked there, and is not met again
		t.ignoreWaiting(rule, partition)
		return
	}
	k := ignoredKey{rule, partition}
	c := t.ignored[k]
	if c == nil {
		c = &ignoredCount{}
		t.ignored[k] = c
	}
	it.ignored = append(it.ignored, k)
	if at := position(c.Marks, in); in.Position < at || in.Position == at && it.nth <= c.Nth[in.Module] {
		t.batch.stats.Duplicates++
		return
	}
	i := Instance{Marks: c.Marks}
	i.mark(Mark{Module: in.Module, Log: in.Log, Position: in.Position})
	c.Marks, c.dirty = i.Marks, true
	if c.Nth == nil {
		c.Nth = map[string]int{}
	}
	if c.Nth[in.Module] = it.nth; it.nth == 0 {
		delete(c.Nth, in.Module)
	}
	c.Count++
	t.batch.stats.Ignored++
	t.batch.ignored[k] = c
}

// ignoredPassed takes note that an event was given to all that it concerns, where some of them were not born: none of these
// takes it when it is born later, also when cursors are lost (G8).
func (t *term) ignoredPassed(it *item) {
	m := Mark{Module: it.Module, Log: it.Log, Position: it.Position}
	for _, k := range it.ignored {
		c := t.ignored[k]
		i := Instance{Marks: c.Passed}
		if i.Duplicate(&it.Taken) {
			continue // it is read again
		}
		i.mark(m)
		c.Passed = i.Marks
		t.batch.ignored[k] = c
	}
	it.ignored = nil
}

// ignoredUpTo returns how far each partition has come in a source, as far as its counts tell.
func (t *term) ignoredUpTo(m Module) []eventlog.Position {
	upTo := make([]eventlog.Position, t.cfg.Partitions)
	for k, c := range t.ignored {
		upTo[k.partition] = max(upTo[k.partition], position(c.Passed, &Taken{Module: m.Name, Log: m.Log.ID()}))
	}
	return upTo
}
