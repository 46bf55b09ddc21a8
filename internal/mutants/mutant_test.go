package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const wellFormed = `# why this one
story: Two: a repeat runs again.
guarantee: G7
file: command/receipt.go
test: ./command -run '^TestG7_A|^Test G7' -race

-- find --
	if known {

		return
-- replace --
-- find --
x := 1
-- replace --
x := 2
y := 3
`

func TestParseMutant(t *testing.T) {
	got, err := parseMutant("receipt", wellFormed)
	if err != nil {
		t.Fatal(err)
	}
	want := mutant{
		name:      "receipt",
		story:     "Two: a repeat runs again.",
		guarantee: "G7",
		file:      "command/receipt.go",
		test:      []string{"./command", "-run", "^TestG7_A|^Test G7", "-race"},
		edits:     []edit{{"\tif known {\n\n\t\treturn", ""}, {"x := 1", "x := 2\ny := 3"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%#v, want\n%#v", got, want)
	}
}

func TestParseMutantRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"no find":         {"-- find --", "find"},
		"no replace":      {"-- replace --", "replace"},
		"second replace":  {"-- find --\nx := 1\n", ""},
		"marker's tail":   {"-- replace --", "-- replace -- it"},
		"empty find":      {"x := 1\n", ""},
		"same text":       {"x := 2\ny := 3", "x := 1"},
		"no story":        {"story: Two: a repeat runs again.\n", ""},
		"empty guarantee": {"G7\n", "\n"},
		"no test":         {"test:", "# test:"},
		"twice a key":     {"guarantee: G7\n", "guarantee: G7\nguarantee: G8\n"},
		"unknown key":     {"guarantee: G7\n", "guarantee: G7\nauthor: me\n"},
		"open quote":      {"G7' -race", "G7 -race"},
		"file outside":    {"command/receipt.go", "../receipt.go"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(wellFormed, change[0], change[1])
			if text == wellFormed {
				t.Fatal("the case changes nothing")
			}
			if m, err := parseMutant("m", text); err == nil {
				t.Errorf("no error, but %#v", m)
			}
		})
	}
}

func TestNoMutantsIsAnError(t *testing.T) {
	if _, err := readMutants(t.TempDir()); err == nil {
		t.Error("an empty folder passes")
	}
}

func TestPartsAreAllTogether(t *testing.T) {
	all := []mutant{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}}
	seen := map[string]int{}
	for _, part := range []string{"1/3", "2/3", "3/3"} {
		some, err := partOf(all, part)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range some {
			seen[m.name]++
		}
	}
	if len(seen) != len(all) || seen["a"]+seen["b"]+seen["c"]+seen["d"] != len(all) {
		t.Errorf("%v", seen)
	}
	for _, part := range []string{"", "0/3", "4/3", "1"} {
		if _, err := partOf(all, part); err == nil {
			t.Errorf("%q is taken for a part", part)
		}
	}
}

// Whoever changes the text that a mutant replaces changes the mutant, and not weeks later.
func TestEveryMutantApplies(t *testing.T) {
	mutants, err := readMutants("testdata/mutants")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := m.apply(string(text)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
