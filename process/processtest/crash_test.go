package processtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func fact(what string) eventlog.Write {
	return eventlog.ToStream{Stream: "order/1", Events: []event.Event{{Type: what, Data: []byte("{}")}}}
}

func done(ctx context.Context, log eventlog.Log) (is bool, err error) {
	for _, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Snapshot}) {
		return err == nil, err
	}
	return false, nil
}

var doneMark = eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Snapshot, Key: "done", Value: []byte("1")}}

// What a crash can spoil is found, and told with where it was; what it cannot spoil is not.
func TestCrashEverywhereFinds(t *testing.T) {
	for name, c := range map[string]struct {
		run  func(ctx context.Context, log eventlog.Log) error
		find string // nothing: it is as it should be
	}{
		"an effect and its mark in one append": {run: func(ctx context.Context, log eventlog.Log) error {
			is, err := done(ctx, log)
			if err == nil && !is {
				_, err = log.Append(ctx, fact("confirmed"), doneMark)
			}
			return err
		}},
		"an effect before its mark": {run: func(ctx context.Context, log eventlog.Log) error {
			is, err := done(ctx, log)
			if err != nil || is {
				return err
			}
			if _, err := log.Append(ctx, fact("confirmed")); err != nil {
				return err
			}
			_, err = log.Append(ctx, doneMark)
			return err
		}, find: "crashed after operation 2, append of orders: order/1 ← confirmed: it does not come to the same end\n\ttoo much  event of orders order/1: confirmed {}"},
		"an effect behind its mark": {run: func(ctx context.Context, log eventlog.Log) error {
			is, err := done(ctx, log)
			if err != nil || is {
				return err
			}
			if _, err := log.Append(ctx, doneMark); err != nil {
				return err
			}
			_, err = log.Append(ctx, fact("confirmed"))
			return err
		}, find: "crashed before operation 3, append of orders: order/1 ← confirmed: it does not come to the same end\n\tmissing   event of orders order/1: confirmed {}"},
		"a program that waits for what does not come": {run: func(ctx context.Context, log eventlog.Log) error {
			for {
				is, err := done(ctx, log)
				if head, _ := log.Head(ctx); err != nil || is || head == 0 {
					if err == nil && !is {
						_, err = log.Append(ctx, fact("confirmed"))
					}
					if err == nil && !is {
						_, err = log.Append(ctx, doneMark)
					}
					return err
				}
			}
		}, find: "it does not come to rest"},
	} {
		t.Run(name, func(t *testing.T) {
			e := explorer{story: Story{Run: func(ctx context.Context, p *Program) error { return c.run(ctx, p.Logs("orders")) }}}
			e.learn(t)
			var found []string
			lives := e.lives()
			for _, plans := range lives {
				if text := e.compare(t, plans); text != "" {
					found = append(found, text)
				}
			}
			all := strings.Join(found, "\n")
			if c.find == "" && all != "" || !strings.Contains(all, c.find) {
				t.Errorf("found in %d runs:\n%s\nwant %q", len(lives), all, c.find)
			}
		})
	}
}

// Every operation has its two sides, and what is picked is the same for the same seed.
func TestCrashEverywhereCrashesWhere(t *testing.T) {
	e := explorer{story: Story{Twice: 3, Seed: 7}, operations: 5}
	all := e.lives()
	sides := map[string]bool{}
	for _, plans := range all[:10] {
		sides[fmt.Sprint(plans[0].When, plans[0].At)] = len(plans) == 1
	}
	if len(all) != 13 || len(sides) != 10 || len(all[12]) != 2 {
		t.Errorf("five operations are tried in %d runs, on %d sides, the last one with %d crashes", len(all), len(sides), len(all[12]))
	}
	e.story.Sample = 4
	one, two := e.lives(), e.lives()
	if len(one) != 7 || one[0][0].At != two[0][0].At || one[6][1].At != two[6][1].At {
		t.Errorf("a sample of 4 and 3 crashes twice are %v and then %v", one, two)
	}
}
