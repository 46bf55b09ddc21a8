package pglog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Problem is something in a schema that contradicts what else is in it.
type Problem struct {
	Module string // empty where it is the schema's
	Where  string // "position 7", "stream order/42, version 3", "table events" …
	What   string
}

func (p Problem) String() string {
	if p.Module == "" {
		return p.Where + ": " + p.What
	}
	return p.Module + ", " + p.Where + ": " + p.What
}

// maxProblems bounds what Verify reports: a schema with so many is not mended one by one.
const maxProblems = 1000

// Verify checks the whole schema, as it is when the check begins: its indexes, functions and sequences, and what a log
// promises: dense positions and versions in one order, links to events, recorded times that never decrease, entries whose
// revisions were given once, and no event that passes leave without a position. A sound schema yields nothing.
//
// It reads everything, in one transaction, which it keeps open for as long as the caller takes for the problems. Nobody
// waits for it; but what others update meanwhile can't be vacuumed. It asks for no privilege but those of reading. It does
// not read what PostgreSQL itself knows of its pages and indexes: for that there is pg_amcheck.
func (d *Database) Verify(ctx context.Context) iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		v := &verification{d: d, yield: yield, modules: map[int32]string{}}
		err := v.all(ctx)
		switch {
		case err == nil, errors.Is(err, errEnough):
		case errors.Is(err, errTooMany):
			yield(Problem{Where: "schema", What: fmt.Sprintf("there are more than these %d problems", maxProblems)}, nil)
		default:
			yield(Problem{}, d.explain("verify", err))
		}
	}
}

// errTooMany ends a check that finds more problems than anybody reads.
var errTooMany = errors.New("too many problems")

type verification struct {
	d       *Database
	tx      pgx.Tx
	yield   func(Problem, error) bool
	modules map[int32]string
	found   int
	waiting []unnumbered // committed, as far as they are remembered
}

// unnumbered is an event without a position.
type unnumbered struct {
	module    int32
	insertion int64
	id        event.ID
}

// all makes a pass, then all checks that look at one state, and then another pass.
func (v *verification) all(ctx context.Context) error {
	if err := v.sequence(ctx); err != nil {
		return err
	}
	_, passed := v.d.pass(ctx)
	if err := v.refused(passed); err != nil {
		return err
	}
	if err := v.state(ctx); err != nil || passed != nil {
		return err
	}
	return v.overlooked(ctx)
}

// state checks everything that can be seen in one snapshot.
func (v *verification) state(ctx context.Context) (err error) {
	if v.tx, err = v.d.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return err
	}
	defer func() { _ = v.tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := v.tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
		return err
	}
	for _, check := range []func(context.Context) error{
		v.indexes, v.functions, v.modulesOnce, v.positions, v.events, v.order, v.streams, v.places, v.links, v.tags, v.entries, v.gaps, v.numberedGaps, v.unnumbered,
	} {
		if err := v.separately(ctx, check); err != nil {
			return err
		}
	}
	return nil
}

// separately makes one of the checks. That it fails must not hide what the others find.
func (v *verification) separately(ctx context.Context, check func(context.Context) error) error {
	if _, err := v.tx.Exec(ctx, `SAVEPOINT ensue_verify`); err != nil {
		return err
	}
	err := check(ctx)
	if sqlState(err) == "" {
		return err
	}
	if _, back := v.tx.Exec(ctx, `ROLLBACK TO SAVEPOINT ensue_verify`); back != nil {
		return err
	}
	return v.refused(err)
}

// refused makes a problem of an error that the server gave because of what is in the schema.
func (v *verification) refused(err error) error {
	switch code := sqlState(err); {
	case code == "":
		return err
	case strings.HasPrefix(code, "XX"), strings.HasPrefix(code, "23"), code == "ENS01", // damaged; a pass that can't number
		code == "42P01", code == "42703", code == "42883": // no such table, column, function
		return v.problem(0, "schema", "%v", err)
	}
	return err
}

// problem notes a problem.
func (v *verification) problem(module int32, where, what string, args ...any) error {
	if v.found >= maxProblems {
		return errTooMany
	}
	v.found++
	name := v.modules[module]
	if name == "" && module != 0 {
		name = fmt.Sprintf("module %d", module)
	}
	if !v.yield(Problem{Module: name, Where: where, What: fmt.Sprintf(what, args...)}, nil) {
		return errEnough
	}
	return nil
}

