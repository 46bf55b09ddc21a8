package storetest_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/storetest"
)

// nothing keeps nothing.
type nothing struct{}

func (nothing) Load(_ context.Context, _ process.Home, keys []string) ([]*process.Instance, error) {
	return make([]*process.Instance, len(keys)), nil
}
func (nothing) Save(process.Home, []process.Change) ([]eventlog.Write, error) { return nil, nil }
func (nothing) List(context.Context, process.Home, string) iter.Seq2[process.Summary, error] {
	return func(func(process.Summary, error) bool) {}
}

// broken is a store with a mistake.
type broken struct {
	process.Store
	loaded func(ctx context.Context, home process.Home, keys []string, all []*process.Instance) []*process.Instance
	saved  func(home process.Home, changes []process.Change, writes []eventlog.Write, err error) ([]eventlog.Write, error)
	before func(changes []process.Change) []process.Change
	listed func(all []process.Summary, after string) []process.Summary
	deaf   bool // to its context's end
}

func (b broken) Load(ctx context.Context, home process.Home, keys []string) ([]*process.Instance, error) {
	if b.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	all, err := b.Store.Load(ctx, home, keys)
	if b.loaded != nil && err == nil {
		all = b.loaded(ctx, home, keys, all)
	}
	return all, err
}

func (b broken) Save(home process.Home, changes []process.Change) ([]eventlog.Write, error) {
	if b.before != nil {
		changes = b.before(changes)
	}
	writes, err := b.Store.Save(home, changes)
	if b.saved != nil {
		writes, err = b.saved(home, changes, writes, err)
	}
	return writes, err
}

