package pglog

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLookUpsOfTheServersFunctionsAreFenced: plans of the functions are made once for a connection, from what the server
// knows of the tables then, which may be nothing. A lookup that the planner may pull up, it may answer by reading a whole
// log for each row, and go on so when the log has grown: `append` did, for links, and took 27 ms for 50 of them in a log of
// 24,000 events. OFFSET 0, or a lock, keeps a lookup what it is.
func TestLookUpsOfTheServersFunctionsAreFenced(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("sql/0001_log.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	lookups := regexp.MustCompile(`LATERAL \(SELECT [^()]*(\([^()]*\)[^()]*)*\)`).FindAllString(string(text), -1)
	for _, lookup := range lookups {
		if !strings.Contains(lookup, "OFFSET 0") && !strings.Contains(lookup, " FOR ") {
			t.Errorf("%s is not fenced", lookup)
		}
	}
	if want := strings.Count(string(text), "LATERAL (SELECT"); len(lookups) != want || want < 8 {
		t.Errorf("%d lookups were looked at, and there are %d", len(lookups), want)
	}
	// A join with a table that is changed cannot be fenced. Its rows are found by what the other side has, all of it: by a
	// condition of the table's own the planner, while there are few rows, would begin with all that meet it.
	for _, change := range regexp.MustCompile(`(?s)(DELETE FROM|UPDATE) (\w+) [^;]*?;`).FindAllString(string(text), -1) {
		if strings.Contains(change, "generate_series") && strings.Contains(change, ".module = in_module") {
			t.Errorf("%s may begin with all rows of a module", change)
		}
	}
}
