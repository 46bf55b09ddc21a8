package command_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
)

// openFile opens a house on a SQLite file.
func openFile(t testing.TB, path string) (h *house, closeFile func()) {
	t.Helper()
	file, err := sqlitelog.Open(t.Context(), path, sqlitelog.Options{})
	must(t, err)
	log, err := file.Log(t.Context(), "seats")
	must(t, err)
	return open(t, log), func() { t.Helper(); must(t, file.Close()) }
}

func TestG7_ReceiptsAndTheQueueSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "house.db")
	h, closeFile := openFile(t, path)
	commands := []command.Envelope{h.envelope(t, ReserveSeats{"a", 60}), h.envelope(t, ReserveSeats{"a", 60}), h.envelope(t, SendMail{"you"})}
	var outcomes []command.Outcome
	for i := range commands {
		commands[i].Metadata.Correlation = event.NewID()
		outcomes = append(outcomes, h.dispatch(t, commands[i]))
	}
	given := h.envelope(t, ReserveSeats{"b", 1})
	out, err := h.bus.Fail(t.Context(), given, "enough")
	must(t, err)
	commands, outcomes = append(commands, given), append(outcomes, out)
	waiting := submit(t, h, ReserveSeats{"c", 1})
	closeFile()

	h, closeFile = openFile(t, path)
	defer closeFile()
	for i, e := range commands {
		again := h.dispatch(t, e)
		if again.Repeat = false; !reflect.DeepEqual(again, outcomes[i]) {
			t.Errorf("before %+v\nafter %+v", outcomes[i], again)
		}
	}
	if h.ran.Load() != 0 || h.hall(t, "a").Taken != 60 {
		t.Errorf("%d handlers ran, %+v", h.ran.Load(), h.hall(t, "a"))
	}
	head, err := h.Log.Head(t.Context())
	must(t, err)
	stop := running(t, h.bus)
	must(t, h.Log.Wait(t.Context(), head))
	stop()
	if s := status(t, h, waiting); s.Status != command.Accepted || len(h.entries(t, eventlog.Pending)) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestG7_OnAFileACommandDispatchedFiftyTimesAtOnceTakesEffectOnce(t *testing.T) {
	h, closeFile := openFile(t, filepath.Join(t.TempDir(), "house.db"))
	defer closeFile()
	e := h.envelope(t, ReserveSeats{"a", 3})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if out, err := h.bus.Dispatch(t.Context(), e, command.Hint{}); err != nil || out.Status != command.Accepted {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	all.Wait()
	if hall := h.hall(t, "a"); hall.Taken != 3 || len(h.events(t)) != 1 {
		t.Errorf("%+v, %d events", hall, len(h.events(t)))
	}
}

func TestG4_OnAFileCommandsForOneAggregateAreAllHandled(t *testing.T) {
	h, closeFile := openFile(t, filepath.Join(t.TempDir(), "house.db"))
	defer closeFile()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 5 {
				if _, err := command.Do[Reservation](t.Context(), h.bus, ReserveSeats{fmt.Sprint(i % 2), 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if a, b := h.hall(t, "0"), h.hall(t, "1"); a.Taken != 50 || b.Taken != 50 {
		t.Errorf("%+v, %+v", a, b)
	}
}
