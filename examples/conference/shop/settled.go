package shop

import (
	"context"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// Settled tells whether nothing is left to do for the orders that were placed: everyone has ended, the processes with
// them, and every command has its outcome. An instance that is held is an error: it waits for a person.
func Settled(ctx context.Context, logs Logs) (bool, error) {
	counts := map[string]int{}
	for rec, err := range logs.Orders.Read(ctx, eventlog.Query{Types: []string{"order-placed", "order-confirmed", "order-closed"}}) {
		if err != nil {
			return false, err
		}
		counts[rec.Type]++
	}
	if counts["order-closed"] < counts["order-placed"] {
		return false, nil
	}
	for name, want := range map[string]int{"registration": counts["order-placed"], "fulfilment": counts["order-confirmed"]} {
		for h, err := range process.Holdings(ctx, logs.Orders, name) {
			if err != nil {
				return false, err
			}
			if h.Condition == process.Held {
				return false, fmt.Errorf("%s %s is held: %s", name, h.Instance, h.Error)
			}
			return false, nil
		}
		completed := 0
		for s, err := range process.ListInstances(ctx, logs.Orders, name, "") {
			if err != nil {
				return false, err
			}
			if s.Status == process.Completed {
				completed++
			}
		}
		open, err := process.PendingCommands(ctx, logs.Orders, name, "")
		if err != nil || len(open) > 0 || completed < want {
			return false, err
		}
	}
	return true, nil
}
