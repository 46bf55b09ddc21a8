package main

import (
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/internal/cli"
)

// addressVariable is the environment variable that says where logs are.
const addressVariable = "ENSUE_URL"

// place is where a demonstration keeps what it keeps.
type place struct {
	dir      string // of the letters, the worker's log and, unless there is an address, the logs
	address  string // of a database
	variable bool   // it is that of ENSUE_URL
}

// addressFlag adds --address.
func (p *place) addressFlag(flags *pflag.FlagSet) {
	flags.StringVarP(&p.address, "address", "a", "", "`address` of a PostgreSQL database for the logs: postgres://…")
}

// fromVariable takes the address that ENSUE_URL holds, if that is a database, unless there is one, or the logs are in the
// folder.
func (p *place) fromVariable(env func(string) string, inFolder bool) error {
	if p.address != "" && !cli.IsDatabase(p.address) {
		return errors.New("the address is not that of a PostgreSQL database, postgres://…; a folder for files is named by --dir")
	}
	if url := env(addressVariable); p.address == "" && !inFolder && cli.IsDatabase(url) {
		p.address, p.variable = url, true
	}
	return nil
}

// logs returns the address of the logs.
func (p *place) logs() string {
	if p.address != "" {
		return p.address
	}
	return filepath.Clean(p.dir) + string(filepath.Separator)
}

// shown returns where the logs are, without a password.
func (p *place) shown() string {
	if p.address != "" {
		return pglog.WithoutPassword(p.address)
	}
	return p.dir
}
