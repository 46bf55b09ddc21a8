package process_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"

	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/processtest"
)

// permute gives the process the events below in every order, without a log or a worker, as package processtest does.
func (s *story) permute(w words) string {
	var t kitT
	d, inputs := s.kit(w)
	processtest.Permutations(&t, d, inputs)
	return t.said(fmt.Sprintf("it comes to the same end, whatever the order of these %d", len(inputs)))
}

// explore looks at every state that the process comes to with events like those below, as package processtest does.
func (s *story) explore(w words) string {
	var t kitT
	d, inputs := s.kit(w)
	report := processtest.Explore(&t, d, inputs...)
	return t.said(report.String())
}

// kit returns the definition and the facts in the lines below.
func (s *story) kit(w words) (process.Definition, []any) {
	var facts []any
	for l := range strings.Lines(w.Input) {
		cmd, args, err := datadriven.ParseLine("event " + strings.TrimSpace(l))
		if err != nil {
			panic(err)
		}
		module, e := s.draft(words{&datadriven.TestData{Cmd: cmd, CmdArgs: args}})
		decoded, err := s.types[module].Decode(e)
		if err != nil {
			panic(err)
		}
		facts = append(facts, decoded...)
	}
	if len(facts) == 0 {
		panic(errors.New("it needs events, one a line"))
	}
	return s.config.Definition, facts
}

// kitT keeps what a test would say that fails.
type kitT struct{ failed strings.Builder }

func (*kitT) Helper() {}

func (t *kitT) Errorf(format string, args ...any) { fmt.Fprintf(&t.failed, format+"\n", args...) }

func (t *kitT) said(otherwise string) string {
	if t.failed.Len() > 0 {
		return "the test fails: " + strings.TrimSpace(t.failed.String())
	}
	return strings.TrimSpace(otherwise)
}
