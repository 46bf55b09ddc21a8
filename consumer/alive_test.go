//go:build unix

package consumer

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

// TestMain lets a test have a second process of this program, which lives until its input ends.
func TestMain(m *testing.M) {
	if os.Getenv("ENSUE_TEST_LIVES") != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// second starts a second process, and returns its holder and what ends it.
func second(t *testing.T) (h Holder, end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "ENSUE_TEST_LIVES=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	h = Holder{Worker: event.NewID(), Host: machine(), PID: pid, Started: processStart(pid), Epoch: 3}
	return h, func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// waits returns how long an acquirer waits for the holder, whose lease runs for another hour.
func waits(t *testing.T, h Holder) (waited time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, began := memlog.New(), time.Now()
		h.Since, h.Until = event.Micro(began), event.Micro(began.Add(time.Hour))
		value, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Lease, Key: "bills", Value: value, Due: h.Until}}); err != nil {
			t.Fatal(err)
		}
		l, err := Acquire(t.Context(), log, "bills", LeaseOptions{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		waited = time.Since(began)
		if l.Holder().Epoch != h.Epoch+1 {
			t.Errorf("%+v took over from %+v", l.Holder(), h)
		}
	})
	return waited
}

func TestAnEndedProcessIsNotWaitedFor(t *testing.T) {
	h, end := second(t)
	if waited := waits(t, h); waited < time.Hour {
		t.Errorf("%v lives, and was waited for %v", h, waited)
	}
	end()
	if waited := waits(t, h); waited != 0 {
		t.Errorf("%v has ended, and was waited for %v", h, waited)
	}
}

// What a PID means is known on its machine alone, and there only within one space of process ids.
func TestAProcessOfAnotherMachineIsWaitedFor(t *testing.T) {
	h, end := second(t)
	end()
	h.Host = "elsewhere"
	if waited := waits(t, h); waited < time.Hour {
		t.Errorf("waited %v", waited)
	}
}

func TestAReusedPIDIsNoticed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("when a process started is known on Linux alone")
	}
	own := Holder{Worker: event.NewID(), Host: machine(), PID: os.Getpid(), Started: processStart(os.Getpid())}
	if own.Started == "" {
		t.Fatal("when this process started is not known")
	}
	if waited := waits(t, own); waited < time.Hour {
		t.Errorf("this process lives, and was waited for %v", waited)
	}
	own.Started = "another boot/1"
	if waited := waits(t, own); waited != 0 {
		t.Errorf("the PID is another process's now, and its first one was waited for %v", waited)
	}
	own.Started = ""
	if waited := waits(t, own); waited < time.Hour {
		t.Errorf("which of the two it is was not known, and it was waited for %v", waited)
	}
}

func TestAHolderWithoutAPIDIsWaitedFor(t *testing.T) {
	if waited := waits(t, Holder{Worker: event.NewID(), Host: machine()}); waited < time.Hour {
		t.Errorf("waited %v", waited)
	}
}
