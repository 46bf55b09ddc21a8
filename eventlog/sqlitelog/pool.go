package sqlitelog

import (
	"context"
	"errors"
	"sync"

	"github.com/ensue-io/ensue/eventlog"
)

// pool is the connections that read. Each is held for one page at most, never while a caller's code runs, so that one
// connection is enough for any number of loops inside each other.
type pool struct {
	dsn    string
	free   chan *conn // a nil one is yet to be opened
	ending context.Context
	once   sync.Once
}

func newPool(n int, ending context.Context, dsn string) *pool { //nolint:revive // the context is not of this call
	p := &pool{dsn: dsn, free: make(chan *conn, n), ending: ending}
	for range n {
		p.free <- nil
	}
	return p
}

// use runs f with a connection.
func (p *pool) use(ctx context.Context, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.ending.Err() != nil {
		return eventlog.ErrClosed
	}
	var c *conn
	select {
	case c = <-p.free:
	default:
		select {
		case c = <-p.free:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ending.Done():
			return eventlog.ErrClosed
		}
	}
	defer func() { p.free <- c }()
	if c == nil {
		opened, err := connect(ctx, p.dsn)
		if err != nil {
			return err
		}
		c = opened
	}
	return f(c)
}

// close waits for the connections in use, and closes all.
func (p *pool) close() (err error) {
	p.once.Do(func() {
		for range cap(p.free) {
			if c := <-p.free; c != nil {
				err = errors.Join(err, c.close())
			}
		}
	})
	return err
}

// read runs f with one of the file's connections that read.
func (f *File) read(ctx context.Context, do func(*conn) error) error {
	return explain(f.path, "read", f.readers.use(ctx, do))
}
