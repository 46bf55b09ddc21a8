package pglog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

var variedSchemas atomic.Int64

func fact(data string) event.Event { return event.Event{Type: "fact", Data: []byte(data)} }

// variedDatabase is a schema with something of everything: in each of two modules five events, and a number that was
// drawn and given up.
func variedDatabase(t *testing.T, address string) *Database {
	t.Helper()
	d := opened(t, address, Options{Schema: fmt.Sprint("varied ", variedSchemas.Add(1)), NoListen: true})
	for _, module := range []string{"orders", "bills"} {
		l, err := d.Log(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		tagged := fact("tagged")
		tagged.Tags = []event.Tag{{Key: "seat", Value: "A2"}, {Key: "seat", Value: "A1"}, {Key: "seat", Value: "A1"}}
		tagged.Metadata.Headers = map[string]string{"from": "here"}
		system := event.Event{Type: "ensue.mark", Data: []byte("{}")}
		appendAll := func(writes ...eventlog.Write) {
			t.Helper()
			if _, err := l.Append(t.Context(), writes...); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Head(t.Context()); err != nil { // with all that it appended
				t.Fatal(err)
			}
		}
		appendAll(eventlog.ToStream{Stream: "order/1", Events: []event.Event{fact("1"), fact("2"), tagged}}, eventlog.ToStream{Stream: "order/2", Events: []event.Event{system}},
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "c", Value: []byte("1")}},
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: "k"}})
		if _, err := d.pool.Exec(t.Context(), d.sql(`SELECT ${schema}.next_insertion()`)); err != nil {
			t.Fatal(err)
		}
		appendAll(eventlog.LinkTo{Stream: "view/1", Positions: []eventlog.Position{2, 1, 4}}, eventlog.ToStream{Stream: "view/1", Events: []event.Event{fact("own")}})
		if err := errors.Join(l.TruncateStream(t.Context(), "order/1", 1), l.CloseStream(t.Context(), "order/2", eventlog.Any)); err != nil {
			t.Fatal(err)
		}
	}
	givenUp(t, d)
	return d
}

// givenUp makes passes until they keep no gap. While transactions of other tests are open, they may.
func givenUp(t *testing.T, d *Database) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := d.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		var kept int
		const text = `SELECT coalesce((SELECT cardinality(gaps) + cardinality(groups) FROM ${schema}.passes ORDER BY pass DESC LIMIT 1), 0)`
		if err := d.pool.QueryRow(t.Context(), d.sql(text)).Scan(&kept); err != nil {
			t.Fatal(err)
		}
		if kept == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("passes keep %d gaps", kept)
		}
		if err := pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func problems(t *testing.T, d *Database) (found []string) {
	t.Helper()
	for p, err := range d.Verify(context.Background()) {
		if err != nil {
			t.Fatalf("verify: %v", err)
		}
		found = append(found, p.String())
	}
	return found
}

