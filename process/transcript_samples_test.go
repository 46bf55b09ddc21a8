package process_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// The application of the transcripts: sales, payments, stock, catering and mail, each with its events and commands. All
// payloads are JSON with an id.
type (
	saleOrdered struct { // sales
		ID  string `json:"id"`
		Qty int    `json:"qty,omitempty"`
	}
	saleNoted struct {
		ID   string `json:"id"`
		Size int    `json:"size,omitempty"` // of what the process says about it, in bytes
	}
	saleCancelled struct {
		ID string `json:"id"`
	}
	saleConfirmed struct {
		ID string `json:"id"`
	}
	saleClosed struct {
		ID  string `json:"id"`
		How string `json:"how"`
	}
	saleRemark struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
	pointsEarned struct {
		ID     string `json:"id"`
		Points int    `json:"points"`
	}
	moneyPaid struct { // payments
		ID     string `json:"id"`
		Amount int    `json:"amount,omitempty"`
	}
	stockChanged struct { // stock
		ID   string `json:"id"`
		What string `json:"what"`
	}
	customerAgreed struct { // catering
		ID string `json:"id"`
	}
	catererAgreed struct {
		ID string `json:"id"`
	}
	guestInvited struct {
		ID string `json:"id"`
	}
	guestLeft struct {
		ID string `json:"id"`
	}
	menuChanged struct {
		ID     string   `json:"id"` // of the menu
		Guests []string `json:"guests"`
		Size   int      `json:"size,omitempty"` // of what the process says about it to the guest named big, in bytes
	}
	meetingSet struct {
		ID  string `json:"id"`
		Who string `json:"who"`
		In  string `json:"in"` // a duration
	}
	meetingOff struct {
		ID  string `json:"id"`
		Who string `json:"who"`
	}
	mailSent struct { // mail
		ID   string `json:"id"`
		Text string `json:"text"`
	}

	reserveStock struct {
		ID  string `json:"id"`
		Qty int    `json:"qty,omitempty"`
	}
	releaseStock struct {
		ID string `json:"id"`
	}
	confirmSale struct {
		ID string `json:"id"`
	}
	sendMail struct {
		ID   string `json:"id"`
		Text string `json:"text"`
	}
)

// samples are the processes of the transcripts, by name, each made for the story that it is part of.
var samples = map[string]struct {
	home   string
	define func(s *story) process.Definition
}{
	"order-saga":     {"sales", orderSaga},
	"catering-match": {"catering", cateringMatch},
	"menu-watch":     {"catering", menuWatch},
	"loyalty":        {"sales", loyalty},
	"reminders":      {"catering", reminders},
}

type sagaState struct {
	Phase string `json:"phase"`
	Paid  int    `json:"paid,omitempty"`
	Notes int    `json:"notes,omitempty"`
}

type payDue struct{}

// orderSaga leads an order from its reservation over its payment to its confirmation, and gives the stock back when an
// hour passes without payment.
func orderSaga(s *story) process.Definition {
	return process.Define("order-saga",
		process.On[sagaState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[saleOrdered]) sagaState {
				s.trouble(in.Event.ID, "order-placed")
				st.Phase = "reserving"
				return st
			},
			React: func(_ sagaState, in process.Input[saleOrdered], do *process.Step) {
				do.Send(reserveStock(in.Event))
				do.After(time.Hour, payDue{})
			},
		},
		process.OnAccepted[sagaState, reserveStock, struct{}]{
			Evolve: func(st sagaState, in process.Input[process.Accepted[reserveStock, struct{}]]) sagaState {
				s.trouble(in.Event.Command.ID, "accepted")
				st.Phase = "reserved"
				return st
			},
		},
		process.OnRejected[sagaState, reserveStock]{
			React: func(_ sagaState, in process.Input[process.Rejected[reserveStock]], do *process.Step) {
				do.Emit(saleClosed{do.Instance(), in.Event.Rejection.Code})
				do.Complete()
			},
		},
		process.On[sagaState, moneyPaid]{
			NoInstance: process.Defer,
			Locate:     process.Key(func(e moneyPaid) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[moneyPaid]) sagaState {
				s.trouble(in.Event.ID, "paid")
				st.Paid += in.Event.Amount
				return st
			},
			React: func(_ sagaState, _ process.Input[moneyPaid], do *process.Step) { do.Cancel(payDue{}) },
		},
		process.On[sagaState, saleNoted]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleNoted) string { return e.ID }),
			Evolve: func(st sagaState, in process.Input[saleNoted]) sagaState {
				s.trouble(in.Event.ID, "noted")
				st.Notes++
				return st
			},
			React: func(_ sagaState, in process.Input[saleNoted], do *process.Step) {
				if in.Event.Size > 0 {
					do.Emit(saleRemark{in.Event.ID, strings.Repeat("x", in.Event.Size)})
				}
			},
		},
		process.On[sagaState, saleCancelled]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleCancelled) string { return e.ID }),
			React: func(_ sagaState, _ process.Input[saleCancelled], do *process.Step) {
				do.Send(releaseStock{do.Instance()})
				do.Emit(saleClosed{do.Instance(), "cancelled"})
				do.Complete()
			},
		},
		process.On[sagaState, saleConfirmed]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e saleConfirmed) string { return e.ID }),
			Evolve: func(st sagaState, _ process.Input[saleConfirmed]) sagaState {
				st.Phase = "confirmed"
				return st
			},
			React: func(_ sagaState, _ process.Input[saleConfirmed], do *process.Step) { do.Complete() },
		},
		process.OnTimeout[sagaState, payDue]{
			Name: "pay-due",
			Evolve: func(st sagaState, in process.Input[payDue]) sagaState {
				st.Phase = "expired"
				return st
			},
			React: func(_ sagaState, _ process.Input[payDue], do *process.Step) {
				s.trouble(do.Instance(), "pay-due")
				do.Send(releaseStock{do.Instance()})
				do.Emit(saleClosed{do.Instance(), "expired"})
				do.Complete()
			},
		},
		process.React(func(st sagaState, do *process.Step) {
			if st.Phase == "reserved" && st.Paid > 0 && do.Once("confirm") {
				do.Send(confirmSale{do.Instance()})
			}
		}),
	).Otherwise(process.Ignore)
}

