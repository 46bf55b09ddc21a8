package sqlitelog

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/ensue-io/ensue/eventlog"
)

// NewerError reports a file that a newer program made or changed. It was not touched.
type NewerError struct {
	Path    string
	Version int // of the file's schema
	Known   int // the newest that this program knows
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("sqlitelog: %s has schema version %d, this program knows %d; run a newer program", e.Path, e.Version, e.Known)
}

// Result codes of SQLite, https://sqlite.org/rescode.html; those above 255 are extended ones.
const (
	codePerm       = 3
	codeBusy       = 5
	codeLocked     = 6
	codeReadOnly   = 8
	codeIO         = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeTooBig     = 18
	codeConstraint = 19
	codeNotADB     = 26

	codeUnique     = codeConstraint | 8<<8
	codePrimaryKey = codeConstraint | 6<<8

	codeReadOnlyRollback = codeReadOnly | 3<<8
)

// code returns the result code of an error of SQLite's, and its first byte; 0 for other errors.
func code(err error) (extended, primary int) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, 0
	}
	return e.Code(), e.Code() & 0xff
}

// explain wraps an error with what was being done, and makes it one of eventlog's where it is one.
func explain(path, doing string, err error) error {
	if err == nil {
		return nil
	}
	_, primary := code(err)
	switch primary {
	case codeBusy, codeLocked:
		return fmt.Errorf("sqlitelog: %s: %s: %w: another process, or a transaction of this one, holds it; try again: %w", path, doing, eventlog.ErrBusy, err)
	case codeFull:
		return fmt.Errorf("sqlitelog: %s: %s: %w: make room and try again: %w", path, doing, eventlog.ErrFull, err)
	case codeReadOnly, codePerm:
		return fmt.Errorf("sqlitelog: %s: %s: %w: %w", path, doing, eventlog.ErrReadOnly, err)
	case codeCorrupt:
		return fmt.Errorf("%s: %w", doing, &eventlog.CorruptError{Address: path, Reason: "the file is damaged; restore it from a backup, or see what can be saved with sqlite3's .recover: " + err.Error()})
	case codeNotADB:
		return fmt.Errorf("%s: %w", doing, &eventlog.CorruptError{Address: path, Reason: "this is no SQLite file: " + err.Error()})
	case 0:
		return err
	default:
		return fmt.Errorf("sqlitelog: %s: %s: %w", path, doing, err)
	}
}
