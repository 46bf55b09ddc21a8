package process

import (
	"context"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// candidate returns the source whose next input comes first, and that input's instant; none while another source might
// still come before it.
func (t *term) candidate() (*source, time.Time) {
	var first *source
	var at time.Time
	for _, s := range t.sources {
		if len(s.buffer) == 0 {
			if !s.ended {
				return nil, time.Time{} // its next page is on the way
			}
			continue
		}
		if _, time := s.next(); first == nil || time.Before(at) {
			first, at = s, time
		}
	}
	if first == nil || !t.cfg.Replay {
		return first, at
	}
	for _, s := range t.sources {
		if len(s.buffer) == 0 && t.holdsBack(s) && (s.time.Before(at) || s.time.Equal(at) && s.order < first.order) {
			return nil, time.Time{}
		}
	}
	return first, at
}

// holdsBack tells whether the replay clock cannot pass the source's last event: it may still get others.
func (t *term) holdsBack(s *source) bool { return !s.written && !s.sealed }

// horizon returns the instant up to which timeouts fire when there is no input to take.
func (t *term) horizon(ctx context.Context) (time.Time, bool) {
	if !t.cfg.Replay {
		return t.wallClock(ctx)
	}
	clock := forever
	for _, s := range t.sources {
		switch {
		case len(s.buffer) > 0:
			if _, at := s.next(); at.Before(clock) {
				clock = at
			}
		case !s.ended:
			return time.Time{}, false
		case t.holdsBack(s) && s.time.Before(clock):
			clock = s.time
		}
	}
	return clock, true
}

// wallClock returns now as soon as everything that the sources held at that moment was taken, so that an input recorded
// before a timeout was due is taken before it.
func (t *term) wallClock(ctx context.Context) (time.Time, bool) {
	d, ok := t.timers.next()
	if !ok {
		return time.Time{}, false
	}
	if t.barrier.heads == nil || d.at.After(t.barrier.upTo) {
		now := t.cfg.Now()
		if d.at.After(now) {
			t.barrier.heads = nil
			return time.Time{}, false
		}
		t.barrier.upTo, t.barrier.heads = now, map[string]eventlog.Position{}
		for _, s := range t.sources {
			head, err := s.module.Log.Head(ctx)
			if err != nil {
				t.barrier.heads = nil
				return time.Time{}, false
			}
			t.barrier.heads[s.module.Name] = head
		}
	}
	for _, s := range t.sources {
		if len(s.buffer) > 0 || s.scanned < t.barrier.heads[s.module.Name] && s.blocked == nil {
			return time.Time{}, false
		}
	}
	return t.barrier.upTo, true
}

// finished tells whether a run by the replay clock has nothing left to do for the partitions of this worker, and up to
// which heads of the sources that holds.
func (t *term) finished(ctx context.Context) (bool, map[string]eventlog.Position, error) {
	if !t.cfg.Replay || len(t.retries) > 0 {
		return false, nil, nil
	}
	if open, _ := t.dispatch.backlog(); open > 0 {
		return false, nil, nil
	}
	if _, due := t.timers.next(); due || t.timers.exhausted() {
		return false, nil, nil
	}
	if handing, err := t.handing(ctx, t.mine.has); err != nil || handing {
		t.claims.look = true
		return false, nil, err
	}
	heads := make(map[string]eventlog.Position, len(t.sources))
	for _, s := range t.sources {
		if len(s.buffer) > 0 || !s.ended || t.holdsBack(s) {
			return false, nil, nil
		}
		head, err := s.module.Log.Head(ctx) // what the last commands led to must have been read as well
		if err != nil {
			return false, nil, err
		}
		if s.scanned < head {
			return false, nil, nil
		}
		heads[s.module.Name] = head
	}
	return true, heads, nil
}
