package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/process"
)

// sharing is one process with several workers, each a program of its own, on one database. Every few moments a random one
// is killed, and another one comes in its place. One is stopped until the others have taken its partitions, and then goes on.
type sharing struct {
	data, address, dir string // dir is for the workers' log
	workers, kills     int    // so many at a time; so often, unless the end comes before
	every              time.Duration
	lease, pace        time.Duration
	batch              int
	random             *rand.Rand
	out                io.Writer

	log     *os.File // of all workers
	running []*member
	killed  int
	stopped bool // one was, and all of what is said of it is true
}

// member is one worker.
type member struct {
	cmd        *exec.Cmd
	woke, lost chan int64    // how many transactions it had made when it went on, and when it said that its lease is lost
	ended      chan struct{} // closed when it has ended
	err        error         // how it ended
}

func (m *member) pid() int { return m.cmd.Process.Pid }

func (s *sharing) run(ctx context.Context, expected report.Figures) (err error) {
	if s.log, err = os.OpenFile(filepath.Join(s.dir, "workers.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.log.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer func() { // whatever goes wrong, no worker is left
		stop()
		for _, m := range s.running {
			<-m.ended
		}
	}()
	began := time.Now()
	for range s.workers {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	if err := s.disturb(ctx); err != nil {
		return fmt.Errorf("%w; what the workers said is in %s", err, s.log.Name())
	}
	fmt.Fprintf(s.out, "%d workers at a time, %d killed, in %.1f s\n", s.workers, s.killed, time.Since(began).Seconds())
	return s.judge(ctx, expected)
}

// disturb kills and stops workers until all have ended by themselves.
func (s *sharing) disturb(ctx context.Context) error {
	for {
		if err := consumer.Sleep(ctx, s.every/2+time.Duration(s.random.Int64N(int64(s.every)))); err != nil {
			return err
		}
		ended := slices.ContainsFunc(s.running, (*member).hasEnded) // the process has finished
		switch {
		case ended || s.killed >= s.kills && s.stopped:
			return s.wait(ctx)
		case s.killed > 0 && !s.stopped || s.killed >= s.kills:
			if err := s.stopOne(ctx); err != nil {
				return err
			}
			s.stopped = true
		default:
			n := s.random.IntN(len(s.running))
			m := s.running[n]
			_ = m.cmd.Process.Kill() // it fails where there is nothing left to kill
			<-m.ended
			if m.err == nil {
				continue // it had come to the end
			}
			s.killed++
			fmt.Fprintf(s.out, "worker %d killed\n", m.pid())
			s.running = slices.Delete(s.running, n, n+1)
			if err := s.start(ctx); err != nil {
				return err
			}
		}
	}
}

func (m *member) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// wait waits for the end of all.
func (s *sharing) wait(ctx context.Context) error {
	for _, m := range s.running {
		select {
		case <-m.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.err != nil {
			return fmt.Errorf("worker %d: %w", m.pid(), m.err)
		}
	}
	return nil
}

// start starts a worker.
func (s *sharing) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m := &member{woke: make(chan int64, 16), lost: make(chan int64, 16), ended: make(chan struct{})}
	m.cmd = exec.CommandContext(ctx, self, workerArgument, "-share", "-data", s.data, "-batch", fmt.Sprint(s.batch), // #nosec G204 -- this very program
		"-lease", s.lease.String(), "-pace", s.pace.String())
	m.cmd.Env = append(os.Environ(), addressVariable+"="+s.address) // where a password is seen by fewer
	m.cmd.Stderr = s.log
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	s.running = append(s.running, m)
	go func() {
		defer close(m.ended)
		heard := m.hear(out)
		m.err = errors.Join(m.cmd.Wait(), heard)
	}()
	return nil
}

// hear takes in what a worker says, up to its end.
func (m *member) hear(out io.Reader) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var what string
		var n int64
		if _, err := fmt.Sscan(lines.Text(), &what, &n); err != nil {
			continue // half a line is that of a worker that was killed
		}
		switch what {
		case "woke":
			m.woke <- n
		case "lost":
			m.lost <- n
		}
	}
	return lines.Err()
}