type matchState struct {
	Customer bool `json:"customer"`
	Caterer  bool `json:"caterer"`
}

// cateringMatch confirms an order once customer and caterer both agreed to its menu, in either order.
func cateringMatch(*story) process.Definition {
	return process.Define("catering-match",
		process.On[matchState, customerAgreed]{
			Starts: true,
			Locate: process.Key(func(e customerAgreed) string { return e.ID }),
			Evolve: func(m matchState, _ process.Input[customerAgreed]) matchState { m.Customer = true; return m },
		},
		process.On[matchState, catererAgreed]{
			Starts: true,
			Locate: process.Key(func(e catererAgreed) string { return e.ID }),
			Evolve: func(m matchState, _ process.Input[catererAgreed]) matchState { m.Caterer = true; return m },
		},
		process.React(func(m matchState, do *process.Step) {
			if m.Customer && m.Caterer {
				do.Send(confirmSale{do.Instance()})
				do.Complete()
			}
		}),
	).Otherwise(process.Ignore)
}

type guestState struct {
	Menus []string `json:"menus"`
}

// menuWatch tells each guest of each change of a menu that concerns several of them.
func menuWatch(s *story) process.Definition {
	return process.Define("menu-watch",
		process.On[guestState, guestInvited]{
			Starts: true,
			Locate: process.Key(func(e guestInvited) string { return e.ID }),
		},
		process.On[guestState, menuChanged]{
			NoInstance: process.Ignore,
			Locate:     process.Keys(func(e menuChanged) []string { return e.Guests }),
			Evolve: func(g guestState, in process.Input[menuChanged]) guestState {
				g.Menus = append(g.Menus, in.Event.ID)
				return g
			},
			React: func(_ guestState, in process.Input[menuChanged], do *process.Step) {
				s.trouble(do.Instance(), "menu-changed")
				if do.Instance() == "big" && in.Event.Size > 0 {
					do.Emit(saleRemark{do.Instance(), strings.Repeat("x", in.Event.Size)})
				}
				do.Send(sendMail{do.Instance(), "menu " + in.Event.ID})
			},
		},
		process.On[guestState, guestLeft]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e guestLeft) string { return e.ID }),
			React:      func(_ guestState, _ process.Input[guestLeft], do *process.Step) { do.Complete() },
		},
	).Otherwise(process.Ignore)
}

type loyalState struct {
	Points int `json:"points"`
}

// loyalty emits points for each order of a customer, takes them as inputs, and sends one gift at ten.
func loyalty(*story) process.Definition {
	return process.Define("loyalty",
		process.On[loyalState, saleOrdered]{
			Starts: true,
			Locate: process.Key(func(e saleOrdered) string { return e.ID }),
			React: func(_ loyalState, in process.Input[saleOrdered], do *process.Step) {
				do.Emit(pointsEarned{in.Event.ID, in.Event.Qty})
			},
		},
		process.On[loyalState, pointsEarned]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e pointsEarned) string { return e.ID }),
			Evolve: func(l loyalState, in process.Input[pointsEarned]) loyalState {
				l.Points += in.Event.Points
				return l
			},
		},
		process.React(func(l loyalState, do *process.Step) {
			if l.Points >= 10 && do.Once("gift") {
				do.Send(sendMail{do.Instance(), "a gift for you"})
			}
		}),
	).Otherwise(process.Ignore)
}

