package pglog

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/eventlog"
)

// Entries implements eventlog.Log.
func (l *Log) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return pages(ctx, l, func() func(context.Context) ([]eventlog.Entry, bool, error) {
		s := entryScan{log: l, query: q, size: newPageSize(q.Limit)}
		s.begin()
		return s.next
	})
}

// entryScan is a read of entries under way; query.After and query.AfterDue move with it.
type entryScan struct {
	log   *Log
	query eventlog.EntryQuery
	size  pageSize
	text  string // up to where the page begins
	order string
	args  []any
	none  bool
}

// place returns what stands for the argument that comes n behind the last.
func (s *entryScan) place(n int, typ string) string {
	return `$` + strconv.Itoa(len(s.args)+n) + `::` + typ
}

func (s *entryScan) arg(v any, typ string) string {
	s.args = append(s.args, v)
	return s.place(0, typ)
}

func (s *entryScan) begin() {
	q := &s.query
	const columns = `SELECT key, value, due, revision FROM `
	of := `${schema}.entries WHERE module = ` + s.arg(s.log.number, `int`) + ` AND kind = ` + s.arg(int16(q.Kind), `smallint`)
	if len(q.Keys) > 0 { // one after the other; one argument, whatever their number
		keys := possibleOf(q.Keys)
		slices.Sort(keys)
		keys = slices.Compact(keys)
		s.none = len(keys) == 0
		s.text = columns + `unnest(` + s.arg(keys, `text[]`) + `) u (k) CROSS JOIN LATERAL (` + columns + of + ` AND key = u.k OFFSET 0) e WHERE true`
	} else {
		s.text = columns + of
	}
	s.none = s.none || !possible(q.Prefix)
	q.After, _, _ = strings.Cut(q.After, "\x00") // between them is no key
	if q.Prefix != "" {
		if end := following(q.Prefix); end != "" {
			s.text += ` AND key < ` + s.arg(end, `text`)
		}
		if q.ByDue {
			s.text += ` AND key >= ` + s.arg(q.Prefix, `text`)
		}
	}
	s.order = `key`
	if q.ByDue {
		s.text += ` AND due IS NOT NULL`
		if !q.DueBy.IsZero() {
			s.text += ` AND due <= ` + s.arg(moment(q.DueBy), `timestamptz`)
		}
		s.order = `due, key`
	}
}

// following returns the first text that follows, as bytes, all that begin with prefix; "" if there is none. Texts in a
// database are valid UTF-8, whose bytes are in the order of its characters.
func following(prefix string) string {
	runes := []rune(prefix)
	for i := len(runes) - 1; i >= 0; i-- {
		switch runes[i] {
		case '\U0010ffff':
			continue
		case '\ud7ff': // what follows are no characters
			runes[i] = '\ue000'
		default:
			runes[i]++
		}
		return string(runes[:i+1])
	}
	return ""
}

// from returns the condition by which a page begins where the one before it ended.
func (s *entryScan) from() (condition string, args []any) {
	q := &s.query
	switch {
	case q.ByDue && q.AfterDue.IsZero():
		return ``, nil
	case q.ByDue:
		return ` AND (due, key) > (` + s.place(1, `timestamptz`) + `, ` + s.place(2, `text`) + `)`, []any{moment(q.AfterDue), q.After}
	case q.After < q.Prefix:
		return ` AND key >= ` + s.place(1, `text`), []any{q.Prefix}
	default:
		return ` AND key > ` + s.place(1, `text`), []any{q.After}
	}
}

func (s *entryScan) next(ctx context.Context) (page []eventlog.Entry, more bool, err error) {
	q := &s.query
	limit := s.size.next()
	if s.none || limit == 0 {
		return nil, false, nil
	}
	from, args := s.from()
	args = append(append(s.args[:len(s.args):len(s.args)], args...), int64(limit))
	text := s.text + from + ` ORDER BY ` + s.order + ` LIMIT $` + strconv.Itoa(len(args)) + `::bigint`
	bytes := 0
	var due pgtype.Timestamptz
	var revision int64
	err = s.log.read(ctx, s.log.db.sql(text), func(r pgx.Rows) error {
		e := eventlog.Entry{Kind: q.Kind}
		if err := r.Scan(&e.Key, &e.Value, &due, &revision); err != nil {
			return err
		}
		e.Revision = eventlog.Revision(revision)
		if due.Valid {
			e.Due = due.Time.UTC()
		}
		page = append(page, e)
		if bytes += len(e.Key) + len(e.Value) + 50; bytes > pageBytes {
			more = true
			if n := len(page); (limit-n)*(bytes/n) > 4*pageBytes {
				return errTooMuch
			}
			return errEnough
		}
		return nil
	}, args...)
	if err != nil {
		return nil, false, err
	}
	if len(page) > 0 {
		last := page[len(page)-1]
		q.After, q.AfterDue = last.Key, last.Due
	}
	s.size.took(len(page), bytes)
	return page, more || len(page) == limit && len(q.Keys) != 1, nil
}
