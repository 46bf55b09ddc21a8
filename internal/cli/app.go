package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/process"
)

// App is an application that embeds the command line.
type App interface {
	// Open opens the application at an address; only to look, it writes nothing there and cannot be run.
	Open(ctx context.Context, address string, look bool) (OpenApp, error)
}

// OpenApp is an application whose modules are open.
type OpenApp interface {
	Run(ctx context.Context) error
	Process(name string) *process.Engine // nil where it has none of that name
	Processes() []string                 // names of all
	Close() error
}

// appCommands returns the commands that need an application.
func (p *program) appCommands() []*cobra.Command {
	if p.app == nil {
		return nil
	}
	return []*cobra.Command{p.runCommand()}
}

// appProcessCommands returns the commands about processes that need their definitions.
func (p *program) appProcessCommands() []*cobra.Command {
	if p.app == nil {
		return nil
	}
	return []*cobra.Command{p.processDiff()}
}

func (p *program) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run ADDRESS",
		Short:   "Run the application",
		Long:    "Run what the application consists of, its processes, handlers and queues, until it is interrupted.",
		Example: "  ensue run orders.db\n  ensue run postgres://user@host/database",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			address, _, err := p.arguments(cmd, args, 0, 0)
			if err != nil {
				return err
			}
			app, err := p.app.Open(cmd.Context(), address, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, app.Close()) }()
			return app.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&p.address, "address", "a", "", "`address` of the logs, instead of the first argument")
	return cmd
}
