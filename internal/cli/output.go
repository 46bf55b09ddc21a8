package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// document writes a value as one JSON document.
func (p *program) document(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line writes a value as one line of JSON.
func (p *program) line(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// array writes a JSON array value by value, so that it may be long.
type array struct {
	p *program
	n int
}

func (a *array) add(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	before := ",\n  "
	if a.n == 0 {
		before = "[\n  "
	}
	a.n++
	_, err := fmt.Fprintf(a.p.out, "%s%s", before, bytes.TrimRight(b.Bytes(), "\n"))
	return err
}

func (a *array) end() error {
	text := "\n]\n"
	if a.n == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(a.p.out, text)
	return err
}

// style is how a text is shown on a terminal: the number in its escape sequence.
type style int

const (
	normal style = 0
	bold   style = 1
	dim    style = 2
	red    style = 31
	green  style = 32
	yellow style = 33
	cyan   style = 36
)

func (p *program) paint(s style, text string) string {
	if !p.colour || s == normal || text == "" {
		return text
	}
	return "\x1b[" + strconv.Itoa(int(s)) + "m" + text + "\x1b[0m"
}

// cell is a text in a table.
type cell struct {
	text  string
	style style
}

func text(format string, args ...any) cell { return cell{text: fmt.Sprintf(format, args...)} }
func (s style) of(format string, a ...any) cell {
	return cell{text: fmt.Sprintf(format, a...), style: s}
}
func number[N ~int | ~int64 | ~uint64](n N) cell { return cell{text: strconv.FormatInt(int64(n), 10)} } // #nosec G115 -- counts

// column is a column of a table.
type column struct {
	name  string
	right bool // aligned
	least int  // width
}

func left(name string) column  { return column{name: name} }
func right(name string) column { return column{name: name, right: true} }

// table writes rows in columns. Each row that is added is written when the table ends, with columns as wide as they
// need to be; a table that flows writes each row at once, and its columns only grow.
type table struct {
	p       *program
	indent  string
	columns []column
	flows   bool
	rows    [][]cell
	headed  bool
}

func (p *program) table(columns ...column) *table { return &table{p: p, columns: columns} }

func (t *table) row(cells ...cell) {
	for i := range cells {
		cells[i].text = clean(cells[i].text)
	}
	t.rows = append(t.rows, cells)
	if t.flows {
		t.end()
	}
}

// end writes the rows.
func (t *table) end() {
	head := make([]cell, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		head[i] = dim.of("%s", c.name)
		c.least = max(c.least, utf8.RuneCountInString(c.name))
		for _, row := range t.rows {
			if i < len(row) {
				c.least = max(c.least, utf8.RuneCountInString(row[i].text))
			}
		}
	}
	if !t.headed && len(t.rows) > 0 {
		t.headed = true
		t.write(head)
	}
	for _, row := range t.rows {
		t.write(row)
	}
	t.rows = nil
}

func (t *table) write(row []cell) {
	var b strings.Builder
	b.WriteString(t.indent)
	last := len(row) - 1
	for last > 0 && row[last].text == "" {
		last--
	}
	for i, c := range row[:last+1] {
		pad := strings.Repeat(" ", max(0, t.columns[i].least-utf8.RuneCountInString(c.text)))
		switch {
		case t.columns[i].right:
			b.WriteString(pad)
			b.WriteString(t.p.paint(c.style, c.text))
		case i == last:
			b.WriteString(t.p.paint(c.style, c.text))
		default:
			b.WriteString(t.p.paint(c.style, c.text))
			b.WriteString(pad)
		}
		if i < last {
			b.WriteString("  ")
		}
	}
	fmt.Fprintln(t.p.out, b.String())
}

// clean makes a text harmless for a terminal: what somebody recorded must not move its cursor.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// shorten takes the middle out of a text that is longer than most.
func shorten(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	r := []rune(s)
	end := most / 3
	return string(r[:most-1-end]) + "…" + string(r[len(r)-end:])
}

// cut takes the end off a text that is longer than most.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// firstLine returns the first line of an error's text.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// at writes an instant: in UTC, to the second.
func at(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// span writes how long something takes, in its largest unit.
func span(d time.Duration) string {
	switch d = max(d, -d); {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	default:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
}

// since writes an instant that has passed.
func (p *program) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	passed := p.now().Sub(t)
	if passed < 0 {
		return at(t) // by a clock that is ahead of ours
	}
	return fmt.Sprintf("%s, %s ago", at(t), span(passed))
}

// until writes an instant that is to come, or should have.
func (p *program) until(t time.Time) string {
	left := t.Sub(p.now())
	if left < 0 {
		return fmt.Sprintf("%s, overdue by %s", at(t), span(left))
	}
	return fmt.Sprintf("%s, in %s", at(t), span(left))
}

// count writes a number with what is counted.
func count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// bytesOf writes a size.
func bytesOf(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d MiB", n>>20)
	}
}

// meter shows on a terminal how far a long command is.
type meter struct {
	p    *program
	last time.Time
	wide int
}

func (g *meter) show(format string, args ...any) {
	if now := time.Now(); g.p.quiet || now.Sub(g.last) < 200*time.Millisecond {
		return
	} else {
		g.last = now
	}
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(g.p.err, "\r%-*s", g.wide, text)
	g.wide = utf8.RuneCountInString(text)
}

// done takes the progress away.
func (g *meter) done() {
	if g.wide > 0 {
		fmt.Fprintf(g.p.err, "\r%*s\r", g.wide, "")
		g.wide = 0
	}
}
