//go:build unix

package pgtest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

const haveServers = true

// serverAccount is the user that servers run as: ours, unless that is root, as which they refuse to.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 31)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 31)
		if err != nil {
			continue
		}
		return &account{name: name, uid: int(uid), gid: int(gid)}, nil
	}
	return nil, errors.New("PostgreSQL doesn't run as root, and there is neither a user postgres nor a user nobody")
}

func belongTo(cmd *exec.Cmd, who *account) {
	if who != nil {
		attributes(cmd).Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
}

// outliveUs makes a process one that neither our end nor a Ctrl-C in our terminal reaches.
func outliveUs(cmd *exec.Cmd) { attributes(cmd).Setsid = true }

func attributes(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	return cmd.SysProcAttr
}

func stop(pid int) { signal(pid, syscall.SIGSTOP) }

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

func lock(f *os.File) error       { return flock(f, syscall.LOCK_EX) }
func lockShared(f *os.File) error { return flock(f, syscall.LOCK_SH) }

// tryLock is lock, if nobody else has the file locked.
func tryLock(f *os.File) (bool, error) {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
