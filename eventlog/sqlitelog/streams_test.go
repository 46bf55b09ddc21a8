package sqlitelog

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Reading several streams at once gives what reading them one by one gives, whatever is among them.
func TestReadStreamsIsReadStreamOfEach(t *testing.T) {
	ctx := t.Context()
	f, err := Open(ctx, filepath.Join(t.TempDir(), "x.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := f.Log(ctx, "m")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var names []string
	for n := range 200 {
		name := fmt.Sprintf("s/%d%c", n, "aé/%"[n%3])
		names = append(names, name)
		size := []int{1, 3, 10, 0, 300}[random.IntN(5)]
		if n == 77 {
			size = 20 // of large events
		}
		for i := range size {
			e := event.Event{Type: []string{"t", "ensue.t"}[i%2], Data: []byte(fmt.Sprint(n, i))}
			if n == 77 {
				e.Data = make([]byte, 100_000)
			}
			var w eventlog.Write = eventlog.ToStream{Stream: name, Events: []event.Event{e}}
			if head, err := l.Head(ctx); err != nil {
				t.Fatal(err)
			} else if head > 10 && random.IntN(3) == 0 {
				w = eventlog.LinkTo{Stream: name, Positions: []eventlog.Position{eventlog.Position(1 + random.IntN(int(head)))}}
			}
			if _, err := l.Append(ctx, w); err != nil {
				t.Fatal(err)
			}
		}
		if size > 5 && n%4 == 0 {
			if err := l.TruncateStream(ctx, name, 2); err != nil {
				t.Fatal(err)
			}
		}
	}
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var want, got []event.Recorded
	for _, name := range names {
		for rec, err := range l.ReadStream(ctx, name, eventlog.StreamQuery{System: true}) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, rec)
		}
	}
	for rec, err := range l.ReadStreams(ctx, names) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %d events, want %d, or others", len(got), len(want))
	}
}
