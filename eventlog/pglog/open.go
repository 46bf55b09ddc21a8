package pglog

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/ensue-io/ensue/eventlog"
)

// Open opens a schema of a database, and makes it if it does not exist. The address is a URL or a list of settings as
// PostgreSQL's own programs take it, https://www.postgresql.org/docs/current/libpq-connect.html, and may name the schema
// by ?schema=. A schema of a newer program is a *SchemaError and stays as it is.
func Open(ctx context.Context, address string, o Options) (_ *Database, err error) {
	config, err := parseAddress(address, &o)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if err := checkSchema(o.Schema); err != nil {
		return nil, err
	}
	if o.Connections > 0 {
		config.MaxConns = int32(min(o.Connections, 10_000)) // #nosec G115 -- bounded
	} else {
		config.MaxConns = max(config.MaxConns, 10)
	}
	d := &Database{address: sanitized(address), options: o, logs: map[string]*Log{}}
	d.ending, d.end = context.WithCancel(context.Background())
	d.passes.db = d
	d.appendText, d.headsText = d.sql(appendText), d.sql(headsText)
	d.lonely = make(chan struct{}, max(1, config.MaxConns/2))
	config.AfterConnect, config.PrepareConn = d.recognize, d.usable
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, d.explain("open", err)
	}
	d.db = stdlib.OpenDBFromPool(d.pool)
	defer func() {
		if err != nil {
			_ = d.Close()
		}
	}()
	if err := d.meet(ctx); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx); err != nil {
		return nil, err
	}
	return d, d.checkSequence(ctx)
}

// meet finds out what the server is.
func (d *Database) meet(ctx context.Context) error {
	var isolation string
	err := d.pool.QueryRow(ctx, `SELECT current_setting('default_transaction_isolation')`).Scan(&isolation)
	if err != nil {
		return d.explain("open", err)
	}
	d.isolated = isolation != "read committed"
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return d.explain("open", err)
	}
	defer conn.Release()
	return checkServer(ctx, conn.Conn())
}

// maxSchema leaves room for what is put before a schema's name in other names.
const maxSchema = 50

func checkSchema(name string) error {
	if len(name) > maxSchema || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return &eventlog.NameError{What: "schema", Name: name, Reason: fmt.Sprintf("has %d bytes, or no UTF-8; it has at most %d", len(name), maxSchema)}
	}
	return nil
}
