// Command trafficfines runs the process fine-collection over the recorded log of traffic fines of an Italian police
// authority, and reports what it led to.
//
//	go run ./examples/trafficfines -data DATA -dir DIR
//	go run ./examples/trafficfines -data DATA -address postgres://user@host/database
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/ensue-io/ensue/examples/trafficfines/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(program.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
