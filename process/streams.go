package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// RecordType is the type of the system record that a step leaves in its instance's stream.
const RecordType = event.SystemPrefix + "step"

// Streams is the event-sourced store, the default: an instance is its stream in the home log. A step appends what was
// taken (a link when the input is an event of the same log, otherwise a copy inside the step's record), what was emitted,
// and a record of what was decided; a linked event without a record behind it was taken and led to nothing. The stream is
// state, dedup record, outbox and audit trail at once. An entry beside it lists the instance; it can be rebuilt.
type Streams struct{}

// Load implements Store.
func (Streams) Load(ctx context.Context, home Home, keys []string) ([]*Instance, error) {
	instances := make([]*Instance, len(keys))
	listed, err := listedKeys(ctx, home, keys)
	if err != nil {
		return nil, err
	}
	there := make(map[string]*Instance, len(listed)) // by stream
	var streams []string
	for n, key := range keys {
		if listed[key] {
			instances[n] = home.NewInstance(key)
			there[home.Stream(key)] = instances[n]
			streams = append(streams, home.Stream(key))
		}
	}
	if reader, ok := home.Log.(eventlog.StreamsReader); ok && len(streams) > 1 {
		err = foldStreams(home, reader.ReadStreams(ctx, streams), there)
	} else {
		for _, stream := range streams {
			err = errors.Join(err, foldStreams(home, home.Log.ReadStream(ctx, stream, eventlog.StreamQuery{System: true}), there))
		}
	}
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if i != nil && i.unread != nil {
			return nil, i.unread
		}
		if i != nil && i.Status == New {
			return nil, unreadable(i, &eventlog.CorruptError{Address: home.Stream(i.Key), Reason: "the instance is listed, but its stream does not start it"})
		}
	}
	return instances, nil
}

// foldStreams brings instances up to date with what their streams hold, one stream after the other.
func foldStreams(home Home, records iter.Seq2[event.Recorded, error], instances map[string]*Instance) error {
	var i *Instance
	h := historian{home: home}
	replay := func(steps []RecordedStep) {
		for n := range steps {
			home.fold(i, &steps[n].Record)
		}
	}
	for rec, err := range records {
		if err != nil {
			return fmt.Errorf("process: load instances of %q: %w", home.name, err)
		}
		if next := instances[rec.Stream]; next != i {
			replay(h.end())
			i = next
		}
		steps, err := h.take(rec)
		if err != nil {
			return unreadable(i, err)
		}
		replay(steps)
		i.Token = uint64(rec.Version)
	}
	replay(h.end())
	return nil
}

// unreadable is the error of an instance whose stream is broken: it stands aside.
func unreadable(i *Instance, err error) error {
	return &StepError{Process: i.Process, Instance: i.Key, Input: "its history", Err: err}
}

// Save implements Store.
func (Streams) Save(home Home, changes []Change) ([]eventlog.Write, error) {
	writes := make([]eventlog.Write, 0, 2*len(changes))
	for _, c := range changes {
		i := c.Instance
		stream := home.Stream(i.Key)
		before := i.Status
		for n := range c.Steps {
			s := &c.Steps[n]
			if n == 0 && s.Record.Birth != nil {
				before = New
			}
			link := s.Home && home.links && !s.Record.Resumed && // what was deferred is linked already
				s.Record.Input.Replaced == nil && // what was corrected is no longer what stands in the log
				s.Record.Input.Stream != stream
			if link {
				writes = append(writes, eventlog.LinkTo{Stream: stream, Expect: eventlog.Exactly(event.Version(i.Token)), Positions: []eventlog.Position{s.Record.Input.Position}})
				i.Token++
				if s.Record.plain() {
					continue
				}
			}
			record, err := encodeRecord(&s.Record, link)
			if err != nil {
				return nil, err
			}
			events := make([]event.Event, 0, len(s.Emitted)+1)
			events = append(append(events, s.Emitted...), record)
			writes = append(writes, eventlog.ToStream{Stream: stream, Expect: eventlog.Exactly(event.Version(i.Token)), Events: events})
			i.Token += uint64(len(events))
			if s.Record.Completed {
				before = New // list it anew
			}
		}
		if before == New {
			entry, err := listing(home, i)
			if err != nil {
				return nil, err
			}
			writes = append(writes, entry)
		}
	}
	return writes, nil
}

// List implements Store. Of a running instance, Steps and Changed are those of when it was last listed: at its start.
func (Streams) List(ctx context.Context, home Home, after string) iter.Seq2[Summary, error] {
	return ListInstances(ctx, home.Log, home.Process(), after)
}

// encodeRecord makes the system record of a step. Behind a link, the input's content is not said again.
func encodeRecord(r *Record, linked bool) (event.Event, error) {
	e := event.Event{Type: RecordType, Schema: 1, Occurred: r.Input.Time,
		Metadata: event.Metadata{Correlation: r.Input.Metadata.Correlation, Causation: r.Input.ID}}
	if linked {
		stored := *r
		stored.Linked = true
		stored.Input = Taken{Kind: EventInput, ID: r.Input.ID, Time: r.Input.Time}
		r = &stored
	}
	data, err := marshalRecord(r)
	if err != nil {
		return event.Event{}, fmt.Errorf("process: record of a step: %w", err)
	}
	e.Data = data
	return e, nil
}