// TestVerifyFindsDamage: each check finds what it is for, says where, and the others still run.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	// Insertion numbers are 1 to 4, 6 in orders and 7 to 10, 12 in bills; 5 and 11 were given up.
	const (
		insert = `INSERT INTO ${schema}.events (insertion, module, id, stream, version, type, system, schema, data) SELECT %d, module, gen_random_uuid(), stream, version + 1, 'fact', false, 1, '' FROM ${schema}.streams WHERE module = 1 AND name = 'view/1'; UPDATE ${schema}.streams SET version = version + 1 WHERE module = 1 AND name = 'view/1'`
		passed = `INSERT INTO ${schema}.passes SELECT coalesce(max(pass), 0) + 1, %s FROM ${schema}.passes`
	)
	for name, c := range map[string]struct {
		damage string
		want   string
		others bool // other problems follow from it
	}{
		"nothing":                         {`SELECT 1`, "", false},
		"a hole":                          {`DELETE FROM ${schema}.log WHERE module = 1 AND position = 2`, "orders, position 3: follows position 1", true},
		"a hole at the beginning":         {`DELETE FROM ${schema}.log WHERE module = 2 AND position = 1`, "bills, position 2: follows position 0", true},
		"a position without an event":     {`DELETE FROM ${schema}.events WHERE insertion = 12; UPDATE ${schema}.streams SET version = 3 WHERE module = 2 AND name = 'view/1'`, "bills, position 5: there is no event with its insertion number 12", false},
		"a position in another log":       {`UPDATE ${schema}.log SET module = 2, position = 6 WHERE module = 1 AND position = 5`, "it belongs to another module", true},
		"an event given up":               {fmt.Sprintf(insert, 5), "is committed and gets no position: its insertion number 5 was given up", true},
		"an event that passes don't see":  {fmt.Sprintf(insert, 11) + `; ` + fmt.Sprintf(passed, `'{"[11,12)"}', '{3}', '1000000', '{}', '{}', '{}'`), "is committed, and a pass gave it no position; its insertion number is 11", false},
		"a link to nothing":               {`DELETE FROM ${schema}.events WHERE insertion = 10`, "bills, stream view/1, version 3: is a link to the event with insertion number 10, and there is none", true},
		"a version missing":               {`UPDATE ${schema}.events SET version = 9 WHERE insertion = 2`, "orders, stream order/1: says version 3, its last event has 9", true},
		"a version below all":             {`UPDATE ${schema}.events SET version = 0 WHERE insertion = 2`, "it has version 0", true},
		"a stream behind":                 {`UPDATE ${schema}.streams SET version = 2 WHERE module = 1 AND name = 'order/1'`, "its version 3 is above its stream's", true},
		"a stream ahead":                  {`UPDATE ${schema}.streams SET version = 7 WHERE module = 1 AND name = 'order/1'`, "orders, stream order/1: says version 7, its last event has 3", false},
		"a version twice":                 {`UPDATE ${schema}.events SET version = 2 WHERE insertion = 6`, "orders, stream view/1, version 2: is an event and a link", true},
		"a hole in a stream":              {`DELETE FROM ${schema}.log WHERE insertion = 12; DELETE FROM ${schema}.links WHERE insertion = 9; UPDATE ${schema}.events SET version = 4 WHERE insertion = 9; UPDATE ${schema}.streams SET version = 4 WHERE module = 2 AND name = 'order/1'`, "bills, stream order/1: versions 2 to 4 should have 3 events and links, and have 2", false},
		"a truncated event lost":          {`DELETE FROM ${schema}.events WHERE insertion = 7; DELETE FROM ${schema}.links WHERE insertion = 7; UPDATE ${schema}.streams SET truncated = 2, links = 2 WHERE module = 2 AND name = 'view/1'`, "bills, position 1: there is no event with its insertion number 7", false},
		"an event without a stream":       {`DELETE FROM ${schema}.streams WHERE module = 2 AND name = 'order/2'`, "its stream does not exist", false},
		"an event of another module":      {`UPDATE ${schema}.events SET stream = (SELECT stream FROM ${schema}.streams WHERE module = 2 AND name = 'order/2'), version = 5 WHERE insertion = 6`, "its stream belongs to another module", true},
		"a mark that lies":                {`UPDATE ${schema}.events SET system = true WHERE insertion = 1`, `type "fact" and its mark`, false},
		"time that goes back":             {`UPDATE ${schema}.log SET recorded = recorded - interval '1 hour' WHERE insertion = 6`, "orders, position 5: was recorded before", false},
		"order that goes back":            {`UPDATE ${schema}.log SET position = -position WHERE insertion IN (2, 3); UPDATE ${schema}.log SET position = 5 + position WHERE insertion IN (2, 3)`, "orders, stream order/1, version 3: its position 2 comes before", false},
		"a version before an earlier one": {`DELETE FROM ${schema}.log WHERE insertion = 1`, "orders, stream order/1, version 2: its position 2 comes before", true},
		"numbers in another order":        {`UPDATE ${schema}.events SET version = -version WHERE insertion IN (2, 3); UPDATE ${schema}.events SET version = 5 + version WHERE insertion IN (2, 3)`, "orders, stream order/1, version 3: its", false},
		"headers that are none":           {`UPDATE ${schema}.events SET headers = '{' WHERE insertion = 3`, "orders, position 3: its headers are no JSON", false},
		"tags that are none":              {`UPDATE ${schema}.events SET tags = '[' WHERE insertion = 3`, "orders, position 3: its tags are no JSON", false},
		"a tag lost":                      {`DELETE FROM ${schema}.tags WHERE insertion = 3 AND value = 'A2'`, "orders, position 3: is not found by its tag seat=A2", false},
		"all tags lost":                   {`DELETE FROM ${schema}.tags`, "bills, position 3: is not found by its tag seat=A1", true},
		"a tag made up":                   {`INSERT INTO ${schema}.tags VALUES (1, 'seat', 'B1', 3)`, "orders, position 3: is found by tag seat=B1", false},
		"a tag of nothing":                {`INSERT INTO ${schema}.tags VALUES (1, 'seat', 'B1', 99)`, "orders, insertion number 99: is found by tag", false},
		"a tag in another module":         {`UPDATE ${schema}.tags SET module = 2 WHERE module = 1`, "orders, position 3: is found by its tags in another module", false},
		"a link lost":                     {`DELETE FROM ${schema}.links WHERE insertion = 1`, "orders, stream view/1: versions 1 to 4 should have 4 events and links, and have 3", false},
		"a link to its own stream":        {`UPDATE ${schema}.links SET insertion = 6 WHERE insertion = 2`, "orders, stream view/1, version 1: is a link to an event of its own stream", false},
		"a link to another module":        {`UPDATE ${schema}.links SET insertion = 9 WHERE insertion = 2`, "orders, stream view/1, version 1: is a link to position 3 of another module", false},
		"a link in no stream":             {`INSERT INTO ${schema}.links VALUES (99, 1, 3)`, "orders, stream ?, version 1: is a link in a stream that does not exist", false},
		"links miscounted":                {`UPDATE ${schema}.streams SET links = 1 WHERE module = 1 AND name = 'view/1'`, "orders, stream view/1: says 1 links, has 3", false},
		"truncated beyond its end":        {`UPDATE ${schema}.streams SET truncated = 99 WHERE module = 1 AND name = 'order/1'`, "orders, stream order/1: is truncated at version 99", false},
		"a revision never given":          {`UPDATE ${schema}.entries SET revision = 99 WHERE module = 1 AND key = 'c'`, "orders, cursor c: has revision 99; the schema has given out 1 to 4", false},
		"a revision given twice":          {`UPDATE ${schema}.entries SET revision = 2 WHERE module = 1`, "shares revision 2 with another entry", false},
		"a kind that is none":             {`UPDATE ${schema}.entries SET kind = 77 WHERE module = 1 AND key = 'c'`, "orders, entry c: 77 is no kind of entry", false},
		"a module lost":                   {`DELETE FROM ${schema}.modules WHERE module = 2`, "module 2, position 1: event", true},
		"a module without a name":         {`UPDATE ${schema}.modules SET name = '' WHERE module = 2`, "module", true},
		"a table lost":                    {`DROP TABLE ${schema}.tags`, "schema: ERROR: relation", true},
		"an index lost":                   {`ALTER TABLE ${schema}.events DROP CONSTRAINT events_module_id_key`, "table events: has no valid unique index on module, id", false},
		"an index that is not unique":     {`ALTER TABLE ${schema}.log DROP CONSTRAINT log_insertion_key; CREATE INDEX log_insertion_key ON ${schema}.log (insertion)`, "table log: has no valid unique index on insertion", false},
		"an index of a part":              {`ALTER TABLE ${schema}.log DROP CONSTRAINT log_insertion_key; CREATE UNIQUE INDEX log_insertion_key ON ${schema}.log (insertion) WHERE insertion > 0`, "table log: has no valid unique index on insertion", false},
		"an index of another column":      {`ALTER TABLE ${schema}.parked RENAME COLUMN gang TO band; ALTER TABLE ${schema}.parked ADD gang bigint`, "table parked: has no valid index on gang", true},
		"a function lost":                 {`DROP FUNCTION ${schema}.link_places`, "function link_places: is missing", false},
		"a function that is not ours":     {`CREATE OR REPLACE FUNCTION ${schema}.next_insertion() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE AS $$ SELECT nextval('${schema}.insertions') $$`, "function next_insertion: is not what this program made", false},
		"a sequence that is cached":       {`ALTER SEQUENCE ${schema}.insertions CACHE 20`, "sequence: every session keeps 20 insertion numbers", false},
		"a sequence set back":             {`SELECT setval('${schema}.insertions', 3)`, "sequence: the sequence of insertion numbers stands at 3, behind 12", true},
		"a gap without a bound":           {fmt.Sprintf(passed, `'{"[5,6)"}', '{}', '1000000', '{}', '{}', '{}'`), "what the last pass left: has 1 gaps with 0 bounds", false},
		"a gap above all":                 {fmt.Sprintf(passed, `'{"[40,50)"}', '{3}', '1000000', '{}', '{}', '{}'`), "what the last pass left: has the gap [40,50), which is not below 12", false},
		"a gap without an end":            {fmt.Sprintf(passed, `'{"[5,)"}', '{3}', '1000000', '{}', '{}', '{}'`), "what the last pass left: has the gap [5,)", true},
		"gaps that overlap":               {fmt.Sprintf(passed, `'{"[5,6)","[5,6)"}', '{3,3}', '1000000', '{}', '{}', '{}'`), "what the last pass left: has the gap [5,6), which overlaps another", false},
		"a gap with a position in it":     {fmt.Sprintf(passed, `'{"[5,7)"}', '{3}', '1000000', '{}', '{}', '{}'`), "orders, position 5: is in the gap [5,7)", false},
		"parked gaps that nothing wakes":  {`INSERT INTO ${schema}.parked VALUES (7, '{"[5,6)"}', '{3}')`, "what the last pass left: has gaps parked in group 7, which nothing wakes", false},
		"a parked gap without a bound":    {`INSERT INTO ${schema}.parked VALUES (7, '{"[5,6)"}', '{}')`, "what the last pass left: has 1 gaps with 0 bounds, parked in group 7", true},
		"groups without owners":           {fmt.Sprintf(passed, `'{}', '{}', '1000000', '{}', '{7}', '{}'`), "what the last pass left: has 1 groups of parked gaps with 0 owners", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := variedDatabase(t, address)
			conn := connected(t, address)
			execute(t, conn, inSchema(d.options.Schema, c.damage))
			found := problems(t, d)
			switch whole := strings.Join(found, "\n"); {
			case c.want == "" && len(found) > 0:
				t.Errorf("found in a sound schema\n%s", whole)
			case !strings.Contains(whole, c.want):
				t.Errorf("found\n%s\nwant\n%s", whole, c.want)
			case c.want != "" && !c.others && len(found) != 1:
				t.Errorf("found more than one\n%s", whole)
			}
		})
	}
}

