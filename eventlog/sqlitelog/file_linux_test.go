package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
)

// unprivileged is what a process does that may read a file and not write it, or not its folder.
func unprivileged(path string) error {
	ctx := context.Background()
	f, err := Open(ctx, path, Options{})
	if !errors.Is(err, eventlog.ErrReadOnly) || !strings.Contains(err.Error(), "Options.ReadOnly") {
		return fmt.Errorf("open: %v, %w", f, err)
	}
	if probe, err := os.Create(filepath.Join(filepath.Dir(path), "probe")); err == nil {
		_ = probe.Close()
	} else if f, err := Open(ctx, filepath.Join(filepath.Dir(path), "new.db"), Options{}); !errors.Is(err, eventlog.ErrReadOnly) {
		return fmt.Errorf("open a new file: %v, %w", f, err)
	}
	if f, err = Open(ctx, path, Options{ReadOnly: true}); err != nil {
		return err
	}
	l, err := f.Log(ctx, "orders")
	if err != nil {
		return err
	}
	head, err := l.Head(ctx)
	if err == nil && head != 3 {
		err = fmt.Errorf("the head is %d", head)
	}
	for p, verified := range f.Verify(ctx) {
		err = errors.Join(err, verified, fmt.Errorf("%v", p))
	}
	return errors.Join(err, f.Close())
}

// TestWithoutTheRightToWrite: a file that may only be read can be read, also in a folder where SQLite can't put anything
// beside it, and writing says what is wrong.
func TestWithoutTheRightToWrite(t *testing.T) {
	for name, mode := range map[string][2]os.FileMode{ // of the file, and of its folder
		"the file":       {0o444, 0o555},
		"the folder":     {0o666, 0o555},
		"the file alone": {0o444, 0o777},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, Options{})
			fill(t, openLog(t, f, "orders"), "s", 3)
			closeFile(t, f)
			folder := filepath.Dir(f.path)
			if err := errors.Join(os.Chmod(f.path, mode[0]), os.Chmod(folder, mode[1])); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
			cmd := exec.Command("/proc/self/exe")
			if os.Getuid() == 0 { // whom modes don't stop
				if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil {
					t.Fatal(err)
				}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				cmd.Dir = folder
			}
			cmd.Env = append(os.Environ(), "SQLITELOG_TEST_CHILD=unprivileged", "SQLITELOG_TEST_FILE="+f.path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestOpeningAgainKeepsTheLocks: a second handle on the file in this process, opened and closed, must not drop the locks
// of the first, by which other processes know that the write-ahead log is in use.
func TestOpeningAgainKeepsTheLocks(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 1)
	info, err := os.Stat(l.file.path)
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	locks := func() (n int) {
		table, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, fmt.Sprintf(" %d ", os.Getpid())) && strings.Contains(line, file) {
				n++
			}
		}
		return n
	}
	before := locks()
	for _, o := range []Options{{}, {MustExist: true}, {ReadOnly: true}} {
		closeFile(t, openFile(t, l.file.path, o))
		if after := locks(); before == 0 || after != before {
			t.Errorf("%+v: the process has %d locks, had %d", o, after, before)
		}
	}
}
