// Package cli is the command line that looks into logs and processes: of cmd/ensue, and of applications that embed it by
// ensue.Main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Command is a command line: what it is called, and what it has beside the commands that every one has.
type Command struct {
	Name     string // of the program
	Out, Err io.Writer
	Env      func(string) string
	Now      func() time.Time
	Colour   bool             // Out is a terminal
	Quiet    bool             // Err is none, so progress is not shown there
	App      App              // the application that embeds it; nil for none
	More     []*cobra.Command // of this program alone
}

// Terminal returns the command line of a program that runs in a terminal, or under another program.
func Terminal(name string) Command {
	return Command{Name: name, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now, Colour: isTerminal(os.Stdout), Quiet: !isTerminal(os.Stderr)}
}

// Main runs the command with the program's arguments until it is done or interrupted, and ends the program.
func (c Command) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := c.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs the command and returns its exit code.
func (c Command) Run(ctx context.Context, args []string) int { return c.program().run(ctx, args) }

// Root returns the tree of commands.
func (c Command) Root() *cobra.Command { return c.program().root() }

func (c Command) program() *program {
	return &program{name: c.Name, out: c.Out, err: c.Err, env: c.Env, now: c.Now, colour: c.Colour, quiet: c.Quiet, app: c.App, more: c.More}
}

// isTerminal tells whether something is written to a person.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// program is one run of the command.
type program struct {
	name     string
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
	colour   bool // out is a terminal
	quiet    bool // err is none, so progress is not shown there

	json    bool   // --json
	address string // --address

	app  App
	more []*cobra.Command
}

// How the command ends.
const (
	ExitDone    = 0
	ExitProblem = 1 // what was asked for could not be done, or problems were found
	ExitUsage   = 2 // what was asked for was not understood
)

// usageError is a mistake in how the command was called.
type usageError struct {
	text    string
	command *cobra.Command // whose help to read; nil where that is not known
}

func (e *usageError) Error() string { return e.text }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...), command: cmd}
}

// errProblems ends a command that has said already what is wrong.
var errProblems = errors.New("problems were found")

func (p *program) run(ctx context.Context, args []string) int {
	if p.env("NO_COLOR") != "" || p.env("TERM") == "dumb" { // https://no-color.org
		p.colour = false
	}
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	said := func() string { return withoutPasswords(err.Error(), append([]string{p.env("ENSUE_URL")}, args...)) }
	var bad *usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, errProblems):
		return ExitProblem
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitDone // it was told to end
	case errors.As(err, &bad):
		if bad.command != nil {
			cmd = bad.command
		}
		fmt.Fprintf(p.err, "%s: %s\nSee %s --help\n", p.name, said(), cmd.CommandPath())
		return ExitUsage
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		fmt.Fprintf(p.err, "%s: %s\n", p.name, said())
		return ExitUsage
	default:
		fmt.Fprintf(p.err, "%s: %s\n", p.name, said())
		return ExitProblem
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   p.name,
		Short: "Look into logs and processes",
		Long: p.name + ` looks into the logs of an application, explains what its processes do, and verifies what they keep.

An ADDRESS is a SQLite file, a folder of them, or a PostgreSQL database: postgres://user@host/database, with the schema
after ?schema= unless it is ensue. It is the first argument of a command, unless it is given by --address or the
environment variable ENSUE_URL, where a password is seen by fewer. Nothing there is changed except by ensue migrate and
by process hold, resume, skip, replace and cancel, and the application may have it open.

Exit codes: 0 all is well; 1 problems were found, or it could not be done; 2 the command was not understood.`,
		Example:       "  ensue log tail orders.db -f\n  ensue process ls orders.db\n  ensue process explain orders.db order-process 4711\n  ensue log verify orders.db",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%v", err) })
	root.AddCommand(p.logCommand(), p.streamCommand(), p.processCommand(), p.looking(p.workersCommand()), p.migrateCommand(), p.versionCommand())
	root.AddCommand(p.appCommands()...)
	root.AddCommand(p.more...)
	p.rename(root)
	return root
}

// rename lets the examples of all commands name this program.
func (p *program) rename(cmd *cobra.Command) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "  ensue ", "  "+p.name+" ")
	for _, c := range cmd.Commands() {
		p.rename(c)
	}
}

// group makes a command that only holds others.
func (p *program) group(name, short, example string, children ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: name, Short: short, Example: example}
	group.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			text += fmt.Sprintf("; did you mean %q?", cmd.CommandPath()+" "+similar[0])
		}
		return usage(cmd, "%s", text)
	}
	group.SuggestionsMinimumDistance = 2
	for _, c := range children {
		group.AddCommand(p.looking(c))
	}
	return group
}

// looking gives a command the flags of all that look at an address.
func (p *program) looking(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&p.json, "json", false, "write JSON")
	c.Flags().StringVarP(&p.address, "address", "a", "", "`address` of the logs, instead of the first argument")
	return c
}

func (p *program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  ensue version\n  ensue version --json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := versionOf(debug.ReadBuildInfo())
			if p.json {
				return p.document(v)
			}
			fmt.Fprintf(p.out, "%s %s", p.name, v.Version)
			if v.Commit != "" {
				fmt.Fprintf(p.out, ", commit %s", v.Commit)
			}
			fmt.Fprintf(p.out, ", %s %s\n", v.Go, v.Platform)
			return nil
		},
	}
	cmd.Flags().BoolVar(&p.json, "json", false, "write JSON")
	return cmd
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no arguments", cmd.CommandPath())
	}
	return nil
}

type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionOf(info *debug.BuildInfo, ok bool) version {
	v := version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
