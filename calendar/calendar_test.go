package calendar_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/calendar"
)

// What is said of gaps and overlaps, in examples that a person can check.
func TestTicksWhereClocksChange(t *testing.T) {
	for _, tt := range []struct {
		expression, zone, after string
		want                    []string
	}{
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		{"30 * * * *", "Europe/Berlin", "2026-10-25T02:00:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"}},
		{"0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00-10:00", []string{"2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"}},
		{"@daily", "Pacific/Apia", "2011-12-28T12:00:00-10:00", []string{"2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00+10:30", []string{"2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"}},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"0 0 L * *", "Asia/Kathmandu", "2028-02-01T00:00:00+05:45", []string{"2028-02-29T00:00:00+05:45", "2028-03-31T00:00:00+05:45"}},
		{"0 12 29 2 *", "UTC", "1897-01-01T00:00:00Z", []string{"1904-02-29T12:00:00Z", "1908-02-29T12:00:00Z"}},
		{"0 0 13 * FRI", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"}},
		{"0 0 */13 * FRI", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-27T00:00:00Z", "2026-05-01T00:00:00Z"}},
	} {
		z := zone(t, tt.zone)
		s := calendar.MustCron(tt.expression, z)
		at, err := time.Parse(time.RFC3339, tt.after)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			next, ok := s.Next(at)
			if got := next.Format(time.RFC3339); !ok || got != want || next.Location() != z {
				t.Errorf("%v after %v: %s, want %s", s, at, got, want)
			}
			at = next
		}
	}
}

func TestADayThatNeverComes(t *testing.T) {
	for _, expression := range []string{"0 0 30 2 *", "* * 30 2 ?", "0 0 31 4,6,9,11 *"} {
		if at, ok := calendar.MustCron(expression, zone(t, "Europe/Berlin")).Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
			t.Errorf("%s: %v", expression, at)
		}
	}
	if at, ok := (calendar.Schedule{}).Next(time.Time{}); ok {
		t.Errorf("the zero schedule ticks at %v", at)
	}
}

func TestCronSaysWhatIsWrongAndWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct{ expression, field, reason string }{
		{"", "", "there are 0 fields; give five"},
		{"* * * *", "", "there are 4 fields; give five"},
		{"0 0 0 * * *", "", "there are 6 fields; give five"},
		{"@reboot", "", "the words are @hourly"},
		{"60 * * * *", "minute", "allowed are 0 to 59, ranges"},
		{"-1 * * * *", "minute", "allowed are 0 to 59"},
		{"0x1 * * * *", "minute", "allowed are 0 to 59"},
		{"? * * * *", "minute", "allowed are 0 to 59"},
		{"1,,2 * * * *", "minute", "allowed are 0 to 59"},
		{"0/15 * * * *", "minute", "a step goes with a range; write 0-59/15"},
		{"*/0 * * * *", "minute", "a step is 1 to 59 here"},
		{"*/60 * * * *", "minute", "a step is 1 to 59 here"},
		{"*/ * * * *", "minute", "a step is 1 to 59 here"},
		{"0 24 * * *", "hour", "allowed are 0 to 23"},
		{"0 22-2 * * *", "hour", "a range goes upwards; write 22-23,0-2"},
		{"0 L * * *", "hour", "allowed are 0 to 23"},
		{"0 0 0 * *", "day of month", "allowed are 1 to 31, ranges (a-b), steps (*/n, a-b/n) and *, ?, L"},
		{"0 0 1-L * *", "day of month", "allowed are 1 to 31"},
		{"0 0 * 13 *", "month", "allowed are 1 to 12, JAN to DEC"},
		{"0 0 * * 8", "day of week", "allowed are 0 to 7, SUN to SAT"},
		{"0 0 * * MO", "day of week", "allowed are 0 to 7, SUN to SAT"},
	} {
		_, err := calendar.Cron(tt.expression, time.UTC)
		var wrong *calendar.ParseError
		if !errors.As(err, &wrong) || wrong.Field != tt.field || !strings.HasPrefix(wrong.Reason, tt.reason) || wrong.Expression != tt.expression {
			t.Errorf("%q: %v, want %s: %s", tt.expression, err, tt.field, tt.reason)
		}
	}
	if _, err := calendar.Cron("@daily", nil); err == nil || !strings.Contains(err.Error(), "there is no zone") {
		t.Errorf("no zone: %v", err)
	}
}

