package process

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/internal/raced"
)

const (
	simSeeds  = 16 // run always; fewer under the race detector, which has one goroutine to watch
	simLength = 600
)

// TestSimulation has chance decide what happens next, hundreds of times for each seed, and an oracle check G6 to G13 after
// every action. ENSUE_SEED=7 runs one seed again, ENSUE_FOR=1m new ones for a minute, with ENSUE_FROM=100 those
// from 100 on. A seed repeats its run exactly, and a failure prints it, the end of what happened and, without -short, a
// shorter run that fails the same way.
func TestSimulation(t *testing.T) {
	if given := os.Getenv("ENSUE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal("ENSUE_SEED:", err)
		}
		simulateSeed(t, seed)
		return
	}
	began := time.Now()
	seeds, actions, steps := 0, 0, 0
	kinds := map[string]int{}
	run := func(seed uint64) {
		s := simulateSeed(t, seed)
		seeds++
		actions += s.did
		steps += s.oracle.steps
		for what, n := range s.oracle.kinds {
			kinds[what] += n
		}
	}
	if given := os.Getenv("ENSUE_FOR"); given != "" {
		during, err := time.ParseDuration(given)
		if err != nil {
			t.Fatal("ENSUE_FOR:", err)
		}
		next := rand.Uint64
		if from, err := strconv.ParseUint(os.Getenv("ENSUE_FROM"), 10, 64); err == nil { // one after the other
			next = func() uint64 { from++; return from - 1 }
		}
		for time.Since(began) < during {
			run(next())
		}
	} else {
		for seed := range uint64(raced.Fewer(simSeeds)) { // #nosec G115 -- a few
			run(seed)
		}
		if !raced.On {
			wantKinds(t, kinds)
		}
	}
	passed := time.Since(began)
	t.Logf("%d seeds, %d actions, %d steps of instances: %.0f steps a second", seeds, actions, steps, float64(steps)/passed.Seconds())
}

// TestSimulationKeepsWhatItFound runs seeds again that found something once.
func TestSimulationKeepsWhatItFound(t *testing.T) {
	for _, found := range simFound {
		t.Run(found.what, func(t *testing.T) { simulateSeed(t, found.seed) })
	}
}

// simFound are seeds that failed. A change of the simulation makes another run of a seed: what matters has a test of its own.
var simFound = []struct {
	what string
	seed uint64
}{}

// TestSimulationRepeatsItself runs a seed twice: the same happens.
func TestSimulationRepeatsItself(t *testing.T) {
	for _, seed := range []uint64{3, 4, 5}[:raced.Fewer(3)] {
		one, two := newSimulation(simOptions{seed: seed, actions: 300}), newSimulation(simOptions{seed: seed, actions: 300})
		if err := one.run(); err != nil {
			t.Fatal(err)
		}
		if err := two.run(); err != nil {
			t.Fatal(err)
		}
		for n := range min(len(one.trace), len(two.trace)) {
			if one.trace[n] != two.trace[n] {
				t.Fatalf("seed %d: at first\n%s\nand then\n%s", seed, one.trace[n], two.trace[n])
			}
		}
		if one.hashed != two.hashed {
			t.Fatalf("seed %d: %d and %d lines", seed, len(one.trace), len(two.trace))
		}
	}
}

func simulateSeed(t *testing.T, seed uint64) *simulation {
	t.Helper()
	s := newSimulation(simOptions{seed: seed, actions: simLength})
	if err := s.run(); err != nil {
		t.Errorf("ENSUE_SEED=%d: after %d actions: %v\n%s", seed, s.did, err, s.last(40))
		if testing.Short() {
			t.FailNow()
		}
		if short := s.shorter(err); short != nil {
			t.Errorf("The same in %d actions, without %s:\n%s", short.did, strings.Join(short.options.left(), ", "), short.last(60))
		}
		t.FailNow()
	}
	return s
}

// last returns the end of what happened.
func (s *simulation) last(n int) string {
	return strings.Join(s.trace[max(0, len(s.trace)-n):], "\n")
}

// left returns what is left out.
func (o simOptions) left() []string {
	var names []string
	for _, a := range simActions {
		if o.without[a.name] {
			names = append(names, a.name)
		}
	}
	return names
}

// shorter looks for a run that breaks the same guarantee with fewer actions, and fewer kinds of them; nil if there is none.
func (s *simulation) shorter(err error) (best *simulation) {
	until := time.Now().Add(10 * time.Second)
	o := simOptions{seed: s.options.seed, actions: s.did + 1, without: map[string]bool{}}
	try := func(change func(*simOptions)) {
		if time.Now().After(until) {
			return
		}
		next := simOptions{seed: o.seed, actions: o.actions, without: map[string]bool{}}
		for name := range o.without {
			next.without[name] = true
		}
		change(&next)
		x := newSimulation(next)
		if again := x.run(); again != nil && simGuarantee(again) == simGuarantee(err) {
			o, best = next, x
			o.actions = min(o.actions, x.did+1)
		}
	}
	for _, a := range slices.Backward(simActions) {
		if a.trouble || a.name == "renew" || a.name == "look" || a.name == "later" {
			try(func(o *simOptions) { o.without[a.name] = true })
		}
	}
	for _, actions := range []int{10, 20, 40, 80, 160, 320} {
		if actions < o.actions {
			try(func(o *simOptions) { o.actions = actions })
		}
	}
	for n := range uint64(20) { // another seed may need less
		try(func(o *simOptions) { o.seed, o.actions = n, o.actions*2/3 })
	}
	return best
}

// simGuarantee returns which guarantee an error is about.
func simGuarantee(err error) string {
	name, _, _ := strings.Cut(err.Error(), ":")
	return name
}
