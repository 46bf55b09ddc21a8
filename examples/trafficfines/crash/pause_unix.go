//go:build unix

package main

import (
	"os"
	"syscall"
)

// pause stops a process where it is; nothing in it hears of it.
func pause(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// resume lets it go on.
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
