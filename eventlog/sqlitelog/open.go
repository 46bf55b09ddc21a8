package sqlitelog

import (
	"context"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ensue-io/ensue/eventlog"
)

// applicationID marks a file as ours: "ENSU".
const applicationID = 0x454e5355

// oldestSQLite is the first release without the error by which a write-ahead log could be reset under a reader's feet,
// https://sqlite.org/wal.html.
var oldestSQLite = [3]int{3, 51, 3}

//go:embed sql/*.sql
var migrationFiles embed.FS

// migrations returns the scripts that make and change the tables: the n-th leads to schema version n.
func migrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "sql/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	scripts := make([]string, len(names))
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("sql/%04d_", i+1)) {
			return nil, fmt.Errorf("sqlitelog: migration %s is not number %d", name, i+1)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		scripts[i] = string(text)
	}
	return scripts, nil
}

// Open opens a file, and makes it if it does not exist, readable and writable for its owner alone. A file that is not
// ours, cut off or damaged is an *eventlog.CorruptError, one of a newer program a *NewerError; such a file is not
// changed.
func Open(ctx context.Context, path string, o Options) (_ *File, err error) {
	o = o.withDefaults()
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("sqlitelog: %w", err)
	}
	scripts, err := migrations()
	if err != nil {
		return nil, err
	}
	isNew, err := inspect(ctx, path, o, len(scripts))
	if err != nil {
		return nil, explain(path, "open", err)
	}
	f := &File{path: path, options: o, logs: map[string]*Log{}}
	f.ending, f.end = context.WithCancel(context.Background())
	if o.ReadOnly {
		f.readers = newPool(o.Readers, f.ending, dsn(path, readOnlyMode(path), "busy_timeout(1000)", "temp_store(MEMORY)", "query_only(1)"))
		return f, nil
	}
	c, err := openWriter(ctx, path, o, scripts, isNew)
	if err != nil {
		if !errors.Is(err, eventlog.ErrReadOnly) {
			err = explain(path, "open", err)
		}
		return nil, err
	}
	f.readers = newPool(o.Readers, f.ending, dsn(path, "mode=rw", "busy_timeout(1000)", "temp_store(MEMORY)", "query_only(1)"))
	f.writer = startWriter(path, c, o.Now, &f.stats, func(l *Log, head int64) { l.head.Advance(head) }, o.hooks)
	return f, nil
}

// openWriter opens the connection that writes, and brings the file to this program's schema and into WAL mode.
func openWriter(ctx context.Context, path string, o Options, scripts []string, isNew bool) (_ *conn, err error) {
	level, mode := "FULL", "mode=rw"
	if o.Normal {
		level = "NORMAL"
	}
	if isNew {
		mode = "mode=rwc"
	}
	pragmas := append([]string{
		fmt.Sprintf("busy_timeout(%d)", o.BusyTimeout.Milliseconds()),
		"synchronous(" + level + ")",
		"fullfsync(1)",    // macOS, where fsync alone does not reach the medium
		"page_size(8192)", // of a new file: half as many pages to split, and hardly more to write, than with 4096
		"temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", o.CacheBytes>>10),
		"wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)",
	}, o.hooks.open...)
	var c *conn
	defer func() {
		if err == nil {
			return
		}
		if c != nil {
			err = errors.Join(err, c.close())
		}
		if _, primary := code(err); primary == codeReadOnly || primary == codeCantOpen {
			err = fmt.Errorf("sqlitelog: %s: %w: it, or the folder, where SQLite keeps a write-ahead log beside it, may not be written; open it with Options.ReadOnly, or change the mode: %w", path, eventlog.ErrReadOnly, err)
		}
	}()
	if c, err = connect(ctx, dsn(path, mode, pragmas...)); err != nil {
		return nil, err
	}
	if isNew { // it is still empty, and what SQLite makes beside it gets the same mode
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, err
		}
	}
	if readOnly, err := c.dc.(interface{ IsReadOnly(string) (bool, error) }).IsReadOnly("main"); err != nil || readOnly {
		return nil, errors.Join(err, fmt.Errorf("sqlitelog: %s: %w: it may not be written; open it with Options.ReadOnly, or change its mode", path, eventlog.ErrReadOnly))
	}
	if err := checkSQLite(c); err != nil {
		return nil, err
	}
	if err := migrate(c, path, scripts, o); err != nil {
		return nil, err
	}
	return c, setWAL(ctx, c, path, o.BusyTimeout)
}

// inspect looks at a file before anything else does, so that one that is refused stays as it is, and tells whether it is
// yet to be made.
//
// The file is never opened and closed other than by SQLite: that would drop the locks of all connections that this
// process has to it (https://sqlite.org/howtocorrupt.html, 2.2), and another process could then take away the
// write-ahead log that they are writing to.
func inspect(ctx context.Context, path string, o Options, known int) (isNew bool, err error) {
	corrupt := func(reason string) error { return &eventlog.CorruptError{Address: path, Reason: reason} }
	exists := !o.ReadOnly && !o.MustExist // it need not
	beside := func(suffix string) bool {
		info, err := os.Stat(path + suffix)
		return err == nil && info.Size() > 0
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && exists:
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return false, fmt.Errorf("sqlitelog: %w; make the folder first", err)
		}
		return true, nil
	case err != nil:
		return false, fmt.Errorf("sqlitelog: %w", err)
	case info.IsDir():
		return false, corrupt("is a folder; give the name of a file in it")
	case info.Size() == 0 && beside("-wal"):
		return false, corrupt("is empty, while its write-ahead log is not: the file was cut off; restore it from a backup")
	case info.Size() == 0 && !exists:
		return false, corrupt("is empty; nothing was ever written to it")
	case info.Size() == 0:
		return false, nil
	}
	// A connection that may not write leaves the newest state where it is, in the write-ahead log or a journal. Where there
	// is none, one that could but does not write leaves nothing behind.
	mode := readOnlyMode(path)
	if mode == "mode=ro" && !beside("-wal") && !beside("-journal") {
		mode = "mode=rw"
	}
	c, err := connect(ctx, dsn(path, mode, "busy_timeout(5000)", "query_only(1)"))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	err = checkVersion(c, path, known, false)
	if extended, _ := code(err); extended == codeReadOnlyRollback && !o.ReadOnly {
		if err := rollBack(ctx, path); err != nil {
			return false, err
		}
		return inspect(ctx, path, o, known)
	}
	if _, primary := code(err); primary == codeCorrupt {
		return false, corrupt(fmt.Sprintf("is cut off or damaged: %v; restore it from a backup", err))
	}
	if err != nil {
		return false, err
	}
	want, err := one(c, `SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`)
	if err != nil || beside("-wal") {
		return false, err
	}
	if info, err = os.Stat(path); err == nil && info.Size() < want { // SQLite would take the end of a last page that is cut off for zeros
		err = corrupt(fmt.Sprintf("is cut off: %d bytes of %d are there; restore it from a backup", info.Size(), want))
	}
	return false, err
}

