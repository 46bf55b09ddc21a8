package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ensue-io/ensue/eventlog"
)

// ErrSequence means that the sequence of insertion numbers was altered or set back: events would be lost. Nothing is
// numbered or appended until it is put right; the error says how.
var ErrSequence = errors.New("pglog: the sequence of insertion numbers is not as it must be")

// sqlState returns the code of an error of the server's, "" for others.
func sqlState(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return ""
	}
	return refused.Code
}

// codeLockTimeout: somebody else's lock was waited for long enough.
const codeLockTimeout = "55P03"

// again tells whether an append that failed so is to be tried once more: somebody else committed the same stream, entry
// or id at the same moment, or the server broke a deadlock.
func again(err error) bool {
	switch sqlState(err) {
	case "23505", "40P01":
		return true
	}
	return false
}

// explain wraps an error with what was being done, and makes it one of eventlog's where it is one.
func (d *Database) explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isOurs(err):
		return err
	case d.ending.Err() != nil && sqlState(err) == "": // the pool is closed
		return eventlog.ErrClosed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	code := sqlState(err)
	switch code {
	case codeLockTimeout, "40P01", "40001", "23505", "57014":
		return fmt.Errorf("pglog: %s: %s: %w: another transaction holds what it needs, or came first; try again: %w", d.address, doing, eventlog.ErrBusy, err)
	case "42501", "25006":
		return fmt.Errorf("pglog: %s: %s: %w: the role may not, or the server is a standby: %w", d.address, doing, eventlog.ErrReadOnly, err)
	case "53100":
		return fmt.Errorf("pglog: %s: %s: %w: make room and try again: %w", d.address, doing, eventlog.ErrFull, err)
	case "ENS01":
		return fmt.Errorf("pglog: %s: %s: %w: %w", d.address, doing, ErrSequence, err)
	}
	return fmt.Errorf("pglog: %s: %s: %w", d.address, doing, err)
}

// isOurs tells whether an error is one of eventlog's already.
func isOurs(err error) bool {
	var id *eventlog.IDError
	var closed *eventlog.StreamClosedError
	var nothing *eventlog.NoEventError
	var corrupt *eventlog.CorruptError
	return errors.Is(err, eventlog.ErrConflict) || errors.As(err, &id) || errors.As(err, &closed) || errors.As(err, &nothing) || errors.As(err, &corrupt) ||
		errors.Is(err, eventlog.ErrClosed) || errors.Is(err, eventlog.ErrReadOnly) || errors.Is(err, eventlog.ErrLogRewound)
}
