package calendar_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same rules on every machine

	"github.com/ensue-io/ensue/calendar"
)

// zones have changes of every sort: of half an hour, at midnight and around it, of a whole day, twice around Ramadan, of two
// hours, for good, and none.
var zones = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca",
	"America/St_Johns", "Antarctica/Troll", "Africa/Cairo", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Asia/Gaza", "Europe/Lisbon",
	"Asia/Pyongyang", "America/Caracas", "Pacific/Kwajalein", "UTC"}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// rule is a cron expression with what it is to mean, said in another way.
type rule struct {
	text                    string
	minute, hour, day       set
	month, weekday          set
	last, either, recurring bool
}

func (r *rule) matches(wall time.Time) bool {
	if !r.minute[wall.Minute()] || !r.hour[wall.Hour()] || !r.month[int(wall.Month())] {
		return false
	}
	day := r.day[wall.Day()] || r.last && wall.AddDate(0, 0, 1).Day() == 1
	named := r.weekday[int(wall.Weekday())]
	return day && named || r.either && (day || named)
}

// set tells which numbers are in it.
type set [60]bool

func numbers(least, most, step int) (s set) {
	for n := least; n <= most; n += step {
		s[n] = true
	}
	return s
}

// anyRule makes up an expression.
func anyRule(r *rand.Rand) *rule {
	field := func(least, most int, often float64) (string, set) {
		if r.Float64() < often {
			return "*", numbers(least, most, 1)
		}
		switch a, b := least+r.IntN(most-least+1), least+r.IntN(most-least+1); {
		case r.IntN(4) == 0:
			step := 1 + r.IntN(most-least)
			return fmt.Sprintf("*/%d", step), numbers(least, most, step)
		case r.IntN(3) == 0 && a < b:
			step := 1 + r.IntN(b-a)
			return fmt.Sprintf("%d-%d/%d", a, b, step), numbers(a, b, step)
		default:
			two := set{}
			two[a], two[b] = true, true
			return fmt.Sprintf("%d,%d", a, b), two
		}
	}
	x := &rule{}
	texts := make([]string, 5)
	texts[0], x.minute = field(0, 59, 0.1)
	texts[1], x.hour = field(0, 23, 0.3)
	texts[2], x.day = field(1, 31, 0.6)
	texts[3], x.month = field(1, 12, 0.9)
	texts[4], x.weekday = field(0, 6, 0.6)
	if r.IntN(10) == 0 {
		texts[2], x.day, x.last = "L", set{}, true
	}
	x.recurring = x.hour == numbers(0, 23, 1)
	x.either = texts[2][0] != '*' && texts[4][0] != '*'
	x.text = strings.Join(texts, " ")
	return x
}

func rules() []*rule {
	all := func() *rule {
		return &rule{minute: numbers(0, 0, 1), hour: numbers(0, 23, 1), day: numbers(1, 31, 1), month: numbers(1, 12, 1), weekday: numbers(0, 6, 1), recurring: true}
	}
	make := func(text string, change func(*rule)) *rule {
		x := all()
		x.text = text
		change(x)
		return x
	}
	list := []*rule{
		make("@hourly", func(*rule) {}),
		make("30 * * * *", func(x *rule) { x.minute = numbers(30, 30, 1) }),
		make("* * * * *", func(x *rule) { x.minute = numbers(0, 59, 1) }),
		make("@daily", func(x *rule) { x.hour, x.recurring = numbers(0, 0, 1), false }),
		make("30 2 * * *", func(x *rule) { x.minute, x.hour, x.recurring = numbers(30, 30, 1), numbers(2, 2, 1), false }),
		make("*/15 1-2 * * *", func(x *rule) { x.minute, x.hour, x.recurring = numbers(0, 59, 15), numbers(1, 2, 1), false }),
		make("0 */2 * * *", func(x *rule) { x.hour, x.recurring = numbers(0, 23, 2), false }),
		make("59 23 L * ?", func(x *rule) {
			x.minute, x.hour, x.day, x.last, x.recurring = numbers(59, 59, 1), numbers(23, 23, 1), set{}, true, false
		}),
		make("0 9 30 DEC FRI", func(x *rule) {
			x.hour, x.day, x.month, x.weekday = numbers(9, 9, 1), numbers(30, 30, 1), numbers(12, 12, 1), numbers(5, 5, 1)
			x.recurring, x.either = false, true
		}),
	}
	r := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same expressions each time
	for range 30 {
		list = append(list, anyRule(r))
	}
	return list
}

// look is what the clock of a zone shows at an instant, as if that were UTC.
type look struct{ at, wall time.Time }

