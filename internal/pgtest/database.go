package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A database is made in a hundredth of a second, and waits for others that are being made.
const databaseTimeout = time.Minute

// newDatabase makes a database on the server at an address and drops it when the test ends, if the server runs then.
func newDatabase(tb testing.TB, server, called string, runs func() bool) string {
	tb.Helper()
	name := databaseName(tb.Name())
	address, err := withDatabase(server, name)
	if err != nil {
		tb.Fatal("pgtest:", err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), databaseTimeout)
	defer cancel()
	// template0 is what nobody has put anything in.
	if err := execute(ctx, server, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		tb.Fatalf("pgtest: making a database on %s: %v", called, err)
	}
	tb.Cleanup(func() {
		if !runs() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout) // the test's own context has ended
		defer cancel()
		if err := dropDatabase(ctx, server, name, address); err != nil {
			tb.Errorf("pgtest: dropping the test's database on %s: %v", called, err)
		}
	})
	return address
}

func dropDatabase(ctx context.Context, server, name, address string) error {
	drop := "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"
	err := execute(ctx, server, drop)
	if pg := new(pgconn.PgError); !errors.As(err, &pg) || pg.Code != "55006" { // object_in_use
		return err
	}
	// FORCE ends connections, but not transactions that were prepared. Those end only from inside the database.
	if err := rollBackPrepared(ctx, address); err != nil {
		return err
	}
	return execute(ctx, server, drop)
}

func rollBackPrepared(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := conn.Exec(ctx, "ROLLBACK PREPARED '"+strings.ReplaceAll(id, "'", "''")+"'"); err != nil {
			return err
		}
	}
	return nil
}

func execute(ctx context.Context, address, statement string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// databaseName has the end of the test's name, for who reads the server's log, and is one that no other run has.
func databaseName(test string) string {
	test = notInName.ReplaceAllString(strings.ToLower(test), "_")
	test = strings.Trim(test[max(0, len(test)-40):], "_") // a name has at most 63 bytes
	return "test_" + test + "_" + strings.ToLower(rand.Text()[:12])
}

// withDatabase is the address of another database on the same server.
func withDatabase(server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", fmt.Errorf("%s is no URL of a PostgreSQL server, such as postgres://user:password@host:5432/postgres", serverVariable)
	}
	u.Path, u.RawPath = "/"+name, ""
	if q := u.Query(); q.Has("dbname") || q.Has("database") { // they would win over the path
		q.Del("dbname")
		q.Del("database")
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}