// Expressions that mean the same, by other words.
func TestCronHasSeveralWordsForOneThing(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, same := range [][]string{
		{"@weekly", "0 0 * * 0", "0 0 * * 7", "0 0 * * SUN", "0 0 ? * sun", "  0\t0  *  *  Sun "},
		{"0 0 * * 5-7", "0 0 * * FRI-SUN", "0 0 * * 0,5,6", "0 0 * * 5-0"},
		{"0 0 * * *", "@daily", "@midnight", "0 0 ? * ?", "0 0 * * 0-7", "0 0 1-31 1-12 *"},
		{"0 0 1 1 *", "@yearly", "@annually", "0 0 1 JAN ?"},
		{"@hourly", "0 * * * *", "0 0-23 * * *", "0 */1 * * *"},
		{"@monthly", "0 0 1 * *", "0 0 1 */1 *"},
		{"5-20/5 8 * * *", "5,10,15,20 8 * * *"},
	} {
		for _, expression := range same {
			a, b := calendar.MustCron(same[0], time.UTC), calendar.MustCron(expression, time.UTC)
			at := from
			for range 100 {
				want, _ := a.Next(at)
				if got, _ := b.Next(at); !got.Equal(want) {
					t.Fatalf("%q after %v: %v; %q: %v", expression, at, got, same[0], want)
				}
				at = want
			}
		}
	}
}

// What parses ticks at instants that grow, on whole minutes, and reads back as the same schedule; what does not is a
// *ParseError.
func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@daily", "*/15 9-17 * * MON-FRI", "0 0 L * ?", "30 2 29 2 7", "0 0 13 * FRI", "60 * * * *", "0/5 * * * *", "\x00", "9999999999 * * * *"} {
		f.Add(seed, int64(1774746000))
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, expression string, unix int64) {
		s, err := calendar.Cron(expression, berlin)
		if err != nil {
			var wrong *calendar.ParseError
			if !errors.As(err, &wrong) || wrong.Reason == "" {
				t.Fatalf("%q: %v", expression, err)
			}
			return
		}
		again, err := calendar.Cron(strings.TrimSuffix(s.String(), " (Europe/Berlin)"), berlin)
		if err != nil || again != s {
			t.Fatalf("%q reads back as %v, %v", expression, again, err)
		}
		at := time.Unix(unix%(1<<33), 0)
		for range 5 {
			next, ok := s.Next(at)
			if !ok {
				return
			}
			if !next.After(at) || next.Second() != 0 || next.Nanosecond() != 0 {
				t.Fatalf("%v after %v: %v", s, at, next)
			}
			if between, _ := s.Next(at.Add(next.Sub(at) / 2)); !between.Equal(next) {
				t.Fatalf("%v: after %v comes %v, and between them %v", s, at, next, between)
			}
			at = next
		}
	})
}

