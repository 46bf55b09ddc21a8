package process_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

type (
	machineBegan  struct{ Key string }
	machineCame   struct{ Keys []string }
	machineEnded  struct{ Key string }
	machineFailed struct{ Key string }
	machineDo     struct{ What string }
	machineLater  struct{ N int }
	machineFact   struct{ From string }
	machineCount  struct {
		Inputs int
		Names  []string
	}
)

// OccurredAt makes a machineFact a dated one.
func (machineFact) OccurredAt() time.Time { return process.MachineStart.Add(-time.Hour) }

func count(c machineCount, name string) machineCount {
	return machineCount{c.Inputs + 1, append(slices.Clip(c.Names), name)}
}

var counting = process.Define("counting",
	process.On[machineCount, machineBegan]{
		Starts: true,
		Locate: process.Key(func(e machineBegan) string { return e.Key }),
		Evolve: func(c machineCount, _ process.Input[machineBegan]) machineCount { return count(c, "began") },
		React: func(c machineCount, in process.Input[machineBegan], do *process.Step) {
			do.After(time.Hour, machineLater{c.Inputs})
			do.Emit(machineFact{do.Instance()})
			do.Send(machineDo{do.Instance()})
		},
	},
	process.On[machineCount, machineCame]{
		NoInstance: process.Defer,
		Locate:     process.Keys(func(e machineCame) []string { return e.Keys }),
		Evolve:     func(c machineCount, _ process.Input[machineCame]) machineCount { return count(c, "came") },
	},
	process.On[machineCount, machineFact]{
		Starts: true,
		Locate: process.Key(func(e machineFact) string { return e.From + "'s fact" }),
		Evolve: func(c machineCount, _ process.Input[machineFact]) machineCount { return count(c, "fact") },
	},
	process.On[machineCount, machineFailed]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e machineFailed) string { return e.Key }),
		React:      func(machineCount, process.Input[machineFailed], *process.Step) { panic("as it must") },
	},
	process.On[machineCount, machineEnded]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e machineEnded) string { return e.Key }),
		React:      func(_ machineCount, _ process.Input[machineEnded], do *process.Step) { do.Complete() },
	},
	process.OnTimeout[machineCount, machineLater]{
		Name:   "later",
		Evolve: func(c machineCount, _ process.Input[machineLater]) machineCount { return count(c, "later") },
		React: func(c machineCount, in process.Input[machineLater], do *process.Step) {
			if in.Event.N < 3 {
				do.After(time.Hour, machineLater{in.Event.N + 1})
			}
		},
	},
	process.OnRejected[machineCount, machineDo]{
		Evolve: func(c machineCount, in process.Input[process.Rejected[machineDo]]) machineCount {
			return count(c, "rejected "+in.Event.Rejection.Code)
		},
	},
	process.OnAccepted[machineCount, machineDo, int]{
		Evolve: func(c machineCount, in process.Input[process.Accepted[machineDo, int]]) machineCount {
			return count(c, fmt.Sprintf("accepted %d", in.Event.Result))
		},
	},
).Otherwise(process.Ignore)

// told is what became of inputs, one line each.
func told(all []process.Decision) string {
	var lines []string
	for _, d := range all {
		line := fmt.Sprintf("%s %T@%s %s", d.At.Sub(process.MachineStart), d.Input, d.Instance, d.Verdict)
		for _, e := range d.Effects {
			line += fmt.Sprintf(", %s %v", e.Kind, e.Value)
		}
		lines = append(lines, strings.ReplaceAll(line, "process_test.machine", ""))
	}
	return strings.Join(lines, "\n")
}

