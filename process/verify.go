package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ProblemKind says what a problem is about.
type ProblemKind string

// The kinds of problems. Programs may compare them: they never change.
const (
	LogProblem     ProblemKind = "log"       // positions, ids or times of a log's events
	StreamProblem  ProblemKind = "stream"    // versions of a stream
	ReceiptProblem ProblemKind = "receipt"   // a receipt that cannot be read, or an effect without one
	CursorProblem  ProblemKind = "cursor"    // a cursor that is not of the log that it is used on
	StepProblem    ProblemKind = "step"      // an instance's history
	ListProblem    ProblemKind = "listing"   // the list of instances
	CommandProblem ProblemKind = "command"   // a command that was decided
	TimeoutProblem ProblemKind = "timeout"   // a timeout to come
	InputProblem   ProblemKind = "input"     // an input that a process moved past and that is not accounted for
	HoldProblem    ProblemKind = "hold"      // an instance that stands aside, or its queue
	ClaimProblem   ProblemKind = "claim"     // a key that an instance has claimed, or what waits beside it
	SettingProblem ProblemKind = "setting"   // a description, a seal, a lease
	NotChecked     ProblemKind = "unchecked" // no problem: something that could not be looked at, and why
)

// Problem is something in a log that contradicts something else.
type Problem struct {
	Kind     ProblemKind `json:"kind"`
	Module   string      `json:"module"`
	Process  string      `json:"process,omitempty"`
	Instance string      `json:"instance,omitempty"`
	Where    string      `json:"where,omitempty"` // stream and version, position, or entry
	What     string      `json:"what"`
}

func (p Problem) String() string {
	if p.Where == "" {
		return fmt.Sprintf("%s: %s: %s", p.Module, p.Kind, p.What)
	}
	return fmt.Sprintf("%s: %s: %s: %s", p.Module, p.Kind, p.Where, p.What)
}

// Progress tells how far Verify is.
type Progress struct {
	Module string
	What   string // "events", "instances of billing" …
	Done   int64
	Total  int64 // 0 where it is not known
}

// Verify looks through the logs of an application for what contradicts itself: positions and versions, receipts,
// cursors, and everything that processes keep: the history of each instance against the list of instances, the events that
// it took against their sources, the commands that it sent against their causes and receipts, the timeouts that are
// entries beside it, the holds and their queues. It yields every problem, with where it is; an
// error is yielded once, last, when the logs could not be read.
//
// It needs no definition and writes nothing. The modules' Types are not used. The application may run meanwhile: what is
// found to disagree is looked at again, and is a problem only if it still does. Memory grows with the number of streams
// (some 50 bytes for each), not with that of events. Each event that an instance took from another log is looked up there by
// its id, and for each step one receipt in every log that has receipts. progress, if it is not nil, is told every few hundred things.
func Verify(ctx context.Context, modules []Module, progress func(Progress)) iter.Seq2[Problem, error] {
	return VerifyWith(ctx, modules, nil, progress)
}

// VerifyWith is Verify by the definitions of engines, which need not run. Of their processes it also looks whether each
// input is accounted for (G9): whether every event that a process has moved past was taken or ignored by each instance
// that it concerns, waits for it, or was counted as ignored where there was none; and no more were counted than there are.
// Events that find their instance by a claimed key are left out.
//
// A definition is taken to have been what it is since its version began: an input that is added to it, or located
// otherwise, without a higher version looks like one that was lost. Of a version above 1, only instances that it started are
// looked at. Memory is bounded, by some 20 bytes for each of two million events that instances took, and for each input
// that waits; a source is read once for every two million.
func VerifyWith(ctx context.Context, modules []Module, engines []*Engine, progress func(Progress)) iter.Seq2[Problem, error] {
	return verifyBy(ctx, modules, engines, bookedMost, progress)
}

func verifyBy(ctx context.Context, modules []Module, engines []*Engine, booked int, progress func(Progress)) iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		v := verifier{modules: modules, engines: engines, booked: booked, yield: yield, progress: progress, folded: map[string]map[string]bool{},
			open: map[string]map[event.ID]Problem{}, absent: map[string]bool{}, receives: map[string]bool{}}
		if v.progress == nil {
			v.progress = func(Progress) {}
		}
		if err := v.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(Problem{}, err)
		}
	}
}

// errStopped means that the caller has seen enough.
var errStopped = errors.New("process: stopped")

