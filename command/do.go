package command

import (
	"context"
	"reflect"
	"time"

	"github.com/ensue-io/ensue/event"
)

// Setting is what Do and Submit are told about a command beside the command itself.
type Setting func(*Envelope)

// WithID gives the command its id. Asking again under the same id, after an error or a crash, is safe. An idempotency
// key that came from elsewhere becomes an id by event.DeriveID.
func WithID(id ID) Setting { return func(e *Envelope) { e.ID = id } }

// WithMetadata gives the command its metadata: the correlation of the conversation that it belongs to, what caused it,
// headers.
func WithMetadata(m event.Metadata) Setting { return func(e *Envelope) { e.Metadata = m } }

// WithTime gives the command the instant at which it was decided, which its handler finds in Work.Now.
func WithTime(at time.Time) Setting { return func(e *Envelope) { e.At = at } }

// Before gives the command a deadline: see Envelope.Before. From then on its outcome, unless it has one, is expired.
func Before(deadline time.Time) Setting { return func(e *Envelope) { e.Before = deadline } }

// To says to what the command is addressed.
func To(target string) Setting { return func(e *Envelope) { e.Target = target } }

// envelope returns the envelope of a direct command, and whether it was given an id just now.
func (b *Bus) envelope(cmd any, settings []Setting) (e Envelope, first bool, err error) {
	e, err = b.Encode(cmd)
	if err != nil {
		return Envelope{}, false, err
	}
	for _, set := range settings {
		set(&e)
	}
	if e.ID.IsZero() {
		e.ID, first = event.NewID(), true
	}
	return e, first, nil
}

// Do has a command handled and returns the handler's result. A rejection is returned as the error, a *Rejection; a
// command that was given up, or came past its deadline, as a *FailedError. Without WithID each call is a command of its own. R is the handler's
// result type, or struct{} where the result does not matter; anything else is a *ResultTypeError. Other errors are
// those of Dispatch.
func Do[R any](ctx context.Context, b *Bus, cmd any, settings ...Setting) (R, error) {
	var none R
	e, first, err := b.envelope(cmd, settings)
	if err != nil {
		return none, err
	}
	if err := b.returns(e.Type, reflect.TypeFor[R]()); err != nil {
		return none, err
	}
	out, err := b.dispatch(ctx, &e, Hint{First: first})
	if err != nil {
		return none, err
	}
	return Result[R](b, out)
}

// Result returns the result of a command that was accepted, and Outcome.Err of any other.
func Result[R any](b *Bus, o Outcome) (R, error) {
	var r R
	if err := o.Err(); err != nil {
		return r, err
	}
	if err := b.returns(o.Type, reflect.TypeFor[R]()); err != nil {
		return r, err
	}
	if reflect.TypeFor[R]() == reflect.TypeFor[struct{}]() {
		return r, nil
	}
	if err := b.byName[o.Type].codec.Decode(o.Result, &r); err != nil {
		return r, &DecodeError{ID: o.ID, Type: o.Type, Err: err}
	}
	return r, nil
}

// returns tells whether a command's result can be had as that Go type.
func (b *Bus) returns(name string, wanted reflect.Type) error {
	h, ok := b.byName[name]
	if !ok {
		return &UnhandledError{Module: b.module.Name, Name: name}
	}
	if wanted != h.result && wanted != reflect.TypeFor[struct{}]() {
		return &ResultTypeError{Type: name, Wanted: wanted, Have: h.result}
	}
	return nil
}
