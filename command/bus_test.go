package command_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

func TestDoReturnsTheHandlersResult(t *testing.T) {
	h := newHouse(t)
	r, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"a", 60})
	if err != nil || r != (Reservation{First: 1, Left: 40}) {
		t.Errorf("%+v, %v", r, err)
	}
	var rejection *command.Rejection
	if _, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"a", 60}); !errors.As(err, &rejection) || rejection.Code != "sold-out" || rejection.Error() != "rejected: sold-out: 40 seats are left" {
		t.Errorf("%v", err)
	}
	if _, err := command.Do[struct{}](t.Context(), h.bus, ReserveSeats{"a", 1}); err != nil {
		t.Errorf("without the result: %v", err)
	}
	var wrong *command.ResultTypeError
	if _, err := command.Do[int](t.Context(), h.bus, ReserveSeats{"a", 1}); !errors.As(err, &wrong) || h.hall(t, "a").Taken != 61 {
		t.Errorf("of another type: %v", err)
	}
	var unhandled *command.UnhandledError
	if _, err := command.Do[int](t.Context(), h.bus, 42); !errors.As(err, &unhandled) || unhandled.GoType != reflect.TypeFor[int]() {
		t.Errorf("%v", err)
	}
	id := event.NewID()
	for range 3 {
		r, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"b", 1}, command.WithID(id))
		if err != nil || r.First != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	given := h.envelope(t, ReserveSeats{"b", 1})
	_, err = h.bus.Fail(t.Context(), given, "enough")
	must(t, err)
	var failed *command.FailedError
	if _, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"b", 1}, command.WithID(given.ID)); !errors.As(err, &failed) || failed.Reason != "enough" {
		t.Errorf("%v", err)
	}
}

func TestWhatMustNotBeDispatched(t *testing.T) {
	h := newHouse(t)
	var unhandled *command.UnhandledError
	if _, err := h.bus.Dispatch(t.Context(), command.Envelope{ID: event.NewID(), Type: "fly"}, command.Hint{}); !errors.As(err, &unhandled) || unhandled.Name != "fly" {
		t.Errorf("%v", err)
	}
	var decode *command.DecodeError
	e := command.Envelope{ID: event.NewID(), Type: "reserve-seats", Data: []byte(`{"Seats":"many"}`)}
	if _, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); !errors.As(err, &decode) || decode.ID != e.ID {
		t.Errorf("%v", err)
	}
	if _, err := h.bus.Decode(e); !errors.As(err, &decode) {
		t.Errorf("%v", err)
	}
	for _, try := range []func() error{
		func() error {
			_, err := h.bus.Dispatch(t.Context(), command.Envelope{Type: "reserve-seats"}, command.Hint{})
			return err
		},
		func() error {
			_, err := h.bus.Fail(t.Context(), command.Envelope{Type: "reserve-seats"}, "")
			return err
		},
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), "no id") {
			t.Errorf("%v", err)
		}
	}
	if h.ran.Load() != 0 || len(h.entries(t, eventlog.Receipt)) != 0 {
		t.Errorf("%d runs, %d receipts", h.ran.Load(), len(h.entries(t, eventlog.Receipt)))
	}
}

