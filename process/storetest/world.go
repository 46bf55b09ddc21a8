package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// The events of module field, and the last two those of module desk, where the process lives.
type (
	opened  struct{ Key, Text string }
	added   struct{ Keys, Notes []string }
	stopped struct{ Key string }
	closed  struct{ Key string }
	spoilt  struct{ Key string }
	swollen struct{ Key string }
	called  struct{ Key, Text string }
	noted   struct {
		By   string
		Text string
		Back []string
	}
)

// The timeouts and the commands.
type (
	remind struct {
		Key  string
		Left int
	}
	tell struct{ To, Text string }
	ask  struct {
		To     string
		Refuse bool
	}
)

// TimeoutKey lets several reminders be pending.
func (r remind) TimeoutKey() string { return r.Key }

// story is the state: something of every kind.
type story struct {
	Text    string
	Notes   []string
	Counts  map[string]int
	Last    time.Time
	Ratio   float64
	Answers map[string]int
}

// with returns a story with a note more. Nothing of the old one is changed.
func (s story) with(note string, at time.Time) story {
	s.Notes = append(slices.Clip(s.Notes), note)
	s.Counts = maps.Clone(s.Counts)
	if s.Counts == nil {
		s.Counts = map[string]int{}
	}
	s.Counts[note]++
	s.Last = at
	return s
}

func (s story) answer(what string) story {
	s.Answers = maps.Clone(s.Answers)
	if s.Answers == nil {
		s.Answers = map[string]int{}
	}
	s.Answers[what]++
	return s
}

var telling = define("telling")

// define returns a process that does something of everything that one can do.
func define(name string) process.Definition {
	return process.Define(name,
		process.On[story, opened]{
			Starts: true,
			Locate: process.Key(func(e opened) string { return e.Key }),
			Evolve: func(s story, in process.Input[opened]) story {
				s.Text = in.Event.Text
				return s.with("opened", in.Time)
			},
			React: func(_ story, in process.Input[opened], do *process.Step) {
				do.Emit(noted{By: do.Instance(), Text: "opened"})
				do.Send(tell{"first", in.Event.Text})
				do.Send(tell{"second", in.Event.Text})
				do.After(150*time.Second, remind{"soon", 2})
				do.After(1000*time.Hour, remind{"late", 0})
			},
		},
		process.On[story, added]{
			NoInstance: process.Defer,
			Locate:     process.Keys(func(e added) []string { return e.Keys }),
			Evolve: func(s story, in process.Input[added]) story {
				for _, note := range in.Event.Notes {
					s = s.with(note, in.Time)
				}
				return s
			},
			React: func(_ story, in process.Input[added], do *process.Step) {
				for _, note := range in.Event.Notes {
					switch {
					case strings.HasPrefix(note, "emit "):
						do.Emit(noted{By: do.Instance(), Text: note})
					case strings.HasPrefix(note, "back "):
						do.Emit(noted{By: do.Instance(), Text: note, Back: []string{do.Instance(), note[len("back "):]}})
					case note == "ask":
						do.Send(ask{To: do.Instance()})
						do.Send(ask{To: do.Instance(), Refuse: true})
					case note == "cancel":
						do.Cancel(remind{Key: "late"})
					case note == "again":
						do.After(2000*time.Hour, remind{"late", 7})
					}
				}
			},
		},
		process.On[story, stopped]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e stopped) string { return e.Key }),
			React:      func(story, process.Input[stopped], *process.Step) {},
		},
		process.On[story, closed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e closed) string { return e.Key }),
			Evolve:     func(s story, in process.Input[closed]) story { return s.with("closed", in.Time) },
			React: func(_ story, _ process.Input[closed], do *process.Step) {
				do.Emit(noted{By: do.Instance(), Text: "closed"})
				do.Send(tell{"last", do.Instance()})
				do.Complete()
			},
		},
		process.On[story, spoilt]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e spoilt) string { return e.Key }),
			Evolve:     func(s story, _ process.Input[spoilt]) story { s.Ratio = math.NaN(); return s },
		},
		process.On[story, swollen]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e swollen) string { return e.Key }),
			Evolve:     func(s story, in process.Input[swollen]) story { return s.with("swollen", in.Time) },
			React: func(_ story, _ process.Input[swollen], do *process.Step) {
				do.Emit(noted{By: do.Instance(), Text: strings.Repeat("x", 2<<20)})
			},
		},
		process.On[story, called]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e called) string { return e.Key }),
			Evolve:     func(s story, in process.Input[called]) story { return s.with("called", in.Time) },
			React: func(_ story, in process.Input[called], do *process.Step) {
				if in.Event.Text != "" {
					do.Emit(noted{By: do.Instance(), Text: in.Event.Text})
				}
			},
		},
		process.On[story, noted]{
			NoInstance: process.Ignore,
			Locate:     process.Keys(func(e noted) []string { return e.Back }),
			Evolve:     func(s story, in process.Input[noted]) story { return s.answer(in.Event.Text) },
			React: func(_ story, in process.Input[noted], do *process.Step) {
				if do.Once("noted") {
					do.Emit(noted{By: do.Instance(), Text: "heard"})
				}
			},
		},
		process.OnTimeout[story, remind]{
			Name:   "remind",
			Evolve: func(s story, in process.Input[remind]) story { return s.with("remind "+in.Event.Key, in.Time) },
			React: func(_ story, in process.Input[remind], do *process.Step) {
				do.Send(tell{"reminded", fmt.Sprint(in.Event.Left)})
				if in.Event.Left > 0 {
					do.After(90*time.Second, remind{in.Event.Key, in.Event.Left - 1})
				}
			},
		},
		process.OnAccepted[story, ask, string]{
			Evolve: func(s story, in process.Input[process.Accepted[ask, string]]) story { return s.answer(in.Event.Result) },
		},
		process.OnRejected[story, ask]{
			Evolve: func(s story, in process.Input[process.Rejected[ask]]) story { return s.answer(in.Event.Rejection.Code) },
		},
		process.React(func(s story, do *process.Step) {
			for _, note := range []string{"two", "three"} {
				if s.Counts[note] >= 2 && do.Once(note) {
					do.Send(tell{"once", note})
				}
			}
		}),
	).Otherwise(process.Ignore)
}

