package sqlitelog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
)

// A program that is killed while it makes a file leaves half of it and a journal. The next one takes that back and
// makes the file.
func TestOpenAFileWhoseMakerWasKilled(t *testing.T) {
	ctx := t.Context()
	scripts, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(t.TempDir(), "a.db")
	c, err := connect(ctx, dsn(made, "mode=rwc", "cache_size(1)")) // so small that pages are written before the commit
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`BEGIN IMMEDIATE`, scripts[0]} {
		if _, err := c.exec(text); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(t.TempDir(), "a.db")
	for _, suffix := range []string{"", "-journal"} {
		data, err := os.ReadFile(made + suffix) // #nosec G304 -- the test's own
		if err != nil || len(data) == 0 {
			t.Fatalf("nothing was left to take back: %d bytes of a.db%s, %v", len(data), suffix, err)
		}
		if err := os.WriteFile(left+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}

	f, err := Open(ctx, left, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	l, err := f.Log(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(ctx, to("s", eventlog.NoStream, fact("1"))); err != nil {
		t.Error(err)
	}
}
