package event

import (
	"fmt"
	"reflect"
)

// TypeError reports a registration that cannot be: a malformed name, or a name or a Go type registered twice.
type TypeError struct {
	Name   string
	GoType reflect.Type // nil where the name alone is wrong
	Reason string
}

func (e *TypeError) Error() string { return fmt.Sprintf("event: type name %q %s", e.Name, e.Reason) }

// UnregisteredError reports a Go value whose type has no stable name.
type UnregisteredError struct{ GoType reflect.Type }

func (e *UnregisteredError) Error() string {
	return fmt.Sprintf("event: %v has no stable name here; add event.Named[%v](\"…\") to the module's Events", e.GoType, e.GoType)
}

// NewerSchemaError reports an event written by a newer program than this one. It is never decoded at best effort.
type NewerSchemaError struct {
	Type          string
	Schema, Known int
	ID            ID
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("event: %q %s has schema version %d and this program knows %d; run a newer program", e.Type, e.ID, e.Schema, e.Known)
}

// MissingUpcastError reports an event of an older schema version that nobody declared how to read.
type MissingUpcastError struct {
	Type          string
	Schema, Known int
	ID            ID
}

func (e *MissingUpcastError) Error() string {
	return fmt.Sprintf("event: %q %s has schema version %d, this program has %d and no upcaster; add event.UpcastFrom(%d, …)", e.Type, e.ID, e.Schema, e.Known, e.Schema)
}

// DecodeError reports a payload that cannot be read as its type.
type DecodeError struct {
	Type   string
	Schema int
	ID     ID
	Err    error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("event: decode %q (schema version %d) %s: %v", e.Type, e.Schema, e.ID, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }
