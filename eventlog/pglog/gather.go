package pglog

import (
	"context"
	"slices"
	"sync"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// gathering lets the loads of aggregates share statements, as appends do: while some are under way, those that come
// meanwhile wait, and then go together. Who comes alone goes at once, by itself.
type gathering struct {
	log     *Log
	mu      sync.Mutex
	waiting []*loader
	under   int // groups under way
}

// loader is somebody who wants to read a stream from its beginning.
type loader struct {
	stream string
	rows   []event.Recorded
	alone  bool // it is to be read by itself: it is long, or the group failed
	over   chan struct{}
}

// groupsAtOnce is how many groups read at a time, each on a connection of its own.
const groupsAtOnce = 2

// whole tells whether a query is that of a load.
func whole(q eventlog.StreamQuery) bool { return q == eventlog.StreamQuery{System: true} }

// first returns the whole of a short stream, if there was somebody to share the reading with. If not, ok is false, and
// done must be called when the caller has read it by itself.
func (g *gathering) first(ctx context.Context, stream string) (rows []event.Recorded, ok bool, done func(), err error) {
	nothing := func() {}
	g.mu.Lock()
	if g.under < groupsAtOnce {
		g.under++
		g.mu.Unlock()
		return nil, false, g.next, nil
	}
	l := &loader{stream: stream, over: make(chan struct{})}
	g.waiting = append(g.waiting, l)
	g.mu.Unlock()
	select {
	case <-l.over:
		return l.rows, !l.alone, nothing, nil
	case <-ctx.Done(): // the group reads it all the same
		return nil, false, nothing, ctx.Err()
	}
}

// next has those read that have gathered, now that a group or a single one has ended.
func (g *gathering) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.under--
		return
	}
	n := min(len(g.waiting), streamsAtOnce)
	group := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	go func() {
		g.read(group)
		g.next()
	}()
}

// read reads a group. It is nobody's in particular, and no caller's context ends it; where it fails, each is on its own.
func (g *gathering) read(group []*loader) {
	ctx, cancel := context.WithTimeout(g.log.db.ending, sendTime)
	defer cancel()
	index := make(map[string]*loader, len(group))
	names := make([]string, 0, len(group))
	for _, l := range group {
		l.alone = index[l.stream] != nil // what is given to one is not given to another
		if !l.alone {
			index[l.stream] = l
			names = append(names, l.stream)
		}
	}
	if err := g.log.readTogether(ctx, names, index); err != nil {
		for _, l := range group {
			l.rows, l.alone = nil, true
		}
	}
	for _, l := range group {
		if !l.alone {
			g.log.db.stats.shared.Add(1)
		}
		close(l.over)
	}
}

// readTogether reads streams as a whole, short ones by one statement; long ones are left to who wants them.
func (l *Log) readTogether(ctx context.Context, names []string, loads map[string]*loader) error {
	places, err := l.places(ctx, names)
	if err != nil {
		return err
	}
	for n := range places {
		if places[n].long() {
			loads[names[n]].alone, places[n] = true, place{}
		}
	}
	of := shortOf(places)
	if of.rows == 0 {
		return nil
	}
	var p page // its rows are given away
	if err := l.numbered(ctx, &p, of.rows, func() error { return l.readShort(ctx, &p, names, of) }); err != nil {
		return err
	}
	for from := 0; from < len(p.rows); {
		stream, to := p.rows[from].Stream, from
		for to < len(p.rows) && p.rows[to].Stream == stream {
			to++
		}
		loads[stream].rows = p.rows[from:to:to]
		from = to
	}
	if p.full { // of large payloads: what the last stream has, and those behind it, is not all here
		last := slices.Index(names, p.rows[len(p.rows)-1].Stream)
		for _, name := range names[last:] {
			loads[name].rows, loads[name].alone = nil, true
		}
	}
	return nil
}
