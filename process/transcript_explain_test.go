package process_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// explain says what an instance waits for, what it did and what happens next, out of the home log alone: the description
// that the process wrote there, and what is kept of the instance. No program is asked, and no definition.
func (s *story) explain(w words) string {
	key, ctx, log := w.need(0, "an instance"), context.Background(), s.homeLog()
	all := must(process.Descriptions(ctx, log))
	k := slices.IndexFunc(all, func(d process.Description) bool { return d.Process == s.name })
	home, err := process.OpenHome(ctx, log, s.name)
	if k < 0 || err != nil {
		panic(errors.Join(fmt.Errorf("nothing describes %s yet", s.name), err))
	}
	var hold *process.Holding
	for h, err := range process.Holdings(ctx, log, s.name) {
		if err != nil {
			panic(err)
		}
		if h.Instance == key {
			hold = &h
		}
	}
	var b strings.Builder
	i, err := process.Look(ctx, home, key)
	switch {
	case errors.Is(err, process.ErrNoInstance):
		fmt.Fprintf(&b, "%s of %s has not started\n", key, s.name)
	case err != nil:
		panic(err)
	default:
		fmt.Fprintf(&b, "%s of %s began at %s and is %v after %s", key, s.name, s.clock(i.Started), i.Status, counted(i.Steps, "input"))
		if i.Phase != "" {
			fmt.Fprintf(&b, ", in phase %s", i.Phase)
		}
		b.WriteString("\n")
	}
	held := hold != nil && hold.Condition != process.Waiting
	if hold != nil {
		s.showHold(&b, hold)
	}
	open := must(process.PendingCommands(ctx, log, s.name, key))
	for _, c := range open {
		fmt.Fprintf(&b, "it has sent %s %s to %s, and the outcome is open\n", c.ID, c.Type, c.Module)
	}
	if i != nil {
		for n := range i.Deferred {
			fmt.Fprintf(&b, "it has deferred %s\n", inputText(key, &i.Deferred[n]))
		}
		for _, c := range i.Claims {
			fmt.Fprintf(&b, "it has claimed %s %s\n", c.Name, c.Key)
		}
	}
	waits := waitsFor(&all[k], i, open)
	b.WriteString("it waits for:\n")
	for _, what := range waits {
		fmt.Fprintf(&b, "  %s\n", what)
	}
	next := "next: whatever comes first"
	switch {
	case held && hold.Condition == process.Held:
		next = "next: nothing happens by itself, until somebody resumes, skips, replaces or cancels"
	case held:
		next = "next: the input that failed is tried again by itself, within a minute"
		if time.Until(hold.RetryAt) > time.Minute {
			next = "next: the input that failed is tried again by itself, at " + s.clock(hold.RetryAt)
		}
	case i == nil:
		next = "next: an input that starts it; what waits follows, in order"
	case i.Status == process.Completed:
		next = "next: nothing; what comes late is ignored"
	default:
		if timers := ownTimers(i); len(timers) > 0 {
			next += fmt.Sprintf(", at the latest timeout %s at %s", timers[0].Name, s.clock(timers[0].Due))
		}
	}
	return b.String() + next + "\n"
}

// ownTimers are the timeouts that an instance has set itself, the next one first.
func ownTimers(i *process.Instance) []process.Timer {
	timers := slices.DeleteFunc(slices.Clone(i.Timers), func(t process.Timer) bool { return strings.HasPrefix(t.Name, event.SystemPrefix) })
	slices.SortFunc(timers, func(a, b process.Timer) int { return a.Due.Compare(b.Due) })
	return timers
}

// waitsFor lists the inputs that an instance may take next, as the description has them.
func waitsFor(d *process.Description, i *process.Instance, open []process.Sent) (all []string) {
	for _, in := range d.Inputs {
		is := true
		text := fmt.Sprintf("%v %s", in.Kind, in.Name)
		switch in.Kind {
		case process.EventInput:
			text += " of " + in.Module
			switch {
			case i == nil:
				is = in.Starts
			case i.Status == process.Completed:
				is = false
			case in.Claim != "":
				is = slices.ContainsFunc(i.Claims, func(c process.ClaimedKey) bool { return c.Name == in.Claim })
			}
		case process.TimeoutInput:
			is = i != nil && slices.ContainsFunc(i.Timers, func(t process.Timer) bool { return t.Type == in.Name })
		case process.ClaimInput:
			is = false
		default:
			is = slices.ContainsFunc(open, func(c process.Sent) bool { return c.Type == in.Name })
		}
		if is && i != nil && in.Kind == process.EventInput {
			text, is = chosen(d, &in, i.Phase, text)
		}
		if is {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		all = []string{"nothing"}
	}
	return all
}

// chosen says what becomes of an input in a phase; false where it is of no interest.
func chosen(d *process.Description, in *process.InputDescription, phase process.Phase, text string) (string, bool) {
	k := slices.Index(d.Phases, phase)
	if k < 0 || k >= len(in.Choices) {
		return text, true
	}
	switch in.Choices[k] {
	case process.Ignore:
		return "", false
	case process.Defer:
		return text + ", which it would keep for a later phase", true
	case process.Hold:
		return text + ", which must not come now and would hold it", true
	default:
		return text, true
	}
}
