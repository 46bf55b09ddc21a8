package sqlitelog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/eventlog"
)

// insideKey marks the context that InTx gives to the caller's code.
type insideKey struct{ file *File }

func inside(ctx context.Context, f *File) bool { return ctx.Value(insideKey{f}) != nil }

// InTx implements eventlog.SQLTransactor. While do runs, nothing else is written to the file: keep it short. The
// transaction ends, without effect, when the context does.
func (l *Log) InTx(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	if err := l.writable(ctx); err != nil {
		return err
	}
	// The caller's code runs on the caller's goroutine, in the writer's turn: a panic in it is the caller's own.
	f, turn := l.file, turn{granted: make(chan struct{}), over: make(chan struct{})}
	var refused error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		refused = f.submit(ctx, &request{alone: func(w *writer) error {
			turn.w = w
			close(turn.granted)
			<-turn.over
			return nil
		}})
	}()
	select {
	case <-answered: // without a turn
		return refused
	case <-turn.granted:
	}
	defer func() {
		close(turn.over)
		<-answered
	}()
	return f.inTurn(ctx, turn.w, do)
}

// turn hands the writer's connection to a caller.
type turn struct {
	w       *writer
	granted chan struct{}
	over    chan struct{}
}

// inTurn runs do in a transaction on the writer's connection.
func (f *File) inTurn(ctx context.Context, w *writer, do func(ctx context.Context, tx *sql.Tx) error) error {
	if w.db == nil {
		w.db = sql.OpenDB(single{w.c.dc})
		w.db.SetMaxOpenConns(1)
	}
	c, err := w.db.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return explain(f.path, "begin", err)
	}
	defer w.state.reset()            // do may have changed what is known of
	defer func() { _ = c.Close() }() // waits for a rollback that database/sql does on its own when the context ends
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return explain(f.path, "begin", err)
	}
	defer func() { _ = tx.Rollback() }() // also when do panics; without effect after the commit
	if err := do(context.WithValue(ctx, insideKey{f}, true), tx); err != nil {
		return err
	}
	if err := w.hooked(tx.Commit); err != nil {
		w.fatal(err)
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err()
		}
		return explain(f.path, "commit", err)
	}
	f.stats.commits.Add(1)
	f.stats.writes.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.logs {
		head, err := queryHead(w.c, l.number)
		if err != nil {
			f.options.Logger.Warn("sqlitelog: looking for the head after a transaction failed", "file", f.path, "module", l.module, "error", err)
			continue
		}
		l.head.Advance(head)
	}
	return nil
}

// single is a database that consists of one connection, which somebody else opens and closes.
type single struct{ dc driver.Conn }

func (s single) Connect(context.Context) (driver.Conn, error) {
	return borrowed{s.dc.(sqliteConn)}, nil
}
func (s single) Driver() driver.Driver { return nil }

type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type borrowed struct{ sqliteConn }

// Close leaves the connection open.
func (borrowed) Close() error { return nil }

// IsValid: an interrupted statement does no harm to the connection.
func (borrowed) IsValid() bool { return true }

// ResetSession likewise.
func (borrowed) ResetSession(context.Context) error { return nil }

// release closes the writer's connection.
func (w *writer) release() error {
	var err error
	if w.db != nil {
		err = w.db.Close()
	}
	return errors.Join(err, w.c.close())
}

// AppendTx implements eventlog.SQLTransactor. The transaction may be the one of InTx, or any of the caller's own
// database handle on the same file: then nobody else writes to the file until it ends, a transaction that began with a
// read may fail with eventlog.ErrBusy because another writer came first (begin it with BEGIN IMMEDIATE), and readers in
// this process notice what was appended as they notice what another process appends.
func (l *Log) AppendTx(ctx context.Context, tx *sql.Tx, writes ...eventlog.Write) (done eventlog.Appended, err error) {
	if err := eventlog.Check(writes); err != nil {
		return done, err
	}
	switch {
	case l.closed.Load():
		return done, eventlog.ErrClosed
	case l.file.writer == nil:
		return done, fmt.Errorf("sqlitelog: %s was opened read-only: %w", l.file.path, eventlog.ErrReadOnly)
	case ctx.Err() != nil || len(writes) == 0:
		return done, ctx.Err()
	}
	// From here on without the context's end: SQLite ends the whole transaction when a write in it is interrupted.
	x := &inTx{context.WithoutCancel(ctx), tx}
	if done, err = l.appendTx(x, writes); err != nil {
		return eventlog.Appended{}, explain(l.file.path, "append", err)
	}
	return done, nil
}

func (l *Log) appendTx(x *inTx, writes []eventlog.Write) (done eventlog.Appended, err error) {
	if _, err := x.exec(`SAVEPOINT ensue_append`); err != nil {
		return done, err
	}
	defer func() {
		if err != nil {
			_, undo := x.exec(`ROLLBACK TO ensue_append`)
			if undo != nil {
				err = fmt.Errorf("%w; the transaction can't go on either: %w", err, undo)
				return
			}
		}
		if _, release := x.exec(`RELEASE ensue_append`); release != nil && err == nil {
			err = release
		}
	}()
	// The first statement takes the write lock, so that what is read afterwards stays true; and it finds out whether the
	// transaction is on this file.
	n, err := x.exec(`UPDATE modules SET revision = revision WHERE module = ? AND log = ?`, l.number, l.id[:])
	if err != nil {
		return done, err
	}
	if n != 1 {
		return done, fmt.Errorf("sqlitelog: the transaction is not on %s, or that is not the file that was opened; use a *sql.Tx on this file", l.file.path)
	}
	s := newState(x, l.file.options.Now)
	s.begin()
	if done, err = s.apply(l, writes); err == nil {
		return done, s.flush()
	}
	if !mayRepeat(err) {
		return done, err
	}
	if _, undo := x.exec(`ROLLBACK TO ensue_append`); undo != nil {
		return done, errors.Join(err, undo)
	}
	s.takeBack()
	return s.repeat(l, writes, err)
}

// inTx runs statements in a transaction of the caller's, with whatever driver that has.
type inTx struct {
	ctx context.Context //nolint:containedctx // of one append
	tx  *sql.Tx
}

func (x *inTx) exec(text string, args ...driver.Value) (int64, error) {
	r, err := x.tx.ExecContext(x.ctx, text, arguments(args)...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (x *inTx) query(text string, row func([]driver.Value) error, args ...driver.Value) (err error) {
	rows, err := x.tx.QueryContext(x.ctx, text, arguments(args)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	found, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range found {
		targets[i] = &found[i]
	}
	values := make([]driver.Value, len(columns))
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, v := range found {
			values[i] = v
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

func arguments(args []driver.Value) []any {
	a := make([]any, len(args))
	for i := range args {
		a[i] = args[i]
	}
	return a
}
