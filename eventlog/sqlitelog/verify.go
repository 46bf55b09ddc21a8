package sqlitelog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Problem is something in a file that contradicts what else is in it.
type Problem struct {
	Module string // empty where it is the file's
	Where  string // "position 7", "stream order/42, version 3", "table events" …
	What   string
}

func (p Problem) String() string {
	if p.Module == "" {
		return p.Where + ": " + p.What
	}
	return p.Module + ", " + p.Where + ": " + p.What
}

// maxProblems bounds what Verify reports: a file with so many is not mended one by one.
const maxProblems = 1000

// Verify checks the whole file, as it is when the check begins: what SQLite knows of its pages and indexes, and what a
// log promises: dense positions and versions, links to events, recorded times that never decrease, entries whose
// revisions were given once. A sound file yields nothing. It reads everything, and keeps no writer from writing.
func (f *File) Verify(ctx context.Context) iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		found, err := f.verify(ctx)
		for _, p := range found {
			if !yield(p, nil) {
				return
			}
		}
		if err != nil {
			yield(Problem{}, explain(f.path, "verify", err))
		}
	}
}

// verify uses a connection of its own, in one transaction, so that all checks look at the same state.
func (f *File) verify(ctx context.Context) ([]Problem, error) {
	if f.ending.Err() != nil {
		return nil, eventlog.ErrClosed
	}
	c, err := connect(ctx, f.readers.dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.close() }()
	if _, err := c.exec(`BEGIN DEFERRED`); err != nil {
		return nil, err
	}
	v := &verifier{ctx: ctx, c: c, modules: map[int64]string{}}
	for _, check := range []func() error{v.pages, v.schema, v.modulesOnce, v.events, v.streams, v.order, v.links, v.tags, v.entries} {
		err := check()
		switch extended, primary := code(err); {
		case ctx.Err() != nil:
			return v.found, ctx.Err()
		case errors.Is(err, errTooMany):
			return append(v.found, Problem{Where: "file", What: fmt.Sprintf("there are more than these %d problems", maxProblems)}), nil
		case extended == 1 || primary == codeCorrupt: // also a damaged table must not hide what the other checks find
			v.found = append(v.found, Problem{Where: "file", What: err.Error()})
		case err != nil:
			return v.found, err
		}
	}
	return v.found, nil
}

type verifier struct {
	ctx     context.Context //nolint:containedctx // of one call
	c       *conn
	modules map[int64]string
	found   []Problem
}

// errTooMany ends a check that finds more problems than anybody reads.
var errTooMany = errors.New("too many problems")

// problem notes a problem.
func (v *verifier) problem(module int64, where, what string, args ...any) error {
	if len(v.found) >= maxProblems {
		return errTooMany
	}
	name := v.modules[module]
	if name == "" && module != 0 {
		name = fmt.Sprintf("module %d", module)
	}
	v.found = append(v.found, Problem{Module: name, Where: where, What: fmt.Sprintf(what, args...)})
	return nil
}

func (v *verifier) each(text string, row func([]driver.Value) error) error {
	return v.c.queryContext(v.ctx, text, row)
}

// pages asks SQLite about its pages, indexes, uniqueness and types.
func (v *verifier) pages() error {
	return v.each(`PRAGMA integrity_check(100)`, func(row []driver.Value) error {
		if text, _ := row[0].(string); text != "ok" {
			return v.problem(0, "file", "%s", text)
		}
		return nil
	})
}

// schema compares the tables with those of a new file. Others beside them are their owner's.
func (v *verifier) schema() error {
	fresh, err := connect(v.ctx, ":memory:")
	if err != nil {
		return err
	}
	defer func() { _ = fresh.close() }()
	scripts, err := migrations()
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if _, err := fresh.dc.(driver.ExecerContext).ExecContext(v.ctx, script, nil); err != nil {
			return err
		}
	}
	const text = `SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema ORDER BY name`
	have := map[string]string{}
	err = v.each(text, func(row []driver.Value) error {
		have[row[0].(string)] = row[1].(string)
		return nil
	})
	if err != nil {
		return err
	}
	return fresh.query(text, func(row []driver.Value) error {
		name := row[0].(string)
		switch sql, ok := have[name]; {
		case !ok:
			return v.problem(0, name, "is missing")
		case sql != row[1].(string):
			return v.problem(0, name, "is not what this program made")
		}
		return nil
	})
}

