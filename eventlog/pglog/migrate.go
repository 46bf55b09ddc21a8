package pglog

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ensue-io/ensue/eventlog"
)

//go:embed sql/*.sql
var migrationFiles embed.FS

// Migration leads a schema from one version to the next, and back.
type Migration struct {
	Version  int // that Up leads to: 1, 2, 3, …
	Name     string
	Up, Down string // each to be run in one transaction; they also keep the list of what was applied
}

// What stands around every migration. The list of what was applied is how programs know a schema's version.
const (
	firstUp = `DO $$ BEGIN -- nothing that needs a right on the database where the schema is there
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '${name}') THEN
    CREATE SCHEMA ${schema};
  END IF;
END $$;
CREATE TABLE ${schema}.migrations (
  version integer PRIMARY KEY,
  name    text NOT NULL,
  applied timestamptz NOT NULL DEFAULT now()
);
`
	everyUp   = "\nINSERT INTO ${schema}.migrations (version, name) VALUES (%d, '%s');\n"
	everyDown = "\nDELETE FROM ${schema}.migrations WHERE version = %d;\n"
	lastDown  = "\nDROP TABLE ${schema}.migrations;\n"
)

// Migrations returns all migrations, in their order, for a schema, for teams that apply SQL by their own means: see
// Options.Manual. The first makes the schema unless it is there; taking it back drops all tables with all events, and
// leaves the schema.
func Migrations(schema string) ([]Migration, error) {
	if schema == "" {
		schema = DefaultSchema
	}
	if err := checkSchema(schema); err != nil {
		return nil, err
	}
	if strings.ContainsAny(schema, "'$") || strings.ContainsFunc(schema, unicode.IsControl) { // it also stands in strings and in bodies of functions
		return nil, &eventlog.NameError{What: "schema", Name: schema, Reason: "has ', $ or a control character"}
	}
	names, err := fs.Glob(migrationFiles, "sql/*.up.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	in := func(text string) string {
		return strings.NewReplacer("${schema}", pgx.Identifier{schema}.Sanitize(), "${name}", schema).Replace(text)
	}
	all := make([]Migration, len(names))
	for i, file := range names {
		m := Migration{Version: i + 1}
		if m.Name, err = migrationName(file, m.Version); err != nil {
			return nil, err
		}
		up, err := migrationFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		down, err := migrationFiles.ReadFile(strings.TrimSuffix(file, ".up.sql") + ".down.sql")
		if err != nil {
			return nil, err
		}
		m.Up, m.Down = string(up)+fmt.Sprintf(everyUp, m.Version, m.Name), string(down)+fmt.Sprintf(everyDown, m.Version)
		if i == 0 {
			m.Up, m.Down = firstUp+m.Up, string(down)+lastDown
		}
		m.Up, m.Down = in(m.Up), in(m.Down)
		all[i] = m
	}
	return all, nil
}

// migrationName takes the name out of sql/NNNN_name.up.sql.
func migrationName(file string, version int) (string, error) {
	name, ok := strings.CutPrefix(strings.TrimSuffix(file, ".up.sql"), fmt.Sprintf("sql/%04d_", version))
	if !ok || name == "" || strings.Contains(name, "'") {
		return "", fmt.Errorf("pglog: migration %s is not number %d", file, version)
	}
	return name, nil
}

// SchemaError reports a schema that is missing, or of another version than this program needs.
type SchemaError struct {
	Address string // of the database, without its password
	Schema  string
	Version int // of the schema; 0 where there is none, or nothing of ours in it
	Known   int // the newest version that this program knows, and needs
}

func (e *SchemaError) Error() string {
	switch {
	case e.Version == 0:
		return fmt.Sprintf("pglog: %s has no logs in a schema %q; check the address, and the schema after ?schema=, or make them by `ensue migrate up`", e.Address, e.Schema)
	case e.Version < e.Known:
		return fmt.Sprintf("pglog: %s: schema %q has version %d, older than %d, which this program needs; apply what is missing by `ensue migrate up`, or by your own means what `ensue migrate print` writes", e.Address, e.Schema, e.Version, e.Known)
	default:
		return fmt.Sprintf("pglog: %s: schema %q has version %d, newer than %d, the newest that this program knows; update this program", e.Address, e.Schema, e.Version, e.Known)
	}
}

