//go:build unix && !linux

package pgtest

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// dieWithUs can't be had here. What a killed binary leaves is for the next one to remove.
func dieWithUs(*exec.Cmd) {}

func processes() ([]process, error) {
	out, err := exec.Command("ps", "-axww", "-o", "pid=,ppid=,state=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var all []process
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue // without a command it is none of ours
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, fmt.Errorf("ps: %w", err)
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("ps: %w", err)
		}
		all = append(all, process{
			pid: pid, parent: parent,
			stopped: strings.HasPrefix(f[2], "T"), ended: strings.HasPrefix(f[2], "Z"),
			command: strings.Join(f[3:], " "),
		})
	}
	return all, nil
}

// freeSharedMemory: there is no table of segments to make sure that one is the server's.
func freeSharedMemory(context.Context, string) {}
