package faultlog

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Log wraps a module's log for this life. It has the optional capabilities that the log has (of those about streams,
// StreamLister, StreamsReader and StreamKeeper, all or none) and passes them on.
func (l *Life) Log(module string, log eventlog.Log) eventlog.Log {
	f := &faulty{Log: log, life: l, module: module}
	keeper, _ := log.(streamsLog)
	transactor, _ := log.(eventlog.SQLTransactor)
	clock, _ := log.(eventlog.Clock)
	s, t, c := streams{f, keeper}, transactions{f, transactor}, clocked{f, clock}
	switch has := [3]bool{keeper != nil, transactor != nil, clock != nil}; has {
	case [3]bool{true, false, false}:
		return struct {
			*faulty
			streams
		}{f, s}
	case [3]bool{false, true, false}:
		return struct {
			*faulty
			transactions
		}{f, t}
	case [3]bool{false, false, true}:
		return struct {
			*faulty
			clocked
		}{f, c}
	case [3]bool{true, true, false}:
		return struct {
			*faulty
			streams
			transactions
		}{f, s, t}
	case [3]bool{true, false, true}:
		return struct {
			*faulty
			streams
			clocked
		}{f, s, c}
	case [3]bool{false, true, true}:
		return struct {
			*faulty
			transactions
			clocked
		}{f, t, c}
	case [3]bool{true, true, true}:
		return struct {
			*faulty
			streams
			transactions
			clocked
		}{f, s, t, c}
	default:
		return f
	}
}

// faulty is a log in a life.
type faulty struct {
	eventlog.Log
	life   *Life
	module string
}

// write and ask make an operation of a call.
func (f *faulty) write(kind, what string, do func() error) error {
	return f.life.do(Operation{Kind: kind, Where: f.module, What: what}, true, do)
}

func (f *faulty) ask(kind, what string, do func() error) error {
	return f.life.do(Operation{Kind: kind, Where: f.module, What: what}, false, do)
}

// Append implements eventlog.Log.
func (f *faulty) Append(ctx context.Context, writes ...eventlog.Write) (done eventlog.Appended, err error) {
	err = f.write("append", describe(writes), func() (err error) {
		done, err = f.Log.Append(ctx, writes...)
		return err
	})
	if err != nil {
		done = eventlog.Appended{}
	}
	return done, err
}

// ReadStream implements eventlog.Log.
func (f *faulty) ReadStream(ctx context.Context, stream string, q eventlog.StreamQuery) iter.Seq2[event.Recorded, error] {
	return ranged(f, "read stream", stream, f.Log.ReadStream(ctx, stream, q))
}

// Read implements eventlog.Log.
func (f *faulty) Read(ctx context.Context, q eventlog.Query) iter.Seq2[event.Recorded, error] {
	return ranged(f, "read", fmt.Sprintf("after %d", q.After), f.Log.Read(ctx, q))
}

// Entries implements eventlog.Log.
func (f *faulty) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	return ranged(f, "entries", strings.TrimSpace(fmt.Sprintf("%v %s %s", q.Kind, strings.Join(append(q.Keys[:len(q.Keys):len(q.Keys)], q.Prefix), " "), q.After)), f.Log.Entries(ctx, q))
}

// Head implements eventlog.Log.
func (f *faulty) Head(ctx context.Context) (head eventlog.Position, err error) {
	err = f.ask("head", "", func() (err error) { head, err = f.Log.Head(ctx); return err })
	return head, err
}

// Wait implements eventlog.Log. It ends when the program crashes elsewhere.
func (f *faulty) Wait(ctx context.Context, after eventlog.Position) error {
	ctx, release := f.life.Context(ctx)
	defer release()
	return f.ask("wait", fmt.Sprintf("after %d", after), func() error { return f.Log.Wait(ctx, after) })
}

// Links implements eventlog.Linker.
func (f *faulty) Links() bool {
	l, ok := f.Log.(eventlog.Linker)
	return ok && l.Links()
}

// Close implements eventlog.Closer. It is no operation: a program that is dead closes nothing, and what it had open is
// closed for it.
func (f *faulty) Close() error {
	if c, ok := f.Log.(eventlog.Closer); ok {
		return c.Close()
	}
	return nil
}

// ranged makes an operation of every ranging over a sequence: before its first row, and after its last one or the one at
// which the loop was left.
func ranged[V any](f *faulty, kind, what string, rows iter.Seq2[V, error]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var none V
		op, err := f.life.begin(Operation{Kind: kind, Where: f.module, What: what}, false)
		if err != nil {
			yield(none, err)
			return
		}
		for v, err := range rows {
			if dead := f.life.dead(); dead != nil {
				yield(none, dead)
				return
			}
			if !yield(v, err) {
				_ = f.life.done(op, false) // who has left the loop hears of it at the next operation
				return
			}
			if err != nil {
				return
			}
		}
		if dead := f.life.done(op, false); dead != nil {
			yield(none, dead)
		}
	}
}

// describe tells what writes do, for people.
func describe(writes []eventlog.Write) string {
	texts := make([]string, len(writes))
	for n, w := range writes {
		switch w := w.(type) {
		case eventlog.ToStream:
			types := make([]string, len(w.Events))
			for k := range w.Events {
				types[k] = w.Events[k].Type
			}
			texts[n] = w.Stream + " ← " + strings.Join(types, ", ")
		case eventlog.LinkTo:
			texts[n] = fmt.Sprintf("%s ← links to %d", w.Stream, w.Positions)
		case eventlog.Put:
			texts[n] = fmt.Sprintf("put %v %s", w.Entry.Kind, w.Entry.Key)
		case eventlog.Delete:
			texts[n] = fmt.Sprintf("delete %v %s", w.Kind, w.Key)
		default:
			texts[n] = fmt.Sprintf("%T", w)
		}
	}
	return strings.Join(texts, "; ")
}