// rollBack takes back what a program left half done that was killed inside a transaction while it made the file, before
// that was in WAL mode. A connection that may not write cannot even read such a file.
func rollBack(ctx context.Context, path string) error {
	c, err := connect(ctx, dsn(path, "mode=rw", "busy_timeout(5000)", "query_only(1)"))
	if err != nil {
		return err
	}
	_, err = one(c, `PRAGMA user_version`)
	return errors.Join(err, c.close())
}

// readOnlyMode returns how to open a file without writing to it. SQLite wants to make files beside one in WAL mode, also
// to read it; where it can't, because the folder may not be written and nobody has the file open, it is told that the
// file does not change.
func readOnlyMode(path string) string {
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); err == nil {
			return "mode=ro"
		}
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".ensue-*")
	if err != nil {
		return "mode=ro&immutable=1"
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return "mode=ro"
}

// checkSQLite refuses a SQLite with a known error.
func checkSQLite(c *conn) error {
	var version string
	err := c.query(`SELECT sqlite_version()`, func(row []driver.Value) error {
		version, _ = row[0].(string)
		return nil
	})
	if err != nil {
		return err
	}
	var have [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		have[i], _ = strconv.Atoi(part)
	}
	if slices.Compare(have[:], oldestSQLite[:]) < 0 {
		return fmt.Errorf("sqlitelog: SQLite %s can damage files in WAL mode; update modernc.org/sqlite to one with SQLite %d.%d.%d or later", version, oldestSQLite[0], oldestSQLite[1], oldestSQLite[2])
	}
	return nil
}

// checkVersion tells whether the file is one that this program can use.
func checkVersion(c *conn, path string, known int, mayBeNew bool) error {
	version, err := one(c, `PRAGMA user_version`)
	if err != nil {
		return err
	}
	id, err := one(c, `PRAGMA application_id`)
	if err != nil {
		return err
	}
	tables, err := one(c, `SELECT count(*) FROM sqlite_schema`)
	switch {
	case err != nil:
		return err
	case version > int64(known):
		return &NewerError{Path: path, Version: int(version), Known: known}
	case mayBeNew && version == 0 && id == 0 && tables == 0:
		return nil
	case id != applicationID || version < 1:
		return &eventlog.CorruptError{Address: path, Reason: "is a SQLite file of another program; give the name of another"}
	}
	return nil
}

// migrate runs the scripts that the file has not seen, in one transaction.
func migrate(c *conn, path string, scripts []string, o Options) (err error) {
	version, err := one(c, `PRAGMA user_version`)
	if err != nil || version == int64(len(scripts)) {
		return err
	}
	if _, err := c.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = c.exec(`ROLLBACK`)
		}
	}()
	if err := checkVersion(c, path, len(scripts), true); err != nil { // now that no other process can be at it
		return err
	}
	if version, err = one(c, `PRAGMA user_version`); err != nil {
		return err
	}
	for i := int(version); i < len(scripts); i++ {
		o.Logger.Debug("sqlitelog: migrate", "file", path, "to", i+1)
		if _, err := c.dc.(driver.ExecerContext).ExecContext(context.Background(), scripts[i], nil); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", i+1, err)
		}
	}
	for _, pragma := range []string{fmt.Sprintf(`PRAGMA application_id = %d`, applicationID), fmt.Sprintf(`PRAGMA user_version = %d`, len(scripts))} {
		if _, err := c.exec(pragma); err != nil {
			return err
		}
	}
	_, err = c.exec(`COMMIT`)
	return err
}

// setWAL puts the file into WAL mode, where it stays. That needs the file for itself for a moment, for which SQLite
// does not wait when several processes open a new file at once; so it is tried again.
func setWAL(ctx context.Context, c *conn, path string, patience time.Duration) error {
	text := func(query string) (s string, err error) {
		err = c.query(query, func(row []driver.Value) error {
			s, _ = row[0].(string)
			return nil
		})
		return s, err
	}
	deadline := time.Now().Add(patience)
	for {
		mode, err := text(`PRAGMA journal_mode`)
		if err == nil && mode != "wal" {
			mode, err = text(`PRAGMA journal_mode = WAL`)
		}
		if err == nil && mode == "wal" {
			return nil
		}
		if _, primary := code(err); err != nil && primary != codeBusy && primary != codeLocked {
			return err
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = fmt.Errorf("sqlitelog: %s can't be put into WAL mode (it stays in mode %q); its file system may lack shared memory or locks: use a local one", path, mode)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
