package processtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/process"
)

// Report is what Explore found.
type Report struct {
	Process  string
	Findings []Finding
	States   int                        // that were told apart
	Steps    int                        // that were computed, those that were computed again included
	Bounded  bool                       // there is more than the bounds allowed to look at
	Held     int                        // inputs that met process.Hold, or an error of Exploration.MayFail
	Reached  map[process.Phase][]string // by phase, the shortest row of inputs that leads there
	Rows     []ReportRow                // the definition's table
}

// ReportRow says where an input of the definition was handled, and where it could have been.
type ReportRow struct {
	Input   string
	Handled []process.Phase
	Missing []process.Phase // in which it would be handled, and never came
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind FindingKind
	Text string
	Path []string // the shortest row of inputs that leads there, where there is one
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings.
const (
	StepFails      FindingKind = "a step fails"
	NotPure        FindingKind = "a step is not a function of its input"
	DeadEnd        FindingKind = "an instance waits for nothing"
	NeverReached   FindingKind = "a phase is never reached"
	NeverCompletes FindingKind = "it never completes"
	NeverHandled   FindingKind = "an input is never handled"
	NoHandler      FindingKind = "a command has no handler"
	NeverSent      FindingKind = "a command is never sent"
	BadSample      FindingKind = "a sample is of no use"
	BadDefinition  FindingKind = "the definition cannot run"
)

// Found returns the findings of a kind.
func (r Report) Found(kind FindingKind) []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Kind != kind })
}

// String tells everything, over several lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "process %q: ", r.Process)
	switch len(r.Findings) {
	case 0:
		b.WriteString("nothing is wrong")
	case 1:
		b.WriteString("one thing is wrong")
	default:
		fmt.Fprintf(&b, "%d things are wrong", len(r.Findings))
	}
	fmt.Fprintf(&b, " in %d states", r.States)
	if r.Bounded {
		b.WriteString(", and there are more: raise Exploration.States or Depth, or give fewer samples")
	}
	b.WriteString("\n")
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %s: %s\n", f.Kind, strings.ReplaceAll(f.Text, "\n", "\n    "))
		for n, step := range f.Path {
			fmt.Fprintf(&b, "     %d. %s\n", n+1, step)
		}
	}
	if len(r.Rows) == 0 {
		return strings.TrimRight(b.String(), "\n")
	}
	b.WriteString("what was handled\n")
	width := 0
	for _, row := range r.Rows {
		width = max(width, len([]rune(row.Input)))
	}
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "     %s   %s", pad(row.Input, width), phaseList(row.Handled, "never"))
		if len(row.Missing) > 0 && len(row.Handled) > 0 {
			b.WriteString("; not in " + phaseList(row.Missing, ""))
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func phaseList(phases []process.Phase, none string) string {
	if len(phases) == 0 {
		return none
	}
	texts := make([]string, len(phases))
	for n, p := range phases {
		texts[n] = string(p)
	}
	return strings.Join(texts, ", ")
}
