package sqlitelog

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func TestFileIsMadeForItsOwnerAlone(t *testing.T) {
	f := newFile(t, Options{})
	fill(t, openLog(t, f, "orders"), "s", 1)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(f.Path() + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q: mode %v, %v", suffix, info.Mode(), err)
		}
	}
}

// TestWriterWaitsForTheMedium asserts what durability rests on: WAL, and a sync at each commit.
func TestWriterWaitsForTheMedium(t *testing.T) {
	for normal, level := range map[bool]int64{false: 2, true: 1} { // https://sqlite.org/pragma.html#pragma_synchronous
		f := newFile(t, Options{Normal: normal})
		onWriter(t, f, func(c *conn) error {
			if n, err := one(c, `PRAGMA synchronous`); n != level || err != nil {
				t.Errorf("normal %v: synchronous is %d, %v", normal, n, err)
			}
			return c.query(`PRAGMA journal_mode`, func(row []driver.Value) error {
				if row[0] != "wal" {
					t.Errorf("journal mode is %v", row[0])
				}
				return nil
			})
		})
	}
}

func TestFileNamesHoldAnyCharacter(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a b.db", "100%.db", "what?.db", "c#.db", "a&b=c.db", "ünï.db", "%41.db", "quote'\".db", "a;b+c.db", ":memory:", "file:x.db"}
	for _, name := range names {
		f := openFile(t, filepath.Join(dir, name), Options{})
		fill(t, openLog(t, f, "orders"), "s", 1)
		closeFile(t, f)
		openFile(t, filepath.Join(dir, name), Options{MustExist: true})
	}
	var found []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "-wal") && !strings.HasSuffix(e.Name(), "-shm") {
			found = append(found, e.Name())
		}
	}
	slices.Sort(names)
	if !slices.Equal(found, names) {
		t.Errorf("files are %q, want %q", found, names)
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	f := newFile(t, Options{})
	orders, bills := openLog(t, f, "orders"), openLog(t, f, "bills")
	fill(t, orders, "order/1", 3)
	e := fact("same id")
	mustAppend(t, orders, to("order/2", eventlog.NoStream, e))
	mustAppend(t, bills, to("bill/1", eventlog.NoStream, e)) // an id is a module's own affair
	closeFile(t, f)
	if _, err := os.Stat(f.Path() + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a write-ahead log is left behind: %v", err)
	}
	f = openFile(t, f.Path(), Options{})
	if names, err := f.Modules(context.Background()); err != nil || !slices.Equal(names, []string{"bills", "orders"}) {
		t.Errorf("modules are %q, %v", names, err)
	}
	for _, before := range []*Log{orders, bills} {
		if after := openLog(t, f, before.Module()); after.ID() != before.ID() {
			t.Errorf("the id of log %s changed", before.Module())
		}
	}
	if got := payloads(t, openLog(t, f, "orders")); !slices.Equal(got, []string{"1", "2", "3", "same id"}) {
		t.Errorf("orders hold %q", got)
	}
	if got := payloads(t, openLog(t, f, "bills")); !slices.Equal(got, []string{"same id"}) {
		t.Errorf("bills hold %q", got)
	}
	sound(t, f)
}

