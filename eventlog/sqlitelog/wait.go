package sqlitelog

import (
	"context"
	"sync"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// queryHead returns the position of a module's last event.
func queryHead(c executor, module int64) (int64, error) {
	seq, err := one(c, `SELECT max(seq) FROM events WHERE seq > ?1 << 44 AND seq < ?1 + 1 << 44`, module)
	return seq & maxPosition, err
}

// Head implements eventlog.Log.
func (l *Log) Head(ctx context.Context) (eventlog.Position, error) {
	if l.closed.Load() {
		return 0, eventlog.ErrClosed
	}
	head, err := l.refresh(ctx)
	return eventlog.Position(head), err // #nosec G115 -- positions count up from 0
}

// Seen implements eventlog.Watcher.
func (l *Log) Seen() eventlog.Position { return eventlog.Position(l.head.Seen()) } // #nosec G115 -- positions count up from 0

// refresh asks the file for the head.
func (l *Log) refresh(ctx context.Context) (head int64, err error) {
	err = l.file.read(ctx, func(c *conn) error {
		head, err = queryHead(c, l.number)
		return err
	})
	if err == nil {
		l.head.Advance(head)
	}
	return head, err
}

// Wait implements eventlog.Log. What this process appends is noticed at once, what others append when the file is
// polled, see Options.Poll.
func (l *Log) Wait(ctx context.Context, after eventlog.Position) error {
	if after > maxPosition {
		after = maxPosition
	}
	l.head.Wait(1)
	defer l.head.Wait(-1)
	for asked := false; ; asked = true {
		if err := ctx.Err(); err != nil {
			return err
		}
		above, changed := l.head.Above(int64(after)) // #nosec G115 -- bounded above
		switch {
		case l.closed.Load() || l.file.ending.Err() != nil:
			return eventlog.ErrClosed
		case above:
			return nil
		case !asked: // another process may have written since anybody looked
			if _, err := l.refresh(ctx); err != nil {
				return err
			}
			l.file.watch.start(l.file)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.file.ending.Done():
			return eventlog.ErrClosed
		}
	}
}

// watch polls the file for what other processes append, while somebody waits for it.
type watch struct {
	mu      sync.Mutex
	running bool
	end     sync.WaitGroup
}

// ended waits for the polling to end, once the file is closing.
func (w *watch) ended() {
	w.mu.Lock()   // whoever starts it from now on sees that the file is closing
	w.mu.Unlock() //nolint:staticcheck // see above
	w.end.Wait()
}

// start begins to poll, unless that is being done.
func (w *watch) start(f *File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running || f.options.Poll < 0 || f.ending.Err() != nil {
		return
	}
	w.running = true
	w.end.Go(func() { w.run(f) })
}

func (w *watch) run(f *File) {
	ticker := time.NewTicker(f.options.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-f.ending.Done():
			return
		}
		awaited := f.awaited()
		for _, l := range awaited {
			if _, err := l.refresh(f.ending); err != nil && f.ending.Err() == nil {
				f.options.Logger.Warn("sqlitelog: looking for new events failed", "file", f.path, "module", l.module, "error", err)
			}
		}
		if len(awaited) > 0 {
			continue
		}
		w.mu.Lock()
		if len(f.awaited()) == 0 { // nobody waits; who does from now on starts it again
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

// awaited returns the logs that somebody waits for.
func (f *File) awaited() (logs []*Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.logs {
		if l.head.Awaited() {
			logs = append(logs, l)
		}
	}
	return logs
}
