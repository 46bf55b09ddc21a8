package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/internal/cli"
	"github.com/ensue-io/ensue/process"
)

const (
	exitDone    = cli.ExitDone
	exitProblem = cli.ExitProblem
	exitUsage   = cli.ExitUsage
)

var rewrite = flag.Bool("rewrite", false, "write the files in testdata anew; review the difference")

// The application whose logs are looked at: orders, the home of order-process; seats, which handles its commands; and
// payments, which it reads.
type (
	OrderPlaced struct {
		Order string `json:"order"`
		Seats int    `json:"seats"`
	}
	OrderConfirmed struct {
		Order string `json:"order"`
	}
	PaymentReceived struct {
		Order string `json:"order"`
		Cents int    `json:"cents"`
	}
	SeatsReserved struct {
		Order string `json:"order"`
		Seats int    `json:"seats"`
	}
	ReserveSeats struct {
		Order string `json:"order"`
		Seats int    `json:"seats"`
	}
	Reserved   struct{ Row int }
	PaymentDue struct{}
	Ordering   struct{ Reserved bool }
	Room       struct{}
)

func (p PaymentReceived) EventTags() []event.Tag { return []event.Tag{{Key: "order", Value: p.Order}} }

var ordering = process.Define("order-process",
	process.On[Ordering, OrderPlaced]{
		Starts: true,
		Locate: process.Key(func(e OrderPlaced) string { return e.Order }),
		React: func(_ Ordering, in process.Input[OrderPlaced], do *process.Step) {
			do.Send(ReserveSeats(in.Event))
			do.After(15*time.Minute, PaymentDue{})
		},
	},
	process.On[Ordering, PaymentReceived]{
		NoInstance: process.Defer,
		Locate:     process.Key(func(e PaymentReceived) string { return e.Order }),
		React: func(_ Ordering, in process.Input[PaymentReceived], do *process.Step) {
			if in.Event.Cents == 0 {
				do.Fail(errors.New("a payment of nothing"))
			}
			do.Cancel(PaymentDue{})
			do.Emit(OrderConfirmed{in.Event.Order})
			do.Complete()
		},
	},
	process.OnTimeout[Ordering, PaymentDue]{Name: "payment-due", React: func(_ Ordering, _ process.Input[PaymentDue], do *process.Step) { do.Complete() }},
	process.OnAccepted[Ordering, ReserveSeats, Reserved]{
		Evolve: func(o Ordering, _ process.Input[process.Accepted[ReserveSeats, Reserved]]) Ordering {
			o.Reserved = true
			return o
		},
	},
	process.OnRejected[Ordering, ReserveSeats]{
		React: func(_ Ordering, _ process.Input[process.Rejected[ReserveSeats]], do *process.Step) { do.Complete() },
	},
).Otherwise(process.Ignore)

var room = aggregate.Define("room", func(r Room, _ any) Room { return r })

func reserve(ctx context.Context, w *aggregate.Work, c ReserveSeats) (Reserved, error) {
	if c.Seats > 10 {
		return Reserved{}, command.Reject("sold-out", "there are no %d seats left", c.Seats)
	}
	return Reserved{Row: 7}, aggregate.Change(ctx, w, room, "main", func(Room) ([]any, error) { return []any{SeatsReserved(c)}, nil })
}

// began is when the application of the tests runs: after the leases of any real clock.
var began = time.Date(2040, 3, 1, 10, 0, 0, 0, time.UTC)

