package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/eventlog/pglog"
)

func (p *program) migrateCommand() *cobra.Command {
	return p.group("migrate", "Make and change the tables of a PostgreSQL database", `  ensue migrate up postgres://owner@db.example.com/shop
  ensue migrate status postgres://owner@db.example.com/shop?schema=logs
  ensue migrate print --all
  ensue migrate grants --role shop --for run`,
		p.migrateUp(), p.migrateDown(), p.migrateStatus(), p.migratePrint(), p.migrateGrants())
}

// schemaFlag adds --schema.
func schemaFlag(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVar(value, "schema", "", "`schema` that holds the tables, instead of the one after ?schema= in the address (default ensue)")
}

// target is a schema of a database, with a connection.
type target struct {
	address string // without a password
	schema  string
	conn    *pgx.Conn
	known   []pglog.Migration
	applied []pglog.Applied
}

// target connects to the database that the arguments name, and looks at its schema.
func (p *program) target(cmd *cobra.Command, args []string, schema string) (*target, error) {
	address, _, err := p.arguments(cmd, args, 0, 0)
	if err != nil {
		return nil, err
	}
	t := &target{address: pglog.WithoutPassword(address)}
	if t.schema, err = schemaOf(address, schema); err != nil {
		return nil, err
	}
	if t.known, err = pglog.Migrations(t.schema); err != nil {
		return nil, err
	}
	if t.conn, err = pglog.Connect(cmd.Context(), address); err != nil {
		return nil, err
	}
	if err := t.look(cmd.Context()); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *target) look(ctx context.Context) (err error) {
	t.applied, err = pglog.Status(ctx, t.conn, t.schema)
	return err
}

func (t *target) version() int {
	if len(t.applied) == 0 {
		return 0
	}
	return t.applied[len(t.applied)-1].Version
}

func (t *target) close() { _ = t.conn.Close(context.Background()) } // also when the command was interrupted

// schemaOf returns the schema that is asked for, by the flag or in the address.
func schemaOf(address, flag string) (string, error) {
	if address != "" && !IsDatabase(address) {
		return "", errors.New("only PostgreSQL databases are migrated like this: give postgres://…; the tables in files are changed by the program that opens them")
	}
	if flag != "" || address == "" {
		return flag, nil
	}
	return pglog.SchemaOf(address)
}

// migrationView is a migration as it is listed.
type migrationView struct {
	Version int        `json:"version"`
	Name    string     `json:"name"`
	Applied *time.Time `json:"applied,omitempty"`
	Unknown bool       `json:"unknown,omitempty"` // to this program
}

// list returns what was applied, and what is pending.
func (t *target) list() []migrationView {
	list := []migrationView{}
	for _, a := range t.applied {
		list = append(list, migrationView{Version: a.Version, Name: a.Name, Applied: &a.At, Unknown: a.Version > len(t.known)})
	}
	for _, m := range t.known[min(t.version(), len(t.known)):] {
		list = append(list, migrationView{Version: m.Version, Name: m.Name})
	}
	return list
}

func (p *program) migrateStatus() *cobra.Command {
	var schema string
	cmd := &cobra.Command{
		Use:     "status ADDRESS",
		Short:   "List what was applied to a schema, and what is pending",
		Example: "  ensue migrate status postgres://shop@db.example.com/shop\n  ensue migrate status postgres://shop@db.example.com/shop --schema logs --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := p.target(cmd, args, schema)
			if err != nil {
				return err
			}
			defer t.close()
			if p.json {
				return p.document(t.list())
			}
			rows := p.table(right("VERSION"), left("NAME"), left("APPLIED"))
			for _, m := range t.list() {
				state := yellow.of("pending")
				if m.Applied != nil {
					state = text("%s", at(*m.Applied))
				}
				if m.Unknown {
					state = red.of("%s, by a newer program", at(*m.Applied))
				}
				rows.row(number(m.Version), text("%s", m.Name), state)
			}
			rows.end()
			return nil
		},
	}
	schemaFlag(cmd, &schema)
	return cmd
}

