package domain

import (
	"fmt"
	"time"
	_ "time/tzdata" // so that Rome's summer times are known on a machine without them
)

// DaysToPay is how many calendar days after its notification a fine can be paid without a penalty.
const DaysToPay = 60

// Rome is the zone that the authority's calendar follows.
var Rome = zone("Europe/Rome")

func zone(name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		panic(fmt.Sprintf("domain: zone %s, which is compiled in: %v", name, err))
	}
	return l
}

// PenaltyDue returns when the penalty of a fine is due that was notified at an instant: the midnight in Rome with which
// the sixtieth calendar day after the day of the notification begins. That is not 60 times 24 hours later where a change
// of the clock lies between.
func PenaltyDue(notified time.Time) time.Time {
	year, month, day := notified.In(Rome).Date()
	return time.Date(year, month, day+DaysToPay, 0, 0, 0, 0, Rome)
}

// Date returns the calendar day in Rome of an instant, as 2006-01-02.
func Date(at time.Time) string { return at.In(Rome).Format(time.DateOnly) }
