package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/process"
)

// operating describes a command that does something with held instances.
type operating struct {
	action process.Action
	short  string
	long   string
	done   string // what was done
	kept   string // where the reason is kept
}

// operators returns the commands by which operators decide on held instances.
func (p *program) operators() []*cobra.Command {
	all := []operating{
		{process.ActHold, "Hold an instance by hand", "Hold an instance, also a healthy one: its later inputs queue until it is resumed.", "held", "it stands with the hold"},
		{process.ActResume, "Have held instances try again", "Have held instances try again what failed, and then what queues behind it, in order.", "resumed", "the application logs it"},
		{process.ActSkip, "Leave out the input that failed", "Leave out the input that failed. It is recorded as ignored, with the reason; what queues behind it is taken.", "skipped", "it is recorded in the instance's history"},
		{process.ActReplace, "Correct the input that failed", `Take the input that failed with a corrected payload, given by --data: that of an event or timeout, the result of a command
that was accepted, the rejection of one that was not. The original is kept beside it. A payload that the definition
cannot take is refused, and the instance stays held.`, "replaced", "it is recorded in the instance's history"},
		{process.ActCancel, "Complete an instance", "Complete an instance, held or not: its timeouts are cancelled, and what queues for it is recorded as ignored.", "cancelled", "it is recorded in the instance's history"},
	}
	commands := make([]*cobra.Command, len(all))
	for n := range all {
		commands[n] = p.operator(&all[n])
	}
	return commands
}

func (p *program) operator(o *operating) *cobra.Command {
	r := process.Request{Action: o.action}
	var data string
	var wait time.Duration
	name := string(o.action)
	use, most := name+" ADDRESS NAME [INSTANCE]", 2
	example := "  " + p.name + " process " + name + " orders.db order-process 4711 --reason \"wrong amount\""
	if o.action == process.ActReplace {
		use, example = name+" ADDRESS NAME INSTANCE", example+" --data payment.json"
	} else {
		example += "\n  " + p.name + " process " + name + " orders.db order-process --error 3f9a01bc --reason \"fixed in 1.4\""
	}
	cmd := &cobra.Command{
		Use:     use,
		Short:   o.short,
		Long:    o.long + "\n\nThe application carries it out, within a second while it runs, else when it is started; a request is kept until then.",
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			address, rest, err := p.arguments(cmd, args, 1, most)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				r.Instance = rest[1]
			}
			if (r.Instance != "") == (r.All || r.Fingerprint != "") || r.All && r.Fingerprint != "" {
				return usage(cmd, "say for which instances, in one way: one INSTANCE, --all, or --error with a fingerprint that %s process ls --held shows", p.name)
			}
			if r.Reason == "" && o.action != process.ActResume {
				return usage(cmd, "say why by --reason; %s", o.kept)
			}
			if wait < 0 {
				return usage(cmd, "--wait takes a time, not %v", wait)
			}
			if o.action == process.ActReplace {
				if r.Data, err = p.corrected(cmd, data); err != nil {
					return err
				}
			}
			return p.operate(cmd.Context(), address, rest[0], o, r, wait)
		},
		ValidArgsFunction: p.completion(most),
	}
	if o.action != process.ActReplace {
		cmd.Flags().BoolVar(&r.All, "all", false, "all instances that stand aside after a failure")
		cmd.Flags().StringVar(&r.Fingerprint, "error", "", "all instances that failed with the error of this `fingerprint`")
	} else {
		cmd.Flags().StringVar(&data, "data", "", "`file` with the corrected payload as JSON, - for standard input")
	}
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why; "+o.kept)
	cmd.Flags().StringVar(&r.By, "by", operatorName(p.env), "who; "+o.kept)
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Second, "how long to wait for the application")
	return cmd
}

// operatorName returns who calls the command.
func operatorName(env func(string) string) string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return env("USER")
}

