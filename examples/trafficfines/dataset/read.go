// Package dataset reads the recorded log of traffic fines, four gzipped files of comma-separated values, and writes
// made-up ones of the same form.
//
//	for row, err := range dataset.Read("fines", authority.Payments) {
//		// row.Fact is an authority.PaymentReceived
//	}
package dataset

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/authority"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

// Row is one recorded event.
type Row struct {
	Position int // 1, 2, 3, … in its file
	EventID  string
	Fine     string
	At       time.Time
	Fact     any // of one of package authority's types
}

// File returns the name of the file with a module's events.
func File(folder, module string) string { return filepath.Join(folder, module+".csv.gz") }

// columns of the files: these five in all of them, then those of each.
var (
	common = []string{"position", "event_id", "fine_id", "activity", "timestamp"}
	own    = map[string][]string{
		authority.Registry: {"amount", "expense", "vehicleClass", "article", "points", "dismissal"},
		authority.Post:     {"notificationType", "lastSent"},
		authority.Payments: {"paymentAmount", "totalPaymentAmount"},
		authority.Appeals:  {"dismissal", "matricola"},
	}
)

// The activities.
const (
	createFine       = "Create Fine"
	sendFine         = "Send Fine"
	addPenalty       = "Add penalty"
	sendToCollection = "Send for Credit Collection"
	notify           = "Insert Fine Notification"
	pay              = "Payment"
	dateAppeal       = "Insert Date Appeal to Prefecture"
	sendAppeal       = "Send Appeal to Prefecture"
	receiveResult    = "Receive Result Appeal from Prefecture"
	tellResult       = "Notify Result Appeal to Offender"
	appealToJudge    = "Appeal to Judge"
)

// Read returns a module's events in the order of its file. An error is yielded once, last.
func Read(folder, module string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		path := File(folder, module)
		if err := read(path, module, func(r Row) bool { return yield(r, nil) }); err != nil {
			yield(Row{}, fmt.Errorf("%s: %w", path, err))
		}
	}
}

func read(path, module string, yield func(Row) bool) (err error) {
	file, err := os.Open(path) // #nosec G304 -- the user names the folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	table := csv.NewReader(unzipped)
	table.ReuseRecord = true
	head, err := table.Read()
	if err != nil {
		return err
	}
	column := map[string]int{}
	for n, name := range head {
		column[name] = n
	}
	for _, name := range append(append([]string(nil), common...), own[module]...) {
		if _, ok := column[name]; !ok {
			return fmt.Errorf("has no column %q", name)
		}
	}
	p := parser{column: column}
	for want := 1; ; want++ {
		p.record, err = table.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		row, err := p.row()
		if err == nil && row.Position != want {
			err = fmt.Errorf("position %d where %d was expected", row.Position, want)
		}
		if err != nil {
			return fmt.Errorf("row %d: %w", want, err)
		}
		if !yield(row) {
			return nil
		}
	}
}

// parser makes rows of records.
type parser struct {
	column map[string]int
	record []string
	stamp  string // the last timestamp, which mostly comes again
	at     time.Time
}

func (p *parser) get(name string) string {
	if n, ok := p.column[name]; ok {
		return p.record[n]
	}
	return ""
}

func (p *parser) row() (Row, error) {
	var err error
	r := Row{EventID: p.get("event_id"), Fine: p.get("fine_id")}
	if r.EventID == "" || r.Fine == "" {
		return r, errors.New("event_id or fine_id is empty")
	}
	if r.Position, err = strconv.Atoi(p.get("position")); err != nil {
		return r, fmt.Errorf("position: %w", err)
	}
	if stamp := p.get("timestamp"); stamp != p.stamp {
		if p.at, err = time.Parse(time.RFC3339, stamp); err != nil {
			return r, err
		}
		p.stamp = stamp
	}
	r.At = p.at
	r.Fact, err = p.fact(r.Fine)
	return r, err
}

func (p *parser) fact(fine string) (any, error) {
	appeal := authority.Appeal{Fine: fine, Dismissal: p.get("dismissal"), Matricola: p.get("matricola")}
	switch activity := p.get("activity"); activity {
	case createFine:
		amount, err := p.cents("amount")
		return authority.FineCreated{Fine: fine, Amount: amount, VehicleClass: p.get("vehicleClass"), Article: p.get("article"), Points: p.get("points"),
			Dismissal: p.get("dismissal")}, err
	case sendFine:
		expense, err := p.cents("expense")
		return authority.FineSent{Fine: fine, Expense: expense}, err
	case addPenalty:
		amount, err := p.cents("amount")
		return authority.PenaltyRecorded{Fine: fine, Amount: amount}, err
	case sendToCollection:
		return authority.FineSentForCreditCollection{Fine: fine}, nil
	case notify:
		return authority.FineNotified{Fine: fine, Type: p.get("notificationType"), LastSent: p.get("lastSent")}, nil
	case pay:
		amount, err := p.cents("paymentAmount")
		if err != nil {
			return nil, err
		}
		total, err := p.cents("totalPaymentAmount")
		return authority.PaymentReceived{Fine: fine, Amount: amount, Total: total}, err
	case dateAppeal:
		return authority.PrefectureAppealDated{Appeal: appeal}, nil
	case sendAppeal:
		return authority.PrefectureAppealSent{Appeal: appeal}, nil
	case receiveResult:
		return authority.PrefectureResultReceived{Appeal: appeal}, nil
	case tellResult:
		return authority.OffenderToldOfResult{Appeal: appeal}, nil
	case appealToJudge:
		return authority.AppealedToJudge{Appeal: appeal}, nil
	default:
		return nil, fmt.Errorf("activity %q is none of those that are known", activity)
	}
}

func (p *parser) cents(column string) (domain.Cents, error) {
	c, err := domain.ParseCents(p.get(column))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", column, err)
	}
	return c, nil
}
