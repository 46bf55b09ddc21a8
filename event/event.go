// Package event defines what a log holds: events with their envelope, the stable names of their types, the codecs
// that turn Go values into bytes, and the upcasters that read what older programs wrote.
//
// The smallest useful program names a type, encodes a value and reads it back:
//
//	types, err := event.NewRegistry(event.Named[MenuConfirmed]("menu-confirmed"))
//	// …
//	e, err := types.Encode(MenuConfirmed{OrderID: "42"}) // an event.Event, ready to be appended
//	facts, err := types.Decode(e)                        // []any{MenuConfirmed{OrderID: "42"}}
//
// The package knows nothing of stores.
package event

import (
	"maps"
	"strings"
	"time"
)

// Position is an event's place in its module's log: a natural number that only grows. 0 is before the first event.
type Position uint64

// Version is an event's place in its stream: 1, 2, 3, … Version 0: the stream does not exist.
type Version uint64

// SystemPrefix begins the type of every system record: what the engine itself writes in a log.
const SystemPrefix = "ensue."

// Event is a fact on its way into a log.
type Event struct {
	ID       ID        // identity, for ever; a log gives a new UUIDv7 to an event that has none
	Type     string    // stable name of its type, never a Go type's; SystemPrefix is reserved for the engine
	Schema   int       // schema version of Data, 1 or more; 0 means 1
	Data     []byte    // payload, opaque to logs: it comes back byte for byte
	Metadata Metadata  // what is known about the event beside its payload
	Tags     []Tag     // by which it can be selected
	Occurred time.Time // when it happened in the world; a log takes the time of the append when it is zero. Kept to the microsecond, in UTC
}

// IsSystem tells whether the event is a system record of the engine.
func (e Event) IsSystem() bool { return strings.HasPrefix(e.Type, SystemPrefix) }

// Metadata is what is known about an event, or a command, beside its payload.
type Metadata struct {
	Correlation ID                `json:"correlation,omitzero"` // what the whole conversation is about: the id of its first event or command
	Causation   ID                `json:"causation,omitzero"`   // the id of the event or command that directly caused this
	Headers     map[string]string `json:"headers,omitempty"`    // free; those that the application declares as carried go from input to command to event
}

// Header returns the header of that name, or "".
func (m Metadata) Header(name string) string { return m.Headers[name] }

// WithHeader returns the metadata with one header set; m itself is unchanged.
func (m Metadata) WithHeader(name, value string) Metadata {
	headers := make(map[string]string, len(m.Headers)+1)
	maps.Copy(headers, m.Headers)
	headers[name] = value
	m.Headers = headers
	return m
}

// Carry returns the metadata of something that `id`, having metadata m, causes: the same correlation (or id, where
// there is none yet), id as the causation, and of the headers only those named by carried.
func (m Metadata) Carry(id ID, carried []string) Metadata {
	next := Metadata{Correlation: m.Correlation, Causation: id}
	if next.Correlation.IsZero() {
		next.Correlation = id
	}
	for _, name := range carried {
		if v, ok := m.Headers[name]; ok {
			if next.Headers == nil {
				next.Headers = make(map[string]string, len(carried))
			}
			next.Headers[name] = v
		}
	}
	return next
}

// Tag is a key and a value on an event, by which it can be selected.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Place is where an event stands: a stream, and the version in it.
type Place struct {
	Stream  string
	Version Version
}

// Recorded is an event as a log returns it.
type Recorded struct {
	Event
	Position Position  // its place in the log
	Place              // the stream it was read from and its version there; by position: the stream it was appended to
	Origin   Place     // for an event that was read through a link: the stream it was appended to; zero otherwise
	Recorded time.Time // when the log took it, by the log's clock; never decreases with the position
}

// IsLink tells whether the event was read through a link.
func (r Recorded) IsLink() bool { return r.Origin.Stream != "" }
