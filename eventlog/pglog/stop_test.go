//go:build unix

package pglog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// What the second process is to do, and on which database.
const (
	jobVariable     = "PGLOG_TEST_JOB"
	addressVariable = "PGLOG_TEST_ADDRESS"
)

// TestSecondProcess is what a second process runs, and nothing in the first. It works until its input ends.
func TestSecondProcess(t *testing.T) {
	job := os.Getenv(jobVariable)
	if job == "" {
		return
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	l := logOf(t, opened(t, os.Getenv(addressVariable), Options{}))
	var f follower
	for ctx.Err() == nil {
		switch job {
		case "append":
			fmt.Println("did", appendSome(t, l, "of the second process", 1)[0])
		case "read":
			f.mustRead(t, l)
			fmt.Println("did", len(f.ids))
			_ = l.Wait(ctx, f.cursor.Position)
		}
	}
	f.mustRead(t, l)
	f.same(t, l)
}

// second is a second process. What it did is read from it when it has ended.
type second struct {
	cmd  *exec.Cmd
	in   io.Closer
	did  []string
	read sync.WaitGroup
}

func startSecond(t *testing.T, job, address string) *second {
	t.Helper()
	s := &second{cmd: exec.Command(os.Args[0], "-test.run=^TestSecondProcess$", "-test.count=1")}
	s.cmd.Env = append(os.Environ(), jobVariable+"="+job, addressVariable+"="+address)
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in = in
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		s.read.Wait()
		_ = s.cmd.Wait()
	})
	first := make(chan struct{})
	s.read.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if what, ok := strings.CutPrefix(lines.Text(), "did "); ok {
				if s.did = append(s.did, what); len(s.did) == 1 {
					close(first)
				}
			}
		}
		if len(s.did) == 0 {
			close(first)
		}
	})
	<-first
	return s
}

func (s *second) signal(t *testing.T, what syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(what); err != nil {
		t.Fatal(err)
	}
}

// end lets the process end by itself, and returns what it did.
func (s *second) end(t *testing.T) []string {
	t.Helper()
	_ = s.in.Close()
	s.read.Wait()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the second process: %v", err)
	}
	return s.did
}

// arrivals measures how long it takes from before an event is appended until a reader has it.
type arrivals struct {
	mu      sync.Mutex
	begun   map[event.ID]time.Time
	counted bool // whether what is appended now counts
	took    []time.Duration
}

// within appends and reads while something goes on, and returns what the reader was given, up to the last event.
func (a *arrivals) within(t *testing.T, reader *Log, appendOne func(event.Event) error, while func()) *follower {
	t.Helper()
	a.begun = map[event.ID]time.Time{}
	f := &follower{}
	f.mustRead(t, reader)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reading, finish := context.WithCancel(t.Context())
	defer finish()
	var appending, work sync.WaitGroup
	failed := make(chan error, 2)
	var last event.ID
	appending.Go(func() {
		for pause(ctx, 2*time.Millisecond) == nil {
			e := placed()
			a.mu.Lock()
			if a.counted {
				a.begun[e.ID] = time.Now()
			}
			a.mu.Unlock()
			if err := appendOne(e); err != nil {
				failed <- err
				return
			}
			last = e.ID
		}
	})
	work.Go(func() {
		for {
			read := len(f.ids)
			err := f.read(reading, reader)
			now := time.Now()
			a.mu.Lock()
			for _, id := range f.ids[read:] {
				if begun, ok := a.begun[id]; ok {
					a.took = append(a.took, now.Sub(begun))
				}
			}
			a.mu.Unlock()
			if err == nil {
				err = reader.Wait(reading, f.cursor.Position)
			}
			if reading.Err() != nil {
				return
			}
			if err != nil {
				failed <- err
				return
			}
		}
	})
	while()
	stop()
	appending.Wait()
	eventually(t, "the last event arrives", func() (bool, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.took) == len(a.begun), nil
	})
	finish()
	work.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	f.mustRead(t, reader)
	f.has(t, last)
	return f
}

func (a *arrivals) count(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counted = on
}

// stops stops a process ten times, at any moment, each for a while, and counts what is appended meanwhile.
func (a *arrivals) stops(t *testing.T, s *second) {
	t.Helper()
	wait := func(d time.Duration) {
		if err := pause(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		wait(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		s.signal(t, syscall.SIGSTOP)
		a.count(true)
		wait(300 * time.Millisecond)
		a.count(false)
		s.signal(t, syscall.SIGCONT)
	}
}

// judge prints how long it took, and fails where that is out of all proportion: a hundredth took over a second, or what
// the machine is given by ENSUE_TEST_SLACK. The aim is 100 ms.
func (a *arrivals) judge(t *testing.T) {
	t.Helper()
	slices.Sort(a.took)
	n := len(a.took)
	if n < 50 {
		t.Fatalf("only %d events were appended while the process was stopped", n)
	}
	p99 := a.took[n*99/100]
	t.Logf("%d events while the other process was stopped: half within %v, 99 of 100 within %v, all within %v", n, a.took[n/2], p99, a.took[n-1])
	if limit := time.Duration(float64(time.Second) * slack(t)); p99 > limit {
		t.Errorf("99 of 100 took up to %v, more than %v", p99, limit)
	}
}

// TestG3_ProcessThatAppendsIsStopped: a process that appends, and makes passes, is stopped at any moment. What others append
// arrives meanwhile; when it goes on, nothing is lost or twice.
func TestG3_ProcessThatAppendsIsStopped(t *testing.T) {
	address := pgtest.Database(t)
	writer, reader := logOf(t, opened(t, address, Options{})), logOf(t, opened(t, address, Options{}))
	s := startSecond(t, "append", address)
	var a arrivals
	f := a.within(t, reader, func(e event.Event) error {
		_, err := writer.Append(context.WithoutCancel(t.Context()), eventlog.ToStream{Stream: "of the first process", Events: []event.Event{e}})
		return err
	}, func() { a.stops(t, s) })
	theirs := s.end(t)
	f.mustRead(t, reader)
	for _, text := range theirs {
		id, err := event.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		f.has(t, id)
	}
	f.same(t, reader)
	t.Logf("the process that was stopped appended %d events", len(theirs))
	a.judge(t)
}

// TestG3_ReaderThatNumbersIsStopped: nobody makes passes but readers, of roles that may only read; one of them is stopped
// at any moment.
func TestG3_ReaderThatNumbersIsStopped(t *testing.T) {
	address := pgtest.Database(t)
	admin := connected(t, address)
	d := opened(t, address, Options{})
	writer := logOf(t, d)
	role := granted(t, admin, DefaultSchema, ForReading)
	reader := logOf(t, opened(t, as(address, role), Options{}))
	s := startSecond(t, "read", as(address, role))
	conn := connected(t, address)
	var a arrivals
	f := a.within(t, reader, func(e event.Event) error {
		ctx := context.WithoutCancel(t.Context())
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := writer.AppendPgx(ctx, tx, eventlog.ToStream{Stream: "s", Events: []event.Event{e}})
			return err
		})
	}, func() { a.stops(t, s) })
	s.end(t)
	f.same(t, reader)
	if passes := d.Stats().Passes; passes != 0 {
		t.Errorf("%d passes were made by whoever appended", passes)
	}
	a.judge(t)
}
