package processtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// undoing is shown as the phase of an instance that was given up, and undoes what it did.
const undoing process.Phase = "compensating"

// phases returns where every instance is.
func phases(m *process.Machine) map[string]process.Phase {
	all := map[string]process.Phase{}
	for _, key := range m.Keys() {
		i, _ := m.Instance(key)
		switch {
		case i.Status == process.Completed:
			all[key] = process.PhaseCompleted
		case i.Compensating:
			all[key] = undoing
		case i.Phase == "":
			all[key] = process.PhaseActive
		default:
			all[key] = i.Phase
		}
	}
	return all
}

// isOwn tells whether a timer is one that the definition set.
func isOwn(t process.Timer) bool { return !strings.HasPrefix(t.Type, event.SystemPrefix) }

// nextDue returns when the next timeout is due. How long an input is deferred counts too.
func nextDue(m *process.Machine) (due time.Time, waits bool) {
	for _, key := range m.Keys() {
		i, _ := m.Instance(key)
		for _, t := range i.Timers {
			if !waits || t.Due.Before(due) {
				due, waits = t.Due, true
			}
		}
	}
	return due, waits
}

// timersAt names what is due at an instant.
func timersAt(m *process.Machine, due time.Time) string {
	var names []string
	for _, key := range m.Keys() {
		i, _ := m.Instance(key)
		for _, t := range i.Timers {
			switch {
			case !t.Due.Equal(due):
			case isOwn(t):
				names = append(names, fmt.Sprintf("%q", t.Name))
			default:
				names = append(names, "of a deferred input")
			}
		}
	}
	return strings.Join(names, " and ") + " after " + short(due.Sub(m.Now()))
}

// situation returns everything that decides what can happen next, but for the clock.
func situation(m *process.Machine, deferred []string) string {
	var b strings.Builder
	for _, key := range m.Keys() {
		i, _ := m.Instance(key)
		fmt.Fprintf(&b, "%q %v %q %t %q %s\n", key, i.Status, i.Phase, i.Compensating, slices.Sorted(slices.Values(i.Once)), dump(i.State))
		for _, k := range i.Claims {
			fmt.Fprintf(&b, "\tclaim %v\n", k)
		}
		timers := slices.DeleteFunc(slices.Clone(i.Timers), func(t process.Timer) bool { return !isOwn(t) })
		slices.SortStableFunc(timers, func(a, b process.Timer) int { return a.Due.Compare(b.Due) })
		for _, t := range timers {
			fmt.Fprintf(&b, "\ttimer %s %s\n", t.Name, t.Data)
		}
		for _, u := range i.Undos {
			fmt.Fprintf(&b, "\tundo %s %s %s\n", u.State, u.Type, u.Data)
		}
	}
	var open []string
	for _, c := range m.Open() {
		open = append(open, fmt.Sprintf("open %q %s\n", c.Instance, dump(c.Command)))
	}
	slices.Sort(open)
	deferred = slices.Sorted(slices.Values(deferred))
	fmt.Fprintf(&b, "%s%q", strings.Join(open, ""), deferred)
	return b.String()
}

// account tells what was decided on one thing that happened, and what the states are after it.
func account(m *process.Machine, decisions []process.Decision) []string {
	var lines []string
	for _, d := range decisions {
		lines = append(lines, fmt.Sprintf("%v %s at %q: %s", d.Kind, dump(d.Input), d.Instance, d.Verdict))
		for _, e := range d.Effects {
			line := "    " + string(e.Kind)
			if e.Value != nil {
				line += " " + dump(e.Value)
			}
			if e.Module != "" {
				line += " to " + e.Module
			}
			if !e.Due.IsZero() {
				line += " due " + e.Due.Format(time.RFC3339Nano)
			}
			if !e.Before.IsZero() {
				line += " before " + e.Before.Format(time.RFC3339Nano)
			}
			if len(e.Metadata.Headers) > 0 {
				line += " with " + dump(e.Metadata.Headers)
			}
			lines = append(lines, line)
		}
	}
	for _, key := range m.Keys() {
		i, _ := m.Instance(key)
		lines = append(lines, fmt.Sprintf("%q is %v, %s", key, i.Status, dump(i.State)))
		if len(i.Once) > 0 {
			lines = append(lines, fmt.Sprintf("    once %q", i.Once))
		}
	}
	return lines
}

// waiting returns what is deferred after some decisions.
func waiting(before []string, decisions []process.Decision) []string {
	all := slices.Clone(before)
	for _, d := range decisions {
		text := d.Instance + " " + dump(d.Input)
		if d.Verdict == process.VerdictDeferred {
			all = append(all, text)
		} else if k := slices.Index(all, text); k >= 0 {
			all = slices.Delete(all, k, k+1)
		}
	}
	return all
}
