package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// source reads one module's log for a process: pages of inputs, decoded and located ahead of the loop that takes them.
type source struct {
	module  Module
	mine    mine // only what concerns these partitions is taken
	order   int
	types   []string
	written bool              // the run itself writes it, so it doesn't hold the replay clock back
	cursors []consumer.Cursor // by partition; of those of others nothing is known
	pages   chan page
	page    int               // events read ahead at once
	reached eventlog.Position // the last event that was read ahead; follow's own

	buffer  []item
	scanned eventlog.Position // everything up to it is in the buffer or was taken
	ended   bool              // the log had no more when it was last read
	sealed  bool
	blocked error     // why it cannot be read on
	time    time.Time // the greatest event time taken from it
	taken   eventlog.Position
	last    event.ID            // the event at taken
	dirty   []bool              // partitions whose cursor must be written
	known   []eventlog.Position // by partition: so far it had come before this term, also where its cursor was lost
}

func cursorKey(process, module string, partition int) string {
	return eventlog.Key(process, module, fmt.Sprintf("%03d", partition))
}

// load reads the source's cursors and checks that its log is still the one that was read (G1).
func (s *source) load(ctx context.Context, process string, home eventlog.Log) error {
	checked := map[eventlog.Position]bool{}
	return eachCursor(ctx, home, process, s.module.Name, len(s.cursors), func(p int, c consumer.Cursor) error {
		if !checked[c.Position] {
			if err := c.Check(ctx, s.module.Log); err != nil {
				return fmt.Errorf("module %q: %w", s.module.Name, err)
			}
			checked[c.Position] = true
		}
		if s.mine.owns[p] {
			s.cursors[p] = c
		}
		s.reached = max(s.reached, c.At)
		return nil
	})
}

// eachCursor reads the cursors of a process on one of its sources.
func eachCursor(ctx context.Context, home eventlog.Log, process, module string, n int, do func(p int, c consumer.Cursor) error) error {
	for e, err := range home.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Cursor, Prefix: eventlog.Key(process, module) + "/"}) {
		if err != nil {
			return fmt.Errorf("process: read cursors: %w", err)
		}
		var c consumer.Cursor
		var p int
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return fmt.Errorf("process: cursor %q: %w", e.Key, err)
		}
		if _, err := fmt.Sscanf(eventlog.SplitKey(e.Key)[2], "%d", &p); err != nil || p < 0 || p >= n {
			return fmt.Errorf("process: cursor %q: no such partition", e.Key)
		}
		if err := do(p, c); err != nil {
			return err
		}
	}
	return nil
}

// begin returns the position behind which the source is read: that of the least cursor. Its time is that of the log up to
// there, and not what a partition that came further has seen.
func (s *source) begin() eventlog.Position {
	var least *consumer.Cursor
	for p := range s.cursors {
		if s.mine.owns[p] && (least == nil || s.cursors[p].Position < least.Position) {
			least = &s.cursors[p]
		}
	}
	s.time = least.Time
	return least.Position
}

// item is an input on its way to its instances.
type item struct {
	Taken
	handlings []handling
	keys      []string
	claims    []ClaimedKey // that it names
	given     int          // so many of the keys have been given it
	claimed   int          // and of the claimed ones
	offered   []int        // the same, by partition
	nth       int          // how many of its partition had it before the one that is given it now
	ignored   []ignoredKey // the counts in which it is
	others    bool         // it concerns partitions of other workers alone
	err       error        // it cannot be decoded or located
}

// page is what a source read at once.
type page struct {
	items   []item
	scanned eventlog.Position
	head    eventlog.Position
	ended   bool
	sealed  bool
	blocked error // it cannot be read on, for this reason
	err     error // the log failed
}

