package pglog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Append implements eventlog.Log. Appends of this program to one module that come at the same time share a transaction;
// one that would have to wait for somebody else, or that fails, leaves it.
func (l *Log) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	if err := eventlog.Check(writes); err != nil {
		return eventlog.Appended{}, err
	}
	if err := l.writable(ctx); err != nil {
		return eventlog.Appended{}, err
	}
	if len(writes) == 0 || ctx.Err() != nil {
		return eventlog.Appended{}, ctx.Err()
	}
	r, err := encode(writes)
	if err != nil {
		return eventlog.Appended{}, err
	}
	if len(r.parts) == 1 && r.bytes < maxGroupBytes {
		err = l.writer.submit(ctx, r)
	} else {
		err = l.alone(ctx, r)
	}
	if err != nil {
		return eventlog.Appended{}, err
	}
	return r.done, nil
}

// writable tells why the log can't be written by a caller with this context, if it can't.
func (l *Log) writable(ctx context.Context) error {
	l.db.isStandby(ctx)
	switch {
	case l.closed.Load() || l.db.ending.Err() != nil:
		return eventlog.ErrClosed
	case inside(ctx, l.db):
		return eventlog.ErrInsideTx
	case l.db.readOnly():
		return fmt.Errorf("pglog: %s is only read: %w", l.db.address, eventlog.ErrReadOnly)
	}
	return nil
}

// request is an append on its way: the calls of the server's function that it takes, and what came of it.
type request struct {
	ctx    context.Context //nolint:containedctx // of one append
	writes []eventlog.Write
	parts  []*part // more than one only where an entry is written twice
	ids    map[event.ID]bool
	bytes  int
	done   eventlog.Appended
	err    error
	over   chan struct{} // closed when there is a result
}

// part is one call of the server's function append, for one request or, merged, for several; its fields are that
// function's parameters, in that order. Numbers begin at 1, as in SQL.
type part struct {
	requests int32

	names    []string
	sRequest []int32

	wRequest, wNumber, wStream []int32
	wExpect                    []int64
	wEvents, wLinks            []int32

	eID                      []pgtype.UUID
	eGiven                   []bool // the id is the caller's, and may be in the log already
	eWrite, eNth             []int32
	eType                    []string
	eSystem                  []bool
	eSchema                  []int32
	eOccurred                []pgtype.Timestamptz
	eCorrelation, eCausation []pgtype.UUID
	eHeaders, eTags          []pgtype.Text
	eData                    [][]byte

	tEvent       []int32
	tKey, tValue []string

	lStream   []int32
	lPosition []int64
	lSame     []int32

	puts    []put
	deletes []deletion
}

type put struct {
	request, number int32
	eventlog.Put
}

type deletion struct {
	request, number int32
	eventlog.Delete
}

// The call of the server's function. Every parameter has its type in the text, for those who send it as text.
const appendText = `SELECT codes, numbers, actuals, firsts, lasts, revisions FROM ${schema}.append($1::int, $2::int, $3::bool, $4::int,
	$5::text[], $6::int[],
	$7::int[], $8::int[], $9::int[], $10::bigint[], $11::int[], $12::int[],
	$13::uuid[], $14::bool[], $15::int[], $16::int[], $17::text[], $18::bool[], $19::int[], $20::timestamptz[], $21::uuid[], $22::uuid[], $23::text[], $24::text[], $25::bytea[],
	$26::int[], $27::text[], $28::text[],
	$29::int[], $30::bigint[], $31::int[],
	$32::int[], $33::int[], $34::smallint[], $35::text[], $36::timestamptz[], $37::bytea[], $38::bigint[],
	$39::int[], $40::int[], $41::smallint[], $42::text[], $43::bigint[])`

