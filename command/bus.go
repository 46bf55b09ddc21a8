package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// DefaultParallel is how many submitted commands are handled at a time.
const DefaultParallel = 8

// Config describes a bus.
type Config struct {
	Module   *aggregate.Module // whose commands these are: its log holds the receipts; required
	Handlers []Handler

	// Parallel is how many submitted commands Run handles at a time; 0 for DefaultParallel, 1 for one after the other.
	Parallel int
	// Attempts is how often Run tries a submitted command whose handler fails, before its outcome is failed; 0 for as
	// often as it takes.
	Attempts int
}

// Bus hands commands to a module's handlers. It is safe for concurrent use.
type Bus struct {
	module   *aggregate.Module
	byName   map[string]*Handler
	byGo     map[reflect.Type]*Handler
	parallel int
	attempts int
	logger   *slog.Logger

	mu            sync.Mutex
	lastSubmitted time.Time
}

// NewBus returns a bus. Every mistake is reported, joined: those of Module.Check, and *HandlerError for a name or a Go
// type that is malformed or handled twice.
func NewBus(c Config) (*Bus, error) {
	if c.Module == nil {
		return nil, errors.New("command: a bus needs a module")
	}
	b := &Bus{
		module: c.Module, parallel: c.Parallel, attempts: c.Attempts, logger: c.Module.Logger,
		byName: make(map[string]*Handler, len(c.Handlers)), byGo: make(map[reflect.Type]*Handler, len(c.Handlers)),
	}
	errs := []error{c.Module.Check()}
	if b.parallel == 0 {
		b.parallel = DefaultParallel
	}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	if c.Parallel < 0 || c.Attempts < 0 {
		errs = append(errs, fmt.Errorf("command: module %q: %d submitted commands at a time, %d attempts; neither can be negative", c.Module.Name, c.Parallel, c.Attempts))
	}
	for i := range c.Handlers {
		errs = append(errs, b.add(&c.Handlers[i])...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bus) add(h *Handler) (errs []error) {
	wrong := func(name, format string, args ...any) {
		errs = append(errs, &HandlerError{Module: b.module.Name, Name: name, Reason: fmt.Sprintf(format, args...)})
	}
	if !h.function {
		wrong(h.name, "has no function; make it with command.Handle or command.Act")
	}
	if h.goType == nil {
		return errs
	}
	if k := h.goType.Kind(); k == reflect.Interface || k == reflect.Pointer {
		wrong(h.name, "handles %v; let it handle a value type, not a pointer or an interface", h.goType)
	}
	for _, name := range append([]string{h.name}, h.former...) {
		if err := event.CheckTypeName(name); err != nil {
			wrong(name, "has a name that cannot be: %v", err)
			continue
		}
		if other, taken := b.byName[name]; taken {
			wrong(name, "is there twice: for %v and for %v", other.goType, h.goType)
			continue
		}
		b.byName[name] = h
	}
	if other, taken := b.byGo[h.goType]; taken {
		wrong(h.name, "handles %v, which %q handles already", h.goType, other.name)
		return errs
	}
	b.byGo[h.goType] = h
	return errs
}

// Module returns the module whose commands the bus handles.
func (b *Bus) Module() *aggregate.Module { return b.module }

// Handles returns the name under which the bus handles commands of a Go type, if it does.
func (b *Bus) Handles(goType reflect.Type) (name string, ok bool) {
	if h, ok := b.byGo[goType]; ok {
		return h.name, true
	}
	return "", false
}

// FormerNames returns the names that the commands of a Go type had before.
func (b *Bus) FormerNames(goType reflect.Type) []string {
	if h, ok := b.byGo[goType]; ok {
		return slices.Clone(h.former)
	}
	return nil
}

// HandlesName tells whether the bus handles commands of that name.
func (b *Bus) HandlesName(name string) bool { _, ok := b.byName[name]; return ok }

// Handler returns the handler of commands of that name, or that had it formerly.
func (b *Bus) Handler(name string) (Handler, bool) {
	if h, ok := b.byName[name]; ok {
		return *h, true
	}
	return Handler{}, false
}

// Encode returns the envelope of a command, without an id. A Go type that nobody handles is an *UnhandledError.
func (b *Bus) Encode(cmd any) (Envelope, error) {
	h, ok := b.byGo[reflect.TypeOf(cmd)]
	if !ok {
		return Envelope{}, &UnhandledError{Module: b.module.Name, GoType: reflect.TypeOf(cmd)}
	}
	data, err := h.codec.Encode(cmd)
	if err != nil {
		return Envelope{}, fmt.Errorf("command: encode %q: %w", h.name, err)
	}
	return Envelope{Type: h.name, Data: data}, nil
}

// Decode returns the command in an envelope as its Go value: an *UnhandledError or a *DecodeError where it cannot.
func (b *Bus) Decode(e Envelope) (any, error) {
	h, ok := b.byName[e.Type]
	if !ok {
		return nil, &UnhandledError{Module: b.module.Name, Name: e.Type}
	}
	v, err := h.decode(h.codec, e.Data)
	if err != nil {
		return nil, &DecodeError{ID: e.ID, Type: e.Type, Err: err}
	}
	return v, nil
}

// Hint is what the sender of a command knows about it. The zero Hint claims nothing.
type Hint struct {
	// First says that the command was never sent before, which saves a look for its receipt. If it was, it is still
	// handled once: two receipts cannot be written.
	First bool
}

// Dispatch handles a command, or returns the outcome that it had when it was handled before, with Repeat set. The
// outcome may be accepted, rejected, failed or expired; an error means that there is none (yet): dispatch the command
// again, under the same id. A command that is dispatched several times at once takes effect once, and all are given its
// one outcome; only an action (Act) may run more than once.
//
// Past its deadline (Envelope.Before, by the module's clock) a command that has no outcome gets the outcome expired, and
// its handler is not run. From then on an attempt that is still under way comes to nothing; what an action has done
// outside stays done. If that attempt commits first, its outcome stands.
//
// Errors: *DigestError, *UnhandledError, *DecodeError, *PanicError, *aggregate.ContendedError, those of the log, and
// whatever else the handler returned.
func (b *Bus) Dispatch(ctx context.Context, e Envelope, hint Hint) (Outcome, error) {
	return b.dispatch(ctx, &e, hint)
}

// dispatch is Dispatch; the entries in beside are written in the append that writes the receipt.
func (b *Bus) dispatch(ctx context.Context, e *Envelope, hint Hint, beside ...eventlog.Write) (Outcome, error) {
	if e.ID.IsZero() {
		return Outcome{}, fmt.Errorf("command: %q has no id; give it one that it keeps when it is sent again", e.Type)
	}
	a := attempt{bus: b, command: e, digest: e.Digest(), beside: beside}
	if !hint.First {
		if out, found, err := a.answered(ctx); err != nil || found {
			return out, err
		}
	}
	if now := b.now(); !e.Before.IsZero() && !now.Before(e.Before) {
		return a.settle(ctx, a.outcome(Outcome{Status: Expired, Reason: expiry(e.Before, now)}))
	}
	h, ok := b.byName[e.Type]
	if !ok {
		return Outcome{}, &UnhandledError{Module: b.module.Name, Name: e.Type}
	}
	if h.outside {
		return a.act(ctx, h)
	}
	return a.handle(ctx, h)
}

// Fail gives a command up: from now on its outcome is failed, for the given reason, and an attempt that is still under
// way comes to nothing (what an action has done outside stays done). If it has an outcome already, that stays and is
// returned, with Repeat set.
func (b *Bus) Fail(ctx context.Context, e Envelope, reason string) (Outcome, error) {
	if e.ID.IsZero() {
		return Outcome{}, fmt.Errorf("command: %q has no id and can't be given up", e.Type)
	}
	a := attempt{bus: b, command: &e, digest: e.Digest()}
	return a.settle(ctx, a.outcome(Outcome{Status: Failed, Reason: reason}))
}
