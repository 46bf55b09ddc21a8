package aggregate_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// told collects what a handler was told.
type told struct {
	mu      sync.Mutex
	amounts []int
	fail    func(amount, times int) error // times: how often it was told of that amount before
}

func (c *told) hear(_ context.Context, _ *aggregate.Work, e Deposited) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	times := 0
	for _, a := range c.amounts {
		if a == e.Amount {
			times++
		}
	}
	c.amounts = append(c.amounts, e.Amount)
	if c.fail != nil {
		return c.fail(e.Amount, times)
	}
	return nil
}

func (c *told) got() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.amounts)
}

// running runs a module until stop is called.
func running(t *testing.T, m *aggregate.Module) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	synctest.Wait()
	return func() error { cancel(); return <-done }
}

func deposits(t *testing.T, m *aggregate.Module, amounts ...int) {
	t.Helper()
	for _, a := range amounts {
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(a)))
	}
}

func TestNotificationsComeAfterTheCommitInOrderAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &told{}
		m := bank(t, aggregate.Afterwards("mail", c.hear))
		deposits(t, m, 1) // before the handler was there
		must(t, m.Begin(t.Context()))
		deposits(t, m, 2) // before it runs
		stop := running(t, m)
		deposits(t, m, 3)
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", withdraw(1))) // of no concern
		deposits(t, m, 4)
		synctest.Wait()
		must(t, stop())
		deposits(t, m, 5) // while it is down
		must(t, running(t, m)())
		if got := c.got(); !slices.Equal(got, []int{2, 3, 4, 5}) {
			t.Errorf("told %v", got)
		}
	})
}

func TestANotificationIsRetriedAndNeverSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty, healthy := &told{}, &told{}
		faulty.fail = func(amount, times int) error {
			if amount == 2 && times < 3 {
				if times == 1 {
					panic("oops")
				}
				return errors.New("the mail server is down")
			}
			return nil
		}
		m := bank(t, aggregate.Afterwards("faulty", faulty.hear), aggregate.Afterwards("healthy", healthy.hear))
		stop := running(t, m)
		deposits(t, m, 1, 2, 3)
		synctest.Wait()
		if got := faulty.got(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("the faulty handler was told %v before its back-off", got)
		}
		if got := healthy.got(); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("the healthy handler waits: %v", got)
		}
		<-time.After(time.Minute) // of the bubble's clock
		synctest.Wait()
		must(t, stop())
		if got := faulty.got(); !slices.Equal(got, []int{1, 2, 2, 2, 2, 3}) {
			t.Errorf("told %v", got)
		}
	})
}

// count is a handler that changes an aggregate.
func count(ctx context.Context, w *aggregate.Work, _ Deposited) error {
	return aggregate.Change(ctx, w, accounts, "count", func(Account) ([]AccountEvent, error) { return []AccountEvent{Renamed{}}, nil })
}

func TestWhatANotificationChangesHappensOnceAlsoWithTwoRunners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bank(t, aggregate.Afterwards("count", count))
		lossy := &aggregate.Module{Log: &lost{Log: m.Log, every: 3}, Types: m.Types, Handlers: m.Handlers}
		stops := []func() error{running(t, lossy), running(t, lossy), running(t, m)}
		for range 20 {
			deposits(t, m, 1)
		}
		<-time.After(time.Minute) // of the bubble's clock
		for _, stop := range stops {
			must(t, stop())
		}
		if a := load(t, m, "count"); a.Events != 20 {
			t.Errorf("20 deposits were counted as %d", a.Events)
		}
		for _, rec := range all(t, m.Log) {
			if rec.Stream == "account/count" && rec.Metadata.Causation.IsZero() {
				t.Errorf("%s has no cause", rec.ID)
			}
		}
	})
}

// lost does what it is told, and loses every so many answers.
type lost struct {
	eventlog.Log
	mu    sync.Mutex
	calls int
	every int
}

func (l *lost) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	appended, err := l.Log.Append(ctx, writes...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; l.calls%l.every == 0 && err == nil {
		return eventlog.Appended{}, errors.New("the connection was cut")
	}
	return appended, err
}

func TestAHandlerWaitsForANewerProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &told{}
		m := bank(t, aggregate.Afterwards("mail", c.hear))
		stop := running(t, m)
		_, err := m.Log.Append(t.Context(), eventlog.ToStream{Stream: "account/2", Events: []event.Event{{Type: "deposited", Schema: 2, Data: []byte(`{"Amount":2}`)}}})
		must(t, err)
		deposits(t, m, 3)
		<-time.After(time.Hour) // of the bubble's clock
		must(t, stop())
		if got := c.got(); len(got) != 0 {
			t.Errorf("went past an event that it can't read: %v", got)
		}
		newer := &aggregate.Module{Log: m.Log, Handlers: m.Handlers}
		newer.Types, err = event.NewRegistry(event.Named[Deposited]("deposited", event.Schema(2), event.UpcastFrom(1, func(r event.Raw) ([]event.Raw, error) {
			r.Schema = 2
			return []event.Raw{r}, nil
		})))
		must(t, err)
		must(t, running(t, newer)())
		if got := c.got(); !slices.Equal(got, []int{2, 3}) {
			t.Errorf("told %v", got)
		}
	})
}

func TestAHandlerWhosePlaceIsRareToMoveIsStoredNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &told{}
		m := bank(t, aggregate.Afterwards("mail", c.hear))
		must(t, m.Begin(t.Context()))
		_, err := aggregate.Record(t.Context(), m, "audit/1", slices.Repeat([]any{Audited{}}, 2500)...)
		must(t, err)
		log := &counted{Log: m.Log}
		m.Log = log
		must(t, running(t, m)())
		if n := log.appends.Load(); n != 2 {
			t.Errorf("passing 2500 events took %d appends", n)
		}
	})
}

func TestAHandlerStopsWhenItsLogWasRewound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &told{}
		m := bank(t, aggregate.Afterwards("mail", c.hear))
		stop := running(t, m)
		deposits(t, m, 1, 2, 3)
		synctest.Wait()
		must(t, stop())

		restored := bank(t, m.Handlers...) // another history, with the old place
		deposits(t, restored, 1, 2)
		for entry, err := range m.Log.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Cursor}) {
			must(t, err)
			_, err := restored.Log.Append(t.Context(), eventlog.Put{Entry: entry})
			must(t, err)
		}
		if err := restored.Run(t.Context()); !errors.Is(err, eventlog.ErrLogRewound) {
			t.Errorf("%v", err)
		}
	})
}
