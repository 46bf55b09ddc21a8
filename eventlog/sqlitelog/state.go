package sqlitelog

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// positionBits of a row's seq are the position, the others the module.
const positionBits = 44

const maxPosition = 1<<positionBits - 1

// state is what one SQL transaction knows of the file, and what the writer keeps of it from one transaction to the
// next, as long as nobody else wrote. Changes of one request can be taken back.
type state struct {
	x       executor
	now     func() time.Time
	types   map[string]int64
	modules map[int64]*module
	streams map[streamKey]*stream // the younger generation of the cache
	older   map[streamKey]*stream
	most    int   // streams in a generation
	last    int64 // the highest stream number, -1: not asked for yet
	assume  bool  // that a stream is new which somebody expects to be

	dirty []*stream // changed in this transaction, to be written at its end
	undo  undo
}

type streamKey struct {
	module int64
	name   string
}

// module is where a module's log ends.
type module struct {
	number   int64
	head     int64 // position
	revision int64
	recorded int64
	dirty    bool // revision is to be written
	request  int  // the request that changed it last
	was      *module
}

// stream is a row of streams; number 0 where there is none yet.
type stream struct {
	key       streamKey
	number    int64
	version   int64
	links     int64
	truncated int64
	closed    bool
	stored    bool // a row exists
	assumed   bool // that there is none was not looked up
	dirty     bool
	request   int // the request that changed it last
}

// undo is what one request changed.
type undo struct {
	request int
	streams []streamBefore
	modules []*module
	types   []string
	last    int64
	dirty   int
	wrote   bool // rows were written
}

type streamBefore struct {
	stream *stream
	was    stream
}

// maxStreams bounds each generation of the stream cache: some 200 bytes each.
const maxStreams = 32_000

func newState(x executor, now func() time.Time) *state {
	s := &state{x: x, now: now, most: maxStreams}
	s.reset()
	return s
}

// reset forgets everything.
func (s *state) reset() {
	s.types, s.modules = map[string]int64{}, map[int64]*module{}
	s.streams, s.older, s.last = map[streamKey]*stream{}, nil, -1
	s.dirty = nil
	s.undo = undo{request: s.undo.request}
}

// age lets go of streams that were not used for long. It must not run while rows are dirty.
func (s *state) age() {
	if len(s.streams) > s.most {
		s.older, s.streams = s.streams, make(map[streamKey]*stream, s.most)
	}
}

// begin starts a request, whose changes take can undo.
func (s *state) begin() {
	s.undo = undo{request: s.undo.request + 1, streams: s.undo.streams[:0], modules: s.undo.modules[:0], last: s.last, dirty: len(s.dirty)}
}

// takeBack undoes the request's changes of the state; those of rows are the caller's to roll back.
func (s *state) takeBack() {
	for _, b := range s.undo.streams {
		*b.stream = b.was
	}
	for _, m := range s.undo.modules {
		*m = *m.was
	}
	for _, t := range s.undo.types {
		delete(s.types, t)
	}
	s.last, s.dirty = s.undo.last, s.dirty[:s.undo.dirty]
}

// module returns the state of a module's log.
func (s *state) module(number int64) (*module, error) {
	if m, ok := s.modules[number]; ok {
		return m, nil
	}
	m := &module{number: number}
	err := s.x.query(`SELECT revision,
		(SELECT max(seq) FROM events WHERE seq BETWEEN module << 44 AND (module + 1 << 44) - 1),
		(SELECT recorded FROM events WHERE seq BETWEEN module << 44 AND (module + 1 << 44) - 1 ORDER BY seq DESC LIMIT 1)
		FROM modules WHERE module = ?`, func(row []driver.Value) error {
		m.revision = row[0].(int64)
		if row[1] != nil {
			m.head, m.recorded = row[1].(int64)&maxPosition, row[2].(int64)
		}
		return nil
	}, number)
	if err != nil {
		return nil, err
	}
	s.modules[number] = m
	return m, nil
}

// change marks a module as changed by this request.
func (s *state) changeModule(m *module) {
	if m.request == s.undo.request {
		return
	}
	was := *m
	was.was = nil
	m.was, m.request = &was, s.undo.request
	s.undo.modules = append(s.undo.modules, m)
}

// expected returns the state of a stream of which somebody expects something. One that is to be new and is not known is
// taken for new without a look: nearly always it is, and if not, the rows' unique name objects when they are flushed
// (errAssumed).
func (s *state) expected(module int64, name string, e eventlog.Expected) (*stream, error) {
	if s.assume && e == eventlog.NoStream {
		key := streamKey{module, name}
		if s.streams[key] == nil && s.older[key] == nil {
			st := &stream{key: streamKey{module, strings.Clone(name)}, assumed: true}
			s.streams[st.key] = st
			return st, nil
		}
	}
	return s.stream(module, name)
}

