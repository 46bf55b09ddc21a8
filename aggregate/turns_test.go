package aggregate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/aggregate"
)

func TestWorksThatWantOneAggregateTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bank(t)
		var mu sync.Mutex
		tries := 0
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := aggregate.Execute(t.Context(), m, accounts, "1", func(Account) ([]AccountEvent, error) {
					mu.Lock()
					tries++
					mu.Unlock()
					<-time.After(time.Millisecond) // of the bubble's clock
					return []AccountEvent{Deposited{1}}, nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if a := load(t, m, "1"); a.Balance != 50 || tries > 110 {
			t.Errorf("%+v after %d tries", a, tries)
		}
	})
}

func TestWorksThatWantEachOthersAggregatesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bank(t)
		begun := time.Now()
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				if _, err := aggregate.Do(t.Context(), m, aggregate.Cause{}, func(ctx context.Context, w *aggregate.Work) error {
					for j := range 2 {
						if err := aggregate.Change(ctx, w, accounts, fmt.Sprint((i+j)%2), deposit(1)); err != nil {
							return err
						}
						<-time.After(time.Millisecond) // of the bubble's clock
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if a, b, took := load(t, m, "0"), load(t, m, "1"), time.Since(begun); a.Balance != 40 || b.Balance != 40 || took > 2*time.Second {
			t.Errorf("%+v, %+v after %v", a, b, took)
		}
	})
}

func TestASlowWorkDoesNotHoldUpTheOthersForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bank(t)
		stuck, release := make(chan struct{}), make(chan struct{})
		done := make(chan error)
		go func() {
			tries := 0
			done <- aggregate.Execute(t.Context(), m, accounts, "1", func(Account) ([]AccountEvent, error) {
				switch tries++; tries {
				case 1:
					must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(1))) // so that it has to take a turn
				case 2:
					close(stuck)
					<-release
				}
				return []AccountEvent{Deposited{100}}, nil
			})
		}()
		<-stuck
		begun := time.Now()
		must(t, aggregate.Execute(t.Context(), m, accounts, "1", deposit(10)))
		if took := time.Since(begun); took != time.Second {
			t.Errorf("waited %v", took)
		}
		close(release)
		must(t, <-done)
		if a := load(t, m, "1"); a.Balance != 111 {
			t.Errorf("%+v", a)
		}
	})
}
