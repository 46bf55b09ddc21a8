package logtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

var waitCases = []Case{
	{Name: "wait/returns at once when the head is above", run: func(t *trial) {
		t.fill("s", 3)
		head := t.head()
		for after := range head {
			t.within("waiting for what is there", func() { t.ok("wait", t.log.Wait(t.ctx, after)) })
		}
		t.same("the number of events", len(t.read(eventlog.Query{})), 3)
	}},
	{Name: "wait/returns when an event is appended", run: func(t *trial) {
		t.fill("s", 1)
		for i := range 20 {
			head := t.head()
			t.together(4, func(ctx context.Context, n int) error {
				if n == 0 {
					_, err := t.log.Append(ctx, to("s", eventlog.Any, fact(fmt.Sprint(i))))
					return err
				}
				return awaited(ctx, t.log, head)
			})
			if t.head() <= head {
				t.Fatalf("the head did not move from %d", head)
			}
		}
	}},
	{Name: "wait/what the log has seen can be read, and is as far as was waited for", needs: watches, run: func(t *trial) {
		w := t.log.(eventlog.Watcher) //nolint:forcetypeassert // needed
		for i := range 20 {
			t.fill("s", i+1)
			head := t.head()
			t.within("waiting for what is there", func() { t.ok("wait", t.log.Wait(t.ctx, head-1)) })
			seen := w.Seen()
			if seen < head || seen > t.head() {
				t.Fatalf("the log is said to be seen up to %d, when its head, which was waited for, is %d", seen, head)
			}
			t.same("the number of events up to there", len(t.read(eventlog.Query{To: seen})), int(seen)) // #nosec G115 -- few
		}
	}},
	{Name: "wait/returns the error of its context, while the head is not above", run: func(t *trial) {
		t.fill("s", 1)
		t.append(put(eventlog.Cursor, "c", "1"))
		head := t.head()
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		t.within("waiting with a cancelled context", func() {
			if err := t.log.Wait(ctx, head); !errors.Is(err, context.Canceled) {
				t.Fatalf("wait with a cancelled context returned %v", err)
			}
		})
		ctx, cancel = context.WithCancel(t.ctx)
		defer cancel()
		t.within("waiting until the context is cancelled", func() {
			time.AfterFunc(10*time.Millisecond, cancel)
			if err := awaited(ctx, t.log, head); !errors.Is(err, context.Canceled) {
				t.Fatalf("wait whose context was cancelled returned %v", err)
			}
		})
		ctx, cancel = context.WithTimeout(t.ctx, 10*time.Millisecond)
		defer cancel()
		t.within("waiting until the context's deadline", func() {
			if err := awaited(ctx, t.log, head); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("wait whose context ran out returned %v", err)
			}
		})
	}},
}

// awaited waits until the head is above after: Wait may return early.
func awaited(ctx context.Context, log eventlog.Log, after eventlog.Position) error {
	for {
		ended := ctx.Err()
		if err := log.Wait(ctx, after); err != nil {
			return err
		}
		head, err := log.Head(ctx)
		if err != nil || head > after {
			return err
		}
		if ended != nil {
			return fmt.Errorf("wait returned nil at head %d, not above %d, though its context had ended: %v", head, after, ended) //nolint:errorlint // told, not returned
		}
	}
}

var closerCases = []Case{
	{Name: "close/every later call fails with ErrClosed", needs: closes, run: func(t *trial) {
		t.arrange(sequences[0])
		for range 2 {
			t.ok("close", t.log.(eventlog.Closer).Close())
		}
		closed := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, eventlog.ErrClosed) {
				t.Fatalf("%s of a closed log returned the error %v", what, err)
			}
		}
		_, err := t.log.Append(t.ctx, to("s", eventlog.Any, fact("1")))
		closed("append", err)
		_, err = t.log.Head(t.ctx)
		closed("head", err)
		closed("wait", t.log.Wait(t.ctx, 0))
		for _, s := range sequences {
			if !s.needs.of(t.log, t.store) {
				continue
			}
			n := 0
			for e, err := range s.of(t.ctx, t.log) {
				n++
				closed(s.name, err)
				zero(t, e)
			}
			t.same("how often "+s.name+" yielded the error", n, 1)
		}
		if lister, ok := t.log.(eventlog.StreamLister); ok {
			_, err = lister.Stream(t.ctx, "s")
			closed("stream", err)
		}
		if keeper, ok := t.log.(eventlog.StreamKeeper); ok {
			closed("close stream", keeper.CloseStream(t.ctx, "s", eventlog.Any))
			closed("truncate stream", keeper.TruncateStream(t.ctx, "s", 1))
		}
	}},
	{Name: "close/ends a wait", needs: closes, Concurrent: true, run: func(t *trial) {
		const waiters = 4
		for range 8 { // logs, of each of which some waits have begun when it is closed
			log := t.open()
			_, err := log.Append(t.ctx, to("s", eventlog.Any, fact("1")))
			t.ok("append", err)
			head, err := log.Head(t.ctx)
			t.ok("head", err)
			ready := make(chan struct{}, waiters)
			t.together(waiters+1, func(ctx context.Context, i int) error {
				if i < waiters {
					ready <- struct{}{}
					err := awaited(ctx, log, head)
					if errors.Is(err, eventlog.ErrClosed) {
						return nil
					}
					return fmt.Errorf("a wait returned %v when the log was closed", err) //nolint:errorlint // told, not returned; it may be nil
				}
				for range waiters {
					<-ready
				}
				runtime.Gosched()
				return log.(eventlog.Closer).Close()
			})
		}
	}},
	{Name: "close/ends a sequence that is being ranged over", needs: closes, run: func(t *trial) {
		t.arrange(sequences[0])
		n := 0
		var last error
		for _, err := range t.log.Read(t.ctx, eventlog.Query{}) {
			if last = err; err == nil {
				if n++; n == 1 {
					t.within("closing in a loop's body", func() { t.ok("close", t.log.(eventlog.Closer).Close()) })
				}
			}
		}
		if last != nil && !errors.Is(last, eventlog.ErrClosed) || last == nil && n < arranged {
			t.Fatalf("after %d of %d events and a close the sequence ended with %v", n, arranged, last)
		}
	}},
}
