package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

const password = "s3cret"

// aDatabase returns an address with a password, and the same without. The servers of tests ask for none.
func aDatabase(t *testing.T) (address, shown string) {
	t.Helper()
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), pglog.WithoutPassword(u.String())
}

// says runs the command, looks at how it ends, and returns all that it wrote. Nothing that it writes has a password.
func says(t *testing.T, code int, env map[string]string, args ...string) string {
	t.Helper()
	c := call(t, env, args...)
	if c.code != code {
		t.Errorf("%q: exit code %d instead of %d: %s%s", args, c.code, code, c.out, c.err)
	}
	if strings.Contains(c.out+c.err, password) {
		t.Errorf("%q shows the password: %s%s", args, c.out, c.err)
	}
	return c.out + c.err
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	address, shown := aDatabase(t)
	logs := address + "&schema=our%20logs"
	want := func(text string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%q is not in: %s", part, text)
			}
		}
	}
	want(says(t, exitDone, nil, "migrate", "status", address), "VERSION", "1  log   pending")
	want(says(t, exitProblem, nil, "log", "tail", address), "ensue migrate up", shown)
	want(says(t, exitDone, nil, "migrate", "print", address), "BEGIN;", `CREATE TABLE "ensue".events`, "COMMIT;")
	want(says(t, exitDone, nil, "migrate", "up", address), "applied 1 log\n", "schema ensue at "+shown+" has version 1, the newest")
	want(says(t, exitDone, map[string]string{"ENSUE_URL": address}, "migrate", "up"), "the newest")
	want(says(t, exitDone, nil, "migrate", "up", "-a", address, "--json"), "[]\n")
	want(says(t, exitDone, nil, "migrate", "print", address), "nothing is pending")
	want(says(t, exitDone, nil, "migrate", "print", address, "--to", "0"), `DROP TABLE "ensue".migrations`)
	want(says(t, exitProblem, nil, "log", "tail", logs), `schema "our logs"`)
	want(says(t, exitDone, nil, "migrate", "up", address, "--schema", "our logs"), "applied 1 log")

	var list []struct{ Applied *time.Time }
	if err := json.Unmarshal([]byte(says(t, exitDone, nil, "migrate", "status", logs, "--json")), &list); err != nil || len(list) != 1 || list[0].Applied == nil {
		t.Error(list, err)
	}
	want(says(t, exitProblem, nil, "log", "tail", logs), "holds no module yet")

	want(says(t, exitUsage, nil, "migrate", "down", logs), "--to")
	want(says(t, exitUsage, nil, "migrate", "down", logs, "--to", "0"), "every event of every module", "--yes")
	want(says(t, exitProblem, nil, "migrate", "down", logs, "--to", "2", "--yes"), "below 2 already")
	want(says(t, exitDone, nil, "migrate", "down", logs, "--to", "1", "--yes"), "the newest")
	want(says(t, exitDone, nil, "migrate", "down", logs, "--to", "0", "--yes"), "took back 1 log", "holds nothing of ours")
	want(says(t, exitDone, nil, "migrate", "status", address), "Z\n") // the other schema stays
}

