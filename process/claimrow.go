package process

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// claimRow is what is kept of a claimed key. Like a tombstone it stays when the claim has ended: it knows which inputs
// found the instances that had the key, so that none of them finds another one later, whatever cursors say.
type claimRow struct {
	Instance string `json:"instance,omitempty"` // that has it; none where it was released, or nobody has claimed it yet
	From     []Mark `json:"from,omitempty"`     // where the process stood, for that instance, at the claim: what comes behind is its own
	Seen     []Mark `json:"seen,omitempty"`     // up to there, the owner of the key's partition has looked at inputs that name it
	Past     []span `json:"past,omitempty"`     // what is decided for good: what came while earlier claims held, and what was handed over
	Queued   int    `json:"queued,omitempty"`   // inputs that wait beside the key
	Next     int    `json:"next,omitempty"`     // number of the last that waited
}

// span is a range of positions of a source's log.
type span struct {
	Module string            `json:"module"`
	Log    event.ID          `json:"log"`
	From   eventlog.Position `json:"from"` // not included
	To     eventlog.Position `json:"to"`
}

// after tells whether an input came behind the claim, so that the instance takes it in its place.
func (r *claimRow) after(in *Taken) bool { return in.Position > position(r.From, in) }

// seen tells whether the owner of the key's partition has looked at the input before.
func (r *claimRow) seen(in *Taken) bool { return in.Position <= position(r.Seen, in) }

// past tells whether the input was decided under an earlier claim, or handed over under this one.
func (r *claimRow) past(in *Taken) bool {
	return slices.ContainsFunc(r.Past, func(s span) bool {
		return s.Module == in.Module && s.Log == in.Log && in.Position > s.From && in.Position <= s.To
	})
}

// position returns the mark for the history of the log that an input comes from, 0 where there is none.
func position(marks []Mark, in *Taken) eventlog.Position {
	for _, m := range marks {
		if m.Module == in.Module && m.Log == in.Log {
			return m.Position
		}
	}
	return 0
}

func (r *claimRow) see(in *Taken) {
	i := Instance{Marks: slices.Clone(r.Seen)}
	i.mark(Mark{Module: in.Module, Log: in.Log, Position: in.Position})
	r.Seen = i.Marks
}

// settle takes note that what came before the claim, and was looked at, is decided: it was ignored, taken, or handed over
// to the instance, and none of it waits any more.
func (r *claimRow) settle() {
	for _, m := range r.Seen {
		if to := min(m.Position, position(r.From, &Taken{Module: m.Module, Log: m.Log})); to > 0 {
			r.Past = join(r.Past, span{m.Module, m.Log, 0, to})
		}
	}
}

// end ends the claim: what came behind it, up to where the process stands for its instance, was the instance's.
func (r *claimRow) end(upTo []Mark) {
	for _, m := range upTo {
		from := position(r.From, &Taken{Module: m.Module, Log: m.Log})
		if m.Position > from {
			r.Past = join(r.Past, span{m.Module, m.Log, from, m.Position})
		}
	}
	r.Instance, r.From = "", nil
}

// join adds a span to others; those that touch become one.
func join(spans []span, s span) []span {
	rest := make([]span, 0, len(spans)+1)
	for _, x := range spans {
		if x.Module == s.Module && x.Log == s.Log && x.From <= s.To && s.From <= x.To {
			s.From, s.To = min(s.From, x.From), max(s.To, x.To)
			continue
		}
		rest = append(rest, x)
	}
	return append(rest, s)
}

// ClaimInfo is a key that an instance has claimed, or that inputs wait for.
type ClaimInfo struct {
	ClaimedKey
	Instance string    // that has it; empty while nobody does
	Waiting  int       // inputs that wait beside the key
	Until    time.Time // when the first of them has waited for too long; zero by the replay clock, and where an instance has the key
}

// Claims lists the keys that instances of a process have claimed, or that inputs wait for, by name and key; keys that were
// released are left out. It needs no definition.
func Claims(ctx context.Context, log eventlog.Log, process string) iter.Seq2[ClaimInfo, error] {
	return func(yield func(ClaimInfo, error) bool) {
		for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Claim, Prefix: eventlog.Key(process) + "/"}) {
			var c claim
			row := false
			if err == nil {
				c, row, err = readClaim(e)
			}
			if err != nil {
				yield(ClaimInfo{}, fmt.Errorf("process: claimed keys of %q: %w", process, err))
				return
			}
			if !row || c.Instance == "" && c.Queued == 0 {
				continue
			}
			info := ClaimInfo{ClaimedKey: c.ClaimedKey, Instance: c.Instance, Waiting: c.Queued}
			if c.Instance == "" {
				info.Until = c.due
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// claim is a row as a turn has it.
type claim struct {
	ClaimedKey
	claimRow
	rev     eventlog.Revision
	due     time.Time                      // when somebody must look at it
	reached map[string][]eventlog.Position // how far each partition was before the row was read, by module; nil where all are this worker's
	waiting []queued                       // what waits beside it, once it was read
	read    bool                           // it was
}

// readClaim reads a row; false where the entry is an input that waits beside one.
func readClaim(e eventlog.Entry) (c claim, row bool, err error) {
	parts := eventlog.SplitKey(e.Key)
	if len(parts) != 3 {
		return c, false, nil
	}
	c = claim{ClaimedKey: ClaimedKey{parts[1], parts[2]}, rev: e.Revision, due: e.Due}
	if err := json.Unmarshal(e.Value, &c.claimRow); err != nil {
		return c, true, &eventlog.CorruptError{Address: "claim " + e.Key, Reason: err.Error()}
	}
	return c, true, nil
}

// put returns the write that keeps the row, if nobody has changed it since it was read.
func (c *claim) put(process string) (eventlog.Write, error) {
	value, err := json.Marshal(&c.claimRow)
	if err != nil {
		return nil, err
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: c.entry(process), Value: value, Due: c.due}, Expect: c.rev}, nil
}

// readWaiting returns what waits beside a key, in order.
func readWaiting(ctx context.Context, log eventlog.Log, process string, k ClaimedKey) ([]queued, error) {
	var items []queued
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Claim, Prefix: k.entry(process) + "/"}) {
		var item queued
		if err == nil {
			err = json.Unmarshal(e.Value, &item.taken)
		}
		if err == nil {
			_, err = fmt.Sscanf(eventlog.SplitKey(e.Key)[3], "%d", &item.number)
		}
		if err != nil {
			return nil, fmt.Errorf("process: what waits for %v: %w", k, err)
		}
		items = append(items, item)
	}
	return items, nil
}
