// Package sqlitelog keeps logs in a SQLite file: the embedded default, with nothing to install but the program.
//
// A file holds the logs of any number of modules:
//
//	file, err := sqlitelog.Open(ctx, "catering.db", sqlitelog.Options{})
//	// …
//	defer file.Close()
//	orders, err := file.Log(ctx, "orders")
//	_, err = orders.Append(ctx, eventlog.ToStream{Stream: "order/42", Expect: eventlog.NoStream, Events: events})
//
// The file is in WAL mode with synchronous=FULL: what Append has answered is on the medium. One goroutine writes; it
// commits whatever has queued up in one transaction, so that concurrent appends share the wait for the medium. Readers
// never wait for it. Other processes may read the file at any time, and write to it; a process that is stopped inside
// its own write transaction stops all writers of the file until it goes on or ends.
//
// While a program has the file open, nothing in that same program may open and close it other than through SQLite, not
// even to copy it: on most systems that drops the locks that keep other processes from taking the write-ahead log away.
package sqlitelog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/head"
)

// Options change how a file is opened. The zero value is a good choice.
type Options struct {
	ReadOnly  bool // writes fail with eventlog.ErrReadOnly, and nothing in the file is changed; it must exist
	MustExist bool // a file that does not exist is an error, instead of being made

	// Normal sets synchronous=NORMAL: commits no longer wait for the medium. After a power cut the last of them may be gone,
	// although they were answered; after a crash of the program alone they are there.
	Normal bool

	BusyTimeout time.Duration    // how long a write waits for another process to finish its own; 0 means 5 s
	Poll        time.Duration    // how often Wait looks for what other processes wrote; 0 means 40 ms, below 0 never
	Readers     int              // connections that read; 0 means 4
	CacheBytes  int              // of the writer's page cache, at most; 0 means 16 MiB
	Now         func() time.Time // the clock of Recorded.Recorded; nil means time.Now
	Logger      *slog.Logger     // nil means slog.Default

	hooks hooks
}

