package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// allowedSkips holds the tests that may be skipped, each with the reason.
type allowedSkips map[test]string

// readAllowedSkips reads the list. A line is a package's import path, a test's full name, and why it may be skipped:
//
//	example.com/shop/post TestPrinter needs a printer
//
// Empty lines and those that begin with # don't count.
func readAllowedSkips(in io.Reader) (allowedSkips, error) {
	allowed := allowedSkips{}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 3 {
			return nil, fmt.Errorf("line %d: want a package, a test and a reason, found %q", n, line)
		}
		t := test{words[0], words[1]}
		if _, twice := allowed[t]; twice {
			return nil, fmt.Errorf("line %d: %s is already in the list", n, t)
		}
		allowed[t] = strings.Join(words[2:], " ")
	}
	return allowed, lines.Err()
}
