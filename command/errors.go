package command

import (
	"fmt"
	"reflect"

	"github.com/ensue-io/ensue/aggregate"
)

// PanicError reports a handler that panicked: a fault, not a decision. Nothing was written, and the command can be sent
// again.
type PanicError = aggregate.PanicError

// HandlerError reports handlers that cannot be: a malformed name, or a name or a Go type handled twice.
type HandlerError struct {
	Module string
	Name   string
	Reason string
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("command: module %q: handler of %q %s", e.Module, e.Name, e.Reason)
}

// UnhandledError reports a command that the module has no handler for.
type UnhandledError struct {
	Module string
	Name   string       // "" where it was asked for by Go type
	GoType reflect.Type // nil where it was asked for by name
}

func (e *UnhandledError) Error() string {
	if e.GoType != nil {
		return fmt.Sprintf("command: module %q handles no %v; add command.Handle to its Commands", e.Module, e.GoType)
	}
	return fmt.Sprintf("command: module %q handles no %q; add command.Handle to its Commands, or command.Formerly to the one that had this name", e.Module, e.Name)
}

// DigestError reports a command under the id of another one: with another type, target or payload. It is never
// answered with that one's outcome.
type DigestError struct {
	ID    ID
	Type  string // of the command that was sent
	Known string // type of the command that has the id
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("command: %q was sent under id %s, which belongs to a %q with other content; an id belongs to one command for ever", e.Type, e.ID, e.Known)
}

// DecodeError reports a command, or a result, that cannot be read as its Go type.
type DecodeError struct {
	ID   ID
	Type string
	Err  error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("command: decode %q %s: %v", e.Type, e.ID, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// ResultTypeError reports that a result was asked for as another Go type than the handler returns.
type ResultTypeError struct {
	Type         string
	Wanted, Have reflect.Type
}

func (e *ResultTypeError) Error() string {
	return fmt.Sprintf("command: the handler of %q returns %v, not %v; ask for that, or for struct{} if the result does not matter", e.Type, e.Have, e.Wanted)
}

// FailedError reports a command that was given up or is expired, or that has no outcome.
type FailedError struct {
	ID     ID
	Type   string
	Status Status
	Reason string
}

func (e *FailedError) Error() string {
	switch e.Status {
	case Unknown:
		return fmt.Sprintf("command: %s is unknown here", e.ID)
	case Queued:
		return fmt.Sprintf("command: %q %s is not handled yet", e.Type, e.ID)
	default:
		return fmt.Sprintf("command: %q %s %s: %s; send it anew under another id if it is still wanted", e.Type, e.ID, e.Status, e.Reason)
	}
}