// args returns the parameters of the call.
func (p *part) args(module int32, wait time.Duration, hurried bool) []any {
	var put struct {
		request, number []int32
		kind            []int16
		key             []string
		due             []pgtype.Timestamptz
		value           [][]byte
		expected        []int64
	}
	for i := range p.puts {
		w := &p.puts[i]
		put.request, put.number = append(put.request, w.request), append(put.number, w.number)
		put.kind, put.key = append(put.kind, int16(w.Entry.Kind)), append(put.key, w.Entry.Key)
		put.due, put.value, put.expected = append(put.due, moment(w.Entry.Due)), append(put.value, bytes(w.Entry.Value)), append(put.expected, int64(w.Expect))
	}
	var del struct {
		request, number []int32
		kind            []int16
		key             []string
		expected        []int64
	}
	for i := range p.deletes {
		w := &p.deletes[i]
		del.request, del.number = append(del.request, w.request), append(del.number, w.number)
		del.kind, del.key, del.expected = append(del.kind, int16(w.Kind)), append(del.key, w.Key), append(del.expected, int64(w.Expect))
	}
	return []any{
		module, int32(wait.Milliseconds()), hurried, p.requests, some(p.names), some(p.sRequest), // #nosec G115 -- a short while
		some(p.wRequest), some(p.wNumber), some(p.wStream), some(p.wExpect), some(p.wEvents), some(p.wLinks),
		some(p.eID), some(p.eGiven), some(p.eWrite), some(p.eNth), some(p.eType), some(p.eSystem), some(p.eSchema), some(p.eOccurred),
		some(p.eCorrelation), some(p.eCausation), some(p.eHeaders), some(p.eTags), some(p.eData),
		some(p.tEvent), some(p.tKey), some(p.tValue),
		some(p.lStream), some(p.lPosition), some(p.lSame),
		some(put.request), some(put.number), some(put.kind), some(put.key), some(put.due), some(put.value), some(put.expected),
		some(del.request), some(del.number), some(del.kind), some(del.key), some(del.expected),
	}
}

// some makes an empty array of no array, which would be NULL, and of a type that is encoded without reflection.
func some[T any](s []T) pgtype.FlatArray[T] {
	if s == nil {
		return pgtype.FlatArray[T]{}
	}
	return s
}

func bytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func uuid(id event.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

// uuidOrNone returns NULL for no id.
func uuidOrNone(id event.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: !id.IsZero()} }

func uuids(ids []event.ID) []pgtype.UUID {
	list := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		list[i] = uuid(id)
	}
	return list
}

// moment returns NULL for no time.
func moment(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: event.Micro(t), Valid: !t.IsZero()}
}

// entryID names an entry.
type entryID struct {
	kind eventlog.Kind
	key  string
}

// linkID names a link.
type linkID struct {
	stream   int32
	position eventlog.Position
}

// encoding turns writes into the server's parameters.
type encoding struct {
	r       *request
	p       *part
	ids     map[event.ID]bool
	streams map[string]int32 // 1, 2, 3, … as they come; later by name
	entries map[entryID]bool
	links   map[linkID]int32
}

// encode checks what needs no database, and prepares the calls.
func encode(writes []eventlog.Write) (*request, error) {
	e := encoding{r: &request{writes: writes, over: make(chan struct{})}, ids: map[event.ID]bool{}}
	e.begin()
	for i, w := range writes {
		number := int32(i) // #nosec G115 -- bounded by eventlog.MaxWrites
		switch w := w.(type) {
		case eventlog.ToStream:
			if err := e.toStream(number, w); err != nil {
				return nil, err
			}
		case eventlog.LinkTo:
			e.linkTo(number, w)
		case eventlog.Put:
			e.entry(entryID{w.Entry.Kind, w.Entry.Key})
			e.p.puts = append(e.p.puts, put{1, number, w})
			e.r.bytes += 100 + len(w.Entry.Value)
		case eventlog.Delete:
			e.entry(entryID{w.Kind, w.Key})
			e.p.deletes = append(e.p.deletes, deletion{1, number, w})
			e.r.bytes += 100
		}
	}
	e.end()
	e.r.ids = e.ids
	return e.r, nil
}

func (e *encoding) begin() {
	e.p = &part{requests: 1}
	e.streams, e.entries, e.links = map[string]int32{}, map[entryID]bool{}, map[linkID]int32{}
}

// end brings the call into the order in which everybody locks.
func (e *encoding) end() {
	e.p.sort()
	e.r.parts = append(e.r.parts, e.p)
}

