package sqlitelog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
)

// conn is one connection to the file, used by one goroutine at a time. It stands on the driver's own interface:
// database/sql would check, convert and lock once more for each statement, which costs as much as the statement.
type conn struct {
	dc         driver.Conn
	statements map[string]driver.Stmt
	named      []driver.NamedValue // arguments of the statement under way
	row        []driver.Value
}

// executor runs statements: on a connection of the file, or in a transaction of the caller's.
type executor interface {
	exec(text string, args ...driver.Value) (affected int64, err error)
	// query calls row for each row; the slice is only good during the call, what is in it for ever.
	query(text string, row func([]driver.Value) error, args ...driver.Value) error
}

// maxStatements bounds the prepared statements of one connection, since a filter's text depends on what it asks for.
const maxStatements = 200

func connect(ctx context.Context, dsn string) (*conn, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	dc, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{dc: dc, statements: map[string]driver.Stmt{}}, nil
}

// dsn returns the address of a file in the driver's language, in which a path may hold any character.
func dsn(path, mode string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/… on Windows
	}
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	u := url.URL{Path: path}
	return "file://" + u.EscapedPath() + "?" + mode + "&" + q.Encode()
}

func (c *conn) prepare(text string) (driver.Stmt, error) {
	if s, ok := c.statements[text]; ok {
		return s, nil
	}
	if len(c.statements) >= maxStatements {
		c.forget()
	}
	s, err := c.dc.Prepare(text)
	if err != nil {
		return nil, err
	}
	c.statements[text] = s
	return s, nil
}

func (c *conn) forget() {
	for text, s := range c.statements {
		_ = s.Close()
		delete(c.statements, text)
	}
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	for len(c.named) < len(args) {
		c.named = append(c.named, driver.NamedValue{Ordinal: len(c.named) + 1})
	}
	for i, a := range args {
		c.named[i].Value = a
	}
	return c.named[:len(args)]
}

func (c *conn) exec(text string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(text)
	if err != nil {
		return 0, err
	}
	// No context: the driver would start a goroutine for it, and an interrupted write ends the whole transaction.
	r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c *conn) query(text string, row func([]driver.Value) error, args ...driver.Value) error {
	return c.queryContext(context.Background(), text, row, args...)
}

// queryContext is query that the context interrupts. Statements that are known to be short go without.
func (c *conn) queryContext(ctx context.Context, text string, row func([]driver.Value) error, args ...driver.Value) (err error) {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, c.bind(args))
	if err != nil {
		return err
	}
	defer func() {
		if closed := rows.Close(); err == nil {
			err = closed
		}
	}()
	n := len(rows.Columns())
	for len(c.row) < n {
		c.row = append(c.row, nil)
	}
	for {
		err := rows.Next(c.row[:n])
		if err == nil {
			err = row(c.row[:n])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// errEnough ends a query early.
var errEnough = errors.New("enough rows")

func (c *conn) close() error {
	c.forget()
	return c.dc.Close()
}

// one runs a query of one row with one number; no row is 0.
func one(x executor, text string, args ...driver.Value) (n int64, err error) {
	err = x.query(text, func(row []driver.Value) error {
		switch v := row[0].(type) {
		case int64:
			n = v
		case nil:
		default:
			return fmt.Errorf("sqlitelog: %s: expected a number, found %T", text, v)
		}
		return nil
	}, args...)
	return n, err
}
