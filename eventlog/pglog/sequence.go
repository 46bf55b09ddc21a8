package pglog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// oldestServer is the first release that has what the tables and functions are made of: multiranges.
const oldestServer = 140000

// checkServer refuses a server that can't keep logs.
func checkServer(ctx context.Context, conn *pgx.Conn) error {
	var number int
	var release, encoding string
	const text = `SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`
	if err := conn.QueryRow(ctx, text, mode(conn)).Scan(&number, &release, &encoding); err != nil {
		return fmt.Errorf("pglog: %s: ask for the server's version: %w", show(conn.Config()), err)
	}
	if err := checkRelease(number, release, encoding); err != nil {
		return fmt.Errorf("pglog: %s: %w", show(conn.Config()), err)
	}
	return nil
}

func checkRelease(number int, release, encoding string) error {
	if number < oldestServer {
		return fmt.Errorf("the server is PostgreSQL %s, and 14 or later is needed; update the server", release)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database keeps text as %s, and UTF8 is needed; make one with ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// SequenceError reports that what gives insertion numbers was altered, so that events could be left without a position, or
// two could get the same number. It matches ErrSequence.
type SequenceError struct {
	Address string // of the database, without its password
	Schema  string
	Altered []string // what is not as it must be
	Restore []string // statements that put it right, for the owner of the schema
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("pglog: %s: schema %q: %s; put it right by: %s", e.Address, e.Schema, strings.Join(e.Altered, ", "), strings.Join(e.Restore, "; "))
}

// Is makes the error match ErrSequence.
func (e *SequenceError) Is(target error) bool { return target == ErrSequence }

// checkSequence looks at all that passes rely on and an administrator may alter by mistake, in the catalogs, which
// everybody may read; at the numbers only if the role may. A pass looks at those itself.
func (d *Database) checkSequence(ctx context.Context) error {
	e := &SequenceError{Address: d.address, Schema: d.options.Schema}
	alter := func(what, statement string) {
		e.Altered, e.Restore = append(e.Altered, what), append(e.Restore, d.sql(statement))
	}
	const catalogs = `SELECT s.seqincrement, s.seqcache, s.seqcycle, c.relpersistence::text,
	       has_sequence_privilege(c.oid, 'SELECT') AND has_column_privilege(l.oid, 'insertion', 'SELECT')
	  FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	  JOIN pg_catalog.pg_class l ON l.relnamespace = n.oid AND l.relname = 'log'
	 WHERE n.nspname = $1 AND c.relname = 'insertions'`
	var increment, cache int64
	var cycle, mayRead, found bool
	var persistence string
	err := d.query(ctx, catalogs, func(r pgx.Rows) error {
		found = true
		return r.Scan(&increment, &cache, &cycle, &persistence, &mayRead)
	}, d.options.Schema)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("pglog: %s: schema %q has no sequence insertions, or no table log: %w: restore the schema from a backup", d.address, d.options.Schema, ErrSequence)
	}
	if increment != 1 {
		alter(fmt.Sprintf("the sequence of insertion numbers counts by %d instead of by 1", increment), "ALTER SEQUENCE ${schema}.insertions INCREMENT BY 1")
	}
	if cache != 1 {
		alter(fmt.Sprintf("every session keeps %d insertion numbers (CACHE %d) instead of drawing each", cache, cache), "ALTER SEQUENCE ${schema}.insertions CACHE 1")
	}
	if cycle {
		alter("the sequence of insertion numbers begins anew at its end (CYCLE)", "ALTER SEQUENCE ${schema}.insertions NO CYCLE")
	}
	if persistence != "p" {
		alter("the sequence of insertion numbers does not survive a crash (UNLOGGED)", "ALTER SEQUENCE ${schema}.insertions SET LOGGED")
	}
	if err := d.checkFunctions(ctx, alter); err != nil {
		return err
	}
	if mayRead {
		// The sequence is read as it is now, and the log as it was before.
		const numbers = `SELECT coalesce((SELECT max(insertion) FROM ${schema}.log), 0), (SELECT last_value FROM ${schema}.insertions)`
		err := d.query(ctx, d.sql(numbers), func(r pgx.Rows) error {
			var numbered, drawn int64
			if err := r.Scan(&numbered, &drawn); err != nil {
				return err
			}
			if drawn < numbered {
				alter(fmt.Sprintf("the sequence of insertion numbers stands at %d, behind %d, which was handed out", drawn, numbered),
					fmt.Sprintf("SELECT setval('${schema}.insertions', %d)", numbered))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(e.Altered) > 0 {
		return e
	}
	return nil
}

// checkFunctions looks at how the functions that draw numbers, or call what does, may be run.
func (d *Database) checkFunctions(ctx context.Context, alter func(what, statement string)) error {
	const functions = `SELECT p.proname::text, p.proparallel::text, p.provolatile::text
	  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
	 WHERE n.nspname = $1 AND p.proname IN ('next_insertion', 'append', 'pass') ORDER BY 1`
	return d.query(ctx, functions, func(r pgx.Rows) error {
		var name, parallel, volatile string
		if err := r.Scan(&name, &parallel, &volatile); err != nil {
			return err
		}
		if parallel != "u" {
			alter("the function "+name+" may run in parallel workers", "ALTER FUNCTION ${schema}."+name+" PARALLEL UNSAFE")
		}
		if volatile != "v" {
			alter("the function "+name+" is not VOLATILE", "ALTER FUNCTION ${schema}."+name+" VOLATILE")
		}
		return nil
	}, d.options.Schema)
}
