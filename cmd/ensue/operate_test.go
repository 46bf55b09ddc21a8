package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ensue-io/ensue"
)

// Another process than the application asks; the application carries it out while it runs, and else when it is started.
func TestG9_OperatorsDecideOnHeldInstances(t *testing.T) {
	shop := aShop(t)
	calls := func(code int, want string, args ...string) called {
		t.Helper()
		c := call(t, nil, append([]string{"process"}, args...)...)
		if c.code != code || !strings.Contains(c.out+c.err, want) {
			t.Fatalf("%v: code %d, %s%s; want %d, %q", args, c.code, c.out, c.err, code, want)
		}
		return c
	}
	var aside []struct{ Fingerprint string }
	if err := json.Unmarshal([]byte(calls(0, "", "ls", shop, "--held", "--json").out), &aside); err != nil || len(aside) != 1 || len(aside[0].Fingerprint) != 8 {
		t.Fatalf("%v, %+v", err, aside)
	}
	calls(2, "say for which instances", "resume", shop, "order-process")
	calls(2, "in one way", "resume", shop, "order-process", "47-4", "--all")
	calls(2, "--wait", "resume", shop, "order-process", "47-4", "--wait", "-1s")
	calls(2, "say why", "skip", shop, "order-process", "47-4")
	calls(2, "--data", "replace", shop, "order-process", "47-4", "--reason", "r")
	calls(1, "no process", "resume", shop, "nothing", "--all")
	calls(0, "stands aside", "resume", shop, "order-process", "--error", "00000000")
	calls(0, "1 request is kept; it happens when the application runs", "resume", shop, "order-process", "--error", aside[0].Fingerprint, "--wait", "10ms")
	application(t, shop, ensue.Options{}, func(app *ensue.App) {
		waitIdle := func() {
			t.Helper()
			if err := app.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		waitIdle()
		payment := filepath.Join(t.TempDir(), "payment.json")
		if err := os.WriteFile(payment, []byte(`{"order":"47-4","cents":"many"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		calls(1, "cannot be taken", "replace", shop, "order-process", "47-4", "--reason", "was 0", "--data", payment, "--wait", "20s")
		if err := os.WriteFile(payment, []byte(`{"order":"47-4","cents":8000}`), 0o600); err != nil {
			t.Fatal(err)
		}
		calls(0, "1 instance replaced", "replace", shop, "order-process", "47-4", "--reason", "was 0", "--by", "ada", "--data", payment, "--wait", "20s")
		waitIdle()
		calls(1, "not held", "resume", shop, "order-process", "47-4", "--wait", "20s")
		calls(0, "1 instance held", "hold", shop, "order-process", "47-1", "--reason", "look into it", "--by", "bea", "--wait", "20s")
		calls(0, "by     bea: look into it", "explain", shop, "order-process", "47-1")
		calls(0, "until somebody decides: ensue process resume or cancel", "explain", shop, "order-process", "47-1")
		calls(0, "1 instance cancelled", "cancel", shop, "order-process", "47-1", "--reason", "a test order", "--by", "bea", "--wait", "20s")
		calls(0, "is completed: cancelled", "explain", shop, "order-process", "47-1")
		calls(0, "completes the instance: cancelled", "show", shop, "order-process", "47-1")
		calls(1, "no such instance", "cancel", shop, "order-process", "48-9", "--reason", "r", "--wait", "20s")
	})
	calls(0, "nothing is held", "ls", shop, "--held")
	calls(0, "corrected by ada: was 0", "show", shop, "order-process", "47-4")
	out := callWith(t, t.Context(), new(bytes.Buffer), false, nil, "log", "verify", shop)
	if out.code != 0 {
		t.Errorf("verify: %s%s", out.out, out.err)
	}
}