func (b broken) List(ctx context.Context, home process.Home, after string) iter.Seq2[process.Summary, error] {
	if b.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if b.listed == nil {
		return b.Store.List(ctx, home, after)
	}
	return func(yield func(process.Summary, error) bool) {
		var all []process.Summary
		for s, err := range b.Store.List(ctx, home, "") {
			if err != nil {
				yield(s, err)
				return
			}
			all = append(all, s)
		}
		for _, s := range b.listed(all, after) {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// noted is a broken store whose inner one wants to know what appends returned.
type noted struct {
	broken
	last *[]process.Change // as the inner one was given them
}

func (n noted) Save(home process.Home, changes []process.Change) ([]eventlog.Write, error) {
	if n.before != nil {
		changes = n.before(changes)
	}
	*n.last = changes
	n.before = nil
	return n.broken.Save(home, changes)
}

func (n noted) Note(_ []process.Change, results []eventlog.Result) {
	n.Store.(process.Noter).Note(*n.last, results)
}

// emitting changes what a store is given of the events that were emitted.
func emitting(change func([]event.Event) []event.Event) func() process.Store {
	return func() process.Store {
		return documents(broken{before: func(all []process.Change) []process.Change {
			all = slices.Clone(all)
			for n := range all {
				all[n].Steps = slices.Clone(all[n].Steps)
				for k := range all[n].Steps {
					all[n].Steps[k].Emitted = change(slices.Clone(all[n].Steps[k].Emitted))
				}
			}
			return all
		}})
	}
}

// streams and documents are the stores of the box with a mistake.
func streams(b broken) process.Store { b.Store = process.Streams{}; return b }
func documents(b broken) process.Store {
	b.Store = process.Documents{}
	return noted{b, new([]process.Change)}
}

// forgets loads instances without something.
func forgets(forget func(*process.Instance)) func() process.Store {
	return func() process.Store {
		return documents(broken{loaded: func(_ context.Context, _ process.Home, _ []string, all []*process.Instance) []*process.Instance {
			for _, i := range all {
				if i != nil {
					forget(i)
				}
			}
			return all
		}})
	}
}

// writing saves what a change of each write leaves of it.
func writing(change func(home process.Home, w eventlog.Write) eventlog.Write) func(process.Home, []process.Change, []eventlog.Write, error) ([]eventlog.Write, error) {
	return func(home process.Home, _ []process.Change, writes []eventlog.Write, err error) ([]eventlog.Write, error) {
		var changed []eventlog.Write
		for _, w := range writes {
			if w = change(home, w); w != nil {
				changed = append(changed, w)
			}
		}
		return changed, err
	}
}

// expectNothing takes the expectations out of writes.
func expectNothing(_ process.Home, w eventlog.Write) eventlog.Write {
	switch w := w.(type) {
	case eventlog.ToStream:
		w.Expect = eventlog.Any
		return w
	case eventlog.LinkTo:
		w.Expect = eventlog.Any
		return w
	case eventlog.Put:
		w.Expect = eventlog.AnyRevision
		return w
	}
	return w
}

func listing(change func(all []process.Summary, after string) []process.Summary) func() process.Store {
	return func() process.Store { return streams(broken{listed: change}) }
}

func behind(all []process.Summary, after string) []process.Summary {
	k := slices.IndexFunc(all, func(s process.Summary) bool { return s.Key == after })
	return slices.Clone(all[k+1:])
}

// mistakes are subtle; each of them must be found by the cases listed, at least.
var mistakes = []struct {
	name  string
	store func() process.Store
	cases []string
}{
	{"forgets marks", forgets(func(i *process.Instance) { i.Marks = nil }), []string{"load/everything as it was kept", "save/again without loading"}},
	{"forgets what was taken", forgets(func(i *process.Instance) { i.Taken = nil }), []string{"load/everything as it was kept"}},
	{"forgets what was taken, of streams", func() process.Store {
		return streams(broken{loaded: func(_ context.Context, _ process.Home, _ []string, all []*process.Instance) []*process.Instance {
			for _, i := range all {
				if i != nil {
					i.Taken = nil
				}
			}
			return all
		}})
	}, []string{"once/when a log was exported and imported (G8)"}},
	{"forgets marks and what was taken", forgets(func(i *process.Instance) { i.Marks, i.Taken = nil, nil }), []string{"once/when cursors are lost (G8)"}},
	{"forgets timers", forgets(func(i *process.Instance) { i.Timers = nil }), []string{"load/everything as it was kept", "steps/fire timeouts after a restart"}},
	{"forgets what was done once", forgets(func(i *process.Instance) { i.Once = nil }), []string{"load/everything as it was kept", "steps/do once what is done once, after a restart"}},
	{"forgets how much was sent", forgets(func(i *process.Instance) { i.Sent = 0 }), []string{"load/everything as it was kept"}},
	{"forgets completion", forgets(func(i *process.Instance) { i.Status = process.Running }), []string{"load/everything as it was kept", "steps/complete, and record what comes late as ignored"}},
	{"forgets the state", forgets(func(i *process.Instance) { i.State = nil }), []string{"load/everything as it was kept", "save/again without loading"}},
	{"forgets the incarnation", forgets(func(i *process.Instance) { i.Incarnation = 0 }), []string{"load/a long history", "steps/decide what a machine decides"}},
	{"forgets when", forgets(func(i *process.Instance) { i.Started, i.Changed = time.Time{}, time.Time{} }), []string{"load/everything as it was kept"}},
	{"forgets the number of steps", forgets(func(i *process.Instance) { i.Steps = 1 }), []string{"load/everything as it was kept"}},
	{"forgets metadata of timers", forgets(func(i *process.Instance) {
		for n := range i.Timers {
			i.Timers[n].Metadata = event.Metadata{}
		}
	}), []string{"load/everything as it was kept"}},
	{"returns instances in another order", func() process.Store {
		return documents(broken{loaded: func(_ context.Context, _ process.Home, _ []string, all []*process.Instance) []*process.Instance {
			slices.Reverse(all)
			return all
		}})
	}, []string{"load/absent instances are nil, in their places", "load/many at once"}},
	{"leaves absent instances out", func() process.Store {
		return documents(broken{loaded: func(_ context.Context, _ process.Home, _ []string, all []*process.Instance) []*process.Instance {
			return slices.DeleteFunc(all, func(i *process.Instance) bool { return i == nil })
		}})
	}, []string{"load/absent instances are nil, in their places"}},
	{"makes absent instances up", func() process.Store {
		return documents(broken{loaded: func(_ context.Context, home process.Home, keys []string, all []*process.Instance) []*process.Instance {
			for n := range all {
				if all[n] == nil {
					all[n] = home.NewInstance(keys[n])
				}
			}
			return all
		}})
	}, []string{"load/absent instances are nil, in their places", "load/keeps processes of one log apart"}},
	{"returns the same instance twice", func() process.Store {
		known := map[string]*process.Instance{}
		return documents(broken{loaded: func(_ context.Context, _ process.Home, keys []string, all []*process.Instance) []*process.Instance {
			for n, key := range keys {
				if i, ok := known[key]; ok {
					all[n] = i
				} else if all[n] != nil {
					known[key] = all[n]
				}
			}
			return all
		}})
	}, []string{"load/what is returned belongs to the caller"}},
	{"writes when it loads", func() process.Store {
		return documents(broken{loaded: func(ctx context.Context, home process.Home, _ []string, all []*process.Instance) []*process.Instance {
			_, _ = home.Log.Append(ctx, eventlog.ToStream{Stream: "loaded/again", Events: []event.Event{{Type: "elsewhere", Data: []byte("{}")}}})
			return all
		}})
	}, []string{"load/writes nothing and sends nothing (G13)"}},
	{"does not hear its context", func() process.Store { return streams(broken{deaf: true}) }, []string{"load/ends with its context", "list/ends with its context"}},
	{"writes by itself", func() process.Store {
		return streams(broken{saved: func(home process.Home, _ []process.Change, writes []eventlog.Write, err error) ([]eventlog.Write, error) {
			if err == nil {
				_, err = home.Log.Append(context.Background(), writes...)
			}
			return nil, err
		}})
	}, []string{"save/writes nothing by itself", "save/all or nothing"}},
	{"does not look at the token of documents", func() process.Store { return documents(broken{saved: writing(expectNothing)}) },
		[]string{"save/of a stale instance is refused", "save/of a stale instance is refused after its completion", "save/of an instance that somebody else started is refused", "save/all or nothing"}},
	{"does not look at the token of streams", func() process.Store { return streams(broken{saved: writing(expectNothing)}) },
		[]string{"save/of a stale instance is refused", "save/of a stale instance is refused after its completion", "save/of an instance that somebody else started is refused", "save/all or nothing"}},
	{"is not told of its appends", func() process.Store { return broken{Store: process.Documents{}} }, []string{"save/again without loading"}},
	{"drops what was emitted", emitting(func([]event.Event) []event.Event { return nil }),
		[]string{"save/emitted events stand in the instance's stream, in order", "steps/decide what a machine decides"}},
	{"emits in another order", emitting(func(all []event.Event) []event.Event { slices.Reverse(all); return all }),
		[]string{"save/emitted events stand in the instance's stream, in order"}},
	{"emits without metadata", emitting(func(all []event.Event) []event.Event {
		for n := range all {
			all[n].Metadata = event.Metadata{}
		}
		return all
	}), []string{"save/emitted events stand in the instance's stream, in order"}},
	{"emits without ids", emitting(func(all []event.Event) []event.Event {
		for n := range all {
			all[n].ID = event.ID{}
		}
		return all
	}), []string{"save/emitted events stand in the instance's stream, in order", "steps/decide what a machine decides"}},
	{"cuts what is too long", emitting(func(all []event.Event) []event.Event {
		for n := range all {
			all[n].Data = all[n].Data[:min(1000, len(all[n].Data))]
		}
		return all
	}), []string{"holds/the instance alone whose step the log refuses (G9)"}},
	{"emits to another stream", func() process.Store {
		return documents(broken{saved: writing(func(_ process.Home, w eventlog.Write) eventlog.Write {
			if w, emitted := w.(eventlog.ToStream); emitted {
				w.Stream = "emitted/all"
				return w
			}
			return w
		})})
	}, []string{"save/emitted events stand in the instance's stream, in order", "load/keys of any characters"}},
	{"saves the first change alone", func() process.Store {
		return streams(broken{before: func(all []process.Change) []process.Change { return all[:min(1, len(all))] }})
	}, []string{"save/several steps of several instances at once", "load/many at once"}},
	{"saves the last step of a change alone", func() process.Store {
		return streams(broken{before: func(all []process.Change) []process.Change {
			all = slices.Clone(all)
			for n := range all {
				all[n].Steps = all[n].Steps[len(all[n].Steps)-1:]
			}
			return all
		}})
	}, []string{"save/several steps of several instances at once", "load/everything as it was kept"}},
	{"confuses keys", func() process.Store {
		return streams(broken{before: func(all []process.Change) []process.Change {
			all = slices.Clone(all)
			for n := range all {
				i := *all[n].Instance
				i.Key = strings.ReplaceAll(strings.ToLower(i.Key), "%2f", "/")
				all[n].Instance = &i
			}
			return all
		}})
	}, []string{"load/keys of any characters"}},
	{"leaves out in silence what it cannot keep", func() process.Store {
		return documents(broken{before: func(all []process.Change) []process.Change {
			return slices.DeleteFunc(slices.Clone(all), func(c process.Change) bool {
				_, err := c.Instance.Image()
				return err != nil
			})
		}})
	}, []string{"holds/the instance alone whose state the store cannot keep (G9)"}},
	{"lists in any order", func() func() process.Store {
		var turn atomic.Int32 // cases run at the same time
		return listing(func(all []process.Summary, after string) []process.Summary {
			all = behind(all, after)
			if turn.Add(1)%2 == 0 {
				slices.Reverse(all)
			}
			return all
		})
	}(), []string{"list/every instance once, by its key", "list/ends where its reader ends, and can be read again"}},
	{"lists backwards", listing(func(all []process.Summary, after string) []process.Summary {
		all = behind(all, after)
		slices.Reverse(all)
		return all
	}), []string{"list/every instance once, by its key", "list/begins behind a key that is not there", "list/continues behind any key"}},
	{"lists from the beginning", listing(func(all []process.Summary, _ string) []process.Summary { return all }), []string{"list/continues behind any key"}},
	{"lists what it was to begin behind", listing(func(all []process.Summary, after string) []process.Summary {
		k := slices.IndexFunc(all, func(s process.Summary) bool { return s.Key == after })
		return all[max(0, k):]
	}), []string{"list/continues behind any key"}},
	{"lists ten at most", listing(func(all []process.Summary, after string) []process.Summary {
		all = behind(all, after)
		return all[:min(10, len(all))]
	}), []string{"list/every instance once, by its key"}},
	{"lists those that run alone", listing(func(all []process.Summary, after string) []process.Summary {
		return slices.DeleteFunc(behind(all, after), func(s process.Summary) bool { return s.Status != process.Running })
	}), []string{"list/tells where an instance is in its life"}},
	{"lists without a status", listing(func(all []process.Summary, after string) []process.Summary {
		all = behind(all, after)
		for n := range all {
			all[n].Status = process.Running
		}
		return all
	}), []string{"list/tells where an instance is in its life"}},
}

func TestEveryCaseFailsOnAStoreThatKeepsNothing(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if said := try(t, c, func() process.Store { return nothing{} }); said == "" {
				t.Errorf("the case passes")
			}
		})
	}
}

