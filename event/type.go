package event

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Type ties a Go type to a stable name and a schema version. Make one with Named and give it to a registry.
type Type struct {
	name    string
	former  []string
	schema  int
	goType  reflect.Type
	codec   Codec
	upcasts map[int]Upcast
	decode  func(Codec, []byte) (any, error)
	err     error // a mistake in the options, reported by NewRegistry
}

// Raw is an event's payload with its name and schema version, before it is a Go value. A registry decodes an event of
// a type that it does not know as a Raw, so that nothing is dropped; upcasters take and return them.
type Raw struct {
	Type   string
	Schema int
	Data   []byte
}

// Upcast turns a payload of one schema version into payloads of later ones: none when the fact is no longer of
// interest, several when one old event says what several new ones say now. A result of the same type must have a higher
// schema version; a result of another type may have any that the registry can read.
type Upcast func(Raw) ([]Raw, error)

// Option changes what Named makes.
type Option func(*Type)

// Named ties the Go type E to a stable name. Names are 1 to 200 bytes of letters, digits and "-._:", and don't begin
// with SystemPrefix.
func Named[E any](name string, options ...Option) Type {
	t := Type{
		name: name, schema: 1, codec: JSON{},
		goType: reflect.TypeFor[E](),
		decode: func(c Codec, data []byte) (any, error) {
			var v E
			if err := c.Decode(data, &v); err != nil {
				return nil, err
			}
			return v, nil
		},
	}
	if t.goType.Kind() == reflect.Interface || t.goType.Kind() == reflect.Pointer {
		t.err = errors.Join(t.err, fmt.Errorf("event: type %q names the Go type %v; register a value type, not a pointer or an interface", name, t.goType))
	}
	for _, o := range options {
		o(&t)
	}
	return t
}

// Schema sets the schema version that the Go type stands for; the default is 1.
func Schema(version int) Option {
	return func(t *Type) {
		if version < 1 {
			t.err = errors.Join(t.err, fmt.Errorf("event: type %q: schema version %d; the first is 1", t.name, version))
			return
		}
		t.schema = version
	}
}

// UpcastFrom declares how a payload of an older schema version is read.
func UpcastFrom(version int, up Upcast) Option {
	return func(t *Type) {
		if t.upcasts == nil {
			t.upcasts = map[int]Upcast{}
		}
		if _, twice := t.upcasts[version]; twice {
			t.err = errors.Join(t.err, fmt.Errorf("event: type %q: two upcasters from schema version %d", t.name, version))
		}
		t.upcasts[version] = up
	}
}

// Formerly declares a name that the type had before: stored events of that name are read as this type.
func Formerly(name string) Option { return func(t *Type) { t.former = append(t.former, name) } }

// With sets the type's codec; the default is JSON.
func With(c Codec) Option { return func(t *Type) { t.codec = c } }

// Name returns the stable name.
func (t Type) Name() string { return t.name }

// SchemaVersion returns the schema version that the Go type stands for.
func (t Type) SchemaVersion() int { return t.schema }

// GoType returns the Go type that the name stands for.
func (t Type) GoType() reflect.Type { return t.goType }

// Tagged is implemented by Go types whose events carry tags.
type Tagged interface{ EventTags() []Tag }

// Dated is implemented by Go types that know when their fact happened in the world.
type Dated interface{ OccurredAt() time.Time }

// Draft is a domain event with a part of its envelope set by the caller; made by New, accepted wherever a domain event is.
type Draft struct {
	Fact     any // the domain event itself
	ID       ID
	Headers  map[string]string
	Tags     []Tag
	Occurred time.Time
}

// New returns a draft of the fact, to be completed by its With methods.
func New(fact any) Draft { return Draft{Fact: fact} }

// WithID sets the event's id, which makes recording it again a repeat.
func (d Draft) WithID(id ID) Draft { d.ID = id; return d }

// At sets when the fact happened.
func (d Draft) At(t time.Time) Draft { d.Occurred = t; return d }

// WithHeader sets a header.
func (d Draft) WithHeader(name, value string) Draft {
	d.Headers = Metadata{Headers: d.Headers}.WithHeader(name, value).Headers
	return d
}

// WithTag adds a tag.
func (d Draft) WithTag(key, value string) Draft {
	d.Tags = append(append([]Tag(nil), d.Tags...), Tag{Key: key, Value: value})
	return d
}