// RecordedStep is a step of an instance's history, with its place in the instance's stream.
type RecordedStep struct {
	Record
	Version event.Version
	emitted []event.Event // where the historian was asked for them
}

// History returns the steps of an instance in order. It needs nothing but the log, and decodes no payload.
func History(ctx context.Context, home Home, key string) iter.Seq2[RecordedStep, error] {
	return recordedSteps(ctx, home, key, false)
}

// recordedSteps is History, with what was emitted if that is asked for.
func recordedSteps(ctx context.Context, home Home, key string, emitted bool) iter.Seq2[RecordedStep, error] {
	return func(yield func(RecordedStep, error) bool) {
		h := historian{home: home, keep: emitted}
		for rec, err := range home.Log.ReadStream(ctx, home.Stream(key), eventlog.StreamQuery{System: true}) {
			if err != nil {
				yield(RecordedStep{}, fmt.Errorf("process: history of %s: %w", home.Stream(key), err))
				return
			}
			steps, err := h.take(rec)
			if err != nil {
				yield(RecordedStep{}, err)
				return
			}
			for _, step := range steps {
				if !yield(step, nil) {
					return
				}
			}
		}
		for _, step := range h.end() {
			if !yield(step, nil) {
				return
			}
		}
	}
}

// historian makes steps out of what stands in an instance's stream.
type historian struct {
	home    Home
	linked  RecordedStep // a link whose record, if there is one, comes next
	waits   bool         // there is such a link
	steps   [2]RecordedStep
	keep    bool          // what was emitted goes with its step
	emitted []event.Event // since the last step
}

// take returns the steps, at most two, that are known to be whole with this record. They are good until the next one.
func (h *historian) take(rec event.Recorded) ([]RecordedStep, error) {
	if rec.IsLink() {
		last := h.end()
		h.linked, h.waits = RecordedStep{Record: Record{Input: h.home.taken(rec), Linked: true}, Version: rec.Version}, true
		return last, nil
	}
	if rec.Type != RecordType {
		if h.keep {
			h.emitted = append(h.emitted, rec.Event)
		}
		return nil, nil // emitted; its record follows
	}
	step := &h.steps[1]
	*step = RecordedStep{Version: rec.Version, emitted: h.emitted}
	h.emitted = nil
	place := func() string { return fmt.Sprintf("%s version %d", rec.Stream, rec.Version) }
	if err := unmarshalRecord(rec.Data, &step.Record); err != nil {
		return nil, &eventlog.CorruptError{Address: place(), Reason: "step record: " + err.Error()}
	}
	if !step.Linked {
		if len(h.end()) > 0 {
			return h.steps[:], nil
		}
		return h.steps[1:], nil
	}
	if !h.waits || h.linked.Input.ID != step.Input.ID {
		return nil, &eventlog.CorruptError{Address: place(), Reason: "the record belongs to a link that is not before it"}
	}
	at := step.Input.Time
	step.Input = h.linked.Input
	step.Input.Time = at
	h.waits = false
	return h.steps[1:], nil
}

// end returns the step of a link that no record followed.
func (h *historian) end() []RecordedStep {
	if !h.waits {
		return nil
	}
	h.steps[0], h.waits = h.linked, false
	return h.steps[:1]
}

func listing(home Home, i *Instance) (eventlog.Write, error) {
	value, err := json.Marshal(Summary{Key: i.Key, Status: i.Status, Ending: i.Ending, Steps: i.Steps, Started: i.Started, Changed: i.Changed})
	if err != nil {
		return nil, err
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: eventlog.Key(home.Process(), i.Key), Value: value}}, nil
}

func listedKeys(ctx context.Context, home Home, keys []string) (map[string]bool, error) {
	entries, err := documents(ctx, home, keys)
	if err != nil {
		return nil, err
	}
	listed := make(map[string]bool, len(entries))
	for key := range entries {
		listed[key] = true
	}
	return listed, nil
}

// documents returns the document entries of the instances, by instance key.
func documents(ctx context.Context, home Home, keys []string) (map[string]eventlog.Entry, error) {
	q := eventlog.EntryQuery{Kind: eventlog.Document, Keys: make([]string, len(keys))}
	for n, key := range keys {
		q.Keys[n] = eventlog.Key(home.Process(), key)
	}
	found := make(map[string]eventlog.Entry, len(keys))
	for e, err := range home.Log.Entries(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("process: load instances of %q: %w", home.Process(), err)
		}
		parts := eventlog.SplitKey(e.Key)
		found[parts[len(parts)-1]] = e
	}
	return found, nil
}

// ListInstances lists the instances that Streams or Documents keep, by key, beginning above after. It needs no definition.
func ListInstances(ctx context.Context, log eventlog.Log, process, after string) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		prefix := eventlog.Key(process) + "/"
		q := eventlog.EntryQuery{Kind: eventlog.Document, Prefix: prefix}
		if after != "" {
			q.After = eventlog.Key(process, after)
		}
		for e, err := range log.Entries(ctx, q) {
			var s Summary
			if err == nil {
				err = json.Unmarshal(e.Value, &s)
			}
			if err != nil {
				yield(Summary{}, fmt.Errorf("process: list instances of %q: %w", process, err))
				return
			}
			s.Key = eventlog.SplitKey(e.Key)[1]
			if !yield(s, nil) {
				return
			}
		}
	}
}
