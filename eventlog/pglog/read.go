package pglog

import (
	"context"
	"errors"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/eventlog"
)

// Bounds of what is read at once: of rows in memory, and of positions that a statement looks at, so that a read that
// finds little in a long log can be cancelled.
const (
	firstPage   = 64
	fullPage    = 4096
	pageBytes   = 4 << 20
	firstWindow = 2048
	fullWindow  = 65536
	tagWindow   = 16 * fullWindow // a search by tag looks at few rows of a window
	fewTagged   = 2048            // so many events with a tag are found at once, and none but them are looked at
	maxNames    = 100_000         // of streams, that one loop remembers
)

// planning keeps the plan of a read, whatever statistics the server has, or does not have yet, to the way that its text
// describes: from rows to rows, by indexes, and made once. It holds until the end of the transaction, which is sent as a
// whole together with it, so that a pooler may stand between.
const planning = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
	set_config('enable_mergejoin', 'off', true), set_config('enable_sort', 'off', true), set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)`

const beginRead = `BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY`

// errTooMuch ends a statement like errEnough, when so much is still to come that a new connection costs less.
var errTooMuch = errors.New("pglog: too much")

// read runs a statement that reads by indexes alone, and gives each row to row, which may end it early, without an error,
// by errEnough and errTooMuch.
func (l *Log) read(ctx context.Context, text string, row func(pgx.Rows) error, args ...any) error {
	err := l.readRows(ctx, text, row, args)
	switch {
	case errors.Is(err, errEnough), errors.Is(err, errTooMuch):
		return nil
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return l.db.explain("read", err)
}

func (l *Log) readRows(ctx context.Context, text string, row func(pgx.Rows) error, args []any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var batch pgx.Batch
	if l.db.isolated {
		batch.Queue(beginRead)
	}
	batch.Queue(planning)
	before := batch.Len()
	batch.Queue(text, args...)
	if l.db.isolated {
		batch.Queue(`COMMIT`)
	}
	results := l.db.pool.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }() // again, without effect
	for range before {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := row(rows); err != nil {
			if errors.Is(err, errTooMuch) {
				cancel()
			}
			rows.Close()
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return results.Close()
}

// possible tells whether a name can be one in a database: it is valid UTF-8 and has no NUL.
func possible(name string) bool { return utf8.ValidString(name) && strings.IndexByte(name, 0) < 0 }

// possibleOf returns those of the names that can be in a database; none, not nil, if there is no such.
func possibleOf(names []string) []string {
	list := make([]string, 0, len(names))
	for _, name := range names {
		if possible(name) {
			list = append(list, name)
		}
	}
	return list
}

// pages makes a sequence out of pages: start begins anew for each loop, and what it returns reads one page after the
// other, until it says that there are no more. A page is not used any more when the next is read.
func pages[T any](ctx context.Context, l *Log, start func() func(context.Context) (page []T, more bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		next := start()
		for more := true; more; {
			if l.closed.Load() || l.db.ending.Err() != nil {
				yield(none, eventlog.ErrClosed)
				return
			}
			if err := ctx.Err(); err != nil {
				yield(none, err)
				return
			}
			var rows []T
			var err error
			if rows, more, err = next(ctx); err != nil {
				yield(none, err)
				return
			}
			for i := range rows {
				if err := ctx.Err(); err != nil {
					yield(none, err)
					return
				}
				if !yield(rows[i], nil) {
					return
				}
			}
		}
	}
}

// pageSize grows from page to page, since many loops end early.
type pageSize struct {
	size, left int // left: of the query's limit, -1 for none
}

func newPageSize(limit int) pageSize {
	if limit <= 0 {
		limit = -1
	}
	return pageSize{firstPage, limit}
}

// next returns how many rows the next page may have.
func (p *pageSize) next() int {
	if p.left >= 0 && p.left < p.size {
		return p.left
	}
	return p.size
}

// took notes how many rows a page had, and how many bytes they were.
func (p *pageSize) took(n, bytes int) {
	if n > 0 {
		p.size = max(1, min(p.size*8, fullPage, pageBytes*n/max(bytes, 1)))
	}
	if p.left >= 0 {
		p.left -= n
	}
}
