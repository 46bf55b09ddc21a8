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

// Ignored returns how many inputs each rule of a process ignored because there was no instance for them.
func Ignored(ctx context.Context, log eventlog.Log, process string) (map[string]int64, error) {
	counts, err := readIgnored(ctx, log, process)
	if err != nil {
		return nil, err
	}
	all := make(map[string]int64, len(counts))
	for rule, c := range counts {
		all[rule] = c.Count
	}
	return all, nil
}

func readIgnored(ctx context.Context, log eventlog.Log, process string) (map[string]*ignoredCount, error) {
	counts := map[string]*ignoredCount{}
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Setting, Prefix: eventlog.Key(ignoredPrefix, process) + "/"}) {
		var c ignoredCount
		if err == nil {
			err = json.Unmarshal(e.Value, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("process: ignored inputs of %q: %w", process, err)
		}
		counts[eventlog.SplitKey(e.Key)[2]] = &c
	}
	return counts, nil
}

// countIgnored counts an input that there was no instance for.
func (t *term) countIgnored(rule string, in *Taken) {
	c := t.ignored[rule]
	if c == nil {
		c = &ignoredCount{}
		t.ignored[rule] = c
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
	t.batch.ignored[rule] = c
}
