package process

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// history is an instance's stream, folded without its definition, with everything in it that cannot be.
type history struct {
	Instance
	last      event.Version
	steps     int
	sent      []issued
	outcomes  map[event.ID]Kind // that it took, by command
	settled   map[event.ID]bool // commands whose outcomes it took or ignored
	refused   map[event.ID]bool // claims that were refused, by the input that each becomes
	took      []took            // events, in order
	concluded []concluded       // steps, in order
	bornAt    []Mark            // where the process stood when the instance first started: what came before is not in its history
	bornBy    int               // version of the definition that started it
	problems  []Problem
	broken    bool // something could not be read, so what follows from it is not known
}

// sure tells whether what the history says of timeouts and commands is all there is to say.
func (h *history) sure() bool { return !h.broken }

// issued is what is remembered of a command that an instance sent.
type issued struct {
	id      event.ID
	number  int
	module  string
	name    string
	digest  command.Digest
	awaited bool // its outcome is an input, whatever the definition handles
}

func (c issued) String() string { return fmt.Sprintf("command %d, %q %s", c.number, c.name, c.id) }

// foldHistory reads the stream of an instance. The error is one of reading; what is wrong is in the history's problems.
func foldHistory(ctx context.Context, home Home, one candidate) (*history, error) {
	f := newFolding(home, one)
	for rec, err := range home.Log.ReadStream(ctx, f.stream, eventlog.StreamQuery{System: true}) {
		if err != nil {
			return nil, fmt.Errorf("process: read %s behind version %d: %w", f.stream, f.last, err)
		}
		f.record(rec)
	}
	return f.end(), nil
}

// foldHistories is foldHistory for several instances, read together where the log can do that.
func foldHistories(ctx context.Context, home Home, page []candidate, folds []*history) error {
	reader, ok := home.Log.(eventlog.StreamsReader)
	if !ok {
		for n, one := range page {
			h, err := foldHistory(ctx, home, one)
			if err != nil {
				return err
			}
			folds[n] = h
		}
		return nil
	}
	streams, foldings := make([]string, len(page)), make(map[string]*folding, len(page))
	for n, one := range page {
		f := newFolding(home, one)
		streams[n], foldings[f.stream] = f.stream, f
	}
	for rec, err := range reader.ReadStreams(ctx, streams) {
		if err != nil {
			return fmt.Errorf("process: read instances of %q: %w", home.Process(), err)
		}
		foldings[rec.Stream].record(rec)
	}
	for n, stream := range streams {
		folds[n] = foldings[stream].end()
	}
	return nil
}

// folding is a history on the way.
type folding struct {
	*history
	home    Home
	stream  string
	link    *Record // a link that was read, whose record, if there is one, comes next
	at      event.Version
	emitted int // events since the last record
	taken   map[event.ID]event.Version
}

func newFolding(home Home, one candidate) *folding {
	h := &history{Instance: Instance{Process: home.Process(), Key: one.key}, last: one.truncated, outcomes: map[event.ID]Kind{}, settled: map[event.ID]bool{}, refused: map[event.ID]bool{}, broken: one.truncated > 0}
	return &folding{history: h, home: home, stream: home.Stream(one.key), taken: map[event.ID]event.Version{}}
}

// end returns the history when all was read.
func (f *folding) end() *history {
	f.settle()
	if f.emitted > 0 {
		f.bad(f.last, "%d emitted events at the end have no step behind them", f.emitted)
	}
	return f.history
}

func (f *folding) bad(at event.Version, format string, args ...any) {
	f.problems = append(f.problems, Problem{Kind: StepProblem, Module: f.home.module, Process: f.Process, Instance: f.Key,
		Where: fmt.Sprintf("stream %q version %d", f.stream, at), What: fmt.Sprintf(format, args...)})
}

// record takes the next entry of the stream.
func (f *folding) record(rec event.Recorded) {
	if rec.Version != f.last+1 {
		f.bad(rec.Version, "it follows version %d", f.last)
		f.broken = true
	}
	f.last = rec.Version
	switch {
	case rec.IsLink():
		f.settle()
		f.link, f.at = &Record{Input: f.home.taken(rec), Linked: true}, rec.Version
	case rec.Type == RecordType:
		f.decoded(rec)
	case rec.IsSystem():
		f.bad(rec.Version, "%q is no record of an instance", rec.Type)
	default:
		f.emitted++
	}
}

// decoded takes the record of a step.
func (f *folding) decoded(rec event.Recorded) {
	var r Record
	if err := unmarshalRecord(rec.Data, &r); err != nil {
		f.bad(rec.Version, "the step cannot be read: %v", err)
		f.link, f.emitted, f.broken = nil, 0, true
		return
	}
	switch {
	case r.Linked && (f.link == nil || f.link.Input.ID != r.Input.ID):
		f.bad(rec.Version, "the step belongs to a link to event %s, which is not before it", r.Input.ID)
		f.broken = true
		f.settle()
	case r.Linked:
		at := r.Input.Time
		r.Input = f.link.Input
		r.Input.Time = at
		f.link = nil
	default:
		f.settle()
	}
	if r.Emitted != f.emitted {
		f.bad(rec.Version, "the step emitted %d events, before it stand %d", r.Emitted, f.emitted)
	}
	f.emitted = 0
	f.step(&r, rec.Version)
}

