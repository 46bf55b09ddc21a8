package calendar

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Cron reads a cron expression for a zone. An expression is five fields, minute, hour, day of month, month, day of week,
// with white space between them, or one of @hourly, @daily (or @midnight), @weekly, @monthly and @yearly (or @annually). A
// field is a list of parts, with commas between them:
//
//   - "*", every value; "?" is the same for days
//   - "7" or "MON", one value; months and days of the week have English names of three letters; Sunday is 0 and 7
//   - "9-17", a range
//   - "*/15" or "9-17/2", every so many of the values, from the first of the range on
//   - "L", for days of month: the last one, whichever that is
//
// When both the day of month and the day of week are restricted, a day matches that is in either; a field that begins
// with "*" or "?" restricts nothing of the kind, and then a day must be in both. That is the rule of Vixie's cron.
//
// An error is a *ParseError.
func Cron(expression string, zone *time.Location) (Schedule, error) {
	fail := func(field, text, reason string) (Schedule, error) {
		return Schedule{}, &ParseError{Expression: expression, Field: field, Text: text, Reason: reason}
	}
	if zone == nil {
		return fail("", "", "there is no zone; give time.UTC, or one by time.LoadLocation")
	}
	text := strings.TrimSpace(expression)
	if strings.HasPrefix(text, "@") {
		known, ok := macros[strings.ToLower(text)]
		if !ok {
			return fail("", "", "the words are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually")
		}
		text = known
	}
	parts := strings.Fields(text)
	if len(parts) != len(fields) {
		return fail("", "", fmt.Sprintf("there are %d fields; give five: minute, hour, day of month, month, day of week", len(parts)))
	}
	s := Schedule{text: strings.Join(strings.Fields(expression), " "), zone: zone}
	s.either = true
	for n, set := range []*uint64{&s.minutes, &s.hours, &s.days, &s.months, &s.weekdays} {
		f := &fields[n]
		if f.every && strings.IndexAny(parts[n], "*?") == 0 {
			s.either = false
		}
		for text := range strings.SplitSeq(parts[n], ",") {
			if f.last && strings.EqualFold(text, "L") {
				s.lastDay = true
				continue
			}
			values, reason := f.parse(text)
			if reason != "" {
				return fail(f.name, text, reason)
			}
			*set |= values
		}
	}
	if s.weekdays&(1<<7) != 0 { // Sunday
		s.weekdays |= 1
	}
	return s, nil
}

// MustCron is Cron for an expression that is written in the program; it panics if that cannot be read.
func MustCron(expression string, zone *time.Location) Schedule {
	s, err := Cron(expression, zone)
	if err != nil {
		panic(err)
	}
	return s
}

// ParseError reports a cron expression that cannot be read.
type ParseError struct {
	Expression string
	Field      string // "minute", "hour", "day of month", "month" or "day of week"; empty where it is the whole
	Text       string // the part of the field
	Reason     string // what is wrong, and what is allowed
}

func (e *ParseError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("calendar: cron expression %q: %s", e.Expression, e.Reason)
	}
	return fmt.Sprintf("calendar: cron expression %q: %s %q: %s", e.Expression, e.Field, e.Text, e.Reason)
}

var macros = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// field is one of the five.
type field struct {
	name        string
	least, most int
	names       []string // of the values from least on
	every       bool     // "?" is every value
	last        bool     // "L" is a value
}

var fields = [5]field{
	{name: "minute", most: 59},
	{name: "hour", most: 23},
	{name: "day of month", least: 1, most: 31, every: true, last: true},
	{name: "month", least: 1, most: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of week", most: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, every: true},
}

// parse returns the values of one part of a field, or what is wrong with it.
func (f *field) parse(text string) (values uint64, reason string) {
	whole, by, stepped := strings.Cut(text, "/")
	low, high, ranged := strings.Cut(whole, "-")
	first, last := f.least, f.most
	if f.names != nil && f.least == 0 {
		last-- // Sunday once
	}
	every := whole == "*" || f.every && whole == "?"
	if !every {
		var ok bool
		if first, ok = f.value(low); !ok {
			return 0, f.allowed()
		}
		last = first
		if ranged {
			if last, ok = f.value(high); !ok {
				return 0, f.allowed()
			}
			if f.most == 7 && last == 0 && first > 0 {
				last = 7 // a week may end with Sunday
			}
		}
		if last < first {
			return 0, fmt.Sprintf("a range goes upwards; write %s-%d,%d-%s", low, f.most, f.least, high)
		}
	}
	step := 1
	if stepped {
		if !every && !ranged {
			return 0, fmt.Sprintf("a step goes with a range; write %s-%d/%s", low, f.most, by)
		}
		n, ok := number(by)
		if most := max(1, last-first); !ok || n < 1 || n > most {
			return 0, fmt.Sprintf("a step is 1 to %d here", most)
		}
		step = n
	}
	for n := first; n <= last; n += step {
		values |= 1 << n
	}
	return values, ""
}

func (f *field) value(text string) (int, bool) {
	for n, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.least + n, true
		}
	}
	n, ok := number(text)
	return n, ok && f.least <= n && n <= f.most
}

// number reads one or two digits.
func number(text string) (int, bool) {
	if len(text) < 1 || len(text) > 2 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// allowed says what a field takes.
func (f *field) allowed() string {
	text := fmt.Sprintf("allowed are %d to %d", f.least, f.most)
	if f.names != nil {
		text += fmt.Sprintf(", %s to %s", f.names[0], f.names[len(f.names)-1])
	}
	text += ", ranges (a-b), steps (*/n, a-b/n) and *"
	if f.every {
		text += ", ?"
	}
	if f.last {
		text += ", L"
	}
	return text
}
