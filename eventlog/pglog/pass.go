package pglog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// passes makes passes for this program, one at a time: who asks while one is under way shares the next.
type passes struct {
	db      *Database
	mu      sync.Mutex
	next    *passing // that begins when the present one has ended, or now
	running bool
	rested  time.Time // when the next may begin, unless somebody waits for it
	unable  bool      // may not make passes: what others number is all that is seen
}

// passing is a pass that is to be made.
type passing struct {
	due     time.Time     // when it begins, unless somebody waits for it
	sooner  chan struct{} // says that it begins earlier now
	over    chan struct{}
	heads   map[int32]int64 // of the open logs behind the pass, by the modules' numbers, if it was awaited
	err     error
	awaited bool
}

// longestRest bounds how long passes rest. A pass that was asked for while another was under way begins as long after that
// one's end as that one took, so that under load one numbers the events of several commits. Events that hardly anybody
// reads by their position, those of the system, are numbered by the next pass that somebody asks for, or after this time.
const longestRest = 5 * time.Millisecond

// pass returns when a pass that began after the call has ended, and the heads of the open logs then, by the modules'
// numbers. Where none can be made, on a standby or without the right to, it returns at once, and no heads.
func (d *Database) pass(ctx context.Context) (heads map[int32]int64, err error) {
	d.isStandby(ctx)
	p := d.passes.ask(awaited)
	if p == nil {
		return nil, nil
	}
	select {
	case <-p.over:
		return p.heads, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wish is how soon a pass is wanted.
type wish int

const (
	never   wish = iota // nothing is to be numbered
	lately              // within longestRest
	soon                // as soon as it can be
	awaited             // now: somebody waits for it
)

// nudge has a pass made, without waiting for it.
func (s *passes) nudge(w wish) {
	if w > never {
		s.ask(w)
	}
}

func (s *passes) ask(w wish) *passing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unable || s.db.standby.Load() {
		return nil
	}
	due := time.Now()
	switch {
	case w == lately:
		due = due.Add(longestRest)
	case w == soon && due.Before(s.rested):
		due = s.rested
	}
	if s.next == nil {
		s.next = &passing{over: make(chan struct{}), sooner: make(chan struct{}, 1), due: due}
	}
	if p := s.next; due.Before(p.due) || w == awaited && !p.awaited {
		p.due, p.awaited = due, p.awaited || w == awaited
		select {
		case p.sooner <- struct{}{}:
		default:
		}
	}
	if !s.running {
		s.running = true
		s.db.work.Go(s.run)
	}
	return s.next
}

// again has passes tried where none could be made before.
func (s *passes) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unable = false
}

func (s *passes) run() {
	for {
		s.mu.Lock()
		p := s.next
		if p != nil && !p.awaited && s.db.ending.Err() == nil {
			if rest := time.Until(p.due); rest > 0 {
				s.mu.Unlock()
				s.rest(p, rest)
				continue
			}
		}
		s.next = nil
		s.running = p != nil
		s.mu.Unlock()
		if p == nil {
			return
		}
		began := time.Now()
		p.heads, p.err = s.db.makePass(s.db.ending, p.awaited)
		ended := time.Now()
		s.mu.Lock()
		if s.rested = (time.Time{}); s.next != nil {
			s.rested = ended.Add(min(ended.Sub(began), longestRest))
			if s.next.due.Before(s.rested) {
				s.next.due = s.rested
			}
		}
		s.mu.Unlock()
		if s.db.cannotPass(p.err) {
			s.mu.Lock()
			s.unable = true
			s.mu.Unlock()
			s.db.options.Logger.Warn("pglog: no passes can be made by this role; what others number is all that is read", "database", s.db.address, "error", p.err)
			p.err = nil
		}
		close(p.over)
	}
}

// rest lets some time pass, unless the next pass is wanted earlier.
func (s *passes) rest(next *passing, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-next.sooner:
	case <-s.db.ending.Done():
	}
}

// cannotPass tells whether an error says that this role will never make a pass.
func (d *Database) cannotPass(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "42501" || refused.Code == "25006")
}

// Pauses between attempts while somebody else makes a pass.
const (
	shortestPause = 500 * time.Microsecond
	longestPause  = 10 * time.Millisecond
)

// makePass makes a pass, after those that others are making. Theirs may have begun before what the caller wants to see was
// committed.
func (d *Database) makePass(ctx context.Context, awaited bool) (heads map[int32]int64, err error) {
	for wait := shortestPause; ; wait = min(2*wait, longestPause) {
		p, err := d.tryPass(ctx, awaited)
		if err != nil {
			return nil, d.explain("number new events", err)
		}
		if p.made && !p.more {
			return p.heads, nil
		}
		if p.made {
			wait = shortestPause
			continue
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// pass is what came of an attempt at a pass.
type pass struct {
	made  bool            // false: somebody else was at it
	more  bool            // there is more to number
	heads map[int32]int64 // by the modules' numbers: those that moved or, if it was awaited, those of all open logs
}

// tryPass makes a pass unless somebody else is at it. All of it is sent at once: a client that is stopped holds nothing.
func (d *Database) tryPass(ctx context.Context, awaited bool) (p pass, err error) {
	era := d.server.era.Load()
	batch := &pgx.Batch{}
	batch.Queue(d.sql(`SELECT module, head FROM ${schema}.pass()`))
	if awaited {
		batch.Queue(planning) // of what follows
		batch.Queue(d.headsText, d.numbers())
	}
	before, after := d.around()
	results := d.pool.SendBatch(ctx, d.bracketed(batch))
	defer func() { _ = results.Close() }() // again, without effect
	for range before {
		if _, err := results.Exec(); err != nil {
			return p, err
		}
	}
	p.heads = map[int32]int64{}
	for n := range batch.Len() {
		if n == 1 { // planning
			if _, err := results.Exec(); err != nil {
				return p, err
			}
			continue
		}
		rows, err := results.Query()
		if err != nil {
			return p, err
		}
		if err := p.read(rows); err != nil {
			return p, err
		}
	}
	for range after {
		if _, err := results.Exec(); err != nil {
			return p, err
		}
	}
	if err := results.Close(); err != nil { // only now it is committed
		return p, err
	}
	if p.made {
		d.stats.passes.Add(1)
		d.advance(era, p.heads)
	}
	return p, nil
}

// read takes what the server's function returned, or heads alone.
func (p *pass) read(rows pgx.Rows) error {
	var module int32
	var head int64
	_, err := pgx.ForEachRow(rows, []any{&module, &head}, func() error {
		switch module {
		case 0:
			p.made = head == 1
		case -1:
			p.more = true
		default:
			p.heads[module] = head
		}
		return nil
	})
	return err
}

// headsText asks for the heads of some modules.
const headsText = `SELECT m, (SELECT coalesce(max(position), 0) FROM ${schema}.log WHERE module = m) FROM unnest($1::int[]) m`

// numbers returns the numbers of the modules whose logs are open.
func (d *Database) numbers() []int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	numbers := make([]int32, 0, len(d.logs))
	for _, l := range d.logs {
		numbers = append(numbers, l.number)
	}
	return numbers
}

// advance notes heads, by the modules' numbers, that were found in an era.
func (d *Database) advance(era int64, heads map[int32]int64) {
	if len(heads) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server.era.Load() != era {
		return
	}
	for _, l := range d.logs {
		if head, ok := heads[l.number]; ok {
			l.head.Advance(head)
		}
	}
}

// channel is the name under which passes announce what they numbered.
func (d *Database) channel() string { return "ensue " + d.options.Schema }
