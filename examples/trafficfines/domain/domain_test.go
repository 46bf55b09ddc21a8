package domain_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

func TestTheFirstOutcomeThatApplies(t *testing.T) {
	for _, c := range []struct {
		fine domain.Fine
		want domain.Outcome
	}{
		{domain.Fine{}, domain.NothingOwed},
		{domain.Fine{Dismissal: "#"}, domain.NothingOwed},
		{domain.Fine{Paid: 1}, domain.PaidInFull},
		{domain.Fine{Amount: 1}, domain.UnpaidOpen},
		{domain.Fine{Amount: 1, Dismissal: "NIL", Appealed: "NIL"}, domain.UnpaidOpen},
		{domain.Fine{Amount: 2, Paid: 1}, domain.PartPaidOpen},
		{domain.Fine{Amount: 2, Paid: 2}, domain.PaidInFull},
		{domain.Fine{Amount: 2, Paid: 2, Expense: 1}, domain.PartPaidOpen},
		{domain.Fine{Amount: 2, Paid: 3, Expense: 1, Dismissal: "G"}, domain.PaidInFull},
		{domain.Fine{Amount: 2, Paid: 2, Penalised: true, Penalty: 4}, domain.PartPaidOpen},
		{domain.Fine{Amount: 4, Paid: 2, Penalised: true, Penalty: 2}, domain.PaidInFull},
		{domain.Fine{Amount: 4, Penalised: true}, domain.NothingOwed},
		{domain.Fine{Amount: 2, Paid: 1, Dismissal: "#"}, domain.DismissedByPrefect},
		{domain.Fine{Amount: 2, Dismissal: "#", Appealed: "G"}, domain.DismissedByJudge},
		{domain.Fine{Amount: 2, Dismissal: "T"}, domain.DismissedOtherwise},
		{domain.Fine{Amount: 2, Dismissal: "T", Appealed: "NIL"}, domain.UnpaidOpen},
		{domain.Fine{Amount: 2, Paid: 2, Collected: true}, domain.CreditCollectionAfterPart},
		{domain.Fine{Collected: true, Dismissal: "#"}, domain.CreditCollection},
	} {
		if have := c.fine.Outcome(); have != c.want {
			t.Errorf("%+v: %s, expected %s", c.fine, have, c.want)
		}
	}
}

// Sixty times 24 hours would be an hour off where the clock changes in between.
func TestPenaltyIsDueAtAMidnightInRome(t *testing.T) {
	for notified, due := range map[string]string{
		"2000-01-04T00:00:00+01:00": "2000-03-04T00:00:00+01:00", // a leap year
		"2001-01-04T00:00:00+01:00": "2001-03-05T00:00:00+01:00",
		"2007-01-23T00:00:00+01:00": "2007-03-24T00:00:00+01:00", // the night before summer time
		"2007-01-24T00:00:00+01:00": "2007-03-25T00:00:00+01:00", // summer time begins two hours later
		"2007-01-25T00:00:00+01:00": "2007-03-26T00:00:00+02:00",
		"2007-03-26T00:00:00+02:00": "2007-05-25T00:00:00+02:00",
		"2007-08-29T00:00:00+02:00": "2007-10-28T00:00:00+02:00", // summer time ends three hours later
		"2007-08-30T00:00:00+02:00": "2007-10-29T00:00:00+01:00",
		"2007-10-28T22:30:00Z":      "2007-12-27T00:00:00+01:00", // half past eleven in the evening of the 28th
		"2007-10-28T23:30:00Z":      "2007-12-28T00:00:00+01:00",
		"2013-03-18T00:00:00+01:00": "2013-05-17T00:00:00+02:00",
	} {
		at, err := time.Parse(time.RFC3339, notified)
		if err != nil {
			t.Fatal(err)
		}
		if have := domain.PenaltyDue(at.UTC()).Format(time.RFC3339); have != due {
			t.Errorf("notified at %s: due at %s, expected %s", notified, have, due)
		}
	}
}

func TestAmountsAreReadExactly(t *testing.T) {
	for text, want := range map[string]domain.Cents{"31.3": 3130, "62.59": 6259, "35.0": 3500, "0": 0, "0.07": 7, "-1.5": -150, "-0.5": -50, "100": 10000} {
		if have, err := domain.ParseCents(text); err != nil || have != want {
			t.Errorf("%s: %d, %v; expected %d", text, have, err, want)
		}
	}
	for _, text := range []string{"", ".", "-", "1.", ".5", "1.234", "1,5", "1e3", "+1", "--1", "1.-5", " 1", "NaN", strings.Repeat("9", 20)} {
		if have, err := domain.ParseCents(text); err == nil {
			t.Errorf("%q was read as %d", text, have)
		}
	}
}

func FuzzParseCents(f *testing.F) {
	for _, s := range []string{"31.3", "-0.05", "1.", "00012.30"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := domain.ParseCents(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok || want.Cmp(big.NewRat(int64(c), 100)) != 0 {
			t.Fatalf("%q was read as %d cents", s, c)
		}
		if again, err := domain.ParseCents(c.String()); err != nil || again != c {
			t.Fatalf("%d cents are written as %q, which is read as %d, %v", c, c, again, err)
		}
	})
}
