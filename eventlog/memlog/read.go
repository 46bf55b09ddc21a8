package memlog

import (
	"context"
	"iter"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// page bounds what is copied, and scan what is looked at, before the lock is let go.
const (
	page = 256
	scan = 8192
)

// paged makes a sequence out of pages: more returns the next one, of at most so many, and whether it was the last. It is
// called with the log locked, the loop's body is not.
func paged[E any](ctx context.Context, l *Log, limit int, more func(most int) (rows []E, last bool)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		for n := 0; ; {
			most := page
			if limit > 0 {
				most = min(page, limit-n)
			}
			l.mu.RLock()
			err := l.usable(ctx)
			var rows []E
			last := true
			if err == nil {
				rows, last = more(most)
			}
			l.mu.RUnlock()
			for _, row := range rows {
				if err = ctx.Err(); err != nil {
					break
				}
				if !yield(row, nil) {
					return
				}
				if n++; n == limit {
					return
				}
			}
			if err != nil {
				yield(zero, err)
				return
			}
			if last {
				return
			}
		}
	}
}

// Read implements eventlog.Log.
func (l *Log) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return func(yield func(event.Recorded, error) bool) {
		next, to := q.After+1, q.To
		started := false
		paged(ctx, l, q.Limit, func(most int) (rows []event.Recorded, last bool) {
			if !started { // the head as it is now, so that a loop that appends comes to an end
				started = true
				if to == 0 || to > l.head() {
					to = l.head()
				}
			}
			if len(q.IDs) > 0 {
				return l.byIDs(q, to), true
			}
			for looked := 0; next <= to && looked < scan && len(rows) < most; next, looked = next+1, looked+1 {
				if r := l.at(next); matches(q, r) {
					rows = append(rows, recorded(next, r, r.place))
				}
			}
			return rows, next > to
		})(yield)
	}
}

func (l *Log) byIDs(q eventlog.Query, to eventlog.Position) (rows []event.Recorded) {
	var positions []eventlog.Position
	for _, id := range q.IDs {
		if p, ok := l.byID[id]; ok && p > q.After && p <= to && matches(q, l.at(p)) {
			positions = append(positions, p)
		}
	}
	slices.Sort(positions)
	for _, p := range slices.Compact(positions) {
		rows = append(rows, recorded(p, l.at(p), l.at(p).place))
	}
	return rows
}

// matches tells whether the query selects the event, positions and ids aside.
func matches(q eventlog.Query, r *record) bool {
	if r.IsSystem() && !q.System && !slices.Contains(q.Types, r.Type) {
		return false
	}
	if len(q.Categories) > 0 && !slices.Contains(q.Categories, eventlog.Category(r.place.Stream)) {
		return false
	}
	if len(q.Types) > 0 && !slices.Contains(q.Types, r.Type) {
		return false
	}
	for _, t := range q.Tags {
		if !slices.Contains(r.Tags, t) {
			return false
		}
	}
	return true
}

// recorded returns the event as it is read at a place: its own, or that of a link.
func recorded(p eventlog.Position, r *record, at event.Place) event.Recorded {
	out := event.Recorded{Event: own(r.Event), Position: p, Place: at, Recorded: r.recorded}
	if at.Stream != r.place.Stream {
		out.Origin = r.place
	}
	return out
}

// ReadStream implements eventlog.Log.
func (l *Log) ReadStream(ctx context.Context, name string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return func(yield func(event.Recorded, error) bool) {
		var next, end eventlog.Version // from, and where the reading stops: one behind the last
		started := false
		paged(ctx, l, q.Limit, func(most int) (rows []event.Recorded, last bool) {
			s := l.streams[name]
			if s == nil {
				return nil, true
			}
			if !started {
				started = true
				next, end = bounds(s, q)
			}
			for looked := 0; next != end && looked < scan && len(rows) < most; looked++ {
				p := s.positions[next-1]
				if r := l.at(p); next > s.truncated && (q.System || !r.IsSystem()) {
					rows = append(rows, recorded(p, r, event.Place{Stream: name, Version: next}))
				}
				if q.Backward {
					next--
				} else {
					next++
				}
			}
			return rows, next == end
		})(yield)
	}
}

// ReadStreams implements eventlog.StreamsReader.
func (l *Log) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	return func(yield func(event.Recorded, error) bool) {
		for _, name := range streams {
			for r, err := range l.ReadStream(ctx, name, eventlog.StreamQuery{System: true}) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// bounds returns the first version to read, and the one before which reading stops.
func bounds(s *stream, q eventlog.StreamQuery) (first, end eventlog.Version) {
	if q.Backward {
		first, end = s.version(), s.truncated
		if q.After > 0 {
			first = min(first, q.After-1)
		}
		return max(first, end), end
	}
	first, end = max(q.After, s.truncated)+1, s.version()+1
	return min(first, end), end
}
