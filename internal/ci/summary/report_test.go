package main

import (
	"strings"
	"testing"
)

const (
	started = `{"Action":"start","Package":"shop"}` + "\n"
	passedA = `{"Action":"run","Package":"shop","Test":"TestA"}
{"Action":"output","Package":"shop","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"shop","Test":"TestA","Output":"    a_test.go:1: chatter\n"}
{"Action":"pass","Package":"shop","Test":"TestA","Elapsed":0.1}
`
	failedB = `{"Action":"output","Package":"shop","Test":"TestB","Output":"    b_test.go:7: want 1, got 2\n"}
{"Action":"fail","Package":"shop","Test":"TestB","Elapsed":0.1}
`
	skippedC = `{"Action":"output","Package":"shop","Test":"TestC/sub","Output":"    c_test.go:9: no printer\n"}
{"Action":"skip","Package":"shop","Test":"TestC/sub"}
`
	ended    = `{"Action":"pass","Package":"shop","Elapsed":0.5}` + "\n"
	endedBad = `{"Action":"fail","Package":"shop","Elapsed":0.5}` + "\n"
)

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      string
		skips   string
		good    bool
		summary string
		says    []string
		silent  []string
	}{
		{
			name: "all pass", in: started + passedA + ended,
			good: true, summary: "1 passed, 0 failed, 0 skipped",
			says: []string{"ok       0.50s  shop  (1 passed)"}, silent: []string{"chatter"},
		},
		{
			name: "one fails", in: started + passedA + failedB + endedBad,
			summary: "1 passed, 1 failed, 0 skipped",
			says:    []string{"--- FAIL: shop TestB", "want 1, got 2", "(1 passed, 1 failed)"}, silent: []string{"chatter"},
		},
		{
			name: "an unlisted skip", in: started + passedA + skippedC + ended,
			summary: "1 passed, 0 failed, 1 skipped",
			says:    []string{"SKIPPED: shop TestC/sub", "no printer", "fails this run"},
		},
		{
			name: "a listed skip", in: started + passedA + skippedC + ended,
			skips: "# the printers\nshop TestC/sub  needs a printer\n",
			good:  true, summary: "1 passed, 0 failed, 1 skipped",
			says: []string{"skipped, as allowed: shop TestC/sub: needs a printer", "(1 passed, 1 skipped)"},
		},
		{
			name: "a build fails",
			in: `{"ImportPath":"shop [shop.test]","Action":"build-output","Output":"shop.go:3: undefined: x\n"}
{"ImportPath":"shop [shop.test]","Action":"build-fail"}
{"Action":"start","Package":"shop"}
{"Action":"output","Package":"shop","Output":"FAIL\tshop [build failed]\n"}
{"Action":"fail","Package":"shop","FailedBuild":"shop [shop.test]"}
`,
			summary: "0 passed, 1 failed, 0 skipped",
			says:    []string{"undefined: x", "[build failed]"},
		},
		{
			name:    "a package fails beside its tests",
			in:      started + passedA + `{"Action":"output","Package":"shop","Output":"left goroutines\n"}` + "\n" + endedBad,
			summary: "1 passed, 1 failed, 0 skipped", says: []string{"left goroutines"},
		},
		{
			name: "killed", in: started + passedA + `{"Action":"output","Package":"shop","Test":"TestD","Output":"waiting\n"}` + "\n",
			summary: "1 passed, 1 failed, 0 skipped",
			says:    []string{"UNFINISHED: shop TestD", "waiting", "(did not end)"},
		},
		{
			name: "a package without tests", in: started + passedA + ended +
				`{"Action":"start","Package":"doc"}` + "\n" + `{"Action":"skip","Package":"doc"}` + "\n",
			good: true, summary: "1 passed, 0 failed, 0 skipped", says: []string{"doc  (no tests)"},
		},
		{
			name: "nothing ran", in: "go: cannot find main module\n",
			summary: "0 passed, 0 failed, 0 skipped",
			says:    []string{"go: cannot find main module", "No test ran."},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, err := readAllowedSkips(strings.NewReader(tt.skips))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			r := newReport(&out, allowed)
			if err := r.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if good := r.finish(); good != tt.good {
				t.Errorf("good = %v, want %v", good, tt.good)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != tt.summary {
				t.Errorf("last line is %q, want %q", last, tt.summary)
			}
			for _, s := range tt.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("doesn't say %q:\n%s", s, &out)
				}
			}
			for _, s := range tt.silent {
				if strings.Contains(out.String(), s) {
					t.Errorf("says %q:\n%s", s, &out)
				}
			}
		})
	}
}

func TestAllowedSkipsWantAReason(t *testing.T) {
	for name, in := range map[string]string{
		"no reason": "shop TestA\n",
		"twice":     "shop TestA slow\nshop TestA slower\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := readAllowedSkips(strings.NewReader(in)); err == nil {
				t.Error("no error")
			}
		})
	}
}
