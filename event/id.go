package event

import (
	"crypto/sha1" // #nosec G505 -- RFC 9562 says so of version 5
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ID identifies an event, and everything else that needs an identity of its own: a command, a log, a lease's owner.
// It is a UUID (RFC 9562); the zero ID means "none".
type ID [16]byte

// NewID returns a new UUIDv7: unique, and growing with time, which keeps indexes on it compact.
func NewID() ID {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("event: the operating system gave no random bytes: %v", err)) // crypto/rand never fails on supported systems
	}
	return ID(id)
}

// DeriveID returns the UUIDv5 of a list of parts: the same parts give the same ID, in every process and for ever.
// Every part is preceded by its length, so that ("a", "b-c") and ("a-b", "c") differ.
func DeriveID(parts ...string) ID {
	var space [256]byte
	name := append(space[:0], derived[:]...)
	for _, p := range parts {
		name = binary.BigEndian.AppendUint64(name, uint64(len(p)))
		name = append(name, p...)
	}
	sum := sha1.Sum(name) // #nosec G401 -- RFC 9562 says so of version 5
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// DeriveIDNear is DeriveID for what follows from something that has an ID. Where that one begins with a time, as those of
// NewID do, the derived one begins with the same time and is a UUIDv8: IDs of what happened at about one time then stand
// together in an index, and writing many of them touches few of its pages. The same ID and parts give the same ID.
func DeriveIDNear(near ID, parts ...string) ID {
	id := DeriveID(parts...)
	if v := near[6] >> 4; v != 7 && v != 8 {
		return id
	}
	copy(id[:6], near[:6])
	id[6] = id[6]&0x0f | 0x80
	return id
}

// derived is the namespace of all derived IDs; it must never change, since IDs of commands depend on it.
var derived = uuid.MustParse("6a0f6cf2-5d0c-5c58-9d53-1d1a4c7f2f1e")

const textLength = 36 // of the canonical form

// ParseID reads the canonical form of a UUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx).
func ParseID(s string) (ID, error) {
	if len(s) != textLength {
		return ID{}, fmt.Errorf("event: %q is not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", s)
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("event: %q is not a UUID: %w", s, err)
	}
	return ID(id), nil
}

// IsZero tells whether id is the zero ID, "none".
func (id ID) IsZero() bool { return id == ID{} }

// String returns the canonical form.
func (id ID) String() string { return uuid.UUID(id).String() }

// AppendText implements encoding.TextAppender; the zero ID is the empty text.
func (id ID) AppendText(b []byte) ([]byte, error) {
	if id.IsZero() {
		return b, nil
	}
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b, nil
}

// MarshalText implements encoding.TextMarshaler; the zero ID is the empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id.AppendText(make([]byte, 0, textLength))
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	if len(text) == textLength {
		if parsed, err := uuid.ParseBytes(text); err == nil {
			*id = ID(parsed)
			return nil
		}
	}
	_, err := ParseID(string(text))
	return err
}

// Micro cuts a time to what every store keeps: microseconds, in UTC, without a monotonic reading.
func Micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}
