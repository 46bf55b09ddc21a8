package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/examples/conference/crowd"
	"github.com/ensue-io/ensue/examples/conference/shop"
)

// demo is one demonstration: the conference example, with a crowd of buyers here and the shop's processes in a worker,
// a program of its own.
type demo struct {
	place
	buyers  int
	seed    uint64
	payment time.Duration
	kills   int

	out     io.Writer                                           // for the table
	show    *progress                                           // for what goes on
	program func(ctx context.Context, args ...string) *exec.Cmd // runs this program with other arguments
}

func demoCommand() *cobra.Command {
	d := demo{}
	kill := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Sell seats to a thousand simulated buyers, and see that everything comes out even",
		Long: `Demo runs the conference example: orders, seats and payments are three modules with a SQLite file each, and a
process manager takes every order through them. A thousand buyers pay, pay too late or never, cancel, change their
orders while these are under way, and want more seats than there are. The processes run in a worker, a program of its
own; with --kill it is killed ten times on the way, at random moments, and started anew.

With --address the logs are in a PostgreSQL database, and so they are with ENSUE_URL unless --dir is given. Then the folder
holds the letters to the buyers, and what the worker said.

At the end the logs are read from the beginning, and what the modules say is compared: no order may have got lost, or have
had an effect twice.`,
		Example: `  ensue demo
  ensue demo --kill
  ensue demo --dir demo --seed 7
  ensue demo --kill -a postgres://user@host/database
  ensue demo check demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if kill && d.kills == 0 {
				d.kills = 10
			}
			if err := d.fromVariable(os.Getenv, d.dir != ""); err != nil {
				return err
			}
			d.out, d.show, d.program = cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr()), thisProgram
			return d.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.dir, "dir", "", "`folder` for the logs (default ensue-demo-1, or the next that does not exist)")
	d.addressFlag(f)
	f.IntVar(&d.buyers, "buyers", 1000, "how many buyers come")
	f.Uint64Var(&d.seed, "seed", 1, "decides who does what")
	f.DurationVar(&d.payment, "payment-time", 3*time.Second, "how long a buyer has for a payment")
	f.BoolVar(&kill, "kill", false, "kill the worker ten times on the way")
	f.IntVar(&d.kills, "kills", 0, "kill the worker so many times")
	cmd.AddCommand(demoCheckCommand(), demoWorkerCommand())
	return cmd
}

// folder makes the demonstration's folder. One that is there already is continued.
func (d *demo) folder() error {
	if d.dir != "" {
		return os.MkdirAll(d.dir, 0o700)
	}
	for n := 1; ; n++ {
		d.dir = fmt.Sprintf("ensue-demo-%d", n)
		if err := os.Mkdir(d.dir, 0o700); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.buyers < 1 || d.buyers > 9999 {
		return fmt.Errorf("--buyers is 1 to 9999, not %d", d.buyers)
	}
	if err := d.folder(); err != nil {
		return fmt.Errorf("make a folder for the logs: %w", err)
	}
	began := time.Now()
	d.show.line("%d buyers come to the shop in %s", d.buyers, d.shown())
	if err := d.sell(ctx); err != nil {
		return fmt.Errorf("%w\nwhat the worker said is in %s", err, d.workerLog())
	}
	took := time.Since(began)
	audit, err := d.audit(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "%d buyers, %d kills, %.1f s; the logs are in %s\n\n", audit.Orders, d.kills, took.Seconds(), d.shown())
	printAudit(d.out, audit, d.show.colours(d.out))
	d.printNext(audit)
	if !audit.OK() {
		return errWrong
	}
	return nil
}

// sell has the crowd buy while the worker runs, and maybe is killed.
func (d *demo) sell(ctx context.Context) (err error) {
	app, err := ensue.Open(ctx, d.logs(), shop.Parts(shopConfig(d.dir, d.payment))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	arrivals := time.Duration(d.buyers) * 8 * time.Millisecond // the worker should have something to do, and not choke
	if d.kills > 0 {
		arrivals += arrivals / 2
	}
	visit := crowd.Crowd{Seed: d.seed, Buyers: d.buyers, PaymentTime: d.payment, Arrivals: arrivals}.Visits(app)

	work, stop := context.WithCancelCause(ctx)
	supervised := make(chan struct{})
	go func() {
		defer close(supervised)
		if err := d.supervise(work, visit); err != nil {
			stop(err)
		}
	}()
	showing := make(chan struct{})
	go func() {
		defer close(showing)
		d.show.follow(work, d.buyers, visit)
	}()
	err = visit.Run(work)
	if cause := context.Cause(work); err != nil && cause != nil {
		err = cause
	}
	stop(nil)
	<-supervised
	<-showing
	return err
}

func shopConfig(dir string, payment time.Duration) shop.Config {
	return shop.Config{PaymentTime: payment, Mailer: outboxOf(dir),
		Options: ensue.Options{Poll: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}}
}

func outboxOf(dir string) shop.Outbox { return shop.Outbox(filepath.Join(dir, "outbox")) }

// printNext says how to look at what happened.
func (d *demo) printNext(a *shop.Audit) {
	var next []string
	name := "ensue"
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		name = "go run ./cmd/ensue"
	}
	check, logs := d.dir, d.dir
	switch {
	case d.variable:
		logs = ""
	case d.address != "":
		check, logs = d.dir+" -a '"+d.shown()+"'", "'"+d.shown()+"'"
	}
	for _, line := range []string{"demo check " + check, "process explain " + logs + " registration " + a.Example, "log verify " + logs} {
		next = append(next, "  "+name+" "+strings.Join(strings.Fields(line), " ")+"\n")
	}
	fmt.Fprintf(d.out, "\nWhat next?\n%s", strings.Join(next, ""))
}
