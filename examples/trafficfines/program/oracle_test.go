package program_test

import (
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
)

// oracle folds the recorded events of each fine by brute force, straight from the files: without events, logs or engine,
// without zones (a timestamp's first ten bytes are the local day) and with amounts as fractions. The fines in except are left
// out of what the process decides.
func oracle(t *testing.T, folder string, except ...string) report.Figures {
	t.Helper()
	byFine, events := map[string][]map[string]string{}, 0
	for _, file := range []string{"registry", "post", "payments", "appeals"} {
		for _, row := range readTable(t, filepath.Join(folder, file+".csv.gz")) {
			byFine[row["fine_id"]] = append(byFine[row["fine_id"]], row)
			events++
		}
	}
	f := report.Figures{Cases: len(byFine), Events: events, Outcomes: map[domain.Outcome]int{}}
	var penalties, recorded, before, outcomes strings.Builder
	for _, fine := range slices.Sorted(maps.Keys(byFine)) {
		var owed, expense, paid, early int64
		created, appealed, due, collected := "", "", "", false
		for _, e := range byFine[fine] {
			switch day := e["timestamp"][:10]; e["activity"] {
			case "Create Fine":
				owed, created = cents(t, e["amount"]), e["dismissal"]
			case "Add penalty":
				owed = cents(t, e["amount"])
				f.Recorded++
				fmt.Fprintf(&recorded, "%s,%s\n", fine, day)
			case "Send Fine":
				expense += cents(t, e["expense"])
			case "Send for Credit Collection":
				collected = true
			case "Insert Fine Notification":
				at, err := time.Parse(time.DateOnly, day)
				if err != nil {
					t.Fatal(err)
				}
				due = at.AddDate(0, 0, 60).Format(time.DateOnly)
			case "Payment": // payments come last but for appeals, so due is known
				paid += cents(t, e["paymentAmount"])
				if day < due {
					early += cents(t, e["paymentAmount"])
				}
			default:
				appealed = cmp.Or(e["dismissal"], appealed)
			}
		}
		f.PaymentsCents += domain.Cents(paid)
		if slices.Contains(except, fine) {
			continue
		}
		if due != "" {
			f.Penalties++
			f.PaidBeforeCents += domain.Cents(early)
			fmt.Fprintf(&penalties, "%s,%s\n", fine, due)
			fmt.Fprintf(&before, "%s,%s,%d\n", fine, due, early)
		}
		class := judge(owed+expense, paid, cmp.Or(appealed, created, "NIL"), collected)
		f.Outcomes[domain.Outcome(class)]++
		fmt.Fprintf(&outcomes, "%s,%s\n", fine, class)
	}
	hash := func(b *strings.Builder) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(b.String()))) }
	f.PenaltiesSHA256, f.RecordedSHA256, f.PaidBeforeSHA256, f.OutcomesSHA256 = hash(&penalties), hash(&recorded), hash(&before), hash(&outcomes)
	return f
}

func judge(due, paid int64, dismissal string, collected bool) string {
	switch {
	case collected && paid > 0:
		return "credit_collection_after_part_payment"
	case collected:
		return "credit_collection"
	case due == 0 && paid == 0:
		return "nothing_owed"
	case paid >= due:
		return "paid_in_full"
	case dismissal == "#" || dismissal == "G":
		return "dismissed(" + dismissal + ")"
	case dismissal != "NIL":
		return "dismissed(other)"
	case paid > 0:
		return "part_paid_open"
	}
	return "unpaid_open"
}

func cents(t *testing.T, euros string) int64 {
	t.Helper()
	r, ok := new(big.Rat).SetString(euros)
	if r = r.Mul(r, big.NewRat(100, 1)); !ok || !r.IsInt() {
		t.Fatalf("%q is no amount", euros)
	}
	return r.Num().Int64()
}

// readTable returns the rows of a file, each by the names of its columns.
func readTable(t *testing.T, path string) (rows []map[string]string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range table[1:] {
		row := map[string]string{}
		for n, name := range table[0] {
			row[name] = line[n]
		}
		rows = append(rows, row)
	}
	return rows
}
