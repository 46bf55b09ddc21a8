package process_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
)

// guarantees that scenarios show, each at least in one. G3, that nothing stalls a reader, is not among them: these logs are in memory,
// and no transaction of others is open there. The tests of the logs show it.
var guarantees = []string{"G1", "G2", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13"}

// items are what a process is built of; each is shown by a scenario at least.
var items = []struct{ name, what string }{
	{"item1", "a declared policy for every phase and input"},
	{"item2", "hold and resume"},
	{"item3", "outcomes as inputs, and deadlines"},
	{"item4", "compensation"},
	{"item5", "correlation: fan-out, claims, joins"},
	{"item6", "timeouts and time events"},
	{"item7", "evolution"},
	{"item8", "static checks"},
	{"item9", "the test kit"},
	{"item10", "explain"},
}

// TestTranscripts plays the scenarios of testdata: testdata/README.md has the words that they are told in. With -rewrite it
// writes what happened into them.
func TestTranscripts(t *testing.T) {
	var spins atomic.Bool
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if filepath.Ext(path) != ".txt" {
			return // README
		}
		t.Parallel()
		if spins.Load() {
			t.Skip("another scenario did not come to rest")
		}
		play(t, path, &spins)
	})
}

// longest is how long a word of a scenario may take, by the wall clock: virtual time stands still while an engine spins.
const longest = 12 * time.Second

// play runs a scenario in a bubble, whose clock stands still between two commands: they are read outside of it.
func play(t *testing.T, path string, spins *atomic.Bool) {
	type answer struct {
		text string
		err  error
	}
	commands, answers, ended := make(chan *datadriven.TestData), make(chan answer), make(chan struct{})
	var givenUp atomic.Bool
	var bubble sync.WaitGroup
	bubble.Go(func() {
		defer close(ended)
		synctest.Test(t, func(t *testing.T) {
			s := newStory(t, &givenUp)
			defer s.end()
			for d := range commands {
				text, err := s.do(d)
				answers <- answer{text, err}
			}
		})
	})
	var last *time.Timer
	defer func() {
		close(commands)
		bubble.Wait()
		if last != nil {
			last.Stop()
		}
	}()
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		select {
		case commands <- d:
		case <-ended:
			t.Fatal("the scenario's world has ended")
		}
		select {
		case a := <-answers:
			if a.err != nil {
				d.Fatalf(t, "%v", a.err)
			}
			return a.text
		case <-ended:
			t.Fatal("the scenario's world has ended")
		case <-time.After(longest):
			givenUp.Store(true)
			spins.Store(true)
			last = time.AfterFunc(longest/2, func() { // what neither reads nor writes cannot be stopped
				panic(fmt.Sprintf("%s: %q spins, and cannot be stopped", path, d.Cmd))
			})
			select {
			case <-answers:
			case <-ended:
			}
			d.Fatalf(t, "it has not come to rest in %v", longest)
		}
		return ""
	})
}

// transcript is what the head of a scenario's file says about it.
type transcript struct {
	name  string
	shows []string
}

var (
	scenarioName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)
	shownName    = regexp.MustCompile(`^(G([1-9]|1[0-3])|item([1-9]|10))$`)
)

func readScenarios(t *testing.T) (all []transcript) {
	t.Helper()
	for _, path := range must(filepath.Glob("testdata/*.txt")) {
		s := transcript{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
		file := must(os.Open(path))
		told := 0
		for lines := bufio.NewScanner(file); lines.Scan() && strings.HasPrefix(lines.Text(), "#"); told++ {
			if shows, is := strings.CutPrefix(lines.Text(), "# shows:"); is {
				s.shows = strings.Fields(shows)
			}
		}
		_ = file.Close()
		switch {
		case !scenarioName.MatchString(s.name):
			t.Errorf("%s: a scenario is named for the behaviour that it shows, in small letters with - between the words", path)
		case told < 2:
			t.Errorf("%s: it begins with comments that say what is shown", path)
		case len(s.shows) == 0:
			t.Errorf("%s: one of its first comments says what is shown, as in: # shows: G10 item1", path)
		}
		for _, what := range s.shows {
			if !shownName.MatchString(what) {
				t.Errorf("%s: it shows %q, which is neither a guarantee (G1 to G13) nor an item (item1 to item10)", path, what)
			}
		}
		all = append(all, s)
	}
	return all
}

// TestTranscriptsShowEverything prints which scenario shows what, and fails where nothing does.
func TestTranscriptsShowEverything(t *testing.T) {
	all := readScenarios(t)
	if len(all) < 30 {
		t.Errorf("there are %d scenarios; at least 30 are wanted", len(all))
	}
	var numbered strings.Builder
	for n, s := range all {
		fmt.Fprintf(&numbered, "%3d %s\n", n+1, s.name)
	}
	t.Logf("scenarios\n%s", &numbered)

	var rows [][2]string
	for _, g := range guarantees {
		rows = append(rows, [2]string{g, ""})
	}
	t.Logf("guarantees\n%s", matrix(all, rows))
	rows = nil
	for _, item := range items {
		rows = append(rows, [2]string{item.name, item.what})
	}
	t.Logf("items\n%s", matrix(all, rows))

	for _, g := range guarantees {
		if shownBy(all, g) == 0 {
			t.Errorf("no scenario shows %s", g)
		}
	}
	for _, item := range items {
		if shownBy(all, item.name) == 0 {
			t.Errorf("no scenario shows %s, %s", item.name, item.what)
		}
	}
}

func shownBy(all []transcript, what string) (n int) {
	for _, s := range all {
		if slices.Contains(s.shows, what) {
			n++
		}
	}
	return n
}

// matrix has a row for each name and a column for each scenario, by its number.
func matrix(all []transcript, rows [][2]string) string {
	var b strings.Builder
	for _, place := range []int{10, 1} {
		b.WriteString("           ")
		for n := range all {
			fmt.Fprintf(&b, "%d", (n+1)/place%10)
		}
		b.WriteString("\n")
	}
	for _, row := range rows {
		fmt.Fprintf(&b, "%-6s %3d ", row[0], shownBy(all, row[0]))
		for _, s := range all {
			if slices.Contains(s.shows, row[0]) {
				b.WriteString("x")
			} else {
				b.WriteString("·")
			}
		}
		fmt.Fprintf(&b, "  %s\n", row[1])
	}
	return b.String()
}

// TestTranscriptWordsAreExplained holds testdata/README.md to the words that there are.
func TestTranscriptWordsAreExplained(t *testing.T) {
	readme := string(must(os.ReadFile("testdata/README.md")))
	for name := range verbs {
		if !strings.Contains(readme, "`"+name) {
			t.Errorf("testdata/README.md does not explain the word %q", name)
		}
	}
	for name := range samples {
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("testdata/README.md does not describe the process %q", name)
		}
	}
}
