package process

import (
	"encoding/json"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/plainjson"
)

// A record is written at each step and read at each step of an instance that is loaded. So what its tags say is said here
// again, in the same order, for package plainjson; what is rare is left to encoding/json. The result is the same.

// marshalRecord is json.Marshal of a record.
func marshalRecord(r *Record) ([]byte, error) {
	w := plainjson.Writer{Data: make([]byte, 0, 512+2*len(r.Input.Data))}
	writeRecord(&w, r)
	return w.Result()
}

// unmarshalRecord is json.Unmarshal into an empty record.
func unmarshalRecord(data []byte, into *Record) error {
	r := plainjson.Reader{Data: data}
	readRecord(&r, into)
	if r.Whole() {
		return nil
	}
	*into = Record{}
	return json.Unmarshal(data, into)
}

func writeRecord(w *plainjson.Writer, r *Record) {
	w.Begin()
	w.Name("in")
	writeTaken(w, &r.Input)
	w.True("linked", r.Linked)
	writeSome(w, "ignored", r.Ignored)
	w.True("deferred", r.Deferred)
	w.True("resumed", r.Resumed)
	writeSome(w, "phase", string(r.Phase))
	if r.Birth != nil {
		w.Name("birth")
		w.Begin()
		w.Int("incarnation", int64(r.Birth.Incarnation))
		writeMarks(w, r.Birth.Marks)
		w.End()
	}
	if len(r.Set) > 0 {
		w.Name("set")
		w.BeginList()
		for n := range r.Set {
			w.Element()
			writeTimer(w, &r.Set[n])
		}
		w.EndList()
	}
	writeAny(w, "cancelled", r.Cancelled)
	writeAny(w, "once", r.Once)
	if len(r.Sent) > 0 {
		w.Name("sent")
		w.BeginList()
		for n := range r.Sent {
			w.Element()
			writeSent(w, &r.Sent[n])
		}
		w.EndList()
	}
	writeCount(w, "emitted", r.Emitted)
	w.True("completed", r.Completed)
	w.True("compensating", r.Compensating)
	writeSome(w, "ending", string(r.Ending))
	writeAny(w, "claimed", r.Claimed)
	writeAny(w, "released", r.Released)
	writeAny(w, "refused", r.Refused)
	writeMarks(w, r.Marks)
	w.True("corrected", r.Corrected)
	writeSome(w, "why", r.Why)
	writeSome(w, "operator", r.Operator)
	writeCount(w, "v", r.By)
	if len(r.Migrated) > 0 {
		w.Value("migrated", r.Migrated)
	}
	w.End()
}

func readRecord(r *plainjson.Reader, into *Record) {
	r.Begin()
	if r.Member("in") {
		readTaken(r, &into.Input)
	}
	into.Linked = readTrue(r, "linked")
	into.Ignored = readSome[string](r, "ignored")
	into.Deferred = readTrue(r, "deferred")
	into.Resumed = readTrue(r, "resumed")
	into.Phase = readSome[Phase](r, "phase")
	if r.Member("birth") {
		into.Birth = &Birth{}
		r.Begin()
		into.Birth.Incarnation = readCount(r, "incarnation")
		into.Birth.Marks = readMarks(r)
		r.End()
	}
	if r.Member("set") {
		for r.BeginList(); r.Element(); {
			into.Set = append(into.Set, Timer{})
			readTimer(r, &into.Set[len(into.Set)-1])
		}
	}
	readAny(r, "cancelled", &into.Cancelled)
	readAny(r, "once", &into.Once)
	if r.Member("sent") {
		for r.BeginList(); r.Element(); {
			into.Sent = append(into.Sent, Sent{})
			readSent(r, &into.Sent[len(into.Sent)-1])
		}
	}
	into.Emitted = readCount(r, "emitted")
	into.Completed = readTrue(r, "completed")
	into.Compensating = readTrue(r, "compensating")
	into.Ending = readSome[Ending](r, "ending")
	readAny(r, "claimed", &into.Claimed)
	readAny(r, "released", &into.Released)
	readAny(r, "refused", &into.Refused)
	into.Marks = readMarks(r)
	into.Corrected = readTrue(r, "corrected")
	into.Why = readSome[string](r, "why")
	into.Operator = readSome[string](r, "operator")
	into.By = readCount(r, "v")
	if r.Member("migrated") {
		r.Value(&into.Migrated)
	}
	r.End()
}

