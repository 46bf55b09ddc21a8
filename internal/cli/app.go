package cli

import (
	"context"
	"encoding/json"
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

// state returns an instance's state as JSON; nothing where the program has not its definition, or no instance has started.
func (p *program) state(ctx context.Context, address, name, key string) (_ json.RawMessage, err error) {
	if p.app == nil {
		return nil, nil
	}
	app, err := p.app.Open(ctx, address, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	engine := app.Process(name)
	if engine == nil {
		return nil, nil
	}
	i, err := engine.Instance(ctx, key)
	var unreadable *process.StepError
	if errors.Is(err, process.ErrNoInstance) || errors.As(err, &unreadable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(i.State)
}