// verifier is a run of Verify.
type verifier struct {
	modules  []Module
	engines  []*Engine // of the processes whose definitions are at hand
	booked   int       // events of histories that are kept at a time, to account for inputs
	yield    func(Problem, error) bool
	progress func(Progress)

	folded   map[string]map[string]bool         // by module: categories whose streams are instances, checked by their histories
	open     map[string]map[event.ID]Problem    // by receiving module: commands without a receipt when they were looked at
	absent   map[string]bool                    // modules that are not here, and were told of
	receives map[string]bool                    // modules that have receipts
	homes    map[string]map[string]*Description // by module and process
}

func (v *verifier) module(name string) (Module, bool) {
	k := slices.IndexFunc(v.modules, func(m Module) bool { return m.Name == name })
	if k < 0 {
		return Module{}, false
	}
	return v.modules[k], true
}

func (v *verifier) report(problems ...Problem) error {
	for _, p := range problems {
		if !v.yield(p, nil) {
			return errStopped
		}
	}
	return nil
}

func (v *verifier) run(ctx context.Context) error {
	v.homes = map[string]map[string]*Description{}
	for _, m := range v.modules {
		if err := v.receipts(ctx, m); err != nil {
			return err
		}
		if err := v.settings(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range v.modules {
		if err := v.cursors(ctx, m); err != nil {
			return err
		}
		for _, name := range sortedKeys(v.homes[m.Name]) {
			if err := v.process(ctx, m, v.homes[m.Name][name]); err != nil {
				return err
			}
		}
	}
	for _, m := range v.modules { // last, when it is known which commands have no receipt
		if err := v.events(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// where names an entry.
func where(e eventlog.Entry) string { return fmt.Sprintf("%v %q", e.Kind, e.Key) }

// entries calls check for every entry of a kind with the prefix.
func (v *verifier) entries(ctx context.Context, m Module, q eventlog.EntryQuery, what string, check func(eventlog.Entry) error) error {
	n := int64(0)
	for e, err := range m.Log.Entries(ctx, q) {
		if err != nil {
			return fmt.Errorf("process: module %q: read %v entries: %w", m.Name, q.Kind, err)
		}
		if err := check(e); err != nil {
			return err
		}
		if n++; n%1000 == 0 {
			v.progress(Progress{Module: m.Name, What: what, Done: n})
		}
	}
	return nil
}

// receipts checks that every receipt can be read.
func (v *verifier) receipts(ctx context.Context, m Module) error {
	return v.entries(ctx, m, eventlog.EntryQuery{Kind: eventlog.Receipt}, "receipts", func(e eventlog.Entry) error {
		v.receives[m.Name] = true
		if _, err := command.ReadReceipt(e); err != nil {
			return v.report(Problem{Kind: ReceiptProblem, Module: m.Name, Where: where(e), What: unprefixed(err)})
		}
		return nil
	})
}

// unprefixed returns an error's text without the packages that it went through.
func unprefixed(err error) string {
	text := err.Error()
	for _, p := range []string{"command: ", "process: ", "consumer: ", "eventlog: "} {
		text = strings.ReplaceAll(text, p, "")
	}
	return text
}

// settings checks descriptions, the seal and the leases, and takes note of the processes whose home the log is.
func (v *verifier) settings(ctx context.Context, m Module) error {
	v.homes[m.Name], v.folded[m.Name] = map[string]*Description{}, map[string]bool{}
	err := v.entries(ctx, m, eventlog.EntryQuery{Kind: eventlog.Setting}, "settings", func(e eventlog.Entry) error {
		bad := func(format string, args ...any) error {
			return v.report(Problem{Kind: SettingProblem, Module: m.Name, Where: where(e), What: fmt.Sprintf(format, args...)})
		}
		switch parts := eventlog.SplitKey(e.Key); {
		case parts[0] == descriptionPrefix && len(parts) == 2:
			var d Description
			if err := json.Unmarshal(e.Value, &d); err != nil {
				return bad("the description of a process cannot be read, nor what it keeps be checked: %v", err)
			}
			if d.Process != parts[1] || d.Home != m.Name {
				return bad("it describes process %q of module %q", d.Process, d.Home)
			}
			v.homes[m.Name][d.Process] = &d
			if d.Store == "streams" {
				v.folded[m.Name][d.Process] = true
			}
		case parts[0] == sealKey && len(parts) == 1:
			var s Seal
			if err := json.Unmarshal(e.Value, &s); err != nil {
				return bad("the seal cannot be read: %v", err)
			}
			if head, err := m.Log.Head(ctx); err != nil {
				return err
			} else if s.Position > head {
				return bad("the log is sealed at position %d and ends at %d", s.Position, head)
			}
		case parts[0] == ignoredPrefix && len(parts) >= 3:
			var c ignoredCount
			if err := json.Unmarshal(e.Value, &c); err != nil {
				return bad("the count of ignored inputs cannot be read: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.entries(ctx, m, eventlog.EntryQuery{Kind: eventlog.Lease}, "leases", func(e eventlog.Entry) error {
		var holder any = &consumer.Holder{}
		if consumer.IsStake(e.Key) {
			holder = &consumer.Stake{}
		}
		if err := json.Unmarshal(e.Value, holder); err != nil {
			return v.report(Problem{Kind: SettingProblem, Module: m.Name, Where: where(e), What: fmt.Sprintf("the lease cannot be read: %v", err)})
		}
		return nil
	})
}

// cursors checks that every cursor in a module's log is one of the log that it is used on (G1).
func (v *verifier) cursors(ctx context.Context, m Module) error {
	type place struct {
		module string
		cursor consumer.Cursor
	}
	checked := map[place]string{}
	return v.entries(ctx, m, eventlog.EntryQuery{Kind: eventlog.Cursor}, "cursors", func(e eventlog.Entry) error {
		bad := func(process, format string, args ...any) error {
			return v.report(Problem{Kind: CursorProblem, Module: m.Name, Process: process, Where: where(e), What: fmt.Sprintf(format, args...)})
		}
		var c consumer.Cursor
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return bad("", "it cannot be read: %v", err)
		}
		if c.At > c.Position {
			return bad("", "it stands at position %d, behind which it names position %d as the last that was handled", c.Position, c.At)
		}
		parts := eventlog.SplitKey(e.Key)
		source, process := m, ""
		if parts[0] != "" { // a handler's, which follows its own log, has none
			d := v.homes[m.Name][parts[0]]
			if d == nil || len(parts) != 3 {
				return nil // of a consumer that is none of ours
			}
			process = d.Process
			if p, err := strconv.Atoi(parts[2]); err != nil || p < 0 || p >= d.Partitions {
				return bad(process, "the process has partitions 0 to %d, not %s", d.Partitions-1, parts[2])
			}
			var here bool
			if source, here = v.module(parts[1]); !here {
				return v.missing(m, parts[1], "cursors on it")
			}
		}
		k := place{source.Name, consumer.Cursor{Log: c.Log, Position: c.Position, Event: c.Event, At: c.At}}
		found, known := checked[k]
		if !known {
			if err := c.Check(ctx, source.Log); errors.Is(err, eventlog.ErrLogRewound) {
				found = unprefixed(err)
			} else if err != nil {
				return err
			}
			checked[k] = found
		}
		if found != "" && !known { // once for all partitions that stand there
			return bad(process, "on module %q: %s", source.Name, found)
		}
		return nil
	})
}

// missing tells once that a module is not among those that are verified.
func (v *verifier) missing(m Module, module, what string) error {
	if v.absent[module+what] {
		return nil
	}
	v.absent[module+what] = true
	return v.report(Problem{Kind: NotChecked, Module: m.Name, What: fmt.Sprintf("module %q is not at this address, so %s cannot be checked", module, what)})
}

// events checks a log by position: order, identity, time, and that what commands led to has a receipt; and with it the
// versions of all streams that are no instances.
func (v *verifier) events(ctx context.Context, m Module) error {
	head, err := m.Log.Head(ctx)
	if err != nil {
		return err
	}
	_, dense := m.Log.(eventlog.SQLTransactor) // positions of logs in SQL have no holes
	streams := streamVersions{seed: maphash.MakeSeed(), last: map[uint64]event.Version{}, odd: map[string]bool{}}
	open := v.open[m.Name]
	var last event.Position
	var recorded time.Time
	for rec, err := range m.Log.Read(ctx, eventlog.Query{To: head, System: true}) {
		if err != nil {
			return fmt.Errorf("process: module %q: read events behind position %d: %w", m.Name, last, err)
		}
		if rec.Position%4096 == 0 {
			v.progress(Progress{Module: m.Name, What: "events", Done: int64(rec.Position), Total: int64(head)}) // #nosec G115 -- positions count up from 0
		}
		if found := checkEnvelope(rec, last, recorded, dense); found != "" {
			if err := v.report(Problem{Kind: LogProblem, Module: m.Name, Where: fmt.Sprintf("position %d", rec.Position), What: found}); err != nil {
				return err
			}
		}
		last, recorded = rec.Position, rec.Recorded
		if !v.folded[m.Name][eventlog.Category(rec.Stream)] {
			streams.see(rec.Place)
		}
		if p, ok := open[rec.Metadata.Causation]; ok {
			if err := v.effect(ctx, m, rec, p); err != nil {
				return err
			}
		}
	}
	if dense && head > 0 && last != head {
		if err := v.report(Problem{Kind: LogProblem, Module: m.Name, Where: fmt.Sprintf("position %d", head), What: fmt.Sprintf("the log ends there, but the last event that can be read is at %d", last)}); err != nil {
			return err
		}
	}
	return v.streams(ctx, m, &streams)
}

func checkEnvelope(rec event.Recorded, last event.Position, recorded time.Time, dense bool) string {
	switch {
	case rec.Position <= last:
		return fmt.Sprintf("it comes behind position %d", last)
	case dense && rec.Position == last+2:
		return fmt.Sprintf("position %d is missing", last+1)
	case dense && rec.Position != last+1:
		return fmt.Sprintf("positions %d to %d are missing", last+1, rec.Position-1)
	case rec.ID.IsZero():
		return "the event has no id"
	case rec.Type == "":
		return "the event has no type"
	case rec.Recorded.Before(recorded):
		return fmt.Sprintf("it was recorded at %s, before the event in front of it", rec.Recorded.Format(time.RFC3339Nano))
	}
	return ""
}

// effect reports an event that a command led to that still has no receipt.
func (v *verifier) effect(ctx context.Context, m Module, rec event.Recorded, p Problem) error {
	for _, err := range command.Receipts(ctx, m.Log, rec.Metadata.Causation) {
		if err == nil {
			return nil // it has one by now
		}
		if isRead(err) {
			return err
		}
		return nil // reported as unreadable
	}
	p.Kind, p.Module, p.Where = ReceiptProblem, m.Name, fmt.Sprintf("position %d", rec.Position)
	p.What = fmt.Sprintf("event %q was caused by command %s, which has no receipt; dispatched again, it takes effect twice", rec.Type, rec.Metadata.Causation)
	return v.report(p)
}

// isRead tells whether an error is one of reading the log rather than of what was read.
func isRead(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, eventlog.ErrClosed) || errors.Is(err, eventlog.ErrBusy)
}

// streamVersions knows the last version of each stream as events come by position. A stream that has links shows gaps
// that way, as a damaged one does: it is odd, and read by itself.
type streamVersions struct {
	seed maphash.Seed
	last map[uint64]event.Version // by the hash of its name; who collides is read by itself
	odd  map[string]bool
}

func (s *streamVersions) see(p event.Place) {
	k := maphash.String(s.seed, p.Stream)
	if p.Version != s.last[k]+1 {
		s.odd[p.Stream] = true
	}
	s.last[k] = p.Version
}

// streams checks that the versions of each stream are 1, 2, 3, … up to its last.
func (v *verifier) streams(ctx context.Context, m Module, seen *streamVersions) error {
	lister, ok := m.Log.(eventlog.StreamLister)
	if !ok {
		for _, name := range sortedKeys(seen.odd) {
			if err := v.stream(ctx, m, eventlog.StreamInfo{Stream: name}); err != nil {
				return err
			}
		}
		return nil
	}
	n := int64(0)
	for info, err := range lister.Streams(ctx, "", "", 0) {
		if err != nil {
			return fmt.Errorf("process: module %q: list streams: %w", m.Name, err)
		}
		if n++; n%4096 == 0 {
			v.progress(Progress{Module: m.Name, What: "streams", Done: n})
		}
		odd := seen.odd[info.Stream]
		delete(seen.odd, info.Stream)
		if v.folded[m.Name][eventlog.Category(info.Stream)] || !odd && seen.last[maphash.String(seen.seed, info.Stream)] == info.Version {
			continue
		}
		if err := v.stream(ctx, m, info); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(seen.odd) {
		if err := v.report(Problem{Kind: StreamProblem, Module: m.Name, Where: fmt.Sprintf("stream %q", name), What: "it has events, but is not in the list of streams"}); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) stream(ctx context.Context, m Module, info eventlog.StreamInfo) error {
	last := info.Truncated
	for rec, err := range m.Log.ReadStream(ctx, info.Stream, eventlog.StreamQuery{System: true}) {
		if err != nil {
			return fmt.Errorf("process: module %q: read stream %q behind version %d: %w", m.Name, info.Stream, last, err)
		}
		if rec.Version != last+1 {
			if err := v.report(Problem{Kind: StreamProblem, Module: m.Name, Where: fmt.Sprintf("stream %q", info.Stream), What: fmt.Sprintf("version %d follows %d", rec.Version, last)}); err != nil {
				return err
			}
		}
		last = rec.Version
	}
	if last < info.Version {
		return v.report(Problem{Kind: StreamProblem, Module: m.Name, Where: fmt.Sprintf("stream %q", info.Stream), What: fmt.Sprintf("its last version is %d, but the last that can be read is %d", info.Version, last)})
	}
	return nil
}
