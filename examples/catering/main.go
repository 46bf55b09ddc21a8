// The catering example: an order is confirmed once its customer and the caterer of each of its menus have confirmed.
//
//	go run ./examples/catering
//	go run ./examples/catering -store documents -dir catering
//	go run ./examples/catering -address postgres://user@host/database
//	go run ./examples/catering process diff catering/streams.db catering-match
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
	"strings"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/examples/internal/where"
	"github.com/ensue-io/ensue/process"
)

func main() {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") { // a command of ensue's, with this application's definitions
		ensue.Main(catering(), options(stores["streams"]))
	}
	logs := where.Add(flag.CommandLine, "`folder` in which each store has a log of its own; without an address, a temporary one that is removed at the end")
	store := flag.String("store", "streams", "how the process keeps its state: streams, documents or folded")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	address, err := logs.Address(os.Getenv)
	if err == nil {
		err = run(ctx, os.Stdout, address, *store)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "catering:", err)
		os.Exit(1)
	}
}

// options run the application by the replay clock, on a store.
func options(kept process.Store) ensue.Options {
	return ensue.Options{Replay: true, Processes: map[string]ensue.ProcessOptions{CateringMatch.Name(): {Store: kept}}}
}

func run(ctx context.Context, out io.Writer, address, store string) (err error) {
	kept, ok := stores[store]
	if !ok {
		return fmt.Errorf("there is no store %q; take streams, documents or folded", store)
	}
	if address == "" {
		dir, wrong := os.MkdirTemp("", "catering-")
		if wrong != nil {
			return wrong
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		address = where.Folder(dir)
	}
	// What one store keeps, another doesn't read: in a folder, each has a file of its own.
	if strings.HasSuffix(address, "/") || strings.HasSuffix(address, string(filepath.Separator)) {
		if err := os.MkdirAll(address, 0o700); err != nil {
			return err
		}
		address = filepath.Join(address, store+".db")
	}
	app, err := ensue.Open(ctx, address, catering(), options(kept))
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
