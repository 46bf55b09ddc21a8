// Command ensue looks into the logs of an application, explains what its processes do, verifies what they keep, and
// runs a demonstration.
//
// It reads a SQLite file, a folder of them, or a PostgreSQL database, also while an application has it open. It changes
// nothing there, save for the schema of a database, by ensue migrate, and what operators ask for with held instances:
//
//	ensue log tail orders.db -f
//	ensue process explain orders.db order-process 4711
//	ensue log verify orders.db
package main

import (
	"os"

	"github.com/ensue-io/ensue/internal/cli"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "demo" {
		os.Args = append(os.Args[:1:1], longFlags(os.Args[1:])...)
	}
	commandLine().Main()
}

// commandLine is what there is, with the demonstration.
func commandLine() cli.Command {
	c := cli.Terminal("ensue")
	c.More = append(c.More, demoCommand())
	return c
}
