// Package report computes the figures of a run from what stands in its five logs, and from nothing else.
//
//	r, err := report.Read(ctx, "fines/")
//	fmt.Println(r.Figures.Penalties)
package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"github.com/ensue-io/ensue/examples/trafficfines/domain"
)

// Figures are what a run is judged by.
type Figures struct {
	Cases            int                    `json:"cases"`  // fines
	Events           int                    `json:"events"` // recorded ones
	Penalties        int                    `json:"penalties"`
	PenaltiesSHA256  string                 `json:"penalties_sha256"`   // over lines "fine,date", by fine
	Recorded         int                    `json:"recorded_penalties"` // penalties of the real authority
	RecordedSHA256   string                 `json:"recorded_penalties_sha256"`
	PaymentsCents    domain.Cents           `json:"payments_cents"`
	Outcomes         map[domain.Outcome]int `json:"outcomes"`
	OutcomesSHA256   string                 `json:"outcomes_sha256"`            // over lines "fine,outcome", by fine
	PaidBeforeCents  domain.Cents           `json:"paid_before_penalty_cents"`  // as the process knew it when each penalty was due
	PaidBeforeSHA256 string                 `json:"paid_before_penalty_sha256"` // over lines "fine,date,cents", by fine
}

// Report is the figures with what they were computed from.
type Report struct {
	Figures  Figures
	Penalty  []Penalty // of the process, by fine
	Recorded []Penalty // of the real authority, by fine; Paid is 0
	Fates    []Fate    // of all instances, by fine
	Held     []string  // instances that stand aside, and why
}

// Penalty is a penalty of one fine.
type Penalty struct {
	Fine string
	Date string       // in Rome
	Paid domain.Cents // known as paid before it was due
}

// Fate is what became of one fine.
type Fate struct {
	Fine    string
	Outcome domain.Outcome
}

// Compute makes the figures out of the lists; Cases, Events and PaymentsCents are the caller's.
func (r *Report) Compute() {
	f := &r.Figures
	byFine := func(a, b Penalty) int { return cmp.Or(cmp.Compare(a.Fine, b.Fine), cmp.Compare(a.Date, b.Date)) }
	slices.SortFunc(r.Penalty, byFine)
	slices.SortFunc(r.Recorded, byFine)
	slices.SortFunc(r.Fates, func(a, b Fate) int { return cmp.Compare(a.Fine, b.Fine) })
	f.Penalties, f.Recorded = len(r.Penalty), len(r.Recorded)
	date := func(p Penalty) string { return p.Fine + "," + p.Date }
	f.PenaltiesSHA256, f.RecordedSHA256 = digest(r.Penalty, date), digest(r.Recorded, date)
	f.PaidBeforeCents = 0
	for _, p := range r.Penalty {
		f.PaidBeforeCents += p.Paid
	}
	f.PaidBeforeSHA256 = digest(r.Penalty, func(p Penalty) string { return fmt.Sprintf("%s,%s,%d", p.Fine, p.Date, p.Paid) })
	f.Outcomes = map[domain.Outcome]int{}
	for _, x := range r.Fates {
		f.Outcomes[x.Outcome]++
	}
	f.OutcomesSHA256 = digest(r.Fates, func(x Fate) string { return x.Fine + "," + string(x.Outcome) })
}

func digest[T any](list []T, line func(T) string) string {
	sum := sha256.New()
	for _, x := range list {
		_, _ = io.WriteString(sum, line(x)+"\n")
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// JSON returns the figures as one object.
func (f Figures) JSON() ([]byte, error) { return json.MarshalIndent(f, "", "  ") }

// Line returns the figures as an object in one line.
func (f Figures) Line() ([]byte, error) { return json.Marshal(f) }

// ParseFigures reads what JSON or Line wrote. A member that is not known, or is missing, is an error.
func ParseFigures(data []byte) (Figures, error) {
	var f Figures
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(data, &have); err != nil {
		return f, err
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Figures]()) {
		if name := field.Tag.Get("json"); have[name] == nil {
			return f, fmt.Errorf("has no member %q", name)
		}
	}
	return f, nil
}

// Differences tells where the figures are not what was expected.
func (f Figures) Differences(expected Figures) []string {
	var diffs []string
	have, want := reflect.ValueOf(f), reflect.ValueOf(expected)
	for n, field := range reflect.VisibleFields(have.Type()) {
		if h, w := have.Field(n).Interface(), want.Field(n).Interface(); !reflect.DeepEqual(h, w) {
			diffs = append(diffs, fmt.Sprintf("%s: %v, expected %v", field.Tag.Get("json"), h, w))
		}
	}
	return diffs
}

// WriteTable writes the figures for a reader.
func (f Figures) WriteTable(out io.Writer) error {
	var err error
	row := func(name string, value any) {
		_, e := fmt.Fprintf(out, "%-44s%14v\n", name, value)
		err = cmp.Or(err, e)
	}
	row("fines", f.Cases)
	row("recorded events", f.Events)
	row("penalties that fine-collection added", f.Penalties)
	row("penalties that the authority recorded", f.Recorded)
	row("the same fines on the same days", f.PenaltiesSHA256 == f.RecordedSHA256)
	row("paid, in euros", f.PaymentsCents)
	row("paid before a penalty was due, in euros", f.PaidBeforeCents)
	for _, o := range slices.Sorted(maps.Keys(f.Outcomes)) {
		row(string(o), f.Outcomes[o])
	}
	return err
}
