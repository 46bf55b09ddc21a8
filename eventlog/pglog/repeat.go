package pglog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// known is an event of the log as far as a repeat is compared with it.
type known struct {
	nth        int32
	sameStream bool
	typ        string
	sameData   bool
	version    int64
}

// eventOf is an event of an append, with its place there.
type eventOf struct {
	*event.Event
	stream string
	write  int
	first  bool // of its write
}

// repeat tells what an append means that was refused by err, while ids of it may be in the log: it takes over the first
// append's results if the log holds all of its events, and returns an IDError if it holds some of them, or others by their
// ids; otherwise err.
func (l *Log) repeat(ctx context.Context, q querier, r *request, refused error) error {
	var asked []eventOf
	missing := 0
	for i, w := range r.writes {
		if w, ok := w.(eventlog.ToStream); ok {
			for n := range w.Events {
				if w.Events[n].ID.IsZero() {
					missing++
					continue
				}
				asked = append(asked, eventOf{&w.Events[n], w.Stream, i, n == 0})
			}
		}
	}
	found, err := l.lookUp(ctx, q, asked)
	if err != nil {
		return err
	}
	there := 0
	for i := range asked {
		k := found[i]
		if k == nil {
			missing++
			continue
		}
		if there++; !k.sameStream {
			return &eventlog.IDError{ID: asked[i].ID, Stream: asked[i].stream, Reason: "the log has it in another stream"}
		}
		if k.typ != asked[i].Type {
			return &eventlog.IDError{ID: asked[i].ID, Stream: asked[i].stream, Reason: fmt.Sprintf("the log has it as %q, not as %q", k.typ, asked[i].Type)}
		}
		if !k.sameData {
			return &eventlog.IDError{ID: asked[i].ID, Stream: asked[i].stream, Reason: "the log has it with another payload"}
		}
	}
	if there == 0 {
		return refused
	}
	results := make([]eventlog.Result, len(r.writes))
	for i := range asked {
		k := found[i]
		if k == nil {
			continue
		}
		if missing > 0 {
			return &eventlog.IDError{ID: asked[i].ID, Stream: asked[i].stream, Reason: fmt.Sprintf("the log has it already, but not %d other events of the same append", missing)}
		}
		result := &results[asked[i].write]
		if asked[i].first {
			result.First = version(k.version)
		}
		result.Last = version(k.version)
	}
	if err := l.linkPlaces(ctx, q, r, results); err != nil {
		return err
	}
	r.done = eventlog.Appended{Results: results, Repeat: true}
	return nil
}

// lookUp returns what the log has by the ids, nil for those that it has not.
func (l *Log) lookUp(ctx context.Context, q querier, asked []eventOf) ([]*known, error) {
	ids, streams, types, data := make([]pgtype.UUID, len(asked)), make([]string, len(asked)), make([]string, len(asked)), make([][]byte, len(asked))
	for i, e := range asked {
		ids[i], streams[i], types[i], data[i] = uuid(e.ID), e.stream, e.Type, bytes(e.Data)
	}
	rows, err := q.Query(ctx, l.db.sql(`SELECT nth, same_stream, type, same_data, version FROM ${schema}.repeat($1::int, $2::uuid[], $3::text[], $4::text[], $5::bytea[])`),
		l.number, ids, streams, types, data)
	if err != nil {
		return nil, err
	}
	found := make([]*known, len(asked))
	var k known
	_, err = pgx.ForEachRow(rows, []any{&k.nth, &k.sameStream, &k.typ, &k.sameData, &k.version}, func() error {
		one := k
		found[k.nth-1] = &one
		return nil
	})
	return found, err
}

// linkPlaces fills in where the links of a repeated append stand. Which revision an entry got is not known any more.
func (l *Log) linkPlaces(ctx context.Context, q querier, r *request, results []eventlog.Result) error {
	var streams []string
	var positions []int64
	for _, w := range r.writes {
		if w, ok := w.(eventlog.LinkTo); ok {
			for _, p := range w.Positions {
				streams, positions = append(streams, w.Stream), append(positions, int64(min(p, 1<<62))) // #nosec G115 -- bounded
			}
		}
	}
	if len(streams) == 0 {
		return nil
	}
	rows, err := q.Query(ctx, l.db.sql(`SELECT * FROM ${schema}.link_places($1::int, $2::text[], $3::bigint[])`), l.number, streams, positions)
	if err != nil {
		return err
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for i, w := range r.writes {
		if w, ok := w.(eventlog.LinkTo); ok {
			results[i].First, results[i].Last = version(places[0]), version(places[len(w.Positions)-1])
			places = places[len(w.Positions):]
		}
	}
	return nil
}