func TestBusesThatCannotBe(t *testing.T) {
	act := func(context.Context, command.ID, SendMail) (struct{}, error) { return struct{}{}, nil }
	pointer := func(context.Context, command.ID, *SendMail) (struct{}, error) { return struct{}{}, nil }
	other := func(context.Context, command.ID, RenameHall) (struct{}, error) { return struct{}{}, nil }
	_, err := command.NewBus(command.Config{Module: &aggregate.Module{Name: "m"}, Parallel: -1, Handlers: []command.Handler{
		command.Act("a", act), command.Act("b", act), command.Act("a", other), command.Act("ensue.x", other), command.Act("c", pointer),
		command.Handle[ReserveSeats, int]("d", nil), {}, command.Act("e", func(context.Context, command.ID, ReserveSeats) (int, error) { return 0, nil }, command.Formerly("a")),
	}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no log", "no registry", "-1 submitted", `handler of "b" handles command_test.SendMail, which "a" handles already`, `"a" is there twice: for command_test.SendMail and for command_test.RenameHall`,
		"reserved for system records", "not a pointer", `"d" has no function`, `"" has no function`, "for command_test.SendMail and for command_test.ReserveSeats"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if _, err := command.NewBus(command.Config{}); err == nil {
		t.Error("a bus without a module")
	}
}

func TestABusKnowsItsCommands(t *testing.T) {
	h := open(t, memlog.New(), func(_ *aggregate.Module, c *command.Config) {
		c.Handlers[1] = command.Handle("rename-hall", (&house{}).rename, command.Formerly("name-hall"))
	})
	if name, ok := h.bus.Handles(reflect.TypeFor[RenameHall]()); !ok || name != "rename-hall" {
		t.Errorf("%q, %v", name, ok)
	}
	if _, ok := h.bus.Handles(reflect.TypeFor[int]()); ok || h.bus.HandlesName("fly") || !h.bus.HandlesName("name-hall") {
		t.Error("handles what it does not")
	}
	old := command.Envelope{ID: event.NewID(), Type: "name-hall", Data: []byte(`{"Hall":"a","Name":"Blue"}`)}
	h.dispatch(t, old)
	if hall := h.hall(t, "a"); hall.Name != "Blue" {
		t.Errorf("%+v", hall)
	}
	if c, err := h.bus.Decode(old); err != nil || c != (RenameHall{"a", "Blue"}) {
		t.Errorf("%+v, %v", c, err)
	}
	handler, ok := h.bus.Handler("send-mail")
	if !ok || handler.Name() != "send-mail" || !handler.IsAction() || handler.GoType() != reflect.TypeFor[SendMail]() || handler.ResultType() != reflect.TypeFor[MailSent]() {
		t.Errorf("%+v", handler)
	}
}

func TestAPanicIsAnErrorAndLeavesNothing(t *testing.T) {
	h := newHouse(t)
	h.before = func(string) error { panic(command.Reject("no", "a panic is no decision, whatever it says")) }
	for _, cmd := range []any{ReserveSeats{"a", 1}, SendMail{"you"}} {
		e := h.envelope(t, cmd)
		var panicked *command.PanicError
		if _, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); !errors.As(err, &panicked) || !strings.Contains(string(panicked.Stack), "bus_test.go") {
			t.Errorf("%v", err)
		}
	}
	if len(h.entries(t, eventlog.Receipt)) != 0 || len(h.events(t)) != 0 {
		t.Error("something was written")
	}
}

func TestAConflictIsDecidedAgain(t *testing.T) {
	synctest.Test(t, decideAgain) // in a bubble, where waiting for a turn costs nothing
}

func decideAgain(t *testing.T) {
	h := newHouse(t)
	tries := 0
	h.before = func(string) error {
		if tries++; tries <= 3 {
			_, err := aggregate.Record(t.Context(), h.Module, "hall/a", SeatsReserved{30})
			return err
		}
		return nil
	}
	// The first decisions are made on a hall that is changed under them; the handler reads it before.
	h.bus = open(t, h.Log, func(m *aggregate.Module, c *command.Config) {
		m.Tries = 5
		c.Handlers = []command.Handler{command.Handle("reserve-seats", func(ctx context.Context, w *aggregate.Work, c ReserveSeats) (Reservation, error) {
			if _, err := aggregate.Load(ctx, w, halls, c.Hall); err != nil {
				return Reservation{}, err
			}
			return h.reserve(ctx, w, c)
		})}
	}).bus
	out := h.dispatch(t, h.envelope(t, ReserveSeats{"a", 5}))
	if r := read[Reservation](t, out); tries != 4 || r.First != 91 {
		t.Errorf("%d tries, %+v", tries, r)
	}

	h.before = func(string) error {
		_, err := aggregate.Record(t.Context(), h.Module, "hall/a", SeatsReserved{0})
		return err
	}
	var contended *aggregate.ContendedError
	if _, err := h.bus.Dispatch(t.Context(), h.envelope(t, ReserveSeats{"a", 1}), command.Hint{}); !errors.As(err, &contended) || contended.Tries != 5 || !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("%v", err)
	}
}