// sort brings streams and entries into the order in which they are locked, the same for everybody.
func (p *part) sort() {
	order := make([]int32, len(p.names)) // by place: the stream that comes to stand there
	for i := range order {
		order[i] = int32(i) // #nosec G115 -- bounded by eventlog.MaxWrites
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(p.names[a], p.names[b]) })
	names, requests, place := make([]string, len(order)), make([]int32, len(order)), make([]int32, len(order))
	for i, s := range order {
		names[i], requests[i], place[s] = p.names[s], p.sRequest[s], int32(i+1) // #nosec G115 -- bounded by eventlog.MaxWrites
	}
	p.names, p.sRequest = names, requests
	for i, s := range p.wStream {
		p.wStream[i] = place[s-1]
	}
	for i, s := range p.lStream {
		p.lStream[i] = place[s-1]
	}
	slices.SortFunc(p.puts, func(a, b put) int {
		return cmp.Or(cmp.Compare(a.Entry.Kind, b.Entry.Kind), cmp.Compare(a.Entry.Key, b.Entry.Key))
	})
	slices.SortFunc(p.deletes, func(a, b deletion) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
}

// merged makes one call of several, which have nothing in common. Requests are numbered in their order.
func merged(parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	m := &part{}
	for _, p := range parts {
		streams, writes, events, links := len32(m.names), len32(m.wNumber), len32(m.eID), len32(m.lPosition)
		m.names = append(m.names, p.names...)
		m.sRequest = shifted(m.sRequest, p.sRequest, m.requests)
		m.wRequest = shifted(m.wRequest, p.wRequest, m.requests)
		m.wNumber, m.wStream = append(m.wNumber, p.wNumber...), shifted(m.wStream, p.wStream, streams)
		m.wExpect, m.wEvents, m.wLinks = append(m.wExpect, p.wExpect...), append(m.wEvents, p.wEvents...), append(m.wLinks, p.wLinks...)
		m.eID, m.eGiven = append(m.eID, p.eID...), append(m.eGiven, p.eGiven...)
		m.eWrite, m.eNth = shifted(m.eWrite, p.eWrite, writes), append(m.eNth, p.eNth...)
		m.eType, m.eSystem, m.eSchema = append(m.eType, p.eType...), append(m.eSystem, p.eSystem...), append(m.eSchema, p.eSchema...)
		m.eOccurred, m.eCorrelation, m.eCausation = append(m.eOccurred, p.eOccurred...), append(m.eCorrelation, p.eCorrelation...), append(m.eCausation, p.eCausation...)
		m.eHeaders, m.eTags, m.eData = append(m.eHeaders, p.eHeaders...), append(m.eTags, p.eTags...), append(m.eData, p.eData...)
		m.tEvent, m.tKey, m.tValue = shifted(m.tEvent, p.tEvent, events), append(m.tKey, p.tKey...), append(m.tValue, p.tValue...)
		m.lStream, m.lPosition = shifted(m.lStream, p.lStream, streams), append(m.lPosition, p.lPosition...)
		for _, same := range p.lSame {
			if same > 0 {
				same += links
			}
			m.lSame = append(m.lSame, same)
		}
		for _, w := range p.puts {
			w.request += m.requests
			m.puts = append(m.puts, w)
		}
		for _, w := range p.deletes {
			w.request += m.requests
			m.deletes = append(m.deletes, w)
		}
		m.requests += p.requests
	}
	m.sort()
	return m
}

func len32[T any](s []T) int32 { return int32(len(s)) } // #nosec G115 -- bounded by eventlog.Check

// shifted appends numbers, each by so much higher.
func shifted(to, numbers []int32, by int32) []int32 {
	for _, n := range numbers {
		to = append(to, n+by)
	}
	return to
}

// entry begins another call when this one has the entry already.
func (e *encoding) entry(id entryID) {
	if e.entries[id] {
		e.end()
		e.begin()
	}
	e.entries[id] = true
}

