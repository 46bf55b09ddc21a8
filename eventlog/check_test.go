package eventlog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// The bounds themselves, at the limit and one above, are what package logtest asks of every log; here are those that
// cost a store too much.
func TestCheckAtTheLimits(t *testing.T) {
	large := event.Event{Type: "t", Data: make([]byte, eventlog.MaxPayload)}
	many := slices.Repeat([]event.Event{large}, eventlog.MaxAppendBytes/eventlog.MaxPayload)
	small := slices.Repeat([]event.Event{{Type: "t"}}, eventlog.MaxAppend/2)
	positions := make([]eventlog.Position, eventlog.MaxAppend/2)
	deletes := slices.Repeat([]eventlog.Write{eventlog.Delete{Kind: eventlog.Claim, Key: "k"}}, eventlog.MaxWrites)
	for what, c := range map[string]struct {
		at    []eventlog.Write
		above eventlog.Write
	}{
		"bytes in one append":            {[]eventlog.Write{eventlog.ToStream{Stream: "s", Events: many}}, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: "k", Value: []byte{1}}}},
		"events and links in one append": {[]eventlog.Write{eventlog.ToStream{Stream: "s", Events: small}, eventlog.LinkTo{Stream: "t", Positions: positions}}, eventlog.LinkTo{Stream: "t", Positions: positions[:1]}},
		"writes in one append":           {deletes, deletes[0]},
	} {
		if err := eventlog.Check(c.at); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		var limit *eventlog.LimitError
		if err := eventlog.Check(append(c.at, c.above)); !errors.As(err, &limit) || limit.What != what || limit.Size != limit.Limit+1 {
			t.Errorf("above the limit of %s: %v", what, err)
		}
	}
	if err := eventlog.Check(nil); err != nil {
		t.Errorf("no writes: %v", err)
	}
	if err := eventlog.Check([]eventlog.Write{nil}); err == nil {
		t.Error("a write that is nil is taken")
	}
}

func TestNamesOfStreams(t *testing.T) {
	for name, category := range map[string]string{
		"order/42": "order", "order": "order", "order/42/lines": "order", "a//b": "a", "order line/1": "order line", "世/界": "世", strings.Repeat("x", eventlog.MaxStreamName): strings.Repeat("x", eventlog.MaxStreamName),
	} {
		if err := eventlog.CheckStream(name); err != nil {
			t.Error(err)
		}
		if got := eventlog.Category(name); got != category {
			t.Errorf("the category of %q is %q", name, got)
		}
	}
	for _, name := range []string{"", "/", "/1", "a/", "a\n", "a/\x00", "a\x7f", "\xff/1", strings.Repeat("x", eventlog.MaxStreamName+1)} {
		var bad *eventlog.NameError
		if err := eventlog.CheckStream(name); !errors.As(err, &bad) || bad.What != "stream" || len(bad.Name) > 70 {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestKeysAreToldApart(t *testing.T) {
	parts := []string{"", "a", "/", "%", "%2F", "a/b", "%25", "\x00", "%00", "é", "2F"}
	seen := map[string][]string{}
	see := func(parts ...string) {
		key := eventlog.Key(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q make the same key %q", parts, other, key)
		}
		seen[key] = parts
		if got := eventlog.SplitKey(key); !slices.Equal(got, parts) {
			t.Errorf("the parts %q became %q", parts, got)
		}
	}
	for _, a := range parts {
		see(a)
		for _, b := range parts {
			see(a, b)
			for _, c := range parts {
				see(a, b, c)
			}
		}
	}
	for key, parts := range seen {
		for other, longer := range seen {
			begins := len(longer) > len(parts) && slices.Equal(longer[:len(parts)], parts)
			if got := strings.HasPrefix(other, key+"/"); got != begins {
				t.Fatalf("%q is a prefix of %q: %v; their parts are %q and %q", key+"/", other, got, parts, longer)
			}
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("order", "42")
	f.Add("a/b", "%2F")
	f.Add("%", "\x00%25")
	f.Add("", "\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		key := eventlog.Key(a, b)
		if got := eventlog.SplitKey(key); !slices.Equal(got, []string{a, b}) {
			t.Errorf("%q and %q became %q", a, b, got)
		}
		if one := eventlog.Key(a); !slices.Equal(eventlog.SplitKey(one), []string{a}) || !strings.HasPrefix(key, one+"/") {
			t.Errorf("%q alone is %q, with %q it is %q", a, one, b, key)
		}
		if strings.IndexByte(key, 0) >= 0 || strings.Count(key, "/") != 1 {
			t.Errorf("the key %q is not escaped", key)
		}
	})
}
