package pglog

import (
	"context"
	"iter"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// CloseStream implements eventlog.StreamKeeper.
func (l *Log) CloseStream(ctx context.Context, name string, e eventlog.Expected) error {
	for {
		// Somebody may make the stream, or append to it, between the statements: then once more.
		n, err := l.keep(ctx, name, `UPDATE ${schema}.streams SET closed = true WHERE module = $1::int AND name = $2::text AND NOT closed AND
			CASE $3::bigint WHEN 0 THEN true WHEN -1 THEN version > 0 WHEN -2 THEN version = 0 ELSE version = $3::bigint END`, int64(e))
		if n > 0 || err != nil {
			return err
		}
		info, err := l.Stream(ctx, name)
		switch {
		case err != nil || info.Closed:
			return err
		case !e.Allows(info.Version):
			return &eventlog.ConflictError{Stream: name, Expected: e, Actual: info.Version}
		case info.Version > 0:
			continue
		}
		n, err = l.keep(ctx, name, `INSERT INTO ${schema}.streams (module, name, version, closed) VALUES ($1::int, $2::text, 0, true) ON CONFLICT DO NOTHING`)
		if n > 0 || err != nil {
			return err
		}
	}
}

// TruncateStream implements eventlog.StreamKeeper. A version that the stream has not reached yet counts as its last.
func (l *Log) TruncateStream(ctx context.Context, name string, upTo eventlog.Version) error {
	_, err := l.keep(ctx, name, `UPDATE ${schema}.streams SET truncated = least($3::bigint, version)
		WHERE module = $1::int AND name = $2::text AND truncated < least($3::bigint, version)`, int64(min(upTo, 1<<62))) // #nosec G115 -- bounded
	return err
}

// keep changes a stream's row by one statement, in a transaction of its own, and returns how many rows it changed. Who holds
// the row is waited for as an append waits.
func (l *Log) keep(ctx context.Context, name, text string, args ...any) (changed int64, err error) {
	if err := eventlog.CheckStream(name); err != nil {
		return 0, err
	}
	if err := l.writable(ctx); err != nil {
		return 0, err
	}
	batch := &pgx.Batch{}
	batch.Queue(`SELECT set_config('lock_timeout', $1::text, true)`, strconv.FormatInt(l.db.options.LockWait.Milliseconds(), 10))
	batch.Queue(l.db.sql(text), append([]any{l.number, name}, args...)...)
	before, after := l.db.around()
	results := l.db.pool.SendBatch(ctx, l.db.bracketed(batch))
	defer func() { _ = results.Close() }() // again, without effect
	for i := range before + 2 + after {
		done, err := results.Exec()
		if err != nil {
			return 0, l.db.explain("change a stream", err)
		}
		if i == before+1 {
			changed = done.RowsAffected()
		}
	}
	return changed, l.db.explain("change a stream", results.Close()) // only now it is committed
}

// Stream implements eventlog.StreamLister.
func (l *Log) Stream(ctx context.Context, stream string) (info eventlog.StreamInfo, err error) {
	info.Stream = stream
	if l.closed.Load() || l.db.ending.Err() != nil {
		return info, eventlog.ErrClosed
	}
	if !possible(stream) {
		return info, nil
	}
	err = l.read(ctx, l.db.sql(streamInfos+` AND name = $2::text`), func(r pgx.Rows) (err error) {
		info, err = streamInfo(r)
		return err
	}, l.number, stream)
	return info, err
}

const streamInfos = `SELECT name, version, truncated, closed FROM ${schema}.streams WHERE module = $1::int`

// Streams implements eventlog.StreamLister.
func (l *Log) Streams(ctx context.Context, category, after string, limit int) iter.Seq2[eventlog.StreamInfo, error] {
	const some = streamInfos + ` AND version > 0 AND name > $2::text`
	return pages(ctx, l, func() func(context.Context) ([]eventlog.StreamInfo, bool, error) {
		size, after := newPageSize(limit), after
		return func(ctx context.Context) (page []eventlog.StreamInfo, more bool, err error) {
			n := size.next()
			if n == 0 || !possible(category) || !possible(after) {
				return nil, false, nil
			}
			add := func(r pgx.Rows) error {
				info, err := streamInfo(r)
				page = append(page, info)
				return err
			}
			switch {
			case category == "":
				err = l.read(ctx, l.db.sql(some+` ORDER BY name LIMIT $3::bigint`), add, l.number, after, int64(n))
			case after < category: // the stream that is named like the category, and has no id
				err = l.read(ctx, l.db.sql(some+` AND name = $3::text`), add, l.number, after, category)
				after = category
				more = true
			default: // "0" follows "/"
				err = l.read(ctx, l.db.sql(some+` AND name < $3::text ORDER BY name LIMIT $4::bigint`), add, l.number, max(after, category+"/"), category+"0", int64(n))
			}
			if err != nil {
				return nil, false, err
			}
			if len(page) > 0 {
				after = page[len(page)-1].Stream
			}
			size.took(len(page), len(page))
			return page, more || len(page) == n, nil
		}
	})
}

func streamInfo(r pgx.Rows) (info eventlog.StreamInfo, err error) {
	var last, truncated int64
	err = r.Scan(&info.Stream, &last, &truncated, &info.Closed)
	info.Version, info.Truncated = version(last), version(truncated)
	return info, err
}

// Bounds of what one statement reads of several streams: longer streams are read by themselves, in pages.
const (
	streamsAtOnce = 64
	shortStream   = 128 // versions
)

// ReadStreams implements eventlog.StreamsReader. The events of each stream are those up to its version when its turn comes;
// see ReadStream on those that have no position yet.
func (l *Log) ReadStreams(ctx context.Context, streams []string) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(context.Context) ([]event.Recorded, bool, error) {
		s := streamsScan{log: l, names: streams, atOnce: streamsAtOnce}
		return s.next
	})
}

