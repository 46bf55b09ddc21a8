package processtest

import (
	"errors"
	"time"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// Item is something that happens, other than an event as it is.
type Item struct {
	what   any // the event, for messages the command
	act    func(*process.Machine) ([]process.Decision, error)
	name   string
	at     time.Time
	module string
	group  []Item // of InOrder
}

func itemOf(v any) Item {
	if it, ok := v.(Item); ok {
		return it
	}
	return Item{what: v}
}

// give gives the item to a machine.
func (it Item) give(m *process.Machine) ([]process.Decision, error) {
	switch {
	case it.group != nil:
		return nil, errors.New("InOrder is for Permutations; here everything happens in order")
	case it.act == nil:
		return m.Give(process.Fact{Event: it.what, Module: it.module, At: it.at})
	case it.at.IsZero():
		return it.act(m)
	}
	before, err := m.Advance(it.at)
	if err != nil {
		return before, err
	}
	decisions, err := it.act(m)
	return append(before, decisions...), err
}

func (it Item) String() string {
	text := it.name
	if it.act == nil {
		text = show(factOf(it.what))
	}
	if !it.at.IsZero() {
		text += " at " + it.at.Format(time.RFC3339Nano)
	}
	return text
}

// factOf returns what happened, of an event or a draft of it.
func factOf(v any) any {
	if d, ok := v.(event.Draft); ok {
		return d.Fact
	}
	return v
}

// At lets an item happen at an instant; timeouts due up to then fire before it.
func At(at time.Time, item any) Item {
	it := itemOf(item)
	it.at = at
	return it
}

// From says which module an event comes from, where the definition handles its type from several.
func From(module string, item any) Item {
	it := itemOf(item)
	it.module = module
	return it
}

// WithHeader sets a header: of an event that happens, or of a command that is wanted. For several, and for an id, see
// event.New.
func WithHeader(name, value string, fact any) event.Draft {
	draft, ok := fact.(event.Draft)
	if !ok {
		draft = event.New(fact)
	}
	return draft.WithHeader(name, value)
}

// Advance lets time pass, and the timeouts fire that are due meanwhile.
func Advance(d time.Duration) Item {
	return Item{name: "advance " + d.String(), act: func(m *process.Machine) ([]process.Decision, error) { return m.Advance(m.Now().Add(d)) }}
}

// AdvanceTo lets time pass up to an instant.
func AdvanceTo(at time.Time) Item {
	return Item{name: "advance to " + at.Format(time.RFC3339Nano), act: func(m *process.Machine) ([]process.Decision, error) { return m.Advance(at) }}
}

// Reject rejects a command that the process sent; the definition must handle that by OnRejected.
func Reject(cmd any, code string) Item { return RejectWith(cmd, command.Rejection{Code: code}) }

// RejectWith is Reject with a reason and details.
func RejectWith(cmd any, r command.Rejection) Item {
	return Item{name: "rejected " + show(cmd) + ": " + r.Code, what: cmd, act: func(m *process.Machine) ([]process.Decision, error) { return m.Reject(cmd, &r) }}
}

// Accept accepts a command that the process sent, with its result (nil where it doesn't matter); the definition must
// handle that by OnAccepted.
func Accept(cmd, result any) Item {
	return Item{name: "accepted " + show(cmd), what: cmd, act: func(m *process.Machine) ([]process.Decision, error) { return m.Accept(cmd, result) }}
}

// Fail fails a command that the process sent, as when it was given up after its attempts; the definition must handle that
// by OnFailed.
func Fail(cmd any, reason string) Item {
	return Item{name: "failed " + show(cmd) + ": " + reason, what: cmd, act: func(m *process.Machine) ([]process.Decision, error) { return m.Fail(cmd, reason) }}
}

// Expire is Fail of a command that came past its deadline.
func Expire(cmd any) Item {
	return Item{name: "expired " + show(cmd), what: cmd, act: func(m *process.Machine) ([]process.Decision, error) { return m.Expire(cmd) }}
}

// InOrder says that items keep their order among themselves, as events of one module do, where Permutations changes it.
func InOrder(items ...any) Item {
	it := Item{name: "in order", group: []Item{}}
	for _, v := range items {
		it.group = append(it.group, itemOf(v))
	}
	return it
}