var (
	fieldTypes = types(event.Named[opened]("opened"), event.Named[added]("added"), event.Named[stopped]("stopped"),
		event.Named[closed]("closed"), event.Named[spoilt]("spoilt"), event.Named[swollen]("swollen"))
	deskTypes = types(event.Named[called]("called"), event.Named[noted]("noted"))
)

func types(all ...event.Type) *event.Registry {
	r, err := event.NewRegistry(all...)
	if err != nil {
		panic(err) // the suite itself is wrong
	}
	return r
}

// receiver is the module that handles all commands; it keeps receipts in memory, beyond restarts.
type receiver struct {
	mu       sync.Mutex
	handled  map[event.ID]command.Envelope
	order    []event.ID
	conflict string // a command came under the id of another
}

func newReceiver() *receiver { return &receiver{handled: map[event.ID]command.Envelope{}} }

// Resolve implements process.Commands.
func (r *receiver) Resolve(_ string, goType reflect.Type) (target, name string, err error) {
	switch goType {
	case reflect.TypeFor[tell](), reflect.TypeFor[ask]():
		return "desk", goType.Name(), nil
	default:
		return "", "", fmt.Errorf("nobody handles %v", goType)
	}
}

// Encode implements process.Commands.
func (r *receiver) Encode(module string, cmd any) (target, name string, data []byte, err error) {
	if target, name, err = r.Resolve(module, reflect.TypeOf(cmd)); err == nil {
		data, err = json.Marshal(cmd)
	}
	return target, name, data, err
}

// Fail implements process.Commands.
func (r *receiver) Fail(_ context.Context, _ string, c command.Envelope, reason string) (command.Outcome, error) {
	return command.Outcome{ID: c.ID, Type: c.Type, Status: command.Failed, Reason: reason, At: c.At, Handled: c.At}, nil
}

// Dispatch implements process.Commands.
func (r *receiver) Dispatch(_ context.Context, _ string, c command.Envelope, _ bool) (command.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.handled[c.ID]; !ok {
		r.handled[c.ID] = c
		r.order = append(r.order, c.ID)
	} else if before.Digest() != c.Digest() {
		r.conflict = fmt.Sprintf("command %s was %s %s and is %s %s now", c.ID, before.Type, before.Data, c.Type, c.Data)
	}
	o := command.Outcome{ID: c.ID, Type: c.Type, Status: command.Accepted, Result: []byte(`"yes"`), At: c.At, Handled: c.At}
	var a ask
	if c.Type == "ask" && json.Unmarshal(c.Data, &a) == nil && a.Refuse {
		o.Status, o.Result, o.Rejection = command.Rejected, nil, command.Reject("no", "as asked")
	}
	return o, nil
}