func writeTaken(w *plainjson.Writer, t *Taken) {
	w.Begin()
	w.Uint("kind", uint64(t.Kind))
	w.Text("id", &t.ID)
	writeSome(w, "module", t.Module)
	writeID(w, "log", &t.Log)
	if t.Position != 0 {
		w.Uint("position", uint64(t.Position))
	}
	writeSome(w, "stream", t.Stream)
	w.String("type", t.Type)
	writeCount(w, "schema", t.Schema)
	writeData(w, "data", t.Data)
	writeMetadata(w, &t.Metadata)
	w.Text("time", &t.Time)
	if !t.Occurred.IsZero() {
		w.Text("occurred", &t.Occurred)
	}
	if !t.Recorded.IsZero() {
		w.Text("recorded", &t.Recorded)
	}
	writeSome(w, "name", t.Name)
	writeID(w, "command", &t.Command)
	writeData(w, "result", t.Result)
	if t.Rejection != nil {
		w.Value("rejection", t.Rejection)
	}
	w.True("again", t.Again)
	writeSome(w, "reason", t.Reason)
	w.True("expired", t.Expired)
	if t.Replaced != nil {
		w.Value("replaced", t.Replaced)
	}
	w.End()
}

func readTaken(r *plainjson.Reader, into *Taken) {
	r.Begin()
	if r.Member("kind") {
		into.Kind = Kind(r.Uint8())
	}
	readID(r, "id", &into.ID)
	into.Module = readSome[string](r, "module")
	readID(r, "log", &into.Log)
	if r.Member("position") {
		into.Position = eventlog.Position(r.Uint())
	}
	into.Stream = readSome[string](r, "stream")
	into.Type = readSome[string](r, "type")
	into.Schema = readCount(r, "schema")
	into.Data = readData(r, "data")
	readMetadata(r, &into.Metadata)
	if r.Member("time") {
		r.Text(&into.Time)
	}
	if r.Member("occurred") {
		r.Text(&into.Occurred)
	}
	if r.Member("recorded") {
		r.Text(&into.Recorded)
	}
	into.Name = readSome[string](r, "name")
	readID(r, "command", &into.Command)
	into.Result = readData(r, "result")
	if r.Member("rejection") {
		r.Value(&into.Rejection)
	}
	into.Again = readTrue(r, "again")
	into.Reason = readSome[string](r, "reason")
	into.Expired = readTrue(r, "expired")
	if r.Member("replaced") {
		r.Value(&into.Replaced)
	}
	r.End()
}

func writeTimer(w *plainjson.Writer, t *Timer) {
	w.Begin()
	w.String("name", t.Name)
	w.String("type", t.Type)
	w.Text("due", &t.Due)
	w.Text("id", &t.ID)
	writeData(w, "data", t.Data)
	writeMetadata(w, &t.Metadata)
	if t.Replaced != nil {
		w.Value("replaced", t.Replaced)
	}
	w.End()
}

func readTimer(r *plainjson.Reader, into *Timer) {
	r.Begin()
	into.Name = readSome[string](r, "name")
	into.Type = readSome[string](r, "type")
	if r.Member("due") {
		r.Text(&into.Due)
	}
	readID(r, "id", &into.ID)
	into.Data = readData(r, "data")
	readMetadata(r, &into.Metadata)
	if r.Member("replaced") {
		r.Value(&into.Replaced)
	}
	r.End()
}

// marshalSent is json.Marshal of a command that was decided: it waits for its outcome in an entry of its own.
func marshalSent(s *Sent) ([]byte, error) {
	w := plainjson.Writer{Data: make([]byte, 0, 384+2*len(s.Data))}
	writeSent(&w, s)
	return w.Result()
}

func writeSent(w *plainjson.Writer, s *Sent) {
	w.Begin()
	w.Text("id", &s.ID)
	w.Int("number", int64(s.Number))
	w.String("module", s.Module)
	w.String("type", s.Type)
	w.Bytes("data", s.Data)
	writeMetadata(w, &s.Metadata)
	w.Text("at", &s.At)
	if !s.Before.IsZero() {
		w.Text("before", &s.Before)
	}
	if s.Undo != nil {
		w.Name("undo")
		w.Begin()
		w.String("type", s.Undo.Type)
		w.Bytes("data", s.Undo.Data)
		w.End()
	}
	writeCount(w, "undoes", s.Undoes)
	w.End()
}

