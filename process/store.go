package process

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Store keeps the instances of processes in their home log. Two come with the package, with the same guarantees:
// Streams (the default) keeps the history of each instance and folds it, Documents keeps each instance as one document.
// Package storetest is the definition of this contract in tests.
//
// A store never writes: Save returns what must be written, and the engine appends it in one call together with the
// cursors, the timeouts, the commands to send and its lease. So a step is atomic whatever the store (G6), as long as
// what Save returns fails when the instance was changed by somebody else since it was loaded (G12).
type Store interface {
	// Load returns the instances of those keys, in that order; nil where there is none. What it returns belongs to the caller.
	// An instance that is there and cannot be read as the definition says is a *StepError: it stands aside, and those
	// loaded with it are loaded again without it.
	Load(ctx context.Context, home Home, keys []string) ([]*Instance, error)

	// Save returns the writes that keep the changes. Events that were emitted are among them: they go to the instance's stream.
	// Save may set Token of the instances; the engine forgets them all when the append fails. A store that needs to know what
	// the append returned implements Noter.
	Save(home Home, changes []Change) ([]eventlog.Write, error)

	// List returns a summary of every instance, ordered by eventlog.Key of its key as bytes, beginning above after. Of a running
	// instance, Steps and Changed may be those of its start.
	List(ctx context.Context, home Home, after string) iter.Seq2[Summary, error]
}

// Noter is what a store implements that compares revisions, which only the append tells.
type Noter interface {
	// Note is called after the append with the results of the writes that Save returned for the changes.
	Note(changes []Change, results []eventlog.Result)
}

// Change is an instance with the steps that it took since it was loaded or last saved.
type Change struct {
	Instance *Instance // as it is after the steps
	Steps    []Taking
}

// Taking is one step of a change.
type Taking struct {
	Record  Record
	Emitted []event.Event // to be appended to the instance's stream
	Home    bool          // the input is an event of the home log, which can be linked at its position there
}

// Summary is what a list tells of an instance.
type Summary struct {
	Key     string    `json:"key"`
	Status  Status    `json:"status"`
	Ending  Ending    `json:"ending,omitempty"`
	Steps   int       `json:"steps"`
	Started time.Time `json:"started"`
	Changed time.Time `json:"changed"`
}

// Home is where a process keeps its instances, and what a store needs to read them again.
type Home struct {
	Log    eventlog.Log
	name   string // of the process
	module string
	links  bool
	replay bool
	def    *Definition // nil where the home is only looked at
	router *router
}

// OpenHome returns the home of a process for looking at what is kept there, without its definition: History and
// ListInstances work, Replay and FromImage don't. ErrNoProcess when the log holds no description of it.
func OpenHome(ctx context.Context, log eventlog.Log, process string) (Home, error) {
	descriptions, err := Descriptions(ctx, log)
	if err != nil {
		return Home{}, err
	}
	for _, d := range descriptions {
		if d.Process == process || d.Name == process {
			return Home{Log: log, name: d.Process, module: d.Home, replay: d.Clock == "replay"}, nil
		}
	}
	return Home{}, fmt.Errorf("%w: %q", ErrNoProcess, process)
}

// Process returns the process's name.
func (h Home) Process() string { return h.name }

// Stream returns the stream of an instance in the home log.
func (h Home) Stream(key string) string { return Stream(h.name, key) }

// Links tells whether an event of the home log can be linked into an instance's stream.
func (h Home) Links() bool { return h.links }

// NewInstance returns an instance that does not exist yet.
func (h Home) NewInstance(key string) *Instance {
	return &Instance{Process: h.name, Key: key, State: h.def.state.zero()}
}

// Replay brings the instance up to date with a step of its history. It evolves state and emits nothing (G13).
func (h Home) Replay(i *Instance, r *Record) error {
	fail := func(err error) error {
		return &StepError{Process: h.name, Instance: i.Key, Input: "its history: " + r.Input.describe(), Err: err}
	}
	version := max(1, i.Version, r.By)
	if known := h.def.Version(); version > known {
		return fail(&NewerVersionError{Process: h.name, Instance: i.Key, Version: version, Known: known})
	}
	own, err := h.turnTo(i, r, version)
	if err != nil {
		return fail(err)
	}
	if !r.evolves() {
		return own.def.evolve(i, r, nil)
	}
	handlings, err := own.decode(&r.Input)
	if err == nil {
		handlings, err = own.concerning(i, &r.Input, handlings)
	}
	if err != nil && !errors.Is(err, errUnhandled) {
		return fail(err)
	}
	return own.def.evolve(i, r, handlings)
}

// turnTo gives an instance the state that a version's step began with, and returns what evolves it.
func (h Home) turnTo(i *Instance, r *Record, version int) (own *router, err error) {
	own, _ = h.router.folding(version)
	switch _, turn := h.router.folding(i.Version); {
	case i.Status == New && len(h.router.former) > 0:
		i.State = own.def.state.zero()
	case r.Migrated != nil:
		i.State, err = own.def.state.decode(r.Migrated)
	case turn != nil && i.Version != version: // a version in between read the history again
		i.State, err = turned(turn, i.State)
	}
	return own, err
}

// fold is Replay for a history of which a later step may have all that is needed: one that the state was migrated with.
// What failed before it does not matter.
func (h Home) fold(i *Instance, r *Record) {
	if i.unread != nil && r.Migrated == nil {
		i.note(r)
		return
	}
	if i.unread = h.Replay(i, r); i.unread != nil {
		i.note(r)
	}
}

// taken returns the input that an event of the home log is.
func (h Home) taken(rec event.Recorded) Taken {
	return takenEvent(h.module, h.Log.ID(), rec, h.replay)
}

// takenEvent returns the input that an event is. Under the replay clock its instant is when it occurred, else when it
// was recorded.
func takenEvent(module string, log event.ID, rec event.Recorded, replay bool) Taken {
	t := Taken{Kind: EventInput, ID: rec.ID, Module: module, Log: log, Position: rec.Position, Stream: rec.Stream, Type: rec.Type, Schema: rec.Schema,
		Data: rec.Data, Metadata: rec.Metadata, Occurred: rec.Occurred, Recorded: rec.Recorded, Time: rec.Recorded}
	if rec.IsLink() {
		t.Stream = rec.Origin.Stream
	}
	if replay {
		t.Time = rec.Occurred
	}
	return t
}

// What a process or an instance is asked for that is not there.
var (
	ErrNoProcess  = errors.New("process: no such process in this log")
	ErrNoInstance = errors.New("process: no such instance")
)
