package aggregate

import (
	"context"
	"reflect"
	"runtime/debug"
)

// maxDepth bounds how many events may lead to events in one work.
const maxDepth = 100

// Handler is what a module does when one of its events happened: inside the work that appends it, or afterwards. It is
// declared with the module and never called from the domain.
type Handler struct {
	name       string
	afterwards bool
	fact       reflect.Type
	matches    func(fact any) bool
	handle     func(ctx context.Context, w *Work, fact any) error
}

// Inside declares a handler that runs in the work that appends an event E, when that is committed: what it changes is
// committed with the event, and an error rolls everything back. It is run for every new event of type E (of any type
// that is an E, where E is an interface), also for those that handlers append, to a depth of 100.
func Inside[E any](name string, handle func(ctx context.Context, w *Work, e E) error) Handler {
	return newHandler(name, false, handle)
}

// Afterwards declares a handler that is run after an event E was committed, in a work of its own, which Module.Run
// commits together with the handler's place in the log. So what it changes in the module happens once, and what it does
// elsewhere at least once. It is retried until it succeeds, and meets the events in the order of the log; nothing is
// skipped. The name is that of its place: it must stay the same.
//
// A handler that is new begins with the events that are committed after Module.Begin.
func Afterwards[E any](name string, handle func(ctx context.Context, w *Work, e E) error) Handler {
	return newHandler(name, true, handle)
}

func newHandler[E any](name string, afterwards bool, handle func(context.Context, *Work, E) error) Handler {
	h := Handler{name: name, afterwards: afterwards, fact: reflect.TypeFor[E]()}
	h.matches = func(fact any) bool { _, ok := fact.(E); return ok }
	if handle != nil {
		h.handle = func(ctx context.Context, w *Work, fact any) error { return handle(ctx, w, fact.(E)) }
	}
	return h
}

// Name returns the handler's name.
func (h Handler) Name() string { return h.name }

// IsAfterwards tells whether the handler is run after the commit.
func (h Handler) IsAfterwards() bool { return h.afterwards }

// run runs the handler; a panic becomes an error.
func (h *Handler) run(ctx context.Context, w *Work, fact any) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{What: "aggregate: handler " + h.name, Value: v, Stack: debug.Stack()}
		}
	}()
	if err := h.handle(ctx, w, fact); err != nil {
		return &HandlerError{Handler: h.name, Event: h.fact, Err: err}
	}
	return nil
}