func (o Options) withDefaults() Options {
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Poll == 0 {
		o.Poll = 40 * time.Millisecond
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 16 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// File is an open file. All methods are safe for concurrent use.
type File struct {
	path    string
	options Options
	writer  *writer // nil if read-only
	readers *pool
	stats   counters

	mu     sync.Mutex
	logs   map[string]*Log
	types  typeNames
	ending context.Context // done when the file is closed
	end    context.CancelFunc
	watch  watch
	closed error
	once   sync.Once
}

// Log is a module's log in a file. It implements eventlog.Log, Linker, StreamLister, StreamKeeper and SQLTransactor.
type Log struct {
	file   *File
	module string
	number int64
	id     event.ID
	closed atomic.Bool
	head   head.Head
}

var (
	_ eventlog.Log           = (*Log)(nil)
	_ eventlog.Linker        = (*Log)(nil)
	_ eventlog.StreamLister  = (*Log)(nil)
	_ eventlog.StreamKeeper  = (*Log)(nil)
	_ eventlog.SQLTransactor = (*Log)(nil)
	_ eventlog.Closer        = (*Log)(nil)
	_ eventlog.Watcher       = (*Log)(nil)
)

// Stats counts what was done with a file since it was opened.
type Stats struct {
	Commits   int64 // transactions that wrote
	Writes    int64 // appends and other requests that succeeded; many share a commit
	Conflicts int64 // appends that found something else than they expected
}

type counters struct{ commits, writes, conflicts atomic.Int64 }

// Stats returns the counts until now.
func (f *File) Stats() Stats {
	return Stats{Commits: f.stats.commits.Load(), Writes: f.stats.writes.Load(), Conflicts: f.stats.conflicts.Load()}
}

// Path returns the file's absolute path.
func (f *File) Path() string { return f.path }

// Modules returns the names of the modules that have a log in the file, in their order.
func (f *File) Modules(ctx context.Context) (names []string, err error) {
	err = f.read(ctx, func(c *conn) error {
		return c.query(`SELECT name FROM modules ORDER BY name`, func(row []driver.Value) error {
			names = append(names, row[0].(string))
			return nil
		})
	})
	return names, err
}

// Log returns the module's log in the file. It is made if there is none; in a file that was opened read-only that is
// an error that wraps eventlog.ErrReadOnly. The same module gives the same log until that is closed.
func (f *File) Log(ctx context.Context, module string) (*Log, error) {
	if err := eventlog.CheckStream(module); err != nil {
		return nil, fmt.Errorf("sqlitelog: a module is named like a stream: %w", err)
	}
	f.mu.Lock()
	l, ok := f.logs[module]
	f.mu.Unlock()
	if ok && !l.closed.Load() {
		return l, nil
	}
	l = &Log{file: f, module: module}
	found, err := l.find(ctx)
	if err != nil {
		return nil, err
	}
	if !found {
		if f.writer == nil {
			return nil, fmt.Errorf("sqlitelog: %s has no log of module %q: %w, so none can be made", f.path, module, eventlog.ErrReadOnly)
		}
		id := event.NewID()
		err := f.submit(ctx, &request{do: func(s *state) error {
			s.undo.wrote = true
			_, err := s.x.exec(`INSERT INTO modules (name, log) VALUES (?, ?) ON CONFLICT DO NOTHING`, module, id[:])
			return err
		}})
		if err != nil {
			return nil, err
		}
		if _, err := l.find(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.logs[module]; ok && !other.closed.Load() {
		return other, nil
	}
	f.logs[module] = l
	return l, nil
}

// find reads the log's number, id and head.
func (l *Log) find(ctx context.Context) (found bool, err error) {
	err = l.file.read(ctx, func(c *conn) error {
		err := c.query(`SELECT module, log FROM modules WHERE name = ?`, func(row []driver.Value) (err error) {
			l.number, found = row[0].(int64), true
			l.id, err = idOf(row[1])
			return err
		}, l.module)
		if err != nil || !found {
			return err
		}
		head, err := queryHead(c, l.number)
		l.head.Advance(head)
		return err
	})
	return found, err
}

// ID implements eventlog.Log.
func (l *Log) ID() event.ID { return l.id }

// Module returns the name of the module whose log it is.
func (l *Log) Module() string { return l.module }

// Links implements eventlog.Linker.
func (l *Log) Links() bool { return true }

// Append implements eventlog.Log.
func (l *Log) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if err := eventlog.Check(writes); err != nil {
		return eventlog.Appended{}, err
	}
	if err := l.writable(ctx); err != nil {
		return eventlog.Appended{}, err
	}
	if len(writes) == 0 {
		return eventlog.Appended{}, ctx.Err()
	}
	var done eventlog.Appended
	err := l.file.submit(ctx, &request{
		log: l, bytes: size(writes),
		do: func(s *state) (err error) {
			done, err = s.apply(l, writes)
			return err
		},
		again: func(s *state, err error) error {
			if mayRepeat(err) {
				done, err = s.repeat(l, writes, err)
			}
			return err
		},
	})
	if err != nil {
		return eventlog.Appended{}, err
	}
	return done, nil
}

// size estimates what an append adds to a transaction.
func size(writes []eventlog.Write) (n int) {
	for _, w := range writes {
		switch w := w.(type) {
		case eventlog.ToStream:
			for i := range w.Events {
				n += 200 + len(w.Events[i].Data)
			}
		case eventlog.LinkTo:
			n += 50 * len(w.Positions)
		case eventlog.Put:
			n += 100 + len(w.Entry.Value)
		}
	}
	return n
}

// writable tells why the log can't be written by a caller with this context, if it can't.
func (l *Log) writable(ctx context.Context) error {
	switch {
	case l.closed.Load():
		return eventlog.ErrClosed
	case inside(ctx, l.file):
		return eventlog.ErrInsideTx
	case l.file.writer == nil:
		return fmt.Errorf("sqlitelog: %s was opened read-only: %w", l.file.path, eventlog.ErrReadOnly)
	}
	return nil
}

// submit gives a request to the writer.
func (f *File) submit(ctx context.Context, r *request) error {
	if inside(ctx, f) {
		return eventlog.ErrInsideTx
	}
	return f.writer.submit(ctx, r)
}

// Close closes this log alone; the file and its other logs stay open.
func (l *Log) Close() error {
	l.closed.Store(true)
	l.head.Wake()
	return nil
}

// Close ends all that is under way, and closes the file. Closing twice succeeds.
func (f *File) Close() error {
	f.once.Do(func() {
		f.mu.Lock()
		logs := f.logs
		f.mu.Unlock()
		if f.writer != nil {
			f.writer.close()
		}
		f.end()
		f.watch.ended()
		for _, l := range logs {
			_ = l.Close()
		}
		err := f.readers.close()
		if f.writer != nil {
			err = errors.Join(err, f.writer.release())
		}
		f.closed = explain(f.path, "close", err)
	})
	return f.closed
}

// Checkpoint moves what the write-ahead log holds into the file, as far as readers allow, and empties it if none is in
// the way. It happens by itself every few thousand pages and on Close; a backup that copies files wants it first.
func (f *File) Checkpoint(ctx context.Context) error {
	if f.writer == nil {
		return fmt.Errorf("sqlitelog: %s was opened read-only: %w", f.path, eventlog.ErrReadOnly)
	}
	return f.submit(ctx, &request{alone: func(w *writer) error {
		err := w.c.query(`PRAGMA wal_checkpoint(TRUNCATE)`, func([]driver.Value) error { return nil })
		w.fatal(err)
		return explain(f.path, "checkpoint", err)
	}})
}