// each runs a statement and calls row for each row, which was scanned into targets. When row returns an error, which ends
// the verification, so does the connection: very much may be still to come.
func (v *verification) each(ctx context.Context, text string, targets []any, row func() error, args ...any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := v.tx.Query(ctx, v.d.sql(text), args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, targets, func() error {
		err := row()
		if err != nil {
			cancel()
		}
		return err
	})
	return err
}

// sequence checks what gives insertion numbers. It may be read only as it is now.
func (v *verification) sequence(ctx context.Context) error {
	err := v.d.checkSequence(ctx)
	var altered *SequenceError
	if errors.As(err, &altered) {
		for i, what := range altered.Altered {
			if err := v.problem(0, "sequence", "%s; put it right by: %s", what, altered.Restore[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if errors.Is(err, ErrSequence) {
		return v.problem(0, "sequence", "%v", err)
	}
	return err
}

// indexes looks for the indexes: the unique ones make ids, versions and positions unique, and without the others reads
// take for ever.
func (v *verification) indexes(ctx context.Context) error {
	const text = `SELECT w.tab, w.cols, w.uniq FROM (VALUES
		('modules', 'module', true), ('modules', 'name', true), ('streams', 'stream', true), ('streams', 'module, name', true),
		('events', 'insertion', true), ('events', 'module, id', true), ('events', 'stream, version', true),
		('log', 'module, "position"', true), ('log', 'insertion', true), ('passes', 'pass', true), ('parked', 'gang', false),
		('links', 'stream, version', true), ('links', 'insertion, stream', true), ('tags', 'module, key, value, insertion', true),
		('entries', 'module, kind, key', true), ('entries', 'module, kind, due, key', false)) w (tab, cols, uniq)
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
			WHERE n.nspname = $1::text AND t.relname = w.tab AND i.indisvalid AND i.indisready AND (NOT w.uniq OR i.indisunique AND i.indimmediate AND i.indpred IS NULL)
			  AND pg_get_indexdef(i.indexrelid) ~ ('[(]' || w.cols || '[)]( WHERE |$)'))`
	var table, columns string
	var unique bool
	return v.each(ctx, text, []any{&table, &columns, &unique}, func() error {
		kind := "index"
		if unique {
			kind = "unique index"
		}
		return v.problem(0, "table "+table, "has no valid %s on %s", kind, columns)
	}, v.d.options.Schema)
}

// functions compares the functions with those of this program. Others beside them are their owner's.
func (v *verification) functions(ctx context.Context) error {
	all, err := Migrations(v.d.options.Schema)
	if err != nil {
		return err
	}
	var ours strings.Builder
	for _, m := range all {
		ours.WriteString(m.Up)
	}
	const text = `SELECT w.name, p.prosrc FROM unnest($2::text[]) w (name) LEFT JOIN (pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n
		ON n.oid = p.pronamespace AND n.nspname = $1::text) ON p.proname = w.name ORDER BY w.name`
	var name string
	var body *string
	return v.each(ctx, text, []any{&name, &body}, func() error {
		switch {
		case body == nil:
			return v.problem(0, "function "+name, "is missing")
		case !strings.Contains(ours.String(), "AS $$"+strings.ReplaceAll(*body, "\r\n", "\n")+"$$"):
			return v.problem(0, "function "+name, "is not what this program made")
		}
		return nil
	}, v.d.options.Schema, []string{"append", "as_json", "link_places", "next_insertion", "pass", "repeat"})
}

func (v *verification) modulesOnce(ctx context.Context) error {
	var module int32
	var name string
	return v.each(ctx, `SELECT module, name FROM ${schema}.modules ORDER BY module`, []any{&module, &name}, func() error {
		v.modules[module] = name
		if err := eventlog.CheckStream(name); err != nil {
			return v.problem(module, "module", "%v", err)
		}
		return nil
	})
}

// positions goes through the log in its order.
func (v *verification) positions(ctx context.Context) error {
	const text = `SELECT module, position, before, recorded < earlier
		FROM (SELECT module, position, recorded, lag(position, 1, 0::bigint) OVER w AS before, lag(recorded, 1, recorded) OVER w AS earlier
			FROM ${schema}.log WINDOW w AS (PARTITION BY module ORDER BY position)) l
		WHERE position <> before + 1 OR recorded < earlier`
	var module int32
	var position, before int64
	var earlier bool
	return v.each(ctx, text, []any{&module, &position, &before, &earlier}, func() error {
		if position != before+1 {
			if err := v.problem(module, at(&position), "follows position %d; positions have no holes", before); err != nil {
				return err
			}
		}
		if earlier {
			return v.problem(module, at(&position), "was recorded before the position before it")
		}
		return nil
	})
}

func at(position *int64) string {
	if position == nil {
		return "an event without a position"
	}
	return fmt.Sprintf("position %d", *position)
}

// events looks at each event by itself, and beside its stream.
func (v *verification) events(ctx context.Context) error {
	const text = `SELECT coalesce(l.module, e.module), l.position, l.module <> e.module, e.id, s.name, s.module <> e.module, e.version, s.version, e.type,
			e.system <> starts_with(e.type, $1::text), m.module IS NOT NULL
		FROM ${schema}.events e LEFT JOIN ${schema}.log l ON l.insertion = e.insertion LEFT JOIN ${schema}.streams s ON s.stream = e.stream LEFT JOIN ${schema}.modules m ON m.module = e.module
		WHERE l.module <> e.module OR s.stream IS NULL OR s.module <> e.module OR e.version < 1 OR e.version > s.version OR e.system <> starts_with(e.type, $1::text) OR m.module IS NULL`
	var module int32
	var position *int64
	var id [16]byte
	var elsewhere, foreign *bool
	var stream *string
	var version int64
	var last *int64
	var kind string
	var lies, known bool
	return v.each(ctx, text, []any{&module, &position, &elsewhere, &id, &stream, &foreign, &version, &last, &kind, &lies, &known}, func() (err error) {
		note := func(bad bool, what string, args ...any) {
			if bad && err == nil {
				err = v.problem(module, at(position), "event %s: %s", event.ID(id), fmt.Sprintf(what, args...))
			}
		}
		note(!known, "there is no such module")
		note(elsewhere != nil && *elsewhere, "it belongs to another module")
		note(stream == nil, "its stream does not exist")
		note(foreign != nil && *foreign, "its stream belongs to another module")
		note(version < 1, "it has version %d", version)
		note(last != nil && version > *last, "its version %d is above its stream's", version)
		note(lies, "type %q and its mark as a system record contradict each other", kind)
		return err
	}, event.SystemPrefix)
}

// order checks that within a stream numbers and positions follow versions.
func (v *verification) order(ctx context.Context) error {
	const text = `SELECT x.module, s.name, x.version, x.position, x.position < x.highest OR x.position IS NOT NULL AND x.lacking, x.insertion < x.before
		FROM (SELECT e.module, e.stream, e.version, e.insertion, l.position, max(l.position) OVER w AS highest, bool_or(l.position IS NULL) OVER w AS lacking, lag(e.insertion) OVER (PARTITION BY e.stream ORDER BY e.version) AS before
			FROM ${schema}.events e LEFT JOIN ${schema}.log l ON l.insertion = e.insertion
			WINDOW w AS (PARTITION BY e.stream ORDER BY e.version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) x
		LEFT JOIN ${schema}.streams s ON s.stream = x.stream WHERE x.position < x.highest OR x.position IS NOT NULL AND x.lacking OR x.insertion < x.before`
	var module int32
	var stream *string
	var version int64
	var position *int64
	var wrong, drawn *bool
	return v.each(ctx, text, []any{&module, &stream, &version, &position, &wrong, &drawn}, func() error {
		where := fmt.Sprintf("stream %s, version %d", named(stream), version)
		if wrong != nil && *wrong {
			return v.problem(module, where, "its position %d comes before that of an earlier version", *position)
		}
		return v.problem(module, where, "its insertion number was drawn before that of the version before it")
	})
}

func named(stream *string) string {
	if stream == nil {
		return "?"
	}
	return *stream
}

// streams compares each stream with the events and links in it.
func (v *verification) streams(ctx context.Context) error {
	const text = `SELECT s.module, s.name, s.version, s.truncated, s.links, count(p.version) FILTER (WHERE p.version > s.truncated), count(*) FILTER (WHERE p.link), coalesce(max(p.version), 0)
		FROM ${schema}.streams s LEFT JOIN (SELECT stream, version, false AS link FROM ${schema}.events UNION ALL SELECT stream, version, true FROM ${schema}.links) p ON p.stream = s.stream
		GROUP BY s.stream`
	var module int32
	var name string
	var version, truncated, links, there, linked, last int64
	return v.each(ctx, text, []any{&module, &name, &version, &truncated, &links, &there, &linked, &last}, func() error {
		where := "stream " + name
		err := eventlog.CheckStream(name)
		switch _, known := v.modules[module]; {
		case !known:
			return v.problem(module, where, "there is no such module")
		case err != nil:
			return v.problem(module, where, "%v", err)
		case truncated > version:
			return v.problem(module, where, "is truncated at version %d, above its version %d", truncated, version)
		case last != version && (last > version || version > truncated):
			return v.problem(module, where, "says version %d, its last event has %d", version, last)
		case there != version-truncated:
			return v.problem(module, where, "versions %d to %d should have %d events and links, and have %d", truncated+1, version, version-truncated, there)
		case linked != links:
			return v.problem(module, where, "says %d links, has %d", links, linked)
		}
		return nil
	})
}

// places looks for versions that are an event and a link.
func (v *verification) places(ctx context.Context) error {
	const text = `SELECT e.module, s.name, e.version FROM ${schema}.links k JOIN ${schema}.events e ON e.stream = k.stream AND e.version = k.version
		LEFT JOIN ${schema}.streams s ON s.stream = e.stream`
	var module int32
	var stream *string
	var version int64
	return v.each(ctx, text, []any{&module, &stream, &version}, func() error {
		return v.problem(module, fmt.Sprintf("stream %s, version %d", named(stream), version), "is an event and a link")
	})
}

func (v *verification) links(ctx context.Context) error {
	const text = `SELECT coalesce(s.module, e.module, 0), s.name, k.version, k.insertion, l.position, e.insertion IS NOT NULL, s.module <> e.module, e.stream = k.stream
		FROM ${schema}.links k LEFT JOIN ${schema}.events e ON e.insertion = k.insertion LEFT JOIN ${schema}.log l ON l.insertion = k.insertion LEFT JOIN ${schema}.streams s ON s.stream = k.stream
		WHERE e.insertion IS NULL OR l.insertion IS NULL OR s.module IS NULL OR s.module <> e.module OR e.stream = k.stream`
	var module int32
	var stream *string
	var version, insertion int64
	var position *int64
	var there bool
	var foreign, own *bool
	return v.each(ctx, text, []any{&module, &stream, &version, &insertion, &position, &there, &foreign, &own}, func() error {
		what := "is a link to an event of its own stream"
		switch {
		case stream == nil:
			what = "is a link in a stream that does not exist"
		case !there:
			what = fmt.Sprintf("is a link to the event with insertion number %d, and there is none", insertion)
		case position == nil:
			what = fmt.Sprintf("is a link to the event with insertion number %d, which has no position", insertion)
		case foreign != nil && *foreign:
			what = fmt.Sprintf("is a link to position %d of another module", *position)
		}
		return v.problem(module, fmt.Sprintf("stream %s, version %d", named(stream), version), "%s", what)
	})
}

// tags compares the tags by which events are found with those that the events have, and looks at headers on the way.
func (v *verification) tags(ctx context.Context) error {
	const text = `SELECT coalesce(l.module, e.module, t.module), l.position, coalesce(e.insertion, t.insertion), e.insertion IS NOT NULL, e.headers, e.tags, t.keys, t.vals, t.module <> e.module
		FROM (SELECT * FROM ${schema}.events WHERE headers IS NOT NULL OR tags IS NOT NULL) e
		FULL JOIN (SELECT insertion, min(module) AS module, array_agg(key ORDER BY key, value) AS keys, array_agg(value ORDER BY key, value) AS vals FROM ${schema}.tags GROUP BY insertion) t
			ON t.insertion = e.insertion
		LEFT JOIN ${schema}.log l ON l.insertion = coalesce(e.insertion, t.insertion)`
	var module int32
	var position *int64
	var insertion int64
	var there bool
	var headers, tags *string
	var keys, values []string
	var foreign *bool
	return v.each(ctx, text, []any{&module, &position, &insertion, &there, &headers, &tags, &keys, &values, &foreign}, func() error {
		where := at(position)
		if position == nil {
			where = fmt.Sprintf("insertion number %d", insertion)
		}
		var have map[string]string
		if headers != nil && json.Unmarshal([]byte(*headers), &have) != nil {
			if err := v.problem(module, where, "its headers are no JSON"); err != nil {
				return err
			}
		}
		var own []event.Tag
		if tags != nil && json.Unmarshal([]byte(*tags), &own) != nil {
			return v.problem(module, where, "its tags are no JSON")
		}
		if foreign != nil && *foreign {
			return v.problem(module, where, "is found by its tags in another module")
		}
		byTag := make([]event.Tag, len(keys))
		for i := range keys {
			byTag[i] = event.Tag{Key: keys[i], Value: values[i]}
		}
		return v.compare(module, where, own, byTag)
	})
}

// compare looks for tags that are only on one side.
func (v *verification) compare(module int32, where string, own, byTag []event.Tag) error {
	slices.SortFunc(own, func(a, b event.Tag) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
	})
	for _, t := range byTag {
		if !slices.Contains(own, t) {
			if err := v.problem(module, where, "is found by tag %s=%s, which its event does not have", t.Key, t.Value); err != nil {
				return err
			}
		}
	}
	for _, t := range slices.Compact(own) {
		if !slices.Contains(byTag, t) {
			if err := v.problem(module, where, "is not found by its tag %s=%s", t.Key, t.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verification) entries(ctx context.Context) error {
	const text = `WITH r AS MATERIALIZED (SELECT module, kind, key, revision, lag(revision) OVER (ORDER BY revision) AS before FROM ${schema}.entries),
		given AS MATERIALIZED (SELECT last_value AS last FROM ${schema}.revisions)
		SELECT r.module, r.kind, r.key, r.revision, given.last, coalesce(r.revision = r.before, false), m.module IS NOT NULL
		FROM r CROSS JOIN given LEFT JOIN ${schema}.modules m ON m.module = r.module
		WHERE r.revision < 1 OR r.revision > given.last OR r.revision = r.before OR r.kind <> ALL ($1::int[]) OR m.module IS NULL`
	var kinds []int32
	for _, k := range eventlog.Kinds() {
		kinds = append(kinds, int32(k))
	}
	var module int32
	var kind int16
	var key string
	var revision, last int64
	var twice, known bool
	return v.each(ctx, text, []any{&module, &kind, &key, &revision, &last, &twice, &known}, func() error {
		if !slices.Contains(kinds, int32(kind)) {
			return v.problem(module, "entry "+key, "%d is no kind of entry", kind)
		}
		where := fmt.Sprintf("%v %s", eventlog.Kind(kind), key) // #nosec G115 -- one of the kinds
		switch {
		case !known:
			return v.problem(module, where, "there is no such module")
		case twice:
			return v.problem(module, where, "shares revision %d with another entry", revision)
		}
		return v.problem(module, where, "has revision %d; the schema has given out 1 to %d", revision, last)
	}, kinds)
}

// allGaps are the gaps that passes keep, those that they look at (gang 0) and those that are parked.
const allGaps = `known AS MATERIALIZED (SELECT * FROM ${schema}.passes ORDER BY pass DESC LIMIT 1),
	gaps AS MATERIALIZED (SELECT 0::bigint AS gang, g FROM known, unnest(known.gaps) g UNION ALL SELECT p.gang, g FROM ${schema}.parked p, unnest(p.gaps) g)`

// gaps checks that what passes keep is as a pass leaves it.
func (v *verification) gaps(ctx context.Context) error {
	const text = `WITH ` + allGaps + `
		SELECT 'has ' || cardinality(gaps) || ' gaps with ' || cardinality(bounds) || ' bounds' FROM known WHERE cardinality(gaps) <> cardinality(bounds)
		UNION ALL SELECT 'has ' || cardinality(gaps) || ' gaps with ' || cardinality(bounds) || ' bounds, parked in group ' || gang FROM ${schema}.parked WHERE cardinality(gaps) <> cardinality(bounds)
		UNION ALL SELECT 'has ' || cardinality(groups) || ' groups of parked gaps with ' || cardinality(owners) || ' owners' FROM known WHERE cardinality(groups) <> cardinality(owners)
		UNION ALL SELECT 'has the gap ' || g || ', which is not below ' || f.frontier || ', the highest number with a position'
			FROM gaps, (SELECT coalesce(max(insertion), 0) AS frontier FROM ${schema}.log) f WHERE isempty(g) OR lower(g) IS NULL OR upper(g) IS NULL OR lower(g) < 1 OR upper(g) > f.frontier
		UNION ALL SELECT 'has the gap ' || g || ', which overlaps another' FROM (SELECT g, max(upper(g)) OVER (ORDER BY lower(g), upper(g) ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached FROM gaps) x WHERE lower(g) < reached
		UNION ALL SELECT 'has gaps parked in group ' || p.gang || ', which nothing wakes' FROM (SELECT DISTINCT gang FROM ${schema}.parked) p WHERE NOT EXISTS (SELECT FROM known WHERE p.gang = ANY (known.groups))`
	var what string
	return v.each(ctx, text, []any{&what}, func() error { return v.problem(0, "what the last pass left", "%s", what) })
}

// numberedGaps looks for positions of numbers that a later pass would give one again.
func (v *verification) numberedGaps(ctx context.Context) error {
	const text = `WITH ` + allGaps + ` SELECT l.module, l.position, gaps.g::text FROM gaps CROSS JOIN LATERAL (SELECT module, position FROM ${schema}.log
		WHERE insertion >= lower(gaps.g) AND insertion < upper(gaps.g) OFFSET 0) l`
	var module int32
	var position int64
	var gap string
	return v.each(ctx, text, []any{&module, &position, &gap}, func() error {
		return v.problem(module, at(&position), "is in the gap %s, in which passes look for events that have no position", gap)
	})
}

// unnumbered looks for what is only in the log, and for what is not. An event may wait for the next pass; one below the
// highest number with a position does so in a gap.
func (v *verification) unnumbered(ctx context.Context) error {
	const text = `WITH ` + allGaps + `, open AS MATERIALIZED (SELECT coalesce(range_agg(g), '{}') AS numbers FROM gaps), f AS MATERIALIZED (SELECT coalesce(max(insertion), 0) AS frontier FROM ${schema}.log)
		SELECT coalesce(l.module, e.module), l.position, coalesce(l.insertion, e.insertion), e.id, e.insertion > f.frontier OR e.insertion <@ open.numbers
		FROM ${schema}.log l FULL JOIN ${schema}.events e ON e.insertion = l.insertion CROSS JOIN open CROSS JOIN f
		WHERE l.insertion IS NULL OR e.insertion IS NULL ORDER BY 3`
	var module int32
	var position *int64
	var insertion int64
	var id *[16]byte
	var waits *bool
	return v.each(ctx, text, []any{&module, &position, &insertion, &id, &waits}, func() error {
		switch {
		case id == nil:
			return v.problem(module, at(position), "there is no event with its insertion number %d", insertion)
		case !*waits:
			return v.problem(module, fmt.Sprintf("event %s", event.ID(*id)), "is committed and gets no position: its insertion number %d was given up", insertion)
		case len(v.waiting) < maxProblems: // the lowest numbers, of as many as there are
			v.waiting = append(v.waiting, unnumbered{module, insertion, *id})
		}
		return nil
	})
}

// overlooked makes a pass, and looks whether it gave a position to what waited for one.
func (v *verification) overlooked(ctx context.Context) error {
	if len(v.waiting) == 0 {
		return nil
	}
	before := v.d.stats.passes.Load()
	_, passed := v.d.pass(ctx)
	if err := v.refused(passed); err != nil || v.d.stats.passes.Load() == before { // a standby, or a role that makes none
		return err
	}
	numbers := make([]int64, len(v.waiting))
	for i, w := range v.waiting {
		numbers[i] = w.insertion
	}
	left := map[int64]bool{}
	err := v.d.query(ctx, v.d.sql(`SELECT n FROM unnest($1::bigint[]) n WHERE NOT EXISTS (SELECT FROM ${schema}.log WHERE insertion = n)`), func(r pgx.Rows) error {
		var n int64
		err := r.Scan(&n)
		left[n] = true
		return err
	}, numbers)
	for _, w := range v.waiting {
		if err == nil && left[w.insertion] {
			err = v.problem(w.module, fmt.Sprintf("event %s", w.id), "is committed, and a pass gave it no position; its insertion number is %d", w.insertion)
		}
	}
	return err
}
