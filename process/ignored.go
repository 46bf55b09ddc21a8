package process

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

// ignoredCount counts the inputs that a rule ignored because there was no instance.
type ignoredCount struct {
	Count int64  `json:"count"`
	Marks []Mark `json:"marks"` // what was counted, so that it isn't counted again when cursors are lost
	dirty bool
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

// Ignored returns how many inputs each rule of a process ignored because there was no instance for them.
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

// countIgnored counts an input that there was no instance for.
func (t *term) countIgnored(partition int, rule string, in *Taken) {
	k := ignoredKey{rule, partition}
	c := t.ignored[k]
	if c == nil {
		c = &ignoredCount{}
		t.ignored[k] = c
	}
	i := Instance{Marks: c.Marks}
	if i.Duplicate(in) {
		t.batch.stats.Duplicates++
		return
	}
	i.mark(Mark{Module: in.Module, Log: in.Log, Position: in.Position})
	c.Marks, c.dirty = i.Marks, true
	c.Count++
	t.batch.stats.Ignored++
	t.batch.ignored[k] = c
}
