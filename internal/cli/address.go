package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

// arguments takes a command's arguments apart: the address, and from least to most others.
func (p *program) arguments(cmd *cobra.Command, args []string, least, most int) (address string, rest []string, err error) {
	fallback := p.env("ENSUE_URL")
	switch {
	case p.address != "":
		address, rest = p.address, args
	case len(args) == 0:
		address = fallback
	case fallback != "" && len(args) <= most && (len(args) == least || !isAddress(args[0])):
		address, rest = fallback, args
	default:
		address, rest = args[0], args[1:]
	}
	if address == "" {
		return "", nil, usage(cmd, "no address; give the file, folder or database of the logs as the first argument, by --address or by ENSUE_URL")
	}
	if len(rest) < least || len(rest) > most {
		return "", nil, usage(cmd, "%s takes %s, not %d arguments beside the address", cmd.CommandPath(), strings.TrimPrefix(cmd.Use, cmd.Name()+" "), len(rest))
	}
	return address, rest, nil
}

// isAddress tells whether an argument is a file, a folder or a database rather than a name.
func isAddress(s string) bool {
	_, err := os.Stat(s)
	return err == nil || strings.ContainsRune(s, filepath.Separator) || strings.Contains(s, "/")
}

// withoutPasswords takes the passwords of addresses among the arguments out of a text, which may quote an argument that was
// mistaken for something else.
func withoutPasswords(text string, args []string) string {
	for _, a := range args {
		if i := strings.Index(a, "postgres"); i >= 0 && strings.Contains(a[i:], "://") {
			a = a[i:]
		} else if !strings.Contains(a, "password") {
			continue
		}
		shown := pglog.WithoutPassword(a)
		text = strings.ReplaceAll(text, a, shown)
		quoted := strconv.Quote(a)
		text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], shown)
	}
	return text
}

// source is a module's log at an address.
type source struct {
	name  string
	log   readLog
	store store // that it is in
}

// readLog is what the commands read.
type readLog interface {
	eventlog.Log
	eventlog.StreamLister
}

// store is an open file or database that holds logs.
type store interface {
	Modules(ctx context.Context) ([]string, error)
	Close() error
	read(ctx context.Context, module string) (readLog, error)
	name() string // as it may be shown
}

// verifier is a store that can verify how it keeps logs, beside what a log says of itself. A problem that is not one of a
// module has none; it is shown as one of the store, by its short name.
type verifier interface {
	verify(ctx context.Context) iter.Seq2[process.Problem, error]
	short() string
}

// opened is what there is at an address.
type opened struct {
	address string // without a password
	given   string // as it was given, to be opened once more: it is never shown
	stores  []store
	modules []source // by name
}

// reads returns the run of a command that opens the logs at its address, to be read. It takes so many arguments beside that.
func (p *program) reads(least, most int, do func(cmd *cobra.Command, o *opened, rest []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		address, rest, err := p.arguments(cmd, args, least, most)
		if err != nil {
			return err
		}
		o, err := p.open(cmd.Context(), address)
		if err != nil {
			return err
		}
		defer o.close()
		return do(cmd, o, rest)
	}
}