// Neither asks a database.
func TestMigratePrintAndGrants(t *testing.T) {
	t.Parallel()
	nowhere := "postgres://ensue:" + password + "@127.0.0.1:1/shop?schema=logs"
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"migrate print --all", exitDone, `CREATE TABLE "ensue".events`},
		{"migrate print --all --schema mine", exitDone, `CREATE SCHEMA "mine"`},
		{"migrate print --all ADDRESS", exitDone, `CREATE TABLE "logs".events`},
		{"migrate print --from 1", exitDone, "nothing is pending"},
		{"migrate print --from 1 --to 0", exitDone, `DROP TABLE "ensue".migrations`},
		{"migrate print --all --json", exitDone, `"version": 1`},
		{"migrate print --from 1 --to 0 --json", exitDone, `"version": 0`},
		{"migrate print --all --from 1", exitUsage, "one of them"},
		{"migrate print --from 0 --to 99", exitUsage, "not 0 to 99"},
		{"migrate print --all --schema it's", exitProblem, "schema"},
		{"migrate print --all ADDRESS more", exitUsage, "no other argument"},
		{"migrate print", exitUsage, "no address"},
		{"migrate print ADDRESS", exitProblem, "connect"},
		{"migrate grants --role shop --for read", exitDone, `GRANT USAGE ON SCHEMA "ensue" TO "shop";`},
		{"migrate grants --role shop --for append ADDRESS", exitDone, `GRANT EXECUTE ON FUNCTION "logs".append`},
		{"migrate grants --role shop --for run --json", exitDone, `INSERT ON \"ensue\".modules TO \"shop\""`},
		{"migrate grants --role shop", exitUsage, "read, append or run"},
		{"migrate grants --for read", exitUsage, "--role"},
		{"migrate up shop.db", exitProblem, "only PostgreSQL"},
		{"migrate up ADDRESS", exitProblem, "postgres://ensue@127.0.0.1:1/shop"},
		{"migrate ADDRESS", exitUsage, "postgres://ensue@127.0.0.1:1/shop"},
		{"ADDRESS", exitUsage, "postgres://ensue@127.0.0.1:1/shop"},
		{"log tail -xADDRESS", exitUsage, "unknown shorthand"},
		{"log tail ADDRESSname=x%zz", exitProblem, "postgres://"},
		{"log tail postgres://ensue:" + password + "/x@db/shop", exitProblem, "%2F for /"},
		{"log tail dbname=x;password=" + password, exitProblem, "no file or folder"},
	} {
		text := says(t, tt.code, nil, strings.Fields(strings.ReplaceAll(tt.args, "ADDRESS", nowhere))...)
		if !strings.Contains(text, tt.says) {
			t.Errorf("%s says %s", tt.args, text)
		}
		if strings.Contains(tt.args, "--json") && !json.Valid([]byte(text)) {
			t.Errorf("%s writes %s", tt.args, text)
		}
	}
}

// All commands that read, on a database in which the story has happened.
func TestDatabase(t *testing.T) {
	t.Parallel()
	address, shown := aDatabase(t)
	address, shown = address+"&schema=logs", shown+"&schema=logs"
	story(t, address, ensue.Options{Now: time.Now}) // as the server's clock says
	for args, want := range map[string]string{
		"log tail ADDRESS":                                "payment-received",
		"log cat ADDRESS --module orders --system":        "order-confirmed",
		"log cat ADDRESS --tag order=47-2":                "payment/1",
		"log stats ADDRESS":                               "ADDRESS",
		"log verify ADDRESS":                              "3 modules (orders, payments and seats) verified, no problem found",
		"stream ls ADDRESS --prefix order":                "order/47-1",
		"stream show ADDRESS order-process/47-2":          "order-process/47-2",
		"process ls ADDRESS":                              "order-process",
		"process ls ADDRESS order-process":                "47-1",
		"process show ADDRESS order-process 47-2":         "47-2",
		"process explain ADDRESS order-process 47-2":      "emits 1 event",
		"process explain ADDRESS order-process 47-4":      "a payment of nothing",
		"process ls ADDRESS order-process --held":         "47-4",
		"stream show ADDRESS note/1":                      "no JSON",
		"log tail ADDRESS --module payments --lines 1000": "payment/5",
	} {
		fields := strings.Fields(strings.ReplaceAll(args, "ADDRESS", address))
		text := says(t, exitDone, nil, fields...)
		if !strings.Contains(text, strings.ReplaceAll(want, "ADDRESS", shown)) {
			t.Errorf("%s says %s", args, text)
		}
		if text := says(t, exitDone, nil, append(fields, "--json")...); !json.Valid([]byte(text)) {
			t.Errorf("%s --json writes %s", args, text)
		}
	}
	says(t, exitProblem, nil, "stream", "show", address, "order/47")
	var colour bytes.Buffer
	if c := callWith(t, t.Context(), &colour, true, nil, "migrate", "status", address); c.code != exitDone || !strings.Contains(colour.String(), "\x1b[") {
		t.Error(fmt.Sprint(c), colour.String())
	}
}
