//go:build !unix

package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
)

// haveServers: what follows is never called.
const haveServers = false

func serverAccount() (*account, error)         { return nil, errors.ErrUnsupported }
func belongTo(*exec.Cmd, *account)             {}
func outliveUs(*exec.Cmd)                      {}
func dieWithUs(*exec.Cmd)                      {}
func stop(int)                                 {}
func processes() ([]process, error)            { return nil, errors.ErrUnsupported }
func freeSharedMemory(context.Context, string) {}
func ownedByUs(fs.FileInfo) bool               { return false }
func lock(*os.File) error                      { return errors.ErrUnsupported }
func lockShared(*os.File) error                { return errors.ErrUnsupported }
func tryLock(*os.File) (bool, error)           { return false, errors.ErrUnsupported }
