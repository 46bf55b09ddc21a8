package command

import (
	"context"

	"github.com/ensue-io/ensue/eventlog"
)

// receipt returns the write that stores an outcome, unless there is one: an entry for each command, whose key is the
// command's id, for ever. ReadReceipt is its inverse.
func (a *attempt) receipt(o Outcome) eventlog.Put {
	b := make(object, 0, 288+len(o.Result))
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

// Outcomes returns the outcomes of commands, in the order of their ids; those without a receipt are Unknown.
func (b *Bus) Outcomes(ctx context.Context, ids ...ID) ([]Outcome, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make(map[ID]Outcome, len(ids))
	for r, err := range Receipts(ctx, b.module.Log, ids...) {
		if err != nil {
			return nil, err
		}
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
