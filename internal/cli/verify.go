package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ensue-io/ensue/process"
)

func (p *program) logVerify() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use:   "verify ADDRESS",
		Short: "Check that everything in the logs fits together",
		Long: `Check the files or the tables themselves, positions and versions, receipts, cursors, and all that processes keep: the
history of each instance against the list of instances, the events that it took against their sources, the commands that
it sent against their causes and receipts, the timeouts to come, the holds and their queues.

A binary of the application's own, which has the definitions, also accounts for every input: what a process has moved past
was taken or ignored by each instance that it concerns, waits for it, or was counted as ignored where there was none.
Events that find their instance by a claimed key are left out: who had the key at the time is not kept.

What is wrong is written with where it is, and the exit code is 1. The application may run meanwhile. Modules that are
elsewhere cannot be looked at; it says so.`,
		Example: "  ensue log verify orders.db\n  ensue log verify data/ --json\n  ensue log verify postgres://reports@db.example.com/shop",
		RunE: p.reads(0, 0, func(cmd *cobra.Command, o *opened, _ []string) error {
			return p.withEngines(cmd.Context(), o.given, func(engines []*process.Engine, why error) error {
				return p.verify(cmd.Context(), o, engines, why, most)
			})
		}),
		ValidArgsFunction: p.completion(0),
	}
	cmd.Flags().IntVar(&most, "most", 1000, "show at most so many `problems`, 0 for all")
	return cmd
}

// verifyView is the result of a verification.
type verifyView struct {
	Address   string            `json:"address"`
	Modules   []string          `json:"modules"`
	OK        bool              `json:"ok"`
	Found     int               `json:"found"` // problems, also those behind the last that is listed
	Problems  []process.Problem `json:"problems"`
	Unchecked []process.Problem `json:"unchecked"`
}

// withEngines has the definitions at hand, where the program has any, or else why it has not.
func (p *program) withEngines(ctx context.Context, address string, do func(engines []*process.Engine, why error) error) (err error) {
	if p.app == nil {
		return do(nil, nil)
	}
	app, why := p.app.Open(ctx, address, true)
	if why != nil { // the logs may be damaged, or others than this application's
		return do(nil, why)
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	var engines []*process.Engine
	for _, name := range app.Processes() {
		if e := app.Process(name); e != nil {
			engines = append(engines, e)
		}
	}
	return do(engines, nil)
}

func (p *program) verify(ctx context.Context, o *opened, engines []*process.Engine, why error, most int) error {
	v := verifyView{Address: o.address, Modules: o.names(), Problems: []process.Problem{}, Unchecked: []process.Problem{}}
	if why != nil {
		v.Unchecked = append(v.Unchecked, process.Problem{Kind: process.NotChecked, Module: strings.Join(v.Modules, ", "),
			What: fmt.Sprintf("the application cannot be opened there, so whether every input is accounted for cannot be checked: %v", why)})
	}
	found := func(problem process.Problem) {
		v.Found++
		if most > 0 && len(v.Problems) >= most {
			return
		}
		v.Problems = append(v.Problems, problem)
		if !p.json {
			p.showProblem(problem)
		}
	}
	modules := make([]process.Module, len(o.modules))
	for i, m := range o.modules {
		modules[i] = process.Module{Name: m.name, Log: m.log}
	}
	stores := make(chan storeProblems, 1)
	go func() { stores <- verifyStores(ctx, o) }()
	g := meter{p: p}
	defer g.done()
	tell := func(at process.Progress) {
		if at.Total > 0 {
			g.show("%s: %d of %d %s", at.Module, at.Done, at.Total, at.What)
		} else {
			g.show("%s: %d %s", at.Module, at.Done, at.What)
		}
	}
	var logs []process.Problem // that the check of the store may say better
	var failed error
	for problem, err := range process.VerifyWith(ctx, modules, engines, tell) {
		switch {
		case err != nil:
			failed = err
		case problem.Kind == process.NotChecked:
			v.Unchecked = append(v.Unchecked, problem)
		case problem.Kind == process.LogProblem, problem.Kind == process.StreamProblem:
			logs = append(logs, problem)
		default:
			g.done()
			found(problem)
		}
	}
	g.show("how they are kept")
	inStores := <-stores
	g.done()
	if err := errors.Join(failed, inStores.err); err != nil {
		return err
	}
	for _, problem := range inStores.found {
		found(problem)
	}
	for _, problem := range logs {
		if !inStores.modules[problem.Module] {
			found(problem)
		}
	}
	v.OK = v.Found == 0
	if p.json {
		if err := p.document(v); err != nil {
			return err
		}
	} else {
		p.showVerified(&v)
	}
	if !v.OK {
		return errProblems
	}
	return nil
}

// Problems in how a file or a database keeps a log.
const (
	fileProblem     process.ProblemKind = "file"
	databaseProblem process.ProblemKind = "database"
)

// storeProblems is what was found in files and databases.
type storeProblems struct {
	found   []process.Problem
	modules map[string]bool // in which something was found
	err     error
}

func verifyStores(ctx context.Context, o *opened) storeProblems {
	all := storeProblems{modules: map[string]bool{}}
	for _, s := range o.stores {
		v, ok := s.(verifier)
		if !ok {
			continue
		}
		for problem, err := range v.verify(ctx) {
			if err != nil {
				all.err = err
				return all
			}
			all.modules[problem.Module] = true
			if problem.Module == "" {
				problem.Module = v.short()
			}
			all.found = append(all.found, problem)
		}
	}
	return all
}

func (p *program) showProblem(problem process.Problem) {
	where := ""
	if problem.Where != "" {
		where = clean(problem.Where) + ": "
	}
	fmt.Fprintf(p.out, "%s %s: %s%s\n", p.paint(red, string(problem.Kind)), p.paint(bold, problem.Module), where, clean(problem.What))
}

func (p *program) showVerified(v *verifyView) {
	for _, u := range v.Unchecked {
		fmt.Fprintf(p.out, "%s %s: %s\n", p.paint(yellow, "unchecked"), p.paint(bold, u.Module), clean(u.What))
	}
	modules := fmt.Sprintf("%s (%s)", count(len(v.Modules), "module", "modules"), enumerate(v.Modules))
	switch {
	case v.OK:
		fmt.Fprintf(p.out, "%s: %s verified, no problem found\n", p.paint(green, "ok"), modules)
	case v.Found > len(v.Problems):
		fmt.Fprintf(p.out, "%d problems in %s, of which %d are shown\n", v.Found, modules, len(v.Problems))
	default:
		fmt.Fprintf(p.out, "%s in %s\n", count(v.Found, "problem", "problems"), modules)
	}
}
