// The catering example: an order is confirmed once its customer and the caterer of each of its menus have confirmed.
//
//	go run ./examples/catering
//	go run ./examples/catering -store documents -dir catering
//
// It records what people answered in the first week of March 2026, lets the process run over it by the replay clock, in
// which 48 hours pass in no time, and tells what became of each order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/ensue-io/ensue"
)

func main() {
	dir := flag.String("dir", "", "the folder in which the log is kept; a temporary one, removed at the end, if it is not given")
	store := flag.String("store", "streams", "how the process keeps its state: streams, documents or folded")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *dir, *store); err != nil {
		fmt.Fprintln(os.Stderr, "catering:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir, store string) (err error) {
	kept, ok := stores[store]
	if !ok {
		return fmt.Errorf("there is no store %q; take streams, documents or folded", store)
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "catering-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	app, err := ensue.Open(ctx, filepath.Join(dir, store+".db"), catering(), ensue.Options{
		Replay:    true,
		Processes: map[string]ensue.ProcessOptions{CateringMatch.Name(): {Store: kept}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	if err := record(ctx, app); err != nil {
		return err
	}
	if err := app.Module(module).Seal(ctx); err != nil { // nothing else happened that week
		return err
	}
	if err := app.Run(ctx); err != nil { // ends when the process has handled it all
		return err
	}
	for _, s := range stories {
		if err := s.tell(ctx, out, app); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	return ctx.Err()
}
