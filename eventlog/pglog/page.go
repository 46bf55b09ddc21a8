package pglog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// The columns of an event, as a table in a statement has them, and as a page takes them: between these stand the position
// and the name of the stream, see envelope.
const columns = `insertion, version, stream, id, type, schema, occurred, correlation, causation, headers, tags, data`

// envelope returns what a page takes of an event e: the version where it was read, the number of a stream, or 0, or its
// name, or NULL; the version in that stream if it is not the one that was read, or 0; the position, or NULL.
func envelope(version, stream, name, origin, position, recorded, mark string) string {
	return version + `, ` + stream + `, ` + name + `, ` + origin + `, ` + position + `, e.id, e.type, e.schema, e.occurred, ` + recorded +
		`, e.correlation, e.causation, e.headers, e.tags, e.data, ` + mark
}

// text takes a text without a copy; it is good until the next row.
type text []byte

// ScanBytes implements pgtype.BytesScanner.
func (t *text) ScanBytes(b []byte) error {
	*t = b
	return nil
}

// page gathers the events of one statement. It is used for one page after the other.
type page struct {
	rows  []event.Recorded
	limit int
	bytes int
	full  bool
	cut   bool // the statement's order can't be relied on

	version, stream, origin, mark int64
	position                      pgtype.Int8
	schema                        int32
	name, typ, headers, tags      text
	id, correlation, causation    pgtype.UUID
	occurred, recorded            pgtype.Timestamptz
	data                          []byte
	targets                       []any
	format                        byte // of the rows: 'b' binary, 't' text, 0 not known yet
	types                         map[string]string
}

func (p *page) begin(limit int) {
	if p.targets == nil {
		p.targets = []any{&p.version, &p.stream, &p.name, &p.origin, &p.position, &p.id, &p.typ, &p.schema, &p.occurred, &p.recorded,
			&p.correlation, &p.causation, &p.headers, &p.tags, &p.data, &p.mark}
		p.types = map[string]string{}
	}
	p.rows = p.rows[:0]
	p.limit, p.bytes, p.full, p.cut = limit, 0, false, false
}

// scan takes a row, for add.
func (p *page) scan(rows pgx.Rows) error {
	if p.format == 0 {
		p.format = 'b'
		for _, field := range rows.FieldDescriptions() {
			if field.Format != pgx.BinaryFormatCode && field.DataTypeOID != pgtype.TextOID { // texts are the same in both
				p.format = 't'
			}
		}
	}
	if p.format == 'b' && p.decode(rows.RawValues()) {
		return nil
	}
	return rows.Scan(p.targets...)
}

// decode takes a row as it came, which is what costs most in a long read. It is false for what it does not expect.
func (p *page) decode(row [][]byte) bool {
	ok := len(row) == len(p.targets)
	number := func(b []byte, into *int64) {
		if ok = ok && len(b) == 8; ok {
			*into = int64(binary.BigEndian.Uint64(b)) // #nosec G115 -- the same bits
		}
	}
	id := func(b []byte, into *pgtype.UUID) {
		switch {
		case b == nil:
			*into = pgtype.UUID{}
		case len(b) == len(into.Bytes):
			into.Bytes, into.Valid = [16]byte(b), true
		default:
			ok = false
		}
	}
	moment := func(b []byte, into *pgtype.Timestamptz) {
		if *into = (pgtype.Timestamptz{}); b != nil {
			var since2000 int64
			number(b, &since2000)
			ok = ok && since2000 != math.MinInt64 && since2000 != math.MaxInt64 // not infinity
			into.Time, into.Valid = time.UnixMicro(since2000+at2000), true
		}
	}
	if !ok {
		return false
	}
	number(row[0], &p.version)
	number(row[1], &p.stream)
	p.name = row[2]
	number(row[3], &p.origin)
	if p.position = (pgtype.Int8{}); row[4] != nil {
		number(row[4], &p.position.Int64)
		p.position.Valid = true
	}
	id(row[5], &p.id)
	p.typ = row[6]
	if ok = ok && len(row[7]) == 4; ok {
		p.schema = int32(binary.BigEndian.Uint32(row[7])) // #nosec G115 -- the same bits
	}
	moment(row[8], &p.occurred)
	moment(row[9], &p.recorded)
	id(row[10], &p.correlation)
	id(row[11], &p.causation)
	p.headers, p.tags = row[12], row[13]
	p.data = append([]byte(nil), row[14]...)
	number(row[15], &p.mark)
	return ok
}

// at2000 is the time from which the server counts.
var at2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// add adds the event that was scanned; errEnough or errTooMuch when the page is full.
func (p *page) add(stream string) error {
	p.rows = append(p.rows, event.Recorded{})
	r := &p.rows[len(p.rows)-1]
	r.Place = event.Place{Stream: stream, Version: version(p.version)}
	switch {
	case p.origin > 0:
		r.Origin = event.Place{Stream: string(p.name), Version: version(p.origin)}
	case p.name != nil:
		r.Stream = string(p.name)
	}
	r.Position = eventlog.Position(p.position.Int64) // #nosec G115 -- positions count up from 0
	r.ID, r.Metadata.Correlation, r.Metadata.Causation = p.id.Bytes, p.correlation.Bytes, p.causation.Bytes
	r.Type, r.Schema = p.typeName(), int(p.schema)
	r.Occurred, r.Recorded = p.occurred.Time.UTC(), p.recorded.Time.UTC()
	if !p.occurred.Valid {
		r.Occurred = r.Recorded
	}
	if p.headers != nil && !quickHeaders(p.headers, &r.Metadata.Headers) {
		if err := json.Unmarshal(p.headers, &r.Metadata.Headers); err != nil {
			return fmt.Errorf("the headers of event %s: %w", r.ID, err)
		}
	}
	if p.tags != nil && !quickTags(p.tags, &r.Tags) {
		if err := json.Unmarshal(p.tags, &r.Tags); err != nil {
			return fmt.Errorf("the tags of event %s: %w", r.ID, err)
		}
	}
	r.Data = p.data
	if p.bytes += len(r.Data) + 200; p.bytes > pageBytes {
		p.full = true
		if n := len(p.rows); (p.limit-n)*(p.bytes/n) > 4*pageBytes {
			return errTooMuch
		}
		return errEnough
	}
	return nil
}

// typeName returns the type's name, without a copy where it has one.
func (p *page) typeName() string {
	name, ok := p.types[string(p.typ)]
	if !ok {
		if len(p.types) >= maxTypes { // a program has dozens; this many are made up
			clear(p.types)
		}
		name = string(p.typ)
		p.types[name] = name
	}
	return name
}

const maxTypes = 1000