// write adds a write to a stream and returns the stream's number in the call.
func (e *encoding) write(number int32, stream string, expect eventlog.Expected, events, links int) int32 {
	p := e.p
	s := e.streams[stream]
	if s == 0 {
		p.names, p.sRequest = append(p.names, stream), append(p.sRequest, 1)
		s = len32(p.names)
		e.streams[stream] = s
	}
	p.wRequest, p.wNumber = append(p.wRequest, 1), append(p.wNumber, number)
	p.wStream, p.wExpect = append(p.wStream, s), append(p.wExpect, int64(expect))
	p.wEvents, p.wLinks = append(p.wEvents, int32(events)), append(p.wLinks, int32(links)) // #nosec G115 -- bounded by eventlog.MaxAppend
	return s
}

func (e *encoding) toStream(number int32, w eventlog.ToStream) error {
	p := e.p
	e.write(number, w.Stream, w.Expect, len(w.Events), 0)
	for i := range w.Events {
		x := &w.Events[i]
		id, given := x.ID, !x.ID.IsZero()
		if !given {
			id = event.NewID()
		} else if e.ids[id] {
			return &eventlog.IDError{ID: id, Stream: w.Stream, Reason: "it stands twice in one append"}
		}
		e.ids[id] = true
		p.eID, p.eGiven = append(p.eID, uuid(id)), append(p.eGiven, given)
		p.eWrite, p.eNth = append(p.eWrite, len32(p.wNumber)), append(p.eNth, int32(i+1)) // #nosec G115 -- bounded by eventlog.MaxAppend
		p.eType, p.eSystem = append(p.eType, x.Type), append(p.eSystem, x.IsSystem())
		p.eSchema = append(p.eSchema, int32(max(x.Schema, 1))) // #nosec G115 -- bounded by eventlog.Check
		p.eOccurred = append(p.eOccurred, moment(x.Occurred))
		p.eCorrelation, p.eCausation = append(p.eCorrelation, uuidOrNone(x.Metadata.Correlation)), append(p.eCausation, uuidOrNone(x.Metadata.Causation))
		var headers, tags pgtype.Text
		var err error
		if len(x.Metadata.Headers) > 0 {
			if headers, err = jsonText(x.Metadata.Headers); err != nil {
				return err
			}
		}
		if len(x.Tags) > 0 {
			if tags, err = jsonText(x.Tags); err != nil {
				return err
			}
		}
		p.eHeaders, p.eTags = append(p.eHeaders, headers), append(p.eTags, tags)
		p.eData = append(p.eData, bytes(x.Data))
		for _, t := range x.Tags {
			p.tEvent = append(p.tEvent, len32(p.eID))
			p.tKey, p.tValue = append(p.tKey, t.Key), append(p.tValue, t.Value)
		}
		e.r.bytes += 200 + len(x.Data)
	}
	return nil
}

func jsonText(v any) (pgtype.Text, error) {
	text, err := json.Marshal(v)
	return pgtype.Text{String: string(text), Valid: true}, err
}

func (e *encoding) linkTo(number int32, w eventlog.LinkTo) {
	p := e.p
	s := e.write(number, w.Stream, w.Expect, 0, len(w.Positions))
	for _, at := range w.Positions {
		p.lStream, p.lPosition = append(p.lStream, s), append(p.lPosition, int64(min(at, 1<<62))) // #nosec G115 -- bounded
		id := linkID{s, at}
		p.lSame = append(p.lSame, e.links[id])
		if e.links[id] == 0 {
			e.links[id] = len32(p.lPosition)
		}
	}
	e.r.bytes += 50 * len(w.Positions)
}

// answer is what the server's function returned: codes, numbers and actuals by request, the rest by write.
type answer struct {
	codes, numbers           []int32
	actuals                  []int64
	firsts, lasts, revisions []*int64
}

func (a *answer) targets() []any {
	return []any{&a.codes, &a.numbers, &a.actuals, &a.firsts, &a.lasts, &a.revisions}
}

// Codes of the server's function.
const (
	codeDone     = 0
	codeConflict = 1
	codeKnown    = 2
	codeClosed   = 3
	codeEntry    = 4
	codeNoEvent  = 5
	codeLocked   = 6
)