// follow reads pages until the context ends.
func (s *source) follow(ctx context.Context, r *router, replay bool, from eventlog.Position, wake func()) {
	send := func(p page) bool {
		select {
		case s.pages <- p:
			wake()
			return true
		case <-ctx.Done():
			return false
		}
	}
	for at := from; ; {
		p := s.read(ctx, r, replay, at)
		if ctx.Err() != nil || !send(p) || p.err != nil {
			return
		}
		at = p.scanned
		var err error
		switch {
		case p.blocked != nil:
			err = consumer.Sleep(ctx, 5*time.Second) // for a program that knows more, or an operator
		case p.ended && !p.sealed && replay && !s.written:
			err = s.awaitSeal(ctx, p.head)
		case p.ended:
			err = s.module.Log.Wait(ctx, p.head)
		}
		if err != nil {
			if ctx.Err() == nil {
				send(page{err: err})
			}
			return
		}
	}
}

// awaitSeal waits until the log grows or, since a seal is no event, for a moment.
func (s *source) awaitSeal(ctx context.Context, head eventlog.Position) error {
	short, done := context.WithTimeout(ctx, time.Second)
	defer done()
	if err := s.module.Log.Wait(short, head); err != nil && short.Err() == nil {
		return err
	}
	return ctx.Err()
}

// head returns how far to read. What the log is known to reach is enough, where that is further than what was read: only
// the replay clock has to know the end.
func (s *source) head(ctx context.Context, replay bool, at eventlog.Position) (eventlog.Position, error) {
	if w, ok := s.module.Log.(eventlog.Watcher); ok && !replay {
		if seen := w.Seen(); seen > at {
			return seen, nil
		}
	}
	return s.module.Log.Head(ctx)
}

func (s *source) read(ctx context.Context, r *router, replay bool, at eventlog.Position) (p page) {
	var seal Seal
	var err error
	if replay { // before the events: what is sealed now is complete in what is read afterwards
		if seal, p.sealed, err = ReadSeal(ctx, s.module.Log); err != nil {
			return page{err: err}
		}
	}
	if p.head, err = s.head(ctx, replay, at); err != nil {
		return page{err: err}
	}
	defer func() { p.sealed = p.sealed && s.reached <= seal.Position }() // what came behind a seal has broken it
	p.scanned, p.ended = p.head, true
	if at >= p.head {
		p.scanned = at
		return p
	}
	log := s.module.Log.ID()
	p.items = make([]item, 0, min(uint64(s.page), uint64(p.head-at))) // #nosec G115 -- a size
	rows := 0
	for rec, err := range s.module.Log.Read(ctx, eventlog.Query{After: at, To: p.head, Types: s.types, Limit: s.page}) {
		if err != nil {
			return page{err: err}
		}
		s.reached = rec.Position
		if rows++; rows == s.page { // also of what is left out below: there may be more behind it
			p.scanned, p.ended = rec.Position, rec.Position == p.head
		}
		it := item{Taken: takenEvent(s.module.Name, log, rec, replay)}
		it.handlings, it.err = r.decodeAll(&it.Taken)
		if _, newer := errors.AsType[*event.NewerSchemaError](it.err); newer {
			p.blocked, p.scanned, p.ended = it.err, rec.Position-1, !replay
			return p
		}
		if it.err == nil {
			if len(it.handlings) == 0 {
				continue // of a type that an upcaster might have turned into one of ours
			}
			it.keys, it.err = r.locate(&it.Taken, it.handlings)
			if it.err == nil {
				it.claims, it.err = r.claims(&it.Taken, it.handlings)
			}
		}
		it.keep(s.mine)
		p.items = append(p.items, it)
	}
	return p
}

// offer takes note that one of a partition is given the input.
func (it *item) offer(partition, partitions int) {
	if len(it.keys)+len(it.claims) < 2 {
		return
	}
	if it.offered == nil {
		it.offered = make([]int, partitions)
	}
	it.nth = it.offered[partition]
	it.offered[partition]++
}

// ownKey returns the key of an input that is no instance's: of an event that cannot be decoded or located the one under
// which it is held, of one that has no key the empty one.
func (it *item) ownKey() string {
	if it.err != nil {
		return undecodable + it.Module + "/" + it.ID.String()
	}
	return ""
}

