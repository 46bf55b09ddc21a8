package ensue

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/ensue-io/ensue/internal/cli"
)

// Main is the main function of an application that embeds the command line of ensue: its binary runs the application, and
// looks into its logs with all that cmd/ensue can and, since it has the definitions, more:
//
//	func main() { ensue.Main(orders, seats, ensue.Options{Carried: []string{"order-id"}}) }
//
//	shop run orders.db
//	shop process diff orders.db order-process --live
//	shop process explain orders.db order-process 4711
//
// The parts are those of Open. Main ends the program: with 0 where all is well, 1 where differences or problems were found
// or it could not be done, and 2 where the command was not understood.
func Main(parts ...Part) {
	c := cli.Terminal(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"))
	c.App = application(parts)
	c.Main()
}

// application is what the command line opens.
type application []Part

// Open implements cli.App.
func (a application) Open(ctx context.Context, address string, look bool) (cli.OpenApp, error) {
	app, err := open(ctx, address, look, a...)
	if err != nil {
		return nil, err
	}
	return openApplication{app}, nil
}

type openApplication struct{ *App }

// Processes implements cli.OpenApp.
func (a openApplication) Processes() []string {
	var names []string
	for _, m := range a.modules {
		for _, d := range m.declared.Processes {
			names = append(names, d.Name())
		}
	}
	return names
}
