package process

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
)

// scripted is a receiver that answers as it is told.
type scripted struct {
	Commands
	answer func(c command.Envelope, first bool) error
}

func (s scripted) Dispatch(_ context.Context, _ string, c command.Envelope, first bool) (command.Outcome, error) {
	if err := s.answer(c, first); err != nil {
		return command.Outcome{}, err
	}
	return command.Outcome{ID: c.ID, Status: command.Accepted}, nil
}

// An instance is held for its first command, and released while the dispatcher runs: the command goes again, as one that
// was dispatched before, and those behind it follow in their order.
func TestG9_AReleasedCommandIsDispatched(t *testing.T) {
	var mu sync.Mutex
	var tried []string
	var firsts []bool
	answer := errors.New("no answer")
	awake := make(chan struct{}, 16)
	d := newDispatcher(&Config{
		Definition: Define("order", OnError[int](func(Failure) Remedy { return HoldInstance() })),
		Commands: scripted{answer: func(c command.Envelope, first bool) error {
			mu.Lock()
			defer mu.Unlock()
			tried, firsts = append(tried, c.Type), append(firsts, first)
			return answer
		}},
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, func() { awake <- struct{}{} })
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx, 2) })
	defer running.Wait()
	defer stop()

	d.add([]pending{{instance: "a", sent: Sent{Type: "one"}, first: true}, {instance: "a", sent: Sent{Type: "two"}, first: true}})
	<-awake
	held := d.takeStuck(10)
	if open, done := d.backlog(); len(held) != 1 || held[0].attempts != 1 || !errors.Is(held[0].err, answer) || open != 2 || done != 0 {
		t.Fatalf("held: %+v; %d open", held, open)
	}
	d.park("a")
	d.add([]pending{{instance: "a", sent: Sent{Type: "three"}, first: true}})
	if open, _ := d.backlog(); open != 0 || len(d.takeStuck(10)) != 0 {
		t.Errorf("%d are open while it is held", open)
	}

	mu.Lock()
	answer = nil
	mu.Unlock()
	d.resume("a", "another")
	for range 3 {
		<-awake
	}
	if open, done := d.backlog(); open != 3 || done != 3 {
		t.Errorf("%d are open, %d have an outcome", open, done)
	}
	if len(tried) != 4 || tried[0] != "one" || tried[1] != "one" || tried[2] != "two" || tried[3] != "three" || !firsts[0] || firsts[1] || !firsts[2] {
		t.Errorf("dispatched: %v, for the first time: %v", tried, firsts)
	}
	var out []string
	for _, s := range d.outcomes(10) {
		out = append(out, s.sent.Type)
	}
	if len(out) != 3 || out[0] != "one" || out[2] != "three" {
		t.Errorf("outcomes: %v", out)
	}
}
