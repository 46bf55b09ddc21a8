package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/process"
)

// Logs is the five logs of a run, opened for reading only.
type Logs struct {
	stores  []store
	modules map[string]process.Module
}

// store is a file or a database that holds logs.
type store interface {
	module(ctx context.Context, name string) (eventlog.Log, error)
	Close() error
}

type file struct{ *sqlitelog.File }

func (f file) module(ctx context.Context, name string) (eventlog.Log, error) { return f.Log(ctx, name) }

type database struct{ *pglog.Database }

func (d database) module(ctx context.Context, name string) (eventlog.Log, error) {
	return d.Log(ctx, name)
}

// Open opens the logs at an address: a folder with a file for each module, a file, or a database.
func Open(ctx context.Context, address string) (_ *Logs, err error) {
	l := &Logs{modules: map[string]process.Module{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, name := range authority.Names {
		s, err := l.store(ctx, address, name)
		if err != nil {
			return nil, err
		}
		log, err := s.module(ctx, name)
		if err != nil {
			return nil, err
		}
		types, err := authority.Types(name)
		if err != nil {
			return nil, err
		}
		l.modules[name] = process.Module{Name: name, Log: log, Types: types}
	}
	return l, nil
}

// store returns what holds a module's log. All but a folder hold those of all modules.
func (l *Logs) store(ctx context.Context, address, module string) (s store, err error) {
	info, missing := os.Stat(address)
	switch {
	case missing == nil && info.IsDir():
		s, err = openFile(ctx, filepath.Join(address, module+".db"))
	case len(l.stores) > 0:
		return l.stores[0], nil
	case strings.HasPrefix(address, "postgres://"), strings.HasPrefix(address, "postgresql://"):
		var d *pglog.Database
		d, err = pglog.Open(ctx, address, pglog.Options{ReadOnly: true})
		s = database{d}
	default:
		s, err = openFile(ctx, address)
	}
	if err != nil {
		return nil, err
	}
	l.stores = append(l.stores, s)
	return s, nil
}

func openFile(ctx context.Context, path string) (store, error) {
	f, err := sqlitelog.Open(ctx, path, sqlitelog.Options{ReadOnly: true})
	return file{f}, err
}

// Close closes the logs.
func (l *Logs) Close() error {
	var errs []error
	for _, s := range l.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Log returns a module's log.
func (l *Logs) Log(module string) eventlog.Log { return l.modules[module].Log }

// Verify looks through the five logs for what contradicts itself, and returns it as an error.
func (l *Logs) Verify(ctx context.Context) error {
	var errs []error
	for problem, err := range process.Verify(ctx, l.all(), nil) {
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if errs = append(errs, errors.New(problem.String())); len(errs) == 20 {
			break // enough to see what is wrong
		}
	}
	return errors.Join(errs...)
}

// all returns the modules in their order.
func (l *Logs) all() []process.Module {
	modules := make([]process.Module, len(authority.Names))
	for n, name := range authority.Names {
		modules[n] = l.modules[name]
	}
	return modules
}

// Read computes the report of the logs at an address.
func Read(ctx context.Context, address string) (_ *Report, err error) {
	l, err := Open(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return l.Report(ctx)
}

// Report reads events, penalties and instances back.
func (l *Logs) Report(ctx context.Context) (*Report, error) {
	r := &Report{}
	for h, err := range process.Holdings(ctx, l.Log(authority.Registry), authority.Collection) {
		if err != nil {
			return nil, err
		}
		r.Held = append(r.Held, fmt.Sprintf("%s is %s, %d inputs wait: %s", h.Instance, h.Condition, h.Queued, h.Error))
	}
	var events [4]int
	var errs [6]error
	var all sync.WaitGroup
	all.Go(func() { events[0], errs[0] = l.readRegistry(ctx, r) })
	all.Go(func() {
		events[1], errs[1] = each(ctx, l, authority.Payments, func(_ event.Recorded, p authority.PaymentReceived) { r.Figures.PaymentsCents += p.Amount })
	})
	all.Go(func() { events[2], errs[2] = each(ctx, l, authority.Post, func(event.Recorded, nothing) {}) })
	all.Go(func() { events[3], errs[3] = each(ctx, l, authority.Appeals, func(event.Recorded, nothing) {}) })
	all.Go(func() {
		_, errs[4] = each(ctx, l, authority.Collections, func(_ event.Recorded, p authority.PenaltyAdded) {
			r.Penalty = append(r.Penalty, Penalty{Fine: p.Fine, Date: domain.Date(p.Due), Paid: p.Paid})
		})
	})
	all.Go(func() { r.Fates, errs[5] = l.fates(ctx) })
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, n := range events {
		r.Figures.Events += n
	}
	r.Compute()
	return r, nil
}

func (l *Logs) readRegistry(ctx context.Context, r *Report) (events int, err error) {
	created, ok := l.modules[authority.Registry].Types.NameOf(reflect.TypeFor[authority.FineCreated]())
	if !ok {
		return 0, errors.New("report: the registry has no fines")
	}
	return each(ctx, l, authority.Registry, func(rec event.Recorded, p authority.PenaltyRecorded) {
		switch {
		case p.Fine != "":
			r.Recorded = append(r.Recorded, Penalty{Fine: p.Fine, Date: domain.Date(rec.Occurred)})
		case rec.Type == created:
			r.Figures.Cases++
		}
	})
}

// nothing is the type of no event.
type nothing struct{}

// each reads the events of a module and counts them. Those of type E are decoded, the others come as the zero E.
func each[E any](ctx context.Context, l *Logs, module string, do func(event.Recorded, E)) (events int, err error) {
	m := l.modules[module]
	name, _ := m.Types.NameOf(reflect.TypeFor[E]())
	for rec, err := range m.Log.Read(ctx, eventlog.Query{}) {
		if err != nil {
			return events, fmt.Errorf("report: read %s: %w", module, err)
		}
		events++
		var e E
		if rec.Type == name {
			facts, err := m.Types.Decode(rec.Event)
			if err != nil {
				return events, fmt.Errorf("report: read %s: %w", module, err)
			}
			e = facts[0].(E)
		}
		do(rec, e)
	}
	return events, nil
}

// perLoad is how many instances are read from the store at once.
const perLoad = 1000

// fates reads every instance of the process from its store, which folds its history.
func (l *Logs) fates(ctx context.Context) ([]Fate, error) {
	engine, err := process.NewEngine(process.Config{Definition: authority.FineCollection(nil), Home: authority.Registry, Modules: l.all(), Replay: true})
	if err != nil {
		return nil, err
	}
	store, home := process.Streams{}, engine.Home()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pages := make(chan []string)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var fates []Fate
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for keys := range pages {
				instances, err := store.Load(ctx, home, keys)
				if err != nil {
					stop(err) // ends the listing, too
					continue
				}
				mu.Lock()
				for n, i := range instances {
					fates = append(fates, Fate{Fine: keys[n], Outcome: i.State.(domain.Fine).Outcome()})
				}
				mu.Unlock()
			}
		})
	}
	err = list(ctx, store, home, pages)
	close(pages)
	workers.Wait()
	return fates, cmp.Or(context.Cause(ctx), err)
}

// list sends the keys of all instances, in pages.
func list(ctx context.Context, store process.Store, home process.Home, pages chan<- []string) error {
	var keys []string
	send := func() error {
		select {
		case pages <- keys:
			keys = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for summary, err := range store.List(ctx, home, "") {
		if err != nil {
			return err
		}
		if keys = append(keys, summary.Key); len(keys) == perLoad {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}