func TestManyCommandsForOneAggregateAreAllHandled(t *testing.T) {
	h := newHouse(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				if _, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"a", 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if hall := h.hall(t, "a"); hall.Taken != 100 {
		t.Errorf("%+v", hall)
	}
}

func TestG4_ACommandChangesSeveralAggregatesAllOrNone(t *testing.T) {
	type MoveSeats struct {
		From, To string
		Seats    int
	}
	h := newHouse(t)
	h.bus = open(t, h.Log, func(_ *aggregate.Module, c *command.Config) {
		c.Handlers = []command.Handler{command.Handle("move-seats", func(ctx context.Context, w *aggregate.Work, c MoveSeats) (struct{}, error) {
			for _, s := range []struct {
				hall  string
				seats int
			}{{c.From, -c.Seats}, {c.To, c.Seats}} {
				if _, err := h.reserve(ctx, w, ReserveSeats{s.hall, s.seats}); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})}
	}).bus
	_, err := aggregate.Record(t.Context(), h.Module, "hall/a", SeatsReserved{80})
	must(t, err)
	_, err = aggregate.Record(t.Context(), h.Module, "hall/b", SeatsReserved{50})
	must(t, err)
	if out := h.dispatch(t, h.envelope(t, MoveSeats{"a", "b", 60})); out.Status != command.Rejected {
		t.Errorf("%+v", out)
	}
	if a, b := h.hall(t, "a"), h.hall(t, "b"); a.Taken != 80 || b.Taken != 50 {
		t.Errorf("half of a rejected command: %d, %d", a.Taken, b.Taken)
	}
	if out := h.dispatch(t, h.envelope(t, MoveSeats{"a", "b", 20})); out.Status != command.Accepted {
		t.Errorf("%+v", out)
	}
	if a, b := h.hall(t, "a"), h.hall(t, "b"); a.Taken != 60 || b.Taken != 70 {
		t.Errorf("%d, %d", a.Taken, b.Taken)
	}
}

func TestEventsInheritCorrelationCauseAndCarriedHeaders(t *testing.T) {
	h := newHouse(t)
	e := h.envelope(t, ReserveSeats{"a", 1})
	e.Metadata = event.Metadata{Correlation: event.NewID(), Causation: event.NewID(), Headers: map[string]string{"order-id": "42", "authorization": "secret"}}
	if out := h.dispatch(t, e); out.Correlation != e.Metadata.Correlation {
		t.Errorf("%+v", out)
	}
	direct, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{"a", 1}, command.WithMetadata(event.Metadata{Headers: map[string]string{"order-id": "43"}}))
	must(t, err)
	if direct.First != 2 {
		t.Errorf("%+v", direct)
	}
	events := h.events(t)
	want := event.Metadata{Correlation: e.Metadata.Correlation, Causation: e.ID, Headers: map[string]string{"order-id": "42"}}
	if got := events[0].Metadata; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := events[1].Metadata; got.Correlation.IsZero() || got.Correlation != got.Causation || got.Header("order-id") != "43" {
		t.Errorf("a direct command begins a conversation: %+v", got)
	}
}

func TestAHandlerKnowsItsCommand(t *testing.T) {
	type Note struct{ Text string }
	var works []aggregate.Cause
	var envelopes []command.Envelope
	h := open(t, memlog.New(), func(m *aggregate.Module, c *command.Config) {
		c.Handlers = []command.Handler{
			command.Handle("rename-hall", func(_ context.Context, w *aggregate.Work, _ RenameHall) (string, error) {
				works = append(works, w.Cause())
				return fmt.Sprint(w.Now().Minute()), nil
			}),
			command.Act("note", func(ctx context.Context, id command.ID, _ Note) (string, error) {
				e, ok := command.FromContext(ctx)
				if !ok || e.ID != id {
					t.Errorf("%+v, %v", e, ok)
				}
				envelopes = append(envelopes, e)
				return "", nil
			}),
		}
	})
	meta := event.Metadata{Correlation: event.NewID(), Headers: map[string]string{"order-id": "42"}}
	id := event.NewID()
	minute, err := command.Do[string](t.Context(), h.bus, RenameHall{}, command.WithID(id), command.WithMetadata(meta), command.WithTime(at(7)))
	must(t, err)
	if w := works[0]; minute != "7" || w.Command != id || w.Metadata.Correlation != meta.Correlation || w.Metadata.Causation != id {
		t.Errorf("minute %s, %+v", minute, works[0])
	}
	_, err = command.Do[string](t.Context(), h.bus, Note{}, command.WithMetadata(meta), command.WithTime(at(7)), command.To("me"))
	must(t, err)
	if e := envelopes[0]; !reflect.DeepEqual(e.Metadata, meta) || !e.At.Equal(at(7)) || e.Target != "me" || e.Type != "note" {
		t.Errorf("%+v", e)
	}
	if _, ok := command.FromContext(t.Context()); ok {
		t.Error("an envelope from nowhere")
	}
}

func TestADomainEventHandlerBelongsToTheCommand(t *testing.T) {
	refuse := errors.New("not now")
	h := open(t, memlog.New(), func(m *aggregate.Module, _ *command.Config) {
		m.Handlers = []aggregate.Handler{aggregate.Inside("foyer", func(_ context.Context, w *aggregate.Work, e SeatsReserved) error {
			switch e.Seats {
			case 13:
				return command.Reject("unlucky", "13 seats")
			case 14:
				return refuse
			case 15:
				panic("oops")
			}
			return w.Append("hall/foyer", eventlog.Any, HallRenamed{"busy"})
		})}
	})
	h.dispatch(t, h.envelope(t, ReserveSeats{"a", 1}))
	if events := h.events(t); len(events) != 2 || events[1].Stream != "hall/foyer" || events[1].Metadata.Causation != events[0].Metadata.Causation {
		t.Errorf("%+v", events)
	}
	e := h.envelope(t, ReserveSeats{"a", 13})
	repeats(t, h, e, command.Rejected)
	if out := h.dispatch(t, e); out.Rejection.Code != "unlucky" {
		t.Errorf("%+v", out.Rejection)
	}
	if _, err := h.bus.Dispatch(t.Context(), h.envelope(t, ReserveSeats{"a", 14}), command.Hint{}); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	var panicked *command.PanicError
	if _, err := h.bus.Dispatch(t.Context(), h.envelope(t, ReserveSeats{"a", 15}), command.Hint{}); !errors.As(err, &panicked) {
		t.Errorf("%v", err)
	}
	if n, r := len(h.events(t)), len(h.entries(t, eventlog.Receipt)); n != 2 || r != 2 {
		t.Errorf("%d events, %d receipts", n, r)
	}
}

func TestAnActionIsRunAgainUnderItsIDUntilItsReceiptStands(t *testing.T) {
	log := &faulty{Log: memlog.New()}
	h := open(t, log)
	e := h.envelope(t, SendMail{"you"})
	log.set(1, 0)
	if _, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); !errors.Is(err, errDown) {
		t.Errorf("%v", err)
	}
	out := h.dispatch(t, e)
	if h.mailsOf(e.ID) != 2 || out.Status != command.Accepted || out.Repeat {
		t.Errorf("%d mails, %+v", h.mailsOf(e.ID), out)
	}
	h.dispatch(t, e)
	if h.mailsOf(e.ID) != 2 {
		t.Errorf("%d mails", h.mailsOf(e.ID))
	}
}
