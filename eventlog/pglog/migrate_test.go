package pglog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func connected(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, text string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// things lists what a schema holds.
func things(t *testing.T, conn *pgx.Conn, schema string) (list []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = $1::text::regnamespace
		UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = $1::text::regnamespace
		UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = $1::text::regnamespace ORDER BY 1`, pgx.Identifier{schema}.Sanitize())
	if err != nil {
		t.Fatal(err)
	}
	if list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return list
}

func opened(t *testing.T, address string, o Options) *Database {
	t.Helper()
	d, err := Open(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// with adds a setting to an address.
func with(address, setting string) string {
	if strings.Contains(address, "?") {
		return address + "&" + setting
	}
	return address + "?" + setting
}

func TestMigrateUpAndDown(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"cache_statement", "simple_protocol"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			address := pgtest.Database(t)
			conn := connected(t, with(with(address, "default_query_exec_mode="+protocol), "default_transaction_isolation=serializable"))
			all, err := Migrations("")
			if err != nil {
				t.Fatal(err)
			}
			for _, schema := range []string{"", `we"ird "1"`} {
				if list, err := Status(t.Context(), conn, schema); err != nil || len(list) != 0 {
					t.Fatal(list, err)
				}
				var first []string
				for range 2 {
					for range 2 { // the second time without effect
						if err := Migrate(t.Context(), conn, schema, -1); err != nil {
							t.Fatal(err)
						}
					}
					list, err := Status(t.Context(), conn, schema)
					if err != nil || len(list) != len(all) || list[0].Name != "log" || list[0].Version != 1 || list[0].At.IsZero() {
						t.Fatal(list, err)
					}
					found := things(t, conn, schemaOr(schema))
					if first != nil && fmt.Sprint(found) != fmt.Sprint(first) {
						t.Errorf("up again: %q, and %q at first", found, first)
					}
					first = found
					_ = opened(t, address, Options{Schema: schema, Manual: true})
					if err := Migrate(t.Context(), conn, schema, 0); err != nil {
						t.Fatal(err)
					}
					if left := things(t, conn, schemaOr(schema)); len(left) != 0 {
						t.Errorf("left after down: %q", left)
					}
				}
			}
			if err := Migrate(t.Context(), conn, "", len(all)+1); err == nil || !strings.Contains(err.Error(), "there is no schema version") {
				t.Error(err)
			}
		})
	}
}

