package pglog

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ReadStream implements eventlog.Log. The events are those up to the stream's version when the loop begins, whether they
// have positions or not: those that have none are given one by a pass. Where no pass can be made, on a standby or by a role
// that may not, and nobody else has made one yet, Position is 0 and Recorded is zero, and so is Occurred of an event that
// occurred when it was recorded.
func (l *Log) ReadStream(ctx context.Context, stream string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return pages(ctx, l, func() func(context.Context) ([]event.Recorded, bool, error) {
		s := streamScan{log: l, stream: stream, query: q, size: newPageSize(q.Limit)}
		return s.next
	})
}

// streamScan is a read of a stream under way. What it has still to read is the versions above low, up to high.
type streamScan struct {
	log       *Log
	stream    string
	query     eventlog.StreamQuery
	size      pageSize
	begun     bool
	number    int64
	low, high int64
	text      string
	page      page
}

func (s *streamScan) next(ctx context.Context) ([]event.Recorded, bool, error) {
	if !s.begun {
		s.begun = true
		if whole(s.query) {
			rows, read, done, err := s.log.loads.first(ctx, s.stream)
			if read || err != nil {
				return rows, false, err
			}
			defer done()
		}
		if err := s.begin(ctx); err != nil {
			return nil, false, err
		}
	}
	limit := s.size.next()
	if s.low >= s.high || limit == 0 {
		return nil, false, nil
	}
	low, high := s.low, min(s.high, s.low+fullWindow)
	if s.query.Backward {
		low, high = max(s.low, s.high-fullWindow), s.high
	}
	p := &s.page
	err := s.log.numbered(ctx, p, limit, func() error {
		return s.log.read(ctx, s.text, func(r pgx.Rows) error {
			if err := p.scan(r); err != nil {
				return err
			}
			return p.add(s.stream)
		}, s.number, low, high, int64(limit))
	})
	if err != nil {
		return nil, false, err
	}
	if p.full || len(p.rows) == limit {
		last := int64(p.rows[len(p.rows)-1].Version) // #nosec G115 -- versions count up from 0
		low, high = last-1, last
	}
	if s.query.Backward {
		s.high = low
	} else {
		s.low = high
	}
	s.size.took(len(p.rows), p.bytes)
	return p.rows, s.low < s.high, nil
}

// numbered reads a page of a stream, once more if there are events in it that have no position yet.
func (l *Log) numbered(ctx context.Context, p *page, limit int, read func() error) error {
	p.begin(limit)
	if err := read(); err != nil {
		return err
	}
	for i := range p.rows {
		if p.rows[i].Position == 0 {
			if _, err := l.db.pass(ctx); err != nil {
				return err
			}
			p.begin(limit)
			return read()
		}
	}
	return nil
}

// begin settles what the loop reads.
func (s *streamScan) begin(ctx context.Context) error {
	var links int64
	if !possible(s.stream) {
		return nil
	}
	err := s.log.read(ctx, s.log.db.sql(`SELECT stream, version, links, truncated FROM ${schema}.streams WHERE module = $1::int AND name = $2::text`), func(r pgx.Rows) error {
		return r.Scan(&s.number, &s.high, &links, &s.low)
	}, s.log.number, s.stream)
	if err != nil {
		return err
	}
	if after := s.query.After; after > 0 {
		if !s.query.Backward {
			s.low = max(s.low, int64(min(after, 1<<62))) // #nosec G115 -- bounded
		} else {
			s.high = min(s.high, int64(min(after, 1<<62))-1) // #nosec G115 -- bounded
		}
	}
	s.text = s.log.db.sql(streamTexts[streamShape{s.query.Backward, s.query.System, links > 0}])
	return nil
}

// streamShape is what the statement that reads a stream depends on: one without links needs not look for them.
type streamShape struct{ backward, system, links bool }

var streamTexts = func() map[streamShape]string {
	texts := map[streamShape]string{}
	for _, backward := range []bool{false, true} {
		for _, system := range []bool{false, true} {
			for _, links := range []bool{false, true} {
				without, order := ` AND NOT e.system`, ``
				if system {
					without = ``
				}
				if backward {
					order = ` DESC`
				}
				const window = `stream = $1::bigint AND version > $2::bigint AND version <= $3::bigint`
				text := streamRows(`SELECT `+columns+`, version AS at FROM ${schema}.events e WHERE `+window+without+` ORDER BY version`+order+` LIMIT $4::bigint`,
					links, `SELECT insertion, version FROM ${schema}.links WHERE `+window+` ORDER BY version`+order, without, order, ` LIMIT $4::bigint`)
				texts[streamShape{backward, system, links}] = `SELECT ` + envelope(`e.at`, `e.stream`, `e.name`, `e.origin`, `l.position`, `l.recorded`, `1::bigint`) +
					` FROM (` + text + `) e ` + withPosition + ` ORDER BY e.at` + order
			}
		}
	}
	return texts
}()

// streamRows is the rows of a stream, in their order: its own events and, if there are any, those that links lead to.
func streamRows(own string, links bool, linked, without, order, limit string) string {
	text := `SELECT e.*, NULL::text AS name, 0::bigint AS origin FROM (` + own + `) e`
	if links {
		text = `SELECT * FROM (` + text + `) own UNION ALL SELECT * FROM (
			SELECT e.*, k.version AS at, (SELECT s.name FROM ${schema}.streams s WHERE s.stream = e.stream) AS name, e.version AS origin FROM (` + linked + `) k
			CROSS JOIN LATERAL (SELECT ` + columns + ` FROM ${schema}.events e WHERE e.insertion = k.insertion` + without + ` OFFSET 0) e ORDER BY k.version` + order + limit + `) linked`
	}
	return `SELECT * FROM (` + text + `) e ORDER BY at` + order + limit
}

// withPosition joins the row of the log to an event e, if there is one.
const withPosition = `LEFT JOIN LATERAL (SELECT position, recorded FROM ${schema}.log WHERE insertion = e.insertion OFFSET 0) l ON true`
