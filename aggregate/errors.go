package aggregate

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// ErrUsed means that a work was committed already, or that something in it failed. What it held is committed or
// dropped, never both; open a new one.
var ErrUsed = errors.New("aggregate: the work was committed or has failed; open a new one")

// DefinitionError reports an aggregate that cannot be.
type DefinitionError struct {
	Category string
	Reason   string
}

func (e *DefinitionError) Error() string {
	return fmt.Sprintf("aggregate: category %q %s", e.Category, e.Reason)
}

// UnknownEventError reports an event in an aggregate's stream that the aggregate cannot be folded over. It is never
// left out: a state without it would be a wrong state.
type UnknownEventError struct {
	Stream  string
	Version eventlog.Version // 0 for an event that the work was about to append
	Type    string           // the event's type, "" for an event that the work was about to append
	ID      event.ID
	GoType  reflect.Type // what the event is in Go; event.Raw where no type of that name is registered
	Wanted  reflect.Type // the aggregate's event type
}

func (e *UnknownEventError) Error() string {
	if e.Version == 0 {
		return fmt.Sprintf("aggregate: %v can't be appended to stream %q, whose aggregate is folded over %v", e.GoType, e.Stream, e.Wanted)
	}
	if e.GoType == reflect.TypeFor[event.Raw]() {
		return fmt.Sprintf("aggregate: stream %q version %d: event type %q is not registered; add it to the module's Events", e.Stream, e.Version, e.Type)
	}
	return fmt.Sprintf("aggregate: stream %q version %d: event type %q is %v, which is no %v; let it be one, or append it to another stream", e.Stream, e.Version, e.Type, e.GoType, e.Wanted)
}

// TruncatedError reports an aggregate whose first events were truncated and that has no snapshot instead of them.
type TruncatedError struct {
	Stream string
	First  eventlog.Version // the first version that is still in the stream, 0 for none
	Needed eventlog.Version // the version at which folding has to begin
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("aggregate: stream %q begins at version %d, and no snapshot covers the versions from %d on; truncate no further than the last snapshot", e.Stream, e.First, e.Needed)
}

// ContendedError reports a work that was tried several times, and each time others had changed what it loaded.
type ContendedError struct {
	Tries int
	Err   error // the last conflict
}

func (e *ContendedError) Error() string {
	return fmt.Sprintf("aggregate: given up after %d tries: %v", e.Tries, e.Err)
}

func (e *ContendedError) Unwrap() error { return e.Err }

// HandlerError reports that a handler of domain events returned an error.
type HandlerError struct {
	Handler string
	Event   reflect.Type
	Err     error
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("aggregate: handler %q of %v: %v", e.Handler, e.Event, e.Err)
}

func (e *HandlerError) Unwrap() error { return e.Err }

// DepthError reports handlers whose events lead to events without end.
type DepthError struct {
	Handler string
	Event   reflect.Type
	Depth   int
}

func (e *DepthError) Error() string {
	return fmt.Sprintf("aggregate: handler %q of %v: events led to events %d times in one work; do two handlers answer each other?", e.Handler, e.Event, e.Depth)
}

// PanicError reports a handler that panicked. It is a fault and never a decision, whatever the value, which is why it
// wraps none: nothing of the work was written.
type PanicError struct {
	What  string // which handler
	Value any    // what it panicked with
	Stack []byte // as by debug.Stack
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("%s panicked: %v\n%s", e.What, e.Value, e.Stack)
}