// Applied is a migration that was applied to a schema.
type Applied struct {
	Version int
	Name    string
	At      time.Time
}

// Status returns what was applied to a schema, in the order of versions; nothing where there is no such schema.
func Status(ctx context.Context, conn *pgx.Conn, schema string) ([]Applied, error) {
	all, err := Migrations(schema)
	if err != nil {
		return nil, err
	}
	return applied(ctx, conn, schemaOr(schema), len(all))
}

func schemaOr(schema string) string {
	if schema == "" {
		return DefaultSchema
	}
	return schema
}

// applied reads the list of what was applied. It begins with the catalogs, which everybody may read, and needs nothing of a
// session but a connection that is one for the length of a statement.
func applied(ctx context.Context, conn *pgx.Conn, schema string, known int) ([]Applied, error) {
	// A table of that name may be another program's. Of one that was dropped this moment there are no privileges any more.
	const look = `SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'),
	       (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('version', 'name', 'applied') AND NOT a.attisdropped) = 3
	  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
	 WHERE n.nspname = $1 AND c.relname = 'migrations' AND c.relkind IN ('r', 'p')`
	failed := func(err error) error {
		return fmt.Errorf("pglog: %s: read the version of schema %q: %w", show(conn.Config()), schema, err)
	}
	var may *bool
	var ours bool
	rows, err := conn.Query(ctx, look, mode(conn), schema)
	if err != nil {
		return nil, failed(err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&may, &ours}, func() error { return nil }); err != nil {
		return nil, failed(err)
	}
	switch {
	case may == nil:
		return nil, nil
	case !ours:
		return nil, fmt.Errorf("pglog: %s: schema %q has a table migrations of another program; choose another schema, after ?schema=", show(conn.Config()), schema)
	case !*may:
		return nil, fmt.Errorf("pglog: %s: %w: the role %s may not read the version of schema %q; `ensue migrate grants` says what it needs", show(conn.Config()), eventlog.ErrReadOnly, conn.Config().User, schema)
	}
	rows, err = conn.Query(ctx, inSchema(schema, `SELECT version, name, applied FROM ${schema}.migrations ORDER BY version`), mode(conn))
	if err != nil {
		return nil, failed(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Applied, err error) {
		err = row.Scan(&a.Version, &a.Name, &a.At)
		a.At = a.At.UTC()
		return a, err
	})
	if sqlState(err) == "42P01" { // taken away since
		return nil, nil
	}
	if err != nil {
		return nil, failed(err)
	}
	for i, a := range list {
		if a.Version != i+1 && a.Version <= known {
			return nil, fmt.Errorf("pglog: %s: schema %q: migration %d is missing in its list of what was applied, while %d is there; apply it, or restore the schema", show(conn.Config()), schema, i+1, a.Version)
		}
	}
	return list, nil
}

func versionOf(list []Applied) int {
	if len(list) == 0 {
		return 0
	}
	return list[len(list)-1].Version
}

// mode is how statements are sent: so that no later one relies on what this one left in the session, for poolers.
func mode(conn *pgx.Conn) pgx.QueryExecMode {
	if conn.Config().DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return pgx.QueryExecModeSimpleProtocol
	}
	return pgx.QueryExecModeExec
}

func inSchema(schema, text string) string {
	return strings.ReplaceAll(text, "${schema}", pgx.Identifier{schema}.Sanitize())
}