// application opens the application at an address and runs it while do is at work.
func application(t testing.TB, address string, o ensue.Options, do func(app *ensue.App)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	p := o.Processes["order-process"]
	p.Retry = process.Retry{Attempts: 1}
	o.Processes = map[string]ensue.ProcessOptions{"order-process": p}
	app, err := ensue.Open(ctx, address, o,
		ensue.Module{Name: "orders", Events: []event.Type{event.Named[OrderPlaced]("order-placed"), event.Named[OrderConfirmed]("order-confirmed")},
			Processes: []process.Definition{ordering}},
		ensue.Module{Name: "payments", Events: []event.Type{event.Named[PaymentReceived]("payment-received")}},
		ensue.Module{Name: "seats", Events: []event.Type{event.Named[SeatsReserved]("seats-reserved")},
			Commands: []command.Handler{command.Handle("reserve-seats", reserve)}})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- app.Run(run) }()
	do(app)
	stop()
	if err := errors.Join(<-done, app.Close()); err != nil {
		t.Fatal(err)
	}
}

// story is what happens in the application, one thing after the other, so that positions and times are always the same.
func story(t testing.TB, address string, o ensue.Options) {
	if o.Now == nil {
		o.Now = func() time.Time { return began }
	}
	application(t, address, o, func(app *ensue.App) {
		happens := func(module, stream string, fact any) {
			t.Helper()
			if _, err := app.Module(module).Record(t.Context(), stream, fact); err != nil {
				t.Fatal(err)
			}
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for n, seats := range []int{2, 4, 40, 1} {
			id := fmt.Sprintf("47-%d", n+1)
			happens("orders", "order/"+id, OrderPlaced{id, seats})
		}
		happens("payments", "payment/1", PaymentReceived{"47-2", 8000})
		happens("payments", "payment/2", PaymentReceived{"47-4", 0})
		happens("payments", "payment/3", PaymentReceived{"47-4", 2000})
		happens("payments", "payment/4", PaymentReceived{"48-1", 2000})
		happens("payments", "payment/5", event.Draft{Fact: PaymentReceived{"47-2", 1}, Headers: map[string]string{"teller": "9"}})
		happens("payments", "note/1", event.Raw{Type: "note", Data: []byte("no JSON \x1b[31m")})
	})
}

// made is the file that the story leaves, made once.
var made struct {
	sync.Once
	data []byte
}

// aShop returns a file of its own in which the story has happened.
func aShop(t testing.TB) (address string) {
	t.Helper()
	made.Do(func() {
		path := filepath.Join(t.TempDir(), "shop.db")
		story(t, path, ensue.Options{})
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		made.data = data
	})
	address = filepath.Join(t.TempDir(), "shop.db")
	if err := os.WriteFile(address, made.data, 0o600); err != nil {
		t.Fatal(err)
	}
	return address
}

// called is what a run of the command wrote.
type called struct {
	code     int
	out, err string
}

// call runs the command, ten minutes after the story.
func call(t testing.TB, env map[string]string, args ...string) called {
	t.Helper()
	return callWith(t, t.Context(), new(bytes.Buffer), false, env, args...)
}

func callWith(_ testing.TB, ctx context.Context, out io.Writer, colour bool, env map[string]string, args ...string) called { //nolint:revive // the test comes first in helpers
	var errs bytes.Buffer
	p := cli.Command{Name: "ensue", Out: out, Err: &errs, Env: func(name string) string { return env[name] }, Now: func() time.Time { return began.Add(10 * time.Minute) },
		Colour: colour, Quiet: true, More: commandLine().More}
	c := called{code: p.Run(ctx, args), err: errs.String()}
	if b, ok := out.(*bytes.Buffer); ok {
		c.out = b.String()
	}
	return c
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// steady replaces what differs from run to run: ids by their order, the address, and sizes of files.
func steady(text, address string) string {
	seen := map[string]string{}
	text = uuids.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("id-%d", len(seen)+1)
		}
		return seen[id]
	})
	text = strings.ReplaceAll(text, address, "ADDRESS")
	text = regexp.MustCompile(`ADDRESS, \d+ \w+`).ReplaceAllString(text, "ADDRESS, SIZE")
	return regexp.MustCompile(`"fileBytes": \d+`).ReplaceAllString(text, `"fileBytes": 0`)
}

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(want), "\r\n", "\n"); got != text {
		t.Errorf("%s differs; run with -rewrite and review. Found:\n%s", path, text)
	}
}
