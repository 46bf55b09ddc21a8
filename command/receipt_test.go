package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

func TestG7_RepeatedCommandIsAnsweredFromItsReceipt(t *testing.T) {
	h := newHouse(t)
	accepted := h.envelope(t, ReserveSeats{"a", 60})
	accepted.Metadata.Correlation, accepted.At = event.NewID(), at(1)
	rejected := h.envelope(t, ReserveSeats{"a", 50})
	mail := h.envelope(t, SendMail{"you"})
	refused := h.envelope(t, SendMail{})
	for name, c := range map[string]struct {
		command command.Envelope
		status  command.Status
	}{
		"accepted": {accepted, command.Accepted}, "accepted action": {mail, command.Accepted}, "rejected action": {refused, command.Rejected},
	} {
		t.Run(name, func(t *testing.T) { repeats(t, h, c.command, c.status) })
	}
	repeats(t, h, rejected, command.Rejected)
	if hall := h.hall(t, "a"); hall.Taken != 60 {
		t.Errorf("%d seats are taken", hall.Taken)
	}
	// Also when there would be room now: what was decided stays decided.
	roomy := h.envelope(t, ReserveSeats{"b", 101})
	repeats(t, h, roomy, command.Rejected)
}

// repeats dispatches a command that is new several times.
func repeats(t *testing.T, h *house, e command.Envelope, want command.Status) {
	t.Helper()
	before := h.ran.Load()
	first := h.dispatch(t, e)
	if first.Status != want || first.Repeat || first.ID != e.ID || first.Type != e.Type || first.Handled.IsZero() {
		t.Fatalf("first: %+v", first)
	}
	events := len(h.events(t))
	for range 3 {
		again := h.dispatch(t, e)
		if !again.Repeat {
			t.Errorf("not a repeat: %+v", again)
		}
		again.Repeat = false
		if !reflect.DeepEqual(again, first) {
			t.Errorf("first %+v\nagain %+v", first, again)
		}
	}
	if ran := h.ran.Load() - before; ran != 1 || len(h.events(t)) != events {
		t.Errorf("the handler ran %d times, %d events more", ran, len(h.events(t))-events)
	}
}

func TestG7_AnotherCommandUnderTheSameIDIsAnError(t *testing.T) {
	h := newHouse(t)
	e := h.envelope(t, ReserveSeats{"a", 1})
	e.Target = "box"
	h.dispatch(t, e)
	payload, target, name := e, e, e
	payload.Data = []byte(`{"Hall":"a","Seats":2}`)
	target.Target = "bo"
	name.Type = "rename-hall"
	for what, other := range map[string]command.Envelope{"payload": payload, "target": target, "type": name} {
		ran := h.ran.Load()
		for _, hint := range []command.Hint{{}, {First: true}} {
			var digest *command.DigestError
			out, err := h.bus.Dispatch(t.Context(), other, hint)
			if !errors.As(err, &digest) || digest.ID != e.ID || digest.Known != "reserve-seats" || !reflect.DeepEqual(out, command.Outcome{}) {
				t.Errorf("another %s, hint %v: %+v, %v", what, hint, out, err)
			}
			if !hint.First && h.ran.Load() != ran {
				t.Errorf("another %s: the handler ran", what)
			}
		}
		var digest *command.DigestError
		if _, err := h.bus.Fail(t.Context(), other, "given up"); !errors.As(err, &digest) {
			t.Errorf("another %s was given up: %v", what, err)
		}
	}
	if n := len(h.events(t)); n != 1 {
		t.Errorf("%d events", n)
	}
	// Metadata and time are no part of what a command is.
	e.Metadata.Headers, e.At = map[string]string{"trace": "2"}, at(5)
	if out := h.dispatch(t, e); !out.Repeat {
		t.Errorf("%+v", out)
	}
}

func TestADigestKeepsItsPartsApart(t *testing.T) {
	seen := map[command.Digest]command.Envelope{}
	for _, e := range []command.Envelope{{}, {Type: "ab"}, {Type: "a", Target: "b"}, {Target: "ab"}, {Type: "a", Data: []byte("b")}, {Data: []byte("ab")}, {Target: "a", Data: []byte("b")}} {
		if other, twice := seen[e.Digest()]; twice {
			t.Errorf("%+v and %+v have one digest", e, other)
		}
		seen[e.Digest()] = e
	}
}