// Migrate brings a schema up or down to a version, step by step, each in a transaction of its own; to the newest if to is
// negative. A schema that is newer than this program knows is a *SchemaError and stays as it is. Programs that do it at
// the same time wait for each other. Down to version 0 drops all tables with all events.
func Migrate(ctx context.Context, conn *pgx.Conn, schema string, to int) error {
	all, err := Migrations(schema)
	if err != nil {
		return err
	}
	if to > len(all) {
		return fmt.Errorf("pglog: there is no schema version %d; the newest that this program knows is %d", to, len(all))
	}
	if to < 0 {
		to = len(all)
	}
	schema = schemaOr(schema)
	list, err := applied(ctx, conn, schema, len(all))
	if err != nil {
		return err
	}
	down := versionOf(list) > to // decided once: whoever goes the other way at the same time is not undone
	for {
		version, err := step(ctx, conn, schema, all, to, down)
		switch {
		case err != nil:
			return err
		case version == to, down == (version < to):
			return nil
		}
	}
}

// step moves a schema by one version, unless it is where it is to be, and returns its version.
func step(ctx context.Context, conn *pgx.Conn, schema string, all []Migration, to int, down bool) (version int, err error) {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	err = pgx.BeginTxFunc(ctx, conn, options, func(pgx.Tx) error {
		// The statements after the lock see all that others did while this one waited for it. In the space of two numbers,
		// which passes do not use.
		const lock = `SET LOCAL statement_timeout = 0; SET LOCAL search_path = pg_catalog; SET LOCAL client_min_messages = warning;
			SELECT pg_catalog.pg_advisory_xact_lock(1162760021, pg_catalog.hashtext('${name}'))`
		if err := script(ctx, conn, strings.ReplaceAll(lock, "${name}", schema)); err != nil {
			return err
		}
		list, err := applied(ctx, conn, schema, len(all))
		if err != nil {
			return err
		}
		version = versionOf(list)
		switch {
		case version > len(all):
			return &SchemaError{Address: show(conn.Config()), Schema: schema, Version: version, Known: len(all)}
		case version < to && !down:
			if err := script(ctx, conn, all[version].Up); err != nil {
				return fmt.Errorf("pglog: %s: migrate schema %q to version %d: %w%s", show(conn.Config()), schema, version+1, err, hint(err))
			}
			version++
		case version > to && down:
			if err := script(ctx, conn, all[version-1].Down); err != nil {
				return fmt.Errorf("pglog: %s: migrate schema %q back to version %d: %w%s", show(conn.Config()), schema, version-1, err, hint(err))
			}
			version--
		}
		return nil
	})
	return version, err
}

// script runs statements that need no arguments and whose rows don't matter.
func script(ctx context.Context, conn *pgx.Conn, text string) error {
	_, err := conn.PgConn().Exec(ctx, text).ReadAll()
	return err
}

// hint says what to do about an error of a migration.
func hint(err error) string {
	switch sqlState(err) {
	case "42501": // insufficient_privilege
		return "; connect as a role that owns the schema, or may make it"
	case "42P07", "42723", "42710": // a table, a function, something else is there already
		return "; the schema has something of another program: choose another one, after ?schema="
	case "25006": // read_only_sql_transaction
		return "; the server is a standby, connect to the primary"
	}
	return ""
}

// migrate brings the schema to this program's version, as far as the options allow.
func (d *Database) migrate(ctx context.Context) error {
	var ours error
	err := d.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		ours = d.migrateOn(ctx, c.Conn())
		return nil
	})
	if err != nil {
		return d.explain("open", err)
	}
	return ours
}

func (d *Database) migrateOn(ctx context.Context, conn *pgx.Conn) error {
	all, err := Migrations(d.options.Schema)
	if err != nil {
		return err
	}
	list, err := applied(ctx, conn, d.options.Schema, len(all))
	if err != nil {
		return err
	}
	version := versionOf(list)
	if version == len(all) {
		return nil
	}
	if version > len(all) || d.options.Manual || d.readOnly() || version == 0 && d.options.MustExist {
		return &SchemaError{Address: d.address, Schema: d.options.Schema, Version: version, Known: len(all)}
	}
	d.options.Logger.Debug("pglog: migrate", "address", d.address, "schema", d.options.Schema, "from", version, "to", len(all))
	return Migrate(ctx, conn, d.options.Schema, -1)
}
