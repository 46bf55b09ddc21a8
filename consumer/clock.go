package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// clock tells the time that leases run by: that of the store, where it has a clock of its own. It is asked once, and from
// there on the monotonic clock of this machine counts, so that a renewal needs no answer of the store, and that somebody
// sets this machine's clock changes nothing. Nothing is safe because of a clock: it decides how soon a worker is given
// up, and who was given up wrongly cannot write (G12).
type clock struct {
	own   func() time.Time // of a log without a clock
	store time.Time        // what the store's clock said, zero if it has none
	asked time.Time        // when its answer was here, so that this clock is behind rather than ahead
}

func askClock(ctx context.Context, log eventlog.Log, own func() time.Time) (clock, error) {
	c := clock{own: own}
	store, ok := log.(eventlog.Clock)
	if !ok {
		return c, nil
	}
	now, err := store.Now(ctx)
	if err != nil {
		return c, fmt.Errorf("consumer: ask the store for the time: %w", err)
	}
	c.store, c.asked = now, time.Now()
	return c, nil
}

func (c clock) now() time.Time {
	if c.store.IsZero() {
		return c.own()
	}
	return c.store.Add(time.Since(c.asked))
}
