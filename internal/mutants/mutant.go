package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A mutant is one way to break the code, and the test that has to notice.
type mutant struct {
	name      string // of its file, without the extension
	story     string
	guarantee string
	file      string   // from the repository's root, with slashes
	test      []string // arguments of go test
	edits     []edit   // applied in order
}

type edit struct{ find, replace string }

const (
	findMarker    = "-- find --"
	replaceMarker = "-- replace --"
)

// readMutants reads the mutants of a folder, in the order of their names.
func readMutants(dir string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no mutants (*.txt) in %s", dir)
	}
	var mutants []mutant
	var errs []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		m, err := parseMutant(name, string(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
		mutants = append(mutants, m)
	}
	return mutants, errors.Join(errs...)
}

// parseMutant reads a mutant's file. README.md describes it.
func parseMutant(name, text string) (mutant, error) {
	m := mutant{name: name}
	head, body, found := strings.Cut("\n"+strings.ReplaceAll(text, "\r\n", "\n"), "\n"+findMarker+"\n")
	if !found {
		return m, fmt.Errorf("has no line %q", findMarker)
	}
	if err := m.parseHead(head); err != nil {
		return m, err
	}
	for hunk := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n"+findMarker+"\n") {
		find, replace, found := strings.Cut(hunk, "\n"+replaceMarker)
		switch {
		case !found:
			return m, fmt.Errorf("want a text and a line %q after each %q", replaceMarker, findMarker)
		case replace != "" && replace[0] != '\n', strings.Contains(replace, "\n"+replaceMarker):
			return m, fmt.Errorf("want one line %q after each %q", replaceMarker, findMarker)
		}
		e := edit{find: find, replace: strings.TrimPrefix(replace, "\n")}
		if e.find == "" || e.find == e.replace {
			return m, fmt.Errorf("a text to find is empty, or what replaces it is the same")
		}
		m.edits = append(m.edits, e)
	}
	return m, nil
}

func (m *mutant) parseHead(head string) error {
	seen := map[string]bool{}
	for line := range strings.Lines(head) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if value == "" || seen[key] {
			return fmt.Errorf("want each of story, guarantee, file and test once, as \"key: value\", found %q", line)
		}
		seen[key] = true
		switch key {
		case "story":
			m.story = value
		case "guarantee":
			m.guarantee = value
		case "file":
			if !filepath.IsLocal(filepath.FromSlash(value)) {
				return fmt.Errorf("file %q is not inside the repository", value)
			}
			m.file = value
		case "test":
			words, err := split(value)
			if err != nil {
				return fmt.Errorf("test: %w", err)
			}
			m.test = words
		default:
			return fmt.Errorf("unknown key %q; story, guarantee, file and test are known", key)
		}
	}
	for _, key := range []string{"story", "guarantee", "file", "test"} {
		if !seen[key] {
			return fmt.Errorf("has no %q", key)
		}
	}
	return nil
}

// split cuts a line into words at spaces; quotes of either kind hold a word together.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed in %q", quote, line)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// errDoesNotApply: the code has changed and the mutant has not.
type errDoesNotApply struct {
	file  string
	find  string
	times int
}

func (e *errDoesNotApply) Error() string {
	return fmt.Sprintf("want this text once in %s, found it %d times; adapt the mutant to the code:\n%s", e.file, e.times, e.find)
}

// apply returns the file's text with the mutant's edits in it.
func (m mutant) apply(text string) (string, error) {
	for _, e := range m.edits {
		if n := strings.Count(text, e.find); n != 1 {
			return "", &errDoesNotApply{m.file, e.find, n}
		}
		text = strings.Replace(text, e.find, e.replace, 1)
	}
	return text, nil
}
