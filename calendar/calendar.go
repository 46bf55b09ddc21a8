// Package calendar computes instants from the wall calendar of a zone: the next 9:15, thirty days later, the end of a month,
// and the ticks of a cron expression. Everything in it is a pure function: it asks no clock.
//
//	do.At(calendar.NextTime(do.Now(), 9, 15, berlin), Remind{}) // in a process: the next 9:15 in Berlin
//	daily := calendar.MustCron("0 0 * * *", berlin)             // for a module's time events: midnight in Berlin
//
// # When clocks change
//
// A clock that is set forward leaves times out, one that is set back shows them twice. One rule holds for both: a wall
// time *comes* at the first instant at which the zone's clock shows it or a later one. So what falls into a gap comes at
// the gap's end, once; what is shown twice comes the first time, once. Nothing is left out and nothing happens twice.
// time.Date promises neither. Only expressions for every hour go by what the clock shows; see Schedule.
//
// Zones are a *time.Location: time.LoadLocation("Europe/Berlin"). A machine without zone files (Windows has none) needs a
// program that imports time/tzdata, which adds half a megabyte and is the program's to decide.
package calendar

import "time"

// Calendar says when something recurs. Schedule is one; Func makes one of the author's own, such as the third working day
// of a month.
type Calendar interface {
	// Next returns the first tick after an instant, that instant excluded; false if there is none. It is pure.
	Next(after time.Time) (time.Time, bool)
}

// Func is a calendar function as a Calendar.
type Func func(after time.Time) (time.Time, bool)

// Next implements Calendar.
func (f Func) Next(after time.Time) (time.Time, bool) { return f(after) }

// Date returns the instant at which a wall time comes in a zone. Values out of range go on counting, as with time.Date: day
// 0 is the last one of the month before.
func Date(year int, month time.Month, day, hour, minute int, zone *time.Location) time.Time {
	return comes(time.Date(year, month, day, hour, minute, 0, 0, time.UTC), zone)
}

// NextTime returns the next time after an instant that it is hour:minute in a zone: later on that day, or on the next.
func NextTime(after time.Time, hour, minute int, zone *time.Location) time.Time {
	return nextDay(after, hour, minute, zone, func(time.Time) bool { return true })
}

// NextWeekday returns the next time after an instant that it is hour:minute on that day of the week in a zone.
func NextWeekday(after time.Time, day time.Weekday, hour, minute int, zone *time.Location) time.Time {
	return nextDay(after, hour, minute, zone, func(wall time.Time) bool { return wall.Weekday() == day })
}

func nextDay(after time.Time, hour, minute int, zone *time.Location, is func(wall time.Time) bool) time.Time {
	year, month, day := after.In(zone).Date()
	for ; ; day++ {
		wall := time.Date(year, month, day, hour, minute, 0, 0, time.UTC)
		if !is(wall) {
			continue
		}
		if at := comes(wall, zone); at.After(after) {
			return at
		}
	}
}

// AddDays returns the instant n calendar days later (earlier, if n is negative) at the same wall time of a zone. A day has
// 23 or 25 hours where clocks change.
func AddDays(t time.Time, n int, zone *time.Location) time.Time {
	if n == 0 {
		return t.In(zone) // which may be the second time that the clock shows it
	}
	return comes(wallOf(t, zone).AddDate(0, 0, n), zone)
}

// EndOfDay returns the instant at which the day of t ends in a zone: the one with which the next begins.
func EndOfDay(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	return comesFrom(t, time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC), zone)
}

// EndOfMonth returns the instant at which the month of t ends in a zone: the one with which the next begins.
func EndOfMonth(t time.Time, zone *time.Location) time.Time {
	year, month, _ := t.In(zone).Date()
	return comesFrom(t, time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC), zone)
}

// wallOf returns what the zone's clock shows at t, as if it were UTC.
func wallOf(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// bounds returns between which instants around t its zone's clock runs evenly; the second is after t, or zero for ever.
// Package time knows no end on December 31 of a leap year, where a zone goes by its rule alone (from 2038 on): it counts
// 365 days, and names an instant that has passed.
func bounds(t time.Time) (begin, end time.Time) {
	begin, end = t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		end = t.Truncate(24 * time.Hour).Add(24 * time.Hour) // the year in UTC ends, up to which the offset is right
	}
	return begin, end
}

// furthest is more than any zone's clock is ahead of UTC, ever; local mean times of the 19th century included.
const furthest = 48 * time.Hour

// comes returns the first instant at which the zone's clock shows the wall time, given as if it were UTC, or a later one.
func comes(wall time.Time, zone *time.Location) time.Time {
	return comesFrom(wall.Add(-furthest), wall, zone)
}

// comesFrom is comes for what the clock shows at or after an instant at which it shows less.
func comesFrom(from, wall time.Time, zone *time.Location) time.Time {
	for t := from.In(zone); ; {
		_, offset := t.Zone()
		begin, end := bounds(t)
		at := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		switch {
		case !begin.IsZero() && at.Before(begin):
			return begin // it fell into the gap
		case end.IsZero() || at.Before(end):
			return at
		}
		t = end
	}
}