// open opens all logs at an address, to be read.
func (p *program) open(ctx context.Context, address string) (_ *opened, err error) {
	o := &opened{address: address, given: address}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if IsDatabase(address) {
		database, err := pglog.Open(ctx, address, pglog.Options{ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		o.address = pglog.WithoutPassword(address)
		if err := o.add(ctx, databaseStore{database}); err != nil {
			return nil, err
		}
	} else if err := o.addFiles(ctx, address); err != nil {
		return nil, err
	}
	slices.SortFunc(o.modules, func(a, b source) int { return strings.Compare(a.name, b.name) })
	return o, nil
}

func (o *opened) addFiles(ctx context.Context, address string) error {
	paths, folder, err := paths(address)
	if err != nil {
		return err
	}
	for _, path := range paths {
		file, err := sqlitelog.Open(ctx, path, sqlitelog.Options{ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
		if folder && isForeign(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := o.add(ctx, fileStore{file}); err != nil {
			return err
		}
	}
	if len(o.stores) == 0 {
		return fmt.Errorf("the folder %s holds no log of ours; give the one that the application was opened with", address)
	}
	return nil
}

// add adds the logs of a store.
func (o *opened) add(ctx context.Context, s store) error {
	o.stores = append(o.stores, s)
	names, err := s.Modules(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if other, ok := o.module(name); ok {
			return fmt.Errorf("module %q is in %s and in %s; give one of the files", name, other.store.name(), s.name())
		}
		log, err := s.read(ctx, name)
		if err != nil {
			return err
		}
		o.modules = append(o.modules, source{name: name, log: log, store: s})
	}
	return nil
}

func (o *opened) close() {
	for _, s := range o.stores {
		_ = s.Close()
	}
}

// fileStore is a SQLite file.
type fileStore struct{ *sqlitelog.File }

func (f fileStore) name() string { return f.Path() }

func (f fileStore) short() string { return filepath.Base(f.Path()) }

func (f fileStore) read(ctx context.Context, module string) (readLog, error) {
	return f.Log(ctx, module)
}

func (f fileStore) verify(ctx context.Context) iter.Seq2[process.Problem, error] {
	return func(yield func(process.Problem, error) bool) {
		for p, err := range f.Verify(ctx) {
			if !yield(process.Problem{Kind: fileProblem, Module: p.Module, Where: p.Where, What: p.What}, err) {
				return
			}
		}
	}
}

// databaseStore is a schema of a PostgreSQL database.
type databaseStore struct{ *pglog.Database }

func (d databaseStore) name() string { return d.Address() }

func (d databaseStore) short() string { return d.Schema() }

func (d databaseStore) read(ctx context.Context, module string) (readLog, error) {
	return d.Log(ctx, module)
}

func (d databaseStore) verify(ctx context.Context) iter.Seq2[process.Problem, error] {
	return func(yield func(process.Problem, error) bool) {
		for p, err := range d.Verify(ctx) {
			if !yield(process.Problem{Kind: databaseProblem, Module: p.Module, Where: p.Where, What: p.What}, err) {
				return
			}
		}
	}
}

// IsDatabase tells whether an address is one of a PostgreSQL database.
func IsDatabase(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// paths returns the files at an address: itself, or those in a folder.
func paths(address string) (_ []string, folder bool, _ error) {
	if address == "memory:" {
		return nil, false, errors.New("logs in memory end with their program; give the file or folder of one that keeps them")
	}
	if scheme, _, found := strings.Cut(address, "://"); found {
		return nil, false, fmt.Errorf("there is no log for addresses of the form %s://…; give a file, a folder or postgres://…", scheme)
	}
	info, err := os.Stat(address)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("there is no file or folder %s; give the one that the application was opened with", address)
	case err != nil:
		return nil, false, err
	case !info.IsDir():
		return []string{address}, false, nil
	}
	found, err := os.ReadDir(address)
	if err != nil {
		return nil, true, err
	}
	var files []string
	for _, f := range found {
		if strings.HasSuffix(f.Name(), ".db") {
			files = append(files, filepath.Join(address, f.Name()))
		}
	}
	return files, true, nil
}

// isForeign tells whether a file is another program's, which may lie in a folder beside ours. Only the log's package may
// open a file that this program may have open itself.
func isForeign(err error) bool {
	var corrupt *eventlog.CorruptError
	return errors.As(err, &corrupt) && strings.Contains(corrupt.Reason, "another program")
}

func (o *opened) module(name string) (source, bool) {
	k := slices.IndexFunc(o.modules, func(s source) bool { return s.name == name })
	if k < 0 {
		return source{}, false
	}
	return o.modules[k], true
}

// chosen returns the modules that --module names, or all.
func (o *opened) chosen(name string) ([]source, error) {
	if name == "" {
		if len(o.modules) == 0 {
			return nil, fmt.Errorf("%s holds no module yet", o.address)
		}
		return o.modules, nil
	}
	m, ok := o.module(name)
	if !ok {
		return nil, fmt.Errorf("there is no module %q at %s; it has %s", name, o.address, enumerate(o.names()))
	}
	return []source{m}, nil
}

func (o *opened) names() []string {
	names := make([]string, len(o.modules))
	for i, m := range o.modules {
		names[i] = m.name
	}
	return names
}

// kept is a process with its home.
type kept struct {
	process.Description
	home source
}

func (o *opened) processes(ctx context.Context) (all []kept, err error) {
	for _, m := range o.modules {
		found, err := process.Descriptions(ctx, m.log)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			all = append(all, kept{Description: d, home: m})
		}
	}
	slices.SortStableFunc(all, func(a, b kept) int { return strings.Compare(a.Process, b.Process) })
	return all, nil
}

// process returns the process of that name.
func (o *opened) process(ctx context.Context, name string) (kept, error) {
	all, err := o.processes(ctx)
	if err != nil {
		return kept{}, err
	}
	names := make([]string, len(all))
	for i, k := range all {
		if k.Process == name || k.Name == name {
			return k, nil
		}
		names[i] = cmp.Or(k.Name, k.Process)
	}
	if len(names) == 0 {
		return kept{}, fmt.Errorf("there is no process %q at %s, nor any other; a process is known there once the application has run", name, o.address)
	}
	return kept{}, fmt.Errorf("there is no process %q at %s; it has %s", name, o.address, enumerate(names))
}

// instances returns up to limit keys of instances that begin so.
func (k kept) instances(ctx context.Context, prefix string, limit int) (keys []string, err error) {
	q := eventlog.EntryQuery{Kind: eventlog.Document, Prefix: eventlog.Key(k.Process, prefix), Limit: limit}
	for e, err := range k.home.log.Entries(ctx, q) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, eventlog.SplitKey(e.Key)[1])
	}
	return keys, nil
}

// enumerate writes a list of names as a sentence has them, the first ten of them.
func enumerate(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// completion offers, behind the address, the names of processes and then of instances.
func (p *program) completion(depth int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		address := p.address
		if address == "" && p.env("ENSUE_URL") != "" && (len(args) == 0 || !isAddress(args[0])) {
			address = p.env("ENSUE_URL")
		}
		if address == "" {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			address, args = args[0], args[1:]
		}
		if len(args) >= depth {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := p.complete(cmd.Context(), address, args, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (p *program) complete(ctx context.Context, address string, args []string, begun string) ([]string, error) {
	o, err := p.open(ctx, address)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if len(args) > 0 {
		k, err := o.process(ctx, args[0])
		if err != nil {
			return nil, err
		}
		return k.instances(ctx, begun, 100)
	}
	all, err := o.processes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range all {
		if strings.HasPrefix(k.Process, begun) {
			names = append(names, k.Process)
		}
	}
	return names, nil
}

// completeModules offers the modules at the address.
func (p *program) completeModules(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	address := p.address
	if address == "" && len(args) > 0 {
		address = args[0]
	}
	if address == "" {
		address = p.env("ENSUE_URL")
	}
	o, err := p.open(cmd.Context(), address)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer o.close()
	return slices.DeleteFunc(o.names(), func(s string) bool { return !strings.HasPrefix(s, begun) }), cobra.ShellCompDirectiveNoFileComp
}

// limitFlag adds the flag that says how many a command lists.
func limitFlag(cmd *cobra.Command, value *int, most int, what string) {
	cmd.Flags().IntVarP(value, "limit", "l", most, "at most so many "+what+", 0 for all")
}

// moduleFlag adds --module.
func (p *program) moduleFlag(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVarP(value, "module", "m", "", "only this `module`")
	if err := cmd.RegisterFlagCompletionFunc("module", p.completeModules); err != nil {
		panic(err) // the flag is there
	}
}
