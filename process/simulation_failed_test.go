package process

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
)

// Some commands of the simulated process have a deadline, and where a simulation says so a command is given up after a few
// attempts. Either is an input, which a phase may defer.

// simSend sends a command, with the deadline and the undo that go with its number.
func simSend(do *Step, cmd any) {
	var options []SendOption
	switch c := cmd.(type) {
	case simReserve:
		if c.N%4 == 1 {
			options = append(options, Within(3*time.Second))
		}
		if c.N%3 != 1 {
			options = append(options, OnUndo(simFree{c.ID, c.N}))
		}
	case simShip:
		if c.N%5 == 2 {
			options = append(options, Before(do.Now().Add(10*time.Second)))
		}
		if c.N%2 == 0 {
			options = append(options, OnUndo(simRecall(c)))
		}
	}
	do.Send(cmd, options...)
}

// simDeadline is the deadline of a command, said a second time.
func simDeadline(sent *Sent, now time.Time) (before time.Time) {
	var c struct{ N int }
	switch {
	case json.Unmarshal(sent.Data, &c) != nil:
	case sent.Type == "reserve" && c.N%4 == 1:
		return event.Micro(now.Add(3 * time.Second))
	case sent.Type == "ship" && c.N%5 == 2:
		return event.Micro(now.Add(10 * time.Second))
	}
	return time.Time{}
}

// simFailing are the parts that matter for commands that fail.
func simFailing() []Part[simState] {
	return []Part[simState]{
		OnFailed[simState, simReserve]{
			Evolve: func(s simState, in Input[Failed[simReserve]]) simState {
				return s.see("!reserve %d %v", in.Event.Command.N, in.Event.Expired)
			},
			React: func(s simState, _ Input[Failed[simReserve]], do *Step) {
				if len(s.Seen) < simMost {
					do.After(time.Second, simTick{"b"})
				}
			},
		},
		OnFailed[simState, simShip]{
			Defer: In(simLate),
			Evolve: func(s simState, in Input[Failed[simShip]]) simState {
				return s.see("!ship %d %v", in.Event.Command.N, in.Event.Expired)
			},
		},
	}
}

// unanswered is told of an attempt whose answer did not come.
func (o *oracle) unanswered(p *pending) { o.tries[p.sent.ID]++ }

// givenUp checks that a command is given up after as many attempts as are declared.
func (o *oracle) givenUp(e *command.Envelope) {
	o.happens("a command given up")
	if most := o.s.cfg.Retry.Dispatch; most == 0 || o.tries[e.ID] < most {
		o.fail("G7: %s %s is given up after %d attempts of %d", e.Type, e.Data, o.tries[e.ID], most)
	}
}

// inTime checks that a command takes effect before its deadline, and not after its failure was taken.
func (o *oracle) inTime(rec event.Recorded, sent *simSent) {
	switch {
	case !sent.Before.IsZero() && !rec.Recorded.Before(sent.Before):
		o.fail("G7: %s %d of %s took effect at %s, past its deadline %s", sent.Type, sent.Number, sent.instance, rec.Recorded, sent.Before)
	case sent.recorded || sent.queued:
		o.fail("G7: %s %d of %s took effect behind its outcome", sent.Type, sent.Number, sent.instance)
	}
}

// became returns what the receipt says that a command came to.
func (o *oracle) became(sent *simSent) (command.Status, error) {
	for r, err := range command.Receipts(context.Background(), o.s.logs[sent.Module], sent.ID) {
		return r.Status, err
	}
	return "", fmt.Errorf("there is no receipt")
}

// outcomeIs checks that an outcome is what the receipt says, and that a command expired no sooner than its deadline.
func (o *oracle) outcomeIs(in *Taken, sent *simSent, what string) {
	want := map[Kind]command.Status{AcceptedInput: command.Accepted, RejectedInput: command.Rejected, FailedInput: command.Failed}[in.Kind]
	if in.Expired {
		want = command.Expired
	}
	is, err := o.became(sent)
	switch {
	case err != nil || is != want:
		o.fail("G7: %s: the receipt says %q (%v)", what, is, err)
	case is == command.Expired && (sent.Before.IsZero() || o.s.clock.Before(sent.Before)):
		o.fail("G7: %s: it expired before %s", what, sent.Before)
	case is == command.Failed && o.s.cfg.Retry.Dispatch == 0:
		o.fail("G7: %s: nobody gave it up", what)
	}
}