func TestEveryMistakeIsFound(t *testing.T) {
	cases := map[string]storetest.Case{}
	for _, c := range storetest.Cases() {
		if _, twice := cases[c.Name]; twice {
			t.Errorf("two cases are named %q", c.Name)
		}
		cases[c.Name] = c
	}
	for _, m := range mistakes {
		for _, name := range m.cases {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				c, ok := cases[name]
				if !ok {
					t.Fatalf("there is no such case")
				}
				said := try(t, c, m.store)
				if said == "" {
					t.Fatalf("the case passes")
				}
				t.Log(said[:min(300, len(said))])
			})
		}
	}
}

// recorder is a storetest.T that notes the end of a case instead of ending a test.
type recorder struct {
	*testing.T
	mu       sync.Mutex
	failed   string
	cleanups []func()
}

func (*recorder) Logf(string, ...any) {}
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.mu.Lock()
	if r.failed == "" {
		r.failed = fmt.Sprintf(format, args...)
	}
	r.mu.Unlock()
	runtime.Goexit()
}

// try runs a case that is expected to fail, and returns what it said.
func try(t *testing.T, c storetest.Case, store func() process.Store) string {
	t.Helper()
	r := &recorder{T: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				r.mu.Lock()
				r.failed = fmt.Sprintf("the case panics where it should fail: %v\n%s", p, debug.Stack())
				r.mu.Unlock()
				t.Error(r.failed)
			}
		}()
		s := store() // one for all of the case, so that it can remember
		c.Run(r, storetest.Setting{Store: func(storetest.T) process.Store { return s }, Patience: 3 * time.Second})
	}()
	<-ended
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.failed
}