func TestHelpers(t *testing.T) {
	berlin, apia, stJohns := zone(t, "Europe/Berlin"), zone(t, "Pacific/Apia"), zone(t, "America/St_Johns")
	at := func(text string) time.Time {
		got, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, tt := range []struct {
		what string
		got  time.Time
		want string
	}{
		{"later today", calendar.NextTime(at("2026-07-01T07:14:59Z"), 9, 15, berlin), "2026-07-01T09:15:00+02:00"},
		{"not now", calendar.NextTime(at("2026-07-01T07:15:00Z"), 9, 15, berlin), "2026-07-02T09:15:00+02:00"},
		{"by the zone's day", calendar.NextTime(at("2026-07-01T22:30:00Z"), 0, 15, berlin), "2026-07-03T00:15:00+02:00"},
		{"in a gap", calendar.NextTime(at("2026-03-28T22:30:00Z"), 2, 30, berlin), "2026-03-29T03:00:00+02:00"},
		{"next Monday", calendar.NextWeekday(at("2026-07-06T07:00:00Z"), time.Monday, 9, 0, berlin), "2026-07-13T09:00:00+02:00"},
		{"this Monday", calendar.NextWeekday(at("2026-07-06T06:00:00Z"), time.Monday, 9, 0, berlin), "2026-07-06T09:00:00+02:00"},
		{"a day of 23 hours", calendar.AddDays(at("2026-03-28T12:00:00+01:00"), 1, berlin), "2026-03-29T12:00:00+02:00"},
		{"back over it, with seconds", calendar.AddDays(at("2026-03-29T12:00:07+02:00"), -1, berlin), "2026-03-28T12:00:07+01:00"},
		{"into the gap", calendar.AddDays(at("2026-03-28T02:30:00+01:00"), 1, berlin), "2026-03-29T03:00:00+02:00"},
		{"no days, in the second hour", calendar.AddDays(at("2026-10-25T02:30:00+01:00"), 0, berlin), "2026-10-25T02:30:00+01:00"},
		{"over a day that was not", calendar.AddDays(at("2011-12-29T10:00:00-10:00"), 2, apia), "2011-12-31T10:00:00+14:00"},
		{"end of a day of 25 hours", calendar.EndOfDay(at("2026-10-25T00:00:00+02:00"), berlin), "2026-10-26T00:00:00+01:00"},
		{"end of a day at midnight", calendar.EndOfDay(at("2026-07-01T00:00:00+02:00"), berlin), "2026-07-02T00:00:00+02:00"},
		{"end of a day before one that was not", calendar.EndOfDay(at("2011-12-29T10:00:00-10:00"), apia), "2011-12-31T00:00:00+14:00"},
		{"end of a day that comes back", calendar.EndOfDay(at("2009-10-31T23:30:00-02:30"), stJohns), "2009-11-01T00:00:00-02:30"},
		{"and when it came back", calendar.EndOfDay(at("2009-10-31T23:30:00-03:30"), stJohns), "2009-11-01T00:00:00-03:30"},
		{"end of a leap February", calendar.EndOfMonth(at("2028-02-01T00:00:00+01:00"), berlin), "2028-03-01T00:00:00+01:00"},
		{"end of a year", calendar.EndOfMonth(at("2026-12-31T22:59:59Z"), berlin), "2027-01-01T00:00:00+01:00"},
		{"a date", calendar.Date(2026, time.July, 31, 24, 0, berlin), "2026-08-01T00:00:00+02:00"},
		{"in the overlap", calendar.Date(2026, time.October, 25, 2, 30, berlin), "2026-10-25T02:30:00+02:00"},
		{"in a zone without changes", calendar.Date(2026, time.July, 1, 9, 0, time.FixedZone("", 5*3600)), "2026-07-01T09:00:00+05:00"},
	} {
		if got := tt.got.Format(time.RFC3339); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
}

func ExampleNextTime() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	saturday := time.Date(2026, time.March, 28, 18, 0, 0, 0, berlin)
	fmt.Println(calendar.NextTime(saturday, 9, 15, berlin))
	fmt.Println(calendar.NextTime(saturday, 2, 30, berlin)) // the clock goes from 2:00 to 3:00
	// Output:
	// 2026-03-29 09:15:00 +0200 CEST
	// 2026-03-29 03:00:00 +0200 CEST
}

func ExampleCron() {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err)
	}
	closing, err := calendar.Cron("0 16 * * MON-FRI", newYork)
	if err != nil {
		panic(err)
	}
	at := time.Date(2026, time.March, 6, 12, 0, 0, 0, newYork)
	for range 2 {
		at, _ = closing.Next(at)
		fmt.Println(at)
	}
	_, err = calendar.Cron("0 16 * * MON-FRY", newYork)
	fmt.Println(err)
	// Output:
	// 2026-03-06 16:00:00 -0500 EST
	// 2026-03-09 16:00:00 -0400 EDT
	// calendar: cron expression "0 16 * * MON-FRY": day of week "MON-FRY": allowed are 0 to 7, SUN to SAT, ranges (a-b), steps (*/n, a-b/n) and *, ?
}