// stopOne stops a worker that has partitions, until the others have taken them; then it goes on. It must say that its lease
// is lost, having written nothing, and join again.
func (s *sharing) stopOne(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*s.lease+time.Minute)
	defer cancel()
	logs, err := report.Open(ctx, s.address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	m := s.running[s.random.IntN(len(s.running))]
	pid := m.pid()
	member, err := s.until(ctx, logs, m, "worker %d has no partitions", func(owner process.Sharing) (consumer.Holder, bool) { return find(owner, pid) })
	if err != nil {
		return err
	}
	if err := pause(m.cmd.Process); err != nil {
		return err
	}
	began := time.Now()
	_, err = s.until(ctx, logs, m, "worker %d is stopped, and nobody takes its partitions", func(owner process.Sharing) (consumer.Holder, bool) {
		// Its lease was renewed a while before it was stopped; it notices a stop that is longer than a whole one.
		return member, time.Since(began) > s.lease+s.lease/4 && !slices.ContainsFunc(owner.Workers, func(h consumer.Holder) bool { return h.Worker == member.Worker && h.Since.Equal(member.Since) })
	})
	if err := errors.Join(err, resume(m.cmd.Process)); err != nil {
		return err
	}
	took := time.Since(began)
	var woke, lost int64
	for _, heard := range []struct {
		what string
		from chan int64
		to   *int64
	}{{"went on", m.woke, &woke}, {"lost its lease", m.lost, &lost}} {
		select {
		case *heard.to = <-heard.from:
		case <-m.ended:
			return fmt.Errorf("worker %d ended without saying that it %s: %w", pid, heard.what, m.err)
		case <-ctx.Done():
			return fmt.Errorf("worker %d didn't say that it %s", pid, heard.what)
		}
	}
	if lost > woke+1 { // the answer to one append may have waited for it
		return fmt.Errorf("worker %d made %d transactions between going on and noticing that its lease was lost", pid, lost-woke)
	}
	_, err = s.until(ctx, logs, m, "worker %d lost its lease, and doesn't join again", func(owner process.Sharing) (consumer.Holder, bool) {
		h, owns := find(owner, pid)
		return h, owns && !h.Since.Equal(member.Since)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "worker %d stopped for %.1f s: it lost its lease of %v, wrote nothing, and joined again\n", pid, took.Seconds(), s.lease)
	return nil
}

// until looks who shares the process, until something is true of it.
func (s *sharing) until(ctx context.Context, logs *report.Logs, m *member, otherwise string, is func(process.Sharing) (consumer.Holder, bool)) (consumer.Holder, error) {
	for {
		now, err := process.Workers(ctx, logs.Log(authority.Registry), authority.Collection)
		if err != nil && !errors.Is(err, process.ErrNoProcess) {
			return consumer.Holder{}, err
		}
		if h, ok := is(now); ok && err == nil {
			return h, nil
		}
		if m.hasEnded() && m.err == nil {
			return consumer.Holder{}, nil // the process has finished meanwhile
		}
		if consumer.Sleep(ctx, s.lease/20) != nil {
			return consumer.Holder{}, fmt.Errorf(otherwise, m.pid())
		}
	}
}

// find returns the member of a process's id, if it owns something.
func find(s process.Sharing, pid int) (consumer.Holder, bool) {
	for _, h := range s.Workers {
		if h.PID == pid && slices.ContainsFunc(s.Partitions, func(p process.PartitionInfo) bool { return p.Worker == h.Worker }) {
			return h, true
		}
	}
	return consumer.Holder{}, false
}

// judge compares what is there with what is expected.
func (s *sharing) judge(ctx context.Context, expected report.Figures) error {
	d, err := readDurable(ctx, s.address, true)
	if err != nil {
		return err
	}
	r, err := report.Read(ctx, s.address)
	if err != nil {
		return err
	}
	penalties, inputs := int64(expected.Penalties), int64(expected.Events+expected.Penalties)
	switch diffs := r.Figures.Differences(expected); {
	case len(diffs) > 0:
		return fmt.Errorf("the figures are not as expected:\n\t%s", strings.Join(diffs, "\n\t"))
	case !d.Complete || d.Inputs != inputs || d.Timeouts != penalties || d.Commands != penalties:
		return fmt.Errorf("not each input was taken once: there are %v; expected %d inputs and %d timeouts", d, inputs, penalties)
	}
	fmt.Fprintln(s.out, "every figure is as expected, each input was taken once, and nothing in the logs contradicts itself")
	return nil
}

// expectedFigures are those that stand beside the data, or those of an undisturbed run on files.
func (t *torture) expectedFigures(ctx context.Context) (report.Figures, error) {
	text, err := os.ReadFile(filepath.Join(t.data, "expected.json"))
	if err == nil {
		return report.ParseFigures(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return report.Figures{}, err
	}
	l, err := t.live(ctx, filepath.Join(t.dir, "undisturbed")+string(filepath.Separator), nil)
	return l.figures, err
}