// What Migrations returns is all that other tools need.
func TestMigrationsByOtherTools(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	conn := connected(t, address)
	all, err := Migrations("theirs")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		execute(t, conn, m.Up)
	}
	d := opened(t, with(address, "schema=theirs"), Options{Manual: true, MustExist: true})
	if _, err := d.Log(t.Context(), "orders"); err != nil {
		t.Error(err)
	}
	if list, err := Status(t.Context(), conn, "theirs"); err != nil || len(list) != len(all) {
		t.Error(list, err)
	}
	for i := len(all); i > 0; i-- {
		execute(t, conn, all[i-1].Down)
	}
	if left := things(t, conn, "theirs"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	for _, name := range []string{"it's", "a$$b", "a\nb", strings.Repeat("x", 60), "\xff"} {
		var bad *eventlog.NameError
		if _, err := Migrations(name); !errors.As(err, &bad) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Programs that open an empty database at once make its schema once, and one takes it away while others look.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	const programs = 8
	var all sync.WaitGroup
	for i := range programs {
		all.Go(func() {
			d, err := Open(t.Context(), address, Options{Connections: 2, NoListen: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if _, err := d.Log(t.Context(), fmt.Sprint("m", i%2)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range programs {
		all.Go(func() {
			conn, err := Connect(t.Context(), address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.Background())
			if err := Migrate(t.Context(), conn, "", i%2-1); err != nil { // to the newest, or to 0
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestOpenLeavesSchemas(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	conn := connected(t, address)
	refused := func(version int, o Options) {
		t.Helper()
		d, err := Open(t.Context(), address, o)
		var wrong *SchemaError
		if !errors.As(err, &wrong) || wrong.Version != version || wrong.Schema != schemaOr(o.Schema) || wrong.Known < 1 || wrong.Address != sanitized(address) {
			t.Errorf("%+v: %v", o, err)
		}
		if d != nil {
			t.Error("a database beside an error")
		}
	}
	for _, o := range []Options{{Manual: true}, {ReadOnly: true}, {MustExist: true}} {
		refused(0, o)
		var n int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname = 'ensue'`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%+v made the schema (%v)", o, err)
		}
	}
	if err := Migrate(t.Context(), conn, "", -1); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, `INSERT INTO ensue.migrations (version, name) VALUES (99, 'of the future')`)
	for _, o := range []Options{{}, {Manual: true}, {ReadOnly: true}} {
		refused(99, o)
	}
	var wrong *SchemaError
	for _, to := range []int{-1, 0, 1} {
		if err := Migrate(t.Context(), conn, "", to); !errors.As(err, &wrong) || wrong.Version != 99 {
			t.Errorf("to %d: %v", to, err)
		}
	}
	if list, err := Status(t.Context(), conn, ""); err != nil || versionOf(list) != 99 {
		t.Error(list, err)
	}
	execute(t, conn, `DELETE FROM ensue.migrations WHERE version = 1`)
	execute(t, conn, `INSERT INTO ensue.migrations (version, name) VALUES (0, 'odd')`)
	if _, err := Open(t.Context(), address, Options{}); err == nil || !strings.Contains(err.Error(), "migration 1 is missing") {
		t.Error(err)
	}
}

func TestSchemaErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for version, says := range map[int]string{0: "ensue migrate up", 1: "older than 2", 3: "update this program"} {
		err := &SchemaError{Address: "postgres://x", Schema: "s", Version: version, Known: 2}
		if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "postgres://x") {
			t.Error(err)
		}
	}
}

// What somebody else has in the schema stays.
func TestMigrateBesideOthers(t *testing.T) {
	t.Parallel()
	for schema, theirs := range map[string]struct{ made, says string }{
		"a": {`CREATE TABLE a.migrations (id integer, migration text)`, "table migrations of another program"},
		"b": {`CREATE TABLE b.events (id integer)`, "choose another one"},
	} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			address := pgtest.Database(t)
			conn := connected(t, address)
			execute(t, conn, `CREATE SCHEMA `+schema)
			execute(t, conn, theirs.made)
			before := fmt.Sprint(things(t, conn, schema))
			err := Migrate(t.Context(), conn, schema, -1)
			if err == nil || !strings.Contains(err.Error(), theirs.says) {
				t.Error(err)
			}
			if _, err := Open(t.Context(), address, Options{Schema: schema}); err == nil || !strings.Contains(err.Error(), theirs.says) {
				t.Error(err)
			}
			if after := fmt.Sprint(things(t, conn, schema)); after != before {
				t.Errorf("before: %s, after: %s", before, after)
			}
		})
	}
}

// A role that may not make schemas can migrate inside one that was made for it.
func TestMigrateWithoutRightsOnTheDatabase(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	admin := connected(t, address)
	role := newRole(t, admin, "owner")
	conn := connected(t, as(address, role))
	if err := Migrate(t.Context(), conn, "logs", -1); err == nil || !strings.Contains(err.Error(), "may make it") {
		t.Error(err)
	}
	execute(t, admin, `CREATE SCHEMA logs AUTHORIZATION `+pgx.Identifier{role}.Sanitize())
	if err := Migrate(t.Context(), conn, "logs", -1); err != nil {
		t.Fatal(err)
	}
	_ = opened(t, as(address, role), Options{Schema: "logs"})
	if err := Migrate(t.Context(), conn, "logs", 0); err != nil {
		t.Error(err)
	}
}

func TestServerThatIsTooOld(t *testing.T) {
	t.Parallel()
	if err := checkRelease(130014, "13.14", "UTF8"); err == nil || !strings.Contains(err.Error(), "13.14") {
		t.Error(err)
	}
	if err := checkRelease(140000, "14.0", "LATIN1"); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Error(err)
	}
	if err := checkRelease(140000, "14.0", "UTF8"); err != nil {
		t.Error(err)
	}
}

func TestSequenceThatWasAltered(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	conn := connected(t, address)
	d := opened(t, address, Options{})
	l, err := d.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, "order/1")
	if _, err := l.Head(t.Context()); err != nil { // it has a number now
		t.Fatal(err)
	}
	for _, tt := range []struct{ done, says string }{
		{`ALTER SEQUENCE ensue.insertions INCREMENT BY 7`, "INCREMENT BY 1"},
		{`ALTER SEQUENCE ensue.insertions CACHE 50`, "CACHE 1"},
		{`ALTER SEQUENCE ensue.insertions CYCLE`, "NO CYCLE"},
		{`SELECT setval('ensue.insertions', 1, false); ALTER SEQUENCE ensue.insertions CACHE 2 CYCLE`, "begins anew"},
		{`INSERT INTO ensue.log (module, position, insertion, recorded) VALUES (1, 1000, 1000, now())`, "setval"},
		{`ALTER FUNCTION ensue.next_insertion PARALLEL SAFE`, "PARALLEL UNSAFE"},
		{`ALTER FUNCTION ensue.append PARALLEL RESTRICTED STABLE`, "VOLATILE"},
	} {
		execute(t, conn, tt.done)
		_, err := Open(t.Context(), address, Options{})
		var altered *SequenceError
		if !errors.As(err, &altered) || !errors.Is(err, ErrSequence) || !strings.Contains(err.Error(), tt.says) || altered.Schema != "ensue" {
			t.Fatalf("%s: %v", tt.done, err)
		}
		for _, restore := range altered.Restore {
			execute(t, conn, restore)
		}
		if err := d.checkSequence(t.Context()); err != nil {
			t.Fatalf("%s, then %q: %v", tt.done, altered.Restore, err)
		}
	}
	execute(t, conn, `DROP SEQUENCE ensue.insertions`)
	if _, err := Open(t.Context(), address, Options{}); !errors.Is(err, ErrSequence) {
		t.Error(err)
	}
}
