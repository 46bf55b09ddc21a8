package eventlog

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ensue-io/ensue/event"
)

// Bounds of what a log takes, the same for every store.
const (
	MaxStreamName  = 400       // bytes of a stream's name
	MaxTypeName    = 200       // bytes of a type's name
	MaxPayload     = 1 << 20   // bytes of an event's payload
	MaxHeaders     = 16 << 10  // bytes of an event's headers, names and values together
	MaxTags        = 32        // tags on one event
	MaxTag         = 200       // bytes of a tag's key, and of its value
	MaxEntryKey    = 1000      // bytes of an entry's key
	MaxEntryValue  = 4 << 20   // bytes of an entry's value
	MaxWrites      = 100_000   // writes in one append
	MaxAppend      = 100_000   // events and links in one append
	MaxAppendBytes = 256 << 20 // bytes of all payloads and values of one append
)

// Check tells what about the writes is out of bounds, if anything: *LimitError or *NameError. Every log calls it first,
// so that all stores refuse the same.
func Check(writes []Write) error {
	if len(writes) > MaxWrites {
		return &LimitError{What: "writes in one append", Size: len(writes), Limit: MaxWrites}
	}
	events, bytes := 0, 0
	for _, w := range writes {
		switch w := w.(type) {
		case ToStream:
			if err := CheckStream(w.Stream); err != nil {
				return err
			}
			if err := w.Expect.check(w.Stream); err != nil {
				return err
			}
			if len(w.Events) == 0 {
				return &LimitError{What: fmt.Sprintf("an append of no events to stream %q", w.Stream)}
			}
			for i := range w.Events {
				if err := checkEvent(&w.Events[i]); err != nil {
					return err
				}
				bytes += len(w.Events[i].Data)
			}
			events += len(w.Events)
		case LinkTo:
			if err := CheckStream(w.Stream); err != nil {
				return err
			}
			if err := w.Expect.check(w.Stream); err != nil {
				return err
			}
			if len(w.Positions) == 0 {
				return &LimitError{What: fmt.Sprintf("an append of no links to stream %q", w.Stream)}
			}
			events += len(w.Positions)
		case Put:
			if err := checkKey(w.Entry.Kind, w.Entry.Key); err != nil {
				return err
			}
			if len(w.Entry.Value) > MaxEntryValue {
				return &LimitError{What: fmt.Sprintf("value of %v %q, bytes", w.Entry.Kind, w.Entry.Key), Size: len(w.Entry.Value), Limit: MaxEntryValue}
			}
			if w.Expect < NoEntry {
				return fmt.Errorf("eventlog: %v %q: %d is no revision to expect; use AnyRevision, NoEntry or one that was read", w.Entry.Kind, w.Entry.Key, int64(w.Expect))
			}
			bytes += len(w.Entry.Value)
		case Delete:
			if err := checkKey(w.Kind, w.Key); err != nil {
				return err
			}
			if w.Expect < NoEntry {
				return fmt.Errorf("eventlog: %v %q: %d is no revision to expect; use AnyRevision, NoEntry or one that was read", w.Kind, w.Key, int64(w.Expect))
			}
		default:
			return fmt.Errorf("eventlog: a write is ToStream, LinkTo, Put or Delete, not %T", w)
		}
	}
	if events > MaxAppend {
		return &LimitError{What: "events and links in one append", Size: events, Limit: MaxAppend}
	}
	if bytes > MaxAppendBytes {
		return &LimitError{What: "bytes in one append", Size: bytes, Limit: MaxAppendBytes}
	}
	return nil
}

func (e Expected) check(stream string) error {
	if e < NoStream {
		return fmt.Errorf("eventlog: stream %q: %d is no expected version; use Any, Exists, NoStream or Exactly", stream, int64(e))
	}
	return nil
}

// CheckStream tells what is wrong with a stream's name, if anything: a name is valid UTF-8 of 1 to MaxStreamName bytes
// without control characters, and neither its category nor, where there is a "/", its id is empty.
func CheckStream(name string) error {
	if name == "" || len(name) > MaxStreamName {
		return &NameError{What: "stream", Name: shorten(name), Reason: fmt.Sprintf("has %d bytes; a stream's name has 1 to %d", len(name), MaxStreamName)}
	}
	if reason := badText(name); reason != "" {
		return &NameError{What: "stream", Name: shorten(name), Reason: reason}
	}
	category, id, found := strings.Cut(name, "/")
	if category == "" {
		return &NameError{What: "stream", Name: shorten(name), Reason: "has no category before its first /"}
	}
	if found && id == "" {
		return &NameError{What: "stream", Name: shorten(name), Reason: "has nothing behind its first /"}
	}
	return nil
}

