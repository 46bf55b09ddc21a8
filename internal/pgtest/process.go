package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A child is a server's process that this binary has started.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// dieWithUs makes Linux end the child when the thread that started it ends. This one lives as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(c.ended)
	}()
	return c, <-started
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) signal(s os.Signal) { _ = c.cmd.Process.Signal(s) } // it fails only when the process has ended

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// await looks again and again if something is done, until it is or can't be.
func await(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A process is what the system says about one.
type process struct {
	pid, parent    int
	stopped, ended bool // an ended one waits for its parent to ask how
	command        string
}

// family is those of all that are in the list, and their descendants. Each backend of PostgreSQL is in a process group
// of its own, so the group doesn't tell.
func family(all []process, pids []int) []int {
	pids = slices.Clone(pids)
	for i := 0; i < len(pids); i++ { // grows
		for _, p := range all {
			if p.parent == pids[i] && !slices.Contains(pids, p.pid) {
				pids = append(pids, p.pid)
			}
		}
	}
	return pids
}

// killFamily ends a server's process and all that come from it, none of which gets to do anything about it.
func killFamily(ctx context.Context, pid int) error {
	// A process that is stopped has no further children, and doesn't replace those that end.
	stop(pid)
	var all []process
	err := await(ctx, func() (bool, error) {
		var err error
		all, err = processes()
		i := slices.IndexFunc(all, func(p process) bool { return p.pid == pid })
		return i < 0 || all[i].stopped || all[i].ended, err
	})
	if err != nil {
		return err
	}
	pids := family(all, []int{pid})
	for _, pid := range pids {
		signal(pid, os.Kill)
	}
	return awaitEnd(ctx, pids)
}

// awaitEnd waits until processes are gone, or have ended and nobody asks how: in a container there may be no one to ask.
func awaitEnd(ctx context.Context, pids []int) error {
	return await(ctx, func() (bool, error) {
		all, err := processes()
		alive := slices.ContainsFunc(all, func(p process) bool { return !p.ended && slices.Contains(pids, p.pid) })
		return !alive, err
	})
}

func signal(pid int, s os.Signal) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Signal(s) // it fails when the process has ended
	}
}

// quitTimeout is after which a server that was told to quit is killed. PostgreSQL itself gives its children half of it.
const quitTimeout = 10 * time.Second

// removeServer ends what runs in a server's folder, whoever started it, and removes the folder.
func removeServer(ctx context.Context, folder string) error {
	if _, err := os.Lstat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all, err := processes()
	if err != nil {
		return err
	}
	var pids []int
	for _, p := range all {
		if !p.ended && isServerIn(p.command, folder) {
			pids = append(pids, p.pid)
		}
	}
	if len(pids) > 0 {
		everyone := family(all, pids)
		for _, pid := range pids {
			signal(pid, syscall.SIGQUIT) // what PostgreSQL calls an immediate shutdown: nothing here is worth more
		}
		quit, cancel := context.WithTimeout(ctx, quitTimeout)
		err := awaitEnd(quit, everyone)
		cancel()
		if err != nil {
			for _, pid := range everyone {
				signal(pid, os.Kill)
			}
			if err := awaitEnd(ctx, everyone); err != nil {
				return err
			}
		}
	}
	freeSharedMemory(ctx, filepath.Join(folder, "data"))
	return os.RemoveAll(folder)
}

// isServerIn says if a command is one that makes or runs a server in a folder. Somebody who only looks at the log is not.
func isServerIn(command, folder string) bool {
	path, args, _ := strings.Cut(command, " -")
	switch filepath.Base(path) {
	case "postgres", "initdb", "pg_basebackup", "cp":
		return strings.Contains(args, folder+"/")
	}
	return false
}
