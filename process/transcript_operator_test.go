package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ensue-io/ensue/process"
)

// operator has an operator named ada do something with held instances, with the reason in the line below.
func (s *story) operator(w words) string {
	r := process.Request{Action: process.Action(w.need(0, "hold, resume, skip, replace or cancel")), Reason: strings.TrimSpace(w.Input), By: "ada",
		Wait: 5 * time.Second, Progress: func(int, int) { s.notice() }}
	if r.Instance = w.need(1, "an instance, or all"); r.Instance == "all" {
		r.Instance, r.All = "", true
	}
	if r.Action == process.ActReplace {
		r.Data = must(json.Marshal(w.fields(r.Instance, string(r.Action), r.Instance)))
	}
	if w.HasArg("at-once") { // she does not wait for an answer
		r.Wait = time.Nanosecond
	}
	answers, err := process.Operate(context.Background(), s.homeLog(), s.name, r)
	var open *process.UnansweredError
	if err != nil && !errors.As(err, &open) {
		return err.Error()
	}
	var b strings.Builder
	if !w.HasArg("at-once") {
		if said := s.settle(); !strings.HasPrefix(said, idle) {
			b.WriteString(said)
		}
	}
	for _, a := range answers {
		if a.Err == nil {
			fmt.Fprintf(&b, "ada hears that it was done: %s of %s\n", r.Action, a.Instance)
		} else {
			fmt.Fprintf(&b, "ada hears that it was not done: %v\n", a.Err)
		}
	}
	if open != nil {
		fmt.Fprintf(&b, "what ada asked for is kept, and will be done: %s\n", counted(open.Asked-open.Answered, "request"))
	}
	if b.Len() == 0 {
		return "no instance stands aside"
	}
	return b.String()
}

// notice has the workers that run look for what an operator asked for.
func (s *story) notice() {
	for _, name := range s.names {
		s.workers[name].Notice()
	}
}

// showClaims lists the keys that instances have claimed, and those that inputs wait for.
func (s *story) showClaims(words) string {
	var b strings.Builder
	for c, err := range process.Claims(context.Background(), s.homeLog(), s.name) {
		if err != nil {
			panic(err)
		}
		who := "nobody has it"
		if c.Instance != "" {
			who = c.Instance + " has it"
		}
		fmt.Fprintf(&b, "%s %s: %s", c.Name, c.Key, who)
		if c.Waiting > 0 {
			fmt.Fprintf(&b, "; %s beside it", map[bool]string{true: "1 input waits", false: fmt.Sprintf("%d inputs wait", c.Waiting)}[c.Waiting == 1])
		}
		if !c.Until.IsZero() {
			fmt.Fprintf(&b, ", until %s at most", s.clock(c.Until))
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "no key is claimed, and no input waits for one"
	}
	return b.String()
}

// upgrade is another version of the program: workers that are started from now on run it.
func (s *story) upgrade(w words) string {
	sample, ok := samples[w.need(0, "the name of a process")]
	if !ok {
		panic(fmt.Errorf("there is no process %q", w.at(0)))
	}
	d := sample.define(s)
	s.config.Definition, s.renamed = d.Deferring(process.DefaultDeferral), w.at(0) == "hire"
	return fmt.Sprintf("workers that start from now on run %s, version %d", w.at(0), d.Version())
}
