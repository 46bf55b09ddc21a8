package command

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// receipt is an outcome as it was stored: one entry for each command, whose key is the command's id, for ever.
type receipt struct {
	Outcome
	digest string
}

// receipt returns the write that stores an outcome, unless there is one.
func (a *attempt) receipt(o Outcome) eventlog.Put {
	b := make(object, 0, 192+len(o.Result))
	b.text("status", string(o.Status))
	b.text("type", o.Type)
	b.text("digest", a.digest.String())
	if o.Status == Accepted {
		b.data("result", o.Result)
	}
	if o.Rejection != nil {
		b.value("rejection", o.Rejection)
	}
	if o.Reason != "" {
		b.text("reason", o.Reason)
	}
	if !o.At.IsZero() {
		b.number("at", o.At.UnixMicro())
	}
	b.number("handled", o.Handled.UnixMicro())
	if o.Correlation != o.ID {
		b.text("correlation", o.Correlation.String())
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: o.ID.String(), Value: b.end()}, Expect: eventlog.NoEntry}
}

// readReceipt is the inverse of receipt.
func readReceipt(entry eventlog.Entry) (receipt, error) {
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
	id, err := event.ParseID(entry.Key)
	if err == nil {
		err = json.Unmarshal(entry.Value, &v)
	}
	if err == nil && (!v.Status.Final() || v.Status == Rejected && v.Rejection == nil) {
		err = fmt.Errorf("its status is %q", v.Status)
	}
	if err != nil {
		return receipt{}, fmt.Errorf("command: receipt %q is unreadable: %w", entry.Key, err)
	}
	r := receipt{digest: v.Digest, Outcome: Outcome{
		ID: id, Type: v.Type, Status: v.Status, Rejection: v.Rejection, Reason: v.Reason,
		Result: either(v.Result, v.Result64), Correlation: v.Correlation, Handled: time.UnixMicro(v.Handled).UTC(), Repeat: true,
	}}
	if v.At != 0 {
		r.At = time.UnixMicro(v.At).UTC()
	}
	if r.Correlation.IsZero() {
		r.Correlation = id
	}
	return r, nil
}

// receipts returns the receipts of those of the commands that have one.
func (b *Bus) receipts(ctx context.Context, ids ...ID) iter.Seq2[receipt, error] {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = id.String()
	}
	return func(yield func(receipt, error) bool) {
		for entry, err := range b.module.Log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Receipt, Keys: keys}) {
			if err != nil {
				yield(receipt{}, fmt.Errorf("command: read receipts: %w", err))
				return
			}
			r, err := readReceipt(entry)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Outcomes returns the outcomes of commands, in the order of their ids; those without a receipt are Unknown.
func (b *Bus) Outcomes(ctx context.Context, ids ...ID) ([]Outcome, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make(map[ID]Outcome, len(ids))
	for r, err := range b.receipts(ctx, ids...) {
		if err != nil {
			return nil, err
		}
		r.Repeat = false
		found[r.ID] = r.Outcome
	}
	outcomes := make([]Outcome, len(ids))
	for i, id := range ids {
		o, ok := found[id]
		if !ok {
			o = Outcome{ID: id}
		}
		outcomes[i] = o
	}
	return outcomes, nil
}
