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
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// stores keeps the files that modules share.
type stores struct {
	files map[string]openFile // by absolute name
	order []string
}

type openFile struct{ file *sqlitelog.File }

// memoryAddress is the address of logs that end with the program.
const memoryAddress = "memory:"

func (s *stores) open(ctx context.Context, address, module string, o *Options) (eventlog.Log, error) {
	switch {
	case address == "":
		return nil, errors.New("the address is empty; give a file, a folder that ends in \"/\", or \"memory:\"")
	case address == memoryAddress:
		return memlog.Options{Now: o.Now}.New(), nil
	case strings.Contains(address, "://"):
		scheme, _, _ := strings.Cut(address, "://")
		return nil, fmt.Errorf("there is no log for addresses of the form %s://…; give a file, a folder that ends in \"/\", or \"memory:\"", scheme)
	}
	path, err := sqlitePath(address, module, o.MustExist)
	if err != nil {
		return nil, err
	}
	shared, ok := s.files[path]
	if !ok {
		file, err := sqlitelog.Open(ctx, path, sqlitelog.Options{MustExist: o.MustExist, Now: o.Now, Logger: o.Logger, Poll: o.Poll})
		if err != nil {
			return nil, err
		}
		shared = openFile{file}
		s.files[path] = shared
		s.order = append(s.order, path)
	}
	return shared.file.Log(ctx, module)
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
	for _, path := range s.order {
		errs = append(errs, s.files[path].file.Close())
	}
	s.files, s.order = map[string]openFile{}, nil
	return errors.Join(errs...)
}
