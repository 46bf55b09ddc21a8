package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// What can come next is written with what it would do, by what the log keeps of the definition alone.
func TestPossibleNextInputs(t *testing.T) {
	t.Parallel()
	now := time.Date(2040, 3, 1, 10, 0, 0, 0, time.UTC)
	started, accepted := now.Add(-time.Hour), now
	inputs := []process.InputDescription{
		{Kind: process.EventInput, Name: "placed", Module: "orders", Starts: true, Choices: []process.Policy{process.Handle, process.Ignore, process.Hold, process.Ignore}},
		{Kind: process.EventInput, Name: "paid", Module: "payments", Choices: []process.Policy{process.Defer, process.Defer, process.Handle, process.Ignore}},
		{Kind: process.EventInput, Name: "shipped", Module: "stock", Claim: "parcel", Choices: []process.Policy{process.Ignore, process.Handle, process.Handle, process.Ignore}},
		{Kind: process.RejectedInput, Name: "reserve", Module: "stock", Choices: []process.Policy{process.Ignore, process.Handle, process.Ignore, process.Ignore}},
		{Kind: process.TimeoutInput, Name: "due", Former: []string{"payment-due"}, Choices: []process.Policy{process.Ignore, process.Hold, process.Handle, process.Ignore}},
	}
	described := kept{Description: process.Description{Process: "order", Version: 1, Inputs: inputs, Phases: []process.Phase{process.PhaseNone, "open", "reserved", process.PhaseCompleted},
		Deferral: &process.Deferral{Most: 5, Within: 48 * time.Hour, Then: process.Ignore}}}
	reserve := process.Sent{ID: event.NewID(), Number: 1, Module: "stock", Type: "reserve", Undo: &process.Undoing{Type: "release"}}
	running := func(phase process.Phase) *process.Instance {
		return &process.Instance{Status: process.Running, Phase: phase, Version: 1, Timers: []process.Timer{{Name: "payment-due:1", Type: "payment-due", Due: now.Add(time.Hour)}},
			Claims: []process.ClaimedKey{{Name: "parcel", Key: "7"}}}
	}
	for name, tt := range map[string]struct {
		known   known
		want    []string // lines, with single spaces
		waitFor int
	}{
		"not started": {known{hold: &process.Holding{Condition: process.Waiting, Queued: 2}}, []string{
			"Possible next inputs (before it starts)",
			"event placed of orders handle starts the instance; 2 inputs that wait follow it",
			"event paid of payments defer kept until the instance starts: at most 2 days and 5 inputs, 2 by now; what is more is ignored"}, 1},
		"a command is open": {known{instance: running("open"), open: []process.Sent{reserve}}, []string{
			"Possible next inputs (in phase open)",
			"event placed of orders ignore recorded, and never applied",
			"event paid of payments defer kept until a phase comes in which it is handled or ignored: at most 2 days and 5 inputs, 0 by now; what is more is ignored",
			"event shipped of stock, by its parcel handle the definition decides what ensues",
			"accepted reserve command 1, by stock ignore it is noted, since the command can be undone",
			"rejected reserve command 1, by stock handle the definition decides what ensues",
			"failed reserve command 1, by stock hold the definition has no OnFailed for it",
			"timeout payment-due:1 2040-03-01 11:00:00Z, in 60 min hold holds the instance, for an operator to decide"}, 2},
		"its outcome is known": {known{instance: running("reserved"), open: []process.Sent{reserve}, commands: []commandView{{Number: 1, Status: "accepted", Handled: &accepted}}}, []string{
			"Possible next inputs (in phase reserved)",
			"event placed of orders hold holds the instance, for an operator to decide",
			"event paid of payments handle the definition decides what ensues",
			"event shipped of stock, by its parcel handle the definition decides what ensues",
			"accepted reserve command 1, by stock ignore it is noted, since the command can be undone",
			"timeout payment-due:1 2040-03-01 11:00:00Z, in 60 min handle the definition decides what ensues"}, 2},
		"it stands aside": {known{instance: &process.Instance{Status: process.Running, Phase: "open", Version: 1}, hold: &process.Holding{Condition: process.Held, Queued: 1}}, []string{
			"Possible next inputs (in phase open)",
			"it stands aside: whatever comes queues behind 1 input; this is what it meets if the phase is still the same then",
			"event placed of orders ignore recorded, and never applied",
			"event paid of payments defer kept until a phase comes in which it is handled or ignored: at most 2 days and 5 inputs, 0 by now; what is more is ignored"}, 0},
		"an unknown phase": {known{instance: &process.Instance{Status: process.Running, Version: 1}}, []string{
			"Possible next inputs",
			"event placed of orders unknown the log does not say; run the application once, or ask its own binary",
			"event paid of payments unknown the log does not say; run the application once, or ask its own binary"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := &program{out: &out, now: func() time.Time { return now }}
			k := tt.known
			k.process = described
			v := &explainView{Started: &started}
			if i := k.instance; i != nil {
				v.Status, v.Phase = i.Status, i.Phase
			}
			if k.hold != nil {
				aside := asideOf("order", k.hold)
				v.Aside = &aside
			}
			v.Possible = k.possible(nil, v.Status)
			p.showPossible(v, "")
			var got []string
			for line := range strings.Lines(out.String()) {
				if words := strings.Fields(line); len(words) > 0 {
					got = append(got, strings.Join(words, " "))
				}
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if list := waitsFor(v.Possible); len(list) != tt.waitFor {
				t.Errorf("it waits for %+v, want %d", list, tt.waitFor)
			}
		})
	}
}