// snapshot returns the bytes of a file and of what stands beside it.
func snapshot(t *testing.T, path string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range files {
		if all[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestRefusedFilesStayAsTheyAre(t *testing.T) {
	page := 4096
	cut := func(t *testing.T, path string, to func(size int64) int64) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, to(info.Size()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	patch := func(t *testing.T, path string, at int64, b []byte) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteAt(b, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	corrupt := func(err error) bool {
		_, ok := errors.AsType[*eventlog.CorruptError](err)
		return ok
	}
	newer := func(err error) bool {
		e, ok := errors.AsType[*NewerError](err)
		return ok && e.Version == 99
	}
	for _, c := range []struct {
		name    string
		arrange func(t *testing.T, path string)
		is      func(error) bool
		says    string
	}{
		{"cut off by a page", func(t *testing.T, p string) { cut(t, p, func(n int64) int64 { return n - int64(page) }) }, corrupt, "cut off"},
		{"cut off in a page", func(t *testing.T, p string) { cut(t, p, func(n int64) int64 { return n - 100 }) }, corrupt, "cut off"},
		{"cut off in its header", func(t *testing.T, p string) { cut(t, p, func(int64) int64 { return 50 }) }, corrupt, "cut off or damaged"},
		{"cut off before a write-ahead log", func(t *testing.T, p string) {
			cut(t, p, func(int64) int64 { return 0 })
			if err := os.WriteFile(p+"-wal", []byte("frames"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, corrupt, "cut off"},
		{"text", func(t *testing.T, p string) {
			if err := os.WriteFile(p, bytes.Repeat([]byte("text "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, corrupt, "no SQLite file"},
		{"another program's", func(t *testing.T, p string) {
			cut(t, p, func(int64) int64 { return 0 })
			damage(t, p, `CREATE TABLE theirs (x)`)
		}, corrupt, "another program"},
		{"another program's, in WAL mode", func(t *testing.T, p string) { patch(t, p, 68, []byte("THEM")) }, corrupt, "another program"},
		{"a newer program's", func(t *testing.T, p string) { patch(t, p, 60, binary.BigEndian.AppendUint32(nil, 99)) }, newer, "newer program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFile(t, Options{})
			fill(t, openLog(t, f, "orders"), "s", 10)
			closeFile(t, f)
			c.arrange(t, f.Path())
			before := snapshot(t, f.Path())
			for _, o := range []Options{{}, {MustExist: true}, {ReadOnly: true}} {
				_, err := Open(context.Background(), f.Path(), o)
				if !c.is(err) || !strings.Contains(fmt.Sprint(err), c.says) {
					t.Errorf("%+v: error %v (%T)", o, err, err)
				}
			}
			for name, b := range snapshot(t, f.Path()) {
				if !bytes.Equal(b, before[name]) {
					t.Errorf("%s changed", filepath.Base(name))
				}
			}
		})
	}
}

// TestNewerInItsWriteAheadLogOnly: a newer program changed the file and was killed before the change was in it.
func TestNewerInItsWriteAheadLogOnly(t *testing.T) {
	f := newFile(t, Options{})
	fill(t, openLog(t, f, "orders"), "s", 1)
	onWriter(t, f, func(c *conn) error {
		_, err := c.exec(`PRAGMA user_version = 99`)
		return err
	})
	killed := filepath.Join(t.TempDir(), "log.db") // what is on the medium while the file is open
	for name, b := range snapshot(t, f.Path()) {
		if !strings.HasSuffix(name, "-shm") {
			if err := os.WriteFile(killed+strings.TrimPrefix(name, f.Path()), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := snapshot(t, killed)
	_, err := Open(context.Background(), killed, Options{})
	if _, ok := errors.AsType[*NewerError](err); !ok {
		t.Errorf("error %v", err)
	}
	after := snapshot(t, killed)
	for name, b := range before {
		if !bytes.Equal(b, after[name]) {
			t.Errorf("%s changed", name)
		}
	}
}

func TestWhatDoesNotExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	for _, o := range []Options{{MustExist: true}, {ReadOnly: true}} {
		if _, err := Open(context.Background(), path, o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: error %v", o, err)
		}
	}
	if left := snapshot(t, path); len(left) > 0 {
		t.Errorf("files were made: %v", left)
	}
	if _, err := Open(context.Background(), t.TempDir(), Options{}); err == nil {
		t.Error("a folder was opened")
	}
}

func TestReadOnly(t *testing.T) {
	f := newFile(t, Options{})
	log := openLog(t, f, "orders")
	fill(t, log, "s", 3)
	check := func(t *testing.T) {
		t.Helper()
		r := openFile(t, f.Path(), Options{ReadOnly: true})
		l := openLog(t, r, "orders")
		if got := payloads(t, l); len(got) != 3 {
			t.Errorf("read %q", got)
		}
		if _, err := r.Log(context.Background(), "new"); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Errorf("new log: %v", err)
		}
		if _, err := l.Append(context.Background(), to("s", eventlog.Any, fact("4"))); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Errorf("append: %v", err)
		}
		if err := l.CloseStream(context.Background(), "s", eventlog.Any); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Errorf("close stream: %v", err)
		}
		if err := r.Checkpoint(context.Background()); !errors.Is(err, eventlog.ErrReadOnly) {
			t.Errorf("checkpoint: %v", err)
		}
		sound(t, r)
		closeFile(t, r)
	}
	t.Run("while another has it open", check)
	closeFile(t, f)
	t.Run("alone", func(t *testing.T) {
		before, err := os.ReadFile(f.Path())
		check(t)
		after, err2 := os.ReadFile(f.Path())
		if !bytes.Equal(before, after) || err != nil || err2 != nil {
			t.Errorf("the file changed: %v, %v", err, err2)
		}
	})
}

// TestMediumThatBecameReadOnly: what was acknowledged is read, and a write says why it fails.
func TestMediumThatBecameReadOnly(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 2)
	onWriter(t, l.file, func(c *conn) error {
		_, err := c.exec(`PRAGMA query_only = 1`) // fails each write with SQLITE_READONLY, as a read-only medium does
		return err
	})
	if _, err := l.Append(context.Background(), to("s", eventlog.Any, fact("3"))); !errors.Is(err, eventlog.ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the log holds %q", got)
	}
	onWriter(t, l.file, func(c *conn) error {
		_, err := c.exec(`PRAGMA query_only = 0`)
		return err
	})
	fill(t, l, "s", 1)
	sound(t, l.file)
}

// TestManyOpenANewFileAtOnce: setting WAL mode and making the tables don't disturb each other.
func TestManyOpenANewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			f, err := Open(context.Background(), path, Options{})
			if err == nil {
				var l *Log
				if l, err = f.Log(context.Background(), "orders"); err == nil {
					_, err = l.Append(context.Background(), to("s", eventlog.Any, fact("1")))
				}
				err = errors.Join(err, f.Close())
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	f := openFile(t, path, Options{})
	if got := payloads(t, openLog(t, f, "orders")); len(got) != cap(errs) {
		t.Errorf("the log holds %d events", len(got))
	}
	sound(t, f)
}

func TestModuleNames(t *testing.T) {
	f := newFile(t, Options{})
	for _, name := range []string{"", "a\x00b", strings.Repeat("x", 500)} {
		_, err := f.Log(context.Background(), name)
		if _, ok := errors.AsType[*eventlog.NameError](err); !ok {
			t.Errorf("%.10q: error %v", name, err)
		}
	}
	l := openLog(t, f, "orders")
	if again := openLog(t, f, "orders"); again != l {
		t.Error("the same module gave two logs")
	}
	if l.ID() == (event.ID{}) {
		t.Error("the log has no id")
	}
}
