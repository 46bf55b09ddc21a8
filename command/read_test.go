package command_test

import (
	"reflect"
	"testing"

	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

func TestReceiptsAreReadWithoutABus(t *testing.T) {
	h := newHouse(t)
	sent := map[command.ID]command.Envelope{}
	outcomes := map[command.ID]command.Outcome{}
	for _, cmd := range []any{ReserveSeats{"a", 1}, ReserveSeats{"a", 1000}, SendMail{"you"}} {
		e := h.envelope(t, cmd)
		sent[e.ID], outcomes[e.ID] = e, h.dispatch(t, e)
	}
	ids := []command.ID{}
	for r, err := range command.Receipts(t.Context(), h.Log) {
		must(t, err)
		if r.Digest != sent[r.ID].Digest() || !reflect.DeepEqual(r.Outcome, outcomes[r.ID]) {
			t.Errorf("%+v", r)
		}
		ids = append(ids, r.ID)
	}
	if len(ids) != 3 {
		t.Errorf("%d receipts", len(ids))
	}
	n := 0
	for r, err := range command.Receipts(t.Context(), h.Log, ids[0], event.NewID()) {
		must(t, err)
		if n++; r.ID != ids[0] {
			t.Errorf("%+v", r)
		}
	}
	if n != 1 {
		t.Errorf("%d receipts of one id that is known", n)
	}
}

func FuzzReadReceipt(f *testing.F) {
	digest := command.Envelope{}.Digest().String()
	f.Add(`{"status":"accepted","type":"t","digest":"` + digest + `","result":{"a":1},"handled":1,"at":2,"correlation":"018f0000-0000-7000-8000-000000000000"}`)
	f.Add(`{"status":"accepted","digest":"` + digest + `","result64":"AA=="}`)
	f.Add(`{"status":"rejected","digest":"` + digest + `","rejection":{"code":"no","details":{"a":"b"}}}`)
	f.Add(`{"status":"failed","digest":"` + digest + `","reason":"enough"}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, value string) {
		id := event.NewID()
		r, err := command.ReadReceipt(eventlog.Entry{Kind: eventlog.Receipt, Key: id.String(), Value: []byte(value)})
		if err != nil {
			return
		}
		if r.ID != id || !r.Status.Final() || r.Repeat || (r.Err() == nil) != (r.Status == command.Accepted) {
			t.Errorf("%+v", r)
		}
	})
}
