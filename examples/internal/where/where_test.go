package where_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/examples/internal/where"
)

func TestAddress(t *testing.T) {
	folder := "fines" + string(filepath.Separator)
	for _, tt := range []struct {
		args, url, want string
	}{
		{"", "", ""},
		{"", "postgres://db/shop", "postgres://db/shop"},
		{"-address fines.db", "postgres://db/shop", "fines.db"},
		{"-dir fines", "postgres://db/shop", folder},
		{"-dir fines/", "", folder},
	} {
		got, err := address(t, tt.url, strings.Fields(tt.args)...)
		if err != nil || got != tt.want {
			t.Errorf("%q with ENSUE_URL=%q: %q, %v; want %q", tt.args, tt.url, got, err, tt.want)
		}
	}
	if _, err := address(t, "", "-dir", "fines", "-address", "fines.db"); err == nil {
		t.Error("a folder and an address were taken")
	}
}

// What the flags print of themselves does not hold what the variable holds.
func TestHelpHasNoPassword(t *testing.T) {
	t.Setenv(where.Variable, "postgres://shop:secret@db/shop")
	var help strings.Builder
	set := flag.NewFlagSet("example", flag.ContinueOnError)
	set.SetOutput(&help)
	where.Add(set, "the folder")
	set.PrintDefaults()
	if text := help.String(); strings.Contains(text, "secret") || !strings.Contains(text, where.Variable) {
		t.Error(text)
	}
}

func address(t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	set := flag.NewFlagSet("example", flag.ContinueOnError)
	logs := where.Add(set, "the folder")
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return logs.Address(func(name string) string {
		if name != "ENSUE_URL" {
			t.Error(name)
		}
		return url
	})
}