// watch looks at the clock in every minute from a day before an instant up to another.
func watch(z *time.Location, from, to time.Time) []look {
	var looks []look
	for t := from.Add(-26 * time.Hour); !t.After(to); t = t.Add(time.Minute) {
		l := t.In(z)
		looks = append(looks, look{t, time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)})
	}
	return looks
}

// brute returns the ticks of a rule behind an instant.
func brute(x *rule, looks []look, from time.Time) []time.Time {
	var ticks []time.Time
	most := looks[0].wall
	for _, l := range looks {
		tick := x.recurring && x.matches(l.wall)
		for l.wall.After(most) { // what has come, the gap's minutes included
			most = most.Add(time.Minute)
			tick = tick || !x.recurring && x.matches(most)
		}
		if tick && l.at.After(from) {
			ticks = append(ticks, l.at)
		}
	}
	return ticks
}

// changes returns the instants, to the minute, at which a zone's clock is set, found by looking at it four times a day.
func changes(z *time.Location) []time.Time {
	var found []time.Time
	offset := func(t time.Time) int { _, o := t.In(z).Zone(); return o }
	end := time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
	for t := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); t.Before(end); t = t.Add(6 * time.Hour) {
		if offset(t) == offset(t.Add(6*time.Hour)) {
			continue
		}
		at := t
		for offset(at) == offset(t) {
			at = at.Add(time.Minute)
		}
		found = append(found, at)
	}
	return found
}

// Around every change of the clock since 1980, in zones with all sorts of them, a schedule ticks as a clock-watcher would
// who looks every minute: nothing is left out, nothing happens twice.
func TestSchedulesTickAsAClockWatcherWouldOverEveryChange(t *testing.T) {
	list := rules()
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := zone(t, name)
			moments := changes(z)
			for year := 2024; year <= 2044; year += 4 { // leap days, and years whose end package time does not know
				moments = append(moments, time.Date(year, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(year, 12, 31, 12, 0, 0, 0, time.UTC))
			}
			compared := 0
			for n, at := range moments {
				from, to := at.Add(-26*time.Hour), at.Add(26*time.Hour)
				looks := watch(z, from, to)
				for k, x := range list {
					if k >= 9 && (n+k)%10 > 0 || k == 2 && n%16 > 0 { // of those that were made up, and of the longest, a share, another each time
						continue
					}
					s := calendar.MustCron(x.text, z)
					next := from
					for _, want := range brute(x, looks, from) {
						got, ok := s.Next(next)
						if !ok || !got.Equal(want) {
							t.Fatalf("%v after %v: %v, %v; want %v", s, next.In(z), got, ok, want.In(z))
						}
						next = want
						compared++
					}
					if got, ok := s.Next(next); ok && !got.After(to) {
						t.Fatalf("%v after %v: %v; want none up to %v", s, next.In(z), got, to.In(z))
					}
				}
			}
			t.Logf("%d changes, %d ticks", len(moments), compared)
			if compared == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}

// The helpers agree with the clock-watcher as well: with the schedule of one time, and of one day of the week.
func TestHelpersTickAsAClockWatcherWould(t *testing.T) {
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := zone(t, name)
			for n, change := range changes(z) {
				looks := watch(z, change.Add(-14*time.Hour), change.Add(90*time.Hour))
				for k := 0; k < 24; k += 3 + n%5 {
					after := change.Add(time.Duration(k-12)*time.Hour + time.Duration(n%60)*time.Minute)
					hour, minute := (k+n)%24, n%2*30
					x := &rule{minute: numbers(minute, minute, 1), hour: numbers(hour, hour, 1), day: numbers(1, 31, 1), month: numbers(1, 12, 1), weekday: numbers(0, 6, 1)}
					if got, want := calendar.NextTime(after, hour, minute, z), brute(x, looks, after)[0]; !got.Equal(want) {
						t.Fatalf("next %d:%02d after %v: %v, want %v", hour, minute, after.In(z), got, want.In(z))
					}
					end := calendar.EndOfDay(after, z)
					day := func(t time.Time) string { return t.In(z).Format(time.DateOnly) }
					today := time.Date(after.In(z).Year(), after.In(z).Month(), after.In(z).Day(), 0, 0, 0, 0, time.UTC)
					for _, l := range looks {
						if l.at.After(after) && l.at.Before(end) && l.wall.Sub(today) >= 24*time.Hour {
							t.Fatalf("the day of %v is said to end at %v, and it is %v at %v", after.In(z), end, l.wall, l.at.In(z))
						}
					}
					if !end.After(after) || day(end) <= day(after) {
						t.Fatalf("the day of %v is said to end at %v", after.In(z), end)
					}
				}
			}
		})
	}
}
