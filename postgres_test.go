package ensue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestMain(m *testing.M) {
	if version := os.Getenv(mainVersion); version != "" { // this test program is an application that embeds the command line
		ensue.Main(menus(version)...)
	}
	os.Exit(pgtest.Main(m))
}

// Modules at one address share a database, which has the schema that the address names; a module of another address is
// elsewhere.
func TestOpenDatabase(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := pgtest.Database(t) + "&schema=logs"
	app, err := ensue.Open(ctx, address, ensue.Options{Logger: quiet()}, dailyModule(),
		ensue.Module{Name: "other"}, ensue.Module{Name: "elsewhere", Address: pgtest.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	logs := map[string]*pglog.Log{}
	for _, name := range []string{"other", "elsewhere"} {
		l, ok := app.Module(name).Log().(*pglog.Log)
		if !ok || l.Module() != name {
			t.Fatalf("%s: %T", name, app.Module(name).Log())
		}
		logs[name] = l
	}
	if err := app.Close(); err != nil {
		t.Error(err)
	}
	for address, want := range map[string]string{address: "other", pgtest.Database(t): ""} {
		db, err := pglog.Open(ctx, address, pglog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		names, err := db.Modules(ctx)
		if err != nil || want != "" && (len(names) != 2 || names[1] != want) || want == "" && len(names) > 0 {
			t.Error(names, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	var missing *pglog.SchemaError
	_, err = ensue.Open(ctx, pgtest.Database(t), ensue.Options{MustExist: true, Logger: quiet()}, dailyModule())
	if !errors.As(err, &missing) || missing.Version != 0 {
		t.Error(fmt.Sprint(err))
	}
}
