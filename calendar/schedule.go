package calendar

import (
	"math/bits"
	"time"
)

// Schedule is a cron expression in a zone: when something recurs by the wall calendar. Make one with Cron. The zero
// Schedule never ticks.
//
// An expression that names hours ticks once for each wall time that matches, when it comes: at the end of a gap if the
// clock leaves it out, the first time if the clock shows it twice. Several that fall into one gap are one tick. An
// expression whose hours are all hours recurs within the day, and ticks whenever the clock shows a minute that matches:
// also in the hour that is there twice, and in a gap there is nothing to match. So "30 2 * * *" ticks once on every day,
// and "30 * * * *" once in every hour that passes.
type Schedule struct {
	text string
	zone *time.Location

	minutes, hours, days, months, weekdays uint64 // sets of numbers; weekdays from Sunday, 0
	lastDay                                bool   // of the month, beside days
	either                                 bool   // a day matches by its number or its weekday; else by both
}

// String returns the expression and its zone.
func (s Schedule) String() string {
	if s.zone == nil {
		return "never"
	}
	return s.text + " (" + s.zone.String() + ")"
}

// Zone returns the zone; nil for the zero Schedule.
func (s Schedule) Zone() *time.Location { return s.zone }

// allHours are the hours of an expression that recurs within the day.
const allHours = 1<<24 - 1

// Next implements Calendar: the first tick after an instant, in the schedule's zone; false when there is none within forty
// years, which is so for February 30.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	if s.zone == nil {
		return time.Time{}, false
	}
	if s.hours == allHours {
		return s.nextShown(after)
	}
	wall := wallOf(after, s.zone) // has come, and with it all before it
	until := wall.AddDate(horizon, 0, 0)
	for {
		var ok bool
		if wall, ok = s.match(wall, until); !ok {
			return time.Time{}, false
		}
		if at := comes(wall, s.zone); at.After(after) {
			return at, true
		}
		wall = wall.Add(time.Minute) // it is shown for the second time
	}
}

// horizon is within how many years there is a next tick, or none: leap days are up to eight years apart.
const horizon = 40

// nextShown returns the first instant after another at which the clock shows a minute that matches.
func (s Schedule) nextShown(after time.Time) (time.Time, bool) {
	t := after.In(s.zone)
	until := wallOf(t, s.zone).AddDate(horizon, 0, 0)
	for {
		_, offset := t.Zone()
		east := time.Duration(offset) * time.Second
		_, end := bounds(t) // then another clock begins
		limit := until
		if w := end.UTC().Add(east); !end.IsZero() && w.Before(until) {
			limit = w
		}
		wall, ok := s.match(wallOf(t, s.zone), limit)
		if ok && !wall.Add(-east).After(after) { // this very minute
			wall, ok = s.match(wall.Add(time.Minute), limit)
		}
		switch at := wall.Add(-east); {
		case ok && (end.IsZero() || at.Before(end)):
			return at.In(s.zone), true
		case limit.Equal(until):
			return time.Time{}, false
		}
		t = end
	}
}

// match returns the first wall time that matches, from one on and up to another.
func (s *Schedule) match(wall, until time.Time) (time.Time, bool) {
	if up := wall.Truncate(time.Minute); up.Before(wall) {
		wall = up.Add(time.Minute)
	}
	for !wall.After(until) {
		year, month, day := wall.Date()
		switch {
		case s.months&(1<<month) == 0:
			wall = time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		case !s.matchDay(year, month, day, wall.Weekday()):
			wall = time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		hour, ok := from(s.hours, wall.Hour())
		if !ok {
			wall = time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if hour > wall.Hour() {
			wall = time.Date(year, month, day, hour, 0, 0, 0, time.UTC)
		}
		if minute, ok := from(s.minutes, wall.Minute()); ok {
			return time.Date(year, month, day, hour, minute, 0, 0, time.UTC), true
		}
		wall = time.Date(year, month, day, hour+1, 0, 0, 0, time.UTC)
	}
	return time.Time{}, false
}

func (s *Schedule) matchDay(year int, month time.Month, day int, weekday time.Weekday) bool {
	number := s.days&(1<<day) != 0 || s.lastDay && day == time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	named := s.weekdays&(1<<weekday) != 0
	if s.either {
		return number || named
	}
	return number && named
}

// from returns the least number of a set that is at least n.
func from(set uint64, n int) (int, bool) {
	rest := set >> n
	return n + bits.TrailingZeros64(rest), rest != 0
}
