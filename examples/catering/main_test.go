package main

import (
	"bytes"
	"os"
	"testing"
)

// The program's output is part of the example: it is the same with every store, and when it is run again in its folder.
func TestStories(t *testing.T) {
	want, err := os.ReadFile("testdata/stories.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for store := range stores {
		for _, time := range []string{"first", "second"} {
			var out bytes.Buffer
			if err := run(t.Context(), &out, dir, store); err != nil {
				t.Fatalf("%s, %s time: %v", store, time, err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%s, %s time:\n%s\nwant:\n%s", store, time, &out, want)
			}
		}
	}
}

func TestUnknownStore(t *testing.T) {
	if err := run(t.Context(), &bytes.Buffer{}, t.TempDir(), "shoebox"); err == nil {
		t.Error("a store that does not exist was taken")
	}
}
