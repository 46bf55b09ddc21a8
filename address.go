package ensue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// stores keeps the files and databases that modules share.
type stores struct {
	open  map[string]store // by absolute name of the file, or by address
	order []string
	look  bool // they are only read
}

// store is where modules have their logs.
type store interface {
	module(ctx context.Context, name string) (eventlog.Log, error)
	Close() error
}

type openFile struct{ *sqlitelog.File }

func (f openFile) module(ctx context.Context, name string) (eventlog.Log, error) {
	return f.Log(ctx, name)
}

type openDatabase struct{ *pglog.Database }

func (d openDatabase) module(ctx context.Context, name string) (eventlog.Log, error) {
	return d.Log(ctx, name)
}

// memoryAddress is the address of logs that end with the program.
const memoryAddress = "memory:"

// forms says what an address may be.
const forms = "give a file, a folder that ends in \"/\", \"postgres://…\", or \"memory:\""

// log opens the log of a module, and what it is in unless that is open.
func (s *stores) log(ctx context.Context, address, module string, o *Options) (eventlog.Log, error) {
	switch scheme, _, found := strings.Cut(address, "://"); {
	case address == "":
		return nil, errors.New("the address is empty; " + forms)
	case address == memoryAddress:
		return memlog.Options{Now: o.Now}.New(), nil
	case found && (scheme == "postgres" || scheme == "postgresql"):
		return s.shared(ctx, address, module, func() (store, error) {
			database, err := pglog.Open(ctx, address, pglog.Options{ReadOnly: s.look, MustExist: o.MustExist, Logger: o.Logger, Poll: o.Poll})
			return openDatabase{database}, err
		})
	case found:
		return nil, fmt.Errorf("there is no log for addresses of the form %s://…; %s", scheme, forms)
	}
	path, err := sqlitePath(address, module, o.MustExist || s.look)
	if err != nil {
		return nil, err
	}
	return s.shared(ctx, path, module, func() (store, error) {
		file, err := sqlitelog.Open(ctx, path, sqlitelog.Options{ReadOnly: s.look, MustExist: o.MustExist, Now: o.Now, Logger: o.Logger, Poll: o.Poll})
		return openFile{file}, err
	})
}

func (s *stores) shared(ctx context.Context, name, module string, open func() (store, error)) (eventlog.Log, error) {
	shared, ok := s.open[name]
	if !ok {
		var err error
		if shared, err = open(); err != nil {
			return nil, err
		}
		s.open[name] = shared
		s.order = append(s.order, name)
	}
	return shared.module(ctx, module)
}

// sqlitePath returns the absolute name of the file that keeps a module: the address itself or, where that is a folder,
// the module's file in it.
func sqlitePath(address, module string, mustExist bool) (string, error) {
	folder := strings.HasSuffix(address, "/") || strings.HasSuffix(address, string(filepath.Separator))
	if info, err := os.Stat(address); err == nil && info.IsDir() {
		folder = true
	}
	path, err := filepath.Abs(address)
	if err != nil {
		return "", err
	}
	if !folder {
		return path, nil
	}
	if !mustExist {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return "", fmt.Errorf("make the folder: %w", err)
		}
	}
	return filepath.Join(path, module+".db"), nil
}

func (s *stores) close() error {
	var errs []error
	for _, name := range s.order {
		errs = append(errs, s.open[name].Close())
	}
	s.open, s.order = map[string]store{}, nil
	return errors.Join(errs...)
}