func (p *program) migrateUp() *cobra.Command {
	var schema string
	cmd := &cobra.Command{
		Use:   "up ADDRESS",
		Short: "Apply what is pending",
		Long: `Apply what is pending to a schema, and make it unless it is there. Each migration is one transaction.

The role that does it owns the tables, and the functions by which others append. With --json it writes an array of what
it applied.`,
		Example: "  ensue migrate up postgres://owner@db.example.com/shop\n  ensue migrate up postgres://owner@db.example.com/shop --schema logs",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := p.target(cmd, args, schema)
			if err != nil {
				return err
			}
			defer t.close()
			before := t.version()
			if err := pglog.Migrate(cmd.Context(), t.conn, t.schema, -1); err != nil {
				return err
			}
			if err := t.look(cmd.Context()); err != nil {
				return err
			}
			done := slices.DeleteFunc(t.list(), func(m migrationView) bool { return m.Version <= before || m.Applied == nil })
			if p.json {
				return p.document(done)
			}
			for _, m := range done {
				fmt.Fprintf(p.out, "%s %d %s\n", p.paint(green, "applied"), m.Version, m.Name)
			}
			p.showVersion(t)
			return nil
		},
	}
	schemaFlag(cmd, &schema)
	return cmd
}

func (p *program) showVersion(t *target) {
	switch version := t.version(); version {
	case 0:
		fmt.Fprintf(p.out, "schema %s at %s holds nothing of ours\n", clean(t.schema), clean(t.address))
	case len(t.known):
		fmt.Fprintf(p.out, "schema %s at %s has version %d, the newest\n", clean(t.schema), clean(t.address), version)
	default:
		fmt.Fprintf(p.out, "schema %s at %s has version %d of %d\n", clean(t.schema), clean(t.address), version, len(t.known))
	}
}

func (p *program) migrateDown() *cobra.Command {
	var schema string
	var to int
	var yes bool
	cmd := &cobra.Command{
		Use:   "down ADDRESS",
		Short: "Take migrations back",
		Long: `Take migrations back, down to a version. Down to version 0 drops all tables, and with them every event of every
module; the schema itself stays. No program may use the logs meanwhile.

With --json it writes an array of what it took back.`,
		Example: "  ensue migrate down postgres://owner@db.example.com/shop --to 1 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("to") || to < 0 {
				return usage(cmd, "say down to which version, by --to")
			}
			t, err := p.target(cmd, args, schema)
			if err != nil {
				return err
			}
			defer t.close()
			switch {
			case t.version() < to:
				return fmt.Errorf("schema %q at %s has version %d, which is below %d already", t.schema, t.address, t.version(), to)
			case !yes && to == 0:
				return usage(cmd, "this drops all tables of schema %q at %s, with every event of every module; confirm it by --yes", t.schema, t.address)
			case !yes:
				return usage(cmd, "this takes schema %q at %s from version %d down to %d, with what only the later versions can keep; confirm it by --yes", t.schema, t.address, t.version(), to)
			}
			done := slices.DeleteFunc(t.list(), func(m migrationView) bool { return m.Version <= to || m.Applied == nil })
			slices.Reverse(done)
			if len(done) > 0 {
				if err := pglog.Migrate(cmd.Context(), t.conn, t.schema, to); err != nil {
					return err
				}
			}
			if err := t.look(cmd.Context()); err != nil {
				return err
			}
			if p.json {
				return p.document(done)
			}
			for _, m := range done {
				fmt.Fprintf(p.out, "%s %d %s\n", p.paint(yellow, "took back"), m.Version, m.Name)
			}
			p.showVersion(t)
			return nil
		},
	}
	schemaFlag(cmd, &schema)
	cmd.Flags().IntVar(&to, "to", 0, "`version` that is left; 0 for nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "confirm that it is meant")
	return cmd
}

// scriptView is the SQL of a migration in one direction.
type scriptView struct {
	Version int    `json:"version"` // that the schema has then
	Name    string `json:"name"`
	SQL     string `json:"sql"` // to be run in one transaction
}

