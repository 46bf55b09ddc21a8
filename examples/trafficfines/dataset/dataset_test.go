package dataset_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

func TestRowsBecomeEvents(t *testing.T) {
	folder := write(t, authority.Registry, "position,event_id,fine_id,activity,timestamp,amount,expense,vehicleClass,article,points,dismissal\n"+
		"1,S1#0,S1,Create Fine,2000-01-01T00:00:00+01:00,62.59,,A,158,0,NIL\n"+
		"2,S1#1,S1,Send Fine,2000-07-02T00:00:00+02:00,,13.5,,,,\n")
	var rows []dataset.Row
	for row, err := range dataset.Read(folder, authority.Registry) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	want := authority.FineCreated{Fine: "S1", Amount: 6259, VehicleClass: "A", Article: "158", Points: "0", Dismissal: "NIL"}
	if r := rows[0]; r.Position != 1 || r.EventID != "S1#0" || r.Fact != want || !r.At.Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, domain.Rome)) {
		t.Errorf("%+v", r)
	}
	if r := rows[1]; r.Fact != (authority.FineSent{Fine: "S1", Expense: 1350}) || !r.At.Equal(time.Date(2000, 7, 2, 0, 0, 0, 0, domain.Rome)) {
		t.Errorf("%+v", r)
	}
	if dataset.EventID(rows[0]) == dataset.EventID(rows[1]) {
		t.Error("two events have one id")
	}
}

// A file that is not what it should be is never imported as something else.
func TestWhatIsWrongWithAFile(t *testing.T) {
	const head = "position,event_id,fine_id,activity,timestamp,paymentAmount,totalPaymentAmount\n"
	const row = "1,S1#0,S1,Payment,2000-01-01T00:00:00+01:00,1.5,1.5\n"
	for what, text := range map[string]string{
		`has no column "totalPaymentAmount"`: strings.ReplaceAll(head+row, ",totalPaymentAmount", ""),
		"row 1: position 2 where 1 was":      head + "2" + row[1:],
		"row 2: position 1 where 2 was":      head + row + row,
		"row 1: position":                    head + "x" + row[1:],
		"row 1: event_id":                    head + strings.Replace(row, "S1#0", "", 1),
		`row 1: activity "Gift"`:             head + strings.Replace(row, "Payment", "Gift", 1),
		"row 1: parsing time":                head + strings.Replace(row, "T00", " 00", 1),
		"row 1: paymentAmount":               head + strings.Replace(row, "1.5", "1.555", 1),
		"row 1: totalPaymentAmount":          head + strings.Replace(row, "1.5\n", "\n", 1),
		"wrong number of fields":             head + "1,2\n",
		"EOF":                                "",
	} {
		var got error
		for _, err := range dataset.Read(write(t, authority.Payments, text), authority.Payments) {
			got = err
		}
		if got == nil || !strings.Contains(got.Error(), what) || !strings.Contains(got.Error(), "payments.csv.gz") {
			t.Errorf("%v, expected %q", got, what)
		}
	}
}

func write(t *testing.T, module, text string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dataset.File(folder, module), zipped.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestOneSeedGivesTheSameFines(t *testing.T) {
	read := func(seed uint64) string {
		folder := t.TempDir()
		if err := dataset.Generate(folder, 50, seed); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, module := range authority.Sources {
			for row, err := range dataset.Read(folder, module) {
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&all, row)
			}
		}
		return all.String()
	}
	first, again, other := read(1), read(1), read(2)
	if first != again || first == other {
		t.Error("the fines do not depend on the seed, or not on it alone")
	}
}

// What is made up is worth running only if it holds what the recorded data make difficult.
func TestTrapsAreFrequent(t *testing.T) {
	folder := t.TempDir()
	if err := dataset.Generate(folder, 300, 1); err != nil {
		t.Fatal(err)
	}
	created, due, collected, paid := map[string]time.Time{}, map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	traps := map[string]int{}
	each := func(module string, do func(dataset.Row)) {
		for row, err := range dataset.Read(folder, module) {
			if err != nil {
				t.Fatal(err)
			}
			do(row)
		}
	}
	each(authority.Registry, func(r dataset.Row) {
		switch r.Fact.(type) {
		case authority.FineCreated:
			created[r.Fine] = r.At
		case authority.FineSentForCreditCollection:
			collected[r.Fine] = r.At
		}
	})
	note := func(trap string, is bool) {
		if is {
			traps[trap]++
		}
	}
	each(authority.Post, func(r dataset.Row) {
		at := domain.PenaltyDue(r.At)
		due[r.Fine] = at
		note("notified as it is created", r.At.Equal(created[r.Fine]))
		note("due an hour early or late, by the hours", at.Sub(r.At) != domain.DaysToPay*24*time.Hour)
		for _, change := range []time.Month{time.March, time.October} {
			note("due or notified around the change of "+change.String(), at.Month() == change && at.Day() > 22 || r.At.Month() == change && r.At.Day() > 22)
		}
	})
	each(authority.Payments, func(r dataset.Row) {
		note("paid as it is created", r.At.Equal(created[r.Fine]))
		note("paid as it is due", r.At.Equal(due[r.Fine]))
		note("paid after it was due", due[r.Fine].Before(r.At) && !due[r.Fine].IsZero())
		note("paid after it was collected", collected[r.Fine].Before(r.At) && !collected[r.Fine].IsZero())
		day := r.Fine + r.At.String()
		note("paid twice on a day", paid[day])
		paid[day] = true
	})
	each(authority.Appeals, func(r dataset.Row) {
		a, ok := r.Fact.(authority.PrefectureAppealSent)
		note("dismissed", ok && a.Dismissal != domain.NotDismissed)
	})
	t.Log(traps)
	if len(traps) != 10 {
		t.Errorf("only %d kinds of traps", len(traps))
	}
	for trap, n := range traps {
		if n < 5 {
			t.Errorf("%s: only %d", trap, n)
		}
	}
}
