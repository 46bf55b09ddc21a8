package process_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/eventlog"
)

// Mail.
type (
	mailSent struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
	sendMail struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
)

// storyBus is the application's commands, on the logs as one worker sees them.
type storyBus struct {
	buses map[string]*command.Bus
	next  func(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error)
	fail  func(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error)
}

func newStoryBus(s *story, log func(module string) eventlog.Log) *storyBus {
	b := &storyBus{buses: map[string]*command.Bus{}}
	handlers := map[string][]command.Handler{
		"stock": {
			command.Handle("reserve", func(_ context.Context, w *aggregate.Work, c reserveStock) (struct{}, error) {
				if err := s.handling("reserve", w, "stock/"+c.ID, stockChanged{c.ID, "reserved"}); err != nil {
					return struct{}{}, err
				}
				if c.Qty > 10 {
					return struct{}{}, command.Reject("too-many", "at most 10")
				}
				return struct{}{}, nil
			}),
			command.Handle("release", func(_ context.Context, w *aggregate.Work, c releaseStock) (struct{}, error) {
				return struct{}{}, s.handling("release", w, "stock/"+c.ID, stockChanged{c.ID, "released"})
			}),
		},
		"sales": {command.Handle("confirm", func(_ context.Context, w *aggregate.Work, c confirmSale) (struct{}, error) {
			return struct{}{}, s.handling("confirm", w, "order/"+c.ID, saleConfirmed(c))
		})},
		"travel": {
			command.Handle("book", func(_ context.Context, w *aggregate.Work, c bookPart) (struct{}, error) {
				return struct{}{}, s.handling("book", w, "travel/"+c.ID, partChanged{c.ID, c.What + " booked"}, c.What)
			}),
			command.Handle("unbook", func(_ context.Context, w *aggregate.Work, c unbookPart) (struct{}, error) {
				return struct{}{}, s.handling("unbook", w, "travel/"+c.ID, partChanged{c.ID, c.What + " unbooked"}, c.What)
			}),
		},
		"mail": {command.Handle("send-mail", func(_ context.Context, w *aggregate.Work, c sendMail) (struct{}, error) {
			return struct{}{}, s.handling("send-mail", w, "mail/"+c.ID, mailSent(c))
		})},
	}
	if s.renamed {
		handlers["stock"][0] = command.Handle("set-aside", func(_ context.Context, w *aggregate.Work, c setAside) (struct{}, error) {
			return struct{}{}, s.handling("set-aside", w, "stock/"+c.ID, stockChanged{c.ID, "reserved"})
		}, command.Formerly("reserve"))
	}
	for module, hs := range handlers {
		b.buses[module] = must(command.NewBus(command.Config{Module: &aggregate.Module{Name: module, Log: log(module), Types: s.types[module]}, Handlers: hs}))
	}
	return b
}

func (b *storyBus) find(goType reflect.Type) (module, name string, err error) {
	for _, m := range slices.Sorted(func(yield func(string) bool) {
		for m := range b.buses {
			if !yield(m) {
				return
			}
		}
	}) {
		if name, ok := b.buses[m].Handles(goType); ok {
			return m, name, nil
		}
	}
	return "", "", fmt.Errorf("nobody handles %v", goType)
}

// FormerNames implements process.FormerNames.
func (b *storyBus) FormerNames(t reflect.Type) []string {
	for _, bus := range b.buses {
		if _, ok := bus.Handles(t); ok {
			return bus.FormerNames(t)
		}
	}
	return nil
}

// Resolve implements process.Commands.
func (b *storyBus) Resolve(_ string, t reflect.Type) (string, string, error) { return b.find(t) }

// Encode implements process.Commands.
func (b *storyBus) Encode(_ string, cmd any) (string, string, []byte, error) {
	module, _, err := b.find(reflect.TypeOf(cmd))
	if err != nil {
		return "", "", nil, err
	}
	e, err := b.buses[module].Encode(cmd)
	return module, e.Type, e.Data, err
}

// Dispatch implements process.Commands.
func (b *storyBus) Dispatch(ctx context.Context, module string, c command.Envelope, first bool) (command.Outcome, error) {
	return b.next(ctx, module, c, func() (command.Outcome, error) {
		return b.buses[module].Dispatch(ctx, c, command.Hint{First: first})
	})
}

// Fail implements process.Commands.
func (b *storyBus) Fail(ctx context.Context, module string, c command.Envelope, reason string) (command.Outcome, error) {
	return b.fail(ctx, module, c, func() (command.Outcome, error) { return b.buses[module].Fail(ctx, c, reason) })
}