// streamsScan is a read of several streams under way.
type streamsScan struct {
	log    *Log
	names  []string    // still to be read
	atOnce int         // how many the next statement reads
	long   *streamScan // the one that is being read by itself, if any
	page   page
}

// short is streams that are read at once: their numbers, and the versions to be read, above low and up to high; 0 where
// there is no stream.
type short struct {
	numbers, low, high []int64
	rows               int
	links              bool
}

func (s *streamsScan) next(ctx context.Context) ([]event.Recorded, bool, error) {
	if s.long != nil {
		rows, more, err := s.long.next(ctx)
		if !more {
			s.long = nil
		}
		return rows, more || len(s.names) > 0, err
	}
	if len(s.names) == 0 {
		return nil, false, nil
	}
	names := s.names[:min(len(s.names), s.atOnce)]
	places, err := s.log.places(ctx, names)
	if err != nil {
		return nil, false, err
	}
	taken := slices.IndexFunc(places, place.long)
	if taken < 0 {
		taken = len(places)
	}
	if taken == 0 {
		s.startLong()
		return nil, true, nil
	}
	p := &s.page
	of := shortOf(places[:taken])
	if of.rows > 0 {
		err = s.log.numbered(ctx, p, of.rows, func() error { return s.log.readShort(ctx, p, names, of) })
		if err != nil {
			return nil, false, err
		}
	} else {
		p.begin(0)
	}
	s.atOnce = min(2*s.atOnce, streamsAtOnce)
	if p.full { // the last stream of a full page may not be complete: it is read again
		last := p.rows[len(p.rows)-1].Stream
		for taken = 0; names[taken] != last; taken++ {
		}
		for len(p.rows) > 0 && p.rows[len(p.rows)-1].Stream == last {
			p.rows = p.rows[:len(p.rows)-1]
		}
		if taken == 0 {
			s.startLong()
			return nil, true, nil
		}
		s.atOnce = taken
	}
	s.names = s.names[taken:]
	return p.rows, len(s.names) > 0, nil
}

// place is where a stream is: its number, and the versions to be read, above low and up to high; zero where there is none.
type place struct{ number, low, high, links int64 }

func (p place) long() bool { return p.high-p.low > shortStream }

// places finds streams by their names.
func (l *Log) places(ctx context.Context, names []string) ([]place, error) {
	asked := make([]string, len(names))
	for i, name := range names {
		if possible(name) { // no stream has the name ""
			asked[i] = name
		}
	}
	places := make([]place, len(names))
	err := l.read(ctx, l.db.sql(placesText), func(r pgx.Rows) error {
		var n int64
		var p place
		if err := r.Scan(&n, &p.number, &p.low, &p.high, &p.links); err != nil {
			return err
		}
		places[n-1] = p
		return nil
	}, l.number, asked)
	return places, err
}

const placesText = `SELECT u.n, s.stream, s.truncated, s.version, s.links FROM unnest($2::text[]) WITH ORDINALITY u (name, n)
	CROSS JOIN LATERAL (SELECT stream, truncated, version, links FROM ${schema}.streams WHERE module = $1::int AND name = u.name OFFSET 0) s`

// shortOf is streams that are read at once.
func shortOf(places []place) (of short) {
	for _, p := range places {
		of.numbers, of.low, of.high = append(of.numbers, p.number), append(of.low, p.low), append(of.high, p.high)
		of.rows, of.links = of.rows+int(p.high-p.low), of.links || p.links > 0
	}
	return of
}

// startLong goes on with the first stream by itself.
func (s *streamsScan) startLong() {
	s.long = &streamScan{log: s.log, stream: s.names[0], query: eventlog.StreamQuery{System: true}, size: newPageSize(0)}
	s.names = s.names[1:]
}

// shortStreams reads streams one after the other, by links too or without looking for them.
func shortStreams(links bool) string {
	const window = `stream = w.stream AND version > w.low AND version <= w.high`
	return `SELECT ` + envelope(`e.at`, `e.stream`, `e.name`, `e.origin`, `l.position`, `l.recorded`, `w.n`) + `
		FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY u (stream, low, high, n) ORDER BY n) w
		CROSS JOIN LATERAL (` + streamRows(`SELECT `+columns+`, version AS at FROM ${schema}.events e WHERE `+window+` ORDER BY version`,
		links, `SELECT insertion, version FROM ${schema}.links WHERE `+window+` ORDER BY version`, ``, ``, ` OFFSET 0`) + `) e
		` + withPosition + ` ORDER BY w.n`
}

// readShort reads the streams.
func (l *Log) readShort(ctx context.Context, p *page, names []string, of short) error {
	return l.read(ctx, l.db.sql(shortStreams(of.links)), func(r pgx.Rows) error {
		if err := p.scan(r); err != nil {
			return err
		}
		return p.add(names[p.mark-1])
	}, of.numbers, of.low, of.high)
}
