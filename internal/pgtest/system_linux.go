package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithUs has the process told to quit when the thread that started it ends, however it does.
func dieWithUs(cmd *exec.Cmd) { attributes(cmd).Pdeathsig = syscall.SIGQUIT }

// processes lists all processes. Not by ps, which a small container hasn't.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		// pid (name) state parent …, where a name can have parentheses itself.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 {
			return nil, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		all = append(all, process{
			pid: pid, parent: parent,
			stopped: strings.ContainsAny(fields[0], "Tt"), ended: strings.ContainsAny(fields[0], "ZX"),
			command: string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})),
		})
	}
	return all, nil
}

// freeSharedMemory gives back what a server that was killed leaves in memory: a segment of a few bytes, of which there
// can be some thousands until no server starts any more. A server that is started again in this folder does it itself.
func freeSharedMemory(ctx context.Context, data string) {
	segment, err := sharedMemory(data)
	if err != nil || segment == "" {
		return
	}
	_ = exec.CommandContext(ctx, "ipcrm", "-m", segment).Run() // a segment too many does no harm yet
}

// sharedMemory is the id of the segment that the server in a folder had when it was killed.
func sharedMemory(data string) (string, error) {
	file, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return "", err // it wasn't killed
	}
	lines := strings.Split(string(file), "\n") // 1: the process; 7: the segment's key and id
	if len(lines) < 7 {
		return "", errors.New("postmaster.pid is incomplete")
	}
	segment := strings.Fields(lines[6])
	if len(segment) < 2 {
		return "", errors.New("postmaster.pid has no segment")
	}
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		// key shmid perms size cpid lpid nattch …: an id alone may be another one's by now.
		f := strings.Fields(line)
		if len(f) > 6 && f[1] == segment[1] && f[4] == lines[0] && f[6] == "0" {
			return f[1], nil
		}
	}
	return "", nil
}
