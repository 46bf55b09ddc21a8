package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// The simulated application: home keeps the process "sim"; left and right have events that concern it, and handle its
// commands. What an event leads to depends on its number, so that chance decides.
type (
	simOpened struct { // in home; starts
		ID string
		N  int
	}
	simAsked struct { // in left; starts
		ID string
		N  int
	}
	simNoted struct { // in left; ignored where there is no instance. Its key may be empty
		ID string
		N  int
	}
	simPaid struct { // in right; deferred
		ID string
		N  int
	}
	simSpread struct { // in right; concerns several instances, deferred
		IDs []string
		N   int
	}
	simEnded struct { // in home; emitted by the process, which handles it
		ID string
		N  int
	}
	simReserved struct { // in left; what the command does, and an input again
		ID string
		N  int
	}
	simShipped struct { // in right; what the command does
		ID string
		N  int
	}

	simReserve struct {
		ID     string
		N      int
		Refuse bool
	}
	simShip struct {
		ID string
		N  int
	}

	simDue  struct{ N int }
	simTick struct{ Key string }

	simState struct {
		Seen          []string
		Opened, Asked bool
		Paid, Refused int
		Place         int            // its phase
		Counts        map[string]int // changed in place, which is a mistake that the engine stands
	}
)

func (t simTick) TimeoutKey() string { return t.Key }

// simMost is how many inputs lead to more inputs of an instance's own making, so that a simulation comes to rest.
const simMost = 40

// see is what every Evolve does.
func (s simState) see(format string, args ...any) simState {
	what := fmt.Sprintf(format, args...)
	s.Seen = append(slices.Clip(s.Seen), what)
	if s.Counts == nil {
		s.Counts = map[string]int{}
	}
	s.Counts[what[:1]]++
	return s
}

// simDefinition uses much of what a definition can say. Trouble is asked in every step and may fail it. What becomes of
// new policies, phases and effects is simulated by adding them here, and to what the oracle expects of them.
func simDefinition(trouble func(instance string) error, bounds Deferral) Definition {
	key := func(id string) string { return id }
	ask := func(do *Step) {
		if err := trouble(do.Instance()); err != nil {
			if len(do.Instance())%2 == 0 {
				panic(err)
			}
			do.Fail(err)
		}
	}
	return Define("sim", slices.Concat(simPhased(), simFailing(), simUndoing(), simClaiming(), []Part[simState]{
		On[simState, simOpened]{
			Starts: true,
			Locate: Key(func(e simOpened) string { return key(e.ID) }),
			Evolve: func(s simState, in Input[simOpened]) simState { s.Opened = true; return s.see("opened %d", in.Event.N) },
			React: func(_ simState, in Input[simOpened], do *Step) {
				do.After(time.Duration(1+in.Event.N%5)*time.Second, simDue{in.Event.N})
				do.After(time.Duration(1+in.Event.N%3)*time.Second, simTick{"a"})
			},
		},
		On[simState, simAsked]{
			Starts: true,
			Locate: Key(func(e simAsked) string { return key(e.ID) }),
			Evolve: func(s simState, in Input[simAsked]) simState { s.Asked = true; return s.see("asked %d", in.Event.N) },
			React: func(_ simState, in Input[simAsked], do *Step) {
				simSend(do, simReserve{ID: do.Instance(), N: in.Event.N, Refuse: in.Event.N%2 == 0})
				do.After(2*time.Second, simTick{"b"})
			},
		},
		On[simState, simNoted]{
			NoInstance: Ignore,
			Locate:     Key(func(e simNoted) string { return key(e.ID) }),
			Evolve:     func(s simState, in Input[simNoted]) simState { return s.see("noted %d", in.Event.N) },
			React:      simOnNoted,
		},
		On[simState, simPaid]{
			NoInstance: Defer,
			Locate:     Key(func(e simPaid) string { return key(e.ID) }),
			Evolve:     func(s simState, in Input[simPaid]) simState { s.Paid++; return s.see("paid %d", in.Event.N) },
			React: func(s simState, in Input[simPaid], do *Step) {
				if s.Paid%3 == 0 {
					do.Cancel(simTick{"a"})
				} else {
					do.After(time.Second, simDue{in.Event.N})
				}
			},
		},
		On[simState, simSpread]{
			NoInstance: Defer,
			Locate:     Keys(func(e simSpread) []string { return e.IDs }),
			Evolve:     func(s simState, in Input[simSpread]) simState { s.Paid++; return s.see("spread %d", in.Event.N) },
			React: func(_ simState, in Input[simSpread], do *Step) {
				simSend(do, simShip{ID: do.Instance(), N: in.Event.N})
			},
		},
		On[simState, simReserved]{
			NoInstance: Ignore,
			Locate:     Key(func(e simReserved) string { return key(e.ID) }),
			Evolve:     func(s simState, in Input[simReserved]) simState { return s.see("reserved %d", in.Event.N) },
		},
		On[simState, simEnded]{
			NoInstance: Ignore,
			Locate:     Key(func(e simEnded) string { return key(e.ID) }),
			Evolve:     func(s simState, in Input[simEnded]) simState { return s.see("ended %d", in.Event.N) },
			React: func(s simState, in Input[simEnded], do *Step) {
				if s.Paid > 3 && in.Event.N%4 == 0 {
					simSend(do, simShip{ID: do.Instance(), N: in.Event.N})
					do.Complete()
				}
			},
		},
		OnTimeout[simState, simDue]{
			Name: "due",
			Evolve: func(s simState, in Input[simDue]) simState {
				if in.Event.N%5 == 0 {
					s.Place = (s.Place + 1) % 3
				}
				return s.see("due %d", in.Event.N)
			},
			React: func(s simState, in Input[simDue], do *Step) {
				do.Emit(simEnded{do.Instance(), len(s.Seen)})
				do.Cancel(simTick{"a"})
			},
		},
		OnTimeout[simState, simTick]{
			Name:   "tick",
			Evolve: func(s simState, in Input[simTick]) simState { return s.see("tick %s", in.Event.Key) },
			React: func(s simState, in Input[simTick], do *Step) {
				if len(s.Seen) < simMost {
					simSend(do, simReserve{ID: do.Instance(), N: len(s.Seen), Refuse: len(s.Seen)%3 == 0})
					do.After(2*time.Second, simDue{len(s.Seen)})
				}
			},
		},
		OnAccepted[simState, simReserve, string]{
			Evolve: func(s simState, in Input[Accepted[simReserve, string]]) simState {
				return s.see("+reserve %d %s", in.Event.Command.N, in.Event.Result)
			},
			React: func(s simState, _ Input[Accepted[simReserve, string]], do *Step) {
				if len(s.Seen) < simMost && len(s.Seen)%2 == 0 {
					do.After(time.Second, simTick{"c"})
				}
			},
		},
		OnRejected[simState, simReserve]{
			Defer: In(simLate),
			Evolve: func(s simState, in Input[Rejected[simReserve]]) simState {
				s.Refused++
				return s.see("-reserve %d %s", in.Event.Command.N, in.Event.Rejection.Code)
			},
			React: func(s simState, _ Input[Rejected[simReserve]], do *Step) {
				if len(s.Seen) < simMost {
					do.After(time.Second, simTick{"b"})
				}
			},
		},
		React(func(s simState, do *Step) {
			ask(do)
			if s.Opened && s.Asked && do.Once("both") {
				simSend(do, simShip{ID: do.Instance(), N: -1})
			}
			if s.Paid >= 2 && do.Once("paid") {
				simSend(do, simShip{ID: do.Instance(), N: -2})
				do.Emit(simEnded{do.Instance(), -1})
			}
		}),
	})...).Otherwise(Ignore).Deferring(bounds)
}