func (v *verifier) modulesOnce() error {
	return v.each(`SELECT module, name, length(log) FROM modules`, func(row []driver.Value) error {
		v.modules[row[0].(int64)] = row[1].(string)
		if row[2].(int64) != int64(len(event.ID{})) {
			return v.problem(row[0].(int64), "log", "its id has %d bytes", row[2])
		}
		return nil
	})
}

// events goes through the events in the order of their positions.
func (v *verifier) events() error {
	var last, recorded int64
	return v.each(`SELECT e.seq, length(e.id), e.recorded, e.system, t.name, s.module, e.version > s.version, json_valid(coalesce(e.headers, '{}'))
		FROM events e LEFT JOIN types t ON t.type = e.type LEFT JOIN streams s ON s.stream = e.stream ORDER BY e.seq`,
		func(row []driver.Value) error {
			seq := row[0].(int64)
			module, position := seq>>positionBits, seq&maxPosition
			if last>>positionBits != module {
				last, recorded = module<<positionBits, 0
			}
			where, before := fmt.Sprintf("position %d", position), last
			last = seq
			if _, known := v.modules[module]; !known {
				return v.problem(module, where, "there is no such module")
			}
			var err error
			note := func(bad bool, what string, args ...any) {
				if bad && err == nil {
					err = v.problem(module, where, what, args...)
				}
			}
			note(seq != before+1, "follows position %d; positions have no holes", before&maxPosition)
			note(row[1].(int64) != int64(len(event.ID{})), "its id has %d bytes", row[1])
			note(row[2].(int64) < recorded, "was recorded before the position before it")
			recorded = row[2].(int64)
			name, typed := row[4].(string)
			note(!typed, "its type has no name")
			note(typed && strings.HasPrefix(name, event.SystemPrefix) != (row[3].(int64) != 0), "type %q and its mark as a system record contradict each other", name)
			owner, placed := row[5].(int64)
			note(!placed, "its stream does not exist")
			note(placed && owner != module, "its stream belongs to another module")
			note(placed && row[6].(int64) != 0, "its version is above its stream's")
			note(row[7].(int64) == 0, "its headers are no JSON")
			return err
		})
}

// streams compares each stream with the events and links in it.
func (v *verifier) streams() error {
	return v.each(`SELECT module, name, version, truncated, links,
			(SELECT count(*) FROM events e WHERE e.stream = s.stream AND e.version > s.truncated),
			(SELECT count(*) FROM links l WHERE l.stream = s.stream AND l.version > s.truncated),
			(SELECT count(*) FROM links l WHERE l.stream = s.stream),
			max(coalesce((SELECT max(version) FROM events e WHERE e.stream = s.stream), 0), coalesce((SELECT max(version) FROM links l WHERE l.stream = s.stream), 0)),
			(SELECT min(e.version) FROM events e JOIN links l ON l.stream = e.stream AND l.version = e.version WHERE e.stream = s.stream)
		FROM streams s`, func(row []driver.Value) error {
		module, where := row[0].(int64), "stream "+row[1].(string)
		version, truncated, links := row[2].(int64), row[3].(int64), row[4].(int64)
		own, linked, last := row[5].(int64), row[6].(int64), row[8].(int64)
		switch _, known := v.modules[module]; {
		case !known:
			return v.problem(module, where, "there is no such module")
		case eventlog.CheckStream(row[1].(string)) != nil:
			return v.problem(module, where, "%v", eventlog.CheckStream(row[1].(string)))
		case truncated > version:
			return v.problem(module, where, "is truncated at version %d, above its version %d", truncated, version)
		case last != version && (last > version || version > truncated):
			return v.problem(module, where, "says version %d, its last event has %d", version, last)
		case row[9] != nil:
			return v.problem(module, where, "version %d is an event and a link", row[9])
		case own+linked != version-truncated:
			return v.problem(module, where, "versions %d to %d should have %d events and links, and have %d", truncated+1, version, version-truncated, own+linked)
		case row[7].(int64) != links:
			return v.problem(module, where, "says %d links, has %d", links, row[7])
		}
		return nil
	})
}

