package command

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Receipt is an outcome as a module's log keeps it, with the digest of the command that it is the outcome of.
type Receipt struct {
	Outcome
	Digest Digest
}

// ReadReceipt reads an entry of kind eventlog.Receipt. One that no bus can have written is an error.
func ReadReceipt(e eventlog.Entry) (Receipt, error) {
	var v struct {
		Status      Status          `json:"status"`
		Type        string          `json:"type"`
		Digest      string          `json:"digest"`
		Result      json.RawMessage `json:"result"`
		Result64    []byte          `json:"result64"`
		Rejection   *Rejection      `json:"rejection"`
		Reason      string          `json:"reason"`
		At          int64           `json:"at"`
		Handled     int64           `json:"handled"`
		Correlation event.ID        `json:"correlation"`
	}
	id, err := event.ParseID(e.Key)
	if err == nil {
		err = json.Unmarshal(e.Value, &v)
	}
	var digest Digest
	if err == nil {
		digest, err = parseDigest(v.Digest)
	}
	if err == nil && (!v.Status.Final() || v.Status == Rejected && v.Rejection == nil) {
		err = fmt.Errorf("its status is %q", v.Status)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("command: receipt %q is unreadable: %w", e.Key, err)
	}
	r := Receipt{Digest: digest, Outcome: Outcome{
		ID: id, Type: v.Type, Status: v.Status, Rejection: v.Rejection, Reason: v.Reason,
		Result: either(v.Result, v.Result64), Correlation: v.Correlation, Handled: time.UnixMicro(v.Handled).UTC(),
	}}
	if v.At != 0 {
		r.At = time.UnixMicro(v.At).UTC()
	}
	if r.Correlation.IsZero() {
		r.Correlation = id
	}
	return r, nil
}

// parseDigest is the inverse of Digest.String.
func parseDigest(s string) (d Digest, err error) {
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(data) != len(d) {
		return Digest{}, fmt.Errorf("its digest %q is none of %d bytes", s, len(d))
	}
	return Digest(data), nil
}

// Receipts returns the receipts that a log holds of the commands, by id; of all commands where none is named. It needs
// no bus: this is how another program looks at what became of commands.
func Receipts(ctx context.Context, log eventlog.Log, ids ...ID) iter.Seq2[Receipt, error] {
	q := eventlog.EntryQuery{Kind: eventlog.Receipt}
	for _, id := range ids {
		q.Keys = append(q.Keys, id.String())
	}
	return func(yield func(Receipt, error) bool) {
		for e, err := range log.Entries(ctx, q) {
			var r Receipt
			if err == nil {
				r, err = ReadReceipt(e)
			} else {
				err = fmt.Errorf("command: read receipts: %w", err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
