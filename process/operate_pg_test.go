package process_test

import (
	"testing"

	"github.com/ensue-io/ensue/internal/crashes"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/process"
)

// What operators do is entries and appends, which PostgreSQL has to keep as the other stores do.
func TestG9_OperatorsDecideOnPostgreSQL(t *testing.T) {
	w := newTroubled(t, process.Streams{}, isNote)
	log := crashes.Postgres(pgtest.Database(t))(t)
	for m := range w.logs {
		w.logs[m] = log(m)
	}
	w.record("sales", OrderPlaced{"resumed", 1}, OrderPlaced{"skipped", 1}, OrderPlaced{"replaced", 1}, OrderPlaced{"cancelled", 1}, OrderPlaced{"well", 1})
	w.run() // the outcomes of the commands are there
	for _, key := range []string{"resumed", "skipped", "replaced", "cancelled"} {
		w.record("payments", Noted{key}, Paid{key, 5})
	}
	w.run()
	w.wantHolds("cancelled held 2", "replaced held 2", "resumed held 2", "skipped held 2")
	w.operate(one(process.ActHold, "well"), nil)
	w.operate(one(process.ActCancel, "cancelled"), nil)
	w.operate(one(process.ActSkip, "skipped"), nil)
	w.wantHolds("replaced held 2", "resumed held 2", "well held 0")
	w.broken.Store(false)
	w.operate(replacing("replaced", `{"ID":"replaced"}`), nil)
	w.operate(process.Request{Action: process.ActResume, All: true}, nil)
	w.wantHolds()
	w.operate(one(process.ActSkip, "skipped"), process.ErrNotHeld)
	w.wantApplied("resumed", "placed", "noted", "paid 5")
	w.wantApplied("replaced", "placed", "noted", "paid 5")
	w.wantApplied("skipped", "placed", "paid 5")
	w.wantApplied("cancelled", "placed")
	w.verify()
}