// keep leaves of an input what concerns these partitions. It has its place in the log in any case.
func (it *item) keep(m mine) {
	if m.all {
		return
	}
	if it.err != nil || len(it.keys) == 0 && len(it.claims) == 0 {
		it.others = !m.has(it.ownKey())
	} else {
		it.keys = slices.DeleteFunc(it.keys, func(key string) bool { return !m.has(key) })
		it.others = len(it.keys) == 0 && len(it.claims) == 0 // whose a claimed key is, its entry tells
	}
	if it.others {
		it.handlings, it.Data = nil, nil
	}
}

// poll takes over a page if there is one and the buffer is empty.
func (s *source) poll() (got bool, blocked, err error) {
	for len(s.buffer) == 0 {
		select {
		case p := <-s.pages:
			if p.err != nil {
				return got, nil, p.err
			}
			got, blocked = true, p.blocked
			s.buffer, s.scanned, s.ended, s.sealed = p.items, p.scanned, p.ended, p.sealed
		default:
			return got, blocked, nil
		}
	}
	return got, blocked, nil
}

// next returns the first input in the buffer and the instant that the clock reaches with it.
func (s *source) next() (*item, time.Time) {
	it := &s.buffer[0]
	at := it.Time
	if at.Before(s.time) {
		at = s.time
	}
	return it, at
}

// pop takes the first input out of the buffer.
func (s *source) pop() {
	it := &s.buffer[0]
	s.taken, s.last = it.Position, it.ID
	if it.Time.After(s.time) {
		s.time = it.Time
	}
	s.buffer = s.buffer[1:]
}

// routed returns the position up to which the partition's inputs from this source have been given to instances, in this
// term or before.
func (s *source) routed(partition int) eventlog.Position {
	return max(s.taken, s.cursors[partition].Position, s.known[partition])
}

// given tells whether everything up to a position was given to the partition's instances.
func (s *source) given(partition int, p eventlog.Position) bool {
	if len(s.buffer) > 0 {
		return p < s.buffer[0].Position || p <= s.routed(partition)
	}
	return p <= max(s.scanned, s.routed(partition))
}

// routedTo is routed for one instance: what it was given of the event that not all have yet whom that concerns counts as well.
func (s *source) routedTo(key string, partition int) eventlog.Position {
	if len(s.buffer) > 0 && slices.Contains(s.buffer[0].keys[:s.buffer[0].given], key) {
		return s.buffer[0].Position
	}
	return s.routed(partition)
}

// handled tells whether the partition had handled the position before this term.
func (s *source) handled(partition int, p eventlog.Position) bool {
	return s.cursors[partition].Position >= p
}

// cursorWrites returns the writes of the cursors that moved: of the partitions that took something or, so that none lags
// far behind, all of them.
func (s *source) cursorWrites(process string, all bool) []eventlog.Write {
	if !all && !slices.Contains(s.dirty, true) || s.taken == 0 {
		return nil
	}
	var writes []eventlog.Write
	for p := range s.cursors {
		c := &s.cursors[p]
		if !s.mine.owns[p] || !s.dirty[p] && !all || c.Position >= s.taken {
			continue
		}
		*c = consumer.Cursor{Log: s.module.Log.ID(), Position: s.taken, Event: s.last, At: s.taken, Time: s.time}
		writes = append(writes, c.Put(cursorKey(process, s.module.Name, p)))
	}
	clear(s.dirty)
	return writes
}

// lagMost is how far a partition's cursor may lag behind what was taken: so much is read again at the next start.
const lagMost = 4096

// lags tells whether a partition that nothing concerned for long has a cursor far behind.
func (s *source) lags() bool {
	for p := range s.cursors {
		if s.mine.owns[p] && s.taken > s.cursors[p].Position+lagMost {
			return true
		}
	}
	return false
}