// errKnown means that ids of the append are in the log already.
var errKnown = errors.New("pglog: an id is there already")

// take takes the answer to a call into the results of its requests, and returns what was refused, by request.
func (a *answer) take(p *part, requests []*request) ([]error, error) {
	if len(a.codes) != len(requests) || len(a.numbers) != len(requests) || len(a.actuals) != len(requests) ||
		len(p.wNumber) > 0 && (len(a.firsts) != len(p.wNumber) || len(a.lasts) != len(p.wNumber)) || len(a.revisions) > 0 && len(a.revisions) != len(p.puts) {
		return nil, fmt.Errorf("pglog: the server's function append answered %d requests by %d codes; is it another program's?", len(requests), len(a.codes))
	}
	refused := make([]error, len(requests))
	for i, r := range requests {
		if a.codes[i] != codeDone {
			refused[i] = r.refusal(a.codes[i], a.numbers[i], a.actuals[i])
		} else if r.done.Results == nil {
			r.done.Results = make([]eventlog.Result, len(r.writes))
		}
	}
	for i, n := range p.wNumber {
		if r := p.wRequest[i] - 1; refused[r] == nil {
			result := &requests[r].done.Results[n]
			result.First, result.Last = versionOrNone(a.firsts[i]), versionOrNone(a.lasts[i])
		}
	}
	for i, w := range p.puts {
		if r := w.request - 1; refused[r] == nil && a.revisions[i] != nil {
			requests[r].done.Results[w.number].Revision = eventlog.Revision(*a.revisions[i])
		}
	}
	return refused, nil
}

func version(v int64) eventlog.Version { return eventlog.Version(v) } // #nosec G115 -- versions count up from 0

func versionOrNone(v *int64) eventlog.Version {
	if v == nil {
		return 0
	}
	return version(*v)
}

func (r *request) refusal(code, number int32, actual int64) error {
	switch code {
	case codeKnown:
		return errKnown
	case codeLocked:
		return errLeave
	}
	if number < 0 || int(number) >= len(r.writes) {
		return fmt.Errorf("pglog: the server's function append refused, by code %d, write %d of %d", code, number, len(r.writes))
	}
	switch w := r.writes[number].(type) {
	case eventlog.ToStream:
		return streamRefusal(code, w.Stream, w.Expect, actual)
	case eventlog.LinkTo:
		return streamRefusal(code, w.Stream, w.Expect, actual)
	case eventlog.Put:
		return &eventlog.EntryConflictError{Kind: w.Entry.Kind, Key: w.Entry.Key, Expected: w.Expect, Actual: eventlog.Revision(actual)}
	case eventlog.Delete:
		return &eventlog.EntryConflictError{Kind: w.Kind, Key: w.Key, Expected: w.Expect, Actual: eventlog.Revision(actual)}
	default:
		return fmt.Errorf("pglog: write %d is a %T", number, w)
	}
}

func streamRefusal(code int32, stream string, expect eventlog.Expected, actual int64) error {
	switch code {
	case codeClosed:
		return &eventlog.StreamClosedError{Stream: stream}
	case codeNoEvent:
		p := eventlog.Position(actual) // #nosec G115 -- as it was sent
		return &eventlog.NoEventError{Stream: stream, Position: p}
	default:
		return &eventlog.ConflictError{Stream: stream, Expected: expect, Actual: version(actual)}
	}
}

// querier is what an append runs on: a connection, or a transaction of somebody's.
type querier interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

// call makes one call of the server's function for one request.
func (l *Log) call(ctx context.Context, q querier, r *request, p *part) error {
	rows, err := q.Query(ctx, l.db.appendText, p.args(l.number, l.db.options.LockWait, false)...)
	if err != nil {
		return err
	}
	var a answer
	if a, err = pgx.CollectExactlyOneRow(rows, scanAnswer); err != nil {
		return err
	}
	refused, err := a.take(p, []*request{r})
	if err != nil {
		return err
	}
	return refused[0]
}

func scanAnswer(row pgx.CollectableRow) (a answer, err error) { return a, row.Scan(a.targets()...) }