// order checks that within a stream positions follow versions.
func (v *verifier) order() error {
	return v.each(`SELECT v.seq, s.name, v.version FROM (SELECT stream, version, seq, lag(seq) OVER (PARTITION BY stream ORDER BY version) AS before FROM events) v
		JOIN streams s ON s.stream = v.stream WHERE v.seq < v.before`, func(row []driver.Value) error {
		return v.problem(row[0].(int64)>>positionBits, fmt.Sprintf("stream %s, version %d", row[1], row[2]), "its position %d is below that of the version before it", row[0].(int64)&maxPosition)
	})
}

func (v *verifier) links() error {
	return v.each(`SELECT l.seq, coalesce(s.name, '?'), l.version, e.seq IS NULL, s.module IS NULL, s.module = l.seq >> 44, e.stream = l.stream
		FROM links l LEFT JOIN events e ON e.seq = l.seq LEFT JOIN streams s ON s.stream = l.stream
		WHERE e.seq IS NULL OR s.module IS NULL OR s.module <> l.seq >> 44 OR e.stream = l.stream`, func(row []driver.Value) error {
		seq := row[0].(int64)
		what := "is linked to its own stream"
		switch {
		case row[4].(int64) != 0:
			what = "is linked to a stream that does not exist"
		case row[3].(int64) != 0:
			what = "is linked, and there is no event"
		case row[5].(int64) == 0:
			what = "is linked to a stream of another module"
		}
		return v.problem(seq>>positionBits, fmt.Sprintf("stream %s, version %d", row[1], row[2]), "position %d %s", seq&maxPosition, what)
	})
}

func (v *verifier) tags() error {
	err := v.each(`SELECT t.seq, t.key, t.value FROM tags t LEFT JOIN events e ON e.seq = t.seq WHERE e.seq IS NULL
		OR NOT EXISTS (SELECT 1 FROM json_each(e.tags) j WHERE j.value ->> 'key' = t.key AND j.value ->> 'value' = t.value)`, func(row []driver.Value) error {
		return v.problem(row[0].(int64)>>positionBits, fmt.Sprintf("position %d", row[0].(int64)&maxPosition), "is found by tag %s=%s, which its event does not have", row[1], row[2])
	})
	if err != nil {
		return err
	}
	return v.each(`SELECT e.seq, j.value ->> 'key', j.value ->> 'value' FROM events e, json_each(e.tags) j WHERE e.tags IS NOT NULL
		AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.key = j.value ->> 'key' AND t.value = j.value ->> 'value' AND t.seq = e.seq)`, func(row []driver.Value) error {
		return v.problem(row[0].(int64)>>positionBits, fmt.Sprintf("position %d", row[0].(int64)&maxPosition), "is not found by its tag %s=%s", row[1], row[2])
	})
}

func (v *verifier) entries() error {
	return v.each(`SELECT e.module, e.kind, e.key, e.revision, m.revision, e.revision = e.before
		FROM (SELECT module, kind, key, revision, lag(revision) OVER (PARTITION BY module ORDER BY revision) AS before FROM entries) e
		LEFT JOIN modules m ON m.module = e.module`, func(row []driver.Value) error {
		kind := eventlog.Kind(row[1].(int64)) // #nosec G115 -- compared below
		module, where := row[0].(int64), fmt.Sprintf("%v %s", kind, row[2])
		highest, known := row[4].(int64)
		switch twice, _ := row[5].(int64); {
		case !known:
			return v.problem(module, where, "there is no such module")
		case int64(kind) != row[1].(int64) || !kind.Valid():
			return v.problem(module, where, "%d is no kind of entry", row[1])
		case row[3].(int64) < 1 || row[3].(int64) > highest:
			return v.problem(module, where, "has revision %d; the log has given out 1 to %d", row[3], highest)
		case twice != 0:
			return v.problem(module, where, "shares revision %d with another entry", row[3])
		}
		return nil
	})
}
