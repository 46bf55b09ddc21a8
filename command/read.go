package command

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"

	"github.com/ensue-io/ensue/eventlog"
)

// Receipt is an outcome as a module's log keeps it, with the digest of the command that it is the outcome of.
type Receipt struct {
	Outcome
	Digest Digest
}

// ReadReceipt reads an entry of kind eventlog.Receipt. One that no bus can have written is an error.
func ReadReceipt(e eventlog.Entry) (Receipt, error) {
	r, err := readReceipt(e)
	if err != nil {
		return Receipt{}, err
	}
	r.Repeat = false
	receipt := Receipt{Outcome: r.Outcome}
	digest, err := base64.RawURLEncoding.DecodeString(r.digest)
	if err != nil || len(digest) != len(receipt.Digest) {
		return Receipt{}, fmt.Errorf("command: receipt %q: its digest %q is none of %d bytes", e.Key, r.digest, len(receipt.Digest))
	}
	copy(receipt.Digest[:], digest)
	return receipt, nil
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
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