func simOnNoted(s simState, in Input[simNoted], do *Step) {
	n := in.Event.N
	switch n % 8 {
	case 0:
		do.After(time.Duration(1+n%4)*time.Second, simDue{n})
	case 1:
		do.Cancel(simDue{})
	case 2:
		do.After(time.Second, simTick{"a"})
		do.After(time.Second, simTick{"b"})
	case 3:
		simSend(do, simReserve{ID: do.Instance(), N: n, Refuse: n%3 == 0})
	case 4:
		do.Cancel(simTick{"b"})
		do.Emit(simEnded{do.Instance(), n})
	case 5:
		simSend(do, simShip{ID: do.Instance(), N: n})
		simSend(do, simReserve{ID: do.Instance(), N: n})
	case 6:
		do.At(in.Time, simDue{n}) // due at once
	case 7:
		if s.Paid > 4 {
			do.Complete()
		}
	}
}

// simKeys returns the instances that an event concerns, what becomes of it without one, and whether it starts one. It
// says so a second time, for the oracle, which believes no router.
func simKeys(fact any) (keys []string, policy Policy, starts bool) {
	switch e := fact.(type) {
	case simOpened:
		return []string{e.ID}, 0, true
	case simAsked:
		return []string{e.ID}, 0, true
	case simNoted:
		return []string{e.ID}, Ignore, false
	case simPaid:
		return []string{e.ID}, Defer, false
	case simSpread:
		return e.IDs, Defer, false
	case simReserved:
		return []string{e.ID}, Ignore, false
	case simEnded:
		return []string{e.ID}, Ignore, false
	case simMoved:
		return []string{e.ID}, Ignore, false
	case simGated:
		return []string{e.ID}, Defer, false
	case simDropped:
		return []string{e.ID}, Ignore, false
	case simIssued:
		return []string{e.ID}, Defer, false
	case simPosted:
		return nil, Defer, false
	case simGlanced:
		return nil, Ignore, false
	default:
		return nil, 0, false
	}
}

