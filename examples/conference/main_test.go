package main

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestFiveStories(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { fiveStories(t, "memory:", time.Second) })
	})
	t.Run("sqlite", func(t *testing.T) {
		address := t.TempDir() + "/"
		synctest.Test(t, func(t *testing.T) { fiveStories(t, address, time.Second) })
	})
	t.Run("postgres", func(t *testing.T) { fiveStories(t, pgtest.Database(t), 3*time.Second) }) // by a clock that goes on
}

func fiveStories(t *testing.T, address string, payment time.Duration) {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), &out, address, payment); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"Order":"ada","Outcome":"confirmed","Reason":"","Seats":2}`,
		`{"Order":"bob","Outcome":"expired","Reason":"not paid in time","Seats":0}`,
		`{"Order":"cem","Outcome":"confirmed","Reason":"","Seats":4}`,
		`{"Order":"dag","Outcome":"cancelled","Reason":"payment declined","Seats":0}`,
		`{"Order":"eva","Outcome":"rejected","Reason":"sold-out","Seats":0}`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %s", want)
		}
	}
	if n := strings.Count(out.String(), ": true\n"); n != 6 {
		t.Errorf("%d checks are true, want 6", n)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
