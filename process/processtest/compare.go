package processtest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// row is what was decided beside what was wanted; one of them may be missing.
type row struct {
	got  *got
	want *want
	ok   bool
}

// compare puts what was decided beside what is wanted. Commands and emitted events are compared in their order if
// ordered, the rest in any.
func compare(have []got, wants []want, ordered bool) (rows []row, same bool) {
	for _, c := range []class{failure, sent, emitted, timeout, cancelled, claimed, released, compensating, completed, state} {
		g := pick(have, func(g *got) bool { return g.class == c })
		w := pick(wants, func(w *want) bool { return w.class == c })
		if c.inOrder() && ordered {
			rows = append(rows, align(g, w)...)
		} else {
			rows = append(rows, pair(g, w)...)
		}
	}
	return rows, !slices.ContainsFunc(rows, func(r row) bool { return !r.ok })
}

func pick[E any](all []E, keep func(*E) bool) []*E {
	var some []*E
	for n := range all {
		if keep(&all[n]) {
			some = append(some, &all[n])
		}
	}
	return some
}

// pair finds for each want something that matches, in any order.
func pair(have []*got, wants []*want) []row {
	var rows []row
	used := map[*got]bool{}
	var missing []*want
	// Those that name their instance choose first, so that one that doesn't care cannot take what they need.
	byCare := slices.Clone(wants)
	slices.SortStableFunc(byCare, func(a, b *want) int { return strings.Compare(careless(a), careless(b)) })
	for _, w := range byCare {
		k := slices.IndexFunc(have, func(g *got) bool { return !used[g] && w.matches(g) })
		if k < 0 {
			missing = append(missing, w)
			continue
		}
		used[have[k]] = true
		rows = append(rows, row{have[k], w, true})
	}
	rest := slices.DeleteFunc(slices.Clone(have), func(g *got) bool { return used[g] })
	return append(rows, beside(rest, missing)...)
}

func careless(w *want) string {
	if w.instance == "" {
		return "1"
	}
	return "0"
}

// align finds the longest common part of two sequences.
func align(have []*got, wants []*want) []row {
	longest := make([][]int, len(have)+1)
	for n := range longest {
		longest[n] = make([]int, len(wants)+1)
	}
	for i := len(have) - 1; i >= 0; i-- {
		for j := len(wants) - 1; j >= 0; j-- {
			if wants[j].matches(have[i]) {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var rows []row
	var more []*got
	var missing []*want
	i, j := 0, 0
	for i < len(have) || j < len(wants) {
		switch {
		case i < len(have) && j < len(wants) && wants[j].matches(have[i]):
			rows = append(append(rows, beside(more, missing)...), row{have[i], wants[j], true})
			more, missing = nil, nil
			i, j = i+1, j+1
		case j == len(wants) || i < len(have) && longest[i+1][j] >= longest[i][j+1]:
			more = append(more, have[i])
			i++
		default:
			missing = append(missing, wants[j])
			j++
		}
	}
	return append(rows, beside(more, missing)...)
}

// beside puts what differs side by side.
func beside(more []*got, missing []*want) []row {
	var rows []row
	for n := range max(len(more), len(missing)) {
		var r row
		if n < len(more) {
			r.got = more[n]
		}
		if n < len(missing) {
			r.want = missing[n]
		}
		rows = append(rows, r)
	}
	return rows
}

// sideBySide is how wide the left column may be; wider ones are put above each other.
const sideBySide = 76

// table shows rows under two headings.
func table(rows []row, left, right string, withInstance bool) string {
	texts := make([][2]string, len(rows))
	width := utf8.RuneCountInString(left)
	for n, r := range rows {
		texts[n] = r.texts(withInstance)
		width = max(width, utf8.RuneCountInString(texts[n][0]))
	}
	var b strings.Builder
	if width <= sideBySide {
		fmt.Fprintf(&b, "     %s   %s\n", pad(left, width), right)
		for n, text := range texts {
			fmt.Fprintf(&b, "  %s  %s   %s\n", sign(rows[n].ok), pad(text[0], width), text[1])
		}
		return b.String()
	}
	width = max(utf8.RuneCountInString(left), utf8.RuneCountInString(right))
	for n, text := range texts {
		fmt.Fprintf(&b, "  %s  %s  %s\n     %s  %s\n", sign(rows[n].ok), pad(left, width), text[0], pad(right, width), text[1])
	}
	return b.String()
}

func (r row) texts(withInstance bool) [2]string {
	texts := [2]string{"—", "—"}
	for _, show := range []func(any) string{show, showLong} {
		if r.got != nil {
			texts[0] = r.got.text(show, withInstance)
		}
		if r.want != nil {
			texts[1] = r.want.text(show)
		}
		if r.ok || texts[0] != texts[1] {
			break
		}
	}
	return texts
}

func sign(same bool) string {
	if same {
		return "="
	}
	return "≠"
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
