package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/ensue-io/ensue/examples/internal/where"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// The program's output is part of the example: it is the same with every store, wherever the log is, and when it is run
// again there.
func TestStories(t *testing.T) {
	want, err := os.ReadFile("testdata/stories.txt")
	if err != nil {
		t.Fatal(err)
	}
	for place, address := range map[string]func(*testing.T, string) string{
		"folder":   func(t *testing.T, _ string) string { return where.Folder(t.TempDir()) },
		"file":     func(t *testing.T, _ string) string { return t.TempDir() + "/orders.db" },
		"postgres": func(t *testing.T, store string) string { return pgtest.Database(t) + "&schema=" + store },
	} {
		for store := range stores {
			t.Run(place+", "+store, func(t *testing.T) {
				t.Parallel()
				address := address(t, store)
				for _, time := range []string{"first", "second"} {
					var out bytes.Buffer
					if err := run(t.Context(), &out, address, store); err != nil {
						t.Fatalf("%s time: %v", time, err)
					}
					if !bytes.Equal(out.Bytes(), want) {
						t.Errorf("%s time:\n%s\nwant:\n%s", time, &out, want)
					}
				}
			})
		}
	}
}

// In a folder, one store after the other finds a file of its own.
func TestStoresInOneFolder(t *testing.T) {
	dir := where.Folder(t.TempDir())
	for store := range stores {
		if err := run(t.Context(), &bytes.Buffer{}, dir, store); err != nil {
			t.Errorf("%s: %v", store, err)
		}
	}
}

func TestUnknownStore(t *testing.T) {
	if err := run(t.Context(), &bytes.Buffer{}, where.Folder(t.TempDir()), "shoebox"); err == nil {
		t.Error("a store that does not exist was taken")
	}
}
