package program_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/examples/internal/where"
	"github.com/ensue-io/ensue/examples/trafficfines/program"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// keys are those of the object that says what is expected of the recorded fines.
var keys = []string{"cases", "events", "outcomes", "outcomes_sha256", "paid_before_penalty_cents", "paid_before_penalty_sha256", "payments_cents",
	"penalties", "penalties_sha256", "recorded_penalties", "recorded_penalties_sha256"}

// call runs the program as from the command line.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = program.Main(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	commandLine(t, "-dir", filepath.Join(t.TempDir(), "files"))
}

func TestCommandLineWithADatabase(t *testing.T) {
	commandLine(t, "-address", pgtest.Database(t))
}

func commandLine(t *testing.T, logs ...string) {
	t.Helper()
	t.Setenv(where.Variable, "")
	data := filepath.Join(t.TempDir(), "data")
	if code, _, stderr := call(t, "-generate", data, "-cases", "40", "-seed", "9"); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, stderr := call(t, append(logs, "-data", data, "--json", "-check")...)
	if code != 0 || !strings.Contains(stderr, "nothing to compare with") {
		t.Fatalf("%d: %s", code, stderr)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(stdout), &object); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if have := slices.Sorted(maps.Keys(object)); !slices.Equal(have, keys) {
		t.Errorf("the object's keys are %q", have)
	}
	figures, err := report.ParseFigures([]byte(stdout))
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, figures, oracle(t, data))

	expected := filepath.Join(data, "expected.json")
	if err := os.WriteFile(expected, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = call(t, append(logs, "-data", data, "-check")...)
	if code != 0 || !strings.Contains(stdout, "unpaid_open") || !strings.Contains(stderr, "every figure is as expected") || !strings.Contains(stderr, "0 inputs taken") {
		t.Errorf("%d: %s\n%s", code, stdout, stderr)
	}

	figures.Penalties++
	text, err := figures.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(expected, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr = call(t, append(logs, "-data", data, "--json", "-check")...); code != 1 || !strings.Contains(stderr, "penalties: ") {
		t.Errorf("%d: %s", code, stderr)
	}
}

func TestCommandLineMistakes(t *testing.T) {
	t.Setenv(where.Variable, "")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 1, "name the folder with the recorded fines by -data"},
		{[]string{"-dir", t.TempDir()}, 1, "-data"},
		{[]string{"-data", t.TempDir(), "-dir", t.TempDir()}, 1, ".csv.gz"},
		{[]string{"-data", t.TempDir(), "x"}, 2, "unexpected argument"},
		{[]string{"-data", t.TempDir(), "-dir", t.TempDir(), "-address", "fines.db"}, 1, "not both"},
		{[]string{"-nonsense"}, 2, "-nonsense"},
		{[]string{"-help"}, 0, "-generate"},
	} {
		code, stdout, stderr := call(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%q: %d, expected %d and %q: %s%s", c.args, code, c.code, c.says, stdout, stderr)
		}
	}
}

func TestFiguresMissingOrUnknown(t *testing.T) {
	text, err := report.Figures{}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		renamed := bytes.Replace(text, []byte(`"`+key+`"`), []byte(`"other"`), 1)
		if _, err := report.ParseFigures(renamed); err == nil {
			t.Errorf("figures without %q were read", key)
		}
		object := map[string]any{}
		if err := json.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		delete(object, key)
		less, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := report.ParseFigures(less); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("figures without %q: %v", key, err)
		}
	}
}
