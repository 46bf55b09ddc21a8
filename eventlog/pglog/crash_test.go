package pglog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// killable are settings of a server that is killed: what it wrote is with the system, which goes on, so that fsync would
// only take time; but a page may have been written by half.
var killable = map[string]string{"full_page_writes": "on"}

// quiet leaves out what is said about connections that a test cuts.
var quiet = slog.New(slog.DiscardHandler)

func placed() event.Event {
	return event.Event{ID: event.NewID(), Type: "placed", Data: []byte("{}")}
}

func logOf(t *testing.T, d *Database) *Log {
	t.Helper()
	l, err := d.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// appendSome appends events, each to the stream.
func appendSome(t *testing.T, l *Log, stream string, n int) (ids []event.ID) {
	t.Helper()
	for range n {
		e := placed()
		if _, err := l.Append(t.Context(), eventlog.ToStream{Stream: stream, Events: []event.Event{e}}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

// eventually looks for something again and again, for at most 20 s.
func eventually(t *testing.T, what string, is func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		ok, err := is()
		if ok {
			return
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			t.Fatalf("still not so: %s (%v)", what, err)
		}
	}
}

// follower is a reader that keeps what it was given, as a consumer does.
type follower struct {
	cursor consumer.Cursor
	at     map[event.ID]eventlog.Position
	ids    []event.ID // at positions 1, 2, 3, …
}

// read reads what is new. It fails when a position is not the next, or an event was there already.
func (f *follower) read(ctx context.Context, l *Log) error {
	for r, err := range l.Read(ctx, eventlog.Query{After: f.cursor.Position, System: true}) {
		if err != nil {
			return err
		}
		if at, twice := f.at[r.ID]; twice {
			return fmt.Errorf("event %s was read at position %d and again at %d", r.ID, at, r.Position)
		}
		if int(r.Position) != len(f.ids)+1 {
			return fmt.Errorf("position %d follows position %d", r.Position, len(f.ids))
		}
		if f.at == nil {
			f.at = map[event.ID]eventlog.Position{}
		}
		f.at[r.ID], f.ids = r.Position, append(f.ids, r.ID)
		f.cursor = consumer.Cursor{Log: l.ID(), Position: r.Position, Event: r.ID, At: r.Position}
	}
	return nil
}

// mustRead reads what is new.
func (f *follower) mustRead(t *testing.T, l *Log) {
	t.Helper()
	if err := f.read(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// same checks that each position still holds what was read there, and that the cursor is good.
func (f *follower) same(t *testing.T, l *Log) {
	t.Helper()
	if err := f.cursor.Check(t.Context(), l); err != nil {
		t.Error(err)
	}
	var now follower
	now.mustRead(t, l)
	if len(now.ids) < len(f.ids) || !slices.Equal(now.ids[:len(f.ids)], f.ids) {
		for i := range f.ids {
			if i >= len(now.ids) || now.ids[i] != f.ids[i] {
				t.Fatalf("from position %d on, of %d, the log holds other events than were read", i+1, len(f.ids))
			}
		}
	}
}

// has checks that events were read, each once.
func (f *follower) has(t *testing.T, ids ...event.ID) {
	t.Helper()
	for _, id := range ids {
		if f.at[id] == 0 {
			t.Errorf("event %s was never read", id)
		}
	}
}

// load is what writers did: by what their appends returned.
type load struct {
	mu                             sync.Mutex
	acknowledged, unknown, refused []event.ID
	repeats                        int
}

// writer appends until the context ends, now and then to a stream of its own, or one that all share. An append of which
// nobody knows is made again half of the times.
func (o *load) writer(ctx context.Context, l *Log, name string) {
	for n := 0; ctx.Err() == nil; n++ {
		stream := "shared"
		if n%3 > 0 {
			stream = "of/" + name
		}
		var events []event.Event
		for range 1 + n%3 {
			events = append(events, placed())
		}
		write := eventlog.ToStream{Stream: stream, Events: events}
		unknown := false
		for {
			done, err := l.Append(context.WithoutCancel(ctx), write)
			unknown = unknown || errors.Is(err, eventlog.ErrUnknown)
			if err != nil && unknown && n%2 == 0 && ctx.Err() == nil {
				_ = pause(ctx, 5*time.Millisecond)
				continue
			}
			o.note(events, err, unknown, done.Repeat)
			if err != nil {
				_ = pause(ctx, 5*time.Millisecond)
			}
			break
		}
	}
}

func (o *load) note(events []event.Event, err error, unknown, repeat bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		switch {
		case err == nil:
			o.acknowledged = append(o.acknowledged, e.ID)
		case unknown:
			o.unknown = append(o.unknown, e.ID)
		default:
			o.refused = append(o.refused, e.ID)
		}
	}
	if repeat {
		o.repeats++
	}
}

// TestG1_G5_ServerKilledUnderLoad: the server is killed again and again while others append and read. What was
// acknowledged is there once, what nobody knows of at most once, what was refused never; positions keep their meaning; and
// the program goes on with the database that it opened.
func TestG1_G5_ServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const rounds = 20
	server := pgtest.New(t, pgtest.Options{Settings: killable})
	address := server.Database(t)
	d := opened(t, address, Options{Logger: quiet})
	other := opened(t, address, Options{Logger: quiet, NoListen: true})
	l, there := logOf(t, d), logOf(t, other)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	var o load
	for i := range 4 {
		log := []*Log{l, there}[i%2]
		work.Go(func() { o.writer(ctx, log, fmt.Sprint(i)) })
	}
	followers := make([]follower, 2)
	wrong := make(chan error, len(followers))
	for i := range followers {
		f, log := &followers[i], []*Log{l, there}[i]
		work.Go(func() {
			for ctx.Err() == nil {
				err := f.read(ctx, log)
				if err == nil {
					err = log.Wait(ctx, f.cursor.Position)
				}
				if err != nil && sqlState(err) == "" && errors.Unwrap(err) == nil && ctx.Err() == nil { // not of a connection's
					wrong <- err
					return
				}
				if err != nil {
					_ = pause(ctx, 5*time.Millisecond)
				}
			}
		})
	}
	for range rounds {
		if err := pause(t.Context(), time.Duration(20+rand.IntN(120))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		server.Kill(t)
		server.Start(t)
	}
	acknowledged := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.acknowledged)
	}
	before := acknowledged()
	eventually(t, "the program appends again", func() (bool, error) { return acknowledged() > before+20, nil })
	stop()
	work.Wait()
	select {
	case err := <-wrong:
		t.Fatal(err)
	default:
	}
	for i := range followers {
		eventually(t, "the program reads again", func() (bool, error) {
			err := followers[i].read(t.Context(), l)
			return err == nil, err
		})
		followers[i].same(t, l)
		followers[i].has(t, o.acknowledged...)
		if !slices.Equal(followers[i].ids, followers[0].ids) {
			t.Error("two readers were given the log in different orders")
		}
	}
	for _, id := range o.refused {
		if at := followers[0].at[id]; at > 0 {
			t.Errorf("event %s is at position %d, and its append was said to have changed nothing", id, at)
		}
	}
	t.Logf("%d events acknowledged, %d unknown, %d refused, %d appends repeated, %d events in the log, %d passes", len(o.acknowledged), len(o.unknown), len(o.refused), o.repeats, len(followers[0].ids), d.Stats().Passes+other.Stats().Passes)
	if len(followers[0].ids) > len(o.acknowledged)+len(o.unknown) {
		t.Error("there are events that nobody appended")
	}
	for _, stream := range []string{"shared", "of/0", "of/3"} { // G2, G4
		last := eventlog.Version(0)
		for r, err := range l.ReadStream(t.Context(), stream, eventlog.StreamQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			if last++; r.Version != last {
				t.Fatalf("stream %s: version %d follows version %d", stream, r.Version, last-1)
			}
		}
	}
}

// TestG1_PositionsAreDurableWhereCommitsAreNot: commits of the role return before they are durable, and the server is
// killed. What was acknowledged and never read may be lost then. A position that was read is not, since passes commit as
// they must.
func TestG1_PositionsAreDurableWhereCommitsAreNot(t *testing.T) {
	t.Parallel()
	const rounds, each = 5, 5
	server := pgtest.New(t, pgtest.Options{Settings: map[string]string{"full_page_writes": "on", "wal_writer_delay": "10s", "bgwriter_delay": "10s", "autovacuum": "off"}})
	address := server.Database(t)
	execute(t, connected(t, address), `ALTER ROLE CURRENT_USER SET synchronous_commit = off`)
	d := opened(t, address, Options{Logger: quiet})
	l := logOf(t, d)
	// In a transaction of its own, of which nobody makes a pass at once.
	unread := func(conn *pgx.Conn, n int) (ids []event.ID) {
		for range n {
			e := placed()
			err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				_, err := l.AppendPgx(t.Context(), tx, eventlog.ToStream{Stream: "s", Events: []event.Event{e}})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	var f follower
	restart := func() {
		t.Helper()
		server.Kill(t)
		server.Start(t)
		eventually(t, "the program reads", func() (bool, error) {
			_, err := l.Head(t.Context())
			return err == nil, err
		})
	}
	for range rounds { // killed at once: what is not flushed is lost, except full pages of the log of changes
		conn := connected(t, address)
		read := unread(conn, 2)
		f.mustRead(t, l)
		restart()
		f.has(t, read...)
		f.same(t, l)
	}
	lost := 0
	for i := 0; i < rounds && lost == 0; i++ { // full pages are written all the same
		acknowledged := unread(connected(t, address), each)
		restart()
		f.mustRead(t, l)
		f.same(t, l)
		for _, id := range acknowledged {
			if f.at[id] == 0 {
				lost++
			}
		}
	}
	if lost == 0 {
		t.Error("no commit was lost: they were durable, and this test shows nothing")
	}
	t.Logf("%d of %d events that were never read were lost", lost, each)
}

// TestG1_ReadGoesOnAcrossARestart: the server is killed and started again while a loop over the log is under way, and has
// events in hand. A transaction that was prepared before, and is committed after, comes behind what was read.
func TestG1_ReadGoesOnAcrossARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t, pgtest.Options{Settings: killable})
	address := server.Database(t)
	l := logOf(t, opened(t, address, Options{Logger: quiet}))
	tx, err := connected(t, address).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	prepared := placed()
	if _, err := l.AppendPgx(t.Context(), tx, eventlog.ToStream{Stream: "prepared", Events: []event.Event{prepared}}); err != nil {
		t.Fatal(err)
	}
	name := prepared.ID.String()
	if _, err := tx.Exec(t.Context(), `PREPARE TRANSACTION '`+name+`'`); err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	for range 3 * firstPage {
		all = append(all, placed())
	}
	if _, err := l.Append(t.Context(), eventlog.ToStream{Stream: "s", Events: all}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range l.Read(t.Context(), eventlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != all[n].ID || int(r.Position) != n+1 {
			t.Fatalf("event %d is at position %d, and another", n, r.Position)
		}
		if n++; n == firstPage/2 {
			server.Kill(t)
			server.Start(t)
			eventually(t, "the program reads", func() (bool, error) {
				_, err := l.Head(t.Context())
				return err == nil, err
			})
		}
	}
	if n != len(all) {
		t.Errorf("%d of %d events were read", n, len(all))
	}
	var f follower
	f.mustRead(t, l)
	execute(t, connected(t, address), `COMMIT PREPARED '`+name+`'`)
	f.mustRead(t, l)
	if f.at[prepared.ID] != eventlog.Position(len(all))+1 {
		t.Errorf("what was prepared is at position %d, behind %d", f.at[prepared.ID], len(all))
	}
	f.same(t, l)
}
