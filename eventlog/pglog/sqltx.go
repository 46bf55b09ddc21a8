package pglog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// sqlTx is a transaction of database/sql's.
type sqlTx struct{ tx *sql.Tx }

func (t sqlTx) exec(ctx context.Context, text string) error {
	_, err := t.tx.ExecContext(ctx, text)
	return err
}

// Query implements querier: rows of database/sql as rows of pgx.
func (t sqlTx) Query(ctx context.Context, text string, args ...any) (pgx.Rows, error) {
	rows, err := t.tx.QueryContext(ctx, text, args...) //nolint:sqlclosecheck,rowserrcheck // by whoever gets them
	if err != nil {
		return nil, err
	}
	return &sqlRows{rows: rows, types: pgtype.NewMap()}, nil
}

// sqlRows are rows of database/sql. Only what this package asks of rows is there.
type sqlRows struct {
	rows  *sql.Rows
	types *pgtype.Map
	err   error
}

func (r *sqlRows) Close() { r.err = errors.Join(r.err, r.rows.Close()) }

func (r *sqlRows) Err() error { return errors.Join(r.err, r.rows.Err()) }

func (r *sqlRows) Next() bool { return r.rows.Next() }

func (r *sqlRows) Scan(targets ...any) error {
	scanners := make([]any, len(targets))
	for i, t := range targets {
		switch t := t.(type) {
		case *[]int32, *[]int64, *[]*int64:
			scanners[i] = r.types.SQLScanner(t)
		default:
			scanners[i] = t
		}
	}
	return r.rows.Scan(scanners...)
}

func (r *sqlRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r *sqlRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (r *sqlRows) Values() ([]any, error)                       { return nil, errors.ErrUnsupported }
func (r *sqlRows) RawValues() [][]byte                          { return nil }
func (r *sqlRows) Conn() *pgx.Conn                              { return nil }
func (r *sqlRows) TypeMap() *pgtype.Map                         { return r.types }
