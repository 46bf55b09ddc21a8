package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog/pglog"
)

// Damage in the tables of a database is named, of a module and of the schema.
func TestVerifyNamesDamageInADatabase(t *testing.T) {
	t.Parallel()
	address, _ := aDatabase(t)
	address += "&schema=logs"
	story(t, address, ensue.Options{Now: time.Now})
	conn, err := pglog.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, text := range []string{
		`UPDATE logs.log SET recorded = recorded - interval '1 day' WHERE position = 2 AND module = (SELECT module FROM logs.modules WHERE name = 'payments')`,
		`DROP FUNCTION logs.link_places`,
	} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	c := call(t, nil, "log", "verify", address)
	for _, want := range []string{"database logs: function link_places: is missing\n", "database payments: position 2: was recorded before the position before it\n", "2 problems in 3 modules"} {
		if c.code != exitProblem || !strings.Contains(c.out, want) {
			t.Errorf("exit code %d, no %q in\n%s%s", c.code, want, c.out, c.err)
		}
	}
}
