package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/examples/conference/crowd"
	"github.com/ensue-io/ensue/examples/conference/shop"
)

const workerReady = "ready"

// demoWorkerCommand runs the shop. It ends when its standard input does, so that it does not outlive a demonstration that
// was itself killed.
func demoWorkerCommand() *cobra.Command {
	var payment time.Duration
	cmd := &cobra.Command{
		Use:    "worker DIR",
		Short:  "Run the shop of a demonstration until standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cmd.SilenceUsage = true
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			at := place{dir: args[0]}
			if err := at.fromVariable(os.Getenv, false); err != nil { // a demonstration on files sets none
				return err
			}
			app, err := ensue.Open(ctx, at.logs(), shop.Parts(shopConfig(args[0], payment))...)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, app.Close()) }()
			fmt.Fprintln(cmd.OutOrStdout(), workerReady)
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // however it ends, nobody is there any more
				stop()
			}()
			return app.Run(ctx)
		},
	}
	cmd.Flags().DurationVar(&payment, "payment-time", 3*time.Second, "how long a buyer has for a payment")
	return cmd
}

// worker is a running worker.
type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when it has ended
	err   error         // how it ended
}

func (d *demo) workerLog() string { return filepath.Join(d.dir, "worker.log") }

func thisProgram(ctx context.Context, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return exec.CommandContext(ctx, exe, args...)
}

// startWorker starts this program once more, as a worker, and waits until it is ready.
func (d *demo) startWorker(ctx context.Context) (*worker, error) {
	log, err := os.OpenFile(d.workerLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the worker has its own
	// The worker ends by its standard input and not with the context: in good order, unless it is killed.
	cmd := d.program(context.WithoutCancel(ctx), "demo", "worker", d.dir, "--payment-time", d.payment.String())
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, addressVariable+"="+d.address) // where a password is seen by fewer than among the arguments
	cmd.Stderr = log
	w := &worker{cmd: cmd, ended: make(chan struct{})}
	if w.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	said, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		w.err = cmd.Wait()
		close(w.ended)
	}()
	if err != nil || said != workerReady+"\n" {
		w.kill()
		return nil, fmt.Errorf("the worker did not start: it said %q: %w", said, err)
	}
	return w, nil
}

// kill ends the worker at once, wherever it is (on Unix by SIGKILL), and waits until it is gone.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it fails where there is nothing left to kill
	<-w.ended
	_ = w.stdin.Close()
}

// stop lets the worker end in good order.
func (w *worker) stop() error {
	_ = w.stdin.Close() // this is how it is told
	select {
	case <-w.ended:
		return w.err
	case <-time.After(10 * time.Second):
		w.kill()
		return errors.New("the worker did not end within 10 s, and was killed")
	}
}

// supervise keeps a worker running until the context ends, and kills it as often as it should be.
func (d *demo) supervise(ctx context.Context, visit *crowd.Visit) error {
	kill := make(chan struct{})
	go d.chooseMoments(ctx, visit, kill)
	began, killed := time.Now(), 0
	for {
		w, err := d.startWorker(ctx)
		if err != nil {
			return err
		}
		if killed > 0 {
			d.show.line("a new worker runs after %d ms", time.Since(began).Milliseconds())
		}
		select {
		case <-ctx.Done():
			return w.stop()
		case <-w.ended:
			return errors.Join(errors.New("the worker ended by itself"), w.err)
		case <-kill:
			killed++
			began = time.Now()
			w.kill()
			p := visit.Progress()
			d.show.line("worker killed (%d of %d): %d orders placed, %d ended", killed, d.kills, p.Placed, p.Closed)
		}
	}
}

// chooseMoments says when to kill: at random moments, one in each of as many equal parts of what comes in.
func (d *demo) chooseMoments(ctx context.Context, visit *crowd.Visit, kill chan<- struct{}) {
	moments := make([]int64, d.kills)
	for n := range moments {
		moments[n] = int64((float64(n) + rand.Float64()) / float64(d.kills) * float64(d.buyers))
	}
	for _, m := range moments {
		for visit.Progress().Placed < m {
			if consumer.Sleep(ctx, 5*time.Millisecond) != nil {
				return
			}
		}
		if consumer.Sleep(ctx, rand.N(100*time.Millisecond)) != nil {
			return
		}
		select {
		case kill <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}