func newMachine(t testing.TB, def process.Definition, o process.MachineOptions) *process.Machine {
	t.Helper()
	o.Verify = true
	m, err := process.NewMachine(def, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tells asserts what was decided.
func tells(t *testing.T, want string) func(all []process.Decision, err error) {
	t.Helper()
	return func(all []process.Decision, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := told(all); got != want {
			t.Fatalf("decided\n%s\nand should have\n%s", got, want)
		}
	}
}

func give(e any) process.Fact { return process.Fact{Event: e} }

func TestMachineFollowsALife(t *testing.T) {
	m := newMachine(t, counting, process.MachineOptions{})
	tells(t, "0s Came@a deferred\n0s Came@b deferred")(m.Give(give(machineCame{[]string{"a", "", "b", "a"}})))
	tells(t, "0s Came@ ignored: no key")(m.Give(give(machineCame{[]string{""}})))
	tells(t, "0s Ended@a ignored: no instance")(m.Give(give(machineEnded{"a"})))
	if n := m.Waiting("a"); n != 1 {
		t.Fatalf("%d inputs wait", n)
	}
	tells(t, "1m0s Began@a handled, emitted {a}, sent {a}, set {1}\n"+
		"0s Came@a handled\n"+
		"1m0s Fact@a's fact handled")(m.Give(process.Fact{Event: machineBegan{"a"}, At: process.MachineStart.Add(time.Minute)}))
	tells(t, "1h1m0s Later@a handled, set {2}\n2h1m0s Later@a handled, set {3}")(m.Advance(process.MachineStart.Add(3 * time.Hour)))
	tells(t, "3h0m0s process.Rejected[github.com/ensue-io/ensue/Do]@a handled")(m.Reject(machineDo{"a"}, command.Reject("no", "")))
	tells(t, "3h0m0s Ended@a handled, completed <nil>")(m.Give(give(machineEnded{"a"})))
	tells(t, "")(m.Advance(process.MachineStart.Add(300 * time.Hour))) // what was pending went with it
	tells(t, "300h0m0s Began@a ignored: completed")(m.Give(give(machineBegan{"a"})))
	i, ok := m.Instance("a")
	if want := []string{"began", "came", "later", "later", "rejected no"}; !ok || i.Status != process.Completed || !reflect.DeepEqual(i.State.(machineCount).Names, want) {
		t.Fatalf("it is %+v", i)
	}
	if keys := m.Keys(); !slices.Equal(keys, []string{"a", "a's fact"}) {
		t.Fatalf("there are %q", keys)
	}
}

func TestMachineRecognisesDuplicates(t *testing.T) {
	m := newMachine(t, counting, process.MachineOptions{})
	id := event.NewID()
	came := process.Fact{Event: machineCame{[]string{"a", "b"}}, ID: id}
	tells(t, "0s Came@a deferred\n0s Came@b deferred")(m.Give(came))
	tells(t, "0s Came@a a duplicate\n0s Came@b a duplicate")(m.Give(came))
	tells(t, "0s Began@a handled, emitted {a}, sent {a}, set {1}\n0s Came@a handled\n0s Fact@a's fact handled")(m.Give(give(machineBegan{"a"})))
	tells(t, "0s Came@a a duplicate\n0s Came@b a duplicate")(m.Give(came))
	ended := process.Fact{Event: machineEnded{"a"}, ID: event.NewID()}
	tells(t, "0s Ended@a handled, completed <nil>")(m.Give(ended))
	tells(t, "0s Ended@a a duplicate")(m.Give(ended))
	// The ids of commands depend on the input alone, so two machines agree about them.
	a, _ := newMachine(t, counting, process.MachineOptions{}).Give(process.Fact{Event: machineBegan{"a"}, ID: id})
	b, _ := newMachine(t, counting, process.MachineOptions{}).Give(process.Fact{Event: machineBegan{"a"}, ID: id})
	if a[0].Effects[1].ID.IsZero() || a[0].Effects[1].ID != b[0].Effects[1].ID {
		t.Fatalf("the commands are %s and %s", a[0].Effects[1].ID, b[0].Effects[1].ID)
	}
}

func TestMachineTakesWhatIsEmittedFromItsHomeOnly(t *testing.T) {
	def := process.Define("homes",
		process.On[int, machineBegan]{Starts: true, Locate: process.Key(func(e machineBegan) string { return e.Key }),
			React: func(_ int, _ process.Input[machineBegan], do *process.Step) {
				do.Emit(event.New(machineFact{"x"}).WithHeader("by", "me"))
			}},
		process.On[int, machineFact]{Starts: true, Module: "home", Locate: process.Header[machineFact]("by"), Evolve: func(n int, _ process.Input[machineFact]) int { return n + 1 }}).Otherwise(process.Ignore)
	tells(t, "0s Began@a handled, emitted {x}\n0s Fact@me handled")(newMachine(t, def, process.MachineOptions{Home: "home"}).Give(give(machineBegan{"a"})))
	tells(t, "0s Began@a handled, emitted {x}")(newMachine(t, def, process.MachineOptions{}).Give(give(machineBegan{"a"})))
	tells(t, "0s Began@a handled, emitted {x}")(newMachine(t, def, process.MachineOptions{Home: "elsewhere"}).Give(give(machineBegan{"a"})))
}

func TestMachineRunsByTheReplayClock(t *testing.T) {
	m := newMachine(t, counting, process.MachineOptions{Replay: true})
	at := process.MachineStart.Add(24 * time.Hour)
	tells(t, "24h0m0s Began@a handled, emitted {a}, sent {a}, set {1}\n-1h0m0s Fact@a's fact handled")(m.Give(give(event.New(machineBegan{"a"}).At(at))))
	tells(t, "25h0m0s Later@a handled, set {2}\n25h0m0s Came@a handled")(m.Give(give(event.New(machineCame{[]string{"a"}}).At(at.Add(time.Hour)))))
	tells(t, "24h0m0s Came@a handled")(m.Give(give(event.New(machineCame{[]string{"a"}}).At(at)))) // late: the clock doesn't go back
	if now := m.Now(); !now.Equal(at.Add(time.Hour)) {
		t.Fatalf("the clock stands at %s", now)
	}
}

func TestMachineLetsAFailedInstanceStandAside(t *testing.T) {
	m := newMachine(t, counting, process.MachineOptions{})
	for _, key := range []string{"a", "b"} {
		if _, err := m.Give(give(machineBegan{key})); err != nil {
			t.Fatal(err)
		}
	}
	all, err := m.Give(give(machineFailed{"a"}))
	var failed *process.StepError
	if !errors.As(err, &failed) || failed.Instance != "a" || told(all) != "0s Failed@a failed" {
		t.Fatalf("it fails with %v after %s", err, told(all))
	}
	tells(t, "0s Came@a queued: an earlier step of the instance failed\n0s Came@b handled")(m.Give(give(machineCame{[]string{"a", "b"}})))
	tells(t, "0s process.Rejected[github.com/ensue-io/ensue/Do]@a queued: an earlier step of the instance failed")(m.Reject(machineDo{"a"}, command.Reject("no", "")))
	tells(t, "1h0m0s Later@b handled, set {2}")(m.Advance(process.MachineStart.Add(time.Hour)))
}

func TestMachineComesToRest(t *testing.T) {
	for name, react := range map[string]func(do *process.Step){
		"timeouts":       func(do *process.Step) { do.After(0, machineLater{}) },
		"emitted events": func(do *process.Step) { do.Emit(machineBegan{"a"}) },
	} {
		t.Run(name, func(t *testing.T) {
			def := process.Define("restless",
				process.On[int, machineBegan]{Starts: true, Locate: process.Key(func(e machineBegan) string { return e.Key }),
					React: func(_ int, _ process.Input[machineBegan], do *process.Step) { react(do) }},
				process.OnTimeout[int, machineLater]{Name: "later", React: func(_ int, _ process.Input[machineLater], do *process.Step) { react(do) }}).Otherwise(process.Ignore)
			m, err := process.NewMachine(def, process.MachineOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Give(give(machineBegan{"a"})); err == nil || !strings.Contains(err.Error(), "does not come to rest") {
				t.Fatal(err)
			}
		})
	}
}

func TestMachineRefusesWhatAnEngineCouldNotKeep(t *testing.T) {
	for name, react := range map[string]func(do *process.Step){
		"a command that is no JSON": func(do *process.Step) { do.Send(struct{ F float64 }{math.NaN()}) },
		"an event that is no JSON":  func(do *process.Step) { do.Emit(make(chan int)) },
		"a pointer":                 func(do *process.Step) { do.Send(&machineDo{}) },
		"nothing":                   func(do *process.Step) { do.Send(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			def := process.Define("bad", process.On[int, machineBegan]{Starts: true, Locate: process.Key(func(e machineBegan) string { return e.Key }),
				React: func(_ int, _ process.Input[machineBegan], do *process.Step) { react(do) }}).Otherwise(process.Ignore)
			_, err := newMachine(t, def, process.MachineOptions{}).Give(give(machineBegan{"a"}))
			var failed *process.StepError
			if !errors.As(err, &failed) {
				t.Fatal(err)
			}
		})
	}
}

func TestMachineAsksWhichModuleWhereSeveralAreMeant(t *testing.T) {
	on := func(module string) process.Part[string] {
		return process.On[string, machineBegan]{Starts: true, Module: module, Locate: process.Key(func(e machineBegan) string { return e.Key }),
			Evolve: func(s string, in process.Input[machineBegan]) string { return s + module }}
	}
	m := newMachine(t, process.Define("two", on("north"), on("south")).Otherwise(process.Ignore), process.MachineOptions{})
	var unhandled *process.UnhandledError
	if _, err := m.Give(give(machineBegan{"a"})); !errors.As(err, &unhandled) || !strings.Contains(err.Error(), "say which module") {
		t.Fatal(err)
	}
	if _, err := m.Give(process.Fact{Event: machineBegan{"a"}, Module: "west"}); !errors.As(err, &unhandled) {
		t.Fatal(err)
	}
	for _, module := range []string{"south", "north"} {
		tells(t, "0s Began@a handled")(m.Give(process.Fact{Event: machineBegan{"a"}, Module: module}))
	}
	if i, _ := m.Instance("a"); i.State != "southnorth" || len(i.Marks) != 2 {
		t.Fatalf("it is %+v", i)
	}
}

// An instance of a machine is what an engine would have kept: it goes through JSON unchanged.
func TestMachineInstancesCanBeKept(t *testing.T) {
	m := newMachine(t, counting, process.MachineOptions{})
	if _, err := m.Give(give(machineBegan{"a"})); err != nil {
		t.Fatal(err)
	}
	i, _ := m.Instance("a")
	if data, err := i.Image(); err != nil || !json.Valid(data) {
		t.Fatal(err)
	}
	if i.Sent != 1 || len(i.Timers) != 1 || i.Steps != 1 || i.Incarnation != 1 {
		t.Fatalf("it is %+v", i)
	}
}

func BenchmarkMachine(b *testing.B) {
	b.ReportAllocs()
	m, err := process.NewMachine(counting, process.MachineOptions{})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() { // four inputs each: it begins, its fact, a timeout, its end
		n++
		key := fmt.Sprint(n)
		if _, err := m.Give(give(machineBegan{key})); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Advance(m.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Give(give(machineEnded{key})); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMachineTellsOfFailedCommands(t *testing.T) {
	def := process.Define("failing",
		process.On[machineCount, machineBegan]{
			Starts: true,
			Locate: process.Key(func(e machineBegan) string { return e.Key }),
			React: func(_ machineCount, _ process.Input[machineBegan], do *process.Step) {
				do.Send(machineDo{"one"}, process.Within(time.Hour))
				do.SendTo("there", machineDo{"two"}, process.Before(process.MachineStart.Add(time.Minute)))
				do.Send(machineDo{"three"})
			},
		},
		process.OnFailed[machineCount, machineDo]{
			Evolve: func(c machineCount, in process.Input[process.Failed[machineDo]]) machineCount {
				return count(c, fmt.Sprintf("%s %s %v", in.Event.Command.What, in.Event.Reason, in.Event.Expired))
			},
		},
	).Otherwise(process.Ignore)
	m := newMachine(t, def, process.MachineOptions{Verify: true})
	decided, err := m.Give(give(machineBegan{"a"}))
	if err != nil {
		t.Fatal(err)
	}
	var deadlines []time.Time
	for _, e := range decided[0].Effects {
		deadlines = append(deadlines, e.Before)
	}
	if want := []time.Time{process.MachineStart.Add(time.Hour), process.MachineStart.Add(time.Minute), {}}; !slices.Equal(deadlines, want) {
		t.Errorf("deadlines: %v", deadlines)
	}
	tells(t, "0s process.Failed[github.com/ensue-io/ensue/Do]@a handled")(m.Fail(machineDo{"two"}, "no answer"))
	tells(t, "0s process.Failed[github.com/ensue-io/ensue/Do]@a handled")(m.Expire(machineDo{"one"}))
	var not *process.NotSentError
	if _, err := m.Fail(machineDo{"two"}, "again"); !errors.As(err, &not) || len(not.Open) != 1 {
		t.Errorf("failed twice: %v", err)
	}
	var unhandled *process.UnhandledError
	if _, err := m.Reject(machineDo{"three"}, command.Reject("no", "")); !errors.As(err, &unhandled) {
		t.Errorf("rejected: %v", err)
	}
	i, _ := m.Instance("a")
	if want := []string{"two no answer false", "one it came past its deadline true"}; !slices.Equal(i.State.(machineCount).Names, want) {
		t.Errorf("it is %+v", i.State)
	}
	other := newMachine(t, counting, process.MachineOptions{})
	if _, err := other.Fail(machineDo{"a"}, "no"); !errors.As(err, &unhandled) || !strings.Contains(err.Error(), "such an outcome holds the instance; add process.OnFailed[…, process_test.machineDo]") {
		t.Errorf("failed where nobody handles it: %v", err)
	}
}
