package main

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/internal/crashes"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process/processtest"
)

// The program crashes before and after everything that it does, and comes to the same end with every store. By the
// replay clock everything has its order, so the whole history is the same.
func TestG6_G7_G8_G9_G11_CrashEverywhere(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			story := processtest.Story{OrderFree: true, Run: func(ctx context.Context, p *processtest.Program) error {
				app, err := ensue.Open(ctx, "", catering(), ensue.Options{Replay: true, Logs: p.Logs, Commands: p.Commands, Worker: p.Worker, Lease: p.Lease,
					Processes: map[string]ensue.ProcessOptions{CateringMatch.Name(): {Store: store}}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
				if err != nil {
					return err
				}
				p.Engine(app.Process(CateringMatch.Name()))
				if err := record(ctx, app); err != nil {
					return err
				}
				if err := app.Module(module).Seal(ctx); err != nil {
					return err
				}
				return app.Run(ctx)
			}}
			crashes.Everywhere(t, story, crashes.Samples{Memory: 400, SQLite: 120, Postgres: 12}, pgtest.Database)
		})
	}
}