// TestVerifyWhileOthersWork finds nothing in a schema in which events are appended, numbered and rolled back meanwhile.
func TestVerifyWhileOthersWork(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	d := variedDatabase(t, address)
	other := opened(t, address, Options{Schema: d.options.Schema})
	l, err := other.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		var err error
		for n := 0; ctx.Err() == nil && err == nil; n++ {
			tx, failed := other.pool.Begin(t.Context())
			if failed != nil {
				err = failed
				break
			}
			_, inside := l.AppendPgx(t.Context(), tx, made(fmt.Sprint("rolled/", n)))
			_, beside := l.Append(t.Context(), made(fmt.Sprint("kept/", n%7)), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "c"}})
			err = errors.Join(inside, beside, tx.Rollback(t.Context()))
		}
		over <- err
	}()
	for range 10 {
		if found := problems(t, d); len(found) > 0 {
			t.Errorf("found %s", strings.Join(found, "\n"))
		}
	}
	end()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestVerifyAsAReader: a role that may only read can verify.
func TestVerifyAsAReader(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	d := variedDatabase(t, address)
	conn := connected(t, address)
	role := strings.ReplaceAll(conn.Config().Database, " ", "_") + "_verifies"
	execute(t, conn, fmt.Sprintf(`CREATE ROLE %q LOGIN`, role))
	t.Cleanup(func() {
		for _, text := range []string{`DROP OWNED BY %q`, `DROP ROLE %q`} {
			if _, err := conn.Exec(context.Background(), fmt.Sprintf(text, role)); err != nil {
				t.Error(err)
			}
		}
	})
	grants, err := Grants(d.options.Schema, role, ForReading)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		execute(t, conn, g)
	}
	config := conn.Config().Copy()
	config.User = role
	reader := opened(t, show(config), Options{Schema: d.options.Schema, ReadOnly: true, NoListen: true})
	if found := problems(t, reader); len(found) > 0 {
		t.Errorf("found %s", strings.Join(found, "\n"))
	}
}

// TestVerifyHasAnEnd, also in a schema in which everything is wrong, and when the caller has seen enough.
func TestVerifyHasAnEnd(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	d := variedDatabase(t, address)
	execute(t, connected(t, address), inSchema(d.options.Schema, fmt.Sprintf(`INSERT INTO ${schema}.tags SELECT 1, 'seat', n::text, 3 FROM generate_series(1, %d) n`, 2*maxProblems)))
	if found := problems(t, d); len(found) != maxProblems+1 || !strings.Contains(found[maxProblems], "more than") {
		t.Errorf("found %d problems, the last is %s", len(found), found[len(found)-1])
	}
	for p, err := range d.Verify(t.Context()) {
		if err != nil {
			t.Errorf("%v, %v", p, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for p, err := range d.Verify(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", p, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var errs []error
	for _, err := range d.Verify(t.Context()) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, eventlog.ErrClosed) }) {
		t.Errorf("of a closed database: %v", errs)
	}
}
