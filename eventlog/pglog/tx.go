package pglog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ensue-io/ensue/eventlog"
)

// insideKey marks the context that InTx gives to the caller's code.
type insideKey struct{ db *Database }

func inside(ctx context.Context, d *Database) bool { return ctx.Value(insideKey{d}) != nil }

// InTx implements eventlog.SQLTransactor. It is a transaction of the connection pool, with the server's default isolation.
// It keeps only others waiting that append to the same streams, while it is open.
func (l *Log) InTx(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	if err := l.writable(ctx); err != nil {
		return err
	}
	tx, err := l.db.db.BeginTx(ctx, nil)
	if err != nil {
		return l.db.explain("begin", err)
	}
	defer func() { _ = tx.Rollback() }() // also when do panics; without effect after the commit
	if err := do(context.WithValue(ctx, insideKey{l.db}, true), tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			return ctx.Err() // rolled back when the context ended
		}
		return l.db.explain("commit", lost(err))
	}
	l.db.passes.nudge(soon)
	return nil
}

// AppendTx implements eventlog.SQLTransactor. The transaction may be the one of InTx, or any of the caller's own handle on
// the same database, opened with pgx's stdlib, in any isolation. Under REPEATABLE READ and SERIALIZABLE somebody else's
// append to the same stream since the transaction began is eventlog.ErrBusy. Readers in this program notice what was
// appended in a transaction of the caller's own as they notice what others append.
func (l *Log) AppendTx(ctx context.Context, tx *sql.Tx, writes ...eventlog.Write) (eventlog.Appended, error) {
	return l.appendIn(ctx, sqlTx{tx}, writes)
}

// AppendPgx is AppendTx for a transaction of pgx's.
func (l *Log) AppendPgx(ctx context.Context, tx pgx.Tx, writes ...eventlog.Write) (eventlog.Appended, error) {
	return l.appendIn(ctx, pgxTx{tx}, writes)
}

// callersTx is a transaction of the caller's, by whatever interface.
type callersTx interface {
	querier
	exec(ctx context.Context, text string) error
}

func (l *Log) appendIn(ctx context.Context, tx callersTx, writes []eventlog.Write) (done eventlog.Appended, err error) {
	if err := eventlog.Check(writes); err != nil {
		return done, err
	}
	l.db.isStandby(ctx)
	switch {
	case l.closed.Load():
		return done, eventlog.ErrClosed
	case l.db.readOnly():
		return done, fmt.Errorf("pglog: %s is only read: %w", l.db.address, eventlog.ErrReadOnly)
	case ctx.Err() != nil || len(writes) == 0:
		return done, ctx.Err()
	}
	r, err := encode(writes)
	if err != nil {
		return done, err
	}
	// From here on without the context's end: pgx closes a connection when a statement on it is interrupted.
	ctx = context.WithoutCancel(ctx)
	if err := l.inSavepoint(ctx, tx, r); err != nil {
		return done, l.db.explain("append", err)
	}
	return r.done, nil
}

// inSavepoint appends, and takes everything back that it did to the transaction when it fails.
func (l *Log) inSavepoint(ctx context.Context, tx callersTx, r *request) (err error) {
	if err := tx.exec(ctx, `SAVEPOINT ensue_append`); err != nil {
		return err
	}
	defer func() {
		if release := tx.exec(ctx, `RELEASE SAVEPOINT ensue_append`); release != nil && err == nil {
			err = release
		}
	}()
	back := func() error { return tx.exec(ctx, `ROLLBACK TO SAVEPOINT ensue_append`) }
	if err := l.isHere(ctx, tx); err != nil {
		return errors.Join(err, back())
	}
	for attempt := 1; ; attempt++ {
		if err = l.calls(ctx, tx, r); err == nil {
			return nil
		}
		if undo := back(); undo != nil {
			return fmt.Errorf("%w; the transaction can't go on either: %w", err, undo)
		}
		if !again(err) || attempt == 10 {
			break
		}
	}
	if errors.Is(err, errKnown) || len(r.parts) > 1 {
		if err = l.repeat(ctx, tx, r, err); err != nil {
			return errors.Join(err, back())
		}
	}
	return err
}

// isHere finds out whether the transaction is on the database that was opened.
func (l *Log) isHere(ctx context.Context, tx callersTx) error {
	rows, err := tx.Query(ctx, l.db.sql(`SELECT log FROM ${schema}.modules WHERE module = $1::int`), l.number)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0].Bytes != l.id {
		return fmt.Errorf("pglog: the transaction is not on %s, or that is not the database that was opened; use a transaction on this database", l.db.address)
	}
	return nil
}

// pgxTx is a transaction of pgx's.
type pgxTx struct{ pgx.Tx }

func (t pgxTx) exec(ctx context.Context, text string) error {
	_, err := t.Exec(ctx, text)
	return err
}
