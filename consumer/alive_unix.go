//go:build unix

package consumer

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ended tells whether the holder, a process of this machine, is certainly gone. Where that cannot be known it is false,
// and the lease runs out by itself.
func ended(h Holder) bool {
	if h.PID <= 0 {
		return false
	}
	if errors.Is(syscall.Kill(h.PID, 0), syscall.ESRCH) {
		return true
	}
	started := processStart(h.PID)
	return h.Started != "" && started != "" && started != h.Started
}

// processStart returns the boot and the start time of a process as Linux tells them, "" elsewhere.
func processStart(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, found := strings.Cut(string(stat), ") ") // the command's name is in brackets and may hold anything
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	if fields[0] == "Z" { // killed, and not yet waited for by its parent: it will never write again
		return "ended"
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}
