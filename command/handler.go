package command

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
)

// Handler ties a command's Go type to a stable name and to the function that handles it. Make one with Handle or Act
// and give it to a bus.
type Handler struct {
	name     string
	former   []string
	goType   reflect.Type
	result   reflect.Type
	codec    event.Codec
	outside  bool
	function bool // there is one
	decode   func(c event.Codec, data []byte) (any, error)
	handle   func(ctx context.Context, w *aggregate.Work, h *Handler, e *Envelope) (result []byte, err error)
}

// Option changes what Handle and Act make.
type Option func(*Handler)

// With sets the codec of the command and its result; the default is event.JSON.
func With(c event.Codec) Option { return func(h *Handler) { h.codec = c } }

// Formerly declares a name that the command had before: what was sent under it is handled still.
func Formerly(name string) Option { return func(h *Handler) { h.former = append(h.former, name) } }

// Handle declares the handler of a command C, whose result is R (struct{} for none). It loads and changes aggregates in
// the work, which the bus commits together with the command's receipt; the work knows the command's id, metadata and
// time. An error that is a *Rejection (as by errors.As) is the command's outcome, and nothing that the work holds is
// written: the receipt stands alone, and says what was right when the aggregates were loaded. After any other error, or
// a panic, nothing at all is written and whoever sent the command sends it again. The handler is run again, with a new
// work, when others changed what it loaded: it must do nothing but what the work does.
func Handle[C, R any](name string, handle func(ctx context.Context, w *aggregate.Work, c C) (R, error), options ...Option) Handler {
	return newHandler(name, false, handle != nil, func(ctx context.Context, w *aggregate.Work, _ *Envelope, c C) (R, error) {
		return handle(ctx, w, c)
	}, options)
}

// Act declares the handler of a command that acts outside the module's log: sends a mail, calls a service. It is run
// outside of any transaction and its receipt is written after it, so it may be run again: at least once, always under
// the same id, which is to be handed on as the idempotency key. FromContext returns the rest of the envelope. Errors
// are those of Handle.
func Act[C, R any](name string, act func(ctx context.Context, id ID, c C) (R, error), options ...Option) Handler {
	return newHandler(name, true, act != nil, func(ctx context.Context, _ *aggregate.Work, e *Envelope, c C) (R, error) {
		return act(context.WithValue(ctx, envelopeKey{}, *e), e.ID, c)
	}, options)
}

type envelopeKey struct{}

// FromContext returns the envelope of the command that an action is run for.
func FromContext(ctx context.Context) (Envelope, bool) {
	e, ok := ctx.Value(envelopeKey{}).(Envelope)
	return e, ok
}

func newHandler[C, R any](name string, outside, function bool, do func(context.Context, *aggregate.Work, *Envelope, C) (R, error), options []Option) Handler {
	h := Handler{name: name, goType: reflect.TypeFor[C](), result: reflect.TypeFor[R](), codec: event.JSON{}, outside: outside, function: function}
	h.decode = func(c event.Codec, data []byte) (any, error) {
		var v C
		err := c.Decode(data, &v)
		return v, err
	}
	h.handle = func(ctx context.Context, w *aggregate.Work, h *Handler, e *Envelope) ([]byte, error) {
		var c C
		if err := h.codec.Decode(e.Data, &c); err != nil {
			return nil, &DecodeError{ID: e.ID, Type: e.Type, Err: err}
		}
		r, err := do(ctx, w, e, c)
		if err != nil {
			return nil, err
		}
		result, err := h.codec.Encode(r)
		if err != nil {
			return nil, fmt.Errorf("command: encode the result of %q %s: %w", e.Type, e.ID, err)
		}
		return result, nil
	}
	for _, o := range options {
		o(&h)
	}
	return h
}

// Name returns the stable name of the command's type.
func (h Handler) Name() string { return h.name }

// GoType returns the command's Go type.
func (h Handler) GoType() reflect.Type { return h.goType }

// ResultType returns the Go type of the command's result.
func (h Handler) ResultType() reflect.Type { return h.result }

// IsAction tells whether the handler acts outside of the log: made by Act.
func (h Handler) IsAction() bool { return h.outside }

// run runs the handler; a panic becomes an error.
func (h *Handler) run(ctx context.Context, w *aggregate.Work, e *Envelope) (result []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{What: "command: handler of " + h.name, Value: v, Stack: debug.Stack()}
		}
	}()
	return h.handle(ctx, w, h, e)
}