func (p *program) corrected(cmd *cobra.Command, file string) (json.RawMessage, error) {
	var data []byte
	var err error
	switch file {
	case "":
		return nil, usage(cmd, "give the corrected payload by --data")
	case "-":
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), eventlog.MaxPayload+1))
	default:
		data, err = os.ReadFile(file) // #nosec G304 -- the operator names it
	}
	if err == nil && !json.Valid(data) {
		err = errors.New("the corrected payload is no JSON")
	}
	return data, err
}

// operatedView is what became of a request.
type operatedView struct {
	Process   string         `json:"process"`
	Action    process.Action `json:"action"`
	Done      int            `json:"done"`
	Requested int            `json:"requested"` // kept until the application runs
	Refused   []refusedView  `json:"refused"`
}

type refusedView struct {
	Instance string `json:"instance"`
	Why      string `json:"why"`
}

func (p *program) operate(ctx context.Context, address, name string, what *operating, r process.Request, wait time.Duration) error {
	o, err := p.open(ctx, address)
	if err != nil {
		return err
	}
	defer o.close()
	k, err := o.process(ctx, name)
	if err != nil {
		return err
	}
	log, done, err := writable(ctx, address, k)
	if err != nil {
		return err
	}
	defer done()
	g := meter{p: p}
	r.Progress = func(answered, asked int) { g.show("%d of %d %s", answered, asked, what.done) }
	r.Wait = max(wait, 1) // of none, next to none
	answers, err := process.Operate(ctx, log, name, r)
	g.done()
	v := operatedView{Process: name, Action: r.Action, Refused: []refusedView{}}
	var open *process.UnansweredError
	if errors.As(err, &open) && ctx.Err() == nil {
		v.Requested, err = open.Asked-open.Answered, nil
	}
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.Err == nil {
			v.Done++
			continue
		}
		v.Refused = append(v.Refused, refusedView{a.Instance, strings.TrimPrefix(a.Err.Error(), fmt.Sprintf("process %q, instance %q, %s: ", name, a.Instance, r.Action))})
	}
	return p.showOperated(&v, what)
}

func (p *program) showOperated(v *operatedView, what *operating) error {
	if p.json {
		if err := p.document(v); err != nil {
			return err
		}
	} else {
		if v.Done > 0 {
			fmt.Fprintf(p.out, "%s %s\n", count(v.Done, "instance", "instances"), p.paint(green, what.done))
		}
		if v.Requested > 0 {
			fmt.Fprintf(p.out, "%s; it happens when the application runs\n", p.paint(yellow, count(v.Requested, "request is kept", "requests are kept")))
		}
		for _, r := range v.Refused {
			fmt.Fprintf(p.out, "%s: %s\n", clean(r.Instance), p.paint(red, clean(r.Why)))
		}
		if v.Done+v.Requested+len(v.Refused) == 0 {
			fmt.Fprintln(p.err, "no instance of that kind stands aside")
		}
	}
	if len(v.Refused) > 0 {
		return errProblems
	}
	return nil
}

// writable opens the home log of a process to be written. The schema of a database is left as it is.
func writable(ctx context.Context, address string, k kept) (eventlog.Log, func(), error) {
	quiet := slog.New(slog.DiscardHandler)
	if IsDatabase(address) {
		d, err := pglog.Open(ctx, address, pglog.Options{MustExist: true, Manual: true, Logger: quiet})
		if err != nil {
			return nil, nil, err
		}
		done := func() { _ = d.Close() }
		log, err := d.Log(ctx, k.Home)
		if err != nil {
			done()
			return nil, nil, err
		}
		return log, done, nil
	}
	file, err := sqlitelog.Open(ctx, k.home.store.name(), sqlitelog.Options{MustExist: true, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = file.Close() }
	log, err := file.Log(ctx, k.Home)
	if err != nil {
		done()
		return nil, nil, err
	}
	return log, done, nil
}
