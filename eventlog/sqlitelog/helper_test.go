package sqlitelog

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// newFile opens a new file, which is closed with the test.
func newFile(t testing.TB, o Options) *File {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "log.db"), o)
}

func openFile(t testing.TB, path string, o Options) *File {
	t.Helper()
	f, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { closeFile(t, f) })
	return f
}

func closeFile(t testing.TB, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func openLog(t testing.TB, f *File, module string) *Log {
	t.Helper()
	l, err := f.Log(context.Background(), module)
	if err != nil {
		t.Fatalf("log %s: %v", module, err)
	}
	return l
}

// newLog is the log of module "orders" in a new file.
func newLog(t testing.TB, o Options) *Log {
	t.Helper()
	return openLog(t, newFile(t, o), "orders")
}

func fact(data string) event.Event {
	return event.Event{ID: event.NewID(), Type: "fact", Data: []byte(data)}
}

func to(stream string, expect eventlog.Expected, events ...event.Event) eventlog.ToStream {
	return eventlog.ToStream{Stream: stream, Expect: expect, Events: events}
}

// payloads reads the payloads of a log, or fails.
func payloads(t testing.TB, l *Log) []string {
	t.Helper()
	var all []string
	for r, err := range l.Read(context.Background(), eventlog.Query{System: true}) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, string(r.Data))
	}
	return all
}

// onWriter runs something on the writer's connection, in a turn of its own.
func onWriter(t testing.TB, f *File, do func(c *conn) error) {
	t.Helper()
	err := f.submit(context.Background(), &request{alone: func(w *writer) error { return do(w.c) }})
	if err != nil {
		t.Fatalf("on the writer: %v", err)
	}
}

// damage changes a file by SQL, behind the log's back.
func damage(t testing.TB, path string, statements ...string) {
	t.Helper()
	c, err := connect(context.Background(), dsn(path, "mode=rw", "busy_timeout(5000)"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := c.exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
}

// sound fails unless the file has no problems.
func sound(t testing.TB, f *File) {
	t.Helper()
	for p, err := range f.Verify(context.Background()) {
		if err != nil {
			t.Fatalf("verify: %v", err)
		}
		t.Errorf("problem: %v", p)
	}
}

// fill appends n events to a stream, one an append.
func fill(t testing.TB, l *Log, stream string, n int) {
	t.Helper()
	for i := range n {
		mustAppend(t, l, to(stream, eventlog.Any, fact(fmt.Sprint(i+1))))
	}
}
