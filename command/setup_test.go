package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// The domain of these tests: seats of a hall, which are reserved.
type (
	ReserveSeats struct {
		Hall  string
		Seats int
	}
	Reservation struct{ First, Left int }

	RenameHall struct{ Hall, Name string }
	SendMail   struct{ To string }
	MailSent   struct{ MessageID string }

	SeatsReserved struct{ Seats int }
	HallRenamed   struct{ Name string }

	Hall struct {
		Taken int
		Name  string
	}
)

const capacity = 100

var halls = aggregate.Define("hall", func(h Hall, e any) Hall {
	switch e := e.(type) {
	case SeatsReserved:
		h.Taken += e.Seats
	case HallRenamed:
		h.Name = e.Name
	}
	return h
})

// house is a module with its bus, and what its handlers counted.
type house struct {
	*aggregate.Module
	bus   *command.Bus
	ran   atomic.Int64 // runs of any handler
	mails sync.Map     // command id to number of mails

	mu     sync.Mutex
	before func(name string) error // called at the beginning of every handler, unless nil
}

func (h *house) begin(name string) error {
	h.ran.Add(1)
	h.mu.Lock()
	before := h.before
	h.mu.Unlock()
	if before != nil {
		return before(name)
	}
	return nil
}

func (h *house) reserve(ctx context.Context, w *aggregate.Work, c ReserveSeats) (r Reservation, err error) {
	if err := h.begin("reserve-seats"); err != nil {
		return r, err
	}
	return r, aggregate.Change(ctx, w, halls, c.Hall, func(hall Hall) ([]any, error) {
		if hall.Taken+c.Seats > capacity {
			return nil, command.Reject("sold-out", "%d seats are left", capacity-hall.Taken).With("left", fmt.Sprint(capacity-hall.Taken))
		}
		r = Reservation{First: hall.Taken + 1, Left: capacity - hall.Taken - c.Seats}
		return []any{SeatsReserved{c.Seats}}, nil
	})
}

func (h *house) rename(ctx context.Context, w *aggregate.Work, c RenameHall) (struct{}, error) {
	if err := h.begin("rename-hall"); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, w.Append(halls.Stream(c.Hall), eventlog.Any, HallRenamed{c.Name})
}

func (h *house) mail(_ context.Context, id command.ID, c SendMail) (MailSent, error) {
	if err := h.begin("send-mail"); err != nil {
		return MailSent{}, err
	}
	n, _ := h.mails.LoadOrStore(id, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if c.To == "" {
		return MailSent{}, fmt.Errorf("mail: %w", command.Reject("no-address", "nobody to send it to"))
	}
	return MailSent{MessageID: "<" + id.String() + "@example>"}, nil
}

func (h *house) handlers() []command.Handler {
	return []command.Handler{command.Handle("reserve-seats", h.reserve), command.Handle("rename-hall", h.rename), command.Act("send-mail", h.mail)}
}

// open opens a house on a log, which may be one that another house has used.
func open(t testing.TB, log eventlog.Log, arrange ...func(*aggregate.Module, *command.Config)) *house {
	t.Helper()
	types, err := event.NewRegistry(event.Named[SeatsReserved]("seats-reserved"), event.Named[HallRenamed]("hall-renamed"))
	must(t, err)
	h := &house{Module: &aggregate.Module{Name: "seats", Log: log, Types: types, Carried: []string{"order-id"}}}
	c := command.Config{Module: h.Module, Handlers: h.handlers()}
	for _, a := range arrange {
		a(h.Module, &c)
	}
	h.bus, err = command.NewBus(c)
	must(t, err)
	return h
}

func newHouse(t testing.TB) *house { return open(t, memlog.New()) }

func (h *house) envelope(t testing.TB, cmd any) command.Envelope {
	t.Helper()
	e, err := h.bus.Encode(cmd)
	must(t, err)
	e.ID = event.NewID()
	return e
}

func (h *house) dispatch(t testing.TB, e command.Envelope) command.Outcome {
	t.Helper()
	out, err := h.bus.Dispatch(t.Context(), e, command.Hint{})
	must(t, err)
	return out
}

func (h *house) hall(t testing.TB, id string) Hall {
	t.Helper()
	s, err := aggregate.Load(t.Context(), aggregate.NewWork(h.Module, aggregate.Cause{}), halls, id)
	must(t, err)
	return s
}

func (h *house) mailsOf(id command.ID) int64 {
	n, ok := h.mails.Load(id)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// events returns what the log holds, without system records.
func (h *house) events(t testing.TB) (events []event.Recorded) {
	t.Helper()
	for rec, err := range h.Log.Read(t.Context(), eventlog.Query{}) {
		must(t, err)
		events = append(events, rec)
	}
	return events
}

// entries returns the keys of the entries of a kind.
func (h *house) entries(t testing.TB, k eventlog.Kind) (keys []string) {
	t.Helper()
	for entry, err := range h.Log.Entries(t.Context(), eventlog.EntryQuery{Kind: k}) {
		must(t, err)
		keys = append(keys, entry.Key)
	}
	return keys
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read[R any](t testing.TB, o command.Outcome) (r R) {
	t.Helper()
	must(t, json.Unmarshal(o.Result, &r))
	return r
}

func at(minute int) time.Time { return time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC) }

var errDown = errors.New("the connection was cut")

// faulty is a log whose appends and reads of entries can be made to fail.
type faulty struct {
	eventlog.Log
	mu      sync.Mutex
	before  int // so many of the next appends fail and do nothing
	after   int // so many of the next appends are made, and their answers are lost
	appends int
	reads   int // of entries
}

func (f *faulty) set(before, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after, f.appends, f.reads = before, after, 0, 0
}

func (f *faulty) counts() (appends, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.appends, f.reads
}

func (f *faulty) Append(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	f.mu.Lock()
	f.appends++
	before, after := f.before > 0, f.after > 0
	if before {
		f.before--
	} else if after {
		f.after--
	}
	f.mu.Unlock()
	if before {
		return eventlog.Appended{}, errDown
	}
	appended, err := f.Log.Append(ctx, writes...)
	if after && err == nil {
		return eventlog.Appended{}, errDown
	}
	return appended, err
}

func (f *faulty) Entries(ctx context.Context, q eventlog.EntryQuery) iter.Seq2[eventlog.Entry, error] {
	f.mu.Lock()
	f.reads++
	f.mu.Unlock()
	return f.Log.Entries(ctx, q)
}