type reminderState struct {
	Reminded []string `json:"reminded,omitempty"`
}

// remind is a timeout of which an instance may have several at once: one for each person.
type remind struct {
	Who string `json:"who"`
}

// TimeoutKey tells the timeouts of one instance apart.
func (r remind) TimeoutKey() string { return r.Who }

// reminders remind people of a meeting, each by a timeout of its own; one that is set again is replaced.
func reminders(*story) process.Definition {
	return process.Define("reminders",
		process.On[reminderState, meetingSet]{
			Starts: true,
			Locate: process.Key(func(e meetingSet) string { return e.ID }),
			React: func(_ reminderState, in process.Input[meetingSet], do *process.Step) {
				d, err := time.ParseDuration(in.Event.In)
				if err != nil {
					do.Fail(err)
					return
				}
				do.After(d, remind{in.Event.Who})
			},
		},
		process.On[reminderState, meetingOff]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e meetingOff) string { return e.ID }),
			React: func(_ reminderState, in process.Input[meetingOff], do *process.Step) {
				do.Cancel(remind{in.Event.Who})
			},
		},
		process.OnTimeout[reminderState, remind]{
			Name: "remind",
			Evolve: func(r reminderState, in process.Input[remind]) reminderState {
				r.Reminded = append(r.Reminded, in.Event.Who)
				return r
			},
			React: func(_ reminderState, in process.Input[remind], do *process.Step) {
				do.Send(sendMail{do.Instance(), "remember, " + in.Event.Who})
			},
		},
	).Otherwise(process.Ignore)
}

// modulesOfStories are the application's modules, in their order, with the events of each.
func modulesOfStories() (names []string, types map[string]*event.Registry) {
	types = map[string]*event.Registry{
		"sales": must(event.NewRegistry(event.Named[saleOrdered]("order-placed"), event.Named[saleNoted]("order-noted"), event.Named[saleCancelled]("order-cancelled"),
			event.Named[saleConfirmed]("order-confirmed"), event.Named[saleClosed]("order-closed"), event.Named[saleRemark]("order-remark"), event.Named[pointsEarned]("points-earned"))),
		"payments": must(event.NewRegistry(event.Named[moneyPaid]("paid"))),
		"stock":    must(event.NewRegistry(event.Named[stockChanged]("stock-changed"))),
		"catering": must(event.NewRegistry(event.Named[customerAgreed]("customer-agreed"), event.Named[catererAgreed]("caterer-agreed"), event.Named[guestInvited]("guest-invited"),
			event.Named[guestLeft]("guest-left"), event.Named[menuChanged]("menu-changed"), event.Named[saleRemark]("remark"), event.Named[meetingSet]("meeting-set"), event.Named[meetingOff]("meeting-off"))),
		"mail": must(event.NewRegistry(event.Named[mailSent]("mail-sent"))),
	}
	return []string{"sales", "payments", "stock", "catering", "mail"}, types
}

// storyBus is the application's commands, on the logs as one worker sees them.
type storyBus struct {
	buses map[string]*command.Bus
	next  func(ctx context.Context, module string, c command.Envelope, do func() (command.Outcome, error)) (command.Outcome, error)
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
		"mail": {command.Handle("send-mail", func(_ context.Context, w *aggregate.Work, c sendMail) (struct{}, error) {
			return struct{}{}, s.handling("send-mail", w, "mail/"+c.ID, mailSent(c))
		})},
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
	return b.buses[module].Fail(ctx, c, reason)
}

// careless are definitions with mistakes, which Check finds all at once.
var careless = map[string]process.Definition{
	"hasty": process.Define("hasty order",
		process.On[sagaState, saleOrdered]{Locate: process.Key(func(e saleOrdered) string { return e.ID })},
		process.On[sagaState, moneyPaid]{NoInstance: process.Defer, Evolve: func(st sagaState, _ process.Input[moneyPaid]) sagaState { return st }},
		process.On[sagaState, moneyPaid]{NoInstance: process.Defer, Locate: process.Key(func(e moneyPaid) string { return e.ID }),
			Evolve: func(st sagaState, _ process.Input[moneyPaid]) sagaState { return st }},
		process.OnTimeout[sagaState, payDue]{Evolve: func(st sagaState, _ process.Input[payDue]) sagaState { return st }},
	),
}
