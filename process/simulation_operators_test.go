package process

import (
	"context"
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ask writes requests of an operator, as Operate does. Nobody waits for the answers but the oracle.
func (s *simulation) ask(requests ...request) {
	var writes []eventlog.Write
	for n := range requests {
		r := &requests[n]
		s.asked++
		r.id = event.DeriveID("request", fmt.Sprint(s.options.seed), fmt.Sprint(s.asked))
		r.At, r.By = event.Micro(s.clock), "operator"
		w, err := r.put("sim")
		if err != nil {
			panic(err)
		}
		writes = append(writes, w)
	}
	if _, err := s.logs["home"].Append(context.Background(), writes...); err != nil {
		panic(err)
	}
	s.oracle.appended(nil, writes)
}

// holdings returns what stands aside and what waits.
func (s *simulation) holdings() (all []Holding) {
	for h, err := range Holdings(context.Background(), s.logs["home"], "sim") {
		if err != nil {
			s.oracle.fail("entries: %v", err)
		}
		all = append(all, h)
	}
	return all
}

func aboutHold(h *Holding) *about { return &about{Since: h.Since, Input: h.InputID} }

// rewritten checks that an input in a queue is only changed as an operator wants it.
func (o *oracle) rewritten(key string, was, in *Taken) {
	again := *in
	again.Again = was.Again
	if again.told() != was.told() || again.ID != was.ID || !in.Again {
		o.fail("G9: %s in the queue of %s became %s", was.told(), key, in.told())
	}
}
