package pglog

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// newRole makes a role that has no right to anything. Roles belong to all databases of the server.
func newRole(t *testing.T, admin *pgx.Conn, name string) string {
	t.Helper()
	name = `it's "` + name + `" ` + rand.Text()[:12]
	quoted := pgx.Identifier{name}.Sanitize()
	execute(t, admin, `CREATE ROLE `+quoted+` NOSUPERUSER LOGIN`)
	t.Cleanup(func() {
		if _, err := admin.PgConn().Exec(context.Background(), `DROP OWNED BY `+quoted+`; DROP ROLE `+quoted).ReadAll(); err != nil {
			t.Error(err)
		}
	})
	return name
}

// as makes an address one for a role.
func as(address, role string) string { return with(address, "role="+url.PathEscape(role)) }

func granted(t *testing.T, admin *pgx.Conn, schema string, purpose Purpose) (role string) {
	t.Helper()
	role = newRole(t, admin, string(purpose))
	statements, err := Grants(schema, role, purpose)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		execute(t, admin, s)
	}
	return role
}

func appendOne(t *testing.T, l eventlog.Log, stream string) {
	t.Helper()
	_, err := l.Append(t.Context(), eventlog.ToStream{Stream: stream, Events: []event.Event{{ID: event.NewID(), Type: "placed", Data: []byte("{}")}}})
	if err != nil {
		t.Fatal(err)
	}
}

// refusedAll runs statements that a role must not be able to run.
func refusedAll(t *testing.T, address string, statements ...string) {
	t.Helper()
	conn := connected(t, address)
	for _, s := range statements {
		if _, err := conn.PgConn().Exec(t.Context(), s).ReadAll(); sqlState(err) != "42501" {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func readAll(t *testing.T, l eventlog.Log) (n int, err error) {
	t.Helper()
	for _, err := range l.Read(t.Context(), eventlog.Query{System: true}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// changes are what nobody may do beside the functions.
var changes = []string{
	`UPDATE "our logs".events SET data = ''`, `DELETE FROM "our logs".events`, `TRUNCATE "our logs".events`, `INSERT INTO "our logs".log VALUES (1, 1, 1, now())`,
	`DELETE FROM "our logs".log`, `DELETE FROM "our logs".passes`, `DELETE FROM "our logs".entries`, `SELECT nextval('"our logs".insertions')`,
	`SELECT "our logs".next_insertion()`, `DROP TABLE "our logs".events`, `CREATE TABLE "our logs".mine (n integer)`, `UPDATE "our logs".modules SET name = 'x'`,
	`DELETE FROM "our logs".migrations`, `DELETE FROM "our logs".streams`,
}

func grantedDatabase(t *testing.T) (address string, admin *pgx.Conn, l *Log) {
	t.Helper()
	address = with(pgtest.Database(t), "schema=our%20logs")
	admin = connected(t, address)
	d := opened(t, address, Options{})
	l, err := d.Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, "order/1")
	return address, admin, l
}

func TestRoleWithoutGrants(t *testing.T) {
	t.Parallel()
	address, admin, _ := grantedDatabase(t)
	_, err := Open(t.Context(), as(address, newRole(t, admin, "nobody")), Options{})
	if !errors.Is(err, eventlog.ErrReadOnly) || !strings.Contains(err.Error(), "ensue migrate grants") {
		t.Error(err)
	}
}

func TestRoleThatReads(t *testing.T) {
	t.Parallel()
	address, admin, owners := grantedDatabase(t)
	address = as(address, granted(t, admin, "our logs", ForReading))
	for _, o := range []Options{{}, {ReadOnly: true}, {Manual: true}} {
		d := opened(t, address, o)
		l, err := d.Log(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := readAll(t, l); n != 1 || err != nil {
			t.Error(n, err)
		}
		if _, err := l.Append(t.Context(), eventlog.ToStream{Stream: "order/2", Events: []event.Event{{Type: "placed"}}}); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Error(err)
		}
		if err := l.CloseStream(t.Context(), "order/1", eventlog.Any); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Error(err)
		}
		if _, err := d.Log(t.Context(), "other"); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Error(err)
		}
	}
	appendOne(t, owners, "order/2")
	l, err := opened(t, address, Options{}).Log(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(t, l); n != 2 || err != nil {
		t.Error("what it numbers itself:", n, err)
	}
	refusedAll(t, address, append(changes, `INSERT INTO "our logs".modules (name, log) VALUES ('x', gen_random_uuid())`)...)
	conn := connected(t, address)
	execute(t, conn, `SELECT * FROM "our logs".journal`)
}

func TestRoleThatAppends(t *testing.T) {
	t.Parallel()
	address, admin, owners := grantedDatabase(t)
	address = as(address, granted(t, admin, "our logs", ForAppending))
	for _, o := range []Options{{}, {Manual: true}} {
		d := opened(t, address, o)
		l, err := d.Log(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		once := []eventlog.Write{
			eventlog.ToStream{Stream: "order/2", Events: []event.Event{{ID: event.NewID(), Type: "placed"}}},
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: "r", Value: []byte("1")}},
		}
		for _, repeat := range []bool{false, true} {
			if done, err := l.Append(t.Context(), once...); err != nil || done.Repeat != repeat {
				t.Error(done, err)
			}
		}
		if _, err := l.Append(t.Context(), eventlog.LinkTo{Stream: "all/1", Positions: []eventlog.Position{1}}); err != nil {
			t.Error(err)
		}
		if head, err := l.Head(t.Context()); err != nil || head < 2 {
			t.Error(head, err)
		}
		if n, err := readAll(t, l); !errors.Is(err, eventlog.ErrReadOnly) || n > 0 { // what the role may not
			t.Error(n, err)
		}
		if _, err := d.Log(t.Context(), "other"); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Error(err)
		}
	}
	if n, err := readAll(t, owners); n != 3 || err != nil {
		t.Error(n, err)
	}
	refusedAll(t, address, append(changes, `SELECT data FROM "our logs".events`, `SELECT * FROM "our logs".log`, `SELECT * FROM "our logs".journal`,
		`SELECT * FROM "our logs".entries`, `SELECT * FROM "our logs".streams`, `UPDATE "our logs".streams SET closed = true`,
		`INSERT INTO "our logs".modules (name, log) VALUES ('x', gen_random_uuid())`)...)
}

func TestRoleThatRuns(t *testing.T) {
	t.Parallel()
	address, admin, _ := grantedDatabase(t)
	address = as(address, granted(t, admin, "our logs", ForRunning))
	d := opened(t, address, Options{})
	l, err := d.Log(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, "payment/1")
	if n, err := readAll(t, l); n != 1 || err != nil {
		t.Error(n, err)
	}
	if err := l.TruncateStream(t.Context(), "payment/1", 1); err != nil {
		t.Error(err)
	}
	for _, stream := range []string{"payment/1", "payment/2"} {
		if err := l.CloseStream(t.Context(), stream, eventlog.Any); err != nil {
			t.Error(err)
		}
	}
	refusedAll(t, address, changes...)
}

func TestGrantsRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		schema, role string
		purpose      Purpose
	}{{"", "", ForReading}, {"", "r\x00", ForReading}, {"", "r", "dance"}, {"it's", "r", ForReading}} {
		if list, err := Grants(tt.schema, tt.role, tt.purpose); err == nil {
			t.Errorf("%+v: %q", tt, list)
		}
	}
}
