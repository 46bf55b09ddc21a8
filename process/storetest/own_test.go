package storetest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"iter"
	"os"
	"slices"
	"testing"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
	"github.com/ensue-io/ensue/process/storetest"
)

// packed is a store of a user's own, for large states: each instance is one compressed document, under a key of its own.
type packed struct{}

func packedKey(home process.Home, instance string) string {
	return "packed:" + eventlog.Key(home.Process(), instance)
}

// read calls each with the documents that the query selects, unpacked, until it returns an error or false.
func (packed) read(ctx context.Context, home process.Home, q eventlog.EntryQuery, each func(key string, e eventlog.Entry) (bool, error)) error {
	q.Kind = eventlog.Document
	for e, err := range home.Log.Entries(ctx, q) {
		if err != nil {
			return err
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(e.Value))
		if err != nil {
			return err
		}
		if e.Value, err = io.ReadAll(unpacked); err != nil {
			return err
		}
		if more, err := each(eventlog.SplitKey(e.Key)[1], e); err != nil || !more {
			return err
		}
	}
	return nil
}

// Load implements process.Store.
func (p packed) Load(ctx context.Context, home process.Home, keys []string) ([]*process.Instance, error) {
	instances := make([]*process.Instance, len(keys))
	if len(keys) == 0 {
		return instances, nil
	}
	var q eventlog.EntryQuery
	for _, key := range keys {
		q.Keys = append(q.Keys, packedKey(home, key))
	}
	return instances, p.read(ctx, home, q, func(key string, e eventlog.Entry) (more bool, err error) {
		i, err := home.FromImage(key, e.Value)
		if err == nil {
			i.Token = uint64(e.Revision)
			instances[slices.Index(keys, key)] = i
		}
		return true, err
	})
}

// Save implements process.Store: for each instance its events, then its document.
func (packed) Save(home process.Home, changes []process.Change) (writes []eventlog.Write, err error) {
	for _, c := range changes {
		for _, s := range c.Steps {
			if len(s.Emitted) > 0 {
				writes = append(writes, eventlog.ToStream{Stream: home.Stream(c.Instance.Key), Events: s.Emitted})
			}
		}
		image, err := c.Instance.Image()
		if err != nil {
			return nil, err
		}
		var value bytes.Buffer
		w := gzip.NewWriter(&value)
		_, _ = w.Write(image) // a buffer takes everything
		_ = w.Close()
		put := eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: packedKey(home, c.Instance.Key), Value: value.Bytes()}, Expect: eventlog.Revision(c.Instance.Token)}
		if c.Steps[0].Record.Birth != nil {
			put.Expect = eventlog.NoEntry
		}
		writes = append(writes, put)
	}
	return writes, nil
}

// Note implements process.Noter: of the writes of an instance, its document alone has a revision.
func (packed) Note(changes []process.Change, results []eventlog.Result) {
	results = slices.DeleteFunc(slices.Clone(results), func(r eventlog.Result) bool { return r.Revision == 0 })
	for n, c := range changes {
		c.Instance.Token = uint64(results[n].Revision)
	}
}

// List implements process.Store.
func (p packed) List(ctx context.Context, home process.Home, after string) iter.Seq2[process.Summary, error] {
	return func(yield func(process.Summary, error) bool) {
		q := eventlog.EntryQuery{Prefix: packedKey(home, ""), After: packedKey(home, after)}
		if err := p.read(ctx, home, q, func(key string, e eventlog.Entry) (bool, error) {
			var s process.Summary // an image has its members
			err := json.Unmarshal(e.Value, &s)
			s.Key = key
			return err == nil && yield(s, nil), err
		}); err != nil {
			yield(process.Summary{}, err)
		}
	}
}

func TestAStoreOfAUsersOwn(t *testing.T) {
	storetest.Run(t, func(storetest.T) process.Store { return packed{} })
}

func TestAStoreOfAUsersOwnIsShort(t *testing.T) {
	text, err := os.ReadFile("own_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, store, _ := bytes.Cut(text, []byte("// packed is a store"))
	store, _, found := bytes.Cut(store, []byte("func TestAStoreOfAUsersOwn("))
	if lines := bytes.Count(store, []byte("\n")); !found || lines >= 100 {
		t.Fatalf("it has %d lines, and should have less than 100", lines)
	}
}