// Category returns the part of a stream's name before its first "/"; the whole name where there is none.
func Category(stream string) string {
	category, _, _ := strings.Cut(stream, "/")
	return category
}

func checkEvent(e *event.Event) error {
	if e.Type == "" || len(e.Type) > MaxTypeName {
		return &NameError{What: "event type", Name: shorten(e.Type), Reason: fmt.Sprintf("has %d bytes; it has 1 to %d", len(e.Type), MaxTypeName)}
	}
	if reason := badText(e.Type); reason != "" {
		return &NameError{What: "event type", Name: shorten(e.Type), Reason: reason}
	}
	if e.Schema < 0 || e.Schema > 1<<30 {
		return &LimitError{What: fmt.Sprintf("schema version of event type %q", e.Type), Size: e.Schema, Limit: 1 << 30}
	}
	if len(e.Data) > MaxPayload {
		return &LimitError{What: fmt.Sprintf("payload of event type %q, bytes", e.Type), Size: len(e.Data), Limit: MaxPayload}
	}
	size := 0
	for name, value := range e.Metadata.Headers {
		size += len(name) + len(value)
		if name == "" || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return &NameError{What: "header", Name: shorten(name), Reason: "is empty, or it or its value is not UTF-8"}
		}
	}
	if size > MaxHeaders {
		return &LimitError{What: fmt.Sprintf("headers of event type %q, bytes", e.Type), Size: size, Limit: MaxHeaders}
	}
	if len(e.Tags) > MaxTags {
		return &LimitError{What: fmt.Sprintf("tags of event type %q", e.Type), Size: len(e.Tags), Limit: MaxTags}
	}
	for _, t := range e.Tags {
		if t.Key == "" || len(t.Key) > MaxTag || len(t.Value) > MaxTag {
			return &LimitError{What: fmt.Sprintf("bytes of a tag %q of event type %q", shorten(t.Key), e.Type), Size: max(len(t.Key), len(t.Value)), Limit: MaxTag}
		}
		if reason := badText(t.Key + t.Value); reason != "" {
			return &NameError{What: "tag", Name: shorten(t.Key), Reason: reason}
		}
	}
	return nil
}

func checkKey(k Kind, key string) error {
	if !k.Valid() {
		return fmt.Errorf("eventlog: %v is no kind of entry", k)
	}
	if key == "" || len(key) > MaxEntryKey {
		return &NameError{What: k.String() + " key", Name: shorten(key), Reason: fmt.Sprintf("has %d bytes; it has 1 to %d", len(key), MaxEntryKey)}
	}
	if !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return &NameError{What: k.String() + " key", Name: shorten(key), Reason: "is not UTF-8, or holds a NUL"}
	}
	return nil
}

func badText(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }); i >= 0 {
		return fmt.Sprintf("holds a control character at byte %d", i)
	}
	return ""
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:57] + "…"
	}
	return s
}

var keyEscape = strings.NewReplacer("%", "%25", "/", "%2F", "\x00", "%00")
var keyUnescape = strings.NewReplacer("%2F", "/", "%00", "\x00", "%25", "%")

// Key makes an entry's key out of parts: joined by "/", which within a part is escaped, so that different parts never
// make the same key and Key(a, b) + "/" is a prefix of exactly the keys that begin with these parts.
func Key(parts ...string) string {
	if len(parts) == 1 {
		return keyEscape.Replace(parts[0])
	}
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		if strings.ContainsAny(p, "%/\x00") {
			p = keyEscape.Replace(p)
		}
		b.WriteString(p)
	}
	return b.String()
}

// SplitKey returns the parts of which Key made the key.
func SplitKey(key string) []string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		if strings.IndexByte(p, '%') >= 0 {
			parts[i] = keyUnescape.Replace(p)
		}
	}
	return parts
}
