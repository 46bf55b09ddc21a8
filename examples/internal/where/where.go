// Package where is how every example is told where its logs are: by -address, by the environment variable ENSUE_URL, or by
// -dir.
//
//	logs := where.Add(flag.CommandLine, "the folder of the logs, a file for each module")
//	flag.Parse()
//	address, err := logs.Address(os.Getenv)
package where

import (
	"errors"
	"flag"
	"path/filepath"
)

// Variable is the environment variable that is used where neither flag is given. A password is seen by fewer there.
const Variable = "ENSUE_URL"

// Logs is where the logs are, as the flags say.
type Logs struct{ dir, address string }

// Add adds the flags. What a folder means differs from example to example.
func Add(set *flag.FlagSet, folder string) *Logs {
	l := &Logs{}
	set.StringVar(&l.dir, "dir", "", folder)
	// The variable is no default of the flag, for -h would print it, with its password.
	set.StringVar(&l.address, "address", "", "`address` of the logs: a file, a folder that ends in /, or postgres://…; default $"+Variable+", unless -dir is given")
	return l
}

// Address returns the address that was given. Of a folder it is the folder's name with a separator behind it; it is empty
// where nothing was given.
func (l *Logs) Address(env func(string) string) (string, error) {
	switch {
	case l.dir != "" && l.address != "":
		return "", errors.New("give -dir or -address, not both")
	case l.dir != "":
		return Folder(l.dir), nil
	case l.address != "":
		return l.address, nil
	}
	return env(Variable), nil
}

// Folder returns the address of a folder.
func Folder(dir string) string { return filepath.Clean(dir) + string(filepath.Separator) }
