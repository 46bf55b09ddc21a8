package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/examples/conference/shop"
)

var errWrong = errors.New("the logs don't come out even")

func demoCheckCommand() *cobra.Command {
	asJSON := false
	at := place{}
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Read a demonstration's logs and see that everything comes out even",
		Long: `Check reads the three logs of a demonstration from their beginning to their end, and compares what they say with each
other: that every order ended in exactly one outcome, and that the seats that were sold and the payments that were received
are those of the confirmed orders. It exits with 1 if anything is wrong.

The logs are in the folder, unless --address says where, or the folder holds none and ENSUE_URL says it. The letters to the
buyers are in the folder in any case.`,
		Example: `  ensue demo check ensue-demo-1
  ensue demo check ensue-demo-1 --json
  ensue demo check ensue-demo-1 -a postgres://user@host/database`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			at.dir = args[0]
			_, missing := os.Stat(filepath.Join(at.dir, "orders.db"))
			if err := at.fromVariable(os.Getenv, missing == nil); err != nil {
				return err
			}
			audit, err := at.audit(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(audit)
			} else {
				printAudit(out, audit, newProgress(cmd.ErrOrStderr()).colours(out))
			}
			if err == nil && !audit.OK() {
				err = errWrong
			}
			return err
		},
	}
	at.addressFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// audit reads the logs of a demonstration, without writing anything there.
func (p *place) audit(ctx context.Context) (_ *shop.Audit, err error) {
	var logs shop.Logs
	var database *pglog.Database
	if p.address != "" {
		if database, err = pglog.Open(ctx, p.address, pglog.Options{ReadOnly: true}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, database.Close()) }()
	}
	for module, log := range map[string]*eventlog.Log{"orders": &logs.Orders, "seats": &logs.Seats, "payments": &logs.Payments} {
		if database != nil {
			if *log, err = database.Log(ctx, module); err != nil {
				return nil, fmt.Errorf("%w\n%s should be where the logs of a demonstration are", err, p.shown())
			}
			continue
		}
		path := filepath.Join(p.dir, module+".db")
		file, err := sqlitelog.Open(ctx, path, sqlitelog.Options{ReadOnly: true, MustExist: true, Poll: -1})
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s should be the folder of a demonstration, as `ensue demo` names it", path, err, p.dir)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if *log, err = file.Log(ctx, module); err != nil {
			return nil, err
		}
	}
	audit, err := shop.TakeAudit(ctx, logs)
	if err != nil {
		return nil, err
	}
	sent, err := outboxOf(p.dir).Sent()
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	audit.Letters(sent)
	return audit, nil
}

// printAudit prints the outcomes and the checks.
func printAudit(out io.Writer, a *shop.Audit, c colours) {
	row := func(what string, n int, why string) { fmt.Fprintf(out, "  %-12s %6d   %s\n", what, n, why) }
	row("confirmed", a.Confirmed, "paid for; the seats are the buyer's")
	row("rejected", a.Rejected, "no seats left, or the sale was over")
	row("timed out", a.TimedOut, "not paid in time; the seats were released")
	row("compensated", a.Compensated, "cancelled or declined; the seats were released")
	if a.Open > 0 {
		row("open", a.Open, "not ended")
	}
	row("orders", a.Orders, fmt.Sprintf("%d of them changed on the way; %d stale reservations were ignored, %d payments refunded", a.Changed, a.Stale, a.Refunded))
	fmt.Fprintln(out)
	for _, check := range a.Checks {
		verdict, relation := c.good("ok   "), "="
		if !check.OK() {
			verdict = c.bad("wrong")
		}
		if check.Found != check.Want {
			relation = "≠"
		}
		fmt.Fprintf(out, "  %s  %-52s %8d %s %d\n", verdict, check.What, check.Found, relation, check.Want)
		if n := len(check.Wrong); n > 0 {
			more := ""
			if n > 10 {
				more = fmt.Sprintf(" and %d more", n-10)
			}
			fmt.Fprintf(out, "         %s%s\n", strings.Join(check.Wrong[:min(n, 10)], ", "), more)
		}
	}
}