var simModules = []string{"home", "left", "right"}

func simTypes() map[string]*event.Registry {
	registry := func(r *event.Registry, err error) *event.Registry {
		if err != nil {
			panic(err)
		}
		return r
	}
	return map[string]*event.Registry{
		"home":  registry(event.NewRegistry(event.Named[simOpened]("opened"), event.Named[simEnded]("ended"), event.Named[simMoved]("moved"), event.Named[simDropped]("dropped"))),
		"left":  registry(event.NewRegistry(event.Named[simAsked]("asked"), event.Named[simNoted]("noted"), event.Named[simReserved]("reserved"), event.Named[simFreed]("freed"), event.Named[simIssued]("issued"), event.Named[simGlanced]("glanced"))),
		"right": registry(event.NewRegistry(event.Named[simPaid]("paid"), event.Named[simSpread]("spread"), event.Named[simShipped]("shipped"), event.Named[simGated]("gated"), event.Named[simRecalled]("recalled"), event.Named[simPosted]("posted"))),
	}
}

// simFact makes the next event of some module.
func (s *simulation) fact() (module string, fact any) {
	n := s.numbered
	s.numbered++
	id := s.key()
	switch s.rng.IntN(18) {
	case 0:
		return "home", simOpened{id, n}
	case 1:
		return "left", simAsked{id, n}
	case 2, 3, 4:
		if s.rng.IntN(20) == 0 {
			id = ""
		}
		return "left", simNoted{id, n}
	case 5, 6, 7:
		return "right", simPaid{id, n}
	case 8, 9:
		return "right", simGated{id, n}
	case 10:
		return "home", simMoved{id, n}
	case 11:
		return "home", simDropped{id, n}
	case 12, 13:
		return "left", simIssued{id, n, s.doc()}
	case 14, 15:
		return "right", simPosted{s.doc(), n}
	case 16:
		return "left", simGlanced{s.doc(), n}
	default:
		ids := []string{id}
		for range s.rng.IntN(4) {
			if id := s.key(); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return "right", simSpread{ids, n}
	}
}

// simReceivers are the buses of the modules that handle commands.
func simReceivers(logs map[string]eventlog.Log, types map[string]*event.Registry, now func() time.Time, refusesUndo func() bool) map[string]*command.Bus {
	undoers := simUndoers(refusesUndo)
	bus := func(module string, handlers ...command.Handler) *command.Bus {
		b, err := command.NewBus(command.Config{Handlers: append(handlers, undoers[module]), Module: &aggregate.Module{Name: module, Log: logs[module], Types: types[module], Now: now}})
		if err != nil {
			panic(err)
		}
		return b
	}
	return map[string]*command.Bus{
		"left": bus("left", command.Handle("reserve", func(_ context.Context, w *aggregate.Work, c simReserve) (string, error) {
			if c.Refuse {
				return "", command.Reject("full", "there is no more")
			}
			return fmt.Sprint("r", c.N), w.Append("stock/"+c.ID, eventlog.Any, simReserved{c.ID, c.N})
		})),
		"right": bus("right", command.Handle("ship", func(_ context.Context, w *aggregate.Work, c simShip) (struct{}, error) {
			return struct{}{}, w.Append("parcel/"+c.ID, eventlog.Any, simShipped(c))
		})),
	}
}

// simCommands takes commands to their receivers, and shows each to the oracle before.
type simCommands struct{ *simulation }

var errSimUnhandled = errors.New("nobody handles it")

func (c simCommands) Resolve(_ string, t reflect.Type) (target, name string, err error) {
	for _, module := range slices.Sorted(maps.Keys(c.receivers)) {
		if name, ok := c.receivers[module].Handles(t); ok {
			return module, name, nil
		}
	}
	return "", "", errSimUnhandled
}

func (c simCommands) Encode(_ string, cmd any) (target, name string, data []byte, err error) {
	target, _, err = c.Resolve("", reflect.TypeOf(cmd))
	if err != nil {
		return "", "", nil, err
	}
	e, err := c.receivers[target].Encode(cmd)
	return target, e.Type, e.Data, err
}

func (c simCommands) Fail(ctx context.Context, module string, e command.Envelope, reason string) (command.Outcome, error) {
	c.oracle.givenUp(&e)
	return c.receivers[module].Fail(ctx, e, reason)
}

func (c simCommands) Dispatch(ctx context.Context, module string, e command.Envelope, first bool) (command.Outcome, error) {
	c.oracle.dispatched(module, e)
	return c.receivers[module].Dispatch(ctx, e, command.Hint{First: first})
}