// stream returns the state of a stream, which may not exist yet.
func (s *state) stream(module int64, name string) (*stream, error) {
	key := streamKey{module, name}
	st, ok := s.streams[key]
	if !ok {
		if st, ok = s.older[key]; ok {
			s.streams[key] = st
		}
	}
	if ok && (!st.assumed || st.dirty) {
		return st, nil
	}
	st = &stream{key: streamKey{module, strings.Clone(name)}}
	err := s.x.query(`SELECT stream, version, links, truncated, closed FROM streams WHERE module = ? AND name = ?`, func(row []driver.Value) error {
		st.number, st.version, st.links = row[0].(int64), row[1].(int64), row[2].(int64)
		st.truncated, st.closed, st.stored = row[3].(int64), row[4].(int64) != 0, true
		return nil
	}, module, name)
	if err != nil {
		return nil, err
	}
	s.streams[st.key] = st
	return st, nil
}

// changeStream marks a stream as changed by this request, and gives it a number if it has none.
func (s *state) changeStream(st *stream) error {
	if st.request != s.undo.request {
		s.undo.streams = append(s.undo.streams, streamBefore{st, *st})
		st.request = s.undo.request
	}
	if st.number == 0 {
		if s.last < 0 {
			last, err := one(s.x, `SELECT max(stream) FROM streams`)
			if err != nil {
				return err
			}
			s.last, s.undo.last = last, last
		}
		s.last++
		st.number = s.last
	}
	if !st.dirty {
		st.dirty = true
		s.dirty = append(s.dirty, st)
	}
	return nil
}

// typeNumber returns the number of an event type's name, which is stored at its first use.
func (s *state) typeNumber(name string) (int64, error) {
	if n, ok := s.types[name]; ok {
		return n, nil
	}
	n, err := one(s.x, `SELECT type FROM types WHERE name = ?`, name)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		s.undo.wrote = true
		if _, err := s.x.exec(`INSERT INTO types (name) VALUES (?)`, name); err != nil {
			return 0, err
		}
		if n, err = one(s.x, `SELECT type FROM types WHERE name = ?`, name); err != nil {
			return 0, err
		}
		s.undo.types = append(s.undo.types, name)
	}
	if len(s.types) >= maxTypes { // a program has dozens; this many are made up
		clear(s.types)
	}
	s.types[strings.Clone(name)] = n
	return n, nil
}

const maxTypes = 10_000

// errAssumed means that a stream is there that was taken for new. What was done on that ground is to be done again.
var errAssumed = errors.New("sqlitelog: a stream is not new")

// flush writes what requests changed in memory only. It belongs to the end of the transaction: a stream to which many
// requests appended is written once.
func (s *state) flush() error {
	for _, st := range s.dirty {
		if !st.dirty {
			continue
		}
		var err error
		if st.stored {
			_, err = s.x.exec(`UPDATE streams SET version = ?, links = ?, truncated = ?, closed = ? WHERE stream = ?`,
				st.version, st.links, st.truncated, flag(st.closed), st.number)
		} else {
			_, err = s.x.exec(`INSERT INTO streams (stream, module, name, version, links, truncated, closed) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				st.number, st.key.module, st.key.name, st.version, st.links, st.truncated, flag(st.closed))
		}
		if extended, _ := code(err); extended == codeUnique && st.assumed {
			return errAssumed
		}
		if err != nil {
			return err
		}
		st.stored, st.dirty, st.assumed = true, false, false
	}
	s.dirty = s.dirty[:0]
	for _, m := range s.modules {
		if m.dirty {
			if _, err := s.x.exec(`UPDATE modules SET revision = ? WHERE module = ?`, m.revision, m.number); err != nil {
				return err
			}
			m.dirty = false
		}
	}
	return nil
}

// recordTime returns the time at which the log takes what is appended now: never before that of an earlier position.
func (s *state) recordTime(m *module) int64 {
	s.changeModule(m)
	m.recorded = max(m.recorded, s.now().UnixMicro())
	return m.recorded
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// micros returns a time as it is stored, and timeOf what was stored as a time.
func micros(t time.Time) driver.Value {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func timeOf(v driver.Value) time.Time {
	if n, ok := v.(int64); ok {
		return time.UnixMicro(n).UTC()
	}
	return time.Time{}
}

func idOf(v driver.Value) (id event.ID, err error) {
	b, _ := v.([]byte)
	if v != nil && len(b) != len(id) {
		return id, fmt.Errorf("an id of %d bytes; it has %d", len(b), len(id))
	}
	copy(id[:], b)
	return id, nil
}

func toVersion(n int64) eventlog.Version { return eventlog.Version(n) } // #nosec G115 -- versions count up from 0
