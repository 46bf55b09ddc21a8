// Package tick makes the recurring time events of a module: the end of a day, the first of a month, nine o'clock on working
// days. Each tick of a calendar becomes one event in the module's log, dated at its instant, however many programs run
// the module.
//
//	tick.Definition{
//		Name:   "end-of-day",
//		On:     calendar.MustCron("0 0 * * *", berlin),
//		Event:  func(at time.Time) any { return DayEnded{Day: at.AddDate(0, 0, -1).Format(time.DateOnly)} },
//		Missed: tick.Each(31),
//	}
//
// A tick is made when it is due by the store's clock, never before, and those of one name in their order. That it is made
// once has two reasons, each of which is enough: the event is appended together with an entry that says up to which instant
// all is done, under that entry's revision; and its id follows from module, name and instant (G5).
package tick

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ensue-io/ensue/calendar"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Definition declares the recurring time events of one name. What is stored of it is the name and the instant up to which
// all is done, so everything else may change between releases: a new calendar goes on from that instant.
type Definition struct {
	Name   string                 // 1 to 100 letters, digits or "-_", unique in its module and stable: it stands in the events' ids
	On     calendar.Calendar      // when; its ticks are cut to the microsecond
	Event  func(at time.Time) any // the event, or a draft of it, of the tick at an instant, in the calendar's zone; pure: it is called again when an append failed, and when the application is opened
	Missed Missed                 // what becomes of ticks that nobody made in time: Each, Latest or None; there is no default
	Late   time.Duration          // how late a tick can be made without being missed; default a minute
	From   time.Time              // ticks from this instant on, when the name is new; default: from when it first runs
	Stream string                 // default "tick/NAME"
}

// DefaultLate is how late a tick can be made without being missed unless its definition says otherwise.
const DefaultLate = time.Minute

// Missed is the policy for ticks that nobody made in time, since no program ran or the store was away.
type Missed struct {
	policy string
	most   int
}

// MostMissed is the largest bound of Each.
const MostMissed = 100_000

// Each makes every tick that was missed, in order; of more than most, the latest. It is 1 to MostMissed.
func Each(most int) Missed { return Missed{"each", most} }

// Latest makes the latest of all ticks that are due, if it was missed, and none before it.
func Latest() Missed { return Missed{"latest", 1} }

// None makes no tick that was missed.
func None() Missed { return Missed{"none", 0} }

func (m Missed) String() string {
	switch m.policy {
	case "each":
		return fmt.Sprintf("each, at most %d", m.most)
	case "":
		return "not declared"
	}
	return m.policy
}

// Check returns everything that is wrong with the definition, joined.
func (d Definition) Check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("tick %q: %s", d.Name, fmt.Sprintf(format, args...)))
	}
	const name = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if d.Name == "" || len(d.Name) > 100 || strings.Trim(d.Name, name) != "" {
		bad("a name is 1 to 100 letters, digits, - or _")
	}
	if s, is := d.On.(calendar.Schedule); is && s.Zone() == time.Local {
		bad("its calendar is in the zone of this machine, and another machine may have another; name the zone, by time.LoadLocation")
	}
	if d.On == nil {
		bad("it has no calendar; set On, for example by calendar.Cron")
	} else if _, ok := d.On.Next(time.Now()); !ok {
		bad("its calendar, %v, never ticks again", d.On)
	}
	if d.Event == nil {
		bad("it has no Event")
	}
	switch {
	case d.Missed.policy == "":
		bad("say what becomes of ticks that were missed: tick.Each(…), tick.Latest() or tick.None()")
	case d.Missed.policy == "each" && (d.Missed.most < 1 || d.Missed.most > MostMissed):
		bad("tick.Each(%d): it is 1 to %d", d.Missed.most, MostMissed)
	}
	if d.Late < 0 {
		bad("Late is %v; 0 means %v", d.Late, DefaultLate)
	}
	if d.Stream != "" {
		if err := eventlog.CheckStream(d.Stream); err != nil {
			bad("%v", err)
		}
	}
	return errors.Join(errs...)
}

func (d *Definition) stream() string {
	if d.Stream == "" {
		return "tick/" + d.Name
	}
	return d.Stream
}

// draft returns the event of a tick.
func (d *Definition) draft(module string, at time.Time) (draft event.Draft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	fact := d.Event(at)
	if fact == nil {
		return event.Draft{}, errors.New("its Event returned nil; a calendar without the tick leaves it out")
	}
	draft, is := fact.(event.Draft)
	if !is {
		draft = event.New(fact)
	}
	return draft.WithID(d.id(module, at)).At(at), nil
}

// id is the id of a tick's event: the same for everybody who makes it.
func (d *Definition) id(module string, at time.Time) event.ID {
	return event.DeriveID("tick", module, d.Name, event.Micro(at).Format(time.RFC3339Nano))
}

// plan is what is to be done of the ticks that are due.
type plan struct {
	skipped skip        // first
	make    []time.Time // then, in order
	missed  int         // so many of them, the first, were missed
	next    time.Time   // the first tick that is not due yet; zero where there is none
}

// skip counts ticks that are left out.
type skip struct {
	count       int
	first, last time.Time
}

func (s *skip) add(at time.Time) {
	if s.count++; s.first.IsZero() {
		s.first = at
	}
	s.last = at
}

// plan decides, from the instant up to which all is done, what becomes of the ticks up to now. It is pure.
func (d *Definition) plan(done, now time.Time) (p plan, err error) {
	late := d.Late
	if late == 0 {
		late = DefaultLate
	}
	var missed []time.Time
	for last := done; ; {
		at, ok := d.On.Next(last)
		if !ok {
			break
		}
		if at = at.Truncate(time.Microsecond); !at.After(last) {
			return plan{}, fmt.Errorf("its calendar says that %v comes after %v; a tick is at least a microsecond later", at, last)
		}
		last = at
		if at.After(now) {
			p.next = at
			break
		}
		if now.Sub(at) <= late {
			p.make = append(p.make, at)
			continue
		}
		if missed = append(missed, at); len(missed) > d.Missed.most {
			p.skipped.add(missed[0])
			missed = missed[1:]
		}
	}
	if d.Missed.policy == "latest" && len(p.make) > 0 && len(missed) > 0 { // then a later one is due
		p.skipped.add(missed[0])
		missed = nil
	}
	p.missed, p.make = len(missed), append(missed, p.make...)
	return p, nil
}