// settle takes the link that has no record behind it: an input that led to nothing.
func (f *folding) settle() {
	if f.link != nil {
		link := f.link
		f.link = nil
		f.step(link, f.at)
	}
}

// step checks a step against those before it, and folds it.
func (f *folding) step(r *Record, at event.Version) {
	f.steps++
	waits := slices.ContainsFunc(f.Deferred, func(in Taken) bool { return in.ID == r.Input.ID })
	if t, set := f.timer(r.Input.Name); r.Corrected && set && t.ID == r.Input.ID {
		waits = true
	}
	if r.Resumed || r.Corrected { // it was checked when it was taken, or set
		if !waits && !f.broken {
			f.bad(at, "it is about %s, which does not wait in the instance", r.Input.describe())
		}
		if r.Corrected {
			f.note(r)
			return
		}
	} else {
		f.checkInput(&r.Input, at)
	}
	switch {
	case r.Birth != nil && f.Status == Running:
		f.bad(at, "the step starts an instance that is running")
	case r.Birth != nil && r.Birth.Incarnation != f.Incarnation+1 && !f.broken:
		f.bad(at, "the step starts incarnation %d behind incarnation %d", r.Birth.Incarnation, f.Incarnation)
	case r.Birth == nil && f.Status == New && !f.broken:
		f.bad(at, "the first step does not start the instance")
		f.Status, f.broken = Running, true
	case r.Birth == nil && f.Status == Completed && r.Ignored == "":
		f.bad(at, "the instance was completed, and takes %s", r.Input.describe())
	}
	if r.Ignored == "" && !r.Resumed {
		f.checkOrigin(&r.Input, at)
	}
	for n := range r.Sent {
		s := &r.Sent[n]
		if s.Number != f.Sent+n+1 && !f.broken {
			f.bad(at, "%q is the instance's command %d, but bears number %d", s.Type, f.Sent+n+1, s.Number)
		}
		e := s.envelope()
		f.sent = append(f.sent, issued{id: s.ID, number: s.Number, module: s.Module, name: s.Type, digest: e.Digest(), awaited: s.awaited()})
	}
	f.checkClaims(r, at)
	f.note(r)
	f.conclude(r, at)
	if r.Birth != nil && f.bornBy == 0 {
		f.bornAt, f.bornBy = slices.Clone(f.Marks), max(1, r.By)
	}
	f.Taken = f.Taken[:0] // f.taken has them
}

// checkInput checks that an input is one, and was not taken before.
func (f *folding) checkInput(in *Taken, at event.Version) {
	switch {
	case in.Kind < EventInput || in.Kind > OperatorInput:
		f.bad(at, "its input is of kind %d, which there is not", in.Kind)
	case in.ID.IsZero():
		f.bad(at, "its input has no id")
		return
	case in.Kind == EventInput && (in.Module == "" || in.Position == 0 || in.Log.IsZero()):
		f.bad(at, "its input says not where it comes from")
	}
	if before, ok := f.taken[in.ID]; ok {
		f.bad(at, "it takes %s, which version %d took already", in.describe(), before)
	}
	f.taken[in.ID] = at
}

// checkOrigin checks that a timeout was set, and that an outcome is that of a command that was sent.
func (f *folding) checkOrigin(in *Taken, at event.Version) {
	switch in.Kind {
	case TimeoutInput:
		if t, set := f.timer(in.Name); (!set || t.ID != in.ID) && !f.broken {
			f.bad(at, "it takes %s, which was not set, or no longer", in.describe())
		}
	case RejectedInput, AcceptedInput, FailedInput:
		known := false
		for _, c := range f.sent {
			known = known || c.id == in.Command
		}
		if !known && !f.broken {
			f.bad(at, "it takes the outcome of command %s, which the instance did not send", in.Command)
		}
		f.outcomes[in.Command] = in.Kind
	case ClaimInput:
		if !f.refused[in.ID] && !f.broken {
			f.bad(at, "it takes %s, which it was not refused", in.describe())
		}
	}
}

// checkClaims checks that what a step claims is no claim of the instance yet, and that what it releases is one.
func (f *folding) checkClaims(r *Record, at event.Version) {
	if f.broken {
		return
	}
	for _, k := range r.Claimed {
		if slices.Contains(f.Claims, k) {
			f.bad(at, "it claims %v, which it has claimed already", k)
		}
	}
	for _, k := range r.Released {
		if !slices.Contains(f.Claims, k) {
			f.bad(at, "it releases %v, which it has not claimed", k)
		}
	}
	for _, x := range r.Refused {
		f.refused[x.ID] = true
	}
	if r.Completed && len(r.Released) != len(f.Claims) {
		f.bad(at, "it completes the instance and releases %d of its %d claims", len(r.Released), len(f.Claims))
	}
}

// instanceKey returns the instance whose stream it is.
func instanceKey(stream string) string {
	_, key, _ := strings.Cut(stream, "/")
	return key
}