func readSent(r *plainjson.Reader, into *Sent) {
	r.Begin()
	readID(r, "id", &into.ID)
	into.Number = readCount(r, "number")
	into.Module = readSome[string](r, "module")
	into.Type = readSome[string](r, "type")
	into.Data = readData(r, "data")
	readMetadata(r, &into.Metadata)
	if r.Member("at") {
		r.Text(&into.At)
	}
	if r.Member("before") {
		r.Text(&into.Before)
	}
	if r.Member("undo") {
		into.Undo = &Undoing{}
		r.Begin()
		into.Undo.Type = readSome[string](r, "type")
		into.Undo.Data = readData(r, "data")
		r.End()
	}
	into.Undoes = readCount(r, "undoes")
	r.End()
}

func writeMetadata(w *plainjson.Writer, m *event.Metadata) {
	if m.Correlation.IsZero() && m.Causation.IsZero() && m.Headers == nil {
		return
	}
	w.Name("meta")
	w.Begin()
	writeID(w, "correlation", &m.Correlation)
	writeID(w, "causation", &m.Causation)
	if len(m.Headers) > 0 {
		w.Strings("headers", m.Headers)
	}
	w.End()
}

func readMetadata(r *plainjson.Reader, into *event.Metadata) {
	if !r.Member("meta") {
		return
	}
	r.Begin()
	readID(r, "correlation", &into.Correlation)
	readID(r, "causation", &into.Causation)
	if r.Member("headers") {
		into.Headers = r.Strings()
	}
	r.End()
}

func writeMarks(w *plainjson.Writer, marks []Mark) {
	if len(marks) == 0 {
		return
	}
	w.Name("marks")
	w.BeginList()
	for n := range marks {
		w.Element()
		w.Begin()
		w.String("module", marks[n].Module)
		w.Text("log", &marks[n].Log)
		w.Uint("position", uint64(marks[n].Position))
		w.End()
	}
	w.EndList()
}

func readMarks(r *plainjson.Reader) (marks []Mark) {
	if !r.Member("marks") {
		return nil
	}
	for r.BeginList(); r.Element(); {
		marks = append(marks, Mark{})
		m := &marks[len(marks)-1]
		r.Begin()
		m.Module = readSome[string](r, "module")
		readID(r, "log", &m.Log)
		if r.Member("position") {
			m.Position = eventlog.Position(r.Uint())
		}
		r.End()
	}
	return marks
}

// What is written only if there is something to say.

func writeSome(w *plainjson.Writer, name, value string) {
	if value != "" {
		w.String(name, value)
	}
}

func writeCount(w *plainjson.Writer, name string, n int) {
	if n != 0 {
		w.Int(name, int64(n))
	}
}

func writeData(w *plainjson.Writer, name string, data []byte) {
	if len(data) > 0 {
		w.Bytes(name, data)
	}
}

func writeID(w *plainjson.Writer, name string, id *event.ID) {
	if !id.IsZero() {
		w.Text(name, id)
	}
}

func writeAny[E any](w *plainjson.Writer, name string, list []E) {
	if len(list) > 0 {
		w.Value(name, list)
	}
}

func readSome[T ~string](r *plainjson.Reader, name string) T {
	if !r.Member(name) {
		return ""
	}
	return T(r.String())
}

func readTrue(r *plainjson.Reader, name string) bool { return r.Member(name) && r.True() }

func readCount(r *plainjson.Reader, name string) int {
	if !r.Member(name) {
		return 0
	}
	return r.Int()
}

func readData(r *plainjson.Reader, name string) []byte {
	if !r.Member(name) {
		return nil
	}
	return r.Bytes()
}

func readID(r *plainjson.Reader, name string, into *event.ID) {
	if r.Member(name) {
		r.Text(into)
	}
}

func readAny[E any](r *plainjson.Reader, name string, into *[]E) {
	if r.Member(name) {
		r.Value(into)
	}
}