func TestG7_ACommandDispatchedFiftyTimesAtOnceTakesEffectOnce(t *testing.T) {
	for name, hint := range map[string]command.Hint{"looking first": {}, "wrongly said to be the first": {First: true}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			for i, cmd := range []any{ReserveSeats{"a", 3}, RenameHall{"b", "Blue"}, ReserveSeats{"a", 98}, SendMail{"you"}} {
				e := h.envelope(t, cmd)
				events := len(h.events(t))
				var all sync.WaitGroup
				outcomes := make([]command.Outcome, 50)
				for i := range outcomes {
					all.Go(func() {
						var err error
						if outcomes[i], err = h.bus.Dispatch(t.Context(), e, hint); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				first := 0
				for _, o := range outcomes {
					if !o.Repeat {
						first++
					}
					if o.Repeat = false; o.Status != outcomes[0].Status || string(o.Result) != string(outcomes[0].Result) || !o.Handled.Equal(outcomes[0].Handled) {
						t.Errorf("%T: two outcomes: %+v, %+v", cmd, outcomes[0], o)
					}
				}
				if want := []int{1, 1, 0, 0}[i]; first != 1 || len(h.events(t))-events != want {
					t.Errorf("%T: took effect %d times, with %d events", cmd, first, len(h.events(t))-events)
				}
			}
		})
	}
}

func TestG7_ALostAnswerIsGivenFromTheReceipt(t *testing.T) {
	for _, cmd := range []any{ReserveSeats{"a", 3}, ReserveSeats{"a", 101}, SendMail{"you"}} {
		for _, hint := range []command.Hint{{}, {First: true}} {
			log := &faulty{Log: memlog.New()}
			h := open(t, log)
			e := h.envelope(t, cmd)
			log.set(2, 1)
			for range 3 { // twice nothing was written; the third time it was, and the answer was lost
				if _, err := h.bus.Dispatch(t.Context(), e, hint); !errors.Is(err, errDown) {
					t.Fatalf("%T: %v", cmd, err)
				}
			}
			ran := h.ran.Load()
			out, err := h.bus.Dispatch(t.Context(), e, hint)
			must(t, err)
			if !out.Repeat || !out.Status.Final() {
				t.Errorf("%T: %+v", cmd, out)
			}
			if !hint.First && h.ran.Load() != ran {
				t.Errorf("%T: the handler ran again", cmd)
			}
			if hall := h.hall(t, "a"); hall.Taken != 3 && hall.Taken != 0 || len(h.events(t)) > 1 {
				t.Errorf("%T: %+v, %d events", cmd, hall, len(h.events(t)))
			}
		}
	}
}

func TestG7_ACommandThatWasGivenUpCannotTakeEffect(t *testing.T) {
	h := newHouse(t)
	e := h.envelope(t, ReserveSeats{"a", 3})
	slow := make(chan struct{})
	begun := make(chan struct{})
	h.before = func(string) error { close(begun); <-slow; return nil }
	late := make(chan command.Outcome, 1)
	go func() {
		out, err := h.bus.Dispatch(t.Context(), e, command.Hint{})
		if err != nil {
			t.Error(err)
		}
		late <- out
	}()
	<-begun
	failed, err := h.bus.Fail(t.Context(), e, "no answer for an hour")
	must(t, err)
	if failed.Status != command.Failed || failed.Repeat || failed.Reason != "no answer for an hour" {
		t.Errorf("%+v", failed)
	}
	close(slow)
	if out := <-late; out.Status != command.Failed || !out.Repeat {
		t.Errorf("the late attempt: %+v", out)
	}
	if n := len(h.events(t)); n != 0 {
		t.Errorf("%d events after it was given up", n)
	}
	var given *command.FailedError
	if out := h.dispatch(t, e); !errors.As(out.Err(), &given) || given.Status != command.Failed || h.ran.Load() != 1 {
		t.Errorf("%v", out.Err())
	}

	// Giving up comes too late for a command that has an outcome.
	done := h.envelope(t, ReserveSeats{"b", 3})
	h.before = nil
	h.dispatch(t, done)
	if out, err := h.bus.Fail(t.Context(), done, "too late"); err != nil || out.Status != command.Accepted || !out.Repeat {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestReceiptsAreWrittenInOneAppendWithTheEffect(t *testing.T) {
	log := &faulty{Log: memlog.New()}
	h := open(t, log)
	for name, c := range map[string]struct {
		hint  command.Hint
		reads int
	}{"looking first": {command.Hint{}, 1}, "the first": {command.Hint{First: true}, 0}} {
		e := h.envelope(t, ReserveSeats{"a", 1})
		log.set(0, 0)
		_, err := h.bus.Dispatch(t.Context(), e, c.hint)
		must(t, err)
		if appends, reads := log.counts(); appends != 1 || reads != c.reads {
			t.Errorf("%s: %d appends, %d reads of receipts", name, appends, reads)
		}
	}
	// Nothing of a rejected or failing command is there but the receipt of the first.
	before := len(h.events(t))
	h.before = func(string) error { return errDown }
	broken := h.envelope(t, RenameHall{"a", "x"})
	if _, err := h.bus.Dispatch(t.Context(), broken, command.Hint{}); !errors.Is(err, errDown) {
		t.Errorf("%v", err)
	}
	h.before = nil
	h.dispatch(t, h.envelope(t, ReserveSeats{"a", 1000}))
	if n := len(h.events(t)) - before; n != 0 || len(h.entries(t, eventlog.Receipt)) != 3 {
		t.Errorf("%d events, %d receipts", n, len(h.entries(t, eventlog.Receipt)))
	}
}

func TestOutcomesAreReturnedInOrder(t *testing.T) {
	h := newHouse(t)
	a, b, unknown := h.envelope(t, ReserveSeats{"a", 1}), h.envelope(t, ReserveSeats{"a", 1000}), event.NewID()
	h.dispatch(t, a)
	h.dispatch(t, b)
	outcomes, err := h.bus.Outcomes(t.Context(), b.ID, unknown, a.ID, b.ID)
	must(t, err)
	var got []command.Status
	for _, o := range outcomes {
		got = append(got, o.Status)
	}
	if want := []command.Status{command.Rejected, command.Unknown, command.Accepted, command.Rejected}; !reflect.DeepEqual(got, want) || outcomes[1].ID != unknown {
		t.Errorf("%v", got)
	}
	if outcomes[0].Rejection.Code != "sold-out" || outcomes[0].Rejection.Details["left"] != "99" {
		t.Errorf("%+v", outcomes[0].Rejection)
	}
	if none, err := h.bus.Outcomes(t.Context()); err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
}

// odd is a codec whose bytes are no JSON, or JSON that Go would write otherwise.
type odd struct{ prefix string }

func (o odd) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append([]byte(o.prefix), data...), err
}
func (o odd) Decode(data []byte, v any) error { return json.Unmarshal(data[len(o.prefix):], v) }

func TestResultsAndPayloadsComeBackByteForByte(t *testing.T) {
	type Echo struct{ Text string }
	for _, prefix := range []string{"", " ", "\xff\x00", "\n\t"} {
		h := open(t, memlog.New(), func(_ *aggregate.Module, c *command.Config) {
			c.Handlers = append(c.Handlers, command.Handle("echo", func(_ context.Context, _ *aggregate.Work, c Echo) (Echo, error) { return c, nil }, command.With(odd{prefix})))
		})
		for _, text := range []string{"", "<é\u2028>", "\x00\x7f\"\\"} {
			first := h.dispatch(t, h.envelope(t, Echo{text}))
			want, err := odd{prefix}.Encode(Echo{text})
			must(t, err)
			stored, err := h.bus.Outcomes(t.Context(), first.ID)
			must(t, err)
			if string(first.Result) != string(want) || string(stored[0].Result) != string(want) {
				t.Errorf("%q, stored %q, want %q", first.Result, stored[0].Result, want)
			}
			if r, err := command.Result[Echo](h.bus, stored[0]); err != nil || r.Text != text {
				t.Errorf("%q: %+v, %v", text, r, err)
			}
		}
	}
}

func TestADamagedReceiptIsAnErrorAndNoOutcome(t *testing.T) {
	h := newHouse(t)
	digest := command.Envelope{}.Digest().String()
	for _, value := range []string{``, `{`, `{}`, `{"status":"queued","digest":"` + digest + `"}`, `{"status":"rejected","digest":"` + digest + `"}`, `{"status":"accepted","digest":"abc"}`} {
		e := h.envelope(t, ReserveSeats{"a", 1})
		_, err := h.Log.Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: e.ID.String(), Value: []byte(value)}})
		must(t, err)
		if out, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); err == nil {
			t.Errorf("%q was read as %+v", value, out)
		}
	}
}
