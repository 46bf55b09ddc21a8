package cli

import (
	"strings"
	"testing"

	"github.com/ensue-io/ensue/process"
)

// A step says that it gives the instance up, what undoes which command, and how the instance ended.
func TestStepsSayWhatIsUndone(t *testing.T) {
	steps := []process.Record{
		{Compensating: true, Sent: []process.Sent{{Number: 1, Type: "ship", Module: "stock"}}},
		{Sent: []process.Sent{{Number: 2, Type: "recall", Module: "stock", Undoes: 1}}},
		{Completed: true, Ending: process.Compensated},
		{Completed: true},
	}
	want := []string{
		"gives the instance up: what can be undone is undone; sends command 1, ship to stock",
		"sends command 2, recall to stock, which undoes command 1",
		"completes the instance: compensated",
		"completes the instance",
	}
	for n := range steps {
		step := stepOf(&steps[n])
		if got := strings.Join(step.effects(), "; "); got != want[n] {
			t.Errorf("step %d: %s; want %s", n+1, got, want[n])
		}
	}
}

// What happens next follows from how the instance stands aside, and from what is declared for late inputs.
func TestNextFollowsTheDeclaredChoice(t *testing.T) {
	late := func(p process.Policy) []possibleView { return []possibleView{{Prospect: process.Prospect{Policy: p}}} }
	for name, c := range map[string]struct {
		v    explainView
		want string
	}{
		"late inputs hold":         {explainView{Status: process.Completed, Possible: late(process.Hold)}, "nothing more by itself: it is completed, and stays so; what comes late holds it, or is recorded as ignored, as said above"},
		"late inputs are ignored":  {explainView{Status: process.Completed, Possible: late(process.Ignore)}, "nothing more: it is completed, and what comes late is recorded as ignored"},
		"held by hand":             {explainView{Status: process.Running, Aside: &asideView{Condition: string(process.Held)}}, "nothing happens by itself: its inputs queue until somebody decides: ensue process resume or cancel"},
		"held after a failure":     {explainView{Status: process.Running, Aside: &asideView{Condition: string(process.Held), Error: "no"}}, "nothing happens by itself: its inputs queue until somebody decides: ensue process resume, skip, replace or cancel"},
		"what waited is cancelled": {explainView{Aside: &asideView{Condition: string(process.Waiting)}}, "an input that starts the instance comes"},
		"inputs wait":              {explainView{Aside: &asideView{Condition: string(process.Waiting), Queued: 1}}, "an input that starts the instance comes; what waits follows it, in order"},
	} {
		if got := new(program).next(&c.v, true, false); len(got) != 1 || got[0].What != c.want {
			t.Errorf("%s: %v; want %s", name, got, c.want)
		}
	}
}
