package main

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestFiveStories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		if err := run(t.Context(), &out, "memory:"); err != nil {
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
	})
}