func (p *program) migratePrint() *cobra.Command {
	var schema string
	var from, to int
	var all bool
	cmd := &cobra.Command{
		Use:   "print [ADDRESS]",
		Short: "Write the SQL of migrations",
		Long: `Write the SQL of pending migrations, for teams that apply SQL by their own means; see pglog.Options.Manual. It also keeps
the list of what was applied.

Which are pending is asked of the database, unless --from or --all says what there is; then an address is not needed.
With --to below --from it writes what takes them back. With --json it writes an array, without BEGIN and COMMIT.`,
		Example: "  ensue migrate print postgres://shop@db.example.com/shop\n  ensue migrate print --all --schema logs | psql shop\n  ensue migrate print --from 1 --to 0",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && cmd.Flags().Changed("from") {
				return usage(cmd, "--all is --from 0; give one of them")
			}
			offline := all || cmd.Flags().Changed("from")
			var known []pglog.Migration
			if offline {
				named, err := p.offline(cmd, args, schema)
				if err != nil {
					return err
				}
				if known, err = pglog.Migrations(named); err != nil {
					return err
				}
			} else {
				t, err := p.target(cmd, args, schema)
				if err != nil {
					return err
				}
				t.close()
				known, from = t.known, t.version()
				if from > len(known) {
					return &pglog.SchemaError{Address: t.address, Schema: t.schema, Version: from, Known: len(known)}
				}
			}
			if !cmd.Flags().Changed("to") {
				to = len(known)
			}
			if from < 0 || to < 0 || from > len(known) || to > len(known) {
				return usage(cmd, "there are versions 0 to %d, not %d to %d", len(known), from, to)
			}
			list := scripts(known, from, to)
			if p.json {
				return p.document(list)
			}
			for _, s := range list {
				if _, err := fmt.Fprintf(p.out, "-- To version %d: %s\nBEGIN;\n\n%s\nCOMMIT;\n\n", s.Version, s.Name, s.SQL); err != nil {
					return err
				}
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "nothing is pending")
			}
			return nil
		},
	}
	schemaFlag(cmd, &schema)
	cmd.Flags().BoolVar(&all, "all", false, "all migrations, from nothing on")
	cmd.Flags().IntVar(&from, "from", 0, "`version` that the schema has (default: what the database says)")
	cmd.Flags().IntVar(&to, "to", 0, "`version` that it is to have (default: the newest)")
	return cmd
}

// scripts returns what leads from a version to another one.
func scripts(known []pglog.Migration, from, to int) []scriptView {
	list := []scriptView{}
	for _, m := range known[min(from, to):max(from, to)] {
		if from < to {
			list = append(list, scriptView{Version: m.Version, Name: m.Name, SQL: m.Up})
		} else {
			list = append(list, scriptView{Version: m.Version - 1, Name: "without " + m.Name, SQL: m.Down})
		}
	}
	if from > to {
		slices.Reverse(list)
	}
	return list
}

// offline returns the schema that is asked for, where no database is.
func (p *program) offline(cmd *cobra.Command, args []string, schema string) (string, error) {
	address := p.address
	if address == "" && len(args) > 0 {
		address, args = args[0], args[1:]
	}
	if address == "" {
		address = p.env("ENSUE_URL")
	}
	if len(args) > 0 {
		return "", usage(cmd, "%s takes an address and no other argument", cmd.CommandPath())
	}
	return schemaOf(address, schema)
}

func (p *program) migrateGrants() *cobra.Command {
	var schema, role, purpose string
	cmd := &cobra.Command{
		Use:   "grants [ADDRESS]",
		Short: "Write the GRANT statements for a role",
		Long: `Write the statements that give a role what it needs, for the owner of the schema. No database is asked; of an address
only the schema matters.

  --for read    reads all logs; this is what the other commands of ensue need
  --for append  appends to logs that are there, and reads none
  --for run     runs an application`,
		Example: "  ensue migrate grants --role shop --for run | psql shop\n  ensue migrate grants --role reports --for read --schema logs",
		RunE: func(cmd *cobra.Command, args []string) error {
			if role == "" {
				return usage(cmd, "name the role by --role")
			}
			if !slices.Contains(pglog.Purposes(), pglog.Purpose(purpose)) {
				return usage(cmd, "--for takes read, append or run, not %q", purpose)
			}
			named, err := p.offline(cmd, args, schema)
			if err != nil {
				return err
			}
			statements, err := pglog.Grants(named, role, pglog.Purpose(purpose))
			if err != nil {
				return err
			}
			if p.json {
				return p.document(statements)
			}
			for _, s := range statements {
				if _, err := io.WriteString(p.out, s+";\n"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	schemaFlag(cmd, &schema)
	cmd.Flags().StringVar(&role, "role", "", "`name` of the role")
	cmd.Flags().StringVar(&purpose, "for", "", "what the role is to do: read, append or run")
	return cmd
}
